"""All orders known in one symbol: how they are found, which of them are open, and which belong together."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from scalp.core.commands import SubmitOrder
from scalp.core.order_state import SENT, Order, is_missing_leg, join
from scalp.core.orders import FINAL_STATUSES, NEW, SELL, OrderReport


class OrderRegistry:
    """No order is ever forgotten: a fill may come after its end."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.version = 0  # counts every change of an order or of the position
        self._open: list[Order] = []  # the open ones, as of a version
        self._open_as_of = 0
        self._orders: list[Order] = []  # in the order they became known
        self._unsettled: list[Order] = []  # those the broker has not ended, as of the same version; and newer ones
        self._by_id: dict[str, Order] = {}
        self._by_client_id: dict[str, Order] = {}

    def find(self, key: str) -> Order | None:
        """The order with this broker's id or client order id."""
        return self._by_id.get(key) or self._by_client_id.get(key)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders)

    @property
    def open_orders(self) -> list[Order]:
        """Orders that may still fill, the oldest first; those whose outcome is unknown among them. Don't change it."""
        if self._open_as_of != self.version:
            # What the broker ended stays ended; what only we believe to be refused or lost may yet turn up.
            self._unsettled = [o for o in self._unsettled if o.status not in FINAL_STATUSES]
            self._open = sorted((o for o in self._unsettled if not o.has_ended), key=lambda o: (o.submitted_at, o.id))
            self._open_as_of = self.version
        return self._open

    def add_in_flight(self, action: SubmitOrder, at: int) -> Order:
        """Enter an order of our own before it is sent."""
        order = Order(
            symbol=self.symbol,
            client_order_id=action.client_order_id,
            id="",
            side=action.side,
            type=action.type,
            status=SENT,
            qty=Decimal(action.qty),
            limit_price=action.limit_price,
            submitted_at=at,
            is_own=True,
            is_since_adoption=True,
            stop_price=action.stop_price,
            is_cover=action.covers,
        )
        self._enter(order)
        return order

    def forget_client_id(self, order: Order) -> None:
        """The order is given up, and another is about to be sent under its client order id."""
        self._by_client_id.pop(order.client_order_id, None)

    def add_replacement(self, order_id: str, old: Order) -> Order:
        """The order that replaced `old`, known or entered by its id alone until a source reports more."""
        known = self._by_id.get(order_id)
        if known is not None:
            known.continues_fills |= old.has_moved_shares
            return known
        order = Order(
            symbol=self.symbol,
            client_order_id="",
            id=order_id,
            side=old.side,
            type=old.type,
            status=NEW,
            qty=None,
            limit_price=None,
            submitted_at=old.submitted_at,
            is_own=old.is_own,
            is_since_adoption=old.is_since_adoption,
            continues_fills=old.has_moved_shares,
        )
        self._enter(order)
        if old.parent is not None:
            join(order, old.parent)
        elif old.legs:
            order.legs, old.legs = old.legs, []
            for leg in order.legs:
                leg.parent = order
        return order

    def end(self, order: Order, status: str) -> None:
        """Note that an order of our own never came to be (`REFUSED` or `LOST`)."""
        if not order.has_ended:
            order.status = status
            self.version += 1

    def _enter(self, order: Order) -> None:
        self._orders.append(order)
        self._unsettled.append(order)
        if order.id:
            self._by_id[order.id] = order
        if order.client_order_id:
            self._by_client_id[order.client_order_id] = order
        self.version += 1

    def _learn_identity(self, order: Order, report: OrderReport) -> bool:
        """Fill in what was not known: the broker's id, and the terms of a replacement."""
        moved = False
        if report.id and not order.id:
            order.id = report.id
            self._by_id[report.id] = order
            moved = True
        if report.client_order_id and not order.client_order_id:
            order.client_order_id = report.client_order_id
            self._by_client_id[report.client_order_id] = order
            moved = True
        if order.qty is None and report.qty is not None:
            order.qty, order.limit_price, order.type = report.qty, report.limit_price, report.type
            order.stop_price = report.stop_price
            moved = True
        if report.replaced_by and not order.replaced_by:
            order.replaced_by = report.replaced_by
            moved = True
        return moved

    def _find_group(self, order: Order, report: OrderReport, is_new: bool) -> None:
        """Let a leg join its parent: by what the report says, by what it replaces, or else by its terms."""
        for told in report.legs:
            leg = self._by_id.get(told.id)
            if leg is not None and leg.parent is None and leg is not order:
                join(leg, order)
        if order.parent is not None or order.legs:
            return
        parent = self.find(report.parent_id) or self.find(report.parent_client_id)
        if parent is None and (replaced := self._by_id.get(report.replaces or "")):
            parent = replaced.parent
        if parent is None and is_new and order.stop_price is not None and order.side == SELL:
            # The stream reports a leg without saying whose it is, maybe before the answer to the POST does.
            parent = next((head for head in reversed(self._orders) if is_missing_leg(head, order)), None)
        if parent is not None and parent is not order:
            join(order, parent)
