"""Orders that belong together: bracket, OCO and OTO, with Alpaca's rules and refusals.

- OCO closes what is held: `type=limit`, a take-profit and a stop loss for the same shares. The take-profit is the
  parent and works as any limit order; the stop loss is its leg, has ids of the exchange's own, and is `held`.
- Bracket opens a position with a market or limit order, the parent. Its legs are a take-profit and a stop loss, both
  `held` until the entry is filled *completely*; from then on they are to each other as in an OCO.
- OTO is a bracket with one of the two legs.
- Whatever one order of a group comes to, the others follow: a fill, a cancel or a rejection cancels them, the close
  lets them expire together. A stop loss whose stop is reached takes the take-profit back first, and then goes to the
  market as `new`. The stop loss offers no more than what the take-profit leaves.
- The shares of a group are on offer once. A `held` leg isn't listed among the open orders by itself, only inside its
  parent when a listing is nested. `group_id` and `group_role` are the same in every order of a group, or its role.
- Day or gtc, whole shares, regular hours. Exempt from the wash-trade check. Of a member only its prices can be
  replaced.

Where Alpaca says nothing, the choice is the more awkward one for a client: a leg's cut quantity is not reported, and
the answer to a replacement has no legs.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import structs

from scalp.core import prices
from scalp.exchange import rules
from scalp.exchange.orders import Order, OrderRequest, Rejection

CLASSES = ("bracket", "oco", "oto")
ENTRY, TAKE_PROFIT, STOP_LOSS = "entry", "take_profit", "stop_loss"


class Group:
    """The orders that belong together, each under its role; one that was replaced has left its place to the new one.

    `is_released` is set when the legs go live because the entry was filled, `is_over` once the rest of the group was
    taken back: what happens to one order then is its own affair.
    """

    def __init__(self, group_id: str, order_class: str) -> None:
        self.id = group_id
        self.order_class = order_class
        self.is_released = False
        self.is_over = False
        self._members: dict[str, Order] = {}

    def put(self, order: Order, role: str) -> None:
        """Give `order` this role, instead of the one that had it."""
        self.prepare(order, role)
        self._members[role] = order

    def prepare(self, order: Order, role: str) -> None:
        """Let `order` belong to the group, without being one of its members yet: it is to replace one."""
        order.group = self
        order.group_role = role
        order.order_class = self.order_class

    def __contains__(self, order: Order) -> bool:
        return self._members.get(order.group_role) is order

    def others(self, order: Order) -> list[Order]:
        """The members with which something can still happen, without `order`."""
        return [member for member in self._members.values() if member is not order and member.open]

    @property
    def take_profit(self) -> Order | None:
        """The present take-profit."""
        return self._members.get(TAKE_PROFIT)

    @property
    def stop_loss(self) -> Order | None:
        """The present stop loss."""
        return self._members.get(STOP_LOSS)

    @property
    def parent(self) -> Order:
        """The order that the others are legs of."""
        return self._members.get(ENTRY) or self._members[TAKE_PROFIT]

    @property
    def legs(self) -> list[Order]:
        """All but the parent, the take-profit first."""
        parent = self.parent
        return [member for member in self._members.values() if member is not parent]

    def holds(self, order: Order) -> bool:
        """Whether `order` waits for another one of the group."""
        if order.elected or order.group_role == ENTRY:
            return False
        take_profit = self.take_profit
        if ENTRY in self._members and not self.is_released:
            return True
        return order.group_role == STOP_LOSS and take_profit is not None and take_profit.open

    def offers(self, order: Order) -> bool:
        """Whether the shares of `order` count as on offer: those of a group do once."""
        if order not in self:
            return False  # a replacement that is under way
        return order.group_role != STOP_LOSS or self.take_profit is None or not self.take_profit.open

    def cut(self) -> None:
        """The take-profit has sold some: the stop loss is for the rest."""
        take_profit, stop_loss = self.take_profit, self.stop_loss
        if take_profit is not None and stop_loss is not None and stop_loss.open:
            stop_loss.qty = stop_loss.filled_qty + take_profit.leaves
            stop_loss.updated_at = take_profit.updated_at


def checked(request: OrderRequest) -> OrderRequest:
    """The parent that a request for a group asks for. Raises Rejection for what is wrong with the request by itself."""
    kind = request.order_class
    if kind == "oco" and request.type != "limit":
        raise rules.parameter("oco orders must be limit orders")
    if request.type == "trailing_stop":
        raise rules.unprocessable("trailing stop orders must be simple orders")
    if request.type not in ("market", "limit"):
        raise rules.parameter(f"{kind} orders must be market or limit orders")
    if kind == "oto":
        if (request.take_profit is None) == (request.stop_loss is None):
            raise rules.parameter("oto orders require either take_profit.limit_price or stop_loss.stop_price")
    elif request.take_profit is None:
        raise rules.parameter(f"{kind} orders require take_profit.limit_price")
    elif request.stop_loss is None:
        raise rules.parameter(f"{kind} orders require stop_loss.stop_price")
    if request.stop_loss is None and request.stop_loss_limit is not None:
        raise rules.parameter("stop_loss.limit_price requires stop_loss.stop_price")
    if request.extended_hours:
        raise rules.unprocessable("extended hours orders must be simple orders")
    if request.time_in_force not in ("day", "gtc"):
        raise rules.unprocessable(f"{kind} orders must be DAY or GTC orders")
    if request.notional is not None or (request.qty is not None and request.qty % 1 != 0):
        raise rules.unprocessable("fractional orders must be simple orders")
    rules.check_price("take_profit.limit_price", request.take_profit)
    rules.check_price("stop_loss.stop_price", request.stop_loss)
    rules.check_price("stop_loss.limit_price", request.stop_loss_limit)
    return structs.replace(request, limit_price=request.take_profit) if kind == "oco" else request


def check(request: OrderRequest, held: Decimal, last: Decimal | None) -> None:
    """Check a group against `held` shares (signed) and the last trade (dollars). Raises Rejection."""
    kind = request.order_class
    if kind == "oco":
        if held == 0 or (held > 0) != (request.side == "sell"):
            raise rules.unprocessable("oco orders must be exit orders")
        check_legs(request.side, None, request.stop_loss, _worst(request.side, request.take_profit, last))
        return
    if held != 0:
        raise rules.unprocessable(f"{kind} orders must be entry orders")
    base = request.limit_price if request.limit_price is not None else last
    check_legs(closing(request.side), request.take_profit, request.stop_loss, base)


def check_change(
    order: Order,
    qty: Decimal | None,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
    time_in_force: str | None,
    last: Decimal | None,
) -> None:
    """Check a change of `order` against the market and the rest of its group. Raises Rejection."""
    group = order.group
    assert group is not None
    if (qty is not None and qty != order.leaves) or time_in_force not in (None, order.time_in_force):
        raise rules.unprocessable(f"only the prices of {order.order_class} orders can be replaced")
    take_profit = limit_price if order.group_role == TAKE_PROFIT else None
    stop = stop_price if order.group_role == STOP_LOSS else None
    entry = group.parent if group.parent.group_role == ENTRY else None
    if entry is not None and entry.open:  # the position isn't there yet
        check_legs(order.side, take_profit, stop, entry.limit_price or last)
    elif order.group_role == STOP_LOSS:
        limit = group.take_profit.limit_price if group.take_profit is not None else None
        check_legs(order.side, None, stop, _worst(order.side, limit, last))
    elif group.stop_loss is not None:
        check_legs(order.side, take_profit, None, group.stop_loss.stop_price)


def check_legs(side: str, take_profit: Decimal | None, stop: Decimal | None, base: Decimal | None) -> None:
    """Whether legs of `side` lie at least a cent on their own side of the base price."""
    if base is None:
        return
    over, under = base + prices.CENT, base - prices.CENT
    sells = side == "sell"
    if take_profit is not None and (take_profit < over if sells else take_profit > under):
        raise _rejected("take_profit.limit_price", sells, base)
    if stop is not None and (stop > under if sells else stop < over):
        raise _rejected("stop_loss.stop_price", not sells, base)


def legs(request: OrderRequest) -> list[tuple[str, OrderRequest]]:
    """The legs of a group, by role, the parent not among them."""
    side = request.side if request.order_class == "oco" else closing(request.side)
    prices_by_role = ((TAKE_PROFIT, request.take_profit, None), (STOP_LOSS, request.stop_loss_limit, request.stop_loss))
    made = []
    for role, limit, stop in prices_by_role[1 if request.order_class == "oco" else 0 :]:
        if limit is None and stop is None:
            continue
        kind = "limit" if stop is None else "stop" if limit is None else "stop_limit"
        leg = structs.replace(
            request, side=side, type=kind, limit_price=limit, stop_price=stop, client_order_id="", position_intent=""
        )
        made.append((role, leg))
    return made


def closing(side: str) -> str:
    """The other side."""
    return "sell" if side == "buy" else "buy"


def _worst(side: str, limit: Decimal | None, last: Decimal | None) -> Decimal | None:
    """The base price of an exit's stop: its take-profit or the market, whichever is nearer to the stop."""
    known = [price for price in (limit, last) if price is not None]
    return (min(known) if side == "sell" else max(known)) if known else None


def _rejected(name: str, is_least: bool, base: Decimal) -> Rejection:
    bound = ">= base_price + 0.01" if is_least else "<= base_price - 0.01"
    return Rejection(422, rules.UNPROCESSABLE, f"{name} must be {bound}", {"base_price": rules.text(base)})
