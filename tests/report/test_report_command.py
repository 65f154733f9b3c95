"""`python -m scalp.report`: a day from the journal, and that day beside its backtest."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp import ScalpAlgo
from scalp.backtest.output import outcome
from scalp.backtest.run import backtest
from scalp.backtest.settings import read_settings
from scalp.core.clock import new_york
from scalp.core.commands import SubmitOrder
from scalp.core.ledger import Ledger
from scalp.core.market_data import Bar
from scalp.core.orders import BUY, SELL, OrderReport
from scalp.core.recording import moved_by
from scalp.core.units import MINUTE, SECOND
from scalp.journal.writer import Journal
from scalp.report.__main__ import main
from tests.journal.test_journal import FACTS, OPEN

DEMO = ("--lot=2000", "--session=2026-11-20", "--seed=5", "TSLA", "FB")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of one demo day."""
    folder = tmp_path_factory.mktemp("demo")
    path = folder / "journal.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(program, "algo_class", ScalpAlgo)  # whatever another test ran last
        for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"):
            patch.delenv(name, raising=False)
        assert program.main(["--journal", str(path), *DEMO]) == 0
    return path


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    """The same, to be tampered with."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(demo.read_bytes())  # the writer closed it: nothing waits beside it
    return path


@contextmanager
def edited(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def told(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> str:
    assert main(["--journal", str(path), *arguments]) == 0
    return capsys.readouterr().out


def answer(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, path, "--json", *arguments))
    return found


# -- the report -------------------------------------------------------------------------------------------------------


def test_a_day_of_the_demo_tells_what_its_backtest_tells(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = outcome(backtest(read_settings(["--lot=2000", "--seed=5", "TSLA", "FB"]), ScalpAlgo))
    found = answer(capsys, demo)
    assert len(found["trades"]) > 5
    assert found["trades"] == expected["trades"]
    # The last bar comes after the close: the bot did not see it.
    unlike = {name for name, value in found["summary"].items() if value != expected["summary"][name]}
    assert unlike <= {"bars", "buy_and_hold", "per_symbol", "per_day"}
    assert found["session"]["venue"] == "simulated"
    assert found["session"]["algo"] == "scalp.algo:ScalpAlgo"
    assert found["versions"]["python"]


def test_the_table_is_the_backtests(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, demo)
    assert text.startswith("SIMULATED session of 2026-11-20 at 127.0.0.1:")
    assert "ran from 09:30:00 to 16:00:00" in text
    rows = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert rows[1:6] == ["trades", "TSLA", "FB", "rounding", "total"]
    only = told(capsys, demo, "FB", "--date", "2026-11-20", "--venue", "simulated")
    assert "TSLA" not in only and "FB" in only


def test_the_page_is_written(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    told(capsys, demo, "--html", str(page))
    text = page.read_text()
    assert "SIMULATED session of 2026-11-20" in text
    table = text[text.index("<h2>Per symbol</h2>") :]
    rows = table[: table.index("</table>")].split("<tr>")[2:]
    fees = sum(Decimal(row.split('data-value="')[4].split('"')[0]) for row in rows)
    assert len(rows) == 3 and fees and fees == round(fees, 2), "with a row for the rounding, whole cents"
    assert main(["--journal", str(demo), "--html", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--date 2020-01-02", "no such session in the journal: there are 2026-11-20 (simulated)"),
        ("--venue live", "no such session"),
        ("AAPL", "AAPL did not trade on 2026-11-20: there are TSLA, FB"),
        ("--date tomorrow", "not a date"),
        ("--journal=", "--journal: it names nothing"),
        ("--html=", "--html: it names nothing"),
        ("--diff --algo nowhere:Algo", "the session's algo is not to be had"),
    ],
)
def test_mistakes_are_told_in_one_line(
    demo: Path, arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--journal", str(demo), *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1


def test_what_is_no_journal_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text"
    text.write_text("words " * 100)
    for path, words in ((tmp_path / "none", "there is no journal"), (text, "cannot be read as a journal")):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert main([]) == 2
        assert "there is no journal" in capsys.readouterr().err
        assert main(["--journal", str(path)]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE runs",
        "UPDATE runs SET symbols = '[\"TSLA'",
        "UPDATE runs SET symbols = '7'",
        "UPDATE runs SET date = 'Friday'",
        "UPDATE runs SET venue = 'moon'",
        "UPDATE runs SET open = 'early'",
        "UPDATE fills SET qty = 'abc'",
        "UPDATE bars SET close = 'abc'",
        "INSERT INTO rejections VALUES (1, 'late', 'TSLA', 'k', 'refused', 'why')",
        "UPDATE updates SET filled_qty = x'00ff'",
    ],
)
def test_a_damaged_journal_is_told_in_one_line(copy: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with edited(copy) as connection:
        connection.execute(damage)
    assert main(["--journal", str(copy)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {copy} is damaged") and "move it away" in error and error.count("\n") == 1


def test_a_journal_with_pages_overwritten_is_told_in_one_line(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = copy.read_bytes()
    copy.write_bytes(content[:8192] + b"\xff" * (len(content) - 16384) + content[-8192:])
    assert main(["--journal", str(copy)]) == 2
    error = capsys.readouterr().err
    assert f"{copy} is damaged" in error and error.count("\n") == 1


def test_a_journal_that_cannot_be_looked_at_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def locked(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", locked)
    assert main(["--journal", str(tmp_path / "journal.sqlite")]) == 2
    error = capsys.readouterr().err
    assert "journal.sqlite cannot be read (Permission denied)" in error and error.count("\n") == 1


# -- which runs are one session ---------------------------------------------------------------------------------------


def run_of(path: Path, started_at: int, *moves: tuple[str, int, str], before: int = 0, **facts: Any) -> None:
    """A run that begins with `before` shares and trades; `moves`: side, shares, price."""
    ledger = Ledger("TSLA")
    ledger.adopt_position(Decimal(before), Decimal("99.50") if before else None, started_at)
    journal = Journal(path, FACTS | {"started_at": started_at, "run": str(started_at)} | facts)
    journal.position("TSLA", ledger.position, ledger.entry_price, started_at)
    journal.bar(Bar("TSLA", OPEN, 100.0, 101.0, 99.0, 100.5, 1000.0), started_at)
    for number, (side, qty, price) in enumerate(moves):
        at = started_at + (number + 1) * MINUTE
        key = f"scalp-TSLA-{started_at}-{number}"
        order = SubmitOrder("TSLA", key, BUY if side == "buy" else SELL, qty, "limit", Decimal(price))
        ledger.add_in_flight(order, at)
        report = OrderReport("TSLA", f"id-{key}", key, side, "limit", "filled", Decimal(qty), Decimal(qty),
                             Decimal(price), Decimal(price), event="fill", execution_id=f"x-{key}",
                             price=Decimal(price), execution_qty=Decimal(qty), at=at + SECOND)  # fmt: skip
        held = ledger.position
        ledger.apply(report)
        journal.action(order, at)
        journal.update(report, at + SECOND)
        moved = moved_by(ledger, report, held, at + SECOND)
        assert moved is not None
        journal.moved(moved)
    journal.close(started_at + 30 * MINUTE)


def test_runs_of_a_day_are_one_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal.sqlite"
    run_of(path, OPEN, ("buy", 10, "100"))
    run_of(path, OPEN + 60 * MINUTE, ("sell", 10, "101"), before=10)
    found = answer(capsys, path)
    assert [(t["qty"], t["entry_price"], t["exit_price"], t["pnl"]) for t in found["trades"]] == [(10, 100, 101, 10)]
    assert len(found["session"]["runs"]) == 2
    assert found["notes"] == []


def test_what_happened_while_nobody_ran_is_reckoned_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal.sqlite"
    run_of(path, OPEN, ("buy", 10, "100"))
    run_of(path, OPEN + 60 * MINUTE, ("buy", 5, "102"), ("sell", 12, "103"), before=7)
    found = answer(capsys, path)
    assert found["notes"] == ["TSLA: sell of 3 at 10:30:00 that the bot did not see, reckoned at 100.5"]
    assert [trade["qty"] for trade in found["trades"]] == [15]


def test_a_replayed_simulated_day_is_a_session_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal.sqlite"
    run_of(path, OPEN, ("buy", 10, "100"), ("sell", 10, "101"), venue="simulated", host="127.0.0.1:1")
    run_of(path, OPEN, ("buy", 10, "100"), ("sell", 10, "102"), venue="simulated", host="127.0.0.1:1")
    run_of(path, OPEN, ("buy", 10, "100"), ("sell", 10, "103"))
    run_of(path, OPEN + MINUTE, ("buy", 10, "100"), ("sell", 10, "104"), venue="simulated", host="127.0.0.1:2")
    assert [trade["pnl"] for trade in answer(capsys, path)["trades"]] == [40]
    assert [trade["pnl"] for trade in answer(capsys, path, "--venue", "paper")["trades"]] == [30]


def test_a_killed_run_and_lost_entries_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal.sqlite"
    run_of(path, OPEN, ("buy", 10, "100"))
    with edited(path) as connection:
        connection.execute("UPDATE runs SET ended_at = NULL, lost = 3")
    text = told(capsys, path)
    assert "ran from 09:30:00 and runs still, or was killed" in text
    assert "note: the journal lacks 3 entries" in text
    assert "HELD at the end of 2026-11-20: 10 TSLA" in text


# -- beside its backtest ----------------------------------------------------------------------------------------------


def test_a_demo_day_differs_in_nothing_from_its_backtest(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, demo, "--diff")
    assert found["differences"] == []
    assert found["totals"]["session"] == found["totals"]["backtest"]  # orders, trades, profit
    assert found["totals"]["backtest"]["trades"] > 5
    assert "0 differences" in told(capsys, demo, "--diff", "FB")


@pytest.mark.parametrize(("rails", "why"), [
    (("--stop-loss=0.1%", "--max-hold=5m", "--cooldown=10m", "--no-buy-after=15:30",
      "--max-positions=1"), "stop loss"),
    (("--max-hold=3m",), "held for 180 s"),  # a time that a print tells, of whichever symbol, or a checkup
])  # fmt: skip
def test_a_day_with_rails_is_played_with_them(
    rails: Sequence[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.main(["--journal=journal.sqlite", *rails, *DEMO]) == 0
    assert f"leaving: {why}" in capsys.readouterr().out
    found = answer(capsys, tmp_path / "journal.sqlite", "--diff")
    assert found["differences"] == []
    assert found["totals"]["session"] == found["totals"]["backtest"]
    # The positions in other symbols count, also where one symbol is asked for.
    assert answer(capsys, tmp_path / "journal.sqlite", "--diff", "FB")["differences"] == []


def buy_of(path: Path, nth: int = 2) -> tuple[str, int]:
    """The id and the time of a buy of TSLA."""
    with edited(path) as connection:
        row: tuple[str, int] = connection.execute(
            "SELECT client_order_id, at FROM orders WHERE symbol = 'TSLA' AND side = 'buy' AND action = 'submit' "
            "ORDER BY at LIMIT 1 OFFSET ?", (nth,)
        ).fetchone()  # fmt: skip
    return row


def forget_trade(path: Path, at: int) -> int:
    """Take the trade of TSLA that began at `at` out of the journal; returns when the next one began."""
    with edited(path) as connection:
        (until,) = connection.execute(
            "SELECT min(at) FROM orders WHERE symbol = 'TSLA' AND side = 'buy' AND at > ?", (at,)
        ).fetchone()
        keys = [key for (key,) in connection.execute(
            "SELECT DISTINCT client_order_id FROM orders WHERE symbol = 'TSLA' AND at >= ? AND at < ?", (at, until)
        )]  # fmt: skip
        for table in ("orders", "updates", "fills"):
            connection.executemany(f"DELETE FROM {table} WHERE client_order_id = ?", [(key,) for key in keys])
        connection.execute("DELETE FROM decisions WHERE who = 'TSLA' AND at >= ? AND at < ?", (at, until))
    return int(until)


def test_a_buy_that_was_not_made_is_told_with_what_the_bot_said(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, at = buy_of(copy)
    forget_trade(copy, at)
    (one,) = answer(capsys, copy, "--diff")["differences"]
    assert one["difference"].startswith("only in the backtest: buy ")
    assert one["time"] == new_york(at).isoformat()
    assert one["why"] is None
    with edited(copy) as connection:
        connection.execute(
            "INSERT INTO decisions VALUES (1, ?, 'TSLA', 'INFO', 'a signal was passed over: order updates are gone')",
            (at,),
        )
    (one,) = answer(capsys, copy, "--diff")["differences"]
    assert one["why"] == "the bot said: a signal was passed over: order updates are gone"
    text = told(capsys, copy, "--diff")
    assert "why: the bot said: a signal was passed over" in text
    assert "1 difference, 0 of them unexplained" in text


def test_a_buy_whose_bar_came_too_late_or_only_afterwards(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, at = buy_of(copy)
    forget_trade(copy, at)
    start = at // MINUTE * MINUTE - MINUTE
    with edited(copy) as connection:
        connection.execute("UPDATE bars SET at = at + 120000000000 WHERE symbol = 'TSLA' AND start = ?", (start,))
    (one,) = answer(capsys, copy, "--diff")["differences"]
    assert one["why"] == "its bar came 120 s late"
    with edited(copy) as connection:
        connection.execute("UPDATE bars SET is_history = 1 WHERE symbol = 'TSLA' AND start = ?", (start,))
    (one,) = answer(capsys, copy, "--diff")["differences"]
    assert one["why"] == "its bar was fetched only afterwards"


def test_order_that_was_refused_is_told_with_brokers_words(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, at = buy_of(copy)
    with edited(copy) as connection:
        row = connection.execute("SELECT * FROM orders WHERE client_order_id = ? AND action = 'submit'", (key,))
        order = row.fetchone()
    forget_trade(copy, at)
    with edited(copy) as connection:
        connection.execute(f"INSERT INTO orders VALUES ({', '.join('?' * len(order))})", order)
        why = "the request limit left no room for it"
        connection.execute("INSERT INTO rejections VALUES (1, ?, 'TSLA', ?, 'refused', ?)", (at, key, why))
    found = answer(capsys, copy, "--diff")["differences"]
    assert "(refused) in the session" in found[0]["difference"]
    assert found[0]["why"] == why
    assert all(one["why"] for one in found)
    assert f"TSLA: order {key} (refused): {why}" in told(capsys, copy)


def test_a_buy_that_a_rule_of_the_bots_own_forbade(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, at = buy_of(copy)
    forget_trade(copy, at)
    with edited(copy) as connection:
        connection.execute("INSERT INTO rejections VALUES (1, ?, 'TSLA', ?, 'rail', 'too many losses')", (at, key))
    (one,) = answer(capsys, copy, "--diff")["differences"]
    assert one["why"] == "too many losses"


def test_another_price_and_a_later_order(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, at = buy_of(copy)
    with edited(copy) as connection:
        start = at // MINUTE * MINUTE - MINUTE
        connection.execute("UPDATE bars SET at = ? WHERE symbol = 'TSLA' AND start = ?", (at + 4 * SECOND, start))
        connection.execute(
            "UPDATE orders SET limit_price = '1.23', at = at + 4000000000 WHERE client_order_id = ?", (key,)
        )
        connection.execute("UPDATE updates SET limit_price = '1.23' WHERE client_order_id = ?", (key,))
    price, time = answer(capsys, copy, "--diff")["differences"]
    assert "at 1.23 in the session" in price["difference"]
    assert price["why"].startswith("the last trade differs")
    assert "sent 4.0 s later than in the backtest" in time["difference"]
    assert time["why"] == "its bar came 4.3 s after its minute"


def test_an_order_by_hand(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, _ = buy_of(copy)
    with edited(copy) as connection:
        for table in ("orders", "updates", "fills"):
            connection.execute(f"UPDATE {table} SET client_order_id = 'mine' WHERE client_order_id = ?", (key,))
        # Ten minutes earlier: no signal of the backtest's is near.
        connection.execute("UPDATE orders SET at = at - 600000000000 WHERE client_order_id = 'mine'")
    whys = [one["why"] for one in answer(capsys, copy, "--diff")["differences"]]
    assert "not the bot's order: made by hand, or by another program" in whys


def test_a_bot_that_started_late_is_compared_from_then_on(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, at = buy_of(copy, nth=1)
    begun = at - MINUTE  # the first trade of the day is over by then
    with edited(copy) as connection:
        keys = connection.execute("SELECT DISTINCT client_order_id FROM orders WHERE at < ?", (begun,)).fetchall()
        for table in ("orders", "updates", "fills"):
            connection.executemany(f"DELETE FROM {table} WHERE client_order_id = ?", keys)
        connection.execute("UPDATE runs SET started_at = ?", (begun,))
        connection.execute("UPDATE bars SET is_history = 1, at = ? WHERE at < ?", (begun, begun))
    found = answer(capsys, copy, "--diff", "TSLA")
    assert found["differences"] == []
    assert found["totals"]["backtest"]["orders"] > 4
