"""The log: to the terminal and to console.log, in exchange time.

The loop only formats a line; a thread of its own writes it, so that nothing waits for the terminal or the disk.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from scalp.clock import new_york
from scalp.errors import UserError

LOG_FILE = Path("console.log")

_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


class _Stamp(logging.Filter):
    """Gives each record its exchange time and its symbol while still in the loop, where the clock is right."""

    def __init__(self, now: Callable[[], int | None]) -> None:
        super().__init__()
        self._now = now

    def filter(self, record: logging.LogRecord) -> bool:
        at = self._now()
        record.when = "-" if at is None else f"{new_york(at):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        record.who = record.name.removeprefix("scalp.")
        return True


class _Formatter(logging.Formatter):
    """One plain line a record: exchange time (New York), level, symbol or part of the bot, text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(when)-23s %(levelname)-7s %(who)-6s %(message)s")
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        # No line is made with a key in it; this is the last barrier should one ever be.
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _Terminal(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._console = Console(soft_wrap=True, highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        text = Text(self.format(record))
        message = record.getMessage()
        if record.levelname in _STYLES:
            text.stylize(_STYLES[record.levelname])
        elif message.startswith("bar "):
            text.stylize("dim")
        elif message.startswith(("bought", "sold")):
            text.stylize("bold green")
        self._console.print(text)


class ConsoleLog:
    """Logging for one run; use as a context manager. Raises UserError if console.log cannot be written."""

    def __init__(self, secrets: Iterable[str] = (), debug: bool = False, path: Path = LOG_FILE) -> None:
        self.now: Callable[[], int | None] = lambda: None  # exchange time, once it is known
        formatter = _Formatter(secrets)
        try:
            file = logging.FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written here ({error.strerror}): run in a folder of your own") from None
        terminal: logging.Handler = _Terminal() if sys.stdout.isatty() else logging.StreamHandler(sys.stdout)
        for handler in (file, terminal):
            handler.setFormatter(formatter)
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._handler = logging.handlers.QueueHandler(records)
        self._handler.addFilter(_Stamp(lambda: self.now()))
        self._listener = logging.handlers.QueueListener(records, file, terminal)
        self._handlers = (file, terminal)
        self._logger = logging.getLogger("scalp")
        self._logger.setLevel(logging.DEBUG if debug else logging.INFO)
        self._logger.propagate = False

    def __enter__(self) -> ConsoleLog:
        self._logger.addHandler(self._handler)
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._logger.removeHandler(self._handler)
        self._listener.stop()
        for handler in self._handlers:
            handler.close()
