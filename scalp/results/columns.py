"""The columns of results, a line each: text tables, JSON, CSV and the page all show these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from scalp.core.clock import new_york
from scalp.core.trades import RoundTrip
from scalp.results.totals import TradeStatistics


class Kind(Struct, frozen=True):
    """How a number is written: for people as text, for machines as a JSON number."""

    text: Callable[[Any], str]
    plain: Callable[[Any], int | float]


class Column(Struct, frozen=True):
    """One of the numbers that results come to.

    `attribute` is where `Statistics` has it, or any other class with some of them. JSON and CSV call it `name`, a
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
FINEST_RATE = Kind("{:+.3%}".format, lambda value: round(value, 8))
RATIO = Kind("{:.2f}".format, _part)
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
    Column("won", "won", COUNT, "won", 5, "won"),
    Column("even", "even", COUNT, "even", 5, "even"),
    Column("lost", "lost", COUNT, "lost", 5, "lost"),
    Column("profit_factor", "profit_factor", RATIO, "factor", 7, "profit factor"),
    Column("expectancy", "expectancy", FINEST_RATE, "expected", 8, "expectancy"),
    Column("sqn", "sqn", RATIO, "SQN", 6, "SQN"),
    Column("cost_share", "cost_share", RATE, "costs", 6, "cost share"),
    Column("buy_and_hold", "buy_and_hold", GAIN, "buy&hold $", 10, "buy and hold $"),
    Column("average_hold_seconds", "hold_seconds", TIME, "hold", 9, "hold"),
    Column("exposure", "exposure", FINE_RATE, "exposed", 8, "exposed"),
    Column("drawdown", "drawdown", AMOUNT, "drawdown", 8, "drawdown $"),
    Column("longest_drawdown_days", "longest_drawdown", RATIO, "longest d", 9, "longest drawdown, days"),
    Column("under_water", "under_water", FINE_RATE, "under", 6, "under water"),
    Column("days", "days", COUNT, "days", 5, "days"),
    Column("sharpe", "sharpe", RATIO, "Sharpe", 7, "Sharpe"),
    Column("sortino", "sortino", RATIO, "Sortino", 7, "Sortino"),
    Column("calmar", "calmar", RATIO, "Calmar", 7, "Calmar"),
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
    """The columns of these names, in this order."""
    by_name = {column.name: column for column in COLUMNS}
    return tuple(by_name[name] for name in names)


# Tables of text, each fits a terminal: what it came to, and how; how good the trades were, and the days.
MONEY = columns("trades", "win_rate", "pnl", "fees", "net", "average_net", "worst_net", "drawdown")
MANNER = columns("average_hold_seconds", "exposure", "buys", "unfilled_buys", "liquidations", "held")
TRADES = columns("won", "even", "lost", "profit_factor", "expectancy", "sqn", "cost_share", "buy_and_hold")
DAYS = columns("days", "sharpe", "sortino", "calmar", "longest_drawdown_days", "under_water")
GROUP = columns("trades", "win_rate", "pnl", "fees", "net", "average_net", "worst_net", "profit_factor")

# At the top of a page.
TOP = columns(
    "net", "pnl", "fees", "trades", "win_rate", "average_net", "profit_factor", "drawdown", "exposure", "sharpe",
    "buy_and_hold",
)  # fmt: skip

# Those that trades alone come to, whatever they have in common.
OF_TRADES = tuple(column for column in COLUMNS if column.attribute in TradeStatistics.__struct_fields__)


def plain(numbers: Any, of: tuple[Column, ...] = COLUMNS) -> dict[str, int | float | None]:
    """`numbers` by name, for JSON and CSV."""
    return {column.name: column.plain(numbers) for column in of}
