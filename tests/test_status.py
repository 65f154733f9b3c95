"""`python -m scalp.status`, and what a service manager hears."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scalp import status
from scalp.live import health as health_module
from scalp.live.health import Health, SignsOfLife, tell_service_manager
from scalp.live.lock import lock_path, only_bot
from tests.trading import AROUND_100, BuysOnce, Script, minutes, run, settings, trading
from tests.wire.fakes import endpoints

ROOT = Path(__file__).resolve().parents[1]
URL = "http://127.0.0.1:9"
MARKET = {"TSLA": minutes("TSLA", AROUND_100, AROUND_100, (100.0, 100.0, 99.5, 99.5), *[(99.5,) * 4] * 10)}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def sign(url: str = URL, **fields: Any) -> None:
    """What a bot left beside its lock."""
    file = lock_path(endpoints(url)).with_suffix(".json")
    health = {"state": "trading", "process": 4711, "venue": "paper", "host": "paper-api.alpaca.markets",
              "symbols": ["TSLA", "FB"], "written_at": time.time()}  # fmt: skip
    file.write_text(json.dumps({**health, **fields}))


@pytest.fixture
def alive() -> Iterator[ExitStack]:
    with ExitStack() as locks:
        locks.enter_context(only_bot(endpoints(URL)))
        yield locks


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = status.main(arguments)
    return code, capsys.readouterr().out.splitlines()


def test_nothing_has_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = said(capsys)
    assert code == 1
    assert lines == ["no bot runs, and none of yours has run in the last 30 days "
                     "(without keys main.py leaves no trace here)"]  # fmt: skip
    assert said(capsys, "--json") == (1, ['{"bots":[]}'])


def test_a_bot_that_is_well(alive: ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    channels = {"trades": now - 3, "bars": now - 40}
    streams = [{"name": "alpaca sip", "is_up": True, "heard_at": now - 3, "channels": channels},
               {"name": "order updates", "is_up": True, "heard_at": None, "channels": {}}]  # fmt: skip
    sign(date="2026-11-30", held={"TSLA": "4"}, orders=1, net="-0.07", streams=streams)
    assert said(capsys) == (0, [
        "paper, paper-api.alpaca.markets, process 4711: alive, trading, session of 2026-11-30",
        "  symbols  TSLA, FB",
        "  holds    4 TSLA; 1 order working",
        "  day      net $ -0.07",
        "  stream   alpaca sip up, last message 3 s ago, bars 40 s ago, trades 3 s ago",
        "  stream   order updates up, no message yet",
    ])  # fmt: skip
    code, lines = said(capsys, "--json")
    (bot,) = json.loads(lines[0])["bots"]
    assert code == 0
    assert (bot["alive"], bot["well"], bot["held"], bot["state"]) == (True, True, {"TSLA": "4"}, "trading")


def test_a_bot_that_waits(alive: ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
    sign(state="waiting", note="the market is closed: waiting until Monday")
    assert said(capsys) == (0, [
        "paper, paper-api.alpaca.markets, process 4711: alive, waiting",
        "  symbols  TSLA, FB",
        "  note     the market is closed: waiting until Monday",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"written_at": time.time() - 150}, r"ILL, no sign for \d+ (min|h): it hangs, trading"),
        ({"streams": [{"name": "order updates", "is_up": False, "heard_at": None, "channels": {}}]},
         r"ILL, down: order updates, trading"),
    ],
)  # fmt: skip
def test_a_bot_that_is_ill_is_exit_code_1(
    fields: dict[str, Any], words: str, alive: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    sign(**fields)
    code, lines = said(capsys)
    assert code == 1
    assert re.search(words, lines[0])


def test_a_bot_that_was_killed_is_told_with_what_it_held(capsys: pytest.CaptureFixture[str]) -> None:
    with only_bot(endpoints(URL)):
        sign(date="2026-11-30", held={"TSLA": "4"}, net="1.02", written_at=1_796_050_000.0)
    code, lines = said(capsys)
    assert code == 1
    assert lines[0].endswith("process 4711: KILLED while trading, session of 2026-11-30, 2026-11-30 09:46:40 New York")
    assert lines[2] == "  holds    4 TSLA; no order working"


def test_a_file_of_something_else_is_passed_over(alive: ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
    lock_path(endpoints(URL)).with_suffix(".json").write_text("{}")
    assert said(capsys)[0] == 1


def test_looking_does_not_keep_a_bot_from_its_lock(alive: ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
    sign()
    for _ in range(3):
        assert said(capsys)[0] == 0
    alive.close()
    with only_bot(endpoints(URL)):
        assert said(capsys)[0] == 0


def test_where_there_are_no_locks_a_fresh_sign_is_one_of_life(
    alive: ExitStack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "HAS_LOCKS", False)
    for fields, code in (({}, 0), ({"state": "ended"}, 1), ({"written_at": time.time() - 90}, 1)):
        sign(**fields)
        assert said(capsys)[0] == code


def test_what_is_held_over_a_night_is_told(alive: ExitStack, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        health = await SignsOfLife(settings("TSLA"), endpoints(URL), {"TSLA": Decimal(10)}).look()
        sign(**msgspec.to_builtins(health))

    run(story())
    assert said(capsys)[1][2] == "  holds    10 TSLA; no order working"


# -- what the bot tells -----------------------------------------------------------------------------------------------


def test_what_a_session_does_is_told() -> None:
    async def story() -> None:
        async with trading(MARKET, Script(), BuysOnce) as bot:
            signs = SignsOfLife(settings("TSLA"), endpoints(URL))
            assert (await signs.look()).state == "waiting"
            signs.session = bot.session
            await bot.until(200)
            health = await signs.look()
            assert (health.state, health.venue, health.held, health.orders) == (
                "trading",
                "simulated",
                {"TSLA": "10"},
                1,
            )
            assert [(stream.name, stream.is_up) for stream in health.streams] == [("alpaca sip", True),
                                                                                 ("order updates", True)]  # fmt: skip
            bars, orders = health.streams
            assert set(bars.channels) >= {"bars", "trades"}
            assert abs(bars.channels["bars"] - (time.time() - 20 + 0.3)) < 5  # by the loop's time: 199.7 - 180.3 s ago
            assert orders.heard_at is not None

    run(story())


async def test_a_disk_that_stands_still_stops_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    told, written, goes_on = list[str](), list[str](), threading.Event()

    def write(signs: SignsOfLife, health: Health) -> None:
        goes_on.wait(60)
        written.append(health.state)

    monkeypatch.setattr(SignsOfLife, "_write", write)
    monkeypatch.setattr(health_module, "tell_service_manager", told.append)
    monkeypatch.setattr(health_module, "EVERY", 0.01)
    monkeypatch.setattr(health_module, "DISK_PATIENCE", 0.01)

    async def story() -> None:
        signs = SignsOfLife(settings("TSLA"), endpoints(URL))
        signs.begin()
        async with asyncio.timeout(30):
            while told.count("WATCHDOG=1") < 3:
                await asyncio.sleep(0.001)
        assert written == []
        monkeypatch.setattr(health_module, "DISK_PATIENCE", 60)
        goes_on.set()
        await signs.end()

    await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(story()))
    assert written == ["waiting", "ended"]


BOT = """
import asyncio, sys
from scalp.live.health import SignsOfLife
from scalp.live.lock import only_bot
from tests.trading import settings
from tests.wire.fakes import endpoints

async def story():
    signs = SignsOfLife(settings("TSLA"), endpoints(sys.argv[1]))
    signs.begin()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await signs.end()

with only_bot(endpoints(sys.argv[1])):
    asyncio.run(story())
"""


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in the file system")
def test_a_service_manager_hears_that_it_is_ready_and_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(address)
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        command = [sys.executable, "-c", BOT, URL]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True) as bot:
            assert [manager.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
            code, lines = said(capsys)
            assert code == 0
            assert lines[0] == f"simulated, 127.0.0.1:9, process {bot.pid}: alive, waiting"
            bot.communicate("\n")
        code, lines = said(capsys)
        assert code == 1
        assert f"process {bot.pid}: ended" in lines[0]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "relative"])
def test_without_a_service_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell_service_manager("READY=1")
