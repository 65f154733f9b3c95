"""Alpaca's JSON to the program's own types: tolerant of what is missing, unknown or of another type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from scalp.core.decimals import amount_or_none, decimal_or_none
from scalp.core.orders import OrderReport, PositionReport, known
from scalp.core.units import MINUTE, SECOND

# 1900 and 2200: a year that no calendar has could not be shown anywhere.
EARLIEST, LATEST = -2_208_988_800 * SECOND, 7_258_118_400 * SECOND
LONGEST_TEXT = 200  # characters: longer ones are no id and no symbol
MOST_LEGS = 10  # of one order
LONGEST_WORD = 40  # of a side, a kind, a status


@lru_cache(maxsize=8192)  # prints of an instant, and orders that are listed again and again
def parse_time_ns(text: str) -> int:
    """RFC 3339 with up to 9 fractional digits, `Z` or an offset, to ns since the epoch, exactly. Raises ValueError."""
    seconds, rest = text[16:19], text[19:]
    if len(seconds) != 3 or seconds[0] != ":" or not rest:
        raise ValueError("not a time in RFC 3339")
    if rest[-1] in "Zz":
        fraction, offset = rest[:-1], 0
    else:
        fraction, offset = rest[:-6], _offset_ns(rest[-6:])
    ns = 0
    if fraction:
        if fraction[0] != ".":
            raise ValueError("not a time in RFC 3339")
        ns = int(fraction[1:10].ljust(9, "0"))
    at = _minute_ns(text[:16]) + int(seconds[1:]) * SECOND + ns - offset
    if not EARLIEST <= at < LATEST:
        raise ValueError("not a time of this market")
    return at


@lru_cache(maxsize=4096)
def _minute_ns(text: str) -> int:
    # Almost every time that arrives lies in a minute already seen.
    at = datetime.strptime(text.replace("t", "T"), "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
    return int(at.timestamp()) * SECOND


def _offset_ns(text: str) -> int:
    if text[0] not in "+-" or text[3] != ":":
        raise ValueError("not a time in RFC 3339")
    minutes = int(text[1:3]) * 60 + int(text[4:6])
    return minutes * MINUTE if text[0] == "+" else -minutes * MINUTE


def format_time_ns(at: int) -> str:
    """`at` (ns since the epoch) as RFC 3339 in UTC, with nine decimals unless it is a whole second."""
    seconds, ns = divmod(at, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ns:09d}Z" if ns else f"{text}Z"


def time_or_none(value: object) -> int | None:
    """RFC 3339 text as ns, or None if it is absent or no time."""
    try:
        return parse_time_ns(value) if isinstance(value, str) else None
    except (ValueError, IndexError):
        return None


def text_of(value: object) -> str:
    """`value` if it is text; "" for anything else, and for text that is longer than any id or symbol."""
    return value if isinstance(value, str) and len(value) <= LONGEST_TEXT else ""


def word_of(value: object) -> str:
    """The same for one of a few words."""
    return value if isinstance(value, str) and len(value) <= LONGEST_WORD else ""


class OrderFields(Struct, gc=False):
    """What is read of an order object; nothing is required, and each may be of any type."""

    symbol: Any = None
    id: Any = None
    client_order_id: Any = None
    side: Any = None
    type: Any = None
    order_type: Any = None
    status: Any = None
    qty: Any = None
    filled_qty: Any = None
    filled_avg_price: Any = None
    limit_price: Any = None
    submitted_at: Any = None
    filled_at: Any = None
    updated_at: Any = None
    canceled_at: Any = None
    replaced_by: Any = None
    replaces: Any = None
    time_in_force: Any = None
    position_intent: Any = None
    stop_price: Any = None
    legs: Any = None


class UpdateFields(Struct, gc=False):
    """What is read of an order update besides its order."""

    order: OrderFields
    event: Any = None
    execution_id: Any = None
    price: Any = None
    qty: Any = None
    timestamp: Any = None
    at: Any = None


def order_report(order: Mapping[str, Any] | OrderFields, update: UpdateFields | None = None) -> OrderReport:
    """An order object of Alpaca's, with the fields of the update that carried it if it came by the stream.

    Nothing is required, nothing unknown matters; what is missing becomes None or "".
    """
    if not isinstance(order, OrderFields):
        order = msgspec.convert(order, OrderFields)
    if update is None:
        event, execution_id, price, quantity = "", None, None, None
        at = time_or_none(order.filled_at)
        if at is None and order.status == "partially_filled":
            at = time_or_none(order.updated_at)
    else:
        event = word_of(update.event)
        execution_id = text_of(update.execution_id) or None
        price = amount_or_none(update.price)
        quantity = amount_or_none(update.qty)
        # When it happened; failing that, when it was reported.
        at = time_or_none(update.timestamp) or time_or_none(update.at)
    return OrderReport(
        symbol=text_of(order.symbol),
        id=text_of(order.id),
        client_order_id=text_of(order.client_order_id),
        side=known(word_of(order.side)),
        type=word_of(order.type) or word_of(order.order_type),
        status=known(word_of(order.status)),
        qty=amount_or_none(order.qty),
        filled_qty=amount_or_none(order.filled_qty),
        filled_avg_price=amount_or_none(order.filled_avg_price),
        limit_price=amount_or_none(order.limit_price),
        submitted_at=time_or_none(order.submitted_at),
        replaced_by=text_of(order.replaced_by) or None,
        replaces=text_of(order.replaces) or None,
        time_in_force=word_of(order.time_in_force),
        event=event,
        execution_id=execution_id,
        price=price,
        execution_qty=quantity,
        at=at,
        closes=order.position_intent in ("sell_to_close", "buy_to_close"),
        canceled_at=time_or_none(order.canceled_at),
        stop_price=amount_or_none(order.stop_price),
        legs=_legs(order) if order.legs else (),
    )


def _legs(parent: OrderFields) -> tuple[OrderReport, ...]:
    """The legs that come inside an order; one without an id, or of another symbol, is left out."""
    rows = parent.legs if isinstance(parent.legs, list) else []
    reports = [order_report({**row, "legs": None}) for row in rows[:MOST_LEGS] if isinstance(row, dict)]
    ids = {"parent_id": text_of(parent.id), "parent_client_id": text_of(parent.client_order_id)}
    symbol = text_of(parent.symbol)
    return tuple(replace(leg, **ids) for leg in reports if leg.id and leg.symbol == symbol and symbol)


def order_rows(row: Mapping[str, Any]) -> tuple[OrderReport, ...]:
    """A row of a nested listing as rows of its own: the order, then its legs."""
    report = order_report(row)
    return (replace(report, legs=()), *report.legs)


def position_report(position: Mapping[str, Any]) -> PositionReport | None:
    """A row of the position listing, `qty` signed; None without a symbol or a quantity."""
    symbol, qty = text_of(position.get("symbol")), decimal_or_none(position.get("qty"))
    if not symbol or qty is None:
        return None
    if position.get("side") == "short":
        qty = -abs(qty)
    entry_price = amount_or_none(position.get("avg_entry_price")) or Decimal(0)
    if entry_price <= 0 and qty and (cost := amount_or_none(position.get("cost_basis"))):
        entry_price = abs(cost / qty)
    return PositionReport(symbol, qty, entry_price, amount_or_none(position.get("current_price")))
