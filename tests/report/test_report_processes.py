"""The exchange and the bot as two processes on the wall clock: what must hold between them, and in the journal."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scalp.alpaca.decode import parse_time_ns
from scalp.report.__main__ import main
from tests.wire.exchange_process import ROOT, exchange

SYMBOLS = ("TSLA", "FB", "AAPL", "AMD")
SPEED = "60"  # a busy machine needs seconds until the bot is up: half an hour is 30 of them
PATIENCE = 60.0  # seconds

Book = list[dict[str, Any]]


def ask(env: dict[str, str], path: str) -> Book:
    request = urllib.request.Request(env["APCA_API_BASE_URL"] + path, headers={
        "APCA-API-KEY-ID": env["APCA_API_KEY_ID"], "APCA-API-SECRET-KEY": env["APCA_API_SECRET_KEY"],
    })  # fmt: skip
    with urllib.request.urlopen(request, timeout=5) as response:
        book: Book = json.load(response)
    return book


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Book, Book, str]:
    """The last 30 minutes of a day: the journal, the exchange's orders and fills, and what the bot printed."""
    folder = tmp_path_factory.mktemp("processes")
    journal = folder / "journal.sqlite"
    base = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "XDG_STATE_HOME": str(folder)}
    market = ("--speed", SPEED, "--session", "2026-11-20", "--seed", "3", "--from", "15:30")
    orders: Book = []
    fills: Book = []
    with exchange(*market, *SYMBOLS) as env, (folder / "printed").open("w+") as printed:
        command = [sys.executable, str(ROOT / "main.py"), "--feed", "sip", "--journal", str(journal), *SYMBOLS]
        bot = subprocess.Popen(command, cwd=folder, env={**base, **env, "SCALP_SPEED": SPEED},
                               stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT)  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                try:
                    orders = ask(env, "/v2/orders?status=all&limit=500")
                    fills = ask(env, "/v2/account/activities/FILL?page_size=100&direction=desc")
                except (OSError, urllib.error.URLError):
                    break  # it ends by itself, a minute after the close
                time.sleep(0.05)
            assert bot.wait(PATIENCE) == 0
        finally:
            if bot.poll() is None:
                bot.kill()
                bot.wait()
        printed.seek(0)
        return journal, orders, fills, printed.read()


def rows(path: Path, select: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(select).fetchall()
    finally:
        connection.close()


def test_there_was_something_to_see(session: tuple[Path, Book, Book, str]) -> None:
    _, orders, fills, _ = session
    assert len(orders) >= 4 and 4 <= len(fills) < 100


def test_never_two_working_orders_of_its_own(session: tuple[Path, Book, Book, str]) -> None:
    _, orders, _, _ = session
    spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for order in orders:
        assert order["client_order_id"].startswith(f"scalp-{order['symbol']}-")
        ended = next(order[f"{how}_at"] for how in ("filled", "canceled", "expired", "failed") if order[f"{how}_at"])
        spans[order["symbol"]].append((parse_time_ns(order["submitted_at"]), parse_time_ns(ended)))
    for of_symbol in spans.values():
        for (_, ended_at), (submitted_at, _) in itertools.pairwise(sorted(of_symbol)):
            assert submitted_at >= ended_at


def test_it_sold_what_it_bought(session: tuple[Path, Book, Book, str]) -> None:
    _, orders, _, _ = session
    held: defaultdict[str, Decimal] = defaultdict(Decimal)
    for order in orders:
        filled = Decimal(order["filled_qty"])
        held[order["symbol"]] += filled if order["side"] == "buy" else -filled
    assert not any(held.values())


def test_the_journal_equals_the_exchanges_books(session: tuple[Path, Book, Book, str]) -> None:
    path, orders, fills, _ = session
    sent = rows(path, "SELECT DISTINCT client_order_id, side, type, qty, limit_price FROM orders WHERE action = 'sent'")
    taken = {(o["client_order_id"], o["side"], o["type"], o["qty"], o["limit_price"]) for o in orders}
    assert {(*row[:4], None if row[4] is None else f"{Decimal(row[4]).normalize():f}") for row in sent} == taken
    booked: defaultdict[str, Decimal] = defaultdict(Decimal)
    for key, qty in rows(path, "SELECT id, qty FROM fills"):
        booked[key] += Decimal(qty)
    assert booked == {o["id"]: Decimal(o["filled_qty"]) for o in orders if Decimal(o["filled_qty"])}
    executions = rows(path, "SELECT DISTINCT execution_id, price, execution_qty FROM updates WHERE price IS NOT NULL")
    told = {(key, Decimal(price), Decimal(qty)) for key, price, qty in executions}
    assert told == {(f["id"].partition("::")[2], Decimal(f["price"]), Decimal(f["qty"])) for f in fills}
    assert rows(path, "SELECT venue, lost, ended_at IS NOT NULL FROM runs") == [("simulated", 0, 1)]


def test_the_report_tells_the_same_profit_as_the_bot(
    session: tuple[Path, Book, Book, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, orders, _, printed = session
    assert main(["--journal", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    profit = sum(
        (Decimal(o["filled_qty"]) * Decimal(o["filled_avg_price"]) * (1 if o["side"] == "sell" else -1)
         for o in orders if Decimal(o["filled_qty"])),
        Decimal(0),
    )  # fmt: skip
    assert found["summary"]["pnl"] == pytest.approx(float(profit), abs=0.001)
    assert found["summary"]["held"] == 0
    total = next(line for line in printed.splitlines() if line.startswith("total"))
    assert total.split("total")[1].split()[2] == f"{profit:+.2f}"


def test_every_difference_from_its_backtest_is_explained(
    session: tuple[Path, Book, Book, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--journal", str(session[0]), "--diff", "--json"]) == 0
    assert [one for one in json.loads(capsys.readouterr().out)["differences"] if not one["why"]] == []
