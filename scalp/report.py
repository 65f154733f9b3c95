"""What happened in a session, as a table of plain text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from decimal import Decimal

from scalp.fleet import Fleet

ALL_ROWS = 50  # up to as many symbols each have a row; with more only those in which something happened

_ROW = "{:<8} {:>6} {:>8} {:>12} {:>8} {:>15} {:>14}"


def summary(fleet: Fleet) -> Iterator[str]:
    """The lines of the table: per symbol round trips, shares sold, gross profit, shares held, fill -> sell reaction."""
    yield _ROW.format("symbol", "trades", "shares", "gross P/L $", "held", "reaction median", "reaction worst")
    total_trades, total_shares, total_profit, total_held = 0, Decimal(0), Decimal(0), Decimal(0)
    for symbol, algo in fleet.algos.items():
        ledger = algo.ledger
        total_trades += ledger.round_trips
        total_shares += ledger.shares_sold
        total_profit += ledger.realised
        total_held += ledger.position
        if len(fleet.algos) > ALL_ROWS and not (ledger.position or ledger.shares_sold):
            continue
        yield _row(symbol, ledger.round_trips, ledger.shares_sold, ledger.realised, ledger.position,
                   fleet.reactions.get(symbol, []))  # fmt: skip
    everything = [seconds for reactions in fleet.reactions.values() for seconds in reactions]
    yield _row("total", total_trades, total_shares, total_profit, total_held, everything)


def _row(name: str, trades: int, shares: Decimal, profit: Decimal, held: Decimal, reactions: list[float]) -> str:
    return _ROW.format(
        name,
        trades,
        f"{shares.normalize():f}",
        f"{profit:+.2f}",
        f"{held.normalize():f}",
        f"{statistics.median(reactions) * 1000:.2f} ms" if reactions else "-",
        f"{max(reactions) * 1000:.2f} ms" if reactions else "-",
    )
