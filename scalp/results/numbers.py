"""The numbers of some days: trades, and what they come to per symbol, per day and in all."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from scalp.core.decimals import ZERO
from scalp.core.fees import FREE, NO_CHARGES, NO_FEES, Charges, FeeSchedule, Rates
from scalp.core.trades import Holding, RoundTrip, round_trips
from scalp.core.units import MINUTE, SECOND
from scalp.results.symbol_day import SymbolDay

MICRO = Decimal("0.000001")


class Held(Struct, frozen=True):
    """Shares that found no buyer before the close."""

    day: SymbolDay
    holding: Holding

    @property
    def pnl(self) -> Decimal:
        """Gross profit, in dollars, what is held valued at the day's last close."""
        return self.holding.profit_at(self.day.last_price or self.holding.entry_price)

    @property
    def net(self) -> Decimal:
        """The same after the fees so far; what selling it would cost is not in them."""
        return self.pnl - self.holding.fees


class Numbers(Struct, frozen=True):
    """What some symbol-days come to, in dollars; `exposure` and `win_rate` are shares of 1.

    `pnl` is gross, of all trades and of what is still held, at its last close; `net` is that after `fees`. `drawdown`
    is the deepest fall of the profit after fees, looked at each minute's end. A trade wins that gains after fees;
    `average` and `worst` are net. `exposure` is the part of the sessions' time in which shares were held. `rounding` is
    the part of the fees that no trade caused: that of whole days, each kind rounded up to a cent.
    """

    trades: int
    win_rate: float | None
    pnl: Decimal
    fees: Decimal
    rounding: Decimal
    net: Decimal
    average: Decimal | None
    worst: Decimal | None
    hold_seconds: float | None
    exposure: float
    drawdown: Decimal
    buys: int
    unfilled_buys: int
    liquidations: int
    held: int
    bars: int


class Results:
    """Everything that came of a backtest, oldest day first, symbols in the order asked for, after `fees`."""

    def __init__(self, days: Iterable[SymbolDay], fees: FeeSchedule = NO_FEES) -> None:
        self.days = list(days)
        self.fees = fees
        self.charges: dict[dt.date, Charges] = {}  # by day, all symbols together, exact
        self.trades: list[RoundTrip] = []
        self.held: list[Held] = []
        self._trades_of: dict[int, list[RoundTrip]] = {}  # by place in `days`
        self._held_of: dict[int, list[Held]] = {}
        self._paths: list[list[tuple[int, int]]] = []  # after fees, by place in `days`
        for place, day in enumerate(self.days):
            date = day.session.date
            rates = fees.on(date)
            self._paths.append(_after_fees(day, rates))
            trips = round_trips(day.fills, rates)
            self.charges[date] = self.charges.get(date, NO_CHARGES) + trips.charges
            self._trades_of[place] = trips.trades
            self._held_of[place] = [Held(day, holding) for holding in trips.held.values()]
            self.trades += trips.trades
            self.held += self._held_of[place]
        self.trades.sort(key=lambda trade: (trade.exit_time, trade.entry_time, trade.symbol))

    def total(self) -> Numbers:
        return self._numbers(range(len(self.days)), self.charges.values())

    def by_symbol(self) -> dict[str, Numbers]:
        places: dict[str, list[int]] = {}
        for place, day in enumerate(self.days):
            places.setdefault(day.symbol, []).append(place)
        return {symbol: self._numbers(of) for symbol, of in places.items()}

    def by_day(self) -> dict[str, Numbers]:
        places: dict[str, list[int]] = {}
        for place, day in enumerate(self.days):
            places.setdefault(day.session.date.isoformat(), []).append(place)
        return {date: self._numbers(of, [self.charges[dt.date.fromisoformat(date)]]) for date, of in places.items()}

    def equity(self) -> list[tuple[int, int]]:
        """The profit of all symbols together after fees, as (end of a minute in ns, millionths of a dollar so far)."""
        return _running(self._paths)

    def _numbers(self, places: Iterable[int], charges: Iterable[Charges] = ()) -> Numbers:
        """`charges` are those of whole days, which are rounded."""
        days, paths, trades, held = [], [], [], []
        for place in places:
            days.append(self.days[place])
            paths.append(self._paths[place])
            trades += self._trades_of[place]
            held += self._held_of[place]
        closed = sum((trade.pnl for trade in trades), ZERO)
        closed_net = sum((trade.net for trade in trades), ZERO)
        pnl = closed + sum((one.pnl for one in held), ZERO)
        rounding = sum((of_day.rounding for of_day in charges), ZERO)
        fees = closed - closed_net + sum((one.holding.fees for one in held), ZERO) + rounding
        spans = [trade.exit_time - trade.entry_time for trade in trades]
        open_spans = [one.day.session.close - one.holding.entry_time for one in held]
        time = sum(day.session.close - day.session.open for day in days)
        count = len(trades)
        return Numbers(
            trades=count,
            win_rate=sum(trade.net > 0 for trade in trades) / count if count else None,
            pnl=pnl,
            fees=fees,
            rounding=rounding,
            net=pnl - fees,
            average=(closed_net / count).quantize(MICRO) if count else None,
            worst=min((trade.net for trade in trades), default=None),
            hold_seconds=sum(spans) / count / SECOND if count else None,
            exposure=(sum(spans) + sum(open_spans)) / time if time else 0.0,
            drawdown=_drawdown(paths),
            buys=sum(order.side == "buy" for day in days for order in day.orders),
            unfilled_buys=sum(day.unfilled_buys for day in days),
            liquidations=sum(trade.reason == "liquidation" for trade in trades),
            held=len(held),
            bars=sum(day.minutes for day in days),
        )


def _after_fees(day: SymbolDay, rates: Rates) -> list[tuple[int, int]]:
    """`day.path` with the fees of each fill in the minute in which it happened."""
    if rates == FREE:
        return day.path
    fees = [(fill.at, rates.of(fill.side, fill.qty, fill.price).total) for fill in day.fills]
    return day.path + [(at // MINUTE * MINUTE + MINUTE, -round(amount / MICRO)) for at, amount in fees]


def _running(paths: Iterable[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    gains: Counter[int] = Counter()
    for path in paths:
        for at, gained in path:
            gains[at] += gained
    total, points = 0, []
    for at in sorted(gains):
        total += gains[at]
        points.append((at, total))
    return points


def _drawdown(paths: Iterable[list[tuple[int, int]]]) -> Decimal:
    peak = deepest = 0
    for _, total in _running(paths):
        peak = max(peak, total)
        deepest = max(deepest, peak - total)
    return deepest * MICRO
