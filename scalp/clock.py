"""Exchange time and the day's session. The machine's own clock and time zone play no part."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

from msgspec import Struct

from scalp.messages import SECOND

NEW_YORK = ZoneInfo("America/New_York")
LIQUIDATE_BEFORE_CLOSE = 300 * SECOND  # the original's 3:55 pm on a full day
QUIET_BEFORE_CLOSE = 2 * SECOND  # an order sent later could be parked for tomorrow's open
END_IS_NEAR = 600 * SECOND  # before the close: it may move, so the clock is asked more often
CHECKUP_EVERY, LATE_LOOK_EVERY, LIQUIDATION_EVERY = 30.0, 10.0, 1.0  # seconds: all day; near the end; liquidating
MOST_BACK = SECOND  # by which an answer may put the time back at once
LEAP = 120 * SECOND  # by which it may put it ahead at once
VAGUE = SECOND // 2  # an answer may be off by half of the time it took: beyond this it is too vague to go by


class Session(Struct, frozen=True):
    """One regular session; times in ns since the epoch, UTC."""

    date: dt.date
    open: int
    close: int

    @property
    def liquidate_at(self) -> int:
        return self.close - LIQUIDATE_BEFORE_CLOSE

    @property
    def quiet_at(self) -> int:
        return self.close - QUIET_BEFORE_CLOSE

    @property
    def near_at(self) -> int:
        return self.close - END_IS_NEAR

    def checkup_every(self, at: int) -> float:
        """Seconds between two checkups at `at`."""
        if at >= self.liquidate_at:
            return LIQUIDATION_EVERY
        return LATE_LOOK_EVERY if at >= self.near_at else CHECKUP_EVERY


class MarketClock:
    """Follows the exchange's clock by an offset to a monotonic one (`loop.time`)."""

    def __init__(self, loop_time: Callable[[], float]) -> None:
        self._loop_time = loop_time
        self._offset: int | None = None
        self._told = 0
        self.stands_still = False  # the exchange's clock: it told the same twice, and is none
        self._doubted: int | None = None  # the offset of the answer that was passed over last
        self._vague = 0  # by how much the answer it was set by may have been off, ns

    @property
    def is_set(self) -> bool:
        return self._offset is not None

    def set(self, exchange_now: int, asked_at: float, answered_at: float) -> None:
        """Take over the exchange's time: its answer `exchange_now` (ns) belongs to the middle of the request.

        An answer that took long and agrees with what is believed tells nothing new. One that puts the time back, or far
        ahead, is doubted (see `is_doubted`) until the next one says so too; a clock that stands still, or a cache,
        never puts it back.
        """
        offset = exchange_now - round((asked_at + answered_at) / 2 * SECOND)
        vague = round((answered_at - asked_at) / 2 * SECOND)
        self.stands_still, self._told = exchange_now == self._told, exchange_now
        before, self._doubted = self._doubted, None
        if self._offset is not None:
            ahead, doubt = offset - self._offset, vague + self._vague
            if vague > VAGUE and abs(ahead) <= doubt:
                return
            if ahead > LEAP + doubt and (before is None or before < self._offset):
                self._doubted = offset
                return
            is_repeated = before is not None and abs(offset - before) <= MOST_BACK + vague
            if ahead < -MOST_BACK - doubt and (self.stands_still or not is_repeated):
                self._doubted = offset
                return
        self._offset, self._vague = offset, vague

    @property
    def is_doubted(self) -> bool:
        """Whether the last answer was passed over."""
        return self._doubted is not None

    def now(self) -> int:
        """Exchange time, ns."""
        return round(self._loop_time() * SECOND) + (self._offset or 0)

    def seconds_until(self, at: int) -> float:
        return (at - self.now()) / SECOND


def new_york(at: int) -> dt.datetime:
    """`at` (ns) as a New York time, to the microsecond."""
    return dt.datetime.fromtimestamp(at // SECOND, NEW_YORK).replace(microsecond=at % SECOND // 1000)


def nanoseconds(when: dt.datetime) -> int:
    """An aware datetime as ns since the epoch."""
    return int(when.replace(microsecond=0).timestamp()) * SECOND + when.microsecond * 1000
