"""Files that nobody else on the machine may read, and that nobody else can point elsewhere."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

MODE = 0o600
OTHERS = 0o077
# Neither follow a link in the last step nor wait for somebody at the other end of a pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_private(path: Path) -> int:
    """Open for appending, made with mode 0600 if there is none. Raises OSError for links and pipes too."""
    if path.is_symlink():
        raise OSError(0, "it is a link to another file")
    number = os.open(path, _FLAGS | getattr(os, "O_CLOEXEC", 0), MODE)
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            raise OSError(0, "it is a pipe")
        if stat.S_ISREG(mode) and mode & OTHERS:
            _close_to_others(path)
        if hasattr(os, "set_blocking"):
            os.set_blocking(number, True)
    except BaseException:
        os.close(number)
        raise
    return number


def make_private(path: Path) -> None:
    """Make an empty file with mode 0600 where there is none; one that is there is closed to others."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE))
    except FileExistsError:
        _close_to_others(path)


def _close_to_others(path: Path) -> None:
    with contextlib.suppress(OSError):  # of another user's file he alone decides
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & OTHERS:
            path.chmod(MODE)
