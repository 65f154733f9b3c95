"""What speed earned: how long each link from a fill to its sell took, and what the price did then and afterwards."""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from scalp.core.events import MARKOUTS
from scalp.core.units import MILLISECOND
from scalp.results.html import Markout


class Link(Struct, frozen=True):
    """Of `count` trades: ms at the median and the 99th percentile (None: no link), the price beside that of the fill.

    `moved` is the average, in cents a share, by which the last trade was above the entry (or the exit) price.
    """

    name: str
    count: int
    median: float | None
    p99: float | None
    moved: float | None


_LINKS = (
    ("fill to received", "filled_at", "received_at", "received_price"),
    ("received to decided", "received_at", "decided_at", "received_price"),
    ("decided to sell sent", "decided_at", "sent_at", "sent_price"),
    ("sent to acknowledged", "sent_at", "acknowledged_at", "acknowledged_price"),
    ("acknowledged to filled", "acknowledged_at", "exit_time", "exit_price"),
)


def read_trades(connection: sqlite3.Connection, runs: Sequence[int], symbols: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of the view `trades` of what these runs entered in these symbols."""
    connection.row_factory = sqlite3.Row
    try:
        marks = ", ".join("?" * len(symbols))
        numbers = ", ".join(map(str, runs))
        select = f"SELECT * FROM trades WHERE run IN ({numbers}) AND symbol IN ({marks}) ORDER BY exit_time"
        return [dict(row) for row in connection.execute(select, symbols)]
    finally:
        connection.row_factory = None


def reasons(trades: Sequence[dict[str, Any]]) -> dict[tuple[str, int], str]:
    """Why each was left, by symbol and time of the entry, a sell at its limit called as a backtest calls it."""
    return {
        (trade["symbol"], trade["entry_time"]): "sell" if trade["exit_reason"] == "limit" else trade["exit_reason"]
        for trade in trades
        if trade["exit_reason"]
    }


def markouts(found: Sequence[Link]) -> list[Markout]:
    """Of these links those that have a time after an entry or an exit."""
    by_name = {link.name: link.moved for link in found}
    return [
        Markout(side, seconds, moved)
        for side in ("entry", "exit")
        for seconds in MARKOUTS
        if (moved := by_name.get(after(seconds, side))) is not None
    ]


def after(seconds: int, side: str) -> str:
    """The name of the link."""
    return f"{seconds} s after the {side}"


def links(trades: Sequence[dict[str, Any]]) -> list[Link]:
    """What came of each link in these rows of the view `trades`."""
    found = []
    for name, start, end, price in _LINKS:
        times = sorted((t[end] - t[start]) / MILLISECOND for t in trades if None not in (t[start], t[end]))
        p99 = times[min(len(times) * 99 // 100, len(times) - 1)] if times else None
        median = statistics.median(times) if times else None
        found.append(Link(name, len(times), median, p99, _moved(trades, price, "entry_price")))
    for side in ("entry", "exit"):
        for seconds in MARKOUTS:
            name = f"{side}_{seconds}"
            count = sum(trade[name] is not None for trade in trades)
            moved = _moved(trades, name, f"{side}_price")
            found.append(Link(after(seconds, side), count, None, None, moved))
    return [link for link in found if link.count]


def _moved(trades: Sequence[dict[str, Any]], name: str, than: str) -> float | None:
    moves = [(trade[name] - trade[than]) * 100 for trade in trades if trade[name] is not None]
    return statistics.fmean(moves) if moves else None


def table(found: Sequence[Link]) -> Iterator[str]:
    """The lines, none where nothing was looked at."""
    if not found:
        return
    yield f"{'what speed earned':<24} {'trades':>6} {'median ms':>11} {'p99 ms':>11} {'cents a share':>13}"
    for link in found:
        moved = "-" if link.moved is None else f"{link.moved:+.2f}"
        times = ("" if ms is None else f"{ms:.2f}" for ms in (link.median, link.p99))
        yield f"{link.name:<24} {link.count:>6} " + " ".join(f"{ms:>11}" for ms in times) + f" {moved:>13}"
    yield "(cents: the last trade then above the entry, or the exit, price, on average;"
    yield " a buy that filled in part is sold when it has ended: that is in the p99)"


def plain(link: Link) -> dict[str, Any]:
    """For machines."""
    return {
        "link": link.name,
        "trades": link.count,
        "median_ms": link.median,
        "p99_ms": link.p99,
        "cents_a_share": link.moved,
    }
