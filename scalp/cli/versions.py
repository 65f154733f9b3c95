"""What ran: the versions that go with a result or a journal."""

from __future__ import annotations

import argparse
import functools
import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

VERSION = "2026.11"
ROOT = Path(__file__).parents[2]

PACKAGES = ("exchange-calendars", "msgspec", "numpy", "pandas")


@functools.cache
def versions() -> dict[str, str]:
    """This package by a digest of its sources, Python, and the packages it computes with."""
    digest = hashlib.sha256()
    root = ROOT / "scalp"
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return {
        "scalp": f"sha256:{digest.hexdigest()[:16]}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def commit() -> str:
    """The commit that is checked out here, "-dirty" after it where files differ from it; "" where git knows none."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip() if (ROOT / ".git").exists() else ""  # else it is that of a repository around this one


class Version(argparse.Action):
    """--version. What it says is looked up only when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        told = commit()
        print(f"scalp {VERSION}, {f'commit {told}' if told else 'source ' + versions()['scalp']}")
        parser.exit()
