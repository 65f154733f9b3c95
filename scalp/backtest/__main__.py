"""`python -m scalp.backtest`: what a signal would have done, by the rules that trade live."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from scalp.backtest.luck import verdict
from scalp.backtest.output import table, write_csv, write_json
from scalp.backtest.run import Day, backtest
from scalp.backtest.settings import read_settings
from scalp.backtest.tried import terms, trial
from scalp.cli.algo_loader import load_algo
from scalp.cli.command import STANDARD_OUTPUT, check_writable, exit_code, say, say_note, write_to
from scalp.cli.identity import remember_backtest
from scalp.cli.parameters import with_set
from scalp.cli.progress import progress
from scalp.core.algo import ScalpAlgo
from scalp.net.printable import PlainFormatter
from scalp.results.trials import fingerprint, fingerprint_of_days, remember


class _Once(logging.Filter):
    """Each warning of each symbol once: a signal that fails on every bar would fill the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[tuple[str, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.msg)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2: an error of the user's, in one line."""
    with _warnings_to_stderr():
        return exit_code(lambda: run(argv))


def run(argv: Sequence[str] | None) -> None:
    """The whole command. Raises UserError with one clear line."""
    settings = read_settings(argv)
    algo_class = with_set(load_algo(settings.algo) if settings.algo else ScalpAlgo, settings.given)
    for option, path in (("--csv", settings.csv), ("--html", settings.html)):
        if path is not None:
            check_writable(option, path)
    for note in settings.notes:
        say_note(note)
    kept: list[Day] = []
    bars: list[tuple[dt.date, str]] = []
    keeps = settings.luck != 0 or settings.html is not None

    def see(day: Day) -> None:
        bars.append((day.session.date, fingerprint(day.market)))
        if keeps:
            kept.append(day)

    started = time.perf_counter()
    with progress() as tell:
        results = backtest(settings, algo_class, see, tell)
        took = time.perf_counter() - started
        luck = None if settings.luck == 0 else verdict(kept, settings, algo_class, results, took, tell=tell)
    tried = trial(algo_class, settings, [*results.daily().values()])
    remember(fingerprint_of_days(bars), terms(settings), [tried])
    if settings.html is not None:
        # Imported here: a page needs the plotting library.
        from scalp.backtest.html import bars_by_symbol, write_report

        write_report(
            results, bars_by_symbol(kept), settings, algo_class, settings.html, "" if luck is None else str(luck)
        )
    remember_backtest(algo_class)
    if settings.csv is not None:
        write_to("--csv", settings.csv, lambda file: write_csv(results, file))
        if settings.csv == STANDARD_OUTPUT:
            return
    if settings.json:
        write_json(results, settings, algo_class, sys.stdout, luck)
    else:
        for line in table(results, settings, algo_class, luck):
            say(line)


@contextmanager
def _warnings_to_stderr() -> Iterator[None]:
    handler = logging.StreamHandler()
    handler.addFilter(_Once())
    handler.setFormatter(PlainFormatter("%(name)s: %(message)s"))
    log = logging.getLogger("scalp")
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.WARNING)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


if __name__ == "__main__":
    sys.exit(main())
