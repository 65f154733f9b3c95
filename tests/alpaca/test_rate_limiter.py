"""Who may still ask when requests get short."""

from __future__ import annotations

import pytest

from scalp.alpaca.rate_limiter import RateLimiter
from scalp.core.units import MINUTE, SECOND

NOON = 1_795_194_000 * SECOND


class Clock:
    now = NOON
    reserve = 0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter(lambda: clock.now, lambda: clock.reserve)


def test_documented_limit_holds_until_answer_tells_another(limiter: RateLimiter) -> None:
    assert limiter.remaining == 200
    limiter.sent()
    limiter.on_rate_limit(1000, 998, NOON / SECOND + 30)
    limiter.answered()
    assert (limiter.limit, limiter.remaining, limiter.resets_in) == (1000, 998, 30)


def test_requests_under_way_are_not_in_the_count_of_an_answer(limiter: RateLimiter) -> None:
    for _ in range(3):
        limiter.sent()
    limiter.on_rate_limit(200, 150, NOON / SECOND + 30)
    assert limiter.remaining == 148


def test_a_minute_later_all_requests_are_back(limiter: RateLimiter, clock: Clock) -> None:
    for _ in range(200):
        limiter.sent()
    assert limiter.remaining == 0
    clock.now += MINUTE - SECOND
    assert (limiter.remaining, limiter.resets_in) == (0, 1)
    clock.now += SECOND
    assert limiter.remaining == 200


def allowed(limiter: RateLimiter) -> tuple[bool, bool, bool, bool]:
    return limiter.allows_question, limiter.allows_entry, limiter.allows_rest, limiter.has_plenty


def test_after_a_429_everything_waits_as_long_as_it_said(limiter: RateLimiter, clock: Clock) -> None:
    limiter.sent()
    limiter.refused(3)
    clock.now += 3 * SECOND - 1
    assert allowed(limiter) == (False, False, False, False)
    clock.now += 1
    assert allowed(limiter) == (True, True, True, True)


def test_without_a_word_it_is_a_second_then_two_then_four(limiter: RateLimiter, clock: Clock) -> None:
    for seconds in (1, 2, 4, 8):
        limiter.sent()
        for _ in range(5):  # several were under way
            limiter.refused(None)
        clock.now += seconds * SECOND - 1
        assert not limiter.allows_entry
        clock.now += 1
        assert limiter.allows_entry
    limiter.went_through()
    limiter.refused(0)
    clock.now += SECOND
    assert limiter.allows_entry


def test_a_clock_that_is_put_back_stops_nothing(limiter: RateLimiter, clock: Clock) -> None:
    limiter.sent()
    clock.now += 61 * SECOND  # that window is over
    limiter.refused(30)
    clock.now += 29 * SECOND
    assert not limiter.allows_question
    clock.now -= 120 * SECOND
    assert limiter.allows_question


def test_no_longer_than_until_the_limit_is_fresh(limiter: RateLimiter, clock: Clock) -> None:
    limiter.on_rate_limit(200, 100, NOON / SECOND + 10)
    limiter.refused(1e9)
    clock.now += 10 * SECOND
    assert limiter.allows_entry


def test_late_answer_of_minute_before_says_nothing_of_this_one(limiter: RateLimiter, clock: Clock) -> None:
    limiter.on_rate_limit(200, 150, NOON / SECOND + 90)
    limiter.on_rate_limit(200, 3, NOON / SECOND + 30)
    assert limiter.remaining == 151
    clock.now += 95 * SECOND
    limiter.on_rate_limit(200, 3, NOON / SECOND + 90)
    assert limiter.remaining == 200


def test_no_header_can_stop_entries_for_longer_than_minute(limiter: RateLimiter, clock: Clock) -> None:
    limiter.on_rate_limit(200, 0, 1e12)
    assert limiter.resets_in == 60
    clock.now += MINUTE
    assert limiter.remaining == 200


@pytest.mark.parametrize(
    ("remaining", "reserve", "question", "entry", "rest", "plenty"),
    [
        (200, 0, True, True, True, True),
        (101, 0, True, True, True, True),
        (100, 0, True, True, True, False),
        (110, 120, False, False, False, False),
        (4, 0, True, True, True, False),
        (3, 0, True, True, False, False),
        (2, 0, True, False, False, False),
        (0, 0, False, False, False, False),
        (10, 7, True, True, False, False),
        (10, 8, True, False, False, False),
        (10, 10, False, False, False, False),
    ],
)
def test_questions_go_before_entries_and_entries_before_rest(
    limiter: RateLimiter, clock: Clock, remaining: int, reserve: int, question: bool, entry: bool, rest: bool,
    plenty: bool,
) -> None:  # fmt: skip
    limiter.on_rate_limit(200, remaining - 1, NOON / SECOND + 30)
    clock.reserve = reserve
    assert allowed(limiter) == (question, entry, rest, plenty)
