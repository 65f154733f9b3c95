"""What ran: the versions that a result or a journal is told with."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("exchange-calendars", "msgspec", "numpy", "pandas")


@functools.cache
def versions() -> dict[str, str]:
    """This package by a digest of its sources, Python, and what it reckons with."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return {
        "scalp": f"sha256:{digest.hexdigest()[:16]}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
