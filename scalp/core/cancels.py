"""Cancels, and when they are asked for again."""

from __future__ import annotations

from collections.abc import Iterable

from scalp.core.commands import CancelOrder
from scalp.core.order_state import Order
from scalp.core.units import SECOND

CANCEL_AGAIN = 5 * SECOND  # an order is cancelled again while no fact shows that it has ended


def cancel(order: Order, at: int) -> CancelOrder:
    """Ask for a cancel of `order`, and with it of its group, and note when."""
    for other in order.group:
        other.cancel_sent_at = at
    return CancelOrder(order.symbol, order.client_order_id, order.id)


def cancel_due(orders: Iterable[Order], at: int) -> list[CancelOrder]:
    """Ask for a cancel of those that were not cancelled a moment ago."""
    return [cancel(order, at) for order in orders if at - order.cancel_sent_at >= CANCEL_AGAIN]
