"""All fills but `bar`: the matching engine of the built-in exchange, called directly, at the pace of its wire server.

What the bot of `main.py` learns there over sockets it learns here at the same instants: bars 0.3 s after their minute,
order updates 20 ms after the event, checkups as often as in a live session, and the prints of the bars' trade paths as
they are made. No print of the future is seen: the last trade at any instant is the last one
made by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import structs

from scalp.backtest.days import NO_SLIPPAGE, Slippage, open_fleet, symbol_day
from scalp.core.algo import TO_BUY, ScalpAlgo
from scalp.core.clock import Session
from scalp.core.commands import Action, CancelOrder, MoveStop, SubmitOrder
from scalp.core.errors import Rejected
from scalp.core.exits import market_reason
from scalp.core.fees import FREE, Rates
from scalp.core.leftovers import exits_under_way
from scalp.core.market_data import Bar, Trade
from scalp.core.orders import OrderReport
from scalp.core.risk_limits import NO_RISK_LIMITS, RiskLimits
from scalp.core.risk_rules import RiskRules
from scalp.core.trades import Fill
from scalp.core.units import MILLISECOND, MINUTE, SECOND
from scalp.exchange.fills import PESSIMISTIC, Book, FillModel, Offer
from scalp.exchange.matching import Engine, Latency
from scalp.exchange.orders import Order, OrderRequest, Update
from scalp.exchange.path import FIRST_PRINT, trade_path
from scalp.results.symbol_day import Stopped, SymbolDay

BAR_DELAY = 300 * MILLISECOND

MODELS = {
    "pessimistic": PESSIMISTIC,
    "touch": structs.replace(PESSIMISTIC, touch_share=PESSIMISTIC.share),
    "through": structs.replace(PESSIMISTIC, touch_share=0.0),
    "optimistic": FillModel(share=1.0, touch_share=1.0, half_spread=0.0),
}


class Slipped(FillModel, frozen=True):
    """A fill model whose prices are worse by a slippage."""

    slippage: Slippage = NO_SLIPPAGE

    def on_arrival(self, order: Order, book: Book) -> Offer | None:
        return self._slip(order, super().on_arrival(order, book))

    def on_print(self, order: Order, book: Book) -> Offer | None:
        offer = super().on_print(order, book)
        return offer if order.limit_price is None else self._slip(order, offer)  # a market order came by `on_arrival`

    def _slip(self, order: Order, offer: Offer | None) -> Offer | None:
        if offer is None:
            return None
        price, available = offer
        return self.slippage.worse(order.side, price, order.limit_price), available


def fill_model(fills: str, slippage: Slippage) -> FillModel:
    """The model that `--fills` names."""
    model = MODELS[fills]
    if slippage == NO_SLIPPAGE:
        return model
    return Slipped(**structs.asdict(model), slippage=slippage)


def play(
    algo_class: type[ScalpAlgo],
    lot: Decimal,
    session: Session,
    market: Mapping[str, Sequence[Bar]],
    fills: FillModel,
    latency: Latency,
    limits: RiskLimits = NO_RISK_LIMITS,
    rates: Rates = FREE,
    net_exit: bool = False,
) -> list[SymbolDay]:
    """One day of all symbols, which share an account; `market` holds bars of the regular session only."""
    return EngineDay(algo_class, lot, session, market, fills, latency, limits, rates, net_exit).play()


class EngineDay:
    """One day of all symbols at the exchange."""

    def __init__(
        self,
        algo_class: type[ScalpAlgo],
        lot: Decimal,
        session: Session,
        market: Mapping[str, Sequence[Bar]],
        fills: FillModel,
        latency: Latency,
        limits: RiskLimits,
        rates: Rates,
        net_exit: bool,
    ) -> None:
        self._session = session
        self._market = market
        self._engine = Engine(
            session.open, session.close, market, fills=fills, latency=latency, on_update=self._on_update
        )
        self._actions: list[Action] = []  # sent, and not yet performed
        self._is_performing = False
        self._fills: dict[str, list[Fill]] = {symbol: [] for symbol in market}
        self._stopped: dict[str, list[Stopped]] = {symbol: [] for symbol in market}
        self._fleet = open_fleet(
            algo_class, market, lot, session, lambda: self._engine.now, self._actions.append, self._stopped
        )
        self._fleet.charge(rates, net_exit)
        self._algos = self._fleet.algos
        if limits:
            self._fleet.risk.rules = RiskRules(limits, takings=self._fleet.takings)
        asks = any(algo.asks_exit_on_trades for algo in self._algos.values())
        self._watches_prints = limits.watches_prints or asks

    def play(self) -> list[SymbolDay]:
        session, engine = self._session, self._engine
        minutes: dict[int, list[Bar]] = {}
        for bars in self._market.values():
            for bar in bars:
                minutes.setdefault(bar.start, []).append(bar)
        finished: list[Bar] = []
        for minute in range(session.open, session.close, MINUTE):
            begun = minutes.get(minute, [])
            engine.on_bars(begun)
            self._check_up(minute)
            if begun and self._watches_prints:
                self._look(minute + FIRST_PRINT, [bar.symbol for bar in begun])
            self._advance(minute + BAR_DELAY)
            self._hand_over(finished, begun)
            self._go_on(minute, begun)
            finished = begun
        engine.advance(session.close + BAR_DELAY)
        self._hand_over(finished, [])
        engine.advance(session.close + SECOND)  # the day's last updates
        return self._days()

    def _days(self) -> list[SymbolDay]:
        return [
            symbol_day(self._algos[symbol], self._session, bars, self._fills[symbol], self._stopped[symbol])
            for symbol, bars in self._market.items()
        ]

    def _go_on(self, minute: int, begun: Sequence[Bar]) -> None:
        """After the bars of the minute that ended: the checkups of this one, and the prints of the bars that began."""
        every = round(self._session.checkup_every(minute) * SECOND)  # the session's marks are whole minutes
        checkups = range(minute + every, minute + MINUTE, every)
        prints = self._prints(begun)
        for at in sorted({*checkups, *prints}):
            if at in checkups:
                self._check_up(at)
            else:
                self._look(at, prints[at])

    def _prints(self, begun: Sequence[Bar]) -> dict[int, list[str]]:
        """When this minute's prints are made, and of which symbols, where a risk rule or the algo looks at them."""
        prints: dict[int, list[str]] = {}
        for bar in begun if self._watches_prints else ():
            for made in trade_path(bar)[1:]:
                prints.setdefault(made.at, []).append(bar.symbol)
        return prints

    def _advance(self, to: int) -> None:
        """Let the market move until `to`; exit plans that are due before are driven at their time, as they are live."""
        engine, fleet = self._engine, self._fleet
        while (due := fleet.exit_times.next_at) and max(due, engine.now) < to:
            engine.advance(max(due, engine.now))
            if (due := fleet.exit_times.next_at) and due <= engine.now:
                for symbol in exits_under_way(fleet.algos):
                    self._see_last_trade(symbol)
                fleet.drive_exits()
                self._perform()
        engine.advance(to)

    def _look(self, at: int, symbols: Sequence[str]) -> None:
        """Prints were made: show them to those that hold something."""
        self._advance(at)
        for symbol in symbols:
            if self._algos[symbol].ledger.position:
                self._see_last_trade(symbol)
        self._perform()

    def _check_up(self, at: int) -> None:
        self._advance(at)
        busy = [symbol for symbol, algo in self._algos.items() if algo.state is not TO_BUY]
        if busy:  # a checkup does nothing for the others
            for symbol in busy:
                self._see_last_trade(symbol)
            self._fleet.checkup()
            self._perform()

    def _hand_over(self, finished: Sequence[Bar], begun: Sequence[Bar]) -> None:
        """The bars of the minute that ended; of the minute that began, the first print is all that was made so far."""
        fleet, actions = self._fleet, self._actions
        for bar in begun:
            fleet.on_trade(Trade(bar.symbol, bar.start + FIRST_PRINT, bar.open))
        for bar in finished:
            fleet.on_bar(bar)
            if actions:
                self._perform()

    def _see_last_trade(self, symbol: str) -> None:
        """Of the prints since the last look only the newest matters: it is the last trade."""
        last = self._engine.last_trade(symbol)
        if last is not None:
            self._fleet.on_trade(Trade(symbol, last.at, last.price, last.size))

    def _on_update(self, update: Update) -> None:
        order = update.order
        if update.qty is not None and update.price is not None:
            why = market_reason(self._algos[order.symbol].exits) if order.type == "market" else ""
            self._fills[order.symbol].append(
                Fill(order.symbol, order.side, update.qty, update.price, update.at, order.type, why)
            )
        self._see_last_trade(order.symbol)
        self._fleet.orders.on_order_update(_report(order, update))
        self._perform()

    def _perform(self) -> None:
        """One after the other: what the engine reports while it takes an order may call for another."""
        if self._is_performing:
            return
        self._is_performing = True
        while self._actions:
            action = self._actions.pop(0)
            if isinstance(action, SubmitOrder):
                self._submit(action)
            elif isinstance(action, CancelOrder):
                self._cancel(action)
            elif isinstance(action, MoveStop):
                self._move_stop(action)
        self._is_performing = False

    def _submit(self, action: SubmitOrder) -> None:
        self._fleet.orders.on_sent(action)
        request = OrderRequest(
            symbol=action.symbol,
            side=action.side,
            type=action.type,
            time_in_force="day",
            qty=Decimal(action.qty),
            limit_price=action.limit_price,
            client_order_id=action.client_order_id,
            order_class="" if action.stop_price is None else "oco",
            take_profit=None if action.stop_price is None else action.limit_price,
            stop_loss=action.stop_price,
        )
        try:
            order = self._engine.submit(request)
        except Rejected as refusal:
            self._fleet.orders.on_submit_rejected(action.symbol, action.client_order_id, refusal.message)
            return
        self._fleet.orders.on_order_update(_report(order))

    def _move_stop(self, action: MoveStop) -> None:
        try:
            order = self._engine.replace(action.id, stop_price=action.stop_price)
        except Rejected as refusal:
            works = self._engine.order(action.id).open
            self._fleet.orders.on_stop_fixed(action.symbol, action.id, refusal.message if works else "")
            return
        self._fleet.orders.on_order_update(_report(order))

    def _cancel(self, action: CancelOrder) -> None:
        try:
            order = self._engine.order_by_client_id(action.client_order_id)
        except Rejected:
            return  # it was refused when it was sent, and that was reported
        try:
            self._engine.cancel(order.id)
        except Rejected:  # mostly: filled already, as the order itself shows
            self._fleet.orders.on_order_update(_report(order))


def _report(order: Order, update: Update | None = None) -> OrderReport:
    """What the broker's answer, or an order update, says of `order`; an answer has its legs, too."""
    group = order.group
    parent = group.parent if group is not None else None
    return OrderReport(
        symbol=order.symbol,
        id=order.id,
        client_order_id=order.client_order_id,
        side=order.side,
        type=order.type,
        status=order.status,
        qty=order.qty,
        filled_qty=order.filled_qty,
        filled_avg_price=order.filled_avg_price,
        limit_price=order.limit_price,
        submitted_at=order.submitted_at,
        time_in_force=order.time_in_force,
        event=update.event if update else "",
        execution_id=update.execution_id if update else None,
        price=update.price if update else None,
        execution_qty=update.qty if update else None,
        at=update.at if update else None,
        stop_price=order.stop_price,
        replaces=order.replaces,
        replaced_by=order.replaced_by,
        parent_id=parent.id if parent is not None and parent is not order else "",
        legs=tuple(_report(leg) for leg in group.legs) if group and parent is order and update is None else (),
    )
