"""What happened in a session, as a table of plain text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from decimal import Decimal

from scalp.core.fleet import Fleet

ALL_ROWS = 50  # up to as many symbols each have a row; with more only those in which something happened

# Heads, and how their cells are set.
_COLUMNS = (
    ("symbol", "<8"),
    ("trades", ">6"),
    ("shares", ">8"),
    ("gross P/L $", ">12"),
    ("held", ">8"),
    ("reaction median", ">15"),
    ("p99", ">10"),
    ("worst", ">10"),
)


class Total:
    """Round trips, shares sold, gross profit (dollars) and shares held, of all symbols of one or more sessions."""

    def __init__(self) -> None:
        self.trades, self.shares, self.profit, self.held = 0, Decimal(0), Decimal(0), Decimal(0)

    def add(self, fleet: Fleet) -> None:
        for algo in fleet.algos.values():
            self.trades += algo.ledger.round_trips
            self.shares += algo.ledger.shares_sold
            self.profit += algo.ledger.realised
            self.held += algo.ledger.position

    def __str__(self) -> str:
        return f"{self.trades} trades, {self.shares.normalize():f} shares, gross P/L $ {self.profit:+.2f}"


def summary(fleet: Fleet) -> Iterator[str]:
    """The lines of the table: per symbol round trips, shares sold, gross profit, shares held, fill -> sell reaction."""
    yield _line(*(head for head, _ in _COLUMNS))
    total = Total()
    total.add(fleet)
    for symbol, algo in fleet.algos.items():
        ledger = algo.ledger
        if len(fleet.algos) > ALL_ROWS and not (ledger.position or ledger.shares_sold):
            continue
        yield _row(symbol, ledger.round_trips, ledger.shares_sold, ledger.realised, ledger.position,
                   fleet.reactions.get(symbol, []))  # fmt: skip
    everything = [seconds for reactions in fleet.reactions.values() for seconds in reactions]
    yield _row("total", total.trades, total.shares, total.profit, total.held, everything)


def _row(name: str, trades: int, shares: Decimal, profit: Decimal, held: Decimal, reactions: list[float]) -> str:
    return _line(
        name,
        str(trades),
        f"{shares.normalize():f}",
        f"{profit:+.2f}",
        f"{held.normalize():f}",
        *times(reactions),
    )


def _line(*cells: str) -> str:
    return " ".join(f"{cell:{setting}}" for cell, (_, setting) in zip(cells, _COLUMNS, strict=True))


def times(seconds: list[float]) -> tuple[str, str, str]:
    """Median, 99th percentile and worst, as text in milliseconds."""
    if not seconds:
        return "-", "-", "-"
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    return f"{statistics.median(ordered) * 1000:.2f} ms", f"{p99 * 1000:.2f} ms", f"{ordered[-1] * 1000:.2f} ms"
