"""The columns of results, a line each: text tables, JSON, CSV and the page all show these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from scalp.core.clock import new_york
from scalp.core.trades import RoundTrip


class Kind(Struct, frozen=True):
    """How a number is written: for people as text, for machines as a JSON number."""

    text: Callable[[Any], str]
    plain: Callable[[Any], int | float]


class Column(Struct, frozen=True):
    """One of the numbers that results come to.

    `attribute` is where `Numbers` has it, or whatever else comes to some of the same. JSON and CSV call it `name`, a
    text table `head`, set right and `width` characters wide, and the page `title`. Without a head it is in no table.
    """

    name: str
    attribute: str
    kind: Kind
    head: str = ""
    width: int = 0
    title: str = ""

    def text(self, numbers: Any) -> str:
        """For people; "-" where there is none."""
        value = getattr(numbers, self.attribute)
        return "-" if value is None else self.kind.text(value)

    def plain(self, numbers: Any) -> int | float | None:
        """For JSON and CSV, rounded."""
        value = getattr(numbers, self.attribute)
        return None if value is None else self.kind.plain(value)

    def exact(self, numbers: Any) -> int | float | None:
        """What a table of the page is sorted by."""
        value = getattr(numbers, self.attribute)
        return value if value is None or isinstance(value, int) else float(value)


def dollars(amount: Any) -> float:
    """An amount for machines. An average over partial fills has no end; a millionth is finer than any price."""
    return round(float(amount), 6) + 0.0  # no minus zero


def iso(at: int) -> str:
    """`at` (ns) in New York, with its offset."""
    return new_york(at).isoformat()


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def _part(value: float) -> float:
    return round(value, 6)


COUNT = Kind(str, int)
GAIN = Kind("{:+.2f}".format, dollars)
FINE_GAIN = Kind("{:+.4f}".format, dollars)
FINE_AMOUNT = Kind("{:.4f}".format, dollars)
AMOUNT = Kind("{:.2f}".format, dollars)
RATE = Kind("{:.0%}".format, _part)
FINE_RATE = Kind("{:.1%}".format, _part)
TIME = Kind(_minutes, lambda seconds: round(seconds, 3))

COLUMNS = (
    Column("trades", "trades", COUNT, "trades", 6, "trades"),
    Column("win_rate", "win_rate", RATE, "win", 4, "win rate"),
    Column("pnl", "pnl", GAIN, "gross $", 9, "gross $"),
    Column("fees", "fees", FINE_AMOUNT, "fees $", 8, "fees $"),
    Column("rounding", "rounding", FINE_AMOUNT),
    Column("net", "net", FINE_GAIN, "net $", 10, "net $"),
    Column("average_net", "average", GAIN, "average $", 9, "average $"),
    Column("worst_net", "worst", GAIN, "worst $", 8, "worst $"),
    Column("average_hold_seconds", "hold_seconds", TIME, "hold", 9, "hold"),
    Column("exposure", "exposure", FINE_RATE, "exposed", 8, "exposed"),
    Column("drawdown", "drawdown", AMOUNT, "drawdown", 8, "drawdown $"),
    Column("buys", "buys", COUNT, "buys", 5, "buys"),
    Column("unfilled_buys", "unfilled_buys", COUNT, "unfilled", 8, "unfilled"),
    Column("liquidations", "liquidations", COUNT, "liquidated", 10, "liquidated"),
    Column("held", "held", COUNT, "held", 5, "held"),
    Column("bars", "bars", COUNT),
)

SHOWN = tuple(column for column in COLUMNS if column.head)

# Of each trade, in JSON and CSV.
TRADE_FIELDS: dict[str, Callable[[RoundTrip], Any]] = {
    "symbol": lambda trade: trade.symbol,
    "qty": lambda trade: int(trade.qty),
    "entry_time": lambda trade: iso(trade.entry_time),
    "entry_price": lambda trade: dollars(trade.entry_price),
    "exit_time": lambda trade: iso(trade.exit_time),
    "exit_price": lambda trade: dollars(trade.exit_price),
    "pnl": lambda trade: dollars(trade.pnl),
    "reason": lambda trade: trade.reason,
    "fees": lambda trade: dollars(trade.fees),
    "net": lambda trade: dollars(trade.net),
}


def columns(*names: str) -> tuple[Column, ...]:
    """Those of these names, in this order."""
    by_name = {column.name: column for column in COLUMNS}
    return tuple(by_name[name] for name in names)


# Two tables of text, each fits a terminal: what it came to, and how.
MONEY = columns("trades", "win_rate", "pnl", "fees", "net", "average_net", "worst_net", "drawdown")
MANNER = columns("average_hold_seconds", "exposure", "buys", "unfilled_buys", "liquidations", "held")


def plain(numbers: Any, of: tuple[Column, ...] = COLUMNS) -> dict[str, int | float | None]:
    """`numbers` by name, for JSON and CSV."""
    return {column.name: column.plain(numbers) for column in of}
