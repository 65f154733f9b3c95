"""What a report shows, wherever it comes from. Every text is data: the page escapes all of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from scalp.core.market_data import Bar
from scalp.core.trades import Holding, RoundTrip
from scalp.results.symbol_day import Stopped


class OrderEnd(Struct, frozen=True):
    """An order that ended without having filled whole, at `at` (ns UTC); `price` is its limit, None for market orders.

    `status` says how: "canceled", "expired", "rejected", "refused" or whatever else the broker calls it.
    """

    symbol: str
    side: str
    status: str
    at: int
    price: Decimal | None = None


class Line(Struct, frozen=True):
    """A line in the chart of `symbol`: `points` are (start of a bar in ns UTC, value), oldest first.

    It is drawn over the prices if its values lie among them, else below them.
    """

    symbol: str
    name: str
    points: Sequence[tuple[int, float]]


class DaySum(Struct, frozen=True):
    """What a day came to: dollars after fees, and closed trades."""

    date: dt.date
    net: float
    trades: int


class Markout(Struct, frozen=True):
    """How far the last trade was from the price of an entry (or exit) `seconds` after it: cents a share, on average."""

    side: str
    seconds: int
    cents: float


class Cell(Struct, frozen=True):
    """A number in a table: as it is written, and what it is sorted by (None: after all others)."""

    text: str
    value: float | None = None


class Table(Struct, frozen=True):
    """A small table of results; its first column names the row. `remarks` are sentences that go before it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    remarks: Sequence[str] = ()


class Report(Struct, frozen=True):
    """All that one page shows. Times are ns UTC; the page writes them as New York's.

    `bars` hold any number of days of each symbol, oldest first; the chart shows one symbol and day at a time.
    `equity` is the profit of all symbols together, as (ns, millionths of a dollar since the beginning), oldest first;
    where there is none it is made of the trades, a step at each exit. `assumptions` are texts, numbers or lists.
    `average` is the number of bars in the average of the closes that the algo looks at, None where it looks at none.
    """

    title: str
    subtitle: str
    bars: Mapping[str, Sequence[Bar]]
    trades: Sequence[RoundTrip]
    held: Sequence[Holding] = ()
    orders: Sequence[OrderEnd] = ()
    equity: Sequence[tuple[int, int]] = ()
    numbers: Sequence[tuple[str, str]] = ()  # name and value, for the top of the page
    more_numbers: Sequence[tuple[str, str]] = ()  # those that are folded away
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()  # sentences that must not be overlooked
    assumptions: Mapping[str, object] = {}
    versions: Mapping[str, str] = {}
    verdict: str = ""  # one sentence
    average: int | None = None
    lines: Sequence[Line] = ()
    stopped: Sequence[Stopped] = ()
    days: Sequence[DaySum] = ()
    markouts: Sequence[Markout] = ()
