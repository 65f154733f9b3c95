"""What the keys of the dashboard do: pause entries, close every position, stop the bot."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable

from scalp.core.fleet import Fleet

log = logging.getLogger("scalp.main")

PAUSED = "paused"  # the kind of block, which the next session of --every-day inherits
PAUSED_WHY = "paused, p resumes"
ASKED_FOR = 10.0  # seconds in which the answer counts
READ_AFTER = 0.5  # seconds until a frame with the question is out
HINT = "p pause  f flatten  q stop  ? help"
HELP = (
    "p  pause entries until p is pressed again, over the night too; exits go on",
    "f  flatten (asks, y is yes): cancel all, sell all at market, end today's buys",
    "q  stop the bot, as Ctrl+C does (--on-exit: what becomes of orders and shares)",
    "?  this help; any key closes it",
    "Ctrl+C twice leaves at once, whatever is open",
)


def interrupt() -> None:
    """As Ctrl+C does."""
    signal.raise_signal(signal.SIGINT)


def pause(fleet: Fleet) -> None:
    """No entries until `p` resumes them."""
    fleet.block_entries(PAUSED, PAUSED_WHY)


def is_paused(fleet: Fleet) -> bool:
    return any(PAUSED in algo.entry_blocks for algo in fleet.algos.values())


class Controls:
    """`press` takes a key; `notice` is the text to show for it, `shows_help` whether to show the help."""

    def __init__(
        self, fleet: Fleet, stop: Callable[[], None] = interrupt, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._fleet = fleet
        self._stop = stop
        self._now = now  # seconds of the wall clock
        self._notice = ""
        self._asked_at: float | None = None  # when f was pressed
        self._is_flattened = self._is_stopped = False
        self._is_paused = is_paused(fleet)
        self.shows_help = False

    @property
    def notice(self) -> str:
        if self._asked_at is not None and self._now() > self._asked_at + ASKED_FOR:
            self._asked_at, self._notice = None, ""
        return self._notice

    def press(self, key: str) -> None:
        """Do what `key` stands for; keys that stand for nothing close the help and answer no."""
        is_asked = bool(self.notice) and self._asked_at is not None
        # What is pasted, or repeats because a key is held down, answers no question that nobody has read.
        is_read = is_asked and self._asked_at is not None and self._now() >= self._asked_at + READ_AFTER
        self._asked_at, self._notice = None, ""
        self.shows_help = key == "?" and not self.shows_help
        match key.lower():
            case "p":
                self._pause()
            case "y" if is_read:
                self._flatten()
            case "f":
                self._asked_at = self._now()
                self._notice = "sell all at market, buy nothing more today? y: yes, any other key: no"
            case "q" if not self._is_stopped:
                self._is_stopped = True
                log.warning("key q: the bot is told to stop")
                self._stop()
            case _ if is_asked:
                self._notice = "nothing was sold"

    def _pause(self) -> None:
        if self._is_flattened:
            self._notice = "key f has sold everything: nothing is bought any more today"
            return
        self._is_paused = not self._is_paused
        if self._is_paused:
            log.warning("key p: entries are paused until p is pressed again or the bot is restarted, exits go on")
            pause(self._fleet)
        else:
            log.warning("key p: entries are resumed")
            self._fleet.unblock(PAUSED)

    def _flatten(self) -> None:
        if why := self._fleet.orders.shut:
            self._notice = f"nothing can be sold just now: {why}"
            return
        log.warning("key f: everything is cancelled and sold at market, nothing is bought any more today")
        self._is_flattened, self._is_paused = True, False
        self._fleet.unblock(PAUSED)
        self._fleet.block_entries("flattened", "key f has sold everything")
        self._fleet.flatten()
