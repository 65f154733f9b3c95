"""Running seeds: one by one, many at once, and a failing one until little is left of it."""

from __future__ import annotations

import gc
import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from tests.simulation import world
from tests.simulation.faults import COMPANIONS, KINDS
from tests.simulation.invariants import Violation
from tests.simulation.network import Transport


@dataclass
class Result:
    """What became of one seed; `failure` is "" when every invariant held."""

    seed: int
    failure: str = ""
    struck: Counter[str] = field(default_factory=Counter)


def prepare() -> None:
    """Of a process that is to run many: a session is over before most of what it leaves would be looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run_seed(
    seed: int,
    without: frozenset[str] = frozenset(),
    defect: AbstractContextManager[None] | None = None,
    only: frozenset[str] | None = None,
) -> Result:
    """One session, silently."""
    with _quiet(), defect or nullcontext():
        try:
            return Result(seed, "", world.simulate(seed, without, only).plan.struck)
        except Violation as violation:
            return Result(seed, str(violation), violation.world.plan.struck)
        except Exception as error:
            return Result(seed, f"{type(error).__name__}: {error}")


def caught_in(name: str, first: int, within: int) -> int | None:
    """How many seeds from `first` on it takes until the defect `name` shows; None: more than `within`."""
    from tests.simulation import claim_defects, risk_defects, stop_defects  # noqa: F401  (they enter themselves into DEFECTS)
    from tests.simulation.defects import DEFECTS

    for seed in range(first, first + within):
        if run_seed(seed, defect=DEFECTS[name]()).failure and not run_seed(seed).failure:
            return seed - first + 1
    return None


def struck_in(kind: str, first: int, within: int) -> int | None:
    """How many seeds from `first` on it takes until this kind of trouble strikes, what shows it being on as well."""
    only = frozenset({kind, *COMPANIONS.get(kind, ())})
    for seed in range(first, first + within):
        if run_seed(seed, only=only).struck[kind]:
            return seed - first + 1
    return None


def shrink(seed: int, without: frozenset[str] = frozenset(), only: frozenset[str] | None = None) -> frozenset[str]:
    """Kinds of trouble the failure of `seed` does without."""
    struck = run_seed(seed, without, None, only).struck
    without |= frozenset(KINDS) - frozenset(struck)
    for kind in struck:
        fewer = without | {kind}
        if run_seed(seed, fewer, None, only).failure:
            without = fewer
    return without


def transcript(seed: int, without: frozenset[str] = frozenset(), only: frozenset[str] | None = None) -> list[str]:
    """Every line the bot and the world logged; the same for the same seed, byte for byte."""
    lines: list[str] = []
    with _recorded(lines):
        try:
            world.simulate(seed, without, only)
        except Violation as violation:
            lines.append(f"VIOLATION {violation}")
    return lines


_REACTION_TIMES = re.compile(r"(?: +\d+\.\d\d){3}$")  # the last columns of the day's table


class _Recorder(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.name == "scalp.main":
            message = _REACTION_TIMES.sub("", message)  # they are the machine's, not the seed's
        if record.exc_info and record.exc_info[1] is not None:
            message += f" [{record.exc_info[1]!r}]"
        at = Transport.world.elapsed
        self._lines.append(f"{at:10.3f} {record.levelname:7} {record.name.removeprefix('scalp.'):10} {message}")


@contextmanager
def _recorded(lines: list[str]) -> Iterator[None]:
    logger, handler = logging.getLogger("scalp"), _Recorder(lines)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("scalp")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
