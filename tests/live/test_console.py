"""The log: one plain line a record, in exchange time, whatever becomes of terminal and disk."""

from __future__ import annotations

import logging
import os
import pty
import stat
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from scalp import Bar
from scalp.core.errors import UserError
from scalp.core.events import BarHeard, Fill, SessionOver, SignalBlocked
from scalp.core.log import log_event
from scalp.core.units import MINUTE
from scalp.live import console as console_module
from scalp.live.console import ConsoleLog, _Terminal

ROOT = Path(__file__).resolve().parents[2]
NOON = 1_795_194_000_123_000_000  # 2026-11-20 12:00:00.123 New York

log = logging.getLogger("scalp.TSLA")


def test_exchange_time_level_symbol_and_text_are_in_each_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "console.log"
    path.write_text("the run before\n")
    with ConsoleLog(path=path) as console:
        log.info("before the time is known")
        console.now = lambda: NOON
        log.warning("bought %d at %s", 4, "401.70")
        log.debug("unseen")
    lines = [
        "-                       INFO    TSLA    before the time is known",
        "2026-11-20 12:00:00.123 WARNING TSLA    bought 4 at 401.70",
    ]
    assert path.read_text().splitlines() == ["the run before", *lines]
    assert capsys.readouterr().out.splitlines() == lines


def test_no_line_holds_a_key_not_even_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    with ConsoleLog(["PKSECRET", "s3cr3t"], path=path):
        log.info("key %s", "PKSECRET")
        try:
            raise ValueError("header: s3cr3t")
        except ValueError:
            log.exception("failed")
        logging.getLogger("aiohttp").warning("a library says PKSECRET")
    text = path.read_text()
    assert "PKSECRET" not in text
    assert "s3cr3t" not in text
    assert text.count("***") >= 3
    assert "ValueError" in text


def test_colours_go_by_what_happened_not_by_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    styles: dict[str, str] = {}

    def keep(terminal: _Terminal, record: logging.LogRecord) -> Text:
        text = styled(terminal, record)
        styles[record.getMessage()] = " ".join(str(span.style) for span in text.spans)
        return text

    styled = _Terminal._styled
    monkeypatch.setattr(_Terminal, "_styled", keep)
    with ConsoleLog(path=tmp_path / "console.log"):
        log_event(BarHeard(NOON, Bar("TSLA", NOON, 1.0, 2.0, 3.0, 4.0, 5.0)))
        log_event(Fill("TSLA", NOON, "buy", Decimal(4), Decimal("401.70"), Decimal(0)))
        log.info("bar and bought are only words")
        log.info("bought by hand")
        log.warning("trouble")
    assert styles == {
        "bar 1.0 2.0 3.0 4.0, volume 5": "dim",
        "bought 4 at 401.70": "bold green",
        "bar and bought are only words": "",
        "bought by hand": "",
        "trouble": "yellow",
    }


def test_debug_shows_more(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    with ConsoleLog(debug=True, path=path):
        log.debug("seen")
    assert "seen" in path.read_text()


def test_a_log_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path, "cannot be written here"),
        (tmp_path / "missing" / "console.log", "there is no folder .*missing, make it first"),
    ):
        with pytest.raises(UserError, match=why):
            ConsoleLog(path=path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_may_read_the_log(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    old = os.umask(0)
    try:
        with ConsoleLog(path=path):
            log.info("seen")
        assert mode_of(path) == 0o600
        path.chmod(0o664)  # made by an older version
        with ConsoleLog(path=path):
            log.info("seen")
    finally:
        os.umask(old)
    assert mode_of(path) == 0o600
    assert len(path.read_text().splitlines()) == 2


def test_the_log_follows_no_link_and_waits_for_nobody_at_a_pipe(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "console.log"
    elsewhere.write_text("mine")
    for target in (elsewhere, tmp_path / "nothing there", Path("console.log"), Path("/dev/null")):
        path.symlink_to(target)
        with pytest.raises(UserError, match="it is a link to another file"):
            ConsoleLog(path=path)
        path.unlink()
    assert elsewhere.read_text() == "mine"
    assert not (tmp_path / "nothing there").exists()
    os.mkfifo(path)
    with pytest.raises(UserError, match="cannot be written here"):
        ConsoleLog(path=path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(UserError, match="it is a pipe"):
        ConsoleLog(path=path)
    assert os.read(reader, 10) == b""
    os.close(reader)


def test_no_text_of_others_passes_for_a_line_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "console.log"
    forged = "2026-11-20 12:00:00.123 INFO    main    session over: 3 trades"
    with ConsoleLog(path=path) as console:
        console.now = lambda: NOON
        log.warning("sell refused: %s", f"no\r\n{forged}\x1b]0;title\x07\u202e")
        logging.getLogger("aiohttp").warning("a library\n%s", forged)
        try:
            raise ValueError(f"no\n{forged}\n\x1b[2J")
        except ValueError:
            log.exception("failed")
    lines = path.read_text().splitlines()
    assert lines == capsys.readouterr().out.splitlines()
    assert lines[0].endswith(rf"TSLA    sell refused: no\r\n{forged}\x1b]0;title\x07\u202e")
    assert lines[1].endswith(rf"aiohttp a library\n{forged}")
    assert lines[-3:] == ["ValueError: no", f"    {forged}", r"\x1b[2J"]
    assert all(line.isprintable() for line in lines)


def test_a_pipe_that_closes_ends_neither_the_file_nor_the_run(tmp_path: Path) -> None:
    """As in `python main.py ... | head -1`."""
    script = (
        "import logging, pathlib, time\n"
        "from scalp.live.console import ConsoleLog\n"
        "with ConsoleLog(path=pathlib.Path('console.log')):\n"
        "    for number in range(300):\n"
        "        logging.getLogger('scalp.x').info('line %d %s', number, 'x' * 1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(20) == 0
    assert len((tmp_path / "console.log").read_text().splitlines()) == 300
    assert errors.splitlines() in ([], ["the log can no longer be written: Broken pipe"])


WRITES = """
import logging, pathlib, signal, sys, time
from scalp.live.console import ConsoleLog
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with ConsoleLog(path=pathlib.Path(sys.argv[1])):
    for number in range(100):
        logging.getLogger('scalp.x').info('line %d %s', number, 'x' * 1000)
        if number == 10:
            sys.stdin.readline()
"""


def writing(folder: Path, log: str, **streams: Any) -> subprocess.Popen[bytes]:
    """A process that writes 100 lines to `log`, and waits for a line from us after the first ones."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", WRITES, log], cwd=folder, env=environ, stdin=subprocess.PIPE,
                            start_new_session=True, **streams)  # fmt: skip


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_nobody_reads_any_more_neither_output_nor_errors(tmp_path: Path, kind: str) -> None:
    """As in `python main.py ... 2>&1 | head -1`, and as after a connection to the machine is lost."""
    ours, theirs = os.pipe() if kind == "pipe" else pty.openpty()
    with writing(tmp_path, "console.log", stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.read(ours, 100)
        os.close(ours)
        process.communicate(b"\n")
        assert process.returncode == 0
    assert len((tmp_path / "console.log").read_text().splitlines()) == 100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, which is a full disk")
def test_a_full_disk_is_one_line_and_stops_nothing(tmp_path: Path) -> None:
    with writing(tmp_path, "/dev/full", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        shown, errors = process.communicate(b"\n")
        assert process.returncode == 0
    assert len(shown.splitlines()) == 100
    assert errors == b"the log can no longer be written: No space left on device\n"


def test_started_without_any_output(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$0" "$@" >&- 2>&-', sys.executable, "-c", WRITES, "console.log"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environ, input=b"\n", check=True)
    assert len((tmp_path / "console.log").read_text().splitlines()) == 100


def test_the_numbers_of_closed_files_are_taken_by_nothing_else(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "from scalp.live.console import occupy_standard_files\n"
        "for number in (0, 1, 2): os.close(number)\n"
        "occupy_standard_files()\n"
        "number = os.open('number', os.O_CREAT | os.O_WRONLY)\n"
        "os.write(number, str(number).encode())\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environ, check=True)
    assert int((tmp_path / "number").read_text()) > 2


def test_a_terminal_gets_colours_and_the_file_none(tmp_path: Path) -> None:
    script = (
        "import logging, pathlib\n"
        "from scalp.live.console import ConsoleLog\n"
        "with ConsoleLog(path=pathlib.Path('console.log')):\n"
        "    logging.getLogger('scalp.x').error('[red]not markup[/red]')\n"
    )
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    environ.pop("NO_COLOR", None)
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environ, stdout=theirs) as process:
        assert process.wait(20) == 0
        shown = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert "\x1b[" in shown
    assert "[red]not markup[/red]" in shown
    written = (tmp_path / "console.log").read_text()
    assert "\x1b" not in written


def test_flush_writes_what_is_waiting(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    console = ConsoleLog(path=path)
    console.__enter__()
    for number in range(100):
        log.info("line %d", number)
    console.flush()
    assert len(path.read_text().splitlines()) == 100
    console.__exit__(None, None, None)


# -- what repeats itself ----------------------------------------------------------------------------------------------


def no_buy(symbol: str, minute: int, why: str) -> None:
    log_event(SignalBlocked(symbol, NOON + minute * MINUTE, why))


def test_line_that_repeats_itself_is_said_once_and_then_counted(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    with ConsoleLog(path=path):
        for minute in range(5):
            no_buy("TSLA", minute, "halted")
            log_event(BarHeard(NOON, Bar("TSLA", NOON, 1.0, 2.0, 3.0, 4.0, 5.0)))
            no_buy("FB", minute, "blocked")
        no_buy("TSLA", 5, "the account is blocked")
        no_buy("TSLA", 6, "halted")
        for _ in range(2):
            log.info("another line is never counted")
        log_event(SessionOver(NOON, "1 trade"))
        no_buy("FB", 7, "blocked")
        no_buy("FB", 8, "blocked")
    lines = [line[32:] for line in path.read_text().splitlines() if " bar " not in line]
    assert lines == [
        "TSLA    signal, but no buy: halted",
        "FB      signal, but no buy: blocked",
        "TSLA    signal, but no buy: halted (4 times more)",
        "TSLA    signal, but no buy: the account is blocked",
        "TSLA    signal, but no buy: halted",
        "TSLA    another line is never counted",
        "TSLA    another line is never counted",
        "FB      signal, but no buy: blocked (4 times more)",
        "main    session over: 1 trade",
        "FB      signal, but no buy: blocked",
        "FB      signal, but no buy: blocked (once more)",
    ]


def test_what_goes_on_for_hours_is_told_every_hour(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    with ConsoleLog(path=path):
        for minute in range(150):
            no_buy("TSLA", minute, "halted")
    counted = [line.partition("halted")[2] for line in path.read_text().splitlines()]
    assert counted == ["", " (60 times more)", " (60 times more)", " (29 times more)"]


# -- a log that goes on for months ------------------------------------------------------------------------------------


def test_the_file_begins_anew_each_day_and_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my.log"
    path.write_text("yesterday\n")
    yesterday = time.time() - 86400
    os.utime(path, (yesterday, yesterday))
    monkeypatch.setattr(console_module, "LARGEST_FILE", 100)
    with ConsoleLog(path=path):
        for number in range(3):
            log.info("line %d, of more than a hundred bytes: %s", number, "x" * 100)
    texts = {file.name: file.read_text() for file in tmp_path.iterdir()}
    names = sorted(texts)
    day = time.strftime("%Y-%m-%d", time.localtime(yesterday))
    assert names[0] == "my.log" and names[1] == f"my.log.{day}" and len(names) == 4
    assert texts[names[1]] == "yesterday\n"
    assert "".join(texts.values()).count("of more than a hundred bytes") == 3
    assert all(mode_of(tmp_path / name) == 0o600 for name in names if name != names[1])


def test_a_log_that_is_no_file_is_never_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_module, "LARGEST_FILE", 0)
    with ConsoleLog(path=Path("/dev/null")):
        log.info("into nowhere")
    assert Path("/dev/null").is_char_device()


def test_of_old_logs_the_newest_stay(tmp_path: Path) -> None:
    """By our own choice: which names the standard library looks at differs from one Python to the next."""
    path = tmp_path / "console.log"
    names = [f"console.log.2026-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 22)]
    for number, name in enumerate([*names, "console.log.2026-03-21.2", "console.log.old", "other.log.2026-01-01"]):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (number, number))
    log = console_module._File(path)
    try:
        assert [Path(one).name for one in log.getFilesToDelete()] == names[: len(names) + 1 - console_module.KEPT_FILES]
        assert log.rotation_filename(str(tmp_path / names[-1])).endswith("2026-03-21.3")
    finally:
        log.close()
