"""Where on this machine the program keeps what it writes, unless told otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def default_path(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path | None:
    """The journal in this user's folder for what programs keep; None where there is no such folder."""
    try:
        if platform == "win32" and environ.get("LOCALAPPDATA"):
            folder = Path(environ["LOCALAPPDATA"])
        elif platform == "darwin":
            folder = Path.home() / "Library" / "Application Support"
        else:
            state = Path(environ.get("XDG_STATE_HOME", ""))
            folder = state if state.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return folder / "scalp" / "journal.sqlite"
