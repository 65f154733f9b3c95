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

from scalp.backtest.output import outcome, statistics_table
from scalp.cli.algo_loader import load_algo
from scalp.cli.command import exit_code, say
from scalp.cli.options import LineParser, add_html, add_json, named, named_path, positive, read_date, read_month
from scalp.cli.parameters import with_set
from scalp.cli.paths import default_path
from scalp.cli.settings import read_symbols
from scalp.core.clock import NEW_YORK, new_york
from scalp.core.decimals import ZERO
from scalp.core.errors import UserError
from scalp.core.order_state import REFUSED
from scalp.journal.brief import BriefDay
from scalp.journal.reader import JournaledDay, Run, open_journal, read_day, sessions
from scalp.journal.upkeep import back_up, drop_before
from scalp.report import speed
from scalp.report.choice import VENUES, Span, by_venue, list_lines, list_plain, listed, month
from scalp.report.diff import differences, plain, replayed
from scalp.report.drift import Drift
from scalp.report.months import Months
from scalp.report.page import write_page
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
        with _damage_told(path):  # what nobody asked for yet is read now
            if args.json:
                json.dump(answer(), sys.stdout, indent=1)
                print()
            else:
                for line in lines:
                    say(line)


Told = tuple[Iterable[str], Callable[[], dict[str, Any]]]  # the same for people and for machines


def _day(connection: sqlite3.Connection, path: Path, symbols: Sequence[str], args: argparse.Namespace) -> Told:
    with _damage_told(path):
        day = read_day(connection, args.date, symbols, args.venue)
        results = Results(day.days(), day.fees, day.facts.lot)
        trades = speed.read_trades(connection, [run.id for run in day.runs], day.symbols)
        results.name_reasons(speed.reasons(trades))
        seen = speed.links(trades)
    if args.html is not None:
        spans = ", ".join(f"{new_york(run.started_at):%H:%M:%S} {_end(run)}" for run in day.runs)
        title, _, rest = _title(day).partition(" at ")
        with _damage_told(path):
            write_page([day], results, seen, title, f"{rest}; ran from {spans}", day.notes, args.html)
    if args.diff:
        with _damage_told(path):
            whole = read_day(connection, args.date, venue=args.venue) if day.facts.risk_limits else day
        lines, differing = _diff(day, whole, results, args.algo or "")
        return lines, lambda: differing
    return _report(day, results, seen), lambda: {
        **_facts(day),
        **outcome(results),
        **_charges(day, results),
        "speed": [speed.plain(link) for link in seen],
        "notes": day.notes,
    }


def _list(connection: sqlite3.Connection, path: Path, span: Span, args: argparse.Namespace) -> Told:
    with _damage_told(path):
        found = by_venue(sessions(connection), span, args.venue)
        rows = list(listed(connection, span.within([runs for of_venue in found.values() for runs in of_venue])))
    return list_lines(rows), lambda: {"sessions": [list_plain(row) for row in rows]}


def _months(
    connection: sqlite3.Connection, path: Path, span: Span, symbols: Sequence[str], args: argparse.Namespace
) -> Told:
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
            write_page(months.days, months.results, months.links, months.title, names, months.notes, args.html)

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
        open_journal(path).close()  # it is one, and there
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
    """What a file holds that no bot has written may break the reading of it anywhere. Raises UserError."""
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


def _report(day: JournaledDay, results: Results, seen: Sequence[speed.Link]) -> Iterator[str]:
    yield _title(day)
    yield ""
    yield from statistics_table(results)
    yield ""
    yield from speed.table(seen)
    yield from ("" for _ in seen[:1])
    yield from _fees(day, results)
    yield from _runs(day)
    for rejection in day.rejections:
        what = f"{rejection.symbol}: order {rejection.key} ({rejection.kind}): {rejection.why}"
        yield f"{new_york(rejection.at):%H:%M:%S} {what}"
    for note in day.notes:
        yield f"note: {note}"


def _fees(day: JournaledDay, results: Results) -> Iterator[str]:
    """Those that were charged beside those reckoned, kind by kind."""
    ours, theirs = results.charges[day.session.date].billed, day.charged()
    told = ", ".join(f"{kind} {amount:.2f}" for kind, amount in theirs.items())
    yield f"fees reckoned: REG {ours.reg:.2f}, TAF {ours.taf:.2f}, CAT {ours.cat:.2f}: {ours.total:.2f}"
    if theirs:
        total = sum(theirs.values(), ZERO)
        differs = f", {total - ours.total:+.2f} beside ours" if total != ours.total else ""
        yield f"fees charged:  {told}: {total:.2f}{differs}"
    else:
        yield "fees charged:  none are listed by now (a paper account pays none, a live one in the night after)"


def _charges(day: JournaledDay, results: Results) -> dict[str, Any]:
    ours = results.charges[day.session.date].billed
    return {
        "fees": {
            "reckoned": {"REG": float(ours.reg), "TAF": float(ours.taf), "CAT": float(ours.cat)},
            "charged": {kind: float(amount) for kind, amount in day.charged().items()},
        }
    }


def _diff(day: JournaledDay, whole: JournaledDay, results: Results, algo: str) -> tuple[Iterator[str], dict[str, Any]]:
    """`whole` has all symbols of the session: some rules look at all of them, though only those of `day` are told."""
    name = algo or day.facts.algo
    try:
        algo_class = with_set(load_algo(name), () if algo else day.facts.options.get("set") or ())
    except UserError as error:
        raise UserError(f"the session's algo is not to be had ({error}): name it with --algo MODULE:CLASS") from None
    played = {one.symbol: one for one in replayed(whole, algo_class)}
    backtest = Results((played[symbol] for symbol in day.symbols), day.fees)
    found = differences(day, backtest.days)
    sums = {"session": _sums(results), "backtest": _sums(backtest)}

    def lines() -> Iterator[str]:
        yield f"{_title(day)}, beside its backtest"
        yield "(--fills pessimistic, the bars as the bot saw them, buys only while it ran)"
        yield ""
        for one in found:
            yield f"{new_york(one.at):%H:%M:%S} {one.symbol}: {one.what}"
            yield f"         why: {one.why or 'not known'}"
        yield f"{len(found)} differences, {sum(not one.why for one in found)} of them unexplained"
        for name, of in sums.items():
            money = f"gross $ {of['pnl']:+.2f}, net $ {of['net']:+.2f}"
            yield f"{name}: {of['orders']} orders, {of['trades']} trades, {money}"
        for note in day.notes:
            yield f"note: {note}"

    answer = {
        **_facts(day),
        "differences": [plain(one) for one in found],
        "totals": sums,
        "notes": day.notes,
    }
    return lines(), answer


def _sums(results: Results) -> dict[str, Any]:
    orders = sum(order.status != REFUSED for day in results.days for order in day.orders)
    return {"orders": orders, "trades": len(results.trades), "pnl": float(results.total().pnl),
            "net": float(results.total().net)}  # fmt: skip


def _title(day: JournaledDay) -> str:
    facts = day.facts
    word = {"simulated": "SIMULATED session", "paper": "paper session", "live": "session, REAL MONEY,"}[facts.venue]
    source, own = facts.options.get("source"), facts.options.get("parameters") or {}
    algo = facts.algo + (f" ({', '.join(f'{name} {value}' for name, value in own.items())})" if own else "")
    algo += f", source {source}" if source else ""
    return f"{word} of {facts.date} at {facts.host}: lot ${facts.lot:f}, {algo}, bars of {facts.feed}"


def _runs(day: JournaledDay) -> Iterator[str]:
    for run in day.runs:
        yield f"ran from {new_york(run.started_at):%H:%M:%S} {_end(run)}"


def _end(run: Run) -> str:
    return f"to {new_york(run.ended_at):%H:%M:%S}" if run.ended_at else "and runs still, or was killed"


def _facts(day: JournaledDay) -> dict[str, Any]:
    facts = day.facts
    return {
        "session": {
            "date": facts.date.isoformat(),
            "venue": facts.venue,
            "host": facts.host,
            "symbols": list(day.symbols),
            "lot": float(facts.lot),
            "algo": facts.algo,
            "parameters": facts.options.get("parameters") or {},
            "source": facts.options.get("source"),
            "feed": facts.feed,
            "runs": [
                {
                    "run": run.run,
                    "started": new_york(run.started_at).isoformat(),
                    "ended": new_york(run.ended_at).isoformat() if run.ended_at else None,
                }
                for run in day.runs
            ],
        },
        "rejections": [
            {"symbol": one.symbol, "time": new_york(one.at).isoformat(), "kind": one.kind, "why": one.why}
            for one in day.rejections
        ],
        "versions": facts.versions,
    }


if __name__ == "__main__":
    sys.exit(main())
