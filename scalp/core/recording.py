"""Reports what happens to orders and positions, so that it can be written down."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from scalp.core.bus import EventBus
from scalp.core.commands import Action
from scalp.core.events import (
    OrderDecided,
    OrderFailed,
    OrderMoved,
    OrderReported,
    OrdersListed,
    PositionTaken,
)
from scalp.core.ledger import Ledger
from scalp.core.orders import OrderReport


class Recording:
    """Reports to `bus`: each method when its actions are out, except `refused` and `decided`."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._now = bus.now

    def decided(self, actions: Sequence[Action], at: int) -> None:
        """`actions` were decided at `at`, before they were sent."""
        for action in actions:
            self._bus.tell(OrderDecided(at, action))

    def refused(self, symbol: str, key: str, why: str, at: int) -> None:
        """A risk rule refused an order that was decided."""
        self._bus.tell(OrderFailed(symbol, at, key, "rail", why))

    def reported(self, ledger: Ledger, report: OrderReport, before: Decimal, at: int) -> None:
        """`report` was taken in; the position was `before`."""
        self._bus.tell(OrderReported(at, report))
        if moved := moved_by(ledger, report, before, at):
            self._bus.tell(moved)
        self._bus.settle()

    def listed(self, ledger: Ledger, reports: Sequence[OrderReport]) -> None:
        """What was listed at the start was taken over."""
        self._bus.tell(OrdersListed(self._now(), reports))
        self.position(ledger)

    def position(self, ledger: Ledger) -> None:
        """Something other than a fill may have moved the position."""
        self._bus.tell(PositionTaken(ledger.symbol, self._now(), ledger.position, ledger.entry_price))
        self._bus.settle()

    def failed(self, symbol: str, key: str, kind: str, why: str) -> None:
        self._bus.tell(OrderFailed(symbol, self._now(), key, kind, why))
        self._bus.settle()


def moved_by(ledger: Ledger, report: OrderReport, before: Decimal, at: int) -> OrderMoved | None:
    """What `report` did, after it was taken in; None if its order has filled nothing yet."""
    order = ledger.find(report.id) or ledger.find(report.client_order_id)
    if order is None or not order.filled_qty:
        return None
    return OrderMoved(
        at=at,
        report=report,
        symbol=ledger.symbol,
        id=order.id,
        client_order_id=order.client_order_id,
        side=order.side,
        type=order.type,
        limit_price=order.limit_price,
        filled_qty=order.filled_qty,
        filled_avg_price=order.filled_avg_price,
        moved=ledger.position - before,
        position=ledger.position,
    )
