"""Cancels, and when they are asked for again."""

from __future__ import annotations

from collections.abc import Iterable

from scalp.core.commands import CancelOrder
from scalp.core.order_state import Order
from scalp.core.units import SECOND

CANCEL_AGAIN = 5 * SECOND  # a cancel of which no fact has told the end is asked for again


def cancel(order: Order, at: int) -> CancelOrder:
    """Ask for a cancel of `order`, and with it of its group, and note when."""
    for other in order.group:
        other.cancel_sent_at = at
    return CancelOrder(order.symbol, order.client_order_id, order.id)


def cancel_due(orders: Iterable[Order], at: int) -> list[CancelOrder]:
    """Ask for a cancel of those of which it was not asked a moment ago."""
    return [cancel(order, at) for order in orders if at - order.cancel_sent_at >= CANCEL_AGAIN]
