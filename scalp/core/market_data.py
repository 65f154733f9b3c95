"""What the feeds report: bars, trades, corrections of trades, halts.

Every time is exchange time in integer nanoseconds since the epoch, UTC; every event carries its own, so the core never
reads a clock. Prices are floats, as the feeds send them.
"""

from __future__ import annotations

from msgspec import Struct


class Bar(Struct, frozen=True, gc=False):
    """One finished minute of trading. `start` is the first instant of the minute; `volume` is in shares."""

    symbol: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Trade(Struct, frozen=True, gc=False):
    """One print that counts as last sale, made at `at` (exchange timestamp); `id` is the feed's, "" for none."""

    symbol: str
    at: int
    price: float
    size: float = 0.0
    id: int | str = ""


class TradeCorrection(Struct, frozen=True, gc=False):
    """The print `id` at `price` is no trade any more; `instead` is its right price, None if it never was.

    Where the feed gives no id, the print is the one that was made at `at`. `new_id` is that of the corrected print.
    """

    symbol: str
    price: float
    instead: float | None = None
    id: int | str = ""
    new_id: int | str = ""
    at: int = 0


class Halt(Struct, frozen=True, gc=False):
    """Trading in `symbol` was halted (`halted`) or goes on (not `halted`)."""

    symbol: str
    at: int
    halted: bool
    reason: str = ""
