"""Ctrl+C, SIGTERM, a terminal that is closed: the first asks the bot to stop, the second leaves at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

SIGHUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on every system


async def endless(work: Coroutine[Any, Any, None]) -> None:
    """Run a job that never ends by itself: if it returns, or lets out a cancellation nobody asked for, it died."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await work
    except asyncio.CancelledError:
        if task.cancelling():
            raise
    raise RuntimeError(f"{work} ended by itself")


def shutdown_signals() -> list[int]:
    """The signals that ask for the end; nohup's choice to ignore the closing of the terminal stands."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if SIGHUP is not None and signal.getsignal(SIGHUP) is not signal.SIG_IGN:
        numbers.append(SIGHUP)
    return [int(number) for number in numbers]


class Shutdown:
    """Use as a context manager in a running loop. `before_leaving` is called when the bot leaves at once."""

    def __init__(self, before_leaving: Callable[[], None] = lambda: None) -> None:
        self._before_leaving = before_leaving
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._task = asyncio.current_task()
        self.holds: Callable[[], bool] = lambda: False  # whether shares are held: then leaving at once is no clean end
        self._signal = 0
        self._is_awaited = False
        self._handled: list[int] = []
        self._before: dict[int, Any] = {}  # what Python did on these signals

    def __enter__(self) -> Shutdown:
        for number in shutdown_signals():
            try:
                self._loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:  # Windows: Python gets the signal, and wakes the loop
                self._before[number] = signal.signal(number, self._on_signal_in_python)
            else:
                self._handled.append(number)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        for number in self._handled:
            self._loop.remove_signal_handler(number)
            if number == SIGHUP and self._asked.is_set():
                signal.signal(number, signal.SIG_IGN)  # what is left to do is done without a terminal

    @property
    def is_set(self) -> bool:
        return self._asked.is_set()

    @property
    def exit_code(self) -> int:
        """130 after Ctrl+C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self._signal

    async def within(self, seconds: float, unless: asyncio.Future[Any] | None = None) -> bool:
        """Wait until the bot is asked to stop, at most `seconds` and no longer than for `unless`; True if it was."""
        self._is_awaited = True
        asked = self._loop.create_task(self._asked.wait())
        await asyncio.wait({asked} if unless is None else {asked, unless}, timeout=seconds,
                           return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        asked.cancel()
        return self._asked.is_set()

    def between_sessions(self) -> None:
        """Nothing is traded any more, or not yet: whoever asks to stop from now on interrupts the waiting."""
        self._is_awaited = False

    def _on_signal_in_python(self, number: int, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._on_signal, number)

    def _on_signal(self, number: int, *_: Any) -> None:
        if self._asked.is_set():
            if number == SIGHUP:
                return  # a terminal that closes may send it twice: from the kernel and from the shell
            self._before_leaving()
            with contextlib.suppress(OSError):
                print("left at once: what is open stays open", file=sys.stderr, flush=True)
            os._exit(1 if self.holds() else 128 + number)
        self._signal = number
        self._asked.set()
        if not self._is_awaited and self._task is not None:
            # Nothing is traded yet: there is nothing to wind up.
            self._task.cancel()
