"""The fault simulation as part of the test command: some hundred seeds, and the proof that they can fail.

`python -m tests.simulation --seeds 20000 --jobs 2` runs many more.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.simulation import rail_defects  # noqa: F401  (they enter themselves into DEFECTS)
from tests.simulation.faults import KINDS
from tests.simulation.runner import caught_in, run_seed, transcript

SEEDS = 200
WITHIN = 500  # seeds within which a defect must be caught
# Where to begin for a defect: it saves time, and costs nothing but time when it is out of date. Defects that are not
# named here show in few seeds; `python -m tests.simulation.hunt` looks for them, and takes its time.
BEGIN = {
    "a cancel is asked for once": 20_028,
    "a correction is told by its price alone": 20_020,
    "a doubt never ends": 20_019,
    "a failed listing of positions means flat": 20_000,
    "a listing that shows less is believed once it has stood": 20_004,
    "a market exit that does not fill is left": 20_035,
    "a position of another symbol spoils the listing": 20_091,
    "a rail is asked only about buys that have left already": 20_008,
    "a refusal that may pass is waited for like one that lasts": 20_032,
    "a row that cannot be read spoils its listing": 20_122,
    "a sell answered with 429 is given up": 20_031,
    "a sell does not say that it closes": 20_000,
    "a sell of unknown outcome is only asked for": 20_091,
    "a sell that never arrived is forgotten": 20_059,
    "a sell that was refused for good is given up": 20_020,
    "a timeout is taken for a rejection, and that for the last word": 20_044,
    "an accepted cancel is taken for a cancelled order": 20_018,
    "an adopted position forgets which executions it holds": 20_166,
    "an ended order swallows late fills": 20_000,
    "an execution that is told late is no news": 20_451,
    "an exit is renewed at every bar and checkup": 20_005,
    "an order of unknown outcome is sent again under a new id": 20_000,
    "an order that is not listed has ended": 20_020,
    "buys go out while blind": 20_005,
    "client order ids repeat after a restart": 20_000,
    "executions are added up, repeated ones too": 20_034,
    "liquidation sells at market without cancelling first": 20_003,
    "nothing is liquidated before the close": 20_000,
    "nothing is reconciled after the start": 20_000,
    "one listing is believed at once": 20_073,
    "only orders of the bot's own count": 20_000,
    "positions found at the start are ignored": 20_000,
    "shares of a partly filled buy are forgotten when it is cancelled": 20_005,
    "the budget and the positions forget buys that are still working": 20_008,
    "the exit is priced by the entry alone": 20_014,
    "the first listing is all there is to know at the start": 20_017,
    "the profit of a sell is counted at its limit price": 20_001,
    "the sell's quantity comes from the lot, not from the position": 20_010,
    "the session's loss stops buys, and leaves what is held": 20_029,
    "the stop loss looks at bars and checkups alone": 20_241,
    "the time of the last buy is an hour off": 20_063,
    "unfilled buys are never cancelled": 20_010,
    "what is held is sold at market when it fills": 20_000,
    "what is listed beyond the ledger is never believed": 20_065,
    "what is to be left is only cancelled": 20_028,
    "what the day's activities tell is not heard": 20_004,
    "what was bought by hand is not offered while a sell works": 20_035,
    "zero is a price": 20_099,
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
    return {name: pool.submit(caught_in, name, BEGIN[name], WITHIN) for name in BEGIN}


@pytest.mark.parametrize("name", BEGIN)
def test_a_deliberate_defect_is_caught(name: str, hunts: dict[str, Future[int | None]]) -> None:
    assert hunts[name].result() is not None, f"not caught in {WITHIN} seeds"
