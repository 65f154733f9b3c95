"""What all commands of this package do: look at their output files first, and end well whatever happens."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from scalp.cli.dotenv import unloaded
from scalp.core.errors import UserError
from scalp.net.printable import NO_MASK, Mask, printable

STANDARD_OUTPUT = Path("-")


def say(line: str) -> None:
    """One line of output, whatever of it came from outside."""
    print(printable(line))


def say_all(lines: Iterable[str]) -> None:
    """Last words; whether anybody reads them does not matter any more."""
    with contextlib.suppress(OSError):
        if sys.stdout is not None:
            print("\n".join(map(printable, lines)), flush=True)


def say_note(line: str) -> None:
    """The same beside the output."""
    print(printable(line), file=sys.stderr)


def say_error(error: object, mask: Mask = NO_MASK) -> None:
    """The one line of an error."""
    print(f"error: {mask.line(str(error))}", file=sys.stderr)


def note_unloaded() -> None:
    """The line about a .env that was not loaded, beside the output."""
    if line := unloaded(os.environ):
        say_note(f"note: {line}")


def ready_output() -> None:
    """A name that the terminal cannot show is no reason to fail."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")


def check_writable(option: str, path: Path) -> None:
    """Raises UserError now rather than at the end of long work."""
    if path != STANDARD_OUTPUT:
        with _told(option, path):
            path.open("a").close()


def write_to(option: str, path: Path, write: Callable[[TextIO], None]) -> None:
    """Let `write` fill the file, or standard output for "-". Raises UserError."""
    if path == STANDARD_OUTPUT:
        write(sys.stdout)
        return
    with _told(option, path), path.open("w", newline="") as file:
        write(file)


@contextlib.contextmanager
def _told(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written ({error.strerror})") from None


def exit_code(work: Callable[[], int | None]) -> int:
    """That of `work` (None: 0); 2 after an error of the user, in one line; 130 after Ctrl+C; 1 when nobody reads on."""
    ready_output()
    note_unloaded()
    try:
        return work() or 0
    except UserError as error:
        say_error(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more can be said there, not even at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
