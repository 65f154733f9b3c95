"""The simulated exchange in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def exchange(*arguments: str) -> Iterator[dict[str, str]]:
    """Start `python -m scalp.exchange`, yield the environment it prints, and stop it."""
    command = [sys.executable, "-m", "scalp.exchange", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            env: dict[str, str] = {}
            assert process.stdout is not None
            while "POLYGON_WS_URL" not in env:
                line = process.stdout.readline()
                assert line, "the exchange did not start"
                name, _, value = line.removeprefix("export ").strip().partition("=")
                env[name] = value
            yield env
        finally:
            process.terminate()
