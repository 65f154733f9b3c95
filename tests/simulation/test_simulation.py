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
WITHIN = 500  # seeds in which a defect must be caught
# Defects that show in some ten seeds, and the seed from which each is looked for: it was seen there last, which saves
# the seeds before. `python -m tests.simulation.hunt` looks for all there are, and takes its time.
QUICK = {
    "a failed listing of positions means flat": 20_000,
    "a listing that shows less is believed once it has stood": 20_019,
    "a rail is asked only about buys that have left already": 20_008,
    "a sell does not say that it closes": 20_000,
    "a group offers its shares twice": 20_011,
    "a trail goes down as well": 20_011,
    "an ended order swallows late fills": 20_000,
    "an exit is renewed at every bar and checkup": 20_013,
    "an order of unknown outcome is sent again under a new id": 20_000,
    "buys go out while blind": 20_002,
    "client order ids repeat after a restart": 20_017,
    "executions are added up, repeated ones too": 20_003,
    "liquidation sells at market without cancelling first": 20_000,
    "nothing is liquidated before the close": 20_000,
    "nothing is reconciled after the start": 20_003,
    "only orders of the bot's own count": 20_008,
    "positions found at the start are ignored": 20_000,
    "shares of a partly filled buy are forgotten when it is cancelled": 20_017,
    "the exit leaves its stop behind": 20_011,
    "the profit of a sell is counted at its limit price": 20_009,
    "the sell's quantity comes from the lot, not from the position": 20_008,
    "unfilled buys are never cancelled": 20_014,
    "what both legs have sold is never bought back": 20_011,
    "what is held is sold at market when it fills": 20_000,
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
    return {name: pool.submit(caught_in, name, first, WITHIN) for name, first in QUICK.items()}


@pytest.mark.parametrize("name", QUICK)
def test_a_deliberate_defect_is_caught(name: str, hunts: dict[str, Future[int | None]]) -> None:
    assert hunts[name].result() is not None, f"not caught in {WITHIN} seeds"
