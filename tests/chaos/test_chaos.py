"""Two short sessions of chaos, side by side; `python -m tests.chaos` runs long ones."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.chaos.session import run_seed

SEEDS = (17, 20)
MINUTES = 12  # of exchange time, five of them the liquidation
SPEED = 50.0  # on a machine that has nothing else to do


def test_short_sessions_of_chaos() -> None:
    # The bot's process has to start within the session, however many others want the processor.
    speed = SPEED / max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    with ProcessPoolExecutor(len(SEEDS), get_context("spawn")) as pool:
        outcomes = list(pool.map(run_seed, SEEDS, [MINUTES] * len(SEEDS), [speed] * len(SEEDS)))
    for outcome in outcomes:
        assert not outcome.failure, "\n".join([outcome.failure, *outcome.log])
    assert sum(outcome.faults.total() for outcome in outcomes) > 10
    assert sum(outcome.kills for outcome in outcomes) > 0
