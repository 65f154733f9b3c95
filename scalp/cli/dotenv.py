"""A `.env` in the current folder is loaded by pipenv, not by us: whoever has one and runs plain python gets a note."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

FILE = Path(".env")
LARGEST = 2**16  # bytes
NAME = re.compile(r"^\s*(?:export\s+)?((?:APCA|POLYGON|SCALP)_\w+)\s*=\s*\S", re.MULTILINE)


def unloaded(environ: Mapping[str, str]) -> str:
    """One line about a `.env` that was not loaded, with the names in it and nothing else of it; "" if there is none."""
    try:
        with FILE.open(encoding="utf-8", errors="replace") as file:
            names = NAME.findall(file.read(LARGEST))
    except OSError:
        return ""
    if not (missing := [name for name in dict.fromkeys(names) if name not in environ]):
        return ""
    return f".env is not loaded ({', '.join(missing)}): begin the command with pipenv run, which loads it"
