"""What happens inside a minute: the exact prints of small bars, and the rules over many."""

from datetime import date
from pathlib import Path

import pytest

from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day
from scalp.exchange.market import synthetic_day
from scalp.exchange.path import trade_path
from scalp.exchange.replay import load

REAL_BARS = Path(__file__).parents[2] / "../shared/data/real-minute-bars"
START = 1_401_975_000 * SECOND


def bar(open_: float, high: float, low: float, close: float, volume: float) -> Bar:
    return Bar("TSLA", START, open_, high, low, close, volume)


def told(one: Bar) -> list[tuple[float, float, float]]:
    """Seconds into the minute, price, size."""
    return [((p.at - one.start) / SECOND, p.price, p.size) for p in trade_path(one)]


def test_the_nearer_extreme_comes_first() -> None:
    assert told(bar(10.00, 10.10, 9.98, 10.04, 702)) == [
        (0.1, 10.00, 101),
        (pytest.approx(10.0667, abs=1e-3), 9.99, 101),
        (pytest.approx(20.0333, abs=1e-3), 9.98, 100),
        (30.0, 10.04, 100),
        (pytest.approx(39.9667, abs=1e-3), 10.10, 100),
        (pytest.approx(49.9333, abs=1e-3), 10.07, 100),
        (59.9, 10.04, 100),
    ]


def prices(one: Bar) -> list[float]:
    return [p.price for p in trade_path(one)]


def test_equally_far_extremes_take_the_high_first() -> None:
    assert prices(bar(10.01, 10.02, 10.00, 10.01, 500)) == [10.01, 10.02, 10.01, 10.00, 10.01]


def test_halfway_prints_are_on_a_tick_strictly_between() -> None:
    assert prices(bar(10.00, 10.01, 10.00, 10.01, 500)) == [10.00, 10.00, 10.01, 10.01]
    assert prices(bar(0.9000, 0.9002, 0.9000, 0.9002, 500)) == [0.9000, 0.9000, 0.9001, 0.9002, 0.9002]
    # Real bars carry sub-penny prices: 10.0049 and 10.0041 have no cent between them.
    assert prices(bar(10.0041, 10.0049, 10.0041, 10.0049, 500)) == [10.0041, 10.0041, 10.0049, 10.0049]


def test_a_minute_without_movement_still_trades_until_its_end() -> None:
    assert told(bar(10.0, 10.0, 10.0, 10.0, 400)) == [
        (0.1, 10.0, 100),
        (pytest.approx(20.0333, abs=1e-3), 10.0, 100),
        (pytest.approx(39.9667, abs=1e-3), 10.0, 100),
        (59.9, 10.0, 100),
    ]


def test_few_shares() -> None:
    assert told(bar(10.0, 10.0, 10.0, 10.0, 1)) == [(0.1, 10.0, 1)]
    assert told(bar(10.0, 10.5, 10.0, 10.5, 3)) == [(0.1, 10.0, 2), (59.9, 10.5, 1)]
    # Four prices in one share cannot be real, but must not lose the volume.
    assert [size for _, _, size in told(bar(10.0, 10.5, 9.0, 10.2, 1))] == [0.25] * 4
    assert sum(size for _, _, size in told(bar(10.0, 10.5, 9.0, 10.2, 1000.5))) == pytest.approx(1000.5)
    assert trade_path(bar(10.0, 10.0, 10.0, 10.0, 0)) == []


def check(one: Bar) -> None:
    path = trade_path(one)
    times = [p.at for p in path]
    assert times == sorted(set(times))
    assert one.start < times[0] <= one.start + SECOND
    assert times[-1] < one.start + MINUTE
    assert (path[0].price, path[-1].price) == (one.open, one.close)
    assert (max(p.price for p in path), min(p.price for p in path)) == (one.high, one.low)
    assert sum(p.size for p in path) == one.volume
    assert all(p.size > 0 and p.size.is_integer() for p in path)
    assert trade_path(one) == path


def test_every_bar_of_a_synthetic_day() -> None:
    for bars in synthetic_day(["TSLA", "FB", "QUIET"], session_day(date(2025, 11, 20)), 1).values():
        for one in bars:
            check(one)


@pytest.mark.skipif(not REAL_BARS.is_dir(), reason="the folder of recorded bars is not next to the repository")
def test_every_recorded_bar() -> None:
    for symbols in load([REAL_BARS]).values():
        for bars in symbols.values():
            for one in bars:
                check(one)
