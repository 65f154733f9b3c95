"""The command line of `python -m scalp.report`: a day from the journal, beside its backtest too, or many days."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import logging
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scalp.cli.command import exit_code, say
from scalp.cli.options import LineParser, add_html, add_json, named, named_path, positive, read_date, read_month
from scalp.cli.paths import default_path
from scalp.cli.settings import read_symbols
from scalp.core.clock import NEW_YORK
from scalp.core.errors import UserError
from scalp.journal.brief import BriefDay
from scalp.journal.reader import JournaledDay, open_journal, read_day, sessions
from scalp.journal.upkeep import back_up, drop_before
from scalp.report import speed
from scalp.report.choice import VENUES, Span, by_venue, list_lines, list_plain, listed, month
from scalp.results.totals import Results


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2: an error of the user's, in one line."""
    # What the algo says of the backtest is not what it said in the session.
    logging.getLogger("scalp").addHandler(logging.NullHandler())
    return exit_code(lambda: run(argv))


def run(argv: Sequence[str] | None) -> None:
    """The whole command. Raises UserError with one clear line."""
    args = _parser().parse_intermixed_args(argv)
    symbols = read_symbols(args.symbols)[0] if args.symbols else ()
    path = args.journal or default_path()
    if path is None:
        raise UserError("there is no home folder to look for the journal in: name it with --journal PATH")
    span = _span(args)
    if args.backup is not None or args.keep_days is not None:
        _keep(path, args.backup, args.keep_days)
        return
    with contextlib.closing(open_journal(path)) as connection:
        if args.list:
            lines, answer = _list(connection, path, span or Span(), args)
        elif span is not None:
            lines, answer = _months(connection, path, span, symbols, args)
        else:
            lines, answer = _day(connection, path, symbols, args)
        with _damage_told(path):  # what was not needed before is read now
            if args.json:
                json.dump(answer(), sys.stdout, indent=1)
                print()
            else:
                for line in lines:
                    say(line)


Told = tuple[Iterable[str], Callable[[], dict[str, Any]]]  # the same for people and for machines


def _day(connection: sqlite3.Connection, path: Path, symbols: Sequence[str], args: argparse.Namespace) -> Told:
    from scalp.report import one_day  # not at the top: a list of sessions needs neither backtest nor page

    with _damage_told(path):
        day = read_day(connection, args.date, symbols, args.venue)
        results = Results(day.days(), day.fees, day.facts.lot)
        trades = speed.read_trades(connection, [run.id for run in day.runs], day.symbols)
        results.name_reasons(speed.reasons(trades))
        seen = speed.links(trades)
    if args.html is not None:
        with _damage_told(path):
            one_day.write_html(day, results, seen, args.html)
    if args.diff:
        with _damage_told(path):
            whole = read_day(connection, args.date, venue=args.venue) if day.facts.risk_limits else day
        lines, differing = one_day.beside_backtest(day, whole, results, args.algo or "")
        return lines, lambda: differing
    return one_day.report(day, results, seen), lambda: one_day.plain(day, results, seen)


def _list(connection: sqlite3.Connection, path: Path, span: Span, args: argparse.Namespace) -> Told:
    with _damage_told(path):
        found = by_venue(sessions(connection), span, args.venue)
        rows = list(listed(connection, span.within([runs for of_venue in found.values() for runs in of_venue])))
    return list_lines(rows), lambda: {"sessions": [list_plain(row) for row in rows]}


def _months(
    connection: sqlite3.Connection, path: Path, span: Span, symbols: Sequence[str], args: argparse.Namespace
) -> Told:
    from scalp.report.drift import Drift
    from scalp.report.months import Months
    from scalp.report.page import write_page

    with _damage_told(path):
        found = by_venue(sessions(connection), span, args.venue)
        if args.html is not None and len(found) > 1:
            raise UserError(f"--html shows one venue, and there are {', '.join(found)}: name it with --venue")
        kind = JournaledDay if args.drift or args.html else BriefDay
        told = [Months(connection, of_venue, symbols, kind) for of_venue in found.values()]
        drifts = {months.venue: Drift(months.days, args.algo or "") for months in told if args.drift}
        if args.html is not None:
            (months,) = told
            names = ", ".join(months.symbols)
            drift = drifts.get(months.venue)
            write_page(months.days, months.results, months.links, months.title, names, months.notes, args.html, drift)

    def lines() -> Iterator[str]:
        for number, months in enumerate(told):
            yield from ("" for _ in range(2 * bool(number)))
            yield from months.lines()
            if drift := drifts.get(months.venue):
                yield ""
                yield from drift.lines()

    def answer() -> dict[str, Any]:
        of = {months.venue: months.plain() for months in told}
        return {"venues": {venue: of[venue] | ({"drift": drifts[venue].plain()} if drifts else {}) for venue in of}}

    return lines(), answer


def _keep(path: Path, backup: Path | None, days: int | None) -> None:
    """The copy first: what is then deleted is in it."""
    if backup is not None:
        with contextlib.closing(open_journal(path)) as connection:
            size = back_up(connection, path, backup)
        say(f"{backup}: {size / 1e6:.1f} MB, whole")
    if days is not None:
        open_journal(path).close()  # checks that it is there, and a journal
        before = _today() - dt.timedelta(days=days)
        dropped = drop_before(path, before)
        told = ", ".join(f"{count} {venue}" for venue, count in dropped.items())
        say(f"runs before {before} deleted: {told or 'there are none'}; {path.stat().st_size / 1e6:.1f} MB are left")


def _today() -> dt.date:
    """In New York."""
    return dt.datetime.now(NEW_YORK).date()


def _span(args: argparse.Namespace) -> Span | None:
    """The days that are asked for; None: one session. Raises UserError for words that contradict each other."""
    ways = {"--date": args.date, "--month": args.month, "--days": args.days, "--from/--to": args.first or args.last}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} together: name the days in one way")
    if given and given != ["--date"] and args.diff:
        raise UserError(f"--diff sets one session beside its backtest: name it with --date instead of {given[0]}")
    if args.list and (args.symbols or args.diff or args.drift or args.html):
        raise UserError("--list tells of whole sessions: leave the symbols, --diff, --drift and --html out")
    if args.drift and given in ([], ["--date"]):
        raise UserError("--drift looks at many sessions: name them with --month, --days or --from and --to")
    if args.first and args.last and args.first > args.last:
        raise UserError(f"--from {args.first} comes after --to {args.last}: turn them round")
    if args.month is not None:
        return month(args.month)
    if given in ([], ["--date"]):
        return None
    return Span(args.first, args.last, args.days)


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Content that no bot has written may break the reading of a file anywhere. Raises UserError."""
    try:
        yield
    except (sqlite3.Error, ValueError, KeyError, TypeError, ArithmeticError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} is damaged ({why}): move it away, main.py begins a new one") from None


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="python -m scalp.report",
        description="Tells a session from the journal that main.py writes: the newest one, that of a date, or many.",
    )
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="only these; none: all of the session")
    parser.add_argument("--date", type=read_date, metavar="DATE", help="the session's day, YYYY-MM-DD (the newest)")
    many = parser.add_argument_group(
        "many sessions", "those of each venue apart; of a day that was played again the last"
    )
    many.add_argument("--list", action="store_true", help="a line a session, of all or of the days named")
    many.add_argument("--from", dest="first", type=read_date, metavar="DATE", help="sessions from this day on")
    many.add_argument("--to", dest="last", type=read_date, metavar="DATE", help="sessions up to this day")
    many.add_argument("--month", type=read_month, metavar="YYYY-MM", help="the sessions of this month")
    many.add_argument("--days", type=positive, metavar="N", help="the newest N days on which there was a session")
    many.add_argument("--drift", action="store_true",
                      help="each session beside its backtest, and since when they part")  # fmt: skip
    kept = parser.add_argument_group("the file")
    kept.add_argument("--backup", type=named_path, metavar="PATH",
                      help="copy the journal there, whole, also while the bot writes it; no report")  # fmt: skip
    kept.add_argument("--keep-days", type=positive, metavar="N",
                      help="delete sessions of more than N days ago (after --backup, if both); the newest at each "
                           "venue stays")  # fmt: skip
    parser.add_argument("--venue", choices=VENUES, default="", help="only sessions that traded there")
    parser.add_argument("--journal", type=named_path, metavar="PATH", help="where it is (in your state folder)")
    parser.add_argument("--diff", action="store_true", help="set the session beside its backtest over the same bars")
    parser.add_argument("--algo", type=named, metavar="MODULE:CLASS",
                        help="with --diff and --drift: the algo to play (the session's own)")  # fmt: skip
    add_html(parser)
    add_json(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
