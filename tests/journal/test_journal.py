"""The journal: everything in it, nothing lost but the last moments, and no way in which it could harm the session."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp.cli.paths import default_path
from scalp.core.clock import Session, new_york
from scalp.core.commands import CancelOrder, SubmitOrder
from scalp.core.events import BarHeard, Note
from scalp.core.ledger import Ledger
from scalp.core.log import log_event
from scalp.core.market_data import Bar
from scalp.core.orders import OrderReport, Side
from scalp.core.recording import moved_by
from scalp.core.units import MINUTE, SECOND
from scalp.exchange import demo
from scalp.exchange.calendar import session_day
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.journal import writer as journal_module
from scalp.journal.reader import open_journal, read_day
from scalp.journal.writer import Journal, JournalError, JournalHandler
from scalp.live.startup import Startup
from tests.trading import (
    ABOVE_100,
    AROUND_100,
    AT_100,
    FALLING,
    BuysOnce,
    Idle,
    Script,
    exchange,
    minutes,
    run,
    settings,
    status,
)

ROOT = Path(__file__).resolve().parents[2]
OPEN = 1_795_185_000 * SECOND  # 2026-11-20 09:30 in New York
SESSION = Session(dt.date(2026, 11, 20), OPEN, OPEN + 23_400 * SECOND)
FACTS: dict[str, Any] = {
    "run": "1", "venue": "paper", "host": "paper", "date": "2026-11-20", "open": SESSION.open, "close": SESSION.close,
    "started_at": OPEN, "symbols": ("TSLA",), "lot": Decimal(2000), "algo": "scalp.algo:ScalpAlgo", "feed": "iex",
    "options": {}, "versions": {},
}  # fmt: skip
BAR = Bar("TSLA", OPEN, 100.0, 101.0, 99.0, 100.5, 1234.0)
BUY = SubmitOrder("TSLA", "scalp-TSLA-1-1", Side.BUY, 20, "limit", Decimal("99.10"))


def rows(path: Path, select: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(select).fetchall()
    finally:
        connection.close()


@contextmanager
def opened(path: Path, **facts: Any) -> Iterator[Journal]:
    journal = Journal(path, FACTS | facts, secrets=("hush-hush",))
    try:
        yield journal
    finally:
        journal.close(OPEN + 60 * SECOND)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "down" / "journal.sqlite"


# -- what is in it ----------------------------------------------------------------------------------------------------


def test_what_is_told_is_there_after_the_end(path: Path) -> None:
    ledger = Ledger("TSLA")
    ledger.add_in_flight(BUY, OPEN)
    with opened(path) as journal:
        journal.session(SESSION)
        journal.bar(BAR, OPEN + 61 * SECOND)
        journal.action(BUY, OPEN + 61 * SECOND)
        journal.sent(BUY, OPEN + 62 * SECOND)
        journal.action(CancelOrder("TSLA", BUY.client_order_id, "b1"), OPEN + 63 * SECOND)
        journal.rejection("TSLA", BUY.client_order_id, "refused", "no money", OPEN + 64 * SECOND)
        journal.said(OPEN, "TSLA", "INFO", "TO_BUY -> BUY_SUBMITTED: buy 20 limit 99.10")
        journal.position("TSLA", ledger.position, ledger.entry_price, OPEN)
    assert rows(path, "SELECT symbol, close, volume, is_history FROM bars") == [("TSLA", 100.5, 1234.0, 0)]
    assert rows(path, "SELECT action, client_order_id, id, side, qty, limit_price FROM orders") == [
        ("submit", "scalp-TSLA-1-1", None, "buy", "20", "99.10"),
        ("sent", "scalp-TSLA-1-1", None, "buy", "20", "99.10"),
        ("cancel", "scalp-TSLA-1-1", "b1", None, None, None),
    ]
    assert rows(path, "SELECT key, kind, why FROM rejections") == [("scalp-TSLA-1-1", "refused", "no money")]
    assert rows(path, "SELECT who, text FROM decisions") == [("TSLA", "TO_BUY -> BUY_SUBMITTED: buy 20 limit 99.10")]
    assert rows(path, "SELECT symbol, qty, entry_price FROM positions") == [("TSLA", "0", None)]
    assert rows(path, "SELECT ended_at, lost, lot, symbols FROM runs") == [(OPEN + 60 * SECOND, 0, "2000", '["TSLA"]')]


def test_a_fill_is_what_moved_the_position_and_only_once(path: Path) -> None:
    ledger = Ledger("TSLA")
    ledger.add_in_flight(BUY, OPEN)

    def report(total: str, average: str, event: str, **more: Any) -> OrderReport:
        return OrderReport("TSLA", "b1", BUY.client_order_id, "buy", "limit", "partially_filled", Decimal(20),
                           Decimal(total), Decimal(average), BUY.limit_price, event=event, **more)  # fmt: skip

    told = [
        report("5", "99.00", "partial_fill", execution_id="x1", price=Decimal("99.00"), execution_qty=Decimal(5), at=7),
        report("5", "99.00", "partial_fill", execution_id="x1", price=Decimal("99.00"), execution_qty=Decimal(5), at=7),
        report("20", "99.06", ""),  # by REST, with the totals alone: 15 more at 99.08
    ]
    with opened(path) as journal:
        for one in told:
            before = ledger.position
            ledger.apply(one)
            journal.update(one, OPEN)
            if moved := moved_by(ledger, one, before, OPEN):
                journal.moved(moved)
    assert rows(path, "SELECT qty, price, position, happened_at FROM fills") == [
        ("5", "99.00", "5", 7), ("15", "99.08", "20", None),
    ]  # fmt: skip
    assert len(rows(path, "SELECT * FROM updates")) == 3


def test_lines_of_the_log_are_decisions_but_bars_are_bars(path: Path) -> None:
    log = logging.getLogger("scalp.TSLA")
    with opened(path) as journal:
        handler = JournalHandler(journal, lambda: OPEN)
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        try:
            log_event(BarHeard(OPEN, BAR))
            log_event(Note("TSLA", OPEN, logging.INFO, "bar none %s", ("of it",)))
            log.info("signal: buy %d at %s", 4, "401.62")
            log.debug("buy new")
            try:
                raise RuntimeError("hush-hush is my key")
            except RuntimeError:
                log.exception("the buy signal failed: no buy")
        finally:
            log.removeHandler(handler)
            log.setLevel(logging.NOTSET)
    assert rows(path, "SELECT at, who, level, text FROM decisions") == [
        (OPEN, "TSLA", "INFO", "bar none of it"),
        (OPEN, "TSLA", "INFO", "signal: buy 4 at 401.62"),
        (OPEN, "TSLA", "ERROR", "the buy signal failed: no buy: RuntimeError: *** is my key"),
    ]


def test_no_key_gets_into_it(path: Path) -> None:
    with opened(path) as journal:
        journal.said(OPEN, "main", "INFO", "logged in with hush-hush")
        journal.rejection("TSLA", "k", "refused", "unknown key hush-hush", OPEN)
    for file in path.parent.iterdir():
        assert b"hush-hush" not in file.read_bytes()


# -- what may happen to it --------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from scalp.journal.writer import Journal
from tests.journal.test_journal import BAR, FACTS, OPEN
journal = Journal(Path({path!r}), FACTS)
for number in range(5000):
    journal.bar(BAR, OPEN + number)
time.sleep(1.0)
journal.bar(BAR, OPEN + 5000)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_loses_the_last_moments_alone(path: Path) -> None:
    script = KILLED.format(root=str(ROOT), path=str(path))
    ended = subprocess.run([sys.executable, "-c", script], cwd=path.parents[2], timeout=30)
    assert ended.returncode == -signal.SIGKILL
    assert rows(path, "SELECT count(*) FROM bars") == [(5000,)]
    assert rows(path, "SELECT ended_at FROM runs") == [(None,)]


def test_reader_sees_what_was_told_moment_ago_while_bot_runs(path: Path) -> None:
    with opened(path) as journal:
        journal.bar(BAR, OPEN)
        deadline = time.monotonic() + 10
        while not rows(path, "SELECT * FROM bars"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_telling_never_waits_for_a_disk_that_is_busy(path: Path) -> None:
    with opened(path) as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # from here on nobody else can write
        for number in range(10_000):
            journal.bar(BAR, OPEN + number)
        # All are told while nothing can be written: whoever waited for the disk would be here for ever.
        assert rows(path, "SELECT count(*) FROM bars") == [(0,)]
        other.execute("ROLLBACK")
        other.close()
    assert rows(path, "SELECT count(*) FROM bars") == [(10_000,)]


def test_what_finds_no_room_is_dropped_with_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "MOST_WAITING", 10)
    with opened(path) as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for number in range(1000):
            journal.bar(BAR, OPEN + number)
        other.execute("ROLLBACK")
        other.close()
        monkeypatch.setattr(journal_module, "MOST_WAITING", 100)
    (kept,) = rows(path, "SELECT count(*) FROM bars")[0]
    lost = 1000 - kept
    assert rows(path, "SELECT lost FROM runs") == [(lost,)]
    assert [record.message for record in caplog.records] == [
        "the journal cannot keep up: entries are dropped", f"the journal lacks {lost} entries",
    ]  # fmt: skip


def test_file_that_fails_later_ends_journal_with_one_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(path) as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("DROP TABLE bars")
        other.close()
        for number in range(3):
            journal.bar(BAR, OPEN + number)
            time.sleep(0.2)
        assert not [thread for thread in threading.enumerate() if thread.name == "journal"]
    assert [record.message for record in caplog.records] == [
        "the journal cannot be written any more: no such table: bars"
    ]


def test_a_row_that_no_column_takes_is_left_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(path) as journal:
        journal.update(OrderReport("TSLA", "b1", "", "buy", "limit", "new", at=10**30), OPEN)
        journal.said(OPEN, "TSLA", "INFO", "half a character \ud800")
        journal.bar(BAR, OPEN)
    assert rows(path, "SELECT count(*) FROM bars") == [(1,)]
    assert [record.message for record in caplog.records] == ["the journal lacks 2 entries"]


def test_nobody_else_may_read_the_journal(path: Path) -> None:
    old = os.umask(0)
    try:
        with opened(path) as journal:
            journal.bar(BAR, OPEN)
            while not path.with_name(path.name + "-wal").exists():
                time.sleep(0.01)
            files = [path, *path.parent.glob(path.name + "-*")]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert len(files) == 3
        path.chmod(0o664)  # made by an older version
        with opened(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    assert rows(path, "SELECT count(*) FROM runs") == [(2,)]


def test_no_column_holds_a_key_nor_more_than_anybody_reads(path: Path) -> None:
    with opened(path, host="hush-hush") as journal:
        journal.update(OrderReport("TSLA", "id-hush-hush", "hush-hush", "buy", "hush-hush", "hush-hush"), OPEN)
        journal.said(OPEN, "hush-hush", "INFO", "x" * 9_995 + "hush-hush" + "x" * 10**6)
        journal.rejection("TSLA", "hush-hush", "refused", "hush-hush", OPEN)
    assert b"hush-hush" not in path.read_bytes()
    assert rows(path, "SELECT id, client_order_id, status FROM updates") == [("id-***", "***", "***")]
    ((text,),) = rows(path, "SELECT text FROM decisions")
    assert text == "x" * 9_995 + "***xx"


def test_a_file_that_is_no_journal_is_told_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database" * 100)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for path, words in ((text, "file is not a database"), (tmp_path, "unable to open"), (newer, "another version")):
        with pytest.raises(JournalError, match=words):
            Journal(path, FACTS)
    assert text.read_text().startswith("not a database")
    with pytest.raises(JournalError):
        Journal(text / "journal.sqlite", FACTS)


def test_the_place_of_the_journal_is_the_systems_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for state, expected in (
        ("/var/x", Path("/var/x/scalp/journal.sqlite")),
        ("not/absolute", tmp_path / ".local/state/scalp/journal.sqlite"),
        ("", tmp_path / ".local/state/scalp/journal.sqlite"),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        assert default_path() == expected
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # nobody's home
    assert default_path() is None


class BuysAgain(BuysOnce):
    def _calculate_buy_signal(self) -> bool:
        return True


# -- with the bot -----------------------------------------------------------------------------------------------------

HALF_DAY = ("--lot=2000", "--session=2026-11-27", "--seed=2", "TSLA", "FB")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "algo_class", program.algo_class)
    return tmp_path


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """The exchanges of the runs of main()."""
    made: list[Engine] = []

    def engine(*args: Any, **kwargs: Any) -> Engine:
        made.append(Engine(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(demo, "Engine", engine)
    return made


def log_of(folder: Path, *arguments: str) -> list[str]:
    log = folder / "console.log"
    log.unlink(missing_ok=True)
    assert program.main(arguments) == 0
    return [line.partition("reaction")[0].split(" ms")[0][:90] for line in log.read_text().splitlines()]


def test_the_journal_equals_the_exchanges_books(folder: Path, engines: list[Engine]) -> None:
    path = folder / "journal.sqlite"
    assert program.main(["--journal", str(path), *HALF_DAY]) == 0
    (engine,) = engines
    assert len(engine.executions) > 10
    orders = rows(path, "SELECT DISTINCT client_order_id, side, type, limit_price, qty FROM orders "
                        "WHERE action = 'sent'")  # fmt: skip
    assert set(orders) == {
        (o.client_order_id, o.side, o.type, None if o.limit_price is None else str(o.limit_price), str(o.qty))
        for o in engine.orders.values()
    }
    fills = rows(path, "SELECT id, sum(qty) FROM fills GROUP BY id")
    assert dict(fills) == {o.id: o.filled_qty for o in engine.orders.values() if o.filled_qty}
    executions = rows(path, "SELECT DISTINCT execution_id, price, execution_qty, happened_at FROM updates "
                            "WHERE price IS NOT NULL")  # fmt: skip
    assert {(Decimal(price), Decimal(qty), at) for _, price, qty, at in executions} == {
        (e.price, e.qty, e.at) for e in engine.executions
    }
    seen = {row[:2]: row for row in rows(path, "SELECT symbol, start, open, high, low, close, volume FROM bars")}
    day = session_day(dt.date(2026, 11, 27))
    for symbol, bars in synthetic_day(("TSLA", "FB"), day, seed=2).items():
        inside = [bar for bar in bars if day.open <= bar.start < day.close - MINUTE]  # the last one comes too late
        assert [Bar(*seen[symbol, bar.start]) for bar in inside] == inside
    ((first, last),) = rows(path, "SELECT min(at), max(at) FROM bars")
    assert f"{new_york(first):%Y-%m-%d %H:%M} {new_york(last):%H:%M}" == "2026-11-27 09:30 12:59"
    assert rows(path, "SELECT venue, lost, ended_at >= close FROM runs") == [("simulated", 0, 1)]
    lines = [text for (text,) in rows(path, "SELECT text FROM decisions")]
    assert sum("TO_BUY -> BUY_SUBMITTED" in line for line in lines) == sum(o[1] == "buy" for o in orders)


def test_the_journal_changes_nothing_in_the_run(folder: Path) -> None:
    with_one = log_of(folder, "--journal", str(folder / "j"), *HALF_DAY)
    assert with_one == log_of(folder, "--journal", "off", *HALF_DAY)
    assert with_one == log_of(folder, *HALF_DAY)


def test_it_is_kept_in_users_state_folder_and_off_means_none(folder: Path, state_folder: Path) -> None:
    path = state_folder / "scalp" / "journal.sqlite"

    def runs() -> int:
        return len(rows(path, "SELECT * FROM runs")) if path.exists() else 0

    before = runs()
    assert program.main(["--journal", "off", *HALF_DAY]) == 0
    assert runs() == before
    assert program.main(HALF_DAY) == 0
    assert runs() == before + 1
    assert rows(path, "SELECT date, lot, algo FROM runs ORDER BY id DESC LIMIT 1") == [
        ("2026-11-27", "2000", "scalp.algo:ScalpAlgo")
    ]


def test_without_a_journal_the_bot_trades_with_one_warning(folder: Path, engines: list[Engine]) -> None:
    lines = log_of(folder, "--journal", str(folder), *HALF_DAY)
    assert [line for line in lines if "journal" in line] == [
        line for line in lines if "no journal: " in line and "WARNING" in line
    ]
    assert sum("journal" in line for line in lines) == 1
    assert engines[0].executions


def test_a_restart_and_a_refusal_are_in_it(path: Path) -> None:
    """The buy is refused once, then fills while nobody runs; the next run takes over what is held, and sells it."""

    async def story() -> None:
        script = Script()
        script.on("POST /v2/orders", status(403, "insufficient buying power"))
        market = {"TSLA": minutes("TSLA", *[AT_100] * 4, ABOVE_100, FALLING[0], *[AROUND_100] * 10)}
        async with exchange(market, script) as (_, endpoints):
            for until, algo in ((150, BuysOnce), (290, BuysAgain), (900, Idle)):
                startup = Startup(settings("TSLA", journal=path, on_exit="keep"), endpoints, algo)
                session = await startup.open()
                assert session is not None
                jobs = [asyncio.ensure_future(job) for job in (session.feed.run(), session.updates.run())]
                while script.now() < until:
                    session.checkup()
                    await asyncio.sleep(5)
                session.over()
                for job in jobs:
                    job.cancel()
                await asyncio.gather(*jobs, return_exceptions=True)
                await startup.close()
                await asyncio.sleep(60 if algo is BuysOnce else 120)

    run(story())
    assert rows(path, "SELECT kind, why FROM rejections") == [("refused", "insufficient buying power")]
    with contextlib.closing(open_journal(path)) as connection:
        day = read_day(connection)
        assert len(day.runs) == 3
        refused, buy, sell = day.orders("TSLA")
        assert (refused.status, buy.side, sell.side, sell.status) == ("refused", "buy", "sell", "filled")
        assert sum(fill.qty for fill in day.fills["TSLA"] if fill.side == "buy") == sell.filled_qty > 0
    assert [note.partition(" that ")[0] for note in day.notes] == ["TSLA: 1 fill"]
    assert rows(path, "SELECT side, qty FROM fills WHERE source = 'activities'") == [("buy", f"{sell.filled_qty}")]


def test_tests_write_to_no_home_of_anybodys(state_folder: Path) -> None:
    assert os.environ["XDG_STATE_HOME"] == str(state_folder)
