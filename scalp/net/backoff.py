"""How long to wait before the next try."""

from __future__ import annotations

import asyncio


class Backoff:
    """Waits of `first` seconds, doubling up to `longest`, until `reset`."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.pause = first  # seconds: the next wait, for a line about it

    def next(self, longest: float | None = None) -> float:
        """The wait that is due now, in seconds; the one after it is twice as long, `longest` at most."""
        pause = self.pause
        self.pause = min(pause * 2, self._longest if longest is None else longest)
        return pause

    async def wait(self) -> None:
        """Wait so long, by the loop's time."""
        await asyncio.sleep(self.next())

    def reset(self) -> None:
        """It worked: the next trouble is the first again."""
        self.pause = self._first

    @property
    def is_fresh(self) -> bool:
        """Whether there was no wait since the beginning, or the last `reset`."""
        return self.pause == self._first
