"""Whether the bot sees enough to buy: bars, order updates, and orders and positions reconciled since these are up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scalp.core.algo import ScalpAlgo
from scalp.core.events import Blocked, Listener, Unblocked

FEED, UPDATES, RECONCILED = "feed", "updates", "reconciled"


class Readiness:
    """Blocks entries in all `algos` while anything is missing, and reports it. `now` is exchange time (ns)."""

    def __init__(self, algos: Mapping[str, ScalpAlgo], now: Callable[[], int], tell: Listener) -> None:
        self._algos = algos
        self._now = now
        self._tell = tell
        self._missing = {
            FEED: "no bars yet",
            UPDATES: "no order updates yet",
            RECONCILED: "orders and positions are not known yet",
        }
        self._block()

    def update(self, what: str, why_not: str) -> None:
        """The bot sees `what` ("feed", "updates" or "reconciled"), or, with a reason, does not: no buys then."""
        was_ready = self.is_ready
        if why_not:
            self._missing[what] = why_not
        else:
            self._missing.pop(what, None)
        if what == FEED:
            for algo in self._algos.values():
                algo.exits.has_no_data = bool(why_not)
        if self._missing:
            self._block()
            if was_ready:
                self._tell(Blocked(self._now(), self.why_not_ready))
            return
        for algo in self._algos.values():
            algo.entry_blocks.unblock("blind")
        if not was_ready:
            self._tell(Unblocked(self._now(), self._but()))

    @property
    def is_ready(self) -> bool:
        return not self._missing

    @property
    def why_not_ready(self) -> str:
        """What is missing, in words."""
        return ", ".join(self._missing.values())

    @property
    def hears_updates(self) -> bool:
        return UPDATES not in self._missing

    def _block(self) -> None:
        for algo in self._algos.values():
            algo.entry_blocks.block("blind", self.why_not_ready)

    def _but(self) -> str:
        """In words, where nothing is bought all the same, for reasons of its own."""
        waiting = [algo for algo in self._algos.values() if algo.entry_blocks.why]
        if not waiting:
            return ""
        named = ", ".join(algo.symbol for algo in waiting) if len(waiting) <= 5 else f"{len(waiting)} symbols"
        return f", except in {named}: {waiting[0].entry_blocks.why}"
