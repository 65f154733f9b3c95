"""The numbers of some days: trades, and what they come to per symbol, per day and in all."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct, structs

from scalp.core.clock import new_york
from scalp.core.decimals import ZERO
from scalp.core.fees import FREE, NO_CHARGES, NO_FEES, Charges, FeeSchedule, Rates
from scalp.core.orders import BUY, SELL
from scalp.core.trades import Holding, RoundTrip, round_trips
from scalp.core.units import MINUTE, SECOND
from scalp.results.statistics import calmar, cost_share, expectancy, profit_factor, sharpe, sortino, sqn, under_water
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


class TradeStatistics(Struct, frozen=True, kw_only=True):
    """What some trades come to, in dollars; `win_rate`, `cost_share` and `expectancy` are parts of 1.

    `pnl` is gross, `net` that after `fees`. A trade is won that gains after fees, even that neither gains nor loses;
    `average`, `worst` and the ratios, which `statistics` explains, are net.
    """

    trades: int
    won: int
    even: int
    lost: int
    win_rate: float | None
    pnl: Decimal
    fees: Decimal
    net: Decimal
    average: Decimal | None
    worst: Decimal | None
    hold_seconds: float | None
    profit_factor: float | None
    expectancy: float | None
    sqn: float | None
    cost_share: float | None


class Statistics(TradeStatistics, frozen=True, kw_only=True):
    """What some symbol-days come to, in dollars; `exposure` and `under_water` are parts of 1.

    `pnl` is of all trades and of what is still held, at its last close. `drawdown` is the deepest fall of the profit
    after fees, looked at each minute's end; `longest_drawdown` is how long it once took to get back, in trading days,
    and `under_water` the part of the sessions' time in which it was below its highest so far. `exposure` is the part in
    which shares were held. `rounding` is the part of the fees that no trade caused: that of whole days, each kind
    rounded up to a cent. `sharpe`, `sortino` and `calmar` are of the net of `days` trading days; None for fewer than 20
    of them. `buy_and_hold` is what a lot of each symbol comes to, bought at the first open and sold at the last close,
    after fees; None where the lot is not known.
    """

    rounding: Decimal
    exposure: float
    drawdown: Decimal
    longest_drawdown: float
    under_water: float
    days: int
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    buy_and_hold: Decimal | None
    buys: int
    unfilled_buys: int
    liquidations: int
    held: int
    bars: int


# What trades are grouped by: each group's name, its title, and which one a trade belongs to, in this order.
GROUPS: tuple[tuple[str, str, Callable[[RoundTrip], str]], ...] = (
    ("hour", "by the hour of the entry", lambda trade: f"{new_york(trade.entry_time):%H}:00"),
    ("weekday", "by weekday", lambda trade: f"{new_york(trade.entry_time):%w %A}"),
    ("month", "by month", lambda trade: f"{new_york(trade.entry_time):%Y-%m}"),
    ("reason", "by exit reason", lambda trade: trade.reason),
)


class Results:
    """Everything that came of a backtest, oldest day first, symbols in the order asked for, after `fees`.

    `lot` is what each buy was for, in dollars, where that is known and one for all.
    """

    def __init__(self, days: Iterable[SymbolDay], fees: FeeSchedule = NO_FEES, lot: Decimal | None = None) -> None:
        self.days = list(days)
        self.fees = fees
        self.lot = lot
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

    def name_reasons(self, reasons: Mapping[tuple[str, int], str]) -> None:
        """Call trades by what ended them, where that is known better than by the kind of their last order.

        By symbol and time of the first execution.
        """

        def named(trade: RoundTrip) -> RoundTrip:
            reason = reasons.get((trade.symbol, trade.entry_time), trade.reason)
            return trade if reason == trade.reason else structs.replace(trade, reason=reason)

        self.trades = [named(trade) for trade in self.trades]
        self._trades_of = {place: [named(trade) for trade in of] for place, of in self._trades_of.items()}

    def daily(self) -> dict[dt.date, Decimal]:
        """What each day came to after its fees, in dollars."""
        return self._daily(range(len(self.days)), True)

    def total(self) -> Statistics:
        return self._numbers(range(len(self.days)), list(self.charges.values()))

    def by_symbol(self) -> dict[str, Statistics]:
        places: dict[str, list[int]] = {}
        for place, day in enumerate(self.days):
            places.setdefault(day.symbol, []).append(place)
        return {symbol: self._numbers(of) for symbol, of in places.items()}

    def by_day(self) -> dict[str, Statistics]:
        places: dict[str, list[int]] = {}
        for place, day in enumerate(self.days):
            places.setdefault(day.session.date.isoformat(), []).append(place)
        return {date: self._numbers(of, [self.charges[dt.date.fromisoformat(date)]]) for date, of in places.items()}

    def grouped(self) -> dict[str, dict[str, TradeStatistics]]:
        """The closed trades by the names of `GROUPS`, and in each by what they have in common, sorted."""
        found = {}
        for name, _, key in GROUPS:
            of: dict[str, list[RoundTrip]] = {}
            for trade in self.trades:
                of.setdefault(key(trade), []).append(trade)
            # A weekday begins with its number, for the order.
            found[name] = {
                (group.split()[-1] if name == "weekday" else group): of_trades(of[group]) for group in sorted(of)
            }
        return found

    def equity(self) -> list[tuple[int, int]]:
        """The profit of all symbols together after fees, as (end of a minute in ns, millionths of a dollar so far)."""
        return _running(self._paths)

    def _numbers(self, places: Sequence[int], charges: Sequence[Charges] = ()) -> Statistics:
        """`charges` are those of whole days, which are rounded."""
        days, paths, trades, held = [], [], [], []
        for place in places:
            days.append(self.days[place])
            paths.append(self._paths[place])
            trades += self._trades_of[place]
            held += self._held_of[place]
        closed = of_trades(trades)
        pnl = closed.pnl + sum((one.pnl for one in held), ZERO)
        rounding = sum((of_day.rounding for of_day in charges), ZERO)
        fees = closed.fees + sum((one.holding.fees for one in held), ZERO) + rounding
        spans = [trade.exit_time - trade.entry_time for trade in trades]
        open_spans = [one.day.session.close - one.holding.entry_time for one in held]
        time = sum(day.session.close - day.session.open for day in days)
        sessions = sorted({day.session.date: day.session for day in days}.values(), key=lambda session: session.open)
        daily = [float(net) for net in self._daily(places, bool(charges)).values()]
        points = _running(paths)
        longest, under = under_water(points, sessions)
        return Statistics(
            **(
                structs.asdict(closed)
                | {"pnl": pnl, "fees": fees, "net": pnl - fees, "cost_share": cost_share(pnl, fees)}
            ),
            rounding=rounding,
            exposure=(sum(spans) + sum(open_spans)) / time if time else 0.0,
            drawdown=_drawdown(points),
            longest_drawdown=longest,
            under_water=under,
            days=len(sessions),
            sharpe=sharpe(daily),
            sortino=sortino(daily),
            calmar=calmar(daily),
            buy_and_hold=self._buy_and_hold(days),
            buys=sum(order.side == BUY for day in days for order in day.orders),
            unfilled_buys=sum(day.unfilled_buys for day in days),
            liquidations=sum(trade.reason == "liquidation" for trade in trades),
            held=len(held),
            bars=sum(day.minutes for day in days),
        )

    def _daily(self, places: Iterable[int], is_whole: bool) -> dict[dt.date, Decimal]:
        """The net of each session, in dollars; `is_whole`: all symbols, so that the rounding of the fees comes off."""
        net: dict[dt.date, Decimal] = {}
        for place in places:
            date = self.days[place].session.date
            if date not in net:
                net[date] = -self.charges[date].rounding if is_whole else ZERO
            net[date] += sum((trade.net for trade in self._trades_of[place]), ZERO)
            net[date] += sum((held.net for held in self._held_of[place]), ZERO)
        return net

    def _buy_and_hold(self, days: Sequence[SymbolDay]) -> Decimal | None:
        """See `Statistics`; whole shares, as the bot buys them."""
        if self.lot is None:
            return None
        gained, of = ZERO, dict[str, list[SymbolDay]]()
        for day in days:
            if day.first_price and day.last_price:
                of.setdefault(day.symbol, []).append(day)
        for first, *_, last in (those if len(those) > 1 else those * 2 for those in of.values()):
            assert first.first_price is not None and last.last_price is not None
            qty = self.lot // first.first_price
            paid = self.fees.on(first.session.date).of(BUY, qty, first.first_price).total
            paid += self.fees.on(last.session.date).of(SELL, qty, last.last_price).total
            gained += qty * (last.last_price - first.first_price) - paid
        return gained


def of_trades(trades: Sequence[RoundTrip]) -> TradeStatistics:
    """What `trades` come to."""
    gross = sum((trade.pnl for trade in trades), ZERO)
    net = sum((trade.net for trade in trades), ZERO)
    count, won, lost = len(trades), sum(trade.net > 0 for trade in trades), sum(trade.net < 0 for trade in trades)
    return TradeStatistics(
        trades=count,
        won=won,
        even=count - won - lost,
        lost=lost,
        win_rate=won / count if count else None,
        pnl=gross,
        fees=gross - net,
        net=net,
        average=(net / count).quantize(MICRO) if count else None,
        worst=min((trade.net for trade in trades), default=None),
        hold_seconds=sum(trade.exit_time - trade.entry_time for trade in trades) / count / SECOND if count else None,
        profit_factor=profit_factor(trades),
        expectancy=expectancy(trades),
        sqn=sqn(trades),
        cost_share=cost_share(gross, gross - net),
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


def _drawdown(points: Iterable[tuple[int, int]]) -> Decimal:
    peak = deepest = 0
    for _, total in points:
        peak = max(peak, total)
        deepest = max(deepest, peak - total)
    return deepest * MICRO
