"""The fault simulation as part of the test command: some hundred seeds, and the proof that they can fail.

`python -m tests.simulation --seeds 20000 --jobs 2` runs many more.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.simulation import rail_defects  # noqa: F401  (they enter themselves into DEFECTS)
from tests.simulation.defects import DEFECTS
from tests.simulation.faults import KINDS
from tests.simulation.runner import caught_in, run_seed, transcript

SEEDS = 200
WITHIN = 500  # seeds within which a defect must be caught
FIRST = 20_000
# Where to begin for a defect that few seeds show: it saves time, and costs nothing but time when it is out of date.
BEGIN = {
    "executions are added up, repeated ones too": 20_031,
    "one listing is believed at once": 20_064,
    "a restart forgets the losses of the day": 20_211,
    "the session's loss stops buys, and leaves what is held": 20_029,
    "the time of the last buy is an hour off": 20_038,
    "the stop loss looks at bars and checkups alone": 20_157,
}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """All cores; processes of their own, as the defects patch the code."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_every_invariant_holds_under_seeded_faults(pool: ProcessPoolExecutor) -> None:
    results = pool.map(run_seed, range(SEEDS), chunksize=5)
    assert [f"seed {result.seed}: {result.failure}" for result in results if result.failure] == []


def test_the_same_seed_gives_the_same_transcript() -> None:
    first, second = transcript(0), transcript(0)
    assert len(first) > 100
    assert first == second


def test_without_faults_nothing_needs_an_excuse() -> None:
    for seed in range(5):
        result = run_seed(seed, frozenset(KINDS))
        assert (result.failure, dict(result.struck)) == ("", {})


@pytest.fixture(scope="module")
def hunts(pool: ProcessPoolExecutor) -> dict[str, Future[int | None]]:
    return {name: pool.submit(caught_in, name, BEGIN.get(name, FIRST), WITHIN) for name in DEFECTS}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_deliberate_defect_is_caught(name: str, hunts: dict[str, Future[int | None]]) -> None:
    assert hunts[name].result() is not None, f"not caught in {WITHIN} seeds"
