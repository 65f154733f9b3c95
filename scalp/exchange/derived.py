"""What follows from the day so far: longer bars, the prints in a minute, what the account was worth.

Nothing of it is kept: it is made again for whoever asks, from the minutes published and the executions.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal

from msgspec import Struct, structs

from scalp.core import prices
from scalp.core.clock import NEW_YORK
from scalp.core.decimals import ZERO
from scalp.core.market_data import Bar
from scalp.core.units import HOUR, MINUTE, SECOND
from scalp.exchange.path import Print, trade_path
from scalp.exchange.simulation import Simulation, new_york

_TIMEFRAME = re.compile(r"([0-9]{1,9})(Min|T|Hour|H|Day|D|Week|W|Month|M)")
_COUNTS = {
    "minute": range(1, 60),
    "hour": range(1, 24),
    "day": range(1, 2),
    "week": range(1, 2),
    "month": (1, 2, 3, 4, 6, 12),
}
_UNITS = {"Min": "minute", "T": "minute", "Hour": "hour", "H": "hour", "Day": "day", "D": "day"} | {
    "Week": "week",
    "W": "week",
    "Month": "month",
    "M": "month",
}


class Span(Struct, frozen=True):
    """How long a bar is: so many minutes, hours, days, weeks or months.

    Days and longer begin at a midnight in New York, weeks on the weekday `week_begins` (0: Monday), and months are
    counted from January.
    """

    count: int
    unit: str
    week_begins: int = 0

    @classmethod
    def of_alpaca(cls, timeframe: str) -> Span | None:
        """What Alpaca calls `timeframe`; None when it has none of this name."""
        found = _TIMEFRAME.fullmatch(timeframe)
        if found is None or int(found[1]) not in _COUNTS[_UNITS[found[2]]]:
            return None
        return cls(int(found[1]), _UNITS[found[2]])

    @property
    def is_clock(self) -> bool:
        """Whether it is counted by the clock, not by the calendar."""
        return self.unit in ("minute", "hour")

    def first_day(self, day: date) -> date:
        """The first day of the span, counted by the calendar, that `day` lies in."""
        if self.unit == "month":
            months = max((day.year * 12 + day.month - 1) // self.count * self.count, 12)
            return date(months // 12, months % 12 + 1, 1)
        if self.unit == "week":
            past = (day.toordinal() - 1 - self.week_begins) % (7 * self.count)  # day 1 of the calendar was a Monday
            return date.fromordinal(max(day.toordinal() - past, 1))
        return date.fromordinal(max(day.toordinal() // self.count * self.count, 1))


MINUTES, DAYS = Span(1, "minute"), Span(1, "day")


class _Day(Struct, frozen=True):
    """A day in New York, from midnight to midnight, and its regular session (0, 0: none). Times in ns."""

    date: date
    start: int
    end: int
    open: int
    close: int


class Derived:
    """Answers for one simulation; only what has been published by now counts."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._days: dict[date, _Day] = {}

    def minutes(self, symbol: str) -> list[Bar]:
        """The minute bars so far, oldest first."""
        return self._simulation.tape.published.get(symbol, [])

    def bars(self, symbol: str, span: Span) -> list[Bar]:
        """The bars of `span` so far, the running one included.

        As on the tape, what trades outside the regular session counts for the volume of a day, week or month, and not
        for its prices: before the open a day has no bar.
        """
        minutes = self.minutes(symbol)
        if span == MINUTES:
            return minutes
        merged: list[Bar] = []
        width = span.count * (MINUTE if span.unit == "minute" else HOUR)
        day, start = self._day(date.min + timedelta(1)), 0
        for bar in minutes:
            counts = True
            if span.is_clock:
                start = bar.start // width * width
            else:
                if not day.start <= bar.start < day.end:
                    day = self._day(new_york(bar.start).date())
                    start = midnight(span.first_day(day.date))
                counts = day.open <= bar.start < day.close
            if not merged or merged[-1].start != start:
                merged.append(Bar(bar.symbol, start, 0.0, 0.0, 0.0, 0.0, 0.0))
            merged[-1] = joined(merged[-1], bar, counts)
        return [bar for bar in merged if bar.open]

    def day(self, symbol: str, day: date) -> Bar | None:
        """The bar of one day, None before its first print in the regular session."""
        start = midnight(day)
        return next((bar for bar in self.bars(symbol, DAYS) if bar.start == start), None)

    def session(self, day: date) -> tuple[int, int]:
        """Open and close of the regular session (ns), (0, 0) on a day without."""
        found = self._day(day)
        return found.open, found.close

    def prints(self, symbol: str, first: int, last: int) -> Iterator[Print]:
        """What was traded from `first` to `last`, both included, and until now, oldest first."""
        last = min(last, self._simulation.now)
        bars = self._simulation.market.get(symbol, ())
        for n in range(bisect_left(bars, first - MINUTE + 1, key=_start), len(bars)):
            if bars[n].start > last:
                break
            for made in trade_path(bars[n]):
                if first <= made.at <= last and not self._simulation.was_halted(symbol, made.at):
                    yield made

    def equity(self, times: Sequence[int]) -> list[Decimal]:
        """What the account was worth at each of `times` (ns, ascending), by the last bar finished until then."""
        engine = self._simulation.engine
        executions = engine.executions
        fees = engine.charger.fees
        cash = engine.account.cash + sum((_cost(of.side, of.qty, of.price) for of in executions), ZERO)
        cash += sum((fee.amount for fee in fees), ZERO)
        held: dict[str, Decimal] = {}
        paid: dict[str, Decimal] = {}
        done, worth = 0, []
        for at in times:
            while done < len(executions) and executions[done].at <= at:
                of = executions[done]
                cash -= _cost(of.side, of.qty, of.price)
                held[of.symbol] = held.get(of.symbol, ZERO) + (of.qty if of.side == "buy" else -of.qty)
                paid[of.symbol] = of.price
                done += 1
            if at >= self._simulation.now:
                worth.append(engine.equity())
                continue
            value = cash - sum((fee.amount for fee in fees if fee.at <= at), ZERO)
            for symbol, qty in held.items():
                minutes = self.minutes(symbol)
                past = bisect_left(minutes, at - MINUTE + 1, key=_start)
                value += qty * (prices.exact(minutes[past - 1].close) if past else paid[symbol]) if qty else ZERO
            worth.append(value)
        return worth

    def _day(self, day: date) -> _Day:
        found = self._days.get(day)
        if found is None:
            sessions = self._simulation.days(day, day)
            hours = (sessions[0].open, sessions[0].close) if sessions else (0, 0)
            found = self._days[day] = _Day(day, midnight(day), midnight(day + timedelta(1)), *hours)
        return found


def joined(of: Bar, bar: Bar, counts: bool) -> Bar:
    """The longer bar `of` with the next minute `bar`, whose prices count, or its volume alone. Open 0: none did yet."""
    volume = of.volume + bar.volume
    if not counts:
        return structs.replace(of, volume=volume)
    if not of.open:
        return Bar(bar.symbol, of.start, bar.open, bar.high, bar.low, bar.close, volume)
    return Bar(bar.symbol, of.start, of.open, max(of.high, bar.high), min(of.low, bar.low), bar.close, volume)


def _start(bar: Bar) -> int:
    return bar.start


def _cost(side: str, qty: Decimal, price: Decimal) -> Decimal:
    return qty * price if side == "buy" else -qty * price


def midnight(day: date) -> int:
    """The first instant of a day in New York (ns)."""
    return round(datetime.combine(day, time_of_day(), NEW_YORK).timestamp()) * SECOND
