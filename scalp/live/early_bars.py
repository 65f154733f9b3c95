"""Bars that come before their time: either they are wrong, or the time has leapt ahead since it was last asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from scalp.core.algo import FRESH
from scalp.core.clock import MarketClock
from scalp.core.fleet import Fleet
from scalp.core.market_data import Bar
from scalp.live.hours import CLOCK_PATIENCE, MarketHours

TRIES = 3  # to ask the clock about such a bar


class EarlyBars:
    """They wait until `hours` has asked the clock again; then `fleet` takes or refuses them. `spawn` starts a task."""

    def __init__(
        self,
        fleet: Fleet,
        clock: MarketClock,
        hours: MarketHours,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._hours = hours
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Bar] = []
        self._asked_at = float("-inf")  # loop time

    def on_early_bar(self, bar: Bar) -> None:
        self._hours.hear_early_bar(bar)
        self._waiting.append(bar)
        if len(self._waiting) == 1:
            self._spawn(self._settle())

    async def _settle(self) -> None:
        """Ask the clock again, but not in a storm: the bars can wait."""
        for _ in range(TRIES):
            await asyncio.sleep(max(self._asked_at + CLOCK_PATIENCE - self._loop.time(), 0.0))
            self._asked_at = self._loop.time()
            if await self._hours.check():
                break
        bars, self._waiting = self._waiting, []
        for bar in bars:
            if bar.start - self._clock.now() > FRESH and not self._clock.stands_still:
                self._fleet.refuse_early_bar(bar)
            else:
                self._fleet.on_bar(bar, is_settled=True)
