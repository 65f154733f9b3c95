"""The order ledger: one symbol's orders, fills and position, merged from everything that is ever told of them.

Order updates, REST answers, rows of listings and answers by id all arrive as `OrderReport` and go through
`Ledger.merge`; nothing else changes an order. Reports may be lost, repeated, late or out of order, so merging only ever
moves forward: filled quantities grow (also after an order ended: a fill that lost the race against its cancel is still
a fill), and an ending the broker told of stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from msgspec import Struct

from scalp.messages import FINAL_STATUSES, MINUTE, SECOND, OrderReport, SubmitOrder

ZERO = Decimal(0)
RECENT = 15 * SECOND  # after a position was listed: an update that comes later is not from before it
BELIEVABLE = 5 * MINUTE  # the most by which an execution's time may differ from the present

# Words of our own for orders the broker has not spoken of (yet). A later report of the broker overrules each of them.
SENT = "sent"  # on its way, or its outcome is unknown
REFUSED = "refused"  # the broker answered no
LOST = "lost"  # the broker knew nothing of it, for long enough

# What an update's kind says about the order; the copy of the order inside an update may be older than its news.
_EVENT_STATUS = {"fill": "filled", **{kind: kind for kind in FINAL_STATUSES}}


@dataclass(slots=True)
class Order:
    """What is known of one order. Quantities in shares, prices in dollars, times in ns (exchange)."""

    symbol: str
    client_order_id: str
    id: str  # the broker's; "" until it answered
    side: str
    type: str
    status: str
    qty: Decimal | None  # None: not told (a notional order, or a replacement only heard of)
    limit_price: Decimal | None
    submitted_at: int
    is_own: bool  # sent by this process
    filled_qty: Decimal = ZERO
    filled_avg_price: Decimal | None = None
    replaced_by: str = ""
    continues_fills: bool = False  # it replaced one that had bought or sold shares
    cancel_sent_at: int = 0  # when a cancel was last asked for; 0: never
    executions: set[str] = field(default_factory=set)

    @property
    def is_bots(self) -> bool:
        """Sent by this program, in this run or an earlier one."""
        return self.is_own or self.client_order_id.startswith("scalp-")

    @property
    def has_moved_shares(self) -> bool:
        """It, or an order that it replaced, was filled in part at least."""
        return self.filled_qty > 0 or self.continues_fills

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL_STATUSES or self.status in (REFUSED, LOST)

    @property
    def remaining(self) -> Decimal | None:
        """Shares still to fill; None where the quantity is not known."""
        return None if self.qty is None else max(self.qty - self.filled_qty, ZERO)


class Change(Struct, frozen=True):
    """What one report changed. `new_qty` shares were executed at `price` on average."""

    order: Order
    is_new: bool  # nobody here knew of the order
    moved: bool  # anything at all changed
    ended: bool  # this report ended it
    new_qty: Decimal = ZERO
    price: Decimal = ZERO
    profit: Decimal = ZERO  # realised by these shares, gross


class Ledger:
    """Orders and position of one symbol."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.position = ZERO  # shares, negative when short
        self.entry_price: Decimal | None = None  # average price of the shares held; None when flat
        self.realised = ZERO  # gross profit and loss of all closed shares, dollars
        self.shares_sold = ZERO
        self.round_trips = 0  # times a position was closed by fills
        self.version = 0  # counts every change of an order or of the position
        self._open: list[Order] = []  # the open ones, as of a version
        self._open_as_of = 0
        self._orders: list[Order] = []  # in the order they became known
        self._unsettled: list[Order] = []  # those the broker has not ended, as of the same version; and newer ones
        self._by_id: dict[str, Order] = {}
        self._by_client_id: dict[str, Order] = {}
        self._position_as_of = 0  # exchange time of the last adopted position

    # -- looking ------------------------------------------------------------------------------------------------------

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

    @property
    def whole_shares(self) -> int:
        """Shares that can be sold: whole ones, none when short."""
        return max(int(self.position), 0)

    # -- changing -----------------------------------------------------------------------------------------------------

    def expect(self, action: SubmitOrder, at: int) -> Order:
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
        )
        self._enter(order)
        return order

    def heard_of(self, order_id: str, old: Order) -> Order:
        """The order that replaced `old`, known or entered by its id alone until somebody tells more of it."""
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
            status="new",
            qty=None,
            limit_price=None,
            submitted_at=old.submitted_at,
            is_own=old.is_own,
            continues_fills=old.has_moved_shares,
        )
        self._enter(order)
        return order

    def merge(self, report: OrderReport, now: int | None = None) -> Change:
        """Take in what `report` says, at `now`; see the module's text for the rules."""
        order = self._by_id.get(report.id) or self._by_client_id.get(report.client_order_id)
        is_new = order is None
        if order is None:
            order = self._order_from(report)
            if order.side not in ("buy", "sell"):
                # Nobody could say what its fills do to the position: not an order to follow.
                return Change(order, False, False, False)
            self._enter(order)
        moved = is_new | self._learn_identity(order, report)
        new_qty, price = self._new_shares(order, report, is_new)
        if new_qty and self._is_in_position(order, report, now):
            new_qty, moved = ZERO, True
        profit = self._book(order, new_qty, price) if new_qty else ZERO
        had_ended = order.has_ended
        moved |= bool(new_qty) | self._move_status(order, report)
        if moved:
            self.version += 1
        return Change(order, is_new, moved, order.has_ended and (is_new or not had_ended), new_qty, price, profit)

    def end(self, order: Order, status: str) -> None:
        """Note that an order of our own never came to be (`REFUSED` or `LOST`)."""
        if not order.has_ended:
            order.status = status
            self.version += 1

    def adopt_position(self, qty: Decimal, entry_price: Decimal | None, at: int) -> None:
        """Believe the broker's listing of `at`: the position is `qty` shares at `entry_price` on average."""
        self.position = qty
        self.entry_price = entry_price if qty else None
        self._position_as_of = at
        self.version += 1

    def _enter(self, order: Order) -> None:
        self._orders.append(order)
        self._unsettled.append(order)
        if order.id:
            self._by_id[order.id] = order
        if order.client_order_id:
            self._by_client_id[order.client_order_id] = order
        self.version += 1

    def _order_from(self, report: OrderReport) -> Order:
        """An order nobody here knew. What it filled before now is in the position already; see `_new_shares`."""
        return Order(
            symbol=self.symbol,
            client_order_id=report.client_order_id,
            id=report.id,
            side=report.side,
            type=report.type,
            status="new",
            qty=report.qty,
            limit_price=report.limit_price,
            submitted_at=report.submitted_at or report.at or 0,
            is_own=False,
        )

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
            moved = True
        if report.replaced_by and not order.replaced_by:
            order.replaced_by = report.replaced_by
            moved = True
        return moved

    def _new_shares(self, order: Order, report: OrderReport, is_new: bool) -> tuple[Decimal, Decimal]:
        """How many shares this report adds to the order's fills, and their average price."""
        is_repeated = report.execution_id is not None and report.execution_id in order.executions
        if report.execution_id is not None and report.execution_qty:
            order.executions.add(report.execution_id)
        total, average = report.filled_qty, report.filled_avg_price
        execution = report.execution_qty or ZERO
        if report.event == "fill" and execution and total is not None and total + execution == order.qty:
            # The copy of the order is from before this fill, which completes it.
            is_reckoned = report.price is not None and (average is not None or not total)
            spent = total * (average or ZERO) + execution * (report.price or ZERO)
            total += execution
            average = spent / total if is_reckoned else None
        if total is None:
            # The order's totals are missing: one execution, counted once, is all there is to go by.
            total = order.filled_qty + (ZERO if is_repeated else execution)
        if order.qty is not None:
            total = min(total, order.qty)  # more than was ordered cannot be bought or sold, whatever is told
        if is_new:
            # Of an order first heard of now, only the execution that is told of can be news.
            fresh = min(execution, total)
            order.filled_qty, order.filled_avg_price = total, average
            return fresh, report.price or average or order.limit_price or ZERO
        if total <= order.filled_qty:
            return ZERO, ZERO
        added = total - order.filled_qty
        before = order.filled_qty * (order.filled_avg_price or ZERO)
        if report.price is not None and report.execution_qty == added:
            price = report.price
        elif average is not None:
            price = (total * average - before) / added
        else:
            price = report.price or order.limit_price or ZERO
        order.filled_avg_price = average or (before + added * price) / total
        order.filled_qty = total
        return added, price

    def _is_in_position(self, order: Order, report: OrderReport, now: int | None) -> bool:
        """Whether this execution was made before the position was listed that is believed here: it is part of it.

        Only a time near the present is believed, and never one that would hide a fill of an order sent after that.
        """
        at = report.at
        if at is None:
            return False
        if now is not None and (abs(at - now) > BELIEVABLE or now - self._position_as_of > RECENT):
            return False
        return at < self._position_as_of and not (order.is_own and order.submitted_at >= self._position_as_of)

    def _book(self, order: Order, qty: Decimal, price: Decimal) -> Decimal:
        """Move the position by `qty` executed shares; returns the gross profit they realised.

        Both ways alike: where a sell is told of before the buy it closes, the profit comes with the buy.
        """
        before = self.position
        after = before + qty if order.side == "buy" else before - qty
        entry = price if self.entry_price is None else self.entry_price
        profit = ZERO
        if before * (after - before) >= 0:  # more of the same, or the first of it
            self.entry_price = (abs(before) * entry + qty * price) / abs(after)
        else:
            closed = min(qty, abs(before))
            profit = closed * (price - entry) if before > 0 else closed * (entry - price)
            if before * after < 0:
                self.entry_price = price
            elif after == 0:
                self.entry_price = None
                self.round_trips += 1
        self.position = after
        self.realised += profit
        if order.side == "sell":
            self.shares_sold += qty
        return profit

    def _move_status(self, order: Order, report: OrderReport) -> bool:
        if order.status in FINAL_STATUSES:
            return False
        status = _EVENT_STATUS.get(report.event) or report.status or order.status
        if status == "done_for_day" and report.time_in_force == "gtc":
            status = "new"  # goes on tomorrow, and holds its shares until then
        if order.qty is not None and order.filled_qty >= order.qty > 0:
            status = "filled"
        if status == order.status:
            return False
        order.status = status
        return True
