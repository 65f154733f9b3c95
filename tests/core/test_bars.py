"""Today's bars: their order, what replaces what, and the frame custom signals read."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from scalp.core.bars import SessionBars
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE
from tests.helpers import AAPL, SESSION, bar, bars, clock


def day(*some: Bar) -> SessionBars:
    session = SessionBars()
    session.limit_to(SESSION.open, SESSION.close)
    for one in some:
        session.add(one)
    return session


def closes(session: SessionBars) -> list[int]:
    """What the signal reckons with, in millionths of a dollar."""
    return np.diff(session.close_sums).tolist()


def test_only_a_newer_minute_is_new() -> None:
    session = day()
    assert session.add(bar(100, "09:30"))
    assert session.add(bar(101, "09:32"))
    assert not session.add(bar(101.5, "09:32"))  # again: replaced
    assert not session.add(bar(100.5, "09:31"))  # an older one: fills its gap
    assert not session.add(bar(99, "09:30"))
    assert session.frame["close"].tolist() == [99, 100.5, 101.5]
    assert closes(session) == [99_000_000, 100_500_000, 101_500_000]
    assert (len(session), session.last_start) == (3, clock("09:32"))


@pytest.mark.parametrize(("start", "counts"), [("09:29", False), ("09:30", True), ("15:59", True), ("16:00", False)])
def test_bars_outside_the_session_do_not_count(start: str, counts: bool) -> None:
    session = day()
    assert session.add(bar(100, start)) is counts
    assert len(session) == counts


def test_a_session_told_later_drops_what_lies_outside() -> None:
    session = SessionBars()
    for one in bars(range(100, 160), "09:00"):
        assert session.add(one)
    session.limit_to(clock("09:30"), clock("09:50"))
    assert session.frame["close"].tolist() == list(range(130, 150))
    assert closes(session) == [price * 1_000_000 for price in range(130, 150)]


def test_an_empty_day_has_an_empty_frame() -> None:
    frame = day().frame
    assert len(frame) == 0
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert isinstance(frame.index, pd.DatetimeIndex) and str(frame.index.tz) == "America/New_York"
    assert day().last_start == 0


def test_the_frame_is_what_the_documentation_says() -> None:
    frame = day(Bar(AAPL, clock("09:30"), 1.0, 4.0, 0.5, 2.0, 300.0), bar(2.5, "09:33")).frame
    assert frame.iloc[0].to_dict() == {"open": 1.0, "high": 4.0, "low": 0.5, "close": 2.0, "volume": 300.0}
    assert [str(kind) for kind in frame.dtypes] == ["float64"] * 5
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert [at.strftime("%Y-%m-%d %H:%M %Z") for at in frame.index] == ["2026-11-20 09:30 EST", "2026-11-20 09:33 EST"]
    assert frame.index[0].value == clock("09:30")


def test_a_frame_belongs_to_who_asked_for_it() -> None:
    session = day(*bars([100, 101, 102]))
    frame = session.frame
    frame.loc[:, "close"] = 0.0
    frame["mine"] = 1.0
    del frame["volume"]
    session.add(bar(103, "09:33"))
    assert session.frame["close"].tolist() == [100, 101, 102, 103]
    assert list(session.frame.columns) == ["open", "high", "low", "close", "volume"]
    assert closes(session)[0] == 100_000_000
    assert len(frame) == 3  # and the old one is left alone


def test_the_frame_is_made_once_a_bar() -> None:
    session = day(*bars([100, 101]))
    assert session.frame is session.frame
    before = session.frame
    session.add(bar(102, "09:32"))
    assert session.frame is not before
    before = session.frame
    session.add(bar(103, "09:32"))
    assert session.frame is not before and session.frame["close"].iloc[-1] == 103


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), 1e13])
@pytest.mark.parametrize("start", ["09:30", "09:31", "09:32", "09:33"])
def test_a_close_that_is_no_number_leaves_everything_as_it_was(nonsense: float, start: str) -> None:
    session = day(bar(100, "09:30"), bar(102, "09:32"))
    with pytest.raises((ValueError, OverflowError)):
        session.add(bar(nonsense, start))
    assert session.frame["close"].tolist() == [100, 102]
    assert session.add(bar(104, "09:34"))
    assert closes(session) == [100_000_000, 102_000_000, 104_000_000]
    assert len(session.frame) == len(session) == 3


@pytest.mark.parametrize("seed", range(10))
def test_bars_in_any_order_make_the_same_day(seed: int) -> None:
    rng = random.Random(seed)
    minutes = sorted(rng.sample(range(-20, 420), 200))
    last = {m: rng.randint(9000, 11000) / 100 for m in minutes}
    arriving = [(m, last[m]) for m in minutes]
    rng.shuffle(arriving)
    session = day()
    for m, close in arriving:
        session.add(bar(close + 1, SESSION.open + m * MINUTE))
        session.add(bar(close, SESSION.open + m * MINUTE))  # corrected
    expected = [last[m] for m in minutes if 0 <= m < 390]
    assert session.frame["close"].tolist() == expected
    assert session.frame.index.is_monotonic_increasing and session.frame.index.is_unique
    assert closes(session) == [round(close * 1e6) for close in expected]


def test_a_bar_costs_the_same_at_the_end_of_the_day() -> None:
    """Nothing of the day is copied: a bar more makes only a bar's worth of memory, at 9:31 as at 15:59."""
    session = SessionBars()
    for one in bars([100.0] * 100_000, 0):
        session.add(one)
    tracemalloc.start()
    for one in bars([100.0] * 100, 100_000 * MINUTE):
        session.add(one)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000 * 8  # a copy of a single column would be more
