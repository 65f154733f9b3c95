"""Log lines that wait until the actions of an event are out: a line costs more time than a decision."""

from __future__ import annotations

import logging
from typing import Protocol


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
        self._waiting: list[tuple[logging.Logger, int, str, tuple[object, ...]]] = []

    def logger(self, name: str) -> Log:
        return _Later(logging.getLogger(name), self._waiting)

    def write(self) -> None:
        """Hand everything that waits to logging."""
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
