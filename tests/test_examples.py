"""The examples do what they say, and the line in each docstring works word for word."""

from __future__ import annotations

import os
import re
import shlex
from decimal import Decimal
from pathlib import Path

import pytest

from scalp import ScalpAlgo
from scalp.cli.algo_loader import load_algo
from scalp.core.market_data import Bar
from scalp.core.stops import StopRule
from scalp.core.units import MINUTE
from tests.forked import python
from tests.helpers import AAPL, SESSION, Desk, bar, bars, buying, clock, flat

ROOT = Path(__file__).resolve().parents[1]
RSI = "rsi.py:RsiAlgo"
VWAP = "vwap_reclaim.py:VwapReclaim"
RANGE = "opening_range.py:OpeningRange"
PROFIT = "take_profit.py:TakeProfit"
TRAIL = "time_and_trail.py:TimeAndTrail"
# What `python -m` in a docstring is followed by; sma_window.py shows a sweep instead, and is tested with it.
LINES = {
    path.name: re.search(r"^python (-m scalp\.backtest .*)$", path.read_text(), re.MULTILINE)
    for path in sorted((ROOT / "examples").glob("*.py"))
    if path.name != "sma_window.py"
}


def signals(example: str, day: list[Bar]) -> list[int]:
    """After which bars, counted from 0, the example wants to buy; asked as the bot asks."""
    algo = load_algo(f"{ROOT}/examples/{example}")(AAPL, Decimal(2000), "R")
    algo.begin_session(SESSION)
    wanted = []
    for number, one in enumerate(day):
        algo.on_history([one])
        if number + 1 >= algo.warmup_bars and algo._calculate_buy_signal():
            wanted.append(number)
    return wanted


# -- RSI --------------------------------------------------------------------------------------------------------------


def test_rsi_buys_when_a_fall_has_lost_its_force_and_once_only() -> None:
    # 20 cents down, then up a cent more each minute: of 14 changes, n gains of 1 to n cents and 14 - n losses of 1.
    falling = [100 - 0.01 * step for step in range(21)]
    rising = [falling[-1] + 0.01 * step * (step + 1) / 2 for step in range(1, 12)]
    # n = 2: 100 * 3 / (3 + 12) = 20; n = 3: 100 * 6 / (6 + 11) = 35.
    assert signals(RSI, bars(falling + rising)) == [23]


def test_rsi_is_silent_in_flat_and_steady_markets() -> None:
    assert signals(RSI, bars([100.0] * 40)) == []
    assert signals(RSI, bars([100 + step for step in range(40)])) == []
    assert signals(RSI, bars([100 - step for step in range(40)])) == []
    sharp = [100 - step for step in range(13)] + [120.0]
    assert signals(RSI, bars(sharp)) == []


# -- VWAP reclaim -----------------------------------------------------------------------------------------------------


def test_vwap_reclaim_buys_once_when_the_price_comes_back() -> None:
    assert signals(VWAP, bars([100.0] * 10 + [99.0] * 10 + [101.0] * 5)) == [20]


def test_vwap_reclaim_wants_five_minutes_below_first() -> None:
    assert signals(VWAP, bars([100.0] * 16 + [99.0] * 4 + [101.0] * 3)) == [20]  # at the average is not above it
    assert signals(VWAP, bars([100.0] * 11 + [101.0] * 5 + [99.0] * 4 + [102.0] * 3)) == []
    assert signals(VWAP, bars([100.0] * 11 + [101.0] * 5 + [99.0] * 5 + [102.0] * 3)) == [21]


def test_vwap_reclaim_weighs_by_volume() -> None:
    # Half the minutes at 100 and half at 98: the plain average is near 99, but almost all was traded at 100.
    heavy = [bar(100.0, clock("09:30") + number * MINUTE, volume=100_000) for number in range(10)]
    light = bars([98.0] * 10 + [99.5, 100.5], "09:40")
    assert signals(VWAP, heavy + light) == [21]


# -- opening range ----------------------------------------------------------------------------------------------------


def test_opening_range_buys_each_break_of_the_high() -> None:
    # bar() puts the high half a dollar above the close: the range ends at 101.5.
    opening = [100.0] * 7 + [101.0] + [100.0] * 7
    assert signals(RANGE, bars([*opening, 101.5, 101.6, 102.0, 101.0, 101.7])) == [16, 19]


def test_opening_range_waits_for_its_end_and_needs_a_bar_in_it() -> None:
    assert signals(RANGE, bars([100.0 + step for step in range(15)])) == []
    assert signals(RANGE, bars([100.0, 101.0, 102.0], "09:45")) == []
    # Minutes without a trade are absent: the range is a matter of time, not of counting bars.
    assert signals(RANGE, [bar(100.0, "09:30"), bar(100.2, "09:44"), bar(100.6, "09:45"), bar(101.0, "09:46")]) == [3]


# -- exits of one's own ------------------------------------------------------------------------------------------------


def example(name: str) -> type[ScalpAlgo]:
    return load_algo(f"{ROOT}/examples/{name}")


def test_take_profit_offers_above_entry_with_stop_beside_it() -> None:
    desk = buying(algo_class=example(PROFIT))
    desk.algo.stop.rule = StopRule(Decimal("0.005"))
    assert desk.tells(1, "fill") == ["sell 19 @ 101.21 stop 100.49 #2"]  # 101.202


def test_take_profit_buys_for_no_more_than_can_be_lost() -> None:
    risky = type("Risky", (example(PROFIT),), {"risk": 20.0})
    # The day's low so far is 98.5: a fall to it costs $2.50 a share.
    assert flat(algo_class=risky).bar(101.0) == ["buy 8 @ 101.00 #1"]


def trailing() -> Desk:
    """It is 09:52:04, and 19 shares bought at 101 are offered."""
    desk = buying(algo_class=example(TRAIL))
    assert desk.tells(1, "fill") == ["sell 19 @ 101.61 #2"]  # twice the trail of 0.3 % above
    return desk


def test_the_trail_follows_the_highest_trade_since_the_entry() -> None:
    desk = trailing()
    assert desk.later(5).prints(100.75) == desk.later(1).prints(101.5) == desk.later(1).prints(101.2) == []
    assert desk.later(1).prints(101.19) == ["cancel #2"]  # 101.1955
    assert desk.tells(2, "canceled") == ["sell 19 market #3"]


def test_the_next_position_has_a_trail_of_its_own() -> None:
    desk = trailing()
    desk.later(5).prints(101.6)
    assert desk.tells(2, "fill") == desk.at("09:53:04").bar(99.0) == []
    assert desk.at("09:54:04").bar(101.0) == ["buy 19 @ 101.00 #3"]
    assert desk.tells(3, "fill") == ["sell 19 @ 101.61 #4"]
    assert desk.later(1).prints(100.9) == []


def test_time_is_up_after_thirty_minutes() -> None:
    desk = trailing()
    assert desk.at("10:22:02").bar(101.0) == []  # the minute ended at 10:22:00, the entry was at 09:52:04
    assert desk.at("10:23:02").bar(101.0) == ["cancel #2"]


# -- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LINES)
def test_the_line_in_the_docstring_works_word_for_word(name: str, tmp_path: Path) -> None:
    line = LINES[name]
    assert line is not None, f"examples/{name} shows no backtest"
    environ = {**os.environ, "APCA_API_KEY_ID": "unused"}  # whoever has keys gets the same market
    done = python(shlex.split(line[1]), ROOT, environ)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    total = next(row.split() for row in done.stdout.splitlines() if row.startswith("total"))
    assert int(total[1]) > 0, "a backtest without a single trade shows nothing"


@pytest.mark.parametrize("name", LINES)
def test_an_example_is_ten_to_thirty_lines_long(name: str) -> None:
    assert 10 <= len((ROOT / "examples" / name).read_text().splitlines()) <= 30
