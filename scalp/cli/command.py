"""What all commands of this package do: look at their output files first, and end well whatever happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from scalp.core.errors import UserError


def check_writable(option: str, path: Path) -> None:
    """Raises UserError now rather than at the end of long work."""
    try:
        path.open("a").close()
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written ({error.strerror})") from None


def exit_code(work: Callable[[], int | None]) -> int:
    """That of `work` (None: 0); 2 after an error of the user, in one line; 130 after Ctrl+C; 1 when nobody reads on."""
    try:
        return work() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more can be said there, not even at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
