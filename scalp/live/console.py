"""The log: to the terminal and to console.log, in exchange time.

The loop only formats a line; a thread of its own writes it, so that nothing waits for the terminal or the disk.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import logging.handlers
import os
import queue
import re
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, cast

from rich.console import Console
from rich.text import Text

from scalp.cli.private import open_private
from scalp.core.clock import new_york
from scalp.core.errors import UserError
from scalp.core.events import BarHeard, Fill, Heartbeat, SessionOver, SignalBlocked
from scalp.core.log import event_of
from scalp.core.units import MINUTE
from scalp.net.printable import Mask, PlainFormatter

LOG_FILE = Path("console.log")
LARGEST_FILE, KEPT_FILES = 50_000_000, 60  # bytes; files beside it
TELL_REPEATS_EVERY = 60 * MINUTE
LAST_LINES = 20  # the last ones that went to a screen: the terminal shows them after it

BARE = {"is_bare": True}  # the `extra` of a line that a terminal shows without time and level: a row of a table

_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


def occupy_standard_files() -> None:
    """Where input, output or errors are closed, let nothing else have their numbers: the event loop aborts on that."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest free number


class Screen(Protocol):
    """Something that has the terminal for itself for a while, and shows the log in a part of it."""

    def take(self, level: str, text: str) -> None:
        """One line of the log: exchange time, symbol or part of the bot, text. Called in the log's thread."""

    def close(self) -> None:
        """Give the terminal back."""


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


class _ForTheEye(PlainFormatter):
    """For a terminal: a row of a table fits 80 columns."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return record.message if getattr(record, "is_bare", False) else super().formatMessage(record)


class _Repeats:
    """Logs a repeated line once, then counts it: the count is logged when another line takes its place, and hourly."""

    def __init__(self) -> None:
        self._said: dict[str, logging.LogRecord] = {}  # by symbol
        self._again: Counter[str] = Counter()

    def sift(self, record: logging.LogRecord) -> list[logging.LogRecord]:
        """What is to be written now."""
        event = event_of(record)
        if isinstance(event, SessionOver):
            return [*self.rest(), record]
        if not isinstance(event, SignalBlocked):
            return [record]
        before = self._said.get(record.name)
        if before is None or before.getMessage() != record.getMessage():
            counted = self._counted(record.name)
            self._said[record.name] = record
            return [*counted, record]
        self._again[record.name] += 1
        if event.at - cast(SignalBlocked, event_of(before)).at < TELL_REPEATS_EVERY:
            return []
        self._said[record.name] = record
        return self._counted(record.name)

    def rest(self) -> list[logging.LogRecord]:
        """Lines for what was only counted so far."""
        counted = [line for name in list(self._again) for line in self._counted(name)]
        self._said.clear()
        return counted

    def _counted(self, name: str) -> list[logging.LogRecord]:
        if not (times := self._again.pop(name, 0)):
            return []
        line = copy.copy(self._said[name])
        line.msg, line.args = f"{line.getMessage()} ({'once' if times == 1 else f'{times} times'} more)", None
        return [line]


class _Queued(logging.handlers.QueueHandler):
    """Formats in the loop only what may change until the thread writes it; text and traceback stay apart."""

    def __init__(self, records: queue.SimpleQueue[logging.LogRecord]) -> None:
        super().__init__(records)
        self._repeats = _Repeats()

    def handle(self, record: logging.LogRecord) -> bool:
        written = [super(_Queued, self).handle(line) for line in self._repeats.sift(record)]
        return any(written)

    def tell_rest(self) -> None:
        """Write what was only counted so far."""
        for line in self._repeats.rest():
            super().handle(line)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
        return record


class _Lasting(logging.Handler):
    """A handler whose output may go away (a closed pipe, a full disk): the bot trades on, with one line about it."""

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_failed:
            self._has_failed = True
            with contextlib.suppress(OSError):  # nobody may be there to read that either
                print(f"the log can no longer be written: {error.strerror}", file=sys.stderr, flush=True)


class _File(_Lasting, logging.handlers.TimedRotatingFileHandler):
    """Begins a new file each day of this machine, and when it is large: the old ones stay beside it for a while."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, when="midnight", backupCount=KEPT_FILES, encoding="utf-8")

    def rotation_filename(self, default_name: str) -> str:
        return _free(default_name)

    def getFilesToDelete(self) -> list[str]:
        # The library's own choice knows numbered names in some versions of Python only.
        path = Path(self.baseFilename)
        dated = re.compile(re.escape(path.name) + r"\.\d{4}-\d\d-\d\d(\.\d+)?")
        old = [one for one in path.parent.iterdir() if dated.fullmatch(one.name)]
        return [str(one) for one in sorted(old, key=lambda one: one.stat().st_mtime)[:-KEPT_FILES]]

    def shouldRollover(self, record: logging.LogRecord) -> int:
        is_large = self.stream is not None and self.stream.tell() >= LARGEST_FILE
        is_file = Path(self.baseFilename).is_file()
        return int(is_file and (is_large or bool(super().shouldRollover(record))))

    def _open(self) -> io.TextIOWrapper:
        number = open_private(Path(self.baseFilename))
        return cast(io.TextIOWrapper, open(number, self.mode, encoding=self.encoding, errors=self.errors))


def _free(name: str) -> str:
    """The name, with a number if there is such a file: two of one day are both kept."""
    numbered = (f"{name}.{number}" for number in itertools.count(2))
    return name if not os.path.exists(name) else next(one for one in numbered if not os.path.exists(one))


class _Plain(_Lasting, logging.StreamHandler):  # type: ignore[type-arg]
    pass


class _Terminal(_Lasting):
    def __init__(self) -> None:
        super().__init__()
        self._console = Console(soft_wrap=True, highlight=False)
        self.screen: Screen | None = None
        self._missed: deque[logging.LogRecord] = deque(maxlen=LAST_LINES)

    @property
    def can_draw(self) -> bool:
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.screen is None:
                self._console.print(self._styled(record))
            elif not isinstance(event_of(record), BarHeard | Heartbeat):  # a screen shows all that anyway
                self._missed.append(record)
                self._show(self.screen, record)
        except Exception:
            # As every handler of logging's own does: an exception would end the thread that writes the log.
            self.handleError(record)

    def resume(self) -> None:
        """The screen is gone: write what it showed last."""
        self.acquire()
        try:
            self.screen = None
            while self._missed:
                self.emit(self._missed.popleft())
        finally:
            self.release()

    def _show(self, screen: Screen, record: logging.LogRecord) -> None:
        first, *more = self.format(record).splitlines()
        # The time without its date, the level as a colour.
        screen.take(record.levelname, f"{first[11:19]:<8} {first[32:]}")
        for line in more:
            screen.take(record.levelname, line)

    def _styled(self, record: logging.LogRecord) -> Text:
        text = Text(self.format(record))
        event = event_of(record)
        if record.levelname in _STYLES:
            text.stylize(_STYLES[record.levelname])
        elif isinstance(event, BarHeard):
            text.stylize("dim")
        elif isinstance(event, Fill):
            text.stylize("bold green")
        return text


class ConsoleLog:
    """Logging for one run; use as a context manager. Raises UserError if console.log cannot be written."""

    def __init__(self, secrets: Iterable[str] = (), debug: bool = False, path: Path = LOG_FILE) -> None:
        self.now: Callable[[], int | None] = lambda: None  # exchange time, once it is known
        # No line is made with a key in it; this is the last barrier should one ever be.
        form, mask = "%(when)-23s %(levelname)-7s %(who)-7s %(message)s", Mask(secrets)
        try:
            file = _File(path)
        except OSError as error:
            if not path.parent.exists():
                raise UserError(f"{path}: there is no folder {path.parent}, make it first") from None
            raise UserError(f"{path} cannot be written here ({error.strerror}): run in a folder of your own, or name "
                            "another file with --log") from None  # fmt: skip
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name the terminal cannot show is no reason to fail
        terminal: logging.Handler
        if sys.stdout is None:
            terminal = logging.NullHandler()  # started without any output
        else:
            terminal = _Terminal() if sys.stdout.isatty() else _Plain(sys.stdout)
        self._terminal = terminal
        file.setFormatter(PlainFormatter(form, mask))
        terminal.setFormatter(_ForTheEye(form, mask))
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._handler = _Queued(records)
        self._handler.addFilter(_Stamp(lambda: self.now()))
        self._listener = logging.handlers.QueueListener(records, file, terminal)
        self._handlers = (file, terminal)
        self._is_flushed = False
        self._logger = logging.getLogger("scalp")
        self._logger.setLevel(logging.DEBUG if debug else logging.INFO)

    def __enter__(self) -> ConsoleLog:
        for logger in (self._logger, logging.getLogger()):  # the libraries' warnings too
            logger.addHandler(self._handler)
        self._logger.propagate = False
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._handler.tell_rest()
        for logger in (self._logger, logging.getLogger()):
            logger.removeHandler(self._handler)
        self._logger.propagate = True
        if not self._is_flushed:
            self._listener.stop()
        for handler in self._handlers:
            with contextlib.suppress(OSError):  # a full disk was reported before
                handler.close()
        for output in (sys.stdout, sys.stderr):
            try:
                if output is not None:
                    output.flush()
            except OSError:
                # Nobody reads any more; Python would complain about it once again at its end.
                os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())

    @property
    def has_screen(self) -> bool:
        """Whether the output is a terminal that can be drawn on."""
        return isinstance(self._terminal, _Terminal) and self._terminal.can_draw

    def show(self, screen: Screen | None) -> None:
        """From now on lines for the terminal go to `screen`; None: to the terminal again, the last ones once more."""
        if not isinstance(self._terminal, _Terminal):
            return
        if screen is not None:
            self._terminal.screen = screen
        else:
            _patiently(self._terminal.resume)

    def flush(self) -> None:
        """Write what is waiting, for at most a second (a stopped terminal may never take it); the last call of all."""
        if isinstance(self._terminal, _Terminal) and self._terminal.screen is not None:
            self._terminal.screen.close()
        self._is_flushed = True
        _patiently(self._listener.stop)


def _patiently(write: Callable[[], None]) -> None:
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(1.0)
