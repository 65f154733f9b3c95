"""`python -m tests.simulation --seeds N [--from S] [--jobs J]`: many sessions, and what went wrong in them."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.faults import KINDS
from tests.simulation.runner import Result, run_seed, shrink, transcript

TOLD_EVERY = 1000  # sessions
SHOWN = 60  # last lines of a failing seed's transcript


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many sessions (200)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--show", action="store_true", help="print the transcript of the first seed and end")
    options = parser.parse_args()
    if options.show:
        print("\n".join(transcript(options.first)))
        return 0
    seeds = range(options.first, options.first + options.seeds)
    started = time.perf_counter()
    struck: Counter[str] = Counter()
    failed: list[Result] = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, result in enumerate(pool.map(run_seed, seeds, chunksize=8), start=1):
            struck.update(result.struck)
            if result.failure:
                failed.append(result)
                print(f"seed {result.seed}: {result.failure}", flush=True)
            if done % TOLD_EVERY == 0 and done < len(seeds):
                print(f"{done} of {len(seeds)} sessions, {len(failed)} failed", flush=True)
    seconds = time.perf_counter() - started
    print(f"{len(seeds)} sessions in {seconds:.0f} s, {len(seeds) / seconds:.1f} a second; faults injected:")
    for kind in KINDS:
        print(f"  {struck[kind]:8} {kind}")
    if failed:
        seed = failed[0].seed
        without = shrink(seed)
        print(f"\nseed {seed} fails with these faults alone: {', '.join(k for k in KINDS if k not in without)}")
        print("\n".join(transcript(seed, without)[-SHOWN:]))
    print(f"{len(seeds) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
