"""`python -m tests.simulation --seeds N [--from S] [--jobs J]`: many sessions, and what went wrong in them.

`--only KIND,KIND` switches these kinds of trouble on in every session, and no others (`--only none`: nothing goes
wrong); `--without KIND,KIND` leaves some out of those that the seeds choose. `--show` prints one session's transcript.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.faults import KINDS
from tests.simulation.runner import Result, prepare, run_seed, shrink, transcript

TOLD_EVERY = 1000  # sessions
SHOWN = 60  # last lines of a failing seed's transcript


def _kinds(text: str) -> frozenset[str]:
    kinds = frozenset(kind.strip() for kind in text.split(",")) - {"none"}
    if unknown := kinds - frozenset(KINDS):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: the kinds are {', '.join(KINDS)}")
    return kinds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many sessions (200)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--show", action="store_true", help="print the transcript of the first seed and end")
    parser.add_argument("--only", type=_kinds, metavar="KINDS", help="these kinds of trouble and no others")
    parser.add_argument("--without", type=_kinds, metavar="KINDS", default=frozenset(), help="not these kinds")
    options = parser.parse_args()
    without, only = options.without, options.only
    if options.show:
        print("\n".join(transcript(options.first, without, only)))
        return 0
    seeds = range(options.first, options.first + options.seeds)
    started = time.perf_counter()
    struck: Counter[str] = Counter()
    failed: list[Result] = []
    run = functools.partial(run_seed, without=without, only=only)
    with ProcessPoolExecutor(options.jobs, initializer=prepare) as pool:
        for done, result in enumerate(pool.map(run, seeds, chunksize=8), start=1):
            struck.update(result.struck)
            if result.failure:
                failed.append(result)
                print(f"seed {result.seed}: {result.failure}", flush=True)
            if done % TOLD_EVERY == 0 and done < len(seeds):
                print(f"{done} of {len(seeds)} sessions, {len(failed)} failed", flush=True)
    seconds = time.perf_counter() - started
    print(f"{len(seeds)} sessions in {seconds:.0f} s, {len(seeds) / seconds:.1f} a second; faults injected:")
    for kind in KINDS:
        if struck[kind] or only is None:
            print(f"  {struck[kind]:8} {kind}")
    if failed:
        seed = failed[0].seed
        without = shrink(seed, without, only)
        left = [kind for kind in KINDS if kind not in without and kind in (only or KINDS)]
        print(f"\nseed {seed} fails with these faults alone: {', '.join(left)}")
        print("\n".join(transcript(seed, without, only)[-SHOWN:]))
    print(f"{len(seeds) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
