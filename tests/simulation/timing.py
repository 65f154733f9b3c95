"""The time of a simulated session: it jumps to the next timer, and nobody may keep it from doing so."""

from __future__ import annotations

import asyncio
import selectors

from scalp.net.loops import JumpingLoop

TURNS = 100_000  # of the loop, within one second: no sound program needs as many


class Stuck(Exception):
    """Time does not pass: something is done again and again, or nothing is left to be done."""


class _Timer(selectors.DefaultSelector):
    """There are no sockets: a loop that has nothing to do moves the time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._second = -1
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is left to be done")
        self.now += timeout
        self._turns += 1
        if self._turns > TURNS:
            second, self._turns = self._second, 0
            self._second = int(self.now)
            if second == self._second:
                raise Stuck("something is done again and again")
        return []


class SimulatedLoop(JumpingLoop):
    """The same as its parent, without looking for sockets."""

    def __init__(self) -> None:
        self._timer = _Timer()
        asyncio.SelectorEventLoop.__init__(self, self._timer)

    def time(self) -> float:
        return self._timer.now
