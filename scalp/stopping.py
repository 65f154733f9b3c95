"""Ctrl+C, SIGTERM, a terminal that is closed: the first asks the bot to stop, the second leaves at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any


async def endless(work: Coroutine[Any, Any, None]) -> None:
    """Run a job that never ends by itself: should it return, or let out a cancellation nobody asked for, it died."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await work
    except asyncio.CancelledError:
        if task.cancelling():
            raise
    raise RuntimeError(f"{work} ended by itself")


def stopping_signals() -> list[int]:
    """The signals that ask for the end; nohup's choice to ignore the closing of the terminal stands."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return [int(number) for number in numbers]


class Stop:
    """Use as a context manager in a running loop. `before_leaving` is called when the bot leaves at once."""

    def __init__(self, before_leaving: Callable[[], None] = lambda: None) -> None:
        self._before_leaving = before_leaving
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._task = asyncio.current_task()
        self._signal = 0
        self._is_awaited = False
        self._handled: list[int] = []

    def __enter__(self) -> Stop:
        for number in stopping_signals():
            self._handled.append(number)
            self._loop.add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(self, *exc: object) -> None:
        for number in self._handled:
            self._loop.remove_signal_handler(number)

    @property
    def is_set(self) -> bool:
        return self._asked.is_set()

    @property
    def exit_code(self) -> int:
        """130 after Ctrl+C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self._signal

    async def within(self, seconds: float) -> bool:
        """Wait until the bot is asked to stop, at most `seconds`; whether it was."""
        self._is_awaited = True
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            pass
        return self._asked.is_set()

    def _on_signal(self, number: int, *_: Any) -> None:
        if self._asked.is_set():
            if number == getattr(signal, "SIGHUP", None):
                return  # a terminal that closes may tell of it twice: from the kernel and from the shell
            self._before_leaving()
            with contextlib.suppress(OSError):
                print("left at once: what is open stays open", file=sys.stderr, flush=True)
            os._exit(128 + number)
        self._signal = number
        self._asked.set()
        if not self._is_awaited and self._task is not None:
            # Nothing is traded yet: there is nothing to wind up.
            self._task.cancel()
