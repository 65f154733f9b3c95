"""Which sessions of the journal are meant, and the list of them."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from scalp.core.clock import new_york
from scalp.core.errors import UserError
from scalp.journal.brief import BriefDay
from scalp.journal.reader import Run
from scalp.results.columns import columns, plain
from scalp.results.totals import Results, Statistics

VENUES = ("simulated", "paper", "live")
LISTED = columns("trades", "pnl", "fees", "net")
MOST_SYMBOLS = 6  # named in a line of the list

Session = list[Run]  # the runs of a day on one account


class Span(Struct, frozen=True):
    """Days, both included; None: no limit. `newest`: so many days on which there was a session, the last ones."""

    first: dt.date | None = None
    last: dt.date | None = None
    newest: int | None = None

    def within(self, sessions: Sequence[Session]) -> list[Session]:
        """Those of its days, oldest day first."""
        wanted = [
            runs for runs in sessions if (self.first or dt.date.min) <= runs[0].date <= (self.last or dt.date.max)
        ]
        if self.newest is not None:
            days = sorted({runs[0].date for runs in wanted})[-self.newest :]
            wanted = [runs for runs in wanted if runs[0].date in days]
        return sorted(wanted, key=lambda runs: (runs[0].date, runs[0].id))


def month(first: dt.date) -> Span:
    """The month that begins on `first`."""
    return Span(first, (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1))


def by_venue(everything: Sequence[Session], span: Span, venue: str) -> dict[str, list[Session]]:
    """The sessions of `span` apart by venue, the riskiest first. Raises UserError where there is none."""
    of_venue = [runs for runs in everything if venue in ("", runs[0].venue)]
    found = {name: span.within([r for r in of_venue if r[0].venue == name]) for name in reversed(VENUES)}
    if not any(found.values()):
        days = sorted({f"{runs[0].date} ({runs[0].venue})" for runs in everything})
        raise UserError("no session of these days in the journal: there are " + (", ".join(days[-10:]) or "none"))
    return {name: sessions for name, sessions in found.items() if sessions}


def newest_of_each_day(sessions: Sequence[Session]) -> list[Session]:
    """A simulated day may have been played again: the last time counts."""
    return list({runs[0].date: runs for runs in sessions}.values())


# -- the list ---------------------------------------------------------------------------------------------------------


class Listed(Struct, frozen=True):
    """A session in the list: its newest run stands for all."""

    run: Run
    runs: int
    started_at: int
    numbers: Statistics


def listed(connection: sqlite3.Connection, sessions: Sequence[Session]) -> Iterator[Listed]:
    """What each came to."""
    for runs in sessions:
        day = BriefDay(connection, runs)
        results = Results(day.without_bars(), day.fees)
        if results.held:  # what is held has its value by the last bar
            results = Results(day.days(), day.fees)
        yield Listed(runs[-1], len(runs), runs[0].started_at, results.total())


def list_lines(rows: Iterable[Listed]) -> Iterator[str]:
    """A line a session."""
    heads = " ".join(f"{column.head:>{column.width}}" for column in LISTED)
    yield f"{'date':<10} {'venue':<9} {heads} {'runs':>4} {'from':<8} {'to':<8} symbols"
    for row in rows:
        run, cells = row.run, " ".join(f"{column.text(row.numbers):>{column.width}}" for column in LISTED)
        symbols = " ".join(run.symbols[:MOST_SYMBOLS])
        more = f" and {len(run.symbols) - MOST_SYMBOLS} more" if len(run.symbols) > MOST_SYMBOLS else ""
        ran = f"{row.runs:>4} {_time(row.started_at) or '-':<8} {_time(run.ended_at) or '-':<8}"
        yield f"{run.date} {run.venue:<9} {cells} {ran} {symbols}{more}"
    yield "(to -: it runs still, or was killed)"


def list_plain(row: Listed) -> dict[str, Any]:
    """For machines."""
    return {
        "date": row.run.date.isoformat(),
        "venue": row.run.venue,
        "host": row.run.host,
        "symbols": list(row.run.symbols),
        "runs": row.runs,
        "started": new_york(row.started_at).isoformat(),
        "ended": new_york(row.run.ended_at).isoformat() if row.run.ended_at else None,
        **plain(row.numbers, LISTED),
    }


def _time(at: int | None) -> str:
    return f"{new_york(at):%H:%M:%S}" if at else ""
