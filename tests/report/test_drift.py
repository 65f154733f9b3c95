"""`--drift`: sessions beside their backtests over time."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp.report.drift import MEASURES, Drift, DriftDay, Side, partings
from tests.report.test_months import WON, answer, played, told

FIRST = dt.date(2026, 11, 2)
EVEN = (0.0, 0.1, -0.1, 0.05, -0.05)


def days(*slippages: float | None) -> list[DriftDay]:
    """Days of which the slippage alone matters."""
    side = Side(4, 4, 4, 0.5)
    return [DriftDay(FIRST + dt.timedelta(n), side, side, slippage) for n, slippage in enumerate(slippages)]


def parted(*slippages: float | None) -> list[tuple[int, float | None]]:
    """Day number and by how much, of the slippage."""
    name, _, _, of = MEASURES[1]
    found = partings(days(*slippages), name, of)
    assert all(one.measure == "slippage" for one in found)
    return [((one.date - FIRST).days, None if one.by is None else round(one.by, 3)) for one in found]


def test_what_differs_by_chance_does_not_part() -> None:
    assert parted(*EVEN, *EVEN, *EVEN) == []
    assert parted(9.0, 9.0, 9.0, 9.0) == []  # too few days
    assert parted(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0) == []  # one bad day


def test_it_parts_and_agrees_again() -> None:
    worse = (1.0, 1.1, 0.9, 1.05, 0.95)
    assert parted(*worse) == [(4, 1.0)]
    # Ten days are looked at together, so that it shows when six of them are bad.
    assert parted(*EVEN, *EVEN, *worse, *worse) == [(15, 0.6)]
    assert parted(*worse, None, None, *EVEN, *EVEN, *EVEN) == [(4, 1.0), (11, None)]


def test_the_measures_are_told_with_their_days() -> None:
    drift = Drift([])
    worse, fine = Side(10, 5, 5, -0.25), Side(10, 9, 9, 0.05)
    drift.days = [DriftDay(FIRST + dt.timedelta(n), worse, fine, None) for n in range(5)]
    assert list(drift.lines())[1:] == [
        "                   fill rate            trades         net $ a trade slippage",
        "            session backtest  session backtest    session   backtest    cents",
        *(f"2026-11-0{n}      50%      90%        5        9    -0.2500    +0.0500        -" for n in range(2, 7)),
        "(slippage: by how many cents a share the trades that both made were worse than in the backtest)",
        "2026-11-06: fill rate parts: -40.0% beside the backtest",
        "slippage: too few days to tell (0 of 5)",
        "2026-11-06: net a trade parts: -0.3000 $ beside the backtest",
    ]
    assert drift.plain()["partings"][1] == {"date": "2026-11-06", "measure": "net a trade", "by": pytest.approx(-0.3)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of one demo day."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"):
            patch.delenv(name, raising=False)
        arguments = ("--journal=journal.sqlite", "--session=2026-11-20", "--seed=1", "--set=window=10", "TSLA", "AMD")
        assert program.main(arguments) == 0
    return folder / "journal.sqlite"


def test_a_demo_day_drifts_by_nothing(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drift: dict[str, Any] = answer(capsys, demo, "--days=1", "--drift")["venues"]["simulated"]["drift"]
    (day,) = drift["days"]
    assert day["session"] == day["backtest"] and day["session"]["trades"] > 5
    assert day["slippage_cents"] == 0 and drift["partings"] == drift["notes"] == []


def test_shares_bought_dearer_are_slippage(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    copy = tmp_path / "journal.sqlite"
    copy.write_bytes(demo.read_bytes())
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE updates SET filled_avg_price = filled_avg_price + 0.03 WHERE side = 'buy'")
    (day,) = answer(capsys, copy, "--days=1", "--drift")["venues"]["simulated"]["drift"]["days"]
    assert day["slippage_cents"] == pytest.approx(3)


def test_a_class_that_is_gone_and_a_day_without_bars_are_no_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal.sqlite"
    played(path, "2026-11-20", *WON, algo="gone.py:Gone")
    played(path, "2026-11-23", *WON)
    text = told(capsys, path, "--days=2", "--drift")
    assert "note: 2026-11-20: its algo is not to be had (--algo 'gone.py:Gone': there is no file gone.py)" in text
    assert "2026-11-23     100%        -        1        0    +9.9772          -        -\n" in text
