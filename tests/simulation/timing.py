"""The time of a simulated session: it jumps to the next timer, and nobody may keep it from doing so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple

from scalp.net.virtual_time import JumpingLoop

Ts = TypeVarTuple("Ts")

TURNS = 100_000  # of the loop, within one second: no sound program needs as many


class Stuck(Exception):
    """Time does not pass: something is done again and again, or nothing is left to be done."""


class _Timer(asyncio.TimerHandle):
    """One that its loop passes over once it is cancelled."""

    __slots__ = ()

    def cancel(self) -> None:
        asyncio.Handle.cancel(self)


class SimulatedLoop(JumpingLoop):
    """The same as its parent, without looking for sockets; what is due in the same instant comes in order.

    Most turns of a session do little: what timers cost that compare themselves in Python, and a selector that has
    nothing to tell, is a fifth of its time.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()
        self._second = -1
        self._turns = 0

    def time(self) -> float:
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """One turn: what is ready, or else time passes until the next timer."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise Stuck("nothing is left to be done")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        self._count_turn()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _count_turn(self) -> None:
        self._turns += 1
        if self._turns > TURNS:
            second, self._turns = self._second, 0
            self._second = int(self._now)
            if second == self._second:
                raise Stuck("something is done again and again")
