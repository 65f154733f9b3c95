"""A journal of an earlier version, brought to this one; the view `trades`; what no run wrote down."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scalp.cli.settings import Endpoints
from scalp.core.events import OrderMoved, TripSeen
from scalp.core.fees import ALPACA
from scalp.core.orders import OrderReport
from scalp.core.ports import Execution, FeeCharged
from scalp.core.units import SECOND
from scalp.journal import schema
from scalp.journal.reader import open_journal, read_day
from scalp.journal.recorder import Recorder
from scalp.journal.writer import Journal
from tests.journal.test_journal import FACTS, OPEN, SESSION, opened, rows
from tests.trading import settings

D = Decimal


def moved(order: str, side: str, qty: int, price: str, position: int, at: int, kind: str = "limit") -> OrderMoved:
    report = OrderReport("TSLA", order, f"scalp-TSLA-1-{order}", side, kind, "filled", at=OPEN + at * SECOND)
    return OrderMoved(report.at or 0, report, "TSLA", order, report.client_order_id, side, kind, D(price), D(qty),
                      D(price), D(qty if side == "buy" else -qty), D(position))  # fmt: skip


def execution(id: str, order: str, side: str, qty: int, price: str, at: int, cumulative: int) -> Execution:
    return Execution(id, order, "TSLA", side, D(qty), D(price), OPEN + at * SECOND, D(cumulative), D(0), "filled")


def with_a_trade(path: Path) -> None:
    with opened(path) as journal:
        journal.rates = ALPACA.on(SESSION.date)
        journal.moved(moved("b", "buy", 4, "401.62", 4, 60))
        journal.moved(moved("s", "sell", 4, "401.62", 0, 120))


def as_version_1(path: Path) -> None:
    """What the version before made of it."""
    with sqlite3.connect(path) as connection:
        for statement in ("DROP VIEW trades", "DROP TABLE trips", "DROP TABLE fees",
                          "ALTER TABLE fills DROP COLUMN fees", "ALTER TABLE fills DROP COLUMN source",
                          "ALTER TABLE orders DROP COLUMN stop_price", "ALTER TABLE updates DROP COLUMN stop_price",
                          "ALTER TABLE updates DROP COLUMN parent_id",
                          "PRAGMA user_version = 1"):  # fmt: skip
            connection.execute(statement)
    connection.close()


TRADE = [("2026-11-20", "TSLA", 4, 401.62, 401.62, 0, 0.033897488, -0.033897488)]
SELECT = "SELECT date, symbol, qty, entry_price, exit_price, gross, fees, net FROM trades"


def test_an_older_journal_is_migrated_after_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with_a_trade(path)
    assert rows(path, SELECT) == TRADE
    as_version_1(path)
    with opened(path, started_at=OPEN + 300 * SECOND):
        pass
    assert rows(path, SELECT) == TRADE
    assert rows(path, "PRAGMA user_version") == [(schema.SCHEMA_VERSION,)]
    assert rows(path, "SELECT count(*) FROM runs") == [(2,)]
    copy = tmp_path / "journal.sqlite.v1"
    assert (rows(copy, "PRAGMA user_version"), rows(copy, "SELECT count(*) FROM runs")) == ([(1,)], [(1,)])
    assert copy.stat().st_mode & 0o777 == 0o600


def test_the_report_brings_it_to_this_form_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with_a_trade(path)
    as_version_1(path)
    day = read_day(open_journal(path))
    assert [(fill.side, fill.qty, fill.price) for fill in day.fills["TSLA"]] == [
        ("buy", D(4), D("401.62")), ("sell", D(4), D("401.62")),
    ]  # fmt: skip
    assert (tmp_path / "journal.sqlite.v1").exists()


def test_a_failed_migration_changes_nothing_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.sqlite"
    with_a_trade(path)
    as_version_1(path)
    monkeypatch.setattr(schema, "ADDED_IN_2", "CREATE TABLE trips (run INTEGER); CREATE nonsense")
    beside = open_for_a_session(path)
    assert beside == tmp_path / "journal-v2.sqlite"
    assert "cannot be brought to this one" in caplog.text and "a new one is begun" in caplog.text
    assert rows(path, "PRAGMA user_version") == [(1,)]
    assert "fees" not in [row[1] for row in rows(path, "PRAGMA table_info(fills)")]
    assert rows(path, "SELECT name FROM sqlite_master WHERE name = 'trips'") == []


def test_a_journal_of_a_later_version_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert open_for_a_session(path) == tmp_path / "journal-v2.sqlite"
    assert "another version of this program (99)" in caplog.text
    assert rows(path, "PRAGMA user_version") == [(99,)]


def open_for_a_session(path: Path) -> Path:
    endpoints = Endpoints("https://a", "https://b", "wss://c", "k", "s")
    recorder = Recorder(settings("TSLA", journal=path), endpoints, lambda: OPEN)
    journal = recorder._opened(path, dict(FACTS))
    assert journal is not None
    journal.close(OPEN)
    (found,) = [one for one in path.parent.glob("*.sqlite") if rows(one, "PRAGMA user_version") == [(2,)]]
    return found


def test_only_the_executions_that_no_run_took_down_are_added(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with opened(path, run="1") as journal:
        journal.moved(moved("a", "buy", 3, "100", 3, 10))
    with opened(path, run="2", started_at=OPEN + 30 * SECOND) as journal:
        journal.rates = ALPACA.on(SESSION.date)
        known = OrderReport("TSLA", "b", "scalp-TSLA-1-2", "sell", "market", "filled")
        journal.update(known, OPEN + 31 * SECOND)
        for one in (
            execution("e1", "a", "buy", 3, "100", 10, 3),  # taken down
            execution("e2", "a", "buy", 1, "100", 11, 4),
            execution("e3", "b", "sell", 4, "101", 20, 4),
        ):
            journal.recall(one, known if one.order_id == "b" else None)
            journal.recall(one, None)  # told twice
    columns = "run, side, qty, price, type, id, client_order_id, fees, source"
    found = rows(path, f"SELECT {columns} FROM fills ORDER BY rowid")
    assert found == [
        (1, "buy", "3", "100", "limit", "a", "scalp-TSLA-1-a", "0", ""),
        (1, "buy", "1", "100", "limit", "a", "", "0.000003", "activities"),
        (1, "sell", "4", "101", "market", "b", "scalp-TSLA-1-2", "0.0091144", "activities"),
    ]


def test_trade_has_what_was_seen_of_it_and_broker_its_fees(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    seen = TripSeen("TSLA", OPEN, OPEN + 60 * SECOND, "limit", 401.60, OPEN, 401.5, OPEN + 60 * SECOND,
                    OPEN + 60 * SECOND + 9, 401.5, OPEN + 61 * SECOND, 401.4, 401.12, 402.12, {1: 401.5, 60: 402.0},
                    {5: 403.0})  # fmt: skip
    with opened(path) as journal:
        journal.moved(moved("b", "buy", 4, "401.62", 4, 60))
        journal.moved(moved("s", "sell", 4, "401.62", 0, 120))
        journal.trip(TripSeen("TSLA", OPEN, OPEN + 60 * SECOND))  # while it was held
        journal.trip(seen)
        for _ in range(2):
            journal.fee(FeeCharged("f1", "REG", D("0.04"), "2026-11-20"), OPEN)
    names = "exit_reason, mae, mfe, slippage, entry_1, entry_5, entry_60, exit_5, decided_at, sent_price"
    assert rows(path, f"SELECT {names} FROM trades") == [
        ("limit", -2, 2, 0.02, 401.5, None, 402, 403, OPEN + 60 * SECOND, 401.5)
    ]
    assert read_day(open_journal(path)).charged() == {"REG": D("0.04")}


def test_trade_that_outlived_run_has_what_each_run_saw_of_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with opened(path, run="1") as journal:
        journal.moved(moved("b", "buy", 4, "401.62", 4, 60))
        journal.trip(TripSeen("TSLA", OPEN, OPEN + 60 * SECOND, signal_price=401.6, low=401.0, high=401.7,
                              entry={1: 401.5}))  # fmt: skip
    with opened(path, run="2", started_at=OPEN + 90 * SECOND) as journal:
        journal.trip(TripSeen("TSLA", OPEN, OPEN + 91 * SECOND, "limit", low=401.5, high=402.0, exit={1: 403.0}))
        journal.moved(moved("s", "sell", 4, "401.62", 0, 120))
        journal.moved(moved("c", "buy", 4, "400", 4, 180))
        journal.trip(TripSeen("TSLA", OPEN, OPEN + 180 * SECOND, "by hand", low=300.0))
        journal.moved(moved("d", "sell", 4, "400", 0, 240))
    names = "run, exit_reason, mae, mfe, slippage, entry_1, exit_1"
    assert rows(path, f"SELECT {names} FROM trades") == [
        (1, "limit", -2.48, 1.52, 0.02, 401.5, 403), (2, "by hand", -400, None, None, None, None),
    ]  # fmt: skip
    assert rows(path, "SELECT count(*) FROM trips") == [(3,)]


@pytest.mark.parametrize(
    ("kind", "key", "reason"),
    [("limit", "scalp-TSLA-1-2", "limit"), ("stop", "x", "stop at broker"), ("market", "scalp-TSLA-1-2", None),
     ("limit", "", None)],
)  # fmt: skip
def test_what_was_sold_between_runs_has_its_orders_reason(
    kind: str, key: str, reason: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite"
    with opened(path) as journal:
        journal.moved(moved("b", "buy", 4, "401.62", 4, 60))
        sale = OrderReport("TSLA", "s", key, "sell", kind, "filled")
        journal.recall(execution("e", "s", "sell", 4, "402", 90, 4), sale)
    assert rows(path, "SELECT exit_reason FROM trades") == [(reason,)]


def test_journal_that_is_new_has_form_that_migrated_one_has(tmp_path: Path) -> None:
    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    for path in (new, old):
        with_a_trade(path)
    as_version_1(old)
    Journal(old, FACTS).close(OPEN)

    def form(path: Path) -> list[Any]:
        tables = ("runs", "bars", "decisions", "orders", "updates", "fills", "positions", "rejections", "trips", "fees")
        return [[row[1:4] for row in rows(path, f"PRAGMA table_info({table})")] for table in tables]

    assert form(new) == form(old)


def test_a_file_without_room_for_plots_is_read_and_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path, FACTS).close(OPEN)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE plots")
    assert read_day(open_journal(path)).plots == {"TSLA": {}}
    journal = Journal(path, FACTS | {"run": "2", "started_at": OPEN + 1})
    journal.plot("TSLA", OPEN, "rsi", 30.5)
    journal.close(OPEN)
    assert read_day(open_journal(path)).plots == {"TSLA": {"rsi": {OPEN: 30.5}}}
