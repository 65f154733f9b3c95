"""The fault simulation as part of the test command: some hundred seeds, and the proof that they can fail.

`python -m tests.simulation --seeds 20000 --jobs 2` runs many more.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.simulation import risk_defects, stop_defects  # noqa: F401  (they enter themselves into DEFECTS)
from tests.simulation.faults import KINDS
from tests.simulation.runner import caught_in, run_seed, transcript

SEEDS = 100
FIRST, WITHIN = 20_000, 500  # seeds in which a defect must be caught
# Defects that show in some ten seeds. `python -m tests.simulation.hunt` looks for all there are, and takes its time.
QUICK = (
    "a failed listing of positions means flat",
    "a listing that shows less is believed once it has stood",
    "a rail is asked only about buys that have left already",
    "a sell does not say that it closes",
    "a group offers its shares twice",
    "a trail goes down as well",
    "an ended order swallows late fills",
    "an exit is renewed at every bar and checkup",
    "an order of unknown outcome is sent again under a new id",
    "buys go out while blind",
    "client order ids repeat after a restart",
    "executions are added up, repeated ones too",
    "liquidation sells at market without cancelling first",
    "nothing is liquidated before the close",
    "nothing is reconciled after the start",
    "only orders of the bot's own count",
    "positions found at the start are ignored",
    "shares of a partly filled buy are forgotten when it is cancelled",
    "the exit leaves its stop behind",
    "the profit of a sell is counted at its limit price",
    "the sell's quantity comes from the lot, not from the position",
    "unfilled buys are never cancelled",
    "what both legs have sold is never bought back",
    "what is held is sold at market when it fills",
)


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
    return {name: pool.submit(caught_in, name, FIRST, WITHIN) for name in QUICK}


@pytest.mark.parametrize("name", QUICK)
def test_a_deliberate_defect_is_caught(name: str, hunts: dict[str, Future[int | None]]) -> None:
    assert hunts[name].result() is not None, f"not caught in {WITHIN} seeds"
