"""The way from the core to its listeners: what it reports waits until the actions decided with it are out.

A listener costs more time than a decision. On the wall clock events wait a little longer, for the actions of what comes
in the same instant; and the CPU core that has just sent an order is free at once for the process that receives it.
Many events are handed on a few at a time: a fill never waits for all of them.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable

from scalp.core.events import Event, Listener, Note

log = logging.getLogger("scalp.main")

LINGER = 0.001  # seconds
AT_ONCE = 32  # events in one turn of the loop


class EventBus:
    """Queues events, in order, until `settle` or `deliver`. `now` is exchange time (ns)."""

    def __init__(self, now: Callable[[], int], *listeners: Listener) -> None:
        self.call_later: Callable[[float, Callable[[], None]], object] | None = None  # the loop's; None: don't linger
        self.listeners = listeners
        self.has_guests = False  # whether a listener was added after the start
        self.now = now
        self._waiting: deque[Event] = deque()
        self.tell = self._waiting.append
        self._is_due = False
        self._failed: set[Listener] = set()

    def listen(self, listener: Listener) -> None:
        """From here on `listener` gets every event, too, after all others."""
        self.listeners = (*self.listeners, listener)
        self.has_guests = True

    def settle(self) -> None:
        """The actions of an event are out: hand on what waits, now or in a moment."""
        if self.call_later is None:
            self.deliver()
        elif self._waiting and not self._is_due:
            self._is_due = True
            self.call_later(LINGER, self._deliver_some)

    def deliver(self, most: int = sys.maxsize) -> None:
        """Hand on what waits now, at most so many events."""
        waiting, listeners = self._waiting, self.listeners
        while waiting and most:
            most -= 1
            event = waiting.popleft()
            for listener in listeners:
                try:
                    listener(event)
                except Exception:
                    self._say_failed(listener)

    def _deliver_some(self) -> None:
        self._is_due = False
        self.deliver(AT_ONCE)
        self.settle()

    def _say_failed(self, listener: Listener) -> None:
        """One listener's failure is its own: the others still get the event, and trading goes on."""
        if listener not in self._failed:
            self._failed.add(listener)
            log.exception("a listener failed, and may go on failing: trading goes on")


class Notes:
    """A logger whose lines are events; lines below its level are dropped. `who` is a symbol or a part."""

    def __init__(self, who: str, tell: Listener, now: Callable[[], int] = int) -> None:
        self._who = who
        self._tell = tell
        self._now = now
        self._logger = logging.getLogger(f"scalp.{who}")

    def log(self, level: int, text: str, *args: object, error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._tell(Note(self._who, self._now(), level, text, args, error))

    def debug(self, text: str, *args: object) -> None:
        self.log(logging.DEBUG, text, *args)

    def info(self, text: str, *args: object) -> None:
        self.log(logging.INFO, text, *args)

    def warning(self, text: str, *args: object) -> None:
        self.log(logging.WARNING, text, *args)

    def exception(self, text: str, *args: object) -> None:
        """With the traceback of the exception that is being handled."""
        self.log(logging.ERROR, text, *args, error=sys.exception())
