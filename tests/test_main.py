"""main(): the whole program, its exit codes and its last words."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp.cli.settings import Endpoints
from scalp.core.errors import UserError
from scalp.exchange.rest import Access
from scalp.live.console import ConsoleLog
from scalp.live.shutdown import Shutdown
from tests.trading import (
    ABOVE_100,
    AT_100,
    FALLING,
    BuysOnce,
    Idle,
    Script,
    exchange,
    minutes,
    page,
    run,
    says,
    settings,
    slow,
    status,
)

PATIENCE = 60  # seconds for the end of a process that is on its way out
ROOT = Path(__file__).resolve().parents[1]
QUIET = {"TSLA": minutes("TSLA", *[AT_100] * 5)}
NOTHING_FILLS = {"TSLA": minutes("TSLA", AT_100, AT_100, *[ABOVE_100] * 5)}
BUY_FILLS = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "algo_class", program.algo_class)
    return tmp_path


def bars_of(day: str, symbol: str = "AAPL", count: int = 40) -> str:
    rows = ["timestamp,open,high,low,close,volume"]
    for number in range(count):
        price = 100 + (number * 7 % 11) / 10
        rows.append(f"{day}T{9 + (30 + number) // 60:02}:{(30 + number) % 60:02}:00,{price},{price + 1},{price - 1},"
                    f"{price + 0.5},10000")  # fmt: skip
    return "\n".join(rows) + "\n"


def log_of(folder: Path, *arguments: str) -> list[str]:
    """The log of one run without the reaction times."""
    path = folder / "console.log"
    path.unlink(missing_ok=True)
    assert program.main(arguments) == 0
    return [re.sub(r"\s+[\d.]+ ms|(\s+[\d.]+){3}$", " - ms", line) for line in path.read_text().splitlines()]


# -- the built-in exchange -----------------------


def test_same_seed_gives_same_log_and_another_seed_another(folder: Path) -> None:
    half_day = ("--lot=2000", "--session=2026-11-27", "TSLA")
    first, again = log_of(folder, *half_day), log_of(folder, *half_day)
    assert first == again
    assert any("SIMULATED" in line for line in first)
    assert log_of(folder, "--seed=2", *half_day) != first


def test_on_a_half_day_it_liquidates_at_12_55(folder: Path) -> None:
    lines = log_of(folder, "--session=2026-11-27", "TSLA")
    assert any("liquidation 12:55:00, close 13:00:00" in line for line in lines)
    assert any(line.startswith("2026-11-27 13:00:00") and "the market has closed" in line for line in lines)
    late = [line for line in lines if "2026-11-27 12:5" in line and "signal: buy" in line]
    assert not any(line[11:16] >= "12:55" for line in late)


def test_recorded_days_are_traded_one_after_the_other(folder: Path) -> None:
    for day in ("20140605", "20140606"):
        (folder / f"AAPL_{day}.csv").write_text(bars_of(f"{day[:4]}-{day[4:6]}-{day[6:]}"))
    lines = log_of(folder, "--replay", ".", "AAPL")
    days = [line.split("session of ")[1][:10] for line in lines if "SIMULATED session of" in line]
    assert days == ["2014-06-05", "2014-06-06"]
    assert sum("the market has closed" in line for line in lines) == 2
    totals = [line.split() for line in lines if " total " in line]
    trades, shares = (sum(int(words[column]) for words in totals) for column in (5, 6))
    assert f"2 days: {trades} trades, {shares} shares, gross $ " in lines[-1]
    assert trades > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "no symbols"),
        ("--lot=x TSLA", "not an amount of dollars"),
        ("--algo nothing:Here TSLA", "there is no module nothing"),
        ("--session 2026-11-28 TSLA", "2026-11-28 is not a trading day"),
        ("--replay missing.csv TSLA", "missing.csv"),
        ("--replay bad_20140605.csv BAD", "bad_20140605.csv:3"),
        ("--replay early_20140605.csv EARLY", "no bar of 2014-06-05 lies in the regular session"),
        ("--live TSLA", "--live was given"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    (folder / "bad_20140605.csv").write_text(bars_of("2014-06-05", count=1) + "2014-06-05T09:31:00,1,2,3\n")
    (folder / "early_20140605.csv").write_text(bars_of("2014-06-05", count=1).replace("T09:30", "T08:30"))
    assert program.main(arguments.split()) == 2
    shown = capsys.readouterr()
    said = [line for line in (shown.out + shown.err).splitlines() if line.startswith("error: ") or " ERROR " in line]
    assert len(said) == 1
    assert words.lower() in (shown.out + shown.err).lower()
    assert "Traceback" not in shown.out + shown.err


def test_a_log_that_cannot_be_written_is_exit_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "console.log").mkdir()
    assert program.main(["TSLA"]) == 2
    assert "console.log cannot be written here" in capsys.readouterr().err


def test_ctrl_c_while_reading_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: Sequence[str] | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "read_settings", interrupted)
    assert program.main(["TSLA"]) == 130


def test_a_defect_is_logged_and_exit_code_1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(program, "trade", broken)
    assert program.main(["TSLA"]) == 1
    assert "ZeroDivisionError" in (folder / "console.log").read_text()


# -- one session, with scripted trouble -----------------------


class Played:
    """What became of a session that main() would have run."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.error = ""
        self.script = Script()
        self.text = ""
        self.ended_at = 0.0


def play(
    market: dict[str, Any],
    *,
    algo: type[Any] = BuysOnce,
    prepare: Callable[[Script], None] = lambda script: None,
    at: dict[float, Callable[[Any], None]] | None = None,
    access: Access | None = None,
    endpoints: Callable[[Endpoints], Endpoints] = lambda same: same,
    **more: Any,
) -> Played:
    """`at`: what happens so many seconds after the open, given the exchange."""
    played = Played()
    prepare(played.script)
    program.algo_class = algo

    async def story(console: ConsoleLog) -> None:
        async with exchange(market, played.script, access=access) as (server, points):
            for seconds, happen in (at or {}).items():
                asyncio.get_running_loop().call_later(seconds, happen, server)
            chosen = settings(*market, endpoints=endpoints(points), **more)
            try:
                played.code = await program.run(chosen, console)
            except UserError as error:
                played.error = str(error)
            played.ended_at = played.script.now()

    with ConsoleLog() as console:
        run(story(console))
    played.text = Path("console.log").read_text()
    return played


def signalled(number: int) -> Callable[[Any], None]:
    return lambda server: os.kill(os.getpid(), number)


def test_a_session_ends_with_its_table_at_the_close() -> None:
    played = play({"TSLA": minutes("TSLA", AT_100, AT_100, (100.0, 100.1, 99.9, 100.0), *[AT_100] * 17)})
    assert played.code == 0
    assert played.ended_at == pytest.approx(1200, abs=1)
    lines = played.text.splitlines()
    assert re.search(r"total +1 +10 +\+0\.00 +0\.0500 +-0\.0500 +0 +[\d.]+ +[\d.]+ +[\d.]+$", lines[-1])
    assert "WARNING" not in played.text


def test_the_market_is_closed_exit_code_0() -> None:
    closed = {"timestamp": "2026-11-21T12:00:00-05:00", "is_open": False, "next_open": "2026-11-23T09:30:00-05:00",
              "next_close": "2026-11-23T16:00:00-05:00"}  # fmt: skip
    played = play(QUIET, prepare=lambda script: script.on("GET /v2/clock", says(closed)))
    assert played.code == 0
    assert "the market is closed, it opens on Monday 2026-11-23 09:30 New York" in played.text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_with_a_working_buy(number: int, code: int) -> None:
    played = play(NOTHING_FILLS, at={130: signalled(number)})
    assert played.code == code
    assert played.ended_at < 131
    assert len(played.script.sent("DELETE /v2/orders/")) == 1
    assert "total" in played.text.splitlines()[-1]


def test_stopped_while_holding_the_last_lines_say_what_is_left() -> None:
    played = play(BUY_FILLS, at={150: signalled(signal.SIGINT)})
    assert played.code == 130
    assert "TSLA: 10 held at" in played.text.splitlines()[-1]
    assert "working: sell 10 limit" in played.text.splitlines()[-1]
    assert played.script.sent("DELETE /v2/orders/") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_with_on_exit_keep_every_order_stays(number: int, code: int) -> None:
    played = play(NOTHING_FILLS, at={130: signalled(number)}, on_exit="keep")
    assert played.code == code
    assert played.ended_at < 131
    assert played.script.sent("DELETE /v2/orders/") == []
    assert "working: buy 10 limit 100" in played.text.splitlines()[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_with_on_exit_flatten_nothing_stays(number: int, code: int) -> None:
    played = play(BUY_FILLS, at={150: signalled(number)}, on_exit="flatten")
    assert played.code == code
    assert played.ended_at < 155
    assert [r.body["type"] for r in played.script.orders("sell")] == ["limit", "market"]
    assert "stopping: no more buys, everything is cancelled and sold at market" in played.text
    assert re.search(r" total +1 +10 .* 0 ", played.text.splitlines()[-1])


def test_task_of_session_that_dies_ends_bot_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(self: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("scalp.live.reconcile.Reconciler.reconcile", dies)
    played = play(QUIET, algo=Idle)
    assert played.code == 1
    assert "a task died: stopping" in played.text
    assert "ZeroDivisionError" in played.text
    assert played.ended_at < 10


def test_stopped_while_a_checkup_waits_for_the_clock() -> None:
    scripts: list[Script] = []

    def gets_slow(_: object) -> None:
        scripts[0].on("GET /v2/clock", slow(9), times=9)

    # The checkup of 120 s asks; the bar that would be bought on comes 0.3 s later.
    played = play(NOTHING_FILLS, prepare=scripts.append, at={100: gets_slow, 120.2: signalled(signal.SIGINT)})
    assert played.code == 130
    assert played.ended_at < 121
    assert played.script.orders("buy") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_before_anything_was_traded(number: int, code: int) -> None:
    played = play(QUIET, prepare=lambda script: script.on("GET /v2/account", slow(5)), at={2: signalled(number)})
    assert played.code == code
    assert played.ended_at == pytest.approx(2, abs=0.1)
    assert "stopped before anything was sent" in played.text.splitlines()[-1]


def test_shares_left_after_the_close_are_exit_code_1() -> None:
    def nothing_sells(script: Script) -> None:
        script.on("POST /v2/orders", slow(0))
        script.on("POST /v2/orders", status(403, "no"), times=1000)

    played = play(BUY_FILLS, prepare=nothing_sells)
    assert played.code == 1
    assert "TSLA: 10 held at" in played.text.splitlines()[-1]


def test_keys_that_a_stream_refuses_stop_the_bot() -> None:
    def wrong(points: Endpoints) -> Endpoints:
        return Endpoints(points.trading_url, points.data_url, points.data_stream_url, "SIMULATED", "another-secret")

    played = play(QUIET, endpoints=wrong, access=Access(keys={"SIMULATED": "simulated-secret"}))
    assert "refused the keys" in played.error
    assert played.ended_at < 1
    assert "another-secret" not in played.text + played.error


@pytest.mark.parametrize("error", [UserError("the keys are refused"), ZeroDivisionError()])
def test_on_exit_flatten_also_when_a_task_dies(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(self: object) -> None:
        await asyncio.sleep(150)
        raise error

    monkeypatch.setattr("scalp.alpaca.updates.OrderUpdates.run", breaks)  # and nothing is told of any order
    played = play(BUY_FILLS, on_exit="flatten")
    assert played.code == (2 if isinstance(error, UserError) else 1)
    assert played.ended_at < 181
    assert "TSLA: 10 held" not in played.text


def test_a_refusal_that_is_final_winds_up_with_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: object) -> None:
        await asyncio.sleep(130)
        raise UserError("the keys are refused")

    monkeypatch.setattr("scalp.alpaca.feed.AlpacaFeed.run", refused)
    sees = type("Sees", (BuysOnce,), {})
    played = play(QUIET, algo=sees)
    assert played.code == 2
    assert re.search(r"ERROR +main +the keys are refused", played.text)
    assert played.ended_at < 135


def test_a_task_that_dies_winds_up_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[bool] = []

    def breaks(self: Any) -> bool:
        if self.fleet.algos["TSLA"].order is not None and not died:
            died.append(True)
            raise ZeroDivisionError
        return True

    monkeypatch.setattr("scalp.live.trader.Trader.checkup", breaks)
    played = play(NOTHING_FILLS)
    assert played.code == 1
    assert "a task died: stopping" in played.text
    assert "ZeroDivisionError" in played.text
    assert len(played.script.sent("DELETE /v2/orders/")) == 1


def test_an_exchange_that_fails_all_the_time_ends_in_one_line() -> None:
    played = play(QUIET, algo=Idle, prepare=lambda script: script.on("GET /v2/clock", page(502), times=99))
    assert "Alpaca cannot be reached" in played.error
    assert "Traceback" not in played.text


def test_a_second_ctrl_c_leaves_at_once_and_the_log_is_whole(folder: Path) -> None:
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("APCA_", "POLYGON_"))}
    command = [sys.executable, str(ROOT / "main.py"), "--speed=1", "TSLA"]
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bot:
        assert bot.stdout is not None
        assert bot.stderr is not None
        for line in bot.stdout:
            if "buying is on" in line:
                break
        script = "import os, signal, sys; [os.kill(int(sys.argv[1]), s) for s in 2 * (signal.SIGINT,)]"
        subprocess.run([sys.executable, "-c", script, str(bot.pid)], check=True)
        assert bot.wait(PATIENCE) == 130
        assert "Traceback" not in bot.stderr.read()
    assert "buying is on" in (folder / "console.log").read_text()


def test_a_loop_that_hears_no_signals_is_stopped_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_on_windows(*_: object) -> None:
        raise NotImplementedError

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", not_on_windows)
    played = play(NOTHING_FILLS, at={130: signalled(signal.SIGINT)})
    assert (played.code, len(played.script.sent("DELETE /v2/orders/"))) == (130, 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_signal_flushes_the_log_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    monkeypatch.setattr(os, "_exit", left.append)

    async def story() -> None:
        with Shutdown(before_leaving=lambda: left.append("flushed")) as stop:
            assert not await stop.within(1)
            os.kill(os.getpid(), signal.SIGINT)
            assert await stop.within(1)
            assert (stop.exit_code, left) == (130, [])
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(1)
            await asyncio.sleep(1)

    run(story())
    assert left == ["flushed", 143]
