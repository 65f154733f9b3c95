"""Single keys from the terminal, while the dashboard is on it.

The view changes the terminal's mode and changes it back, also after the bot was killed; should it be killed itself, the
bot changes it back. Where there is no terminal to read, or the bot runs in the background of one, there are no keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

INPUT = 0  # the number of standard input
ESCAPES = re.compile(r"\x1b(\[[0-9;]*[A-Za-z~]|O?.)?")  # arrows and other keys of many characters


class Keys:
    """Reads keys in the running loop and hands each to `on_key`. `are_there` tells whether there are any to read."""

    def __init__(self, on_key: Callable[[str], None]) -> None:
        self._on_key = on_key
        self._loop = asyncio.get_running_loop()
        self._mode: list[Any] | None = None  # of the terminal, as it was
        self._before: Any = None  # what a read from the background did
        self.are_there = termios is not None and sys.stdout.isatty() and os.isatty(INPUT) and _is_in_front()
        if not self.are_there:
            return
        try:
            self._mode = termios.tcgetattr(INPUT)
            self._loop.add_reader(INPUT, self._read)
        except (OSError, termios.error, NotImplementedError):
            self.are_there = False
            return
        # A read after the bot was put into the background is to fail, not to stop the bot.
        self._before = signal.signal(signal.SIGTTIN, signal.SIG_IGN)

    def close(self) -> None:
        """Stop reading, and restore the terminal's mode. In the loop's thread; may be called again."""
        if self._mode is None:
            return
        mode, self._mode = self._mode, None
        self._stop_reading()
        if _is_in_front():  # another process in the foreground has its own mode
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(INPUT, termios.TCSADRAIN, mode)
        signal.signal(signal.SIGTTIN, self._before)

    def _stop_reading(self) -> None:
        self._loop.remove_reader(INPUT)

    def _read(self) -> None:
        try:
            data = os.read(INPUT, 64) if _is_in_front() else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the terminal is gone, or somebody else's now
            self._stop_reading()
        for key in ESCAPES.sub("", data.decode("ascii", errors="ignore")):
            self._on_key(key)


def _is_in_front() -> bool:
    """Whether what is typed is for this process. A terminal that controls nobody is read by whoever has it."""
    try:
        return os.tcgetpgrp(INPUT) == os.getpgrp()
    except OSError:
        return True
