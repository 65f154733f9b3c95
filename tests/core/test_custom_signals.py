"""Buy signals: the built-in one, exact on ties, and the rules for a user's own."""

from __future__ import annotations

import csv
import datetime as dt
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalp import ScalpAlgo
from scalp.core.algo import TO_BUY
from scalp.core.clock import NEW_YORK, Session, nanoseconds
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from tests.helpers import AAPL, BOUGHT, Desk, bars, flat

REAL_BARS = Path(__file__).parents[3] / "shared" / "data" / "real-minute-bars"


# -- the built-in signal -----------------------------------------------------------------------------------------------


def signal_of(closes: list[float]) -> bool:
    algo = ScalpAlgo(AAPL, Decimal(2000), "R")
    algo.on_history(bars(closes))
    return algo._calculate_buy_signal()


def exact_signal(closes: list[Fraction]) -> bool:
    """The rule in words of arithmetic: was below its 20-bar average, is above it."""
    before, now = sum(closes[-21:-1]) / 20, sum(closes[-20:]) / 20
    return closes[-2] < before and closes[-1] > now


@pytest.mark.parametrize(
    ("last_two", "expected"),
    [
        ((99.99, 100.01), True),
        ((99.9999, 100.0001), True),
        ((100.0, 100.01), False),  # was at its average, not below
        ((99.81, 99.99), False),  # is at its average: 18 x 100 + 99.81 + 99.99 = 20 x 99.99
        ((99.81, 99.9901), True),
        ((100.01, 100.02), False),
        ((99.99, 99.98), False),
    ],
)
def test_a_crossing_from_below_to_above(last_two: tuple[float, float], expected: bool) -> None:
    closes = [100.0] * 19 + list(last_two)
    assert exact_signal([Fraction(str(c)) for c in closes]) is expected
    assert signal_of(closes) is expected


@pytest.mark.parametrize("level", [10.1, 33.33, 86.07, 178.42, 0.0301, 644.81])
def test_close_equal_to_its_average_is_neither_above_nor_below(level: float) -> None:
    # 20 equal closes: a float sum of them is off by some digits, to either side.
    assert not signal_of([level] * 21)
    assert not signal_of([level] * 20 + [level + 0.01])  # before: equal, so not below
    step = 0.01
    tie_now = [level + step, level - step] * 9 + [level, level - 0.02, level]
    exactly = [Fraction(str(round(close, 6))) for close in tie_now]
    assert signal_of([float(close) for close in exactly]) is exact_signal(exactly)


@pytest.mark.parametrize("seed", range(20))
def test_exact_on_made_up_closes_full_of_ties(seed: int) -> None:
    rng = random.Random(seed)
    cents = [rng.randint(9999, 10001) for _ in range(300)]
    algo = ScalpAlgo(AAPL, Decimal(2000), "R")
    ties = signals = 0
    for i, bar in enumerate(bars([c / 100 for c in cents])):
        algo.on_history([bar])
        if i >= 20:
            closes = [Fraction(c, 100) for c in cents[: i + 1]]
            assert algo._calculate_buy_signal() is exact_signal(closes)
            ties += closes[-1] == sum(closes[-20:]) / 20
            signals += exact_signal(closes)
    assert ties and signals


def test_too_few_bars_are_no_signal() -> None:
    assert not signal_of([100.0] * 18 + [99.0, 101.0])
    assert not signal_of([])


def real_days() -> list[tuple[list[Bar], list[Fraction], Session]]:
    days = []
    for path in sorted(REAL_BARS.glob("*_*.csv")):
        symbol = path.name.partition("_")[0]
        with path.open(newline="") as rows:
            read = [(dt.datetime.fromisoformat(r["timestamp"]), r) for r in csv.DictReader(rows)]
        date = read[0][0].date()
        opens, closes = (nanoseconds(dt.datetime.combine(date, dt.time(*t), NEW_YORK)) for t in ((9, 30), (16, 0)))
        session = Session(date, opens, closes)
        made = [
            Bar(symbol, nanoseconds(at), *(float(r[k]) for k in ("open", "high", "low", "close", "volume")))
            for at, r in read
        ]
        days.append((made, [Fraction(r["close"]) for _, r in read], session))
    return days


@pytest.mark.skipif(not REAL_BARS.is_dir(), reason="the recorded bars are not in ../shared/data/real-minute-bars")
def test_exact_on_every_recorded_minute() -> None:
    asked = signals = ties = 0
    for made, closes, session in real_days():
        algo = ScalpAlgo(made[0].symbol, Decimal(2000), "R")
        algo.begin_session(session)
        so_far: list[Fraction] = []
        for bar, close in zip(made, closes, strict=True):
            at = bar.start + 64 * SECOND
            algo.entry_blocks.block("test", "only the signal is looked at")
            algo.on_bar(bar, at)
            if not session.open <= bar.start < session.close:
                continue
            so_far.append(close)
            if len(so_far) >= 21:
                expected = exact_signal(so_far)
                assert algo._calculate_buy_signal() is expected, f"{bar}"
                asked, signals = asked + 1, signals + expected
                ties += close == sum(so_far[-20:]) / 20
    assert asked > 5000 and signals > 200 and ties > 10, (asked, signals, ties)


# -- a user's own ------------------------------------------------------------------------------------------------------


class Always(ScalpAlgo):
    def _calculate_buy_signal(self) -> bool:
        return True


def test_own_signal_is_asked_once_minute_and_only_while_flat() -> None:
    asked: list[int] = []

    class Counting(ScalpAlgo):
        def _calculate_buy_signal(self) -> bool:
            asked.append(len(self._bars))
            return len(asked) == 2

    desk = flat(algo_class=Counting)
    desk.bar(100.0)
    desk.bar(100.1)  # the same minute again
    assert desk.at("09:53:04").bar(100.0) == ["buy 20 @ 100.00 #1"]
    assert desk.at("09:54:04").bar(100.0) == []
    assert asked == [22, 23]


@pytest.mark.parametrize(("bars_needed", "before"), [(1, 0), (16, 15), (40, 39)])
def test_an_own_number_of_bars(bars_needed: int, before: int) -> None:
    class Own(Always):
        warmup_bars = bars_needed

    desk = Desk(algo_class=Own).at("10:30:04")
    desk.warm([100.0] * max(before - 1, 0))
    if before:
        assert desk.bar(101.0) == []
    assert desk.at("10:31:04").bar(101.0) == BOUGHT


@pytest.mark.parametrize("yes", [True, np.True_, np.bool_(1)])
def test_true_is_yes(yes: object) -> None:
    class Yes(ScalpAlgo):
        def _calculate_buy_signal(self) -> bool:
            return yes  # type: ignore[return-value]

    assert flat(algo_class=Yes).bar(101.0) == BOUGHT


ODD = [False, None, float("nan"), np.nan, np.False_, "yes", "True", 2, -1, [], [1], {"buy": True}, ..., pd.NaT]


@pytest.mark.parametrize("odd", [*ODD, pd.NA, pd.Series([True, True]), np.array([True, False])], ids=repr)
def test_what_is_odd_is_no(odd: object) -> None:
    class Odd(ScalpAlgo):
        def _calculate_buy_signal(self) -> bool:
            return odd  # type: ignore[return-value]

    desk = flat(algo_class=Odd)
    assert (desk.bar(101.0), desk.state) == ([], TO_BUY)


def test_an_exception_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(ScalpAlgo):
        def _calculate_buy_signal(self) -> bool:
            raise ZeroDivisionError("volume was 0")

    desk = flat(algo_class=Failing)
    assert desk.bar(101.0) == []
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.name == "scalp.AAPL" and "volume was 0" in caplog.text
    desk.now += MINUTE
    assert desk.bar(101.0) == []
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == 2 * [record.message]
    assert caplog.text.count("Traceback") == 1  # it may fail in every minute of the day
    assert desk.lists_position(5, "101") == ["sell 5 @ 101.00 #1"]  # exits go on


def test_other_name_of_originals_text_is_taken_with_warning() -> None:
    with pytest.warns(UserWarning, match="Other._calc_buy_signal is taken as _calculate_buy_signal"):

        class Other(ScalpAlgo):
            def _calc_buy_signal(self) -> bool:
                return True

    assert flat(algo_class=Other).bar(101.0) == BOUGHT
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Never(Other):
            def _calculate_buy_signal(self) -> bool:
                return False

    assert flat(algo_class=Never).bar(101.0) == []


def test_both_names_are_refused() -> None:
    with pytest.raises(TypeError, match="Both defines _calculate_buy_signal and _calc_buy_signal"):

        class Both(ScalpAlgo):
            def _calculate_buy_signal(self) -> bool:
                return True

            def _calc_buy_signal(self) -> bool:
                return True


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_always_truthy_is_refused_when_class_is_made() -> None:
    message = "must be a plain function"
    with pytest.raises(TypeError, match=message):

        class Async(ScalpAlgo):
            async def _calculate_buy_signal(self) -> bool:  # type: ignore[override]
                return False

    with pytest.raises(TypeError, match=message):

        class AsyncByTheOtherName(ScalpAlgo):
            async def _calc_buy_signal(self) -> bool:
                return False

    with pytest.raises(TypeError, match=message):

        class Yielding(ScalpAlgo):
            def _calculate_buy_signal(self) -> Iterator[bool]:  # type: ignore[override]
                yield False


def test_a_changed_frame_changes_no_bar_and_not_the_next_frame() -> None:
    class Messy(ScalpAlgo):
        def _calculate_buy_signal(self) -> bool:
            frame = self._bars
            assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
            frame["sma"] = frame["close"].rolling(20).mean()
            frame.loc[:, "close"] = 1.0
            return False

    desk = flat(algo_class=Messy)
    for minute, close in ((52, 101.0), (53, 102.0), (54, 103.0)):
        assert desk.at(f"09:{minute}:04").bar(close) == []
    assert np.diff(desk.algo.session_bars.close_sums)[-3:].tolist() == [101_000_000, 102_000_000, 103_000_000]
    desk.warm([104.0], start="09:55")
    assert desk.algo._bars["close"].tolist() == [100.0] * 20 + [99.0, 101.0, 102.0, 103.0, 104.0]


def test_pandas_is_loaded_with_the_class_that_may_ask_for_a_frame_not_at_its_first_bar() -> None:
    code = """if True:
        import sys
        from scalp import ScalpAlgo
        print("pandas" in sys.modules)
        class Own(ScalpAlgo):
            pass
        print("pandas" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_bars_of_the_documentation() -> None:
    doc = ScalpAlgo._bars.__doc__ or ""
    for promised in ("open, high, low, close", "volume", "America/New_York", "start of the minute", "oldest first"):
        assert promised in doc
    frame = flat().algo._bars
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert str(frame.index[0]) == "2026-11-20 09:30:00-05:00"
