"""The bot in a process that was forked from one that has imported everything, so that a story starts in milliseconds.

A process of its own from `python main.py` on is started where time is the wall clock's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.blackbox.shared_time import share_time
from tests.forked import become, context, run_program

ROOT = Path(__file__).resolve().parents[2]


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
        output, write = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(arguments, str(folder), environment, write, time_file, seat))
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
    become(folder, environment, write.fileno(), write.fileno())
    write.close()
    warnings.simplefilter("default", ResourceWarning)
    share_time(time_file, seat)
    run_program([str(ROOT / "main.py"), *arguments])
