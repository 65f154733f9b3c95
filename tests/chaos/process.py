"""The bot as a process: `python main.py ...`, started, waited for, and killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

MAIN = Path(__file__).resolve().parents[2] / "main.py"
EAGER = Path(__file__).resolve().parent / "eager.py"


class BotProcess:
    """Runs of the bot in `folder`, one after the other; its console.log goes on from run to run."""

    def __init__(self, folder: Path, environment: Mapping[str, str], arguments: tuple[str, ...]) -> None:
        self._folder = folder
        self._arguments = ("--algo", f"{EAGER}:Eager", *arguments)
        base = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "XDG_STATE_HOME": str(folder)}
        self._environment = {**base, **environment}
        self._process: asyncio.subprocess.Process | None = None
        self.printed = ""  # of all runs; the log is in it too

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def run(self) -> int:
        """Start it and wait for its end; returns the exit code, negative when it was killed."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(MAIN),
            *self._arguments,
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            printed, _ = await self._process.communicate()
        finally:
            self.kill()
            code = await self._process.wait()
        self.printed += printed.decode()
        return code

    def kill(self) -> None:
        """As `kill -9` does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    @property
    def log(self) -> list[str]:
        """console.log, line by line, tracebacks included."""
        path = self._folder / "console.log"
        return path.read_text().splitlines() if path.exists() else []
