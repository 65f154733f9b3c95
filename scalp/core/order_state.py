"""What is known of one order, and of the group it belongs to: a leg that fills cancels the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeGuard

from scalp.core.decimals import ZERO
from scalp.core.orders import CANCELED, DONE_FOR_DAY, FILLED, FINAL_STATUSES, NEW, REPLACED, OrderReport

# Statuses of our own for orders the broker has not reported (yet). A later report of the broker overrules each of them.
SENT = "sent"  # on its way, or its outcome is unknown
REFUSED = "refused"  # the broker answered no
LOST = "lost"  # the broker knew nothing of it, for long enough
_ENDED = FINAL_STATUSES | {REFUSED, LOST}

# What an update's kind says about the order; the copy of the order inside an update may be older than its news.
_EVENT_STATUS: dict[str, str] = {"fill": FILLED, **{kind: kind for kind in FINAL_STATUSES}}


@dataclass(slots=True)
class Order:
    """What is known of one order. Quantities in shares, prices in dollars, times in ns (exchange)."""

    symbol: str
    client_order_id: str
    id: str  # the broker's; "" until it answered
    side: str
    type: str
    status: str
    qty: Decimal | None  # None: not reported (a notional order, or a replacement known by its id alone)
    limit_price: Decimal | None
    submitted_at: int
    is_own: bool  # sent by this process
    is_since_adoption: bool = False  # so, and after the adoption of the position that the ledger starts from
    filled_qty: Decimal = ZERO
    filled_avg_price: Decimal | None = None
    replaced_by: str = ""
    continues_fills: bool = False  # it replaced one that had bought or sold shares
    cancel_sent_at: int = 0  # when a cancel was last asked for; 0: never
    moved_at: int = 0  # when a fill of it was last reported; 0: never
    assumed: Decimal = ZERO  # so much of `filled_qty` is thought to be in the adopted position
    is_late: bool = False  # first reported after the position was adopted, though older: its listing may lag
    is_priced: bool = True  # False: no source reported at what price it filled, and another price stands in
    executions: set[str] = field(default_factory=set)
    taken_back: Decimal = ZERO  # so many executed shares the broker took back
    settled_back: Decimal = ZERO  # so many of those are already missing from the adopted position
    stop_price: Decimal | None = None
    # Of a leg: the order it belongs to. In such a group an order that fills cancels the others.
    parent: Order | None = field(default=None, repr=False, compare=False)
    legs: list[Order] = field(default_factory=list, repr=False, compare=False)
    is_cover: bool = False  # a buy of ours that closes a short position
    is_leg_gone: bool = False  # the stop that went with it, which no source reported, has sold nothing
    move_sent_at: int = 0  # when another stop price was asked for, while the outcome is not known; else 0

    @property
    def is_bots(self) -> bool:
        """Sent by this program, in this run or an earlier one."""
        return self.is_own or self.head.client_order_id.startswith("scalp-")

    @property
    def has_moved_shares(self) -> bool:
        """It, or an order that it replaced, was filled in part at least."""
        return self.filled_qty > 0 or self.continues_fills

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    @property
    def remaining(self) -> Decimal | None:
        """Shares still to fill; None where the quantity is not known."""
        return None if self.qty is None else max(self.qty - self.filled_qty, ZERO)

    @property
    def head(self) -> Order:
        """The order that stands for its group: its parent, or itself."""
        return self if self.parent is None else self.parent

    @property
    def is_spare(self) -> bool:
        """Whether it is a leg whose parent works: what that offers is all that the group offers."""
        return self.parent is not None and not self.parent.has_ended

    @property
    def group(self) -> list[Order]:
        """All orders of its group, the parent first; itself alone where it has none."""
        head = self.head
        return [head, *head.legs] if head.legs else [head]

    @property
    def on_offer(self) -> Decimal | None:
        """Shares that its group has still to sell; None where the quantity is not known."""
        head = self.head
        if not head.legs:
            return self.remaining
        return None if head.qty is None else max(head.qty - self.sold_by_group, ZERO)

    @property
    def sold_by_group(self) -> Decimal:
        return sum((order.filled_qty for order in self.group), ZERO)

    @property
    def lacks_leg(self) -> bool:
        """Whether it ended without a cancel from here, and no source has reported its stop, which may have ended it."""
        is_group = self.is_own and self.stop_price is not None and self.parent is None and not self.cancel_sent_at
        is_left = is_group and self.status in (CANCELED, REPLACED) and not self.replaced_by and bool(self.remaining)
        return is_left and not self.legs and not self.is_leg_gone

    @property
    def is_spent(self) -> bool:
        """Whether the rest of its group has sold all that was to be sold: it is about to end, or must be cancelled."""
        return bool(self.head.legs) and not self.has_ended and bool(self.remaining) and self.on_offer == 0


def order_from(report: OrderReport, symbol: str) -> Order:
    """An order not known before. What it filled before now is in the position already; see `Ledger._first_shares`."""
    return Order(
        symbol=symbol,
        client_order_id=report.client_order_id,
        id=report.id,
        side=report.side,
        type=report.type,
        status=NEW,
        qty=report.qty,
        limit_price=report.limit_price,
        submitted_at=report.submitted_at or report.at or 0,
        is_own=False,
        stop_price=report.stop_price,
    )


def join(leg: Order, parent: Order) -> None:
    leg.parent = parent
    leg.is_own = parent.is_own
    parent.legs.append(leg)


def is_missing_leg(head: Order, leg: Order) -> bool:
    """Whether `leg` has the terms of the one that `head` was sent with and that no source has reported yet."""
    is_sent = head.is_own and head.stop_price is not None and head.parent is None
    return is_sent and not head.legs and (head.side, head.qty, head.stop_price) == (leg.side, leg.qty, leg.stop_price)


def move_status(order: Order, report: OrderReport) -> bool:
    if order.status in FINAL_STATUSES:
        return False
    status = _EVENT_STATUS.get(report.event) or report.status or order.status
    if status == DONE_FOR_DAY and report.time_in_force == "gtc":
        status = NEW  # goes on tomorrow, and holds its shares until then
    if order.qty is not None and order.filled_qty >= order.qty > 0:
        status = FILLED
    if status == order.status:
        return False
    order.status = status
    return True


def is_price(price: Decimal | None) -> TypeGuard[Decimal]:
    """Zero, or less, is no price at which anything was traded."""
    return price is not None and price > 0


def first_price(*prices: Decimal | None) -> Decimal:
    return next((price for price in prices if is_price(price)), ZERO)
