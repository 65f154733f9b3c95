"""What happened in a session, as a table of plain text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from decimal import Decimal

from scalp.core.decimals import ZERO
from scalp.core.fleet import Fleet
from scalp.core.takings import Taken
from scalp.core.words import counted

ALL_ROWS = 50  # up to so many symbols each have a row; with more only those in which something happened

# Heads, and how their cells are set: 80 columns at most.
_COLUMNS = (
    ("symbol", "<8"),
    ("trades", ">6"),
    ("shares", ">6"),
    ("gross $", ">9"),
    ("fees $", ">7"),
    ("net $", ">10"),
    ("held", ">5"),
    ("exit ms", ">7"),
    ("p99", ">6"),
    ("worst", ">6"),
)


class Total:
    """What all symbols of one or more sessions brought, restarts included; `rounding` is that of the fees of a day."""

    def __init__(self) -> None:
        self.taken, self.rounding = Taken(), ZERO

    def add(self, fleet: Fleet) -> None:
        of_session = Taken()
        for algo in fleet.algos.values():
            of_session += fleet.takings.of(algo.ledger)
        self.taken += of_session
        self.rounding += of_session.charges.rounding

    @property
    def fees(self) -> Decimal:
        """As they are charged."""
        return self.taken.charges.total + self.rounding

    @property
    def net(self) -> Decimal:
        return self.taken.profit - self.fees

    def __str__(self) -> str:
        taken = self.taken
        money = f"gross $ {taken.profit:+.2f}, fees $ {self.fees:.2f}, net $ {self.net:+.2f}"
        shares = f"{taken.shares.normalize():f} share{'s' * (taken.shares != 1)}"
        return f"{counted(taken.trades, 'trade')}, {shares}, {money}"


def summary(fleet: Fleet) -> Iterator[str]:
    """The lines of the table: per symbol what it brought today, and the fill-to-exit latency in this process."""
    yield _line(*(head for head, _ in _COLUMNS))
    total = Total()
    total.add(fleet)
    for symbol, algo in fleet.algos.items():
        taken = fleet.takings.of(algo.ledger)
        if len(fleet.algos) > ALL_ROWS and not (taken.held or taken.shares):
            continue
        yield _row(symbol, taken, taken.charges.total, taken.net, fleet.orders.fill_to_exit.get(symbol, []))
    if total.rounding:
        yield _line("rounding", "", "", "", f"{total.rounding:.4f}", f"{-total.rounding:+.4f}", "", "", "", "").rstrip()
    everything = [seconds for latencies in fleet.orders.fill_to_exit.values() for seconds in latencies]
    yield _row("total", total.taken, total.fees, total.net, everything)


def _row(name: str, taken: Taken, fees: Decimal, net: Decimal, latencies: list[float]) -> str:
    return _line(
        name,
        str(taken.trades),
        f"{taken.shares.normalize():f}",
        f"{taken.profit:+.2f}",
        f"{fees:.4f}",
        f"{net:+.4f}",
        f"{taken.held.normalize():f}",
        *(text.removesuffix(" ms") for text in times(latencies)),
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
