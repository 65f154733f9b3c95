"""One clock for the stand-in and the bots that trade with it, which waits for a bot that is at work.

On a busy machine a bot may need seconds for what takes milliseconds. By the wall clock, sped up at that, the day would
be over before it is up. So the stand-in's clock lies in memory that the bots' processes read as their own, and stands
still until they are up, and all but still whenever one of them does anything but wait, or would if it had a processor,
and while the stand-in itself is behind.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import selectors
import tempfile
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol


class Process(Protocol):
    """What may sit in a seat."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...


STARTING, IDLE, WORKING = 0, 1, 2  # what the process in a seat does
TICK = 0.003  # seconds
LONGEST_TICK = 4 * TICK  # where this process had to wait itself
LATE = 4 * TICK  # that the event loop of the stand-in has been kept from its work
AT_WORK = 0.02  # the pace while a bot is at work: not 0, or what waits for time to pass inside it would do so for ever
_FIRST_SEAT, _SEATS = 8, 56  # behind the seconds


OF_THIS_STORY: ContextVar[SharedTime | None] = ContextVar("OF_THIS_STORY", default=None)


def now() -> float:
    """Seconds of the story that asks, for how long to wait for something."""
    shared = OF_THIS_STORY.get()
    return time.monotonic() if shared is None else shared.now


class SharedTime:
    """`now` is in seconds, unscaled, as `time.monotonic()` is."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="scalp-time-")  # noqa: SIM115
        self._file.truncate(_FIRST_SEAT + _SEATS)
        self._memory = memoryview(mmap.mmap(self._file.fileno(), 0))
        self._seconds = self._memory[:_FIRST_SEAT].cast("d")
        self._seconds[0] = 1000.0
        self._processes: dict[int, Process | None] = {}  # by seat
        self._threads: dict[int, Threads] = {}  # the same
        self._loop_was_free = float("inf")  # when the stand-in's event loop last came by
        self._is_over = threading.Event()

    @property
    def now(self) -> float:
        """Never the same twice: no two things happen in one instant."""
        self._seconds[0] += 1e-6
        return self._seconds[0]

    def start(self) -> None:
        OF_THIS_STORY.set(self)
        with suppress(RuntimeError):  # a stand-in in a thread of its own has none yet
            self._come_by(asyncio.get_running_loop())
        threading.Thread(target=self._run, name="shared time", daemon=True).start()

    def stop(self) -> None:
        self._is_over.set()
        self._file.close()

    def _come_by(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop_was_free = time.monotonic()
        if not self._is_over.is_set():
            loop.call_later(TICK, self._come_by, loop)

    def seat(self) -> tuple[int, str]:
        """A place for one more process, and the file that it is in."""
        seat = _FIRST_SEAT + len(self._processes)
        self._processes[seat] = None
        return seat, self._file.name

    def watch(self, seat: int, process: Process) -> None:
        self._processes[seat] = process
        self._threads[seat] = Threads(process.pid)

    async def sleep(self, seconds: float) -> None:
        """Let so much of it pass."""
        end = self.now + seconds
        while self.now < end:
            await asyncio.sleep(TICK)

    def _run(self) -> None:
        last = time.monotonic()
        while not self._is_over.wait(TICK):
            now = time.monotonic()
            self._seconds[0] += min(now - last, LONGEST_TICK) * self._pace()
            last = now
        for threads in self._threads.values():
            threads.close()

    def _pace(self) -> float:
        if time.monotonic() - self._loop_was_free > LATE:
            return AT_WORK
        doing = {self._doing(seat) for seat, process in list(self._processes.items()) if _is_running(process)}
        return 0.0 if STARTING in doing else AT_WORK if WORKING in doing else 1.0

    def _doing(self, seat: int) -> int:
        doing = self._memory[seat]
        return WORKING if doing == IDLE and seat in self._threads and self._threads[seat].are_at_work else doing


class Threads:
    """Those of a process, as Linux tells of them; elsewhere nothing is known of any."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}/task")
        self._states: dict[str, int] = {}  # files
        self._looks = 0

    @property
    def are_at_work(self) -> bool:
        """Whether one of them runs, waits for a processor or for the disk: the others may wait for what it holds."""
        if self._looks % 100 == 0:
            self._find()
        self._looks += 1
        return any(self._is_at_work(name) for name in list(self._states))

    def _find(self) -> None:
        with suppress(OSError):
            for name in os.listdir(self._folder):
                if name not in self._states:
                    self._states[name] = os.open(self._folder / name / "stat", os.O_RDONLY)

    def _is_at_work(self, name: str) -> bool:
        try:
            stat = os.pread(self._states[name], 512, 0)
        except OSError:  # it has ended
            os.close(self._states.pop(name))
            return False
        return stat.rpartition(b") ")[2][:1] in (b"R", b"D")

    def close(self) -> None:
        for file in self._states.values():
            os.close(file)
        self._states.clear()


def _is_running(process: Process | None) -> bool:
    """One that is asleep does nothing, whatever it was doing when it was stopped; None has a seat and starts."""
    return process is None or (process.returncode is None and not getattr(process, "is_stopped", False))


def share_time(time_file: str, seat: int) -> None:
    """From now on this process's monotonic clock is the stand-in's; tells it whether anything but waiting goes on."""
    with open(time_file, "r+b") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0))
    seconds = memory[:8].cast("d")
    poll = selectors.DefaultSelector.select

    def select(self: selectors.BaseSelector, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return poll(self, timeout)  # type: ignore[arg-type]
        memory[seat] = IDLE
        try:
            return poll(self, timeout)  # type: ignore[arg-type]
        finally:
            memory[seat] = WORKING

    time.monotonic = lambda: seconds[0]
    selectors.DefaultSelector.select = select  # type: ignore[method-assign]
