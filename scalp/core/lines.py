"""Log lines that wait until the actions of an event are out: a line costs more time than a decision.

On the wall clock they wait a little longer, for the actions of the events that come in the same instant; and the core
that the bot has just sent an order from is free at once, for whoever is to receive it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

LINGER = 0.001  # seconds


class Log(Protocol):
    """The part of `logging.Logger` that an algo uses."""

    def info(self, text: str, *args: object) -> None: ...
    def warning(self, text: str, *args: object) -> None: ...
    def debug(self, text: str, *args: object) -> None: ...
    def log(self, level: int, text: str, *args: object) -> None: ...
    def exception(self, text: str, *args: object) -> None: ...


class Lines:
    """Keeps the lines of its loggers, in order, until `write`."""

    def __init__(self) -> None:
        self.call_later: Callable[[float, Callable[[], None]], object] | None = None  # the loop's; None: don't linger
        self._is_due = False
        self._waiting: list[tuple[logging.Logger, int, str, tuple[object, ...]]] = []

    def logger(self, name: str) -> Log:
        return _Later(logging.getLogger(name), self._waiting)

    def settle(self) -> None:
        """The actions of an event are out: write now, or in a moment."""
        if self.call_later is None:
            self.write()
        elif self._waiting and not self._is_due:
            self._is_due = True
            self.call_later(LINGER, self.write)

    def write(self) -> None:
        """Hand everything that waits to logging."""
        self._is_due = False
        if self._waiting:
            for logger, level, text, args in self._waiting:
                logger.log(level, text, *args)
            self._waiting.clear()


class _Later:
    def __init__(
        self, logger: logging.Logger, waiting: list[tuple[logging.Logger, int, str, tuple[object, ...]]]
    ) -> None:
        self._logger = logger
        self._waiting = waiting

    def log(self, level: int, text: str, *args: object) -> None:
        if self._logger.isEnabledFor(level):
            self._waiting.append((self._logger, level, text, args))

    def debug(self, text: str, *args: object) -> None:
        self.log(logging.DEBUG, text, *args)

    def info(self, text: str, *args: object) -> None:
        self.log(logging.INFO, text, *args)

    def warning(self, text: str, *args: object) -> None:
        self.log(logging.WARNING, text, *args)

    def exception(self, text: str, *args: object) -> None:
        # Told at once: the exception is gone when the others are written.
        self._logger.exception(text, *args)
