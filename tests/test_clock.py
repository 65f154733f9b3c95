"""Exchange time: it follows the exchange, not the machine."""

from __future__ import annotations

import datetime as dt
import os
import time

import pytest

from scalp.clock import NEW_YORK, MarketClock, Session, nanoseconds, new_york
from scalp.messages import SECOND
from tests.helpers import HALF_DAY, SESSION, clock


class Loop:
    """A loop's time, moved by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


def test_the_clock_runs_with_the_loop_from_the_middle_of_the_request_on() -> None:
    loop = Loop(5000.0)
    market = MarketClock(loop.time)
    assert not market.is_set
    market.set(clock("10:00"), asked_at=4999.0, answered_at=5000.0)
    assert market.is_set
    assert market.now() == clock("10:00:00.5")
    loop.now += 60.25
    assert market.now() == clock("10:01:00.75")
    assert market.seconds_until(clock("10:01:02")) == 1.25
    assert market.seconds_until(clock("10:01")) == -0.75


def test_a_later_answer_corrects_it() -> None:
    loop = Loop(0.0)
    market = MarketClock(loop.time)
    market.set(clock("10:00"), 0.0, 0.0)
    loop.now = 3600.0
    market.set(clock("11:00:02"), 3600.0, 3600.0)  # this machine ran 2 s behind in the hour
    assert market.now() == clock("11:00:02")


def test_a_clock_that_stands_still_is_passed_over() -> None:
    loop = Loop(0.0)
    market = MarketClock(loop.time)
    market.set(clock("10:00"), 0.0, 0.0)
    for _ in range(4):
        loop.now += 30.0
        market.set(clock("10:00"), loop.now, loop.now)
    assert market.now() == clock("10:02")
    market.set(clock("10:01:59.5"), 120.0, 120.0)
    assert market.now() == clock("10:01:59.5")


def test_a_leap_is_believed_when_it_is_said_twice() -> None:
    loop = Loop(0.0)
    market = MarketClock(loop.time)
    market.set(clock("10:00"), 0.0, 0.0)
    market.set(clock("10:02"), 0.0, 0.0)  # no leap yet: this machine slept a while
    assert (market.now(), market.is_doubted) == (clock("10:02"), False)
    market.set(clock("10:10"), 0.0, 0.0)
    assert (market.now(), market.is_doubted) == (clock("10:02"), True)
    loop.now = 2.0
    market.set(clock("10:02:02"), 2.0, 2.0)  # a slip
    market.set(clock("10:10:02"), 2.0, 2.0)
    assert market.now() == clock("10:02:02")
    market.set(clock("10:10:02"), 2.0, 2.0)  # also of a clock that stands still
    assert (market.now(), market.is_doubted) == (clock("10:10:02"), False)
    market.set(clock("10:09"), 2.0, 2.0)
    market.set(clock("10:09"), 2.5, 2.5)  # one that stands still never puts it back
    assert (market.now(), market.is_doubted) == (clock("10:10:02"), True)


def test_a_slow_answer_mends_what_is_worse_than_its_slowness() -> None:
    loop = Loop(10.0)
    market = MarketClock(loop.time)
    market.set(clock("10:00"), 10.0, 10.0)
    loop.now = 20.0
    market.set(clock("10:00:04.5"), 16.0, 20.0)  # the middle is at 18 s: 3.5 s behind, give or take 2
    assert market.now() == clock("10:00:10")
    for _ in range(2):
        loop.now += 4.0
        market.set(clock("10:08") + round(loop.now * SECOND), loop.now - 4.0, loop.now)
    assert market.now() == clock("10:08") + 30 * SECOND


def test_a_clock_that_was_put_back_is_believed_when_it_says_so_twice() -> None:
    loop = Loop(0.0)
    market = MarketClock(loop.time)
    market.set(clock("10:00"), 0.0, 0.0)
    loop.now = 30.0
    market.set(clock("09:59"), 30.0, 30.0)
    assert market.now() == clock("10:00:30")
    loop.now = 60.0
    market.set(clock("09:59:30.2"), 60.0, 60.0)
    assert market.now() == clock("09:59:30.2")


def test_a_first_answer_that_took_long_is_corrected_either_way() -> None:
    for better in ("10:00:00.5", "10:00:07.5"):
        market = MarketClock(Loop(8.0).time)
        market.set(clock("10:00"), 0.0, 8.0)
        assert market.now() == clock("10:00:04")
        market.set(clock(better), 8.0, 8.0)
        assert market.now() == clock(better)


def test_the_machines_clock_and_time_zone_play_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86400.0)
    zone_before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        market = MarketClock(Loop(1.0).time)
        market.set(clock("15:55"), 1.0, 1.0)
        assert market.now() == SESSION.liquidate_at
        assert new_york(market.now()).strftime("%H:%M") == "15:55"
    finally:
        if zone_before is None:
            monkeypatch.delenv("TZ")
        else:
            monkeypatch.setenv("TZ", zone_before)
        time.tzset()


def test_liquidation_and_quiet_follow_the_close_also_on_a_half_day() -> None:
    assert (SESSION.liquidate_at, SESSION.quiet_at) == (clock("15:55"), clock("15:59:58"))
    assert (HALF_DAY.liquidate_at, HALF_DAY.quiet_at) == (clock("12:55"), clock("12:59:58"))


@pytest.mark.parametrize("day", ["2026-03-06", "2026-03-09", "2026-10-30", "2026-11-02"])  # around summer time
def test_new_york_and_back(day: str) -> None:
    noon = dt.datetime.fromisoformat(day).replace(hour=12, microsecond=123456, tzinfo=NEW_YORK)
    at = nanoseconds(noon)
    assert at % SECOND == 123_456_000
    assert new_york(at) == noon
    assert new_york(at + 789) == noon  # to the microsecond
    assert Session(noon.date(), at, at + SECOND).date.isoformat() == day
