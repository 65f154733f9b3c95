"""The trading days of the New York Stock Exchange, early closes included."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date
from functools import cache

from msgspec import Struct

from scalp.core.errors import UserError

FIRST_DAY = date(2000, 1, 1)
LAST_DAY = date(2029, 12, 31)


class SessionDay(Struct, frozen=True):
    """One trading day: the New York `date`; `open` and `close` of the regular session in ns UTC, `close` exclusive."""

    date: date
    open: int
    close: int


@cache
def _table() -> tuple[list[date], list[SessionDay]]:
    # Imported here because it costs half a second on a cold start, and a bot on a real exchange never needs it.
    import exchange_calendars

    nyse = exchange_calendars.get_calendar("XNYS", start=FIRST_DAY.isoformat(), end=LAST_DAY.isoformat())
    dates = [session.date() for session in nyse.sessions]
    days = [
        SessionDay(day, int(opens), int(closes))
        for day, opens, closes in zip(dates, nyse.opens_nanos, nyse.closes_nanos, strict=True)
    ]
    return dates, days


def trading_days(start: date, end: date) -> list[SessionDay]:
    """The trading days from `start` to `end`, both included, oldest first.

    Known are FIRST_DAY to LAST_DAY; the part of the range outside them is left out.
    """
    dates, days = _table()
    return days[bisect_left(dates, start) : bisect_right(dates, end)]


def session_day(day: date) -> SessionDay:
    """The session of `day`. Raises UserError, naming the nearest trading days, when there is none."""
    dates, days = _table()
    if not FIRST_DAY <= day <= LAST_DAY:
        raise UserError(f"{day} is outside the trading calendar: choose a day from {dates[0]} to {dates[-1]}")
    at = bisect_left(dates, day)
    if at < len(dates) and dates[at] == day:
        return days[at]
    nearest = " and ".join(str(near) for near in dates[max(at - 1, 0) : at + 1])
    raise UserError(f"{day} is not a trading day in New York: the nearest are {nearest}")
