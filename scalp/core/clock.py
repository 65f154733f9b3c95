"""Exchange time and the day's session. The machine's own clock and time zone play no part."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

from msgspec import Struct

from scalp.core.units import MINUTE, SECOND

NEW_YORK = ZoneInfo("America/New_York")
LIQUIDATE_BEFORE_CLOSE = 300 * SECOND  # the original's 3:55 pm on a full day
NEVER = 2**62  # later than any time, ns
QUIET_BEFORE_CLOSE = 2 * SECOND  # an order sent later could be parked for tomorrow's open
END_IS_NEAR = 600 * SECOND  # before the close: it may move, so the clock is asked more often
CHECKUP_EVERY, LATE_LOOK_EVERY, LIQUIDATION_EVERY = 30.0, 10.0, 1.0  # seconds: all day; near the end; liquidating
AHEAD = SECOND  # an exchange timestamp may be so far ahead of what is taken to be exchange time
MOST_BACK = SECOND  # an answer may put the time back by so much at once
LEAP = MINUTE  # answers alone may put it ahead by so much since something else last agreed with it
VAGUE = SECOND // 2  # an answer may be off by half of the time it took: beyond this it is too vague to go by
PATIENCE = 75.0  # seconds within which flowing market data confirm or contradict a leap: a bar comes every minute
NO_FEED_SO_LATE = 20 * MINUTE  # a delayed one is 15 minutes late
STEADY_COUNT, STEADY_FOR = 3, 60.0  # data that show the same other time so often, for so many seconds, are right


class Session(Struct, frozen=True):
    """One regular session; times in ns since the epoch, UTC."""

    date: dt.date
    open: int
    close: int
    is_held: bool = False  # nothing is liquidated: the end seems near, but the time or the market is in doubt

    @property
    def liquidate_at(self) -> int:
        return NEVER if self.is_held else self.close - LIQUIDATE_BEFORE_CLOSE

    @property
    def quiet_at(self) -> int:
        return NEVER if self.is_held else self.close - QUIET_BEFORE_CLOSE

    @property
    def near_at(self) -> int:
        return self.close - END_IS_NEAR

    def checkup_every(self, at: int) -> float:
        """Seconds between two checkups at `at`."""
        if at >= self.liquidate_at:
            return LIQUIDATION_EVERY
        return LATE_LOOK_EVERY if at >= self.near_at else CHECKUP_EVERY


class _OtherTime(Struct):
    """The time that market data show when they contradict the clock."""

    offset: int
    since: float  # loop time of the first of them, and of the last
    heard_at: float
    count: int = 0


class MarketClock:
    """Follows the exchange's clock by an offset to a monotonic one (`loop.time`).

    What that clock says is a claim. One that moves the time by much is believed when market data bear it out, see
    `witness`; when none come that could, it is believed once the clock has said it again.
    """

    def __init__(self, loop_time: Callable[[], float]) -> None:
        self._loop_time = loop_time
        self._offset: int | None = None
        self._vague = 0  # by how much the answer it was set by may have been off, ns
        self._at_least = 0  # put back by a little, the time stands still until it reaches this again
        self._vouched = 0  # the offset that market data, or else the first answer, vouched for last
        self._told = 0
        self.stands_still = False  # the exchange's clock: it gave the same time twice, which has passed by now
        self._doubted: int | None = None  # the offset of the answer that was passed over last
        self._doubted_since = self._contradicted_at = float("-inf")  # loop time
        self._other: _OtherTime | None = None
        self._before: int | None = None  # the offset before a leap that answers alone made
        self.is_confirmed = False  # market data have agreed with it
        self.follows_data = False  # they showed another time for so long that they are right, and the clock is wrong

    @property
    def is_set(self) -> bool:
        return self._offset is not None

    def set(self, exchange_now: int, asked_at: float, answered_at: float, data_flow: bool = False) -> None:
        """Take over the exchange's time: its answer `exchange_now` (ns) belongs to the middle of the request.

        An answer that took long and agrees with the time so far adds nothing new. One that puts the time back, or far
        ahead, is doubted (see `is_doubted`) until the next one says so too and, where `data_flow`, bars or trades have
        had time to contradict; a clock that stands still, or a cache, never puts it back.
        """
        offset = exchange_now - round((asked_at + answered_at) / 2 * SECOND)
        vague = round((answered_at - asked_at) / 2 * SECOND)
        is_told_again, self._told = exchange_now == self._told, exchange_now
        if self._offset is None:
            self._offset, self._vague, self._vouched = offset, vague, offset
            return
        self.stands_still = is_told_again and offset < self._offset
        before, self._doubted = self._doubted, None
        ahead, doubt = offset - self._offset, vague + self._vague
        if vague > VAGUE and abs(ahead) <= doubt:
            return
        is_back = ahead < -MOST_BACK - doubt
        if is_back or offset - self._vouched > LEAP + doubt:
            if before is None:
                self._doubted_since = answered_at
            is_repeated = before is not None and abs(offset - before) <= (MOST_BACK + vague if is_back else LEAP)
            silence = answered_at - max(self._contradicted_at, self._doubted_since if data_flow else float("-inf"))
            may_stand = silence >= PATIENCE and not self.follows_data and not (is_back and self.stands_still)
            if not (is_repeated and may_stand) and not self._is_borne_out(offset):
                self._doubted = offset
                return
            self._before, self.is_confirmed = self._offset, False
            self._vouched, self._other = offset, None
        self._at_least = self.now() if -MOST_BACK <= ahead < 0 else 0
        self._offset, self._vague, self.follows_data = offset, vague, False

    def witness(self, made_at: int) -> bool:
        """Market data made at `made_at` (ns, by the exchange's stamp) have just come: they may be late, never early.

        They settle a doubt, and undo a leap that answers alone made. Where they steadily show another time than the
        clock did from the start, they are followed: none come from the future, and no feed is 20 minutes late. Returns
        whether they changed the time.
        """
        assert self._offset is not None
        offset = self._offset
        heard_at = self._loop_time()
        told = made_at - round(heard_at * SECOND)
        if self._doubted is not None:
            if -LEAP <= told - self._doubted <= MOST_BACK:
                self._offset = self._vouched = self._doubted
                self._doubted = None
            elif abs(told - self._offset) <= LEAP:
                self._contradicted_at = heard_at
        ahead = told - self._offset
        if self._before is not None and abs(told - self._before) <= LEAP < abs(ahead):
            self._offset = self._vouched = self._before
            self._contradicted_at, ahead = heard_at, told - self._offset
        if abs(ahead) <= LEAP:
            self.is_confirmed, self._other, self._before = True, None, None
            self._vouched = max(self._vouched, told)
        elif ahead > 0 or (ahead < -NO_FEED_SO_LATE and not self.is_confirmed):
            self._hear_other(told, heard_at)
        if self._offset != offset:
            self._at_least = 0
        return self._offset != offset

    def _is_borne_out(self, offset: int) -> bool:
        """Whether `offset` is the other time that market data show."""
        other = self._other
        return other is not None and bool(self.contradictions) and -LEAP <= other.offset - offset <= MOST_BACK

    def _hear_other(self, told: int, heard_at: float) -> None:
        other = self._other
        if other is None or abs(told - other.offset) > LEAP:
            other = self._other = _OtherTime(told, heard_at, heard_at)
        other.offset, other.heard_at, other.count = max(other.offset, told), heard_at, other.count + 1
        if other.count >= STEADY_COUNT and heard_at - other.since >= STEADY_FOR:
            self._offset = self._vouched = other.offset
            self._other = self._doubted = None
            self.is_confirmed = self.follows_data = True

    @property
    def is_doubted(self) -> bool:
        """Whether the last answer was passed over."""
        return self._doubted is not None

    @property
    def contradictions(self) -> int:
        """How many market data in a row have lately shown another time."""
        other = self._other
        return other.count if other is not None and self._loop_time() - other.heard_at < PATIENCE else 0

    @property
    def is_ahead(self) -> bool:
        """Whether that other time is an earlier one."""
        return bool(self.contradictions) and self._other is not None and self._other.offset < (self._offset or 0)

    def now(self) -> int:
        """Exchange time, ns. It never goes back, except by a leap."""
        at = round(self._loop_time() * SECOND) + (self._offset or 0)
        return at if at > self._at_least else self._at_least

    def seconds_until(self, at: int) -> float:
        return (at - self.now()) / SECOND


def new_york(at: int) -> dt.datetime:
    """`at` (ns) as a New York time, to the microsecond."""
    return dt.datetime.fromtimestamp(at // SECOND, NEW_YORK).replace(microsecond=at % SECOND // 1000)


def nanoseconds(when: dt.datetime) -> int:
    """An aware datetime as ns since the epoch."""
    return int(when.replace(microsecond=0).timestamp()) * SECOND + when.microsecond * 1000
