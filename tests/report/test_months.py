"""`python -m scalp.report` over many sessions: the list, the sums, the copy of the file and letting go of old days."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp.core.clock import NEW_YORK, nanoseconds
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE
from scalp.journal import upkeep
from scalp.journal.brief import BriefDay
from scalp.journal.reader import JournaledDay, open_journal, sessions
from scalp.journal.writer import Journal
from scalp.report.__main__ import main
from scalp.results.totals import Results
from tests.report.test_report_command import run_of


def played(path: Path, date: str, *moves: tuple[str, int, str], venue: str = "paper", **facts: Any) -> None:
    """A session of that day, from 9:30 on."""
    opened = nanoseconds(dt.datetime.combine(dt.date.fromisoformat(date), dt.time(9, 30), NEW_YORK))
    run_of(path, opened, *moves, date=date, open=opened, close=opened + 390 * MINUTE, venue=venue, host=venue, **facts)


WON = (("buy", 10, "100"), ("sell", 10, "101"))
LOST = (("buy", 10, "100"), ("sell", 10, "98"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three days on paper, one of them with real money too, and a demo that was played twice."""
    path = tmp_path / "journal.sqlite"
    played(path, "2026-10-30", *WON)
    played(path, "2026-11-02", *LOST)
    played(path, "2026-11-20", *WON, venue="live")
    played(path, "2026-11-20", *LOST, venue="simulated")
    played(path, "2026-11-20", *WON, venue="simulated")
    played(path, "2026-11-23", *WON, *WON)
    return path


def test_the_list_of_sessions_loads_neither_backtest_nor_pandas(path: Path) -> None:
    code = (
        f"import sys; from scalp.report.__main__ import main; main(['--list', '--journal={path}']); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    assert len(lines) == 8 and lines[-1].startswith("(to -")
    loaded = {name.split(".")[0] for name in modules.split()} | {
        ".".join(name.split(".")[:2]) for name in modules.split()
    }
    assert not loaded & {"pandas", "aiohttp", "plotly", "alpaca_trade_api", "scalp.backtest", "scalp.live"}


def told(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> str:
    assert main(["--journal", str(path), *arguments]) == 0
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, path, "--json", *arguments))
    return found


# -- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_has_a_line_a_session(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, path, "--list").splitlines() == [
        "date       venue     trades   gross $   fees $      net $ runs from     to       symbols",
        "2026-10-30 paper          1    +10.00   0.0500    +9.9500    1 09:30:00 10:00:00 TSLA",
        "2026-11-02 paper          1    -20.00   0.0500   -20.0500    1 09:30:00 10:00:00 TSLA",
        "2026-11-20 live           1    +10.00   0.0500    +9.9500    1 09:30:00 10:00:00 TSLA",
        "2026-11-20 simulated      1    -20.00   0.0500   -20.0500    1 09:30:00 10:00:00 TSLA",
        "2026-11-20 simulated      1    +10.00   0.0500    +9.9500    1 09:30:00 10:00:00 TSLA",
        "2026-11-23 paper          2    +20.00   0.0700   +19.9300    1 09:30:00 10:00:00 TSLA",
        "(to -: it runs still, or was killed)",
    ]
    assert [(row["date"], row["net"]) for row in answer(capsys, path, "--list", "--month=2026-10")["sessions"]] == [
        ("2026-10-30", 9.95)
    ]


# -- many days --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--from=2026-10-01",), {"live": (1, 1, 10), "paper": (3, 4, 10), "simulated": (1, 1, 10)}),
        (("--month=2026-11",), {"live": (1, 1, 10), "paper": (2, 3, 0), "simulated": (1, 1, 10)}),
        (("--month=2026-11", "--venue=paper"), {"paper": (2, 3, 0)}),
        (("--from=2026-10-30", "--to=2026-11-02"), {"paper": (2, 2, -10)}),
        (("--days=2",), {"live": (1, 1, 10), "paper": (2, 3, 0), "simulated": (1, 1, 10)}),
    ],
)
def test_the_sessions_of_each_venue_are_summed_apart(
    path: Path, arguments: tuple[str, ...], expected: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, path, *arguments)["venues"]
    sums = {name: (one["days"], one["summary"]["trades"], one["summary"]["pnl"]) for name, one in found.items()}
    assert sums == expected


def test_a_day_that_was_played_again_counts_once_and_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, path, "--month=2026-11", "--venue=simulated")
    assert text.startswith("SIMULATED sessions from 2026-11-20 to 2026-11-20: 1 day, lot $2000, scalp.algo:ScalpAlgo\n")
    assert "note: 1 earlier session of a day that was played again is left out\n" in text


def test_text_has_row_day_and_venues_one_after_other(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, path, "--from=2026-10-01", "TSLA")
    titles = [line for line in text.splitlines() if " from " in line]
    assert titles == [
        "sessions with REAL MONEY from 2026-11-20 to 2026-11-20: 1 day, lot $2000, scalp.algo:ScalpAlgo",
        "paper sessions from 2026-10-30 to 2026-11-23: 3 days, lot $2000, scalp.algo:ScalpAlgo",
        "SIMULATED sessions from 2026-11-20 to 2026-11-20: 1 day, lot $2000, scalp.algo:ScalpAlgo",
    ]
    rows = [line.split()[:4] for line in text.splitlines() if line.startswith("2026-")]
    assert ["2026-10-30", "1", "100%", "+10.00"] in rows and ["2026-11-02", "1", "0%", "-20.00"] in rows
    assert "fees: reckoned 0.17, none charged by now" in text


def test_a_brief_reading_comes_to_what_the_whole_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert program.main(["--journal=journal.sqlite", "--seed=5", "TSLA", "FB", "AMD"]) == 0
    with closing(open_journal(tmp_path / "journal.sqlite")) as connection:
        (runs,) = sessions(connection)
        whole, brief = JournaledDay(connection, runs), BriefDay(connection, runs)
        numbers = [Results(day.days(), day.fees).total() for day in (whole, brief)]
        assert numbers[0] == numbers[1] and numbers[0].trades > 5
        for symbol in whole.symbols:
            assert whole.bars(symbol) == brief.bars(symbol)


def test_bars_that_were_fetched_fill_only_gaps_of_brief_reading(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    played(path, "2026-11-20", *WON)
    with closing(open_journal(path)) as connection:
        (runs,) = sessions(connection)
    journal = Journal(path, {name: getattr(runs[0], name) for name in ("venue", "host", "open", "close", "lot")} | {
        "run": "2", "date": "2026-11-20", "started_at": runs[0].open + 60 * MINUTE, "symbols": ("TSLA",), "algo": "a:A",
        "feed": "iex", "options": {}, "versions": {}})  # fmt: skip
    later = runs[0].open + MINUTE
    for at, close, is_history in ((runs[0].open, 777.0, True), (later, 103.0, True), (later, 104.0, False)):
        journal.bar(Bar("TSLA", at, 100.0, 800.0, 99.0, close, 1.0), later, is_history=is_history)
    journal.close(later)
    with closing(open_journal(path)) as connection:
        (runs,) = sessions(connection)
        assert [bar.close for bar in BriefDay(connection, runs).bars("TSLA")] == [100.5, 104.0]
        assert BriefDay(connection, runs).bars("TSLA") == JournaledDay(connection, runs).bars("TSLA")


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_copy_is_whole_while_the_bot_writes(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as bot:
        bot.execute("BEGIN IMMEDIATE")
        bot.execute("DELETE FROM runs WHERE date < '2026-11-01'")
        assert told(capsys, path, "--backup", str(copy)).startswith(f"{copy}: 0.")
        bot.execute("COMMIT")
    assert len(answer(capsys, copy, "--list")["sessions"]) == 6
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    told(capsys, path, "--backup", str(copy))  # over the earlier one
    assert len(answer(capsys, copy, "--list")["sessions"]) == 5
    assert sorted(file.name for file in tmp_path.glob("copy*")) == ["copy.sqlite"]


def test_old_sessions_go_with_all_their_rows(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.sqlite"
    monkeypatch.setattr("scalp.report.__main__._today", lambda: dt.date(2026, 11, 26))
    text = told(capsys, path, "--keep-days", "1", "--backup", str(copy))
    assert "runs before 2026-11-25 deleted: 2 paper, 1 simulated;" in text
    assert [(row["date"], row["venue"], row["net"]) for row in answer(capsys, path, "--list")["sessions"]] == [
        ("2026-11-20", "live", 9.95),
        ("2026-11-20", "simulated", 9.95),
        ("2026-11-23", "paper", 19.93),
    ]
    with closing(sqlite3.connect(path)) as connection:
        for table in ("bars", "orders", "updates", "fills", "positions"):
            runs = {run for (run,) in connection.execute(f"SELECT DISTINCT run FROM {table}")}
            assert runs == {3, 5, 6}, table
    assert len(answer(capsys, copy, "--list")["sessions"]) == 6
    assert "deleted: there are none;" in told(capsys, path, "--keep-days=1")
    monkeypatch.setattr(upkeep, "LOCK_PATIENCE", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        played(path, "2026-11-24", *WON)
        other.execute("BEGIN IMMEDIATE")
        assert main(["--journal", str(path), "--keep-days=1"]) == 2
        assert "cannot be written: database is locked" in capsys.readouterr().err


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--month 2026-13", "'2026-13' is not a month of the form YYYY-MM"),
        ("--days 0", "'0' is not a whole number above 0"),
        ("--keep-days=-3", "'-3' is not a whole number above 0"),
        ("--from 2026-11-02 --to 2026-11-01", "--from 2026-11-02 comes after --to 2026-11-01"),
        ("--month 2026-11 --days 3", "--month and --days together: name the days in one way"),
        ("--month 2026-11 --diff", "--diff sets one session beside its backtest: name it with --date"),
        ("--month 2025-01", "no session of these days in the journal: there are 2026-10-30 (paper)"),
        ("--month 2026-11 FB", "FB did not trade in these sessions with REAL MONEY"),
        ("--list FB", "--list tells of whole sessions: leave the symbols, --diff, --drift and --html out"),
        ("--drift", "--drift looks at many sessions: name them with --month, --days or --from and --to"),
        ("--month 2026-11 --html x", "--html shows one venue, and there are live, paper, simulated: name it with"),
        ("--backup .", "--backup .: it is a folder"),
        ("--backup {path}", "it is the journal itself"),
        ("--backup {other}", "there is a file that is no journal"),
        ("--backup {other}/x", "cannot be written (Not a directory)"),
    ],
)
def test_mistakes_are_told_in_one_line(
    path: Path, tmp_path: Path, arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    told_as = arguments.format(path=path, other=other).split()
    assert main(["--journal", str(path), *told_as]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert other.read_text() == "mine"
