"""How far long work is: shown on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scalp.backtest.__main__ import main as backtest
from scalp.cli.progress import progress, tracked, unseen

ROOT = Path(__file__).resolve().parents[2]
WEEK = ["--fills", "bar", "--luck", "off", "--from", "2026-11-16", "--to", "2026-11-20", "TSLA"]


def on_a_terminal(*arguments: str) -> tuple[str, str]:
    """Standard output, and what was shown on the terminal that is standard error."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert done.returncode == 0, shown
    return done.stdout.decode(), shown.decode()


def test_a_long_backtest_shows_how_far_it_is() -> None:
    out, shown = on_a_terminal("-m", "scalp.backtest", *WEEK)
    assert re.search(r"playing .*[0-4]/5", shown)
    assert re.search(r"\d:\d\d:\d\d|-:--:--", shown)
    assert out.startswith("synthetic market of seed 1: 2026-11-16 to 2026-11-20, 5 days\n")
    assert "playing" not in out


def test_a_file_or_a_pipe_has_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(WEEK) == 0
    assert capsys.readouterr().err == ""
    with progress() as tell:
        assert tell is unseen


def test_what_is_tracked_comes_whole_and_in_order() -> None:
    assert list(tracked(["a", "b"], "reading")) == ["a", "b"]
