"""`python -m scalp.sweep`: the same backtest for many sets of parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from scalp.backtest.settings import BacktestSettings
from scalp.backtest.tried import terms, trial
from scalp.cli.command import STANDARD_OUTPUT, check_writable, exit_code, say, say_note, write_to
from scalp.cli.parameters import LOT, Values, read_grid, sets, tuned
from scalp.cli.progress import progress
from scalp.core.algo import ScalpAlgo
from scalp.core.errors import UserError
from scalp.results.trials import remember
from scalp.results.verdict import BestOfMany, best_of_many
from scalp.sweep import run as running
from scalp.sweep.output import Told
from scalp.sweep.results import SweepResults
from scalp.sweep.settings import SweepSettings, read_settings
from scalp.sweep.source import DaySpec, specify
from scalp.sweep.tasks import Batch, Job, Outcome, algo_class_of

LARGEST_BATCH = 16  # sets in a task: they share the reading of the bars, and the cost of a task
BATCHES_PER_CORE = 32  # at least, while there are enough sets: the last one should not be waited for long


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1: no set could be played; 2: an error of the user's, in one line."""
    return exit_code(lambda: 0 if sweep(read_settings(argv)) else 1)


def sweep(settings: SweepSettings) -> bool:
    """The whole command; returns whether a set has a result. Raises UserError with one clear line."""
    algo_class = algo_class_of(settings.backtest.algo)
    grid = read_grid(settings.given, algo_class)
    if settings.csv is not None:
        check_writable("--csv", settings.csv)
    for note in settings.backtest.notes:
        say_note(note)
    chosen = list(sets(grid))
    with progress() as tell:
        days = specify(settings.backtest, tell)
        if settings.walk_forward is not None and sum(settings.walk_forward) > len(days):
            train, test = settings.walk_forward
            raise UserError(f"--walk-forward needs {train} + {test} trading days, there are {len(days)}")
        job = Job(_for_workers(settings.backtest), tuple(grid))
        results = SweepResults(chosen, days)
        done, of = 0, len(chosen) * len(days)
        tell("playing", done, of)
        for outcomes in _outcomes(settings, job, chosen, days):
            results.take(outcomes)
            done += len(outcomes)
            tell("playing", done, of)
    steps = results.walk_forward(*settings.walk_forward) if settings.walk_forward is not None else []
    verdict = _verdict(results, tuple(grid), settings.backtest, algo_class)
    told = Told(tuple(grid), results, steps, settings.backtest, algo_class, verdict)
    if settings.csv is not None:
        write_to("--csv", settings.csv, told.write_csv)
    if settings.csv == STANDARD_OUTPUT:
        pass
    elif settings.json:
        told.write_json(sys.stdout)
    else:
        for line in told.lines():
            say(line)
    return told.has_results


def _verdict(
    results: SweepResults, names: Sequence[str], settings: BacktestSettings, algo_class: type[ScalpAlgo]
) -> BestOfMany | None:
    """What the best set proves among all that were ever tried on these bars; None where none could be played."""
    daily = results.daily()
    if not daily:
        return None
    trials = []
    for values, nets in daily.items():
        attributes = dict(zip(names, values, strict=True))
        own = replace(settings, lot=attributes.pop(LOT, settings.lot))
        trials.append(trial(tuned(algo_class, attributes), own, nets))
    best = [float(net) for net in daily[results.ranked()[0].values]]
    return best_of_many(remember(results.bars(), terms(settings), trials), best)


def batches(chosen: Sequence[Values], days: Sequence[DaySpec], cores: int) -> Iterator[Batch]:
    """The tasks, made as they are asked for, in the order of the days."""
    size = max(1, min(LARGEST_BATCH, len(chosen) * len(days) // (cores * BATCHES_PER_CORE)))
    numbered = list(enumerate(chosen))
    for place, day in enumerate(days):
        for first in range(0, len(numbered), size):
            yield Batch(place, day, tuple(numbered[first : first + size]))


def _outcomes(
    settings: SweepSettings, job: Job, chosen: Sequence[Values], days: Sequence[DaySpec]
) -> Iterator[list[Outcome]]:
    jobs = min(settings.jobs or running.cores(), len(chosen) * len(days))
    if not settings.scheduler and jobs == 1:
        yield from running.alone(job, batches(chosen, days, 1))
        return
    with running.remote(settings.scheduler, job) if settings.scheduler else running.local(jobs, job) as workers:
        yield from workers.play(batches(chosen, days, workers.cores))


def _for_workers(settings: BacktestSettings) -> BacktestSettings:
    """What a task needs of the settings: no keys, and nothing long."""
    return replace(settings, endpoints=None, symbols=(), notes=(), bars=(), csv=None)


if __name__ == "__main__":
    sys.exit(main())
