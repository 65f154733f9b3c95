"""Files of minute bars that were read before, kept as columns in the user's cache folder: reading them again is quick.

What is kept is found by the contents of the file, so it is never out of date; only what was read without a fault is
kept. It may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import sys
from array import array
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path

import msgspec
from msgspec import Struct

from scalp.cli.paths import default_cache
from scalp.core.market_data import Bar

FOLDER = "columns"
_FORM = f"1 {sys.byteorder}".encode()  # another one is another file


class _Part(Struct, frozen=True, array_like=True):
    """The bars of a symbol on a day: starts as 64-bit integers, the others as doubles, a column after the other."""

    symbol: str
    date: str
    starts: bytes
    columns: tuple[bytes, bytes, bytes, bytes, bytes]

    def bars(self) -> list[Bar]:
        starts, numbers = array("q", self.starts), [array("d", column) for column in self.columns]
        return list(map(Bar, repeat(self.symbol), starts, *numbers))


class KeptFile(Struct, frozen=True, array_like=True):
    """What a file holds: `symbols` are all that it names."""

    symbols: tuple[str, ...]
    parts: tuple[_Part, ...]

    def bars(self) -> dict[tuple[dt.date, str], list[Bar]]:
        return {(dt.date.fromisoformat(part.date), part.symbol): part.bars() for part in self.parts}


def key_of(name: str, content: bytes) -> str:
    """The key of a file: from its contents, and its name, which may hold its symbol."""
    salt = hashlib.blake2b(name.upper().encode(errors="replace"), digest_size=16).digest()
    return hashlib.blake2b(content, key=_FORM, salt=salt).hexdigest()


def find(key: str) -> KeptFile | None:
    """What was kept; None where nothing was, or where it can't be read."""
    path = _path(key)
    if path is None:
        return None
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=KeptFile)
    except (OSError, ValueError):
        return None


def keep(key: str, symbols: Sequence[str], bars: Mapping[tuple[dt.date, str], Sequence[Bar]]) -> None:
    """Keep what a file held; where that cannot be written it is not kept."""
    path = _path(key)
    if path is None:
        return
    parts = tuple(_part(symbol, date, of) for (date, symbol), of in bars.items())
    own = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(msgspec.msgpack.encode(KeptFile(tuple(symbols), parts)))
        own.replace(path)


def _part(symbol: str, date: dt.date, bars: Sequence[Bar]) -> _Part:
    rows = [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars]
    opens, highs, lows, closes, volumes = (array("d", column).tobytes() for column in zip(*rows, strict=True))
    starts = array("q", [bar.start for bar in bars]).tobytes()
    return _Part(symbol, date.isoformat(), starts, (opens, highs, lows, closes, volumes))


def _path(key: str) -> Path | None:
    folder = default_cache()
    return None if folder is None else folder / FOLDER / f"{key}.bin"
