"""What goes into the core (events) and what comes out of it (actions).

Every time is exchange time in integer nanoseconds since the epoch, UTC; every event carries its own, so the core never
reads a clock. Prices of bars and trades are floats, as the feeds send them; prices and quantities of orders are
Decimal, as the broker reckons them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

Side = Literal["buy", "sell"]
OrderType = Literal["limit", "market"]

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

# Statuses after which the broker does nothing more with an order today. Anything else, unknown words included, is
# treated as working.
FINAL_STATUSES = frozenset({"filled", "canceled", "expired", "rejected", "replaced", "done_for_day"})


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


class TradeGone(Struct, frozen=True, gc=False):
    """The print `id` at `price` is no trade any more; `instead` is its right price, None if it never was.

    Where the feed tells no id, the print is the one that was made at `at`. `new_id` is that of the print put right.
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


class OrderReport(Struct, frozen=True):
    """What some source said of one order: an order update, a REST answer, a row of a listing.

    `filled_qty` and `filled_avg_price` are running totals (None: this source did not say). `price`, `execution_qty` and
    `execution_id` belong to one execution and only updates have them. `event` is the update's kind, or "" for REST.
    """

    symbol: str
    id: str
    client_order_id: str
    side: str
    type: str
    status: str
    qty: Decimal | None = None
    filled_qty: Decimal | None = None
    filled_avg_price: Decimal | None = None
    limit_price: Decimal | None = None
    submitted_at: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    time_in_force: str = ""
    event: str = ""
    execution_id: str | None = None
    price: Decimal | None = None
    execution_qty: Decimal | None = None
    at: int | None = None  # when it happened, where the source says so
    closes: bool = False  # it ends a position, long or short, and opens none, by the broker's own word
    canceled_at: int | None = None  # exchange time, ns
    stop_price: Decimal | None = None
    # Of a leg: the broker's id and the client order id of the order it belongs to, "" where this source did not say.
    parent_id: str = ""
    parent_client_id: str = ""
    legs: tuple[OrderReport, ...] = ()  # those that this source told of with it


class PositionReport(Struct, frozen=True):
    """A position as the broker lists it; `qty` is signed, prices in dollars a share.

    `current_price` is that of the last trade, None where the listing does not tell.
    """

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal
    current_price: Decimal | None = None


class SubmitOrder(Struct, frozen=True):
    """Send this day order. `limit_price` is None for a market order.

    With a `stop_price` it is an exit of two legs, of which one cancels the other: a limit to take the profit, and a
    stop that sells at market. A buy that `covers` closes a short position, and never opens a long one.
    """

    symbol: str
    client_order_id: str
    side: Side
    qty: int
    type: OrderType
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    covers: bool = False


class CancelOrder(Struct, frozen=True):
    """Cancel this order; `id` is the broker's, "" while only our own id is known."""

    symbol: str
    client_order_id: str
    id: str = ""


class AskLastTrade(Struct, frozen=True):
    """Fetch the latest trade and hand it to `on_last_trade`: asked before a buy where no trades stream in."""

    symbol: str


class AskOrder(Struct, frozen=True):
    """Ask for this order by the broker's id: it should have moved by now."""

    symbol: str
    id: str


class MoveStop(Struct, frozen=True):
    """Change the stop of this working order to `stop_price`; `id` is the broker's."""

    symbol: str
    id: str
    stop_price: Decimal


Action = SubmitOrder | CancelOrder | AskLastTrade | AskOrder | MoveStop
