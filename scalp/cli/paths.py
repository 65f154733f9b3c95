"""Where on this machine the program keeps what it writes, unless told otherwise."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path, user_state_path

APP = "scalp"


def state_file(name: str) -> Path | None:
    """A file in this user's folder for what programs keep; None where there is no such folder."""
    try:
        return user_state_path(APP, appauthor=False) / name
    except RuntimeError:  # no home folder
        return None


def default_path() -> Path | None:
    """The journal in that folder."""
    return state_file("journal.sqlite")


def default_cache() -> Path | None:
    """This user's folder for what can be fetched or made again; None where there is none."""
    try:
        return user_cache_path(APP, appauthor=False)
    except RuntimeError:
        return None
