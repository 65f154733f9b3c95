"""Many sessions reported as one: `--from`, `--to`, `--month`, `--days`. Those of each venue apart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from scalp.backtest.output import outcome, statistics_table
from scalp.core.decimals import ZERO
from scalp.core.errors import UserError
from scalp.core.fees import FeeSchedule
from scalp.core.words import counted
from scalp.journal.brief import BriefDay
from scalp.journal.reader import JournaledDay
from scalp.report import speed
from scalp.report.choice import Session, newest_of_each_day
from scalp.results.totals import Results

VENUE_WORDS = {"simulated": "SIMULATED sessions", "paper": "paper sessions", "live": "sessions with REAL MONEY"}


class Months:
    """The sessions of one venue, oldest first: of a day that was played more than once the last time.

    `symbols`: only these; none: all. `kind` is how much of each day is read. Raises UserError.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        sessions: Sequence[Session],
        symbols: Sequence[str] = (),
        kind: type[JournaledDay] = BriefDay,
    ) -> None:
        self.venue = sessions[0][0].venue
        chosen = newest_of_each_day(sessions)
        self.replayed = len(sessions) - len(chosen)
        traded = [{symbol for run in runs for symbol in run.symbols} for runs in chosen]
        if unknown := [symbol for symbol in symbols if not any(symbol in of_day for of_day in traded)]:
            raise UserError(f"{', '.join(unknown)} did not trade in these {VENUE_WORDS[self.venue]}")
        self.days = [
            kind(connection, runs, [symbol for symbol in symbols if symbol in of_day])
            for runs, of_day in zip(chosen, traded, strict=True)
            if not symbols or of_day.intersection(symbols)
        ]
        self.fees = FeeSchedule(
            self.days[-1].fees.name, tuple((d.session.date, d.fees.on(d.session.date)) for d in self.days)
        )
        self.results = Results((one for day in self.days for one in day.days()), self.fees, self.lot)
        self.symbols = list(self.results.by_symbol())
        trades = speed.read_trades(connection, [run.id for day in self.days for run in day.runs], self.symbols)
        self.results.name_reasons(speed.reasons(trades))
        self.links = speed.links(trades)

    @property
    def lot(self) -> Decimal | None:
        """Dollars, where all sessions had the same."""
        lots = {day.facts.lot for day in self.days}
        return lots.pop() if len(lots) == 1 else None

    @property
    def title(self) -> str:
        first, last = (day.session.date for day in (self.days[0], self.days[-1]))
        lot = "different lots" if self.lot is None else f"lot ${self.lot:f}"
        algos = list(dict.fromkeys(day.facts.algo for day in self.days))
        algo = algos[-1] if len(algos) == 1 else f"{len(algos)} algos, {algos[-1]} the last"
        days = counted(len(self.days), "day")
        return f"{VENUE_WORDS[self.venue]} from {first} to {last}: {days}, {lot}, {algo}"

    @property
    def notes(self) -> list[str]:
        """Each with its day."""
        found = [f"{day.session.date}: {note}" for day in self.days for note in day.notes]
        if self.replayed:
            words = "session of a day that was played again is"
            if self.replayed > 1:
                words = "sessions of days that were played again are"
            found.append(f"{self.replayed} earlier {words} left out")
        return found

    def charged(self) -> dict[str, Decimal]:
        """Dollars that the broker took, by kind, as far as they were reported to any run."""
        total: dict[str, Decimal] = {}
        for day in self.days:
            for kind, amount in day.charged().items():
                total[kind] = total.get(kind, ZERO) + amount
        return total

    def lines(self) -> Iterator[str]:
        """The report."""
        yield self.title
        yield ""
        yield from statistics_table(self.results)
        yield ""
        yield from speed.table(self.links)
        yield from ("" for _ in self.links[:1])
        reckoned = sum((charges.billed.total for charges in self.results.charges.values()), ZERO)
        charged = self.charged()
        told = f"charged {sum(charged.values(), ZERO):.2f}" if charged else "none charged by now"
        yield f"fees: reckoned {reckoned:.2f}, {told}"
        for note in self.notes:
            yield f"note: {note}"

    def plain(self) -> dict[str, Any]:
        """For machines."""
        return {
            "from": self.days[0].session.date.isoformat(),
            "to": self.days[-1].session.date.isoformat(),
            "days": len(self.days),
            "symbols": self.symbols,
            **outcome(self.results),
            "charged": {kind: float(amount) for kind, amount in self.charged().items()},
            "speed": [speed.plain(link) for link in self.links],
            "notes": self.notes,
        }
