"""The orders that have arrived, and what becomes of them: fills, elected stops, and what follows for a group.

`elect` and `end_leg` are the two places where one order of a group moves another one, and `FillModel.elects` is where a
stop sees a print: what goes wrong with groups at a real broker can be put in there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from decimal import ROUND_FLOOR, Decimal

from msgspec import Struct

from scalp.core.units import MILLISECOND
from scalp.exchange import groups, stops
from scalp.exchange.account import Account
from scalp.exchange.fills import Book, FillModel, Offer
from scalp.exchange.groups import Group
from scalp.exchange.orders import Execution, Order, Update, make_id
from scalp.exchange.venue import Venue

_NINE_DECIMALS = Decimal("0.000000001")


class Latency(Struct, frozen=True):
    """How long things take, in ns of exchange time."""

    order: int = 5 * MILLISECOND  # from POST, DELETE or PATCH to the venue
    update: int = 20 * MILLISECOND  # from an event to its order update


class Floor(Venue):
    """Orders of one account at the venue. `on_update` is called with each order update, in the order of delivery."""

    def __init__(
        self,
        symbols: Iterable[str],
        session_open: int,
        session_close: int,
        now: int,
        account: Account,
        fills: FillModel,
        latency: Latency,
        on_update: Callable[[Update], None],
        seed: int,
    ) -> None:
        super().__init__(symbols, session_open, session_close, now)
        self.account = account
        self.fills = fills
        self.latency = latency
        self.on_update = on_update
        self.executions: list[Execution] = []
        self._seed = seed
        self._open: dict[str, Order] = {}  # those of all books, oldest first

    # --- arriving ---

    def _arrive(self, order: Order) -> None:
        """The order reaches the venue: it is `new`, and may trade at once."""
        if order.status == "pending_cancel":
            # Cancelled on its way: it still gets there first, and the cancel follows.
            self._emit("new", order, make_id(self._seed, "new", order.number))
        elif order.status in ("pending_new", "accepted", "held"):
            self._set(order, "new")
            self._emit("new", order, make_id(self._seed, "new", order.number))
        else:
            return
        book = self._books[order.symbol]
        if order.type in stops.TYPES and not order.elected:
            book.stops.append(order)
        else:
            if order.group is not None:
                self._arm(order.group, order, book)
            self._trade_on_arrival(order, book)
        if order.time_in_force in ("ioc", "fok") and order.open:
            order.canceled_at = self.now
            self._end(order, "canceled")

    def _trade_on_arrival(self, order: Order, book: Book) -> None:
        book.live.append(order)
        offer = None
        if self._may_fill(order, book) and (book.last_at >= self.session_open or order.extended_hours):
            offer = self.fills.on_arrival(order, book)
        if order.time_in_force != "fok" or (offer is not None and offer[1] >= order.leaves):
            self._fill(order, book, offer)

    # --- filling ---

    def _on_print(self, book: Book) -> None:
        """Show a new print to the orders of its symbol, in the order they arrived, and then to the stops."""
        for order in list(book.live):
            if self._may_fill(order, book):
                self._fill(order, book, self.fills.on_print(order, book))
        if book.stops:
            self._watch_stops(book)

    def _may_fill(self, order: Order, book: Book) -> bool:
        is_time = self.is_open or order.extended_hours
        return order.open and not book.halted and is_time and self.fills.may_trade(order, book, self.now)

    def _fill(self, order: Order, book: Book, offer: Offer | None) -> None:
        """Trade what is offered; orders in dollars and remainders below a share are filled whole."""
        if offer is None:
            return
        price, available = offer
        if order.qty is None:
            assert order.notional is not None
            qty = order.qty = (order.notional / price).quantize(_NINE_DECIMALS, ROUND_FLOOR)
        else:
            qty = min(order.leaves, Decimal(available))
        if qty <= 0:
            return
        book.available = max(0, self.fills.available(book) - int(qty))
        book.filled_at = self.now
        position_qty = self.account.apply(order.symbol, order.side, qty, price)
        order.filled_qty += qty
        order.filled_value += qty * price
        done = order.leaves == 0
        if done:
            order.filled_at = self.now
            self._set(order, "filled")
            self._leave(order)
        elif order.status == "new":
            self._set(order, "partially_filled")
        else:
            order.updated_at = self.now
        execution_id = self._record(order, price, qty)
        event = "fill" if done else "partial_fill"
        self._emit(event, order, execution_id, price=price, qty=qty, position_qty=position_qty)
        if order.group is not None:
            if done:
                self._settle_group(order)
            elif order is order.group.take_profit:
                order.group.cut()

    def _record(self, order: Order, price: Decimal, qty: Decimal) -> str:
        """Keep an execution; returns its id."""
        execution = Execution(
            id=make_id(self._seed, "execution", len(self.executions) + 1),
            order_id=order.id,
            symbol=order.symbol,
            side=order.side,
            price=price,
            qty=qty,
            cum_qty=order.filled_qty,
            leaves_qty=order.leaves,
            order_status=order.status if order.leaves == 0 else "partially_filled",
            at=self.now,
        )
        self.executions.append(execution)
        return execution.id

    # --- stops and groups ---

    def _watch_stops(self, book: Book) -> None:
        if book.halted or not self.is_open:
            return
        for order in list(book.stops):
            if order.type == "trailing_stop":
                stops.follow(order, book.last)
            if order.open and self.fills.elects(order, book):
                self.elect(order, book)

    def elect(self, order: Order, book: Book) -> None:
        """A stop was reached: the rest of its group is taken back, and the order goes to the market."""
        book.stops.remove(order)
        order.elected = True
        stops.cap(order)
        if order.group is not None:
            self._end_others(order.group, order, "canceled")
        if order.status == "held":
            self._set(order, "new")
            self._emit("new", order, make_id(self._seed, "new", order.number))
        self._trade_on_arrival(order, book)

    def _arm(self, group: Group, arrived: Order, book: Book) -> None:
        """The take-profit of a group works: from now on its stop loss is watched."""
        stop_loss = group.stop_loss
        if arrived is group.take_profit and stop_loss is not None and stop_loss.open and stop_loss not in book.stops:
            book.stops.append(stop_loss)

    def _release(self, group: Group) -> None:
        """The entry of a group was filled: its legs go live, and the stop loss stays held if there is a take-profit."""
        group.is_released = True
        leg = group.take_profit or group.stop_loss
        if leg is not None and leg.status == "held":
            self._arrive(leg)

    def _settle_group(self, order: Order) -> None:
        """An order of a group was filled or ended: what that means for the others."""
        group = order.group
        if group is None or order not in group:
            return
        if order.group_role == groups.ENTRY and order.status == "filled":
            self._at(self.now + self.latency.order, self._release, group)
        else:
            self._end_others(group, order, "expired" if order.status == "expired" else "canceled")

    def _end_others(self, group: Group, order: Order, status: str) -> None:
        if group.is_over:
            return
        group.is_over = True
        for leg in group.others(order):
            self.end_leg(leg, status)

    def end_leg(self, leg: Order, status: str) -> None:
        """An order ends, canceled or expired, because another one of its group was filled, elected or ended."""
        if status == "expired":
            leg.expired_at = self.now
        else:
            leg.canceled_at = self.now
        self._end(leg, status)

    # --- small things ---

    def _set(self, order: Order, status: str) -> None:
        order.status = status
        order.updated_at = self.now

    def _end(self, order: Order, status: str) -> None:
        self._set(order, status)
        self._leave(order)
        self._emit(status, order)
        if order.group is not None:
            self._settle_group(order)

    def _leave(self, order: Order) -> None:
        book = self._books[order.symbol]
        book.open.pop(order.id, None)
        self._open.pop(order.id, None)
        if order in book.live:
            book.live.remove(order)
        elif order in book.stops:
            book.stops.remove(order)

    def _emit(
        self,
        event: str,
        order: Order,
        execution_id: str | None = None,
        *,
        price: Decimal | None = None,
        qty: Decimal | None = None,
        position_qty: Decimal | None = None,
    ) -> None:
        update = Update(event, self.now, copy.copy(order), execution_id, price, qty, position_qty)
        self._at(self.now + self.latency.update, self._deliver, update)

    def _deliver(self, update: Update) -> None:
        self.on_update(update)
