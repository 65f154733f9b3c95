"""The fault simulation as part of the test command: some hundred seeds, and the proof that they can fail.

`python -m tests.simulation --seeds 20000 --jobs 2` runs many more.
"""

from __future__ import annotations

import pytest

from tests.simulation import rail_defects  # noqa: F401  (they enter themselves into DEFECTS)
from tests.simulation.defects import DEFECTS
from tests.simulation.faults import KINDS
from tests.simulation.runner import run_seed, transcript

BATCHES, BATCH = 10, 20
WITHIN = 500  # seeds within which a defect must be caught
FIRST = 20_000
# Where to begin for a defect that few seeds show: it saves time, and costs nothing but time when it is out of date.
BEGIN = {
    "one listing is believed at once": 20_344,
    "a restart forgets the losses of the day": 20_205,
    "the time of the last buy is an hour off": 20_035,
    "the stop loss looks at bars and checkups alone": 20_140,
}


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_invariant_holds_under_seeded_faults(batch: int) -> None:
    failures = []
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        result = run_seed(seed)
        if result.failure:
            failures.append(f"seed {seed}: {result.failure}")
    assert not failures, failures


def test_the_same_seed_gives_the_same_transcript() -> None:
    first, second = transcript(7), transcript(7)
    assert len(first) > 100
    assert first == second


def test_without_faults_nothing_needs_an_excuse() -> None:
    for seed in range(5):
        result = run_seed(seed, frozenset(KINDS))
        assert (result.failure, dict(result.struck)) == ("", {})


@pytest.mark.parametrize("name", DEFECTS)
def test_a_deliberate_defect_is_caught(name: str) -> None:
    first = BEGIN.get(name, FIRST)
    for seed in range(first, first + WITHIN):
        if run_seed(seed, defect=DEFECTS[name]()).failure:
            return
    pytest.fail(f"{name}: not caught in {WITHIN} seeds")
