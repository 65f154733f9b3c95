"""`--dashboard`: what is drawn, where its numbers come from, and that the terminal is given back whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import logging
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

import main as program
from scalp import Bar, ScalpAlgo
from scalp.cli.settings import read_settings
from scalp.core.events import BarHeard, Heartbeat
from scalp.core.log import log_event
from scalp.live import dashboard, screen
from scalp.live.console import ConsoleLog
from scalp.live.controls import HINT, READ_AFTER
from scalp.live.dashboard import Dashboard, open_dashboard
from scalp.live.screen import Frame, Limit, Row, Screen, Stream
from tests.helpers import SESSION, bars
from tests.trading import ABOVE_100, AT_100, BuysOnce, Idle, Script, minutes, run, trading

ROOT = Path(__file__).resolve().parents[2]
ENTER, LEAVE, HIDE_CURSOR, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"

log = logging.getLogger("scalp.TSLA")


# -- drawing ----------------------------------------------------------------------------------------------------------


def frame(*rows: Row, venue: str = "SIMULATED", requests_left: int = 187) -> Frame:
    return Frame(
        venue,
        "2026-11-20 10:14:03",
        "closes in 5:45:57",
        list(rows),
        [Stream("bars", True, 3.4), Stream("orders", False)],
        requests_left,
        200,
        fill_to_exit=[0.00021, 0.0006, 0.0002],
        lines=[("INFO", "10:13:58 TSLA    bought 4 at 401.62"), ("WARNING", "10:14:00 main    a \x1b[2J\x07warning")],
    )


TSLA = Row("TSLA", "SELL_SUBMITTED", 401.25, 402.01, 44, 21, 4, 401.62, "sell", 4, 401.62, 12.3, 0, 1.5, -1.48, 2)
FB = Row("FB", "TO_BUY", 39.77, None, 12, 21)
AAPL = Row("AAPL", "TO_BUY", 241.24, 240.62, 44, 21, realised=-3.25, trades=1, why_no_entry="trading is halted (LUDP)",
           fees=0.04)  # fmt: skip


def drawn(picture: Frame, width: int, height: int, on: Screen | None = None) -> list[str]:
    """What a terminal of that size shows, line by line, without the blanks at the ends."""
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    text = (on or Screen()).draw(picture, width, height)
    console.print(text, soft_wrap=True)
    file = console.file
    assert isinstance(file, io.StringIO)
    lines = file.getvalue().split("\n")[:-1]
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def test_three_symbols_at_80_by_24() -> None:
    assert drawn(frame(TSLA, FB, AAPL), 80, 24) == [
        " SIMULATED  10:14:03  closes in 5:45:57      gross -1.75  net -1.79  open -1.48",
        " bars up 3s ago  orders DOWN quiet  requests 187/200  exits 0.21 ms, worst 0.60",
        "symbol state              last  average dist %  held order          age    net $",
        "TSLA   SELL_SUBMITTED   401.25   402.01  -0.19     4 4@401.62       12s    +0.02",
        "FB     TO_BUY            39.77        -              bars 12/21                -",
        "AAPL   TO_BUY           241.24   240.62  +0.26       trading is h…         -3.29",
        "───────────────────────────────────── log ──────────────────────────────────────",
        "10:13:58 TSLA    bought 4 at 401.62",
        "10:14:00 main    a  [2J warning",
        *[""] * 15,
    ]


def test_a_wide_terminal_shows_more_of_each_symbol() -> None:
    assert drawn(frame(TSLA, FB, AAPL), 105, 10) == [
        " SIMULATED  2026-11-20 10:14:03 New York  closes in 5:45:57" + " " * 11 + "gross -1.75  net -1.79  open -1.48",
        " bars up 3s ago  orders DOWN quiet  requests 187/200  exits 0.21 ms, worst 0.60",
        "symbol state              last  average dist %  held    entry trades order                   age    net $",
        "TSLA   SELL_SUBMITTED   401.25   402.01  -0.19     4   401.62      2 sell 4 @ 401.62         12s    +0.02",
        "FB     TO_BUY            39.77        -                              bars 12/21                         -",
        "AAPL   TO_BUY           241.24   240.62  +0.26                     1 trading is halted (LU…         -3.29",
        f"{' log ':─^105}",
        "10:13:58 TSLA    bought 4 at 401.62",
        "10:14:00 main    a  [2J warning",
        "",
    ]


FULL = msgspec.structs.replace(
    TSLA, stop=399.62, stop_at="broker", last_exit="limit 10:03:11", spark="▁▂▃▄▅▆▇█▇▆▅▄▃▂▁▂" * 2
)
LIMITS = [Limit("loss", "$45.00 of 300", 0.15), Limit("positions", "2 of 2", 1.0)]


def full(**more: object) -> Frame:
    return msgspec.structs.replace(frame(FULL, FB), equity=99_987.5, limits=LIMITS, hint=HINT, lines=[], **more)


def test_limits_stops_and_equity_at_80_by_24() -> None:
    assert drawn(full(notice="sell all?", help=["p  pause"]), 80, 24)[:9] == [
        " SIMULATED  10:14:03  closes in 5:45:57             equity 99,987.50  net +1.50",
        " bars up 3s ago  orders DOWN quiet  requests 187/200  exits 0.21 ms, worst 0.60",
        " limits  loss $45.00 of 300  positions 2 of 2",
        " stops  TSLA 399.62 broker",
        " p  pause",
        " sell all?",
        "symbol state              last  average dist %  held order          age    net $",
        "TSLA   SELL_SUBMITTED   401.25   402.01  -0.19     4 4@401.62       12s    +0.02",
        "FB     TO_BUY            39.77        -              bars 12/21                -",
    ]
    assert drawn(full(), 80, 24)[7] == f"{'── log ':─<43} {HINT} ─"


def test_wider_terminal_shows_day_then_last_exit_then_stop() -> None:
    heads = [drawn(full(), width, 24)[4 if width < 200 else 3].split("net $")[1] for width in (95, 120, 150, 200)]
    assert [" ".join(head.split()) for head in heads] == ["", "day", "last exit day", "stop at last exit day"]
    lines = drawn(full(), 200, 24)
    assert lines[4].endswith(f" 399.62 broker  limit 10:03:11          {'▁▂▃▄▅▆▇█▇▆▅▄▃▂▁▂' * 2}")
    assert not any("stops " in line for line in lines)
    assert drawn(full(), 120, 24)[5].endswith(" ▂▄▆█▆▄▂▂▂▄▆█▆▄▂▂")


def many(count: int, **active: Row) -> list[Row]:
    """Symbols S0, S1, ..., each a little farther from its average than the one before."""
    return [active.get(f"S{n}", Row(f"S{n}", "TO_BUY", 100 - n, 100.0, 44, 21)) for n in range(count)]


def test_holdings_come_first_then_what_is_near_its_average() -> None:
    rows = many(60, S50=msgspec.structs.replace(TSLA, symbol="S50"))
    lines = drawn(frame(*rows), 80, 24)
    assert [line.split()[0] for line in lines[3:18]] == ["S50", *(f"S{n}" for n in range(13)), "and"]
    assert lines[17] == " and 46 more: nothing held, nothing working"
    held = {f"S{n}": msgspec.structs.replace(TSLA, symbol=f"S{n}") for n in range(20)}
    assert " and 46 more: some of them held or working" in drawn(frame(*many(60, **held)), 80, 24)


def test_rows_keep_their_places_for_a_while() -> None:
    view, rows = Screen(), many(60)
    first = drawn(frame(*rows), 80, 24, view)[3:17]
    for row in rows:
        row.last, row.average = 100.0, row.last  # the farthest is still the farthest, and all have moved
    rows[59].last = rows[59].average  # the nearest now
    for _ in range(screen.RANK_EVERY - 1):
        later = drawn(frame(*rows), 80, 24, view)[3:17]
        assert [line.split()[0] for line in later] == [line.split()[0] for line in first]
    assert drawn(frame(*rows), 80, 24, view)[3:17] != later


def test_two_tables_side_by_side_where_one_is_too_long() -> None:
    lines = drawn(frame(*many(60)), 200, 50)
    assert [lines[3].split()[0], lines[32].split()[0]] == ["S0", "S29"]
    assert lines[3][101:].split()[0] == "S30"
    assert lines[32][101:].split()[0] == "S59"
    assert " log " in lines[33]
    assert lines[2].count("symbol") == 2


def test_no_terminal_is_too_small() -> None:
    for width, height in ((1, 1), (20, 3), (40, 8), (79, 12), (158, 10), (500, 100)):
        drawn(frame(TSLA, *many(60)), width, height)


def test_a_reason_that_holds_for_all_is_told_once() -> None:
    rows = [msgspec.structs.replace(row, why_no_entry="no bars yet") for row in many(3)]
    lines = drawn(frame(*rows), 80, 24)
    assert lines[2] == " no buys: no bars yet"
    assert sum("no bars yet" in line for line in lines) == 1


def test_numbers_that_are_very_long_keep_their_columns() -> None:
    brk = Row("BRK.A", "SELL_SUBMITTED", 641234.5, 640000.0, 44, 21, 123456, 1.0, "sell", None, None, 40000, 2, 99999.5)
    penny = Row("PENNYSTOCK", "TO_BUY", 0.03, 0.0301, 44, 21)
    assert drawn(frame(brk, penny), 80, 9)[3:5] == [
        "BRK.A     SELL_SUBMITTED   641234   640000  +0.19  123k ?@market …  11h  +100000",
        "PENNYSTOC TO_BUY           0.0300   0.0301  -0.33                              -",
    ]


def test_real_money_is_told_in_red() -> None:
    assert "on red" in str(Screen().draw(frame(venue="REAL MONEY"), 80, 24).spans)


# -- where the numbers come from --------------------------------------------------------------------------------------


def a_view(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str = "sys.stdin.read()") -> None:
    """Let `code` run in place of the view, and pictures be taken by hand only."""
    path = tmp_path / "view.py"
    path.write_text(f"import sys, time\n{code}\n")
    monkeypatch.setattr(screen, "__file__", str(path))
    monkeypatch.setattr(dashboard, "PERIOD", 3600.0)


def test_a_picture_of_a_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_view(monkeypatch, tmp_path)
    pictures: list[Frame | None] = []

    async def story() -> None:
        market = {"TSLA": minutes("TSLA", AT_100, AT_100, *[ABOVE_100] * 5), "AAPL": []}
        async with trading(market, Script(), BuysOnce) as bot:
            with ConsoleLog(path=tmp_path / "console.log") as console:
                view = Dashboard(bot.session, console)
                await bot.until(150)
                view.take("INFO", "a line")
                view._look()
                pictures.append(view._frames.get(timeout=1))
                view.close()
                view.close()

    run(story())
    (picture,) = pictures
    assert picture is not None
    assert picture.venue == "SIMULATED"
    assert picture.phase.startswith("closes in 0:17:")
    assert [(stream.name, stream.is_up) for stream in picture.streams] == [("bars", True), ("orders", True)]
    assert picture.requests_limit == 200
    assert 150 < picture.requests_left < 200
    assert ("INFO", "a line") in picture.lines
    tsla, aapl = picture.rows
    assert (tsla.symbol, tsla.state, tsla.side, tsla.limit, tsla.minutes) == ("TSLA", "BUY_SUBMITTED", "buy", 100.0, 2)
    assert (tsla.average, tsla.last) == (None, 100.0)
    assert tsla.age > 0
    assert (aapl.state, aapl.last, aapl.side, aapl.why_no_entry) == ("TO_BUY", None, "", "")


async def test_what_others_say_is_a_text_in_a_cell() -> None:
    async with trading({"TSLA": minutes("TSLA", *[AT_100] * 5)}, Script(), Idle) as bot:
        await bot.until(90)
        bot.algo().entry_blocks.block("asset", "halted\x1b[2J\n\u202e\ud800" + "x" * 1000)
        taken = bot.session.fleet.takings.of(bot.algo().ledger)
        row = dashboard._row(bot.algo(), bot.session.clock.now(), taken)
        assert row.why_no_entry.startswith(r"halted\x1b[2J\n\u202e\ud800xxx")
        assert len(row.why_no_entry) == dashboard.LONGEST_WORDS


async def test_many_symbols_are_looked_at_in_slices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_view(monkeypatch, tmp_path)

    async with trading({f"S{n}": [] for n in range(120)}, Script()) as bot:
        with ConsoleLog(path=tmp_path / "console.log") as console:
            view = Dashboard(bot.session, console)
            for _ in range(2):
                view._look()
                assert view._frames.empty()
                await bot.until(bot.script.now() + 1)
                picture = view._frames.get(timeout=1)
                assert picture is not None
                assert [row.symbol for row in picture.rows] == [f"S{n}" for n in range(120)]
            view.close()


def test_the_average_is_that_of_the_built_in_signal() -> None:
    class Hours(ScalpAlgo):
        window = "2h"  # type: ignore[assignment]  # a parameter of somebody's own

        def _calculate_buy_signal(self) -> bool:
            return False

    for algo_class, expected in ((ScalpAlgo, 100.5), (Hours, None)):
        algo = algo_class("AAPL", Decimal(2000), "R")
        algo.begin_session(SESSION)
        algo.on_history(bars([7.0] + [100.0] * 18 + [101.0]))
        assert algo.session_bars.average(algo.window) == (expected and (7.0 + 1800.0 + 101.0) / 20)
        algo.on_history(bars([109.0], "09:50"))
        assert algo.session_bars.average(algo.window) == expected


def test_a_mistake_in_it_ends_the_view_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_view(monkeypatch, tmp_path)

    async def story() -> None:
        async with trading({"TSLA": []}, Script(), BuysOnce) as bot:
            with ConsoleLog(path=tmp_path / "console.log") as console:
                view = Dashboard(bot.session, console)
                view._trader = None  # type: ignore[assignment]
                view._look()
                assert view._view.returncode == 0
                await bot.until(60)
            assert bot.session.fleet.readiness.is_ready

    run(story())
    assert "the dashboard failed: plain log from here on" in (tmp_path / "console.log").read_text()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("raise ValueError('odd')", "ValueError: odd"),
        ("pass", "killed"),
    ],
)
def test_a_view_that_ends_by_itself_costs_nothing_but_itself(
    code: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_view(monkeypatch, tmp_path, code)
    monkeypatch.setattr(dashboard, "PERIOD", 0.02)

    async def story() -> None:
        async with trading({"TSLA": []}, Script(), BuysOnce) as bot:
            with ConsoleLog(path=tmp_path / "console.log") as console:
                view = Dashboard(bot.session, console)
                deadline = time.monotonic() + 10
                while not view._closing.is_set():
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.01)
            assert bot.session.fleet.readiness.is_ready

    run(story())
    written = (tmp_path / "console.log").read_text()
    assert f"the dashboard ended by itself ({why}): plain log from here on" in written
    # One that ended well has restored the terminal itself.
    assert (dashboard.RESTORE in capsys.readouterr().out) == (code != "pass")


# -- the log ----------------------------------------------------------------------------------------------------------


class Taken:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def take(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def close(self) -> None:
        raise AssertionError("nobody asked for this")


def test_lines_go_to_the_screen_and_then_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    path, taken = tmp_path / "console.log", Taken()

    def wait_for(text: str) -> None:
        while text not in path.read_text():
            time.sleep(0.01)

    with ConsoleLog(["s3cr3t"], path=path) as console:
        console.now = lambda: 1_795_194_000_123_000_000
        log.info("before")
        wait_for("before")
        time.sleep(0.05)  # the file comes first, the terminal right after it
        console.show(taken)
        log_event(BarHeard(0, Bar("TSLA", 0, 1.0, 2.0, 3.0, 4.0, 5.0)))
        log_event(Heartbeat(0, ("all is well",)))
        log.info("a key: s3cr3t")
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("failed")
        wait_for("ValueError: odd")
        while len(taken.lines) < 2:
            time.sleep(0.01)
        assert "bought" not in capsys.readouterr().out
        time.sleep(0.05)
        console.show(None)
        log.info("after")
    shown = capsys.readouterr().out
    assert [text for text in ("before", "bar 1", "a key: ***", "ValueError: odd", "after") if text in shown] == [
        "a key: ***",
        "ValueError: odd",
        "after",
    ]
    assert taken.lines[0] == ("INFO", "12:00:00 TSLA    a key: ***")
    assert taken.lines[1] == ("ERROR", "12:00:00 TSLA    failed")
    assert taken.lines[-1] == ("ERROR", "ValueError: odd")
    written = path.read_text()
    assert "bar 1.0 2.0 3.0 4.0, volume 5" in written
    assert "heartbeat: all is well" in written
    assert written.count("a key: ***") == 1


def test_without_a_terminal_the_log_is_plain_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.main(["--dashboard", "--session=2026-11-27", "TSLA"]) == 0
    shown = capsys.readouterr().out
    assert "WARNING main    --dashboard needs a terminal: plain log instead" in shown
    assert "the market has closed" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("kind", "can_draw"), [("xterm-256color", True), ("dumb", False), ("unknown", False)])
def test_a_terminal_that_can_only_print_gets_the_plain_log(
    kind: str, can_draw: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", kind)
    with ConsoleLog(path=tmp_path / "console.log") as console:
        assert console.has_screen is can_draw


def test_view_that_cannot_be_started_is_told_and_log_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    monkeypatch.setattr(ConsoleLog, "has_screen", True)

    async def story() -> None:
        async with trading({"TSLA": []}, Script()) as bot:
            with ConsoleLog(path=tmp_path / "console.log") as console:
                assert open_dashboard(bot.session, console) is None

    run(story())
    assert "no dashboard (No such file or directory): plain log" in (tmp_path / "console.log").read_text()


# -- on a terminal ----------------------------------------------------------------------------------------------------


class Run:
    """The bot with `--dashboard` on a terminal of its own, 100 columns by 24 lines."""

    def __init__(self, folder: Path, *arguments: str, keyboard: bool = True) -> None:
        self.folder = folder
        self._ours, theirs = pty.openpty()
        self.mode = termios.tcgetattr(theirs)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "80"}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), "--dashboard", *arguments, "TSLA", "AAPL"],
            cwd=folder, env=environ, stdin=theirs if keyboard else subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    @property
    def gives_single_keys(self) -> bool:
        return not termios.tcgetattr(self._ours)[3] & termios.ICANON

    def until(self, text: str, seconds: float = 30) -> None:
        """Read what is shown until `text` comes."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert self._read(deadline - time.monotonic()), self.shown[-3000:]

    def rest(self) -> str:
        """What is shown from the end of the live view to the end of all."""
        while self._read(20):
            pass
        assert termios.tcgetattr(self._ours) == self.mode, "the terminal's mode was not restored"
        os.close(self._ours)
        assert self.shown.count(ENTER) == 1
        before, _, after = self.shown.rpartition(LEAVE)
        assert before, "the terminal was not restored"
        assert SHOW_CURSOR in self.shown[self.shown.rindex(HIDE_CURSOR) :]
        return after

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # everybody has closed it
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


@contextlib.contextmanager
def running(folder: Path, *arguments: str, keyboard: bool = True) -> Iterator[Run]:
    bot = Run(folder, *arguments, keyboard=keyboard)
    try:
        bot.until("closes in ")
        yield bot
    finally:
        bot.process.kill()
        bot.process.wait()


def test_session_to_its_end_leaves_log_of_run_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> list[str]:
        text = (tmp_path / "console.log").read_text()
        (tmp_path / "console.log").unlink()
        # A paced session adds its waits up in other parts, which moves a time by the last bit of its milliseconds.
        text = re.sub(r"(\d\d:\d\d:\d\d)\.\d{3} ", r"\1 ", text)
        return [re.sub(r"\s+[\d.]+ ms|(\s+[\d.]+){3}$", " - ms", line) for line in text.splitlines()]

    with running(tmp_path, "--session=2026-11-27", "--speed=100000") as bot:
        after = bot.rest()
        assert bot.process.wait(20) == 0
    assert "the market has closed" in after
    assert "total" in after
    with_it = written()
    monkeypatch.chdir(tmp_path)
    assert program.main(["--session=2026-11-27", "TSLA", "AAPL"]) == 0
    assert written() == with_it


def test_ctrl_c_restores_the_terminal(tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60") as bot:
        bot.process.send_signal(signal.SIGINT)
        after = bot.rest()
        assert bot.process.wait(20) == 130
    assert "stopping: no more buys" in after
    assert "total" in after


def test_keys_pause_resume_ask_and_stop(tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60") as bot:
        assert bot.gives_single_keys
        for key, answer in (("?", "this help"), ("p", "paused, p resumes"), ("p", "entries are resumed"),
                            ("\x1b[A", ""), ("f", "sell all at market"), ("n", "nothing was sold"),
                            ("f", "sell all at market"), ("y", "key f has sold"),
                            ("p", "nothing is bought any more")):  # fmt: skip
            bot.shown = ENTER + HIDE_CURSOR  # what `rest` looks for
            if key == "y":
                time.sleep(READ_AFTER)  # as long as it takes to read the question
            bot.press(key)
            bot.until(answer)
        bot.press("q")
        after = bot.rest()
        assert bot.process.wait(20) == 130
    assert "key q: the bot is told to stop" in after and "stopping: no more buys" in after


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_mode_of_the_terminal_is_restored(number: int, tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60") as bot:
        assert bot.gives_single_keys
        bot.process.send_signal(number)
        bot.rest()
        assert bot.process.wait(20) == (143 if number == signal.SIGTERM else -9)


def test_a_view_that_is_killed_leaves_the_mode_to_the_bot(tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60") as bot:
        (view,) = Path(f"/proc/{bot.process.pid}/task/{bot.process.pid}/children").read_text().split()
        os.kill(int(view), signal.SIGKILL)
        bot.until("the dashboard ended by itself")
        assert not bot.gives_single_keys
        bot.process.send_signal(signal.SIGINT)
        bot.rest()


def test_without_a_keyboard_there_are_no_keys(tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60", keyboard=False) as bot:
        assert not bot.gives_single_keys
        assert "p pause" not in bot.shown
        bot.process.send_signal(signal.SIGTERM)
        bot.rest()


def test_a_simulated_session_is_paced_where_somebody_looks_on() -> None:
    simulated = read_settings(["--dashboard", "TSLA"], {})
    assert program.paced(simulated, has_screen=True).speed == 60
    assert program.paced(simulated, has_screen=False).speed is None
    assert program.paced(read_settings(["--dashboard", "--speed=5", "TSLA"], {}), has_screen=True).speed == 5
    assert program.paced(read_settings(["TSLA"], {}), has_screen=True).speed is None
    keys = {"APCA_API_KEY_ID": "id", "APCA_API_SECRET_KEY": "secret"}
    assert program.paced(read_settings(["--dashboard", "TSLA"], keys), has_screen=True).speed is None


def test_leaving_at_once_restores_the_terminal(tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60", "--on-exit=flatten") as bot:
        bot.process.send_signal(signal.SIGINT)
        bot.until("stopping: no more buys")
        bot.process.send_signal(signal.SIGTERM)
        after = bot.rest()
        assert bot.process.wait(20) in (130, 143)
    assert "total" in after or "left at once: what is open stays open" in after


def test_even_kill_9_restores_the_terminal(tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60") as bot:
        bot.process.kill()
        bot.rest()


def test_a_resize_is_followed(tmp_path: Path) -> None:
    with running(tmp_path, "--speed=60") as bot:
        bot.until("entry")  # 100 columns
        fcntl.ioctl(bot._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 60, 0, 0))
        bot.shown = ""
        bot.until("closes in ")
        bot.until("── log " + "─" * 16 + " p pause")


def test_the_view_imports_nothing_of_the_bot() -> None:
    code = f"import runpy, sys; runpy.run_path({str(ROOT / 'scalp' / 'live' / 'screen.py')!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.split(".")[0] in ("scalp", "pandas", "aiohttp")]


async def test_the_loop_is_free_while_the_view_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that was stopped by Ctrl+S: the view stands, and the bot does not."""
    a_view(monkeypatch, tmp_path, "time.sleep(60)")
    monkeypatch.setattr(dashboard, "PERIOD", 0.05)

    async with trading({f"S{n}": [] for n in range(400)}, Script()) as bot:
        with ConsoleLog(path=tmp_path / "console.log") as console:
            view = Dashboard(bot.session, console)
            started = time.monotonic()
            while time.monotonic() < started + 1:  # several pictures, more than a pipe holds
                await asyncio.sleep(1)
            began = time.monotonic()
            view.close()
            assert time.monotonic() - began < 20
            assert view._view.returncode is not None
