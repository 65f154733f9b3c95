"""`python -m tests.chaos --minutes N [--seed S] [--jobs J]`: sessions of chaos, one seed after the other."""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.chaos.network import KINDS
from tests.chaos.session import MINUTES, SPEED, Outcome, run_seed

SHOWN = 400  # last lines of a failing run's log


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="wall minutes after which no session is begun (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the first session; the others follow (0)")
    parser.add_argument("--jobs", type=int, default=1, help="sessions at a time (1)")
    parser.add_argument("--length", type=int, default=MINUTES, help=f"exchange minutes of a session ({MINUTES})")
    parser.add_argument("--speed", type=float, default=SPEED, help=f"times as fast as the wall clock ({SPEED:g})")
    options = parser.parse_args()
    started = time.monotonic()
    faults: Counter[str] = Counter()
    recoveries: defaultdict[str, list[float]] = defaultdict(list)
    outcomes: list[Outcome] = []
    for outcome in _outcomes(options, started + options.minutes * 60):
        outcomes.append(outcome)
        faults.update(outcome.faults)
        for wrong, seconds in outcome.recoveries.items():
            recoveries[wrong] += seconds
        counts = f"{outcome.trades} trades, {outcome.faults.total()} faults, {outcome.kills} kills"
        print(f"seed {outcome.seed}: {outcome.failure or 'passed'} ({counts})", flush=True)
        if outcome.failure:
            print("\n".join(outcome.log[-SHOWN:]), flush=True)
    failed = sum(bool(outcome.failure) for outcome in outcomes)
    print(f"\n{len(outcomes)} sessions of {options.length} minutes in {time.monotonic() - started:.0f} s, "
          f"{sum(outcome.trades for outcome in outcomes)} trades; the process was started "
          f"{sum(outcome.starts for outcome in outcomes)} times, "
          f"{sum(outcome.kills for outcome in outcomes)} times after kill -9; faults injected:")  # fmt: skip
    for kind in KINDS:
        print(f"  {faults[kind]:8} {kind}")
    print("seconds of exchange time from a buy's fill to its sell at the exchange:")
    for wrong, seconds in sorted(recoveries.items()):
        print(f"  {wrong:26} {len(seconds):5} times, median {statistics.median(seconds):7.2f}, "
              f"worst {max(seconds):7.2f}")  # fmt: skip
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _outcomes(options: argparse.Namespace, until: float) -> Iterator[Outcome]:
    """Of one seed after the other, `jobs` at a time, until the time is up."""
    seeds = itertools.count(options.seed)
    running: set[Future[Outcome]] = set()
    with ProcessPoolExecutor(options.jobs) as pool:
        while running or time.monotonic() < until:
            while len(running) < options.jobs and time.monotonic() < until:
                running.add(pool.submit(run_seed, next(seeds), options.length, options.speed))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


if __name__ == "__main__":
    sys.exit(main())
