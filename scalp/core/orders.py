"""What the broker reports of orders and positions. Prices and quantities are Decimal, as the broker computes them."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Literal

from msgspec import Struct

OrderType = Literal["limit", "market"]


class Side(enum.StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderStatus(enum.StrEnum):
    """The statuses that decide anything; the broker has more of them."""

    NEW = "new"
    HELD = "held"  # a leg that may not act yet
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"
    DONE_FOR_DAY = "done_for_day"


# To ask an enum for a member costs more than to compare it: the hot paths use these.
BUY, SELL = Side
NEW, HELD, FILLED, CANCELED, EXPIRED, REJECTED, REPLACED, DONE_FOR_DAY = OrderStatus

# Statuses after which the broker does nothing more with an order today. Anything else, unknown words included, is
# treated as working.
FINAL_STATUSES = frozenset({FILLED, CANCELED, EXPIRED, REJECTED, REPLACED, DONE_FOR_DAY})

BUST = "trade_bust"  # kinds of updates: an execution is taken back, or corrected
TAKE_BACKS = frozenset({BUST, "trade_correct"})

_KNOWN: dict[str, str] = {word.value: word for word in (*Side, *OrderStatus)}


def known(word: str) -> str:
    """The broker's `word` as a `Side` or `OrderStatus`; an unknown one stays text, and decides nothing."""
    return _KNOWN.get(word, word)


class OrderReport(Struct, frozen=True):
    """What some source said of one order: an order update, a REST answer, a row of a listing.

    `filled_qty` and `filled_avg_price` are running totals (None: this source did not say). `price`, `execution_qty` and
    `execution_id` belong to one execution and only updates have them. `event` is the update's kind, or "" for REST.
    """

    symbol: str
    id: str
    client_order_id: str
    side: str  # a `Side`, or a word that the core does not know
    type: str
    status: str  # an `OrderStatus`, or another word
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
    legs: tuple[OrderReport, ...] = ()  # those that this source reported with it


class PositionReport(Struct, frozen=True):
    """A position as the broker lists it; `qty` is signed, prices in dollars a share.

    `current_price` is that of the last trade, None where the listing does not say.
    """

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal
    current_price: Decimal | None = None
