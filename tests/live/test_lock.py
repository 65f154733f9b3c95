"""Two bots with one key: the second ends with a line that names the first."""

from __future__ import annotations

import logging
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import main as program
from scalp.cli.settings import read_settings
from scalp.core.errors import UserError
from scalp.live.lock import only_bot
from tests.wire.fakes import KEY, endpoints

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:9"

HOLDER = """
import sys
from scalp.live.lock import only_bot
from tests.wire.fakes import endpoints
with only_bot(endpoints(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


@contextmanager
def another_bot(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_bot_is_told_of_the_first_until_that_is_gone() -> None:
    with another_bot(URL) as first:
        with pytest.raises(UserError) as refused, only_bot(endpoints(URL)):
            pass
        line = rf"another bot trades with these keys \(process {first.pid}, since 20\d\d-[-\d]+ [:\d]+ New York\): stop"
        assert re.match(line, str(refused.value))
        with only_bot(endpoints("http://127.0.0.1:10")), only_bot(None):
            pass  # another account, the built-in exchange
        first.send_signal(signal.SIGKILL)
        first.wait()
        with only_bot(endpoints(URL)):
            pass
    for _ in range(2):
        with only_bot(endpoints(URL)):
            pass


def test_the_program_ends_with_code_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("APCA_API_BASE_URL", "APCA_API_DATA_URL"):
        monkeypatch.setenv(name, URL)
    monkeypatch.setenv("APCA_API_KEY_ID", "ID")
    monkeypatch.setenv("APCA_API_SECRET_KEY", "SECRET")
    with only_bot(read_settings(["TSLA"]).endpoints):
        assert program.main(["TSLA"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and f"another bot trades with these keys (process {os.getpid()}, since" in lines[0]


def test_the_file_is_for_its_owner_and_tells_no_key(state: Path) -> None:
    with only_bot(endpoints(URL)):
        (file,) = (state / "scalp" / "locks").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert KEY not in file.name and KEY not in file.read_text()


def test_without_a_place_for_the_lock_it_trades_with_a_warning(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    state.write_text("a file, no folder")
    with caplog.at_level(logging.WARNING), only_bot(endpoints(URL)):
        pass
    (line,) = caplog.messages
    assert line == "a second bot with these keys would go unnoticed: no lock can be had (Not a directory)"


def test_a_link_is_not_followed(state: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with only_bot(endpoints(URL)):
        (file,) = (state / "scalp" / "locks").iterdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    file.unlink()
    file.symlink_to(precious)
    with caplog.at_level(logging.WARNING), only_bot(endpoints(URL)):
        pass
    assert "no lock can be had" in caplog.text and precious.read_text() == "precious"
