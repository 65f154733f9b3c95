"""One bot for one key: a lock of the operating system, gone the moment its process is, however that ends.

Alpaca has one connection of each kind for a key. Two bots would throw each other off the streams for ever, and manage
each other's shares.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from scalp.cli.paths import default_path
from scalp.cli.settings import Endpoints
from scalp.core.clock import NEW_YORK
from scalp.core.errors import UserError

try:
    import fcntl
except ImportError:  # not on every system: there nobody notices the second bot
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
log = logging.getLogger("scalp.main")

GLANCE = 0.1  # seconds: `is_taken` has a lock for a moment
LONGEST_TEXT = 100  # bytes of who holds it


@contextlib.contextmanager
def only_bot(endpoints: Endpoints | None) -> Iterator[None]:
    """For the time of the context no other bot of this user trades with the same key at the same endpoint.

    None, the built-in exchange, needs no lock. Raises UserError, which names the process, when another bot does. Where
    no lock is available it only warns.
    """
    file = None
    if endpoints is not None and fcntl is not None:
        try:
            file = _taken(lock_path(endpoints))
        except OSError as error:
            log.warning("a second bot with these keys would go unnoticed: no lock can be had (%s)", error.strerror)
    try:
        yield
    finally:
        if file is not None:
            os.close(file)


def locks_folder() -> Path:
    """Where the locks of this user are. Raises OSError where there is no place for them."""
    journal = default_path()
    if journal is None:
        raise FileNotFoundError(0, "no home folder")
    return journal.parent / "locks"


def is_taken(path: Path) -> bool:
    """Whether a bot that runs has this lock; only where there are locks. Raises OSError where it cannot be read."""
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def lock_path(endpoints: Endpoints) -> Path:
    """The file of this key: its name shows neither key nor account. Raises OSError where there is no place for it."""
    parts = urlsplit(endpoints.trading_url)
    whose = f"{parts.scheme}://{parts.hostname}:{parts.port} {endpoints.key_id}"
    return locks_folder() / f"{hashlib.sha256(whose.encode()).hexdigest()[:32]}.lock"


def _taken(path: Path) -> int:
    """The locked file. Raises UserError when somebody has it, OSError when it cannot be locked."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(GLANCE)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = dt.datetime.now(NEW_YORK)  # of this machine: the exchange's is not known yet
        os.truncate(file, 0)
        os.write(file, f"process {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S} New York".encode())
    except BlockingIOError:
        who = os.read(file, LONGEST_TEXT).decode(errors="replace")
        os.close(file)
        raise UserError(
            f"another bot trades with these keys ({who or 'it has just begun'}): stop that one first, or give it all "
            "the symbols"
        ) from None
    except BaseException:
        os.close(file)
        raise
    return file
