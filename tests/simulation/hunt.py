"""`python -m tests.simulation.hunt [--within N]`: in which seed each deliberate defect shows, one line each."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulation import claim_defects, risk_defects, stop_defects  # noqa: F401  (they enter themselves into DEFECTS)
from tests.simulation.defects import DEFECTS
from tests.simulation.runner import caught_in, prepare

FIRST = 20_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.hunt", description=__doc__)
    parser.add_argument("--within", type=int, default=500, help="seeds for each defect (500)")
    options = parser.parse_args()
    missed = 0
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"), initializer=prepare) as pool:
        hunts = {pool.submit(caught_in, name, FIRST, options.within): name for name in DEFECTS}
        for hunt in as_completed(hunts):
            seeds = hunt.result()
            missed += seeds is None
            print(f"{seeds or 'none':>4} {hunts[hunt]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
