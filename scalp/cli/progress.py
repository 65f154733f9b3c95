"""How far long work is: a bar with the time left, on a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

Tell = Callable[[str, int, int | None], None]  # what is done, how much of it, of how much (None: unknown)


def unseen(what: str, done: int, of: int | None) -> None:
    """Shows nothing."""


@contextmanager
def progress() -> Iterator[Tell]:
    """A bar on standard error, gone when it is left."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield unseen
        return
    # Imported here: most commands are not looked at.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        told = ""
        task = bar.add_task("", total=None)

        def tell(what: str, done: int, of: int | None) -> None:
            nonlocal told
            if (kind := what.partition(",")[0]) != told:
                told = kind
                bar.reset(task)  # the time left is that of this work
            bar.update(task, description=what, completed=done, total=of)

        yield tell


def tracked(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, one after the other."""
    with progress() as tell:
        for number, item in enumerate(items):
            tell(what, number, len(items))
            yield item
