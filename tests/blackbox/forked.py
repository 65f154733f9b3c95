"""The bot in a process that was forked from one that has imported everything, so that a story starts in milliseconds.

What the program does from its first line on is the same; only the imports (more than a second of processor time) are
made once for all stories. A process of its own from `python main.py` on is started where time is the wall clock's.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
import warnings
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.blackbox.shared_time import share_time

ROOT = Path(__file__).resolve().parents[2]
_context = multiprocessing.get_context("forkserver")
# Everything that a session imports, what it imports late included.
_context.set_forkserver_preload(["main", "pandas", "scalp.live.dashboard", "scalp.exchange.server", __name__])


class ForkedBot:
    """One run of `main.py`; has what the stories need of `asyncio.subprocess.Process`."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.is_stopped = False  # by SIGSTOP
        self._status_is_read = threading.Lock()  # once: it comes through a pipe, and the shared time asks as well

    @classmethod
    async def start(
        cls, arguments: tuple[str, ...], folder: Path, environment: dict[str, str], time_file: str, seat: int
    ) -> ForkedBot:
        """Run `python main.py ARGUMENTS` in `folder`; its clock is that of `time_file`, its place there `seat`."""
        output, write = _context.Pipe(duplex=False)
        process = _context.Process(target=_run, args=(arguments, str(folder), environment, write, time_file, seat))
        await asyncio.to_thread(process.start)
        write.close()
        bot = cls(process)
        bot.stdout = asyncio.StreamReader()
        reading = asyncio.StreamReaderProtocol(bot.stdout)
        pipe = os.fdopen(os.dup(output.fileno()), "rb")
        output.close()
        await asyncio.get_running_loop().connect_read_pipe(lambda: reading, pipe)
        return bot

    stdout: asyncio.StreamReader

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        with self._status_is_read:
            return self._process.exitcode

    async def wait(self) -> int:
        while (code := self.returncode) is None:
            await asyncio.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)
            if number in (signal.SIGSTOP, signal.SIGCONT):
                self.is_stopped = number == signal.SIGSTOP

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    arguments: tuple[str, ...], folder: str, environment: dict[str, str], write: Connection, time_file: str, seat: int
) -> None:
    """In the forked process: become what `python main.py` would be, and run it."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(write.fileno(), 1)
    os.dup2(write.fileno(), 2)
    write.close()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    warnings.simplefilter("default", ResourceWarning)
    share_time(time_file, seat)
    program = str(ROOT / "main.py")
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(ROOT))
    try:
        runpy.run_path(program, run_name="__main__")
    finally:
        gc.collect()  # what nobody awaited or closed is told of now
