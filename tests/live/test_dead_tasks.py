"""A task that dies ends the run loudly, with exit code 1; the failure of one order's action does not."""

from __future__ import annotations

import asyncio
import logging
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp.alpaca.rest import AlpacaREST
from scalp.live.console import ConsoleLog
from scalp.net.printable import PlainFormatter
from tests.trading import AROUND_100, AT_100, FALLING, BuysOnce, Script, exchange, minutes, run, settings

MARKET = {
    "TSLA": minutes("TSLA", AT_100, AT_100, *FALLING),
    "AAPL": minutes("AAPL", AT_100, AT_100, *[AROUND_100] * 10),
}


class Played:
    def __init__(self, code: int, ended_at: float, text: str, script: Script) -> None:
        self.code, self.ended_at, self.text, self.script = code, ended_at, text, script


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "algo_class", BuysOnce)


def play() -> Played:
    """A session of 20 minutes as main() runs it."""
    script = Script()
    code, ended_at = -1, 0.0

    async def story(log: ConsoleLog) -> None:
        nonlocal code, ended_at
        async with exchange(MARKET, script) as (_, points):
            code = await program.run(settings(*MARKET, endpoints=points), log)
            ended_at = script.now()

    with ConsoleLog() as log:
        run(story(log))
    return Played(code, ended_at, Path("console.log").read_text(), script)


def dies_at(seconds: float, error: BaseException | None = None) -> Callable[..., Any]:
    async def work(*_: object, **__: object) -> None:
        await asyncio.sleep(seconds)
        raise error or ZeroDivisionError("injected")

    return work


def dies_at_call(number: int, original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, until it is called for the `number`-th time."""
    calls = 0

    def work(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= number:
            raise ZeroDivisionError("injected")
        return original(*args, **more)

    return work


@pytest.mark.parametrize(
    ("where", "death"),
    [
        ("scalp.alpaca.feed.AlpacaFeed.run", dies_at(150)),
        ("scalp.alpaca.updates.OrderUpdates.run", dies_at(150)),
        ("scalp.live.reconcile.Reconciler.run", dies_at(150)),
        ("scalp.live.history.History._fill", dies_at(150)),
        ("scalp.live.hours.MarketHours.check", dies_at(120)),
        ("scalp.live.trader.Trader.until_next_checkup", lambda self: 1 / 0),
    ],
)
def test_a_job_that_dies_ends_the_run(where: str, death: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, death)
    played = play()
    assert played.code == 1
    assert played.ended_at < 200
    assert "a task died: stopping" in played.text
    assert "ZeroDivisionError" in played.text


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("scalp.live.trader.Trader.checkup", 4),
        ("scalp.core.fleet.Fleet.checkup", 4),
        ("scalp.live.reconcile.Reconciler.reconcile", 3),
        ("scalp.alpaca.rest.AlpacaREST.clock", 3),
        ("scalp.alpaca.feed.AlpacaFeed.history", 1),
    ],
)
def test_a_defect_inside_a_job_ends_the_run(where: str, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, dies_at_call(call, pkgutil.resolve_name(where)))
    played = play()
    assert played.code == 1
    assert played.ended_at < 300
    assert "a task died: stopping" in played.text
    assert "ZeroDivisionError" in played.text


@pytest.mark.parametrize("where", ["scalp.alpaca.feed.AlpacaFeed.run", "scalp.alpaca.updates.OrderUpdates.run"])
def test_a_job_that_is_cancelled_from_inside_ends_the_run(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that lets its own cancellation out."""
    monkeypatch.setattr(where, dies_at(150, asyncio.CancelledError()))
    played = play()
    assert played.code == 1
    assert "a task died: stopping" in played.text


@pytest.mark.parametrize("where", ["scalp.alpaca.feed.AlpacaFeed.run", "scalp.alpaca.updates.OrderUpdates.run"])
def test_a_job_that_returns_ends_the_run(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def returns(self: object) -> None:
        await asyncio.sleep(150)

    monkeypatch.setattr(where, returns)
    played = play()
    assert played.code == 1
    assert played.ended_at < 200


def test_the_failure_of_one_action_stops_only_its_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = AlpacaREST.submit

    async def fails_once(self: AlpacaREST, order: Any) -> Any:
        if order.symbol == "TSLA":
            raise ZeroDivisionError("injected")
        return await submit(self, order)

    monkeypatch.setattr(AlpacaREST, "submit", fails_once)
    played = play()
    assert played.ended_at > 1200
    assert "an action failed" in played.text
    assert "ZeroDivisionError" in played.text
    assert [request.body["symbol"] for request in played.script.orders("sell")][:1] == ["AAPL"]
    assert played.code == 1  # the order's outcome is not known
    assert "TSLA: 0 held" in played.text


def test_a_line_that_cannot_be_written_does_not_end_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    format_ = PlainFormatter.format

    def fails(self: Any, record: logging.LogRecord) -> str:
        if "bad" in record.msg:
            raise ZeroDivisionError("injected")
        return format_(self, record)

    monkeypatch.setattr(PlainFormatter, "format", fails)
    log = logging.getLogger("scalp.main")
    with ConsoleLog():
        for line in ("first", "bad", "last"):
            log.info(line)
    assert [line.split()[-1] for line in Path("console.log").read_text().splitlines()] == ["first", "last"]
    assert "ZeroDivisionError" in capsys.readouterr().err
