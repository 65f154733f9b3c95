"""Exchange time: it follows the exchange, not the machine."""

from __future__ import annotations

import datetime as dt
import os
import time

import pytest

from scalp.core.clock import NEW_YORK, MarketClock, Session, nanoseconds, new_york
from scalp.core.units import SECOND
from tests.helpers import HALF_DAY, SESSION, clock


class Loop:
    """A loop's time, moved by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


def test_clock_runs_with_loop_from_middle_of_request_on() -> None:
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
    loop.now = 121.0
    assert market.now() == clock("10:02:00.5")


def test_a_step_back_lets_the_time_stand_still_for_so_long() -> None:
    loop = Loop(0.0)
    market = MarketClock(loop.time)
    market.set(clock("15:55"), 0.0, 0.0)
    loop.now = 10.0
    market.set(clock("15:55:09.25"), 10.0, 10.0)
    times = []
    for loop.now in (10.0, 10.5, 10.75, 11.0):
        times.append(market.now() - clock("15:55:10"))
    assert times == [0, 0, 0, SECOND // 4]


def test_a_leap_is_believed_when_it_is_said_twice() -> None:
    loop = Loop(0.0)
    market = MarketClock(loop.time)
    market.set(clock("10:00"), 0.0, 0.0)
    market.set(clock("10:01"), 0.0, 0.0)  # no leap yet: this machine slept a while
    assert (market.now(), market.is_doubted) == (clock("10:01"), False)
    market.set(clock("10:10"), 0.0, 0.0)
    assert (market.now(), market.is_doubted) == (clock("10:01"), True)
    loop.now = 2.0
    market.set(clock("10:01:02"), 2.0, 2.0)  # a slip
    market.set(clock("10:10:02"), 2.0, 2.0)
    assert market.now() == clock("10:01:02")
    assert not market.stands_still  # one that may be right: what was traded has its say
    market.set(clock("10:10:02"), 2.0, 2.0)  # also of a clock that stands still
    assert (market.now(), market.is_doubted) == (clock("10:10:02"), False)
    market.set(clock("10:09"), 2.0, 2.0)
    market.set(clock("10:09"), 2.5, 2.5)  # one that stands still never puts it back
    assert (market.now(), market.is_doubted) == (clock("10:10:02"), True)


class Story:
    """A clock that was set to 10:00 at 0 s, what it is told, and what it makes of that."""

    def __init__(self) -> None:
        self.loop = Loop(0.0)
        self.market = MarketClock(self.loop.time)
        self.market.set(clock("10:00"), 0.0, 0.0)

    def says(self, ahead: float, at: float, data_flow: bool = False) -> float:
        """The exchange's clock says that it is so much later than it is; returns what is believed then."""
        self.loop.now = at
        self.market.set(clock("10:00") + round((at + ahead) * SECOND), at, at, data_flow)
        return self.ahead

    def hears(self, ahead: float, at: float) -> float:
        """Market data come, made at so much later than it is."""
        self.loop.now = at
        self.market.witness(clock("10:00") + round((at + ahead) * SECOND))
        return self.ahead

    @property
    def ahead(self) -> float:
        return (self.market.now() - clock("10:00")) / SECOND - self.loop.now


@pytest.mark.parametrize("leap", [61, 20_000, -2, -20_000])
def test_market_data_that_contradict_a_leap_win(leap: float) -> None:
    story = Story()
    for at in range(30, 600, 10):
        assert story.says(leap, at, data_flow=True) == 0
        assert story.hears(-0.1, at + 5) == 0
    assert story.says(leap, 600) == 0
    assert story.says(leap, 668) == 0
    assert story.says(leap, 681) == leap  # none came for 75 s


@pytest.mark.parametrize(("leap", "lag"), [(61, -4), (20_000, -4), (-20_000, -4), (-300, 0.5)])
def test_market_data_that_bear_out_a_leap_settle_it_at_once(leap: float, lag: float) -> None:
    story = Story()
    assert story.says(leap, 30, data_flow=True) == 0
    assert story.hears(leap + lag, 31) == leap


def test_data_that_came_first_bear_out_what_the_clock_then_says() -> None:
    story = Story()
    assert story.hears(20_000, 30) == 0
    assert story.says(20_003, 31, data_flow=True) == 20_003


def test_where_data_flow_they_have_their_time_to_contradict() -> None:
    story = Story()
    assert [story.says(500, at, data_flow=True) for at in (30, 32, 60, 104, 105)] == [0, 0, 0, 0, 500]


def test_a_leap_by_answers_alone_is_taken_back_by_data() -> None:
    story = Story()
    assert story.hears(-3, 10) == 0
    assert story.market.is_confirmed
    assert [story.says(500, at) for at in (30, 32)] == [0, 500]
    assert not story.market.is_confirmed
    assert story.hears(-3, 60) == 0
    assert [story.says(500, at) for at in (61, 63)] == [0, 0]


def test_a_clock_that_creeps_has_a_minute() -> None:
    story = Story()
    assert story.says(40, 30, data_flow=True) == 40
    assert story.hears(-0.1, 40) == 40
    assert [story.says(ahead, at, data_flow=True) for ahead, at in ((60, 60), (80, 90))] == [60, 60]


def test_data_that_come_late_do_not_shorten_that_minute() -> None:
    story = Story()
    assert story.hears(-55, 10) == 0
    assert story.says(20, 30, data_flow=True) == 20


def test_one_wrong_bar_moves_nothing() -> None:
    story = Story()
    for at in range(30, 300, 30):
        assert story.hears(5400, at) == 0
        assert story.hears(-1, at + 1) == 0  # of another symbol


@pytest.mark.parametrize("off", [65, 5400, -1300, -20_400])
def test_data_that_steadily_tell_another_time_are_right(off: float) -> None:
    story = Story()
    assert [story.hears(off - lag, at) for at, lag in ((10, 3), (30, 0), (60, 2))] == [0, 0, 0]
    assert story.hears(off - 4, 71) == off
    assert story.market.follows_data
    assert [story.says(0, at) for at in (80, 82, 300, 302)] == [off] * 4  # the clock is wrong, however often it says so
    assert story.says(off + 2, 330) == off + 2
    assert not story.market.follows_data


def test_feed_that_is_15_minutes_late_tells_nothing_of_time() -> None:
    story = Story()
    assert {story.hears(-905, at) for at in range(10, 900, 10)} == {0}
    assert not story.market.contradictions


def test_data_that_get_late_later_tell_nothing_of_the_time() -> None:
    story = Story()
    story.hears(-1, 10)
    assert {story.hears(-1300, at) for at in range(20, 900, 10)} == {0}
    assert not story.market.is_ahead


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


def test_a_clock_put_back_is_believed_the_second_time() -> None:
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


def test_liquidation_and_quiet_follow_close_also_on_half_day() -> None:
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
