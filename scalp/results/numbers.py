"""The numbers of a backtest: trades, and what they come to per symbol, per day and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from scalp.core.messages import SECOND
from scalp.core.trades import Holding, RoundTrip, round_trips
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


class Numbers(Struct, frozen=True):
    """What some symbol-days come to. Dollars are gross; `exposure` and `win_rate` are shares of 1.

    `pnl` is of all trades and of what is still held, at its last close; `drawdown` is the deepest fall of that sum,
    looked at each minute's end. `exposure` is the part of the sessions' time in which shares were held.
    """

    trades: int
    win_rate: float | None
    pnl: Decimal
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
    """Everything that came of a backtest, oldest day first, symbols in the order asked for."""

    def __init__(self, days: Iterable[SymbolDay]) -> None:
        self.days = list(days)
        self.trades: list[RoundTrip] = []
        self.held: list[Held] = []
        self._trades_of: dict[int, list[RoundTrip]] = {}  # by place in `days`
        self._held_of: dict[int, list[Held]] = {}
        for place, day in enumerate(self.days):
            trips = round_trips(day.fills)
            self._trades_of[place] = trips.trades
            self._held_of[place] = [Held(day, holding) for holding in trips.held.values()]
            self.trades += trips.trades
            self.held += self._held_of[place]
        self.trades.sort(key=lambda trade: (trade.exit_time, trade.entry_time, trade.symbol))

    def total(self) -> Numbers:
        return self._numbers(range(len(self.days)))

    def by_symbol(self) -> dict[str, Numbers]:
        places: dict[str, list[int]] = {}
        for place, day in enumerate(self.days):
            places.setdefault(day.symbol, []).append(place)
        return {symbol: self._numbers(of) for symbol, of in places.items()}

    def by_day(self) -> dict[str, Numbers]:
        places: dict[str, list[int]] = {}
        for place, day in enumerate(self.days):
            places.setdefault(day.session.date.isoformat(), []).append(place)
        return {date: self._numbers(of) for date, of in places.items()}

    def equity(self) -> list[tuple[int, int]]:
        """The profit of all symbols together as (end of a minute in ns, millionths of a dollar so far)."""
        return _running(self.days)

    def _numbers(self, places: Iterable[int]) -> Numbers:
        days, trades, held = [], [], []
        for place in places:
            days.append(self.days[place])
            trades += self._trades_of[place]
            held += self._held_of[place]
        closed = sum((trade.pnl for trade in trades), Decimal(0))
        spans = [trade.exit_time - trade.entry_time for trade in trades]
        open_spans = [one.day.session.close - one.holding.entry_time for one in held]
        time = sum(day.session.close - day.session.open for day in days)
        count = len(trades)
        return Numbers(
            trades=count,
            win_rate=sum(trade.pnl > 0 for trade in trades) / count if count else None,
            pnl=closed + sum((one.pnl for one in held), Decimal(0)),
            average=(closed / count).quantize(MICRO) if count else None,
            worst=min((trade.pnl for trade in trades), default=None),
            hold_seconds=sum(spans) / count / SECOND if count else None,
            exposure=(sum(spans) + sum(open_spans)) / time if time else 0.0,
            drawdown=_drawdown(days),
            buys=sum(order.side == "buy" for day in days for order in day.orders),
            unfilled_buys=sum(day.unfilled_buys for day in days),
            liquidations=sum(trade.reason == "liquidation" for trade in trades),
            held=len(held),
            bars=sum(day.minutes for day in days),
        )


def _running(days: Iterable[SymbolDay]) -> list[tuple[int, int]]:
    gains: Counter[int] = Counter()
    for day in days:
        for at, gained in day.path:
            gains[at] += gained
    total, points = 0, []
    for at in sorted(gains):
        total += gains[at]
        points.append((at, total))
    return points


def _drawdown(days: Iterable[SymbolDay]) -> Decimal:
    peak = deepest = 0
    for _, total in _running(days):
        peak = max(peak, total)
        deepest = max(deepest, peak - total)
    return deepest * MICRO
