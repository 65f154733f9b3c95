"""Event loops whose time is not the wall clock's.

Exchange time is read from `loop.time()` alone, all over the program, so a loop with another clock is all it takes to
run a session faster: `ScaledLoop` runs `speed` times as fast as the wall clock, `JumpingLoop` leaps to the next timer
whenever no socket has anything to say. A client and a server in one process on a `JumpingLoop` give the same run every
time.
"""

from __future__ import annotations

import asyncio
import selectors
import time


def is_real_time(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a second of `loop` is a second of everybody's."""
    return not isinstance(loop, (JumpingLoop, ScaledLoop))


def pace(loop: asyncio.AbstractEventLoop) -> float:
    """How many seconds of `loop` pass in one of everybody's; 1 where that is not known before."""
    return loop.speed if isinstance(loop, ScaledLoop) else 1.0


class _JumpingSelector(selectors.DefaultSelector):
    """Polls the sockets, and when they are silent moves the clock instead of waiting."""

    def __init__(self, speed: float | None) -> None:
        super().__init__()
        self.now = 0.0
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            # No timer at all: only a socket or another thread can wake this loop.
            return super().select(None)
        if self._speed is not None:
            # Paced for the eye: really wait, scaled, and let a socket cut the wait short.
            started = time.monotonic()
            ready = super().select(timeout / self._speed)
            if ready:
                self.now += min((time.monotonic() - started) * self._speed, timeout)
                return ready
        self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and jumps to the next timer when nothing is ready; `speed` paces the jumps."""

    def __init__(self, speed: float | None = None) -> None:
        self._jumping = _JumpingSelector(speed)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class _ScaledSelector(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None or timeout <= 0 else timeout / self._speed)


class ScaledLoop(asyncio.SelectorEventLoop):
    """`time()` runs `speed` times as fast as the wall clock."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        super().__init__(_ScaledSelector(speed))

    def time(self) -> float:
        return time.monotonic() * self.speed
