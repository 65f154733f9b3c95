"""`--fills bar`: the simplest rules, those of common backtesters. Everything happens at the turn of a minute.

Per bar, in this order: the orders sent at an earlier bar's close meet it; a buy that has now met two bars unfilled is
cancelled; then the signal is asked, also on the bar in which a sell filled or a buy was cancelled.

A buy with limit L is filled whole at the open if open <= L, else at L if low <= L; a sell at the open if open >= L,
else at L if high >= L; a market order at the open. An OCO that sells fills at the open if that lies beyond its limit
or its stop S, else at S if low <= S, else at L if high >= L: where a bar has both, it was the stop. One that buys is
the mirror image. Orders are sent at a bar's close, which is then the last trade. An exit signal of the user's own is
asked with each bar.
There is no latency, no spread, no share of the volume and no limit to the money.

The algo alone decides which order is sent, when and at which price: this is only the broker, and the choice of the
moments at which the algo gets its events.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from msgspec.structs import replace

from scalp.backtest.days import Slippage, open_fleet, symbol_day
from scalp.backtest.signals import Ahead
from scalp.core.algo import TO_BUY, TO_SELL, ScalpAlgo
from scalp.core.clock import Session
from scalp.core.commands import Action, CancelOrder, MoveStop, SubmitOrder
from scalp.core.exits import market_reason
from scalp.core.fees import FREE, Rates
from scalp.core.market_data import Bar, Trade
from scalp.core.orders import BUY, CANCELED, EXPIRED, FILLED, HELD, NEW, REPLACED, SELL, OrderReport
from scalp.core.prices import exact
from scalp.core.risk_limits import NO_RISK_LIMITS, RiskLimits
from scalp.core.risk_rules import RiskRules
from scalp.core.trades import Fill
from scalp.core.units import MINUTE
from scalp.results.symbol_day import Stopped, SymbolDay

BUY_MEETS = 2  # bars; then the checkup is due that cancels it


def play(
    algo_class: type[ScalpAlgo],
    symbol: str,
    lot: Decimal,
    session: Session,
    bars: Sequence[Bar],
    slippage: Slippage,
    limits: RiskLimits = NO_RISK_LIMITS,
    rates: Rates = FREE,
    net_exit: bool = False,
    ahead: Ahead | None = None,
) -> SymbolDay:
    """One day of one symbol; `bars` are those of its regular session. Symbols have nothing to do with each other.

    Of `limits` only the stop loss and the trail are kept, at the broker. With the signals known `ahead` the minutes in
    which nothing happens are skipped; what happens in the others is the same.
    """
    day = _Day(algo_class, symbol, lot, session, slippage, limits)
    day._fleet.charge(rates, net_exit)
    return day.play(bars) if ahead is None else day.leap(bars, ahead)


class _Working:
    """An order at the broker, and how many bars it has met."""

    def __init__(self, action: SubmitOrder) -> None:
        self.action = action
        self.edge = float(action.limit_price) if action.limit_price is not None else 0.0
        self.stop_price = action.stop_price
        self.stop = float(action.stop_price) if action.stop_price is not None else None
        self.moves = 0  # of its stop
        self.bars_met = 0

    @property
    def leg(self) -> str:
        """The id of its stop; each move gives it another, as at the broker."""
        return f"{self.action.client_order_id}.stop{self.moves or ''}"

    def move(self, stop_price: Decimal) -> None:
        self.stop_price, self.stop = stop_price, float(stop_price)
        self.moves += 1

    def stopped_in(self, bar: Bar) -> Decimal | None:
        """What its stop loss fills at in `bar`, None if there is none or its stop is not reached."""
        if self.stop is None:
            return None
        sells = self.action.side == SELL
        if bar.open <= self.stop if sells else bar.open >= self.stop:
            return exact(bar.open)
        takes_profit_first = bar.open >= self.edge if sells else bar.open <= self.edge
        if takes_profit_first or (bar.low > self.stop if sells else bar.high < self.stop):
            return None
        return self.stop_price

    def price_in(self, bar: Bar) -> Decimal | None:
        """What it fills at in `bar`, None if it does not; of an OCO the limit."""
        action = self.action
        if action.limit_price is None:
            return exact(bar.open)
        if action.side == BUY:
            if bar.open <= self.edge:
                return exact(bar.open)
            return action.limit_price if bar.low <= self.edge else None
        if bar.open >= self.edge:
            return exact(bar.open)
        return action.limit_price if bar.high >= self.edge else None


class _Rows:
    """The rows of a day from which on something may happen, found without a walk; from `end` on, each one."""

    def __init__(self, ahead: Ahead, session: Session) -> None:
        columns = ahead.columns
        self.end = bisect_left(columns.starts, session.liquidate_at - MINUTE)
        self._signals = ahead.rows
        self._tops = np.maximum(columns.highs, columns.opens)
        self._bottoms = np.minimum(columns.lows, columns.opens)
        self._signal = 0

    def next_signal(self, row: int) -> int:
        while self._signal < len(self._signals) and self._signals[self._signal] < row:
            self._signal += 1
        return self._signals[self._signal] if self._signal < len(self._signals) else self.end

    def has_signal(self, row: int) -> bool:
        """Whether there is something to ask after this row."""
        return row >= self.end or self.next_signal(row) == row

    def next_high(self, row: int, edge: float) -> int:
        """The first row that reaches up to `edge`."""
        reached = self._tops[row : self.end] >= edge
        return row + int(reached.argmax()) if reached.any() else self.end

    def next_low(self, row: int, edge: float, last: int) -> int:
        """The first row that reaches down to `edge`, at most `last`."""
        while row < last and not self._bottoms[row] <= edge:
            row += 1
        return row


class _Day:
    def __init__(
        self,
        algo_class: type[ScalpAlgo],
        symbol: str,
        lot: Decimal,
        session: Session,
        slippage: Slippage,
        limits: RiskLimits,
    ) -> None:
        self._now = session.open
        self._actions: list[Action] = []  # sent, and not yet performed
        self._working: dict[str, _Working] = {}  # client order id -> order, oldest first
        self._fills: list[Fill] = []
        self._session = session
        self._slippage = slippage
        self._stopped: dict[str, list[Stopped]] = {symbol: []}
        self._fleet = open_fleet(
            algo_class, [symbol], lot, session, lambda: self._now, self._actions.append, self._stopped
        )
        self._algo = self._fleet.algos[symbol]
        self._algo.asks_exit_on_trades = False  # there are no trades here, and each bar asks
        self._is_asked_while_held = "_calculate_exit_signal" in algo_class._own_hooks or limits.stop is not None
        if limits:
            self._fleet.risk.rules = RiskRules(limits)

    def play(self, bars: Sequence[Bar]) -> SymbolDay:
        for bar in bars:
            self._step(bar)
        return self._end(bars)

    def leap(self, bars: Sequence[Bar], ahead: Ahead) -> SymbolDay:
        """As `play`, but from one bar in which something can happen to the next."""
        algo, rows, row = self._algo, _Rows(ahead, self._session), 0
        while row < len(bars):
            if not self._actions and (next_row := self._next_row(rows, row)) > row:
                row = next_row
                continue
            if len(algo.session_bars) < row:
                algo.session_bars.extend(ahead.columns, row)
                self._now = bars[row - 1].start + MINUTE
                algo.tape.see_close(bars[row - 1], self._now)
            self._step(bars[row], asks=not self._working or self._is_asked_while_held or rows.has_signal(row))
            row += 1
        if bars and len(algo.session_bars) < len(bars):
            self._now = bars[-1].start + MINUTE
            algo.tape.see_close(bars[-1], self._now)
        return self._end(bars)

    def _next_row(self, rows: _Rows, row: int) -> int:
        """The first row from `row` on in which something can happen; from the liquidation on, each."""
        if row >= rows.end:
            return row
        if not self._working:
            is_idle = self._algo.state is TO_BUY and not self._algo.ledger.position
            return rows.next_signal(row) if is_idle else row
        order = next(iter(self._working.values()))
        if self._is_asked_while_held or len(self._working) > 1 or order.stop is not None:
            return row
        if order.action.limit_price is None:
            return row
        if order.action.side == "sell":
            return rows.next_high(row, order.edge)
        last = min(row + BUY_MEETS - order.bars_met - 1, rows.end)
        touched = rows.next_low(row, order.edge, last)
        order.bars_met += touched - row
        return touched

    def _step(self, bar: Bar, asks: bool = True) -> None:
        """With `asks` False it is known that the bar gives no signal: what follows from a fill has followed at once."""
        if self._now < self._session.liquidate_at <= bar.start:
            self._liquidate()
        if self._working:
            self._meet(bar)
        self._now = bar.start + MINUTE
        if not asks and self._algo.state is not TO_SELL:
            return
        self._fleet.on_bar(bar)
        if self._actions:
            self._perform()

    def _end(self, bars: Sequence[Bar]) -> SymbolDay:
        if self._now < self._session.liquidate_at:
            self._liquidate()
        self._close()
        return symbol_day(self._algo, self._session, bars, self._fills, self._stopped[self._algo.symbol])

    def _liquidate(self) -> None:
        """The time comes without a bar to show it: the checkup begins the liquidation, as it does live."""
        self._now = self._session.liquidate_at
        self._check_up()

    def _check_up(self) -> None:
        self._fleet.checkup()
        self._perform()

    def _meet(self, bar: Bar) -> None:
        """Show `bar` to the orders sent before it."""
        is_checkup_due = False
        for order in list(self._working.values()):
            if (price := order.stopped_in(bar)) is not None:
                self._fill_stop(order, price, bar)
            elif (price := order.price_in(bar)) is not None:
                self._fill(order, price, bar)
            else:
                order.bars_met += 1
                is_checkup_due |= order.action.side == BUY and order.bars_met >= BUY_MEETS
        if is_checkup_due:
            self._now = bar.start + MINUTE
            self._check_up()

    def _fill(self, order: _Working, price: Decimal, bar: Bar) -> None:
        action = order.action
        price = self._book(order, price, action.type, action.limit_price, bar)
        self._tell(order, FILLED, bar.start, price)

    def _fill_stop(self, order: _Working, price: Decimal, bar: Bar) -> None:
        """As the exchange reports it: the leg is filled under an id of its own, and the limit is taken back."""
        price = self._book(order, price, "stop", None, bar)
        self._report_leg(order, FILLED, bar.start, price)
        self._report(order.action, CANCELED, bar.start)
        self._perform()

    def _book(self, order: _Working, price: Decimal, kind: str, limit: Decimal | None, bar: Bar) -> Decimal:
        """An order has filled at `price`, before slippage; returns the price after it."""
        action = order.action
        del self._working[action.client_order_id]
        price = self._slippage.worse(action.side, price, limit)
        why = market_reason(self._algo.exits) if kind == "market" else ""
        self._fills.append(Fill(action.symbol, action.side, Decimal(action.qty), price, bar.start, kind, why))
        # It is reported at the bar's close, which has become the last trade: an exit is priced by that.
        self._now = bar.start + MINUTE
        self._fleet.on_trade(Trade(bar.symbol, self._now - 1, bar.close))
        return price

    def _tell(self, order: _Working, status: str, at: int, price: Decimal | None = None) -> None:
        """Report the end of an order, and of its leg; with a price: of its whole quantity."""
        if order.stop is not None:
            self._report_leg(order, CANCELED, at)
        self._report(order.action, status, at, price)
        self._perform()

    def _report(self, action: SubmitOrder, status: str, at: int, price: Decimal | None = None) -> None:
        """As `_tell`, without performing what follows from it."""
        self._fleet.orders.on_order_update(_told(action, status, at, price))

    def _report_leg(
        self, order: _Working, status: str, at: int, price: Decimal | None = None, replaces: str | None = None
    ) -> None:
        report = _told(order.action, status, at, price)
        terms = {"type": "stop", "limit_price": None, "stop_price": order.stop_price, "replaces": replaces}
        ids = {"id": order.leg, "client_order_id": order.leg, "parent_id": report.id}
        self._fleet.orders.on_order_update(replace(report, **ids, **terms))

    def _perform(self) -> None:
        while self._actions:
            action = self._actions.pop(0)
            if isinstance(action, SubmitOrder):
                order = self._working[action.client_order_id] = _Working(action)
                self._fleet.orders.on_sent(action)
                if order.stop is not None:
                    self._report(action, NEW, self._now)
                    self._report_leg(order, HELD, self._now)
            elif isinstance(action, CancelOrder) and action.client_order_id in self._working:
                self._tell(self._working.pop(action.client_order_id), CANCELED, self._now)
            elif isinstance(action, MoveStop):
                self._move(action)

    def _move(self, action: MoveStop) -> None:
        for order in self._working.values():
            if order.leg == action.id:
                self._report_leg(order, REPLACED, self._now)
                order.move(action.stop_price)
                self._report_leg(order, HELD, self._now, replaces=action.id)

    def _close(self) -> None:
        """Day orders that are left expire."""
        self._now = self._session.close
        for order in list(self._working.values()):
            del self._working[order.action.client_order_id]
            self._tell(order, EXPIRED, self._now)


def _told(action: SubmitOrder, status: str, at: int, price: Decimal | None) -> OrderReport:
    """A report of an order; with a price: that its whole quantity was filled."""
    qty = Decimal(action.qty)
    filled = qty if price is not None else Decimal(0)
    return OrderReport(
        symbol=action.symbol,
        id=action.client_order_id,
        client_order_id=action.client_order_id,
        side=action.side,
        type=action.type,
        status=status,
        qty=qty,
        filled_qty=filled,
        filled_avg_price=price,
        limit_price=action.limit_price,
        event="fill" if price is not None else status,
        price=price,
        execution_qty=filled,
        at=at,
    )
