"""The matching engine: orders in, order updates out, fills by the prints of the market.

It is a plain deterministic object. It has no clock, no sockets and no random numbers: its time moves only when a print
arrives or `advance` is called. It runs behind the wire server, inside a backtest and inside a fault simulation. All
times are exchange time, ns since the epoch, UTC.

Here is what a client can do, and what is refused; `floor` has the orders that have arrived, `venue` time and prints.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from decimal import Decimal

from scalp.core import prices
from scalp.core.decimals import ZERO
from scalp.core.fees import FREE, Rates
from scalp.core.units import SECOND
from scalp.exchange import groups, rules, stops
from scalp.exchange.account import Account
from scalp.exchange.charges import Charger
from scalp.exchange.fills import FillModel
from scalp.exchange.floor import Floor, Latency
from scalp.exchange.groups import Group
from scalp.exchange.orders import Asset, Order, OrderRequest, Update, make_asset, make_id

__all__ = ["Engine", "Latency"]


class Engine(Floor):
    """One account trading `assets` (symbols or Asset objects) against the prints it is shown.

    `on_update` is called with each order update, in the order of their delivery; it may submit and cancel.
    At a session's close its fees are charged, by `rates`.
    `heeds_intent` False is a fault: what an order says of its intent is ignored, and shares not held are sold short.
    """

    def __init__(
        self,
        session_open: int,
        session_close: int,
        assets: Iterable[Asset | str],
        *,
        cash: Decimal | int = 100_000,
        multiplier: int = 4,
        shorting: bool = False,
        heeds_intent: bool = True,
        fills: FillModel | None = None,
        latency: Latency | None = None,
        now: int | None = None,
        on_update: Callable[[Update], None] | None = None,
        seed: int = 0,
        rates: Rates = FREE,
    ) -> None:
        known = [make_asset(asset) if isinstance(asset, str) else asset for asset in assets]
        self.assets: dict[str, Asset] = {asset.symbol: asset for asset in known}
        super().__init__(
            self.assets,
            session_open,
            session_close,
            session_open if now is None else now,
            Account(Decimal(cash), multiplier),
            fills or FillModel(),
            latency or Latency(),
            on_update or (lambda update: None),
            seed,
        )
        self.shorting = shorting
        self.heeds_intent = heeds_intent
        self.orders: dict[str, Order] = {}  # every order ever, oldest first
        self._by_client_id: dict[str, Order] = {}
        self.charger = Charger(rates, seed)
        self.begin_session(session_open, session_close)

    def begin_session(self, session_open: int, session_close: int) -> None:
        """The next trading day: parked orders start at its open, day orders expire at its close."""
        self.session_open = session_open
        self.session_close = session_close
        self.account.last_equity = self.equity()
        self._at(max(session_open, self.now), self._open_session, None)
        self._at(max(session_close, self.now), self._close_session, None)

    # --- what a client can do ---

    def submit(self, request: OrderRequest) -> Order:
        """Take a new order. The answer says pending_new, or accepted while the market is closed. Raises Rejection.

        For a group the parent is returned; its legs are in its `group`.
        """
        self.advance(self.now)  # what is due by now counts, even if nobody let it happen yet
        if request.order_class in groups.CLASSES:
            request = groups.checked(request)
        self._check(request)
        order = self._new_order(request)
        legs = self._make_group(order, request) if request.order_class in groups.CLASSES else ()
        if order.status == "pending_new":
            self._emit("pending_new", order)
            self._at(self.now + self.latency.order, self._arrive, order)
        else:
            self._emit("accepted", order)
        for leg in legs:
            self._emit("held", leg)
        return copy.copy(order)

    def order(self, order_id: str) -> Order:
        """The order with this id. Raises Rejection (404)."""
        order = self.orders.get(order_id)
        if order is None:
            raise rules.not_found(f"order not found for {order_id}")
        return order

    def order_by_client_id(self, client_order_id: str) -> Order:
        """The order with this client order id. Raises Rejection (404)."""
        order = self._by_client_id.get(client_order_id)
        if order is None:
            raise rules.not_found(f"order not found for {client_order_id}")
        return order

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Orders with which something can still happen, oldest first."""
        if symbol is not None:
            book = self._books.get(symbol)
            return list(book.open.values()) if book else []
        return list(self._open.values())

    def cancel(self, order_id: str) -> None:
        """Ask for an order to be cancelled; a fill may still win. Raises Rejection when it is filled or unknown."""
        order = self.order(order_id)
        if order.status in ("canceled", "pending_cancel"):
            return
        if not order.open or order.status == "pending_replace":
            raise rules.unprocessable(f'order is already in "{order.status}" state')
        order.cancel_requested_at = self.now
        self._set(order, "pending_cancel")
        self._emit("pending_cancel", order)
        self._at(self.now + self.latency.order, self._do_cancel, order)

    def replace(
        self,
        order_id: str,
        *,
        qty: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        trail: Decimal | None = None,
        time_in_force: str | None = None,
        client_order_id: str = "",
    ) -> Order:
        """Ask for a new order in place of an old one; returns the new one, the old one may still fill first.

        `qty` is what the new order still has to fill; None means what the old one leaves. `trail` is the new distance
        of a trailing stop, in the unit of the old one. Raises Rejection.
        """
        old = self.order(order_id)
        if not old.open:
            raise rules.unprocessable("unable to replace order, order is not open")
        if old.status in ("accepted", "pending_new", "pending_cancel", "pending_replace"):
            raise rules.unprocessable(f"unable to replace order, order is {old.status}")
        if old.qty is None:
            raise rules.unprocessable("unable to replace order, notional orders cannot be replaced")
        if trail is not None and old.type != "trailing_stop":
            raise rules.parameter(f"{old.type} orders must not have trail")
        if old.group is not None:
            groups.check_change(old, qty, limit_price, stop_price, time_in_force, self.last_price(old.symbol))
        request = _changed(old, qty, limit_price, stop_price, trail, time_in_force, client_order_id)
        self._check(request, instead_of=old)
        new = self._new_order(request)
        new.replaces = old.id
        new.elected = old.elected
        if old.hwm is not None:
            stops.follow(new, float(old.hwm))
        if old.group is not None:
            old.group.prepare(new, old.group_role)
        self._set(old, "pending_replace")
        self._emit("pending_replace", old)
        self._at(self.now + self.latency.order, self._do_replace, (old, new, old.filled_qty))
        return copy.copy(new)

    def settle_cancels(self) -> None:
        """Let every cancel that is under way take effect now."""
        for order in self.open_orders():
            if order.status == "pending_cancel":
                self._do_cancel(order)

    def reject(self, order_id: str) -> None:
        """A fault: the venue turns down an order that was taken."""
        order = self.order(order_id)
        if order.open:
            order.failed_at = self.now
            self._end(order, "rejected")

    # --- money ---

    def equity(self) -> Decimal:
        """Cash and positions at the last print, in dollars."""
        return self.account.cash + sum((self.market_value(symbol) for symbol in self.account.positions), ZERO)

    def market_value(self, symbol: str) -> Decimal:
        """What the position is worth at the last print, negative when short."""
        position = self.account.positions[symbol]
        return position.qty * (self.last_price(symbol) or position.avg_entry_price)

    def buying_power(self) -> Decimal:
        """Dollars left for new orders."""
        reserved = ZERO
        for order in self.open_orders():
            if order.group is None or order.group_role == groups.ENTRY:  # legs close what the entry opens
                reserved += self._cost(order)
        return self.account.buying_power(reserved)

    def _cost(self, order: Order | OrderRequest) -> Decimal:
        """What an order lowers buying power by, in dollars: buys that open and short sales, closing orders nothing."""
        held = self.account.held(order.symbol)
        if (held > 0) if order.side == "sell" else (held < 0):
            return ZERO
        if order.notional is not None:
            return order.notional
        qty = order.leaves if isinstance(order, Order) else order.qty
        assert qty is not None
        last = self._book(order.symbol).last
        if order.side == "sell":
            price = max(order.limit_price or ZERO, prices.exact(last) * Decimal("1.03"))
        else:
            price = order.limit_price or order.stop_price or (self.fills.quote("buy", last) if last else ZERO)
        return price * qty

    # --- admission ---

    def _check(self, request: OrderRequest, instead_of: Order | None = None) -> None:
        rules.check_parameters(request)
        rules.check_asset(request, self.assets)
        if request.client_order_id in self._by_client_id:
            raise rules.parameter("client_order_id must be unique")
        held = self.account.held(request.symbol)
        others = [order for order in self.open_orders(request.symbol) if order is not instead_of]
        if self.heeds_intent:
            rules.check_intent(request, held)
        if request.order_class in groups.CLASSES:
            groups.check(request, held, self.last_price(request.symbol))
        elif instead_of is not None and instead_of.group is not None:
            if instead_of.group_role != groups.ENTRY:
                return  # its shares are on offer already, and at any price
        else:
            if request.stop_price is not None and not (instead_of is not None and instead_of.elected):
                stops.check(request, self.last_price(request.symbol))
            rules.check_wash_trade(request, others)
        qty = request.qty
        if qty is None:
            assert request.notional is not None
            last = self.last_price(request.symbol)
            qty = request.notional / last if last else ZERO
        rules.check_shares(request, qty, held, others, self.assets[request.symbol], self.shorting)
        cost = self._cost(request)
        if not cost:
            return  # it closes a position, and computing what the account has left takes time
        given_back = self._cost(instead_of) if instead_of else ZERO
        rules.check_buying_power(cost, self.buying_power() + given_back)

    def _new_order(self, request: OrderRequest, status: str = "") -> Order:
        number = len(self.orders) + 1
        tradable_now = self.is_open or (request.extended_hours and self.now < self.session_close)
        order = Order(
            id=make_id(self._seed, "order", number),
            client_order_id=request.client_order_id or make_id(self._seed, "client", number),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            qty=request.qty,
            notional=request.notional,
            limit_price=request.limit_price,
            stop_price=request.stop_price,
            extended_hours=request.extended_hours,
            position_intent=rules.position_intent(request.side, self.account.held(request.symbol)),
            status=status or ("pending_new" if tradable_now else "accepted"),
            submitted_at=self.now,
            updated_at=self.now,
            expires_at=self.session_close if request.time_in_force != "gtc" else self.now + 90 * 86400 * SECOND,
            number=number,
            trail_price=request.trail_price,
            trail_percent=request.trail_percent,
        )
        if order.type == "trailing_stop" and (last := self._book(order.symbol).last):
            stops.follow(order, last)
        self.orders[order.id] = order
        self._by_client_id[order.client_order_id] = order
        self._book(order.symbol).open[order.id] = self._open[order.id] = order
        return order

    def _make_group(self, parent: Order, request: OrderRequest) -> list[Order]:
        """Add its legs to the parent of a group: they are held, and their ids are the exchange's own."""
        group = Group(make_id(self._seed, "group", parent.number), request.order_class)
        group.put(parent, groups.TAKE_PROFIT if request.order_class == "oco" else groups.ENTRY)
        for role, wanted in groups.legs(request):
            leg = self._new_order(wanted, "held")
            leg.position_intent = f"{leg.side}_to_close"
            group.put(leg, role)
        return group.legs

    # --- timed events ---

    def _open_session(self, _: None) -> None:
        for order in self.open_orders():
            if order.status == "accepted":
                self._arrive(order)

    def _close_session(self, _: None) -> None:
        for order in self.open_orders():
            if order.time_in_force != "gtc" and order.open:
                order.expired_at = self.now
                self._end(order, "expired")
        self.account.cash -= self.charger.charge(self.executions, self.session_open, self.now)

    def _do_cancel(self, order: Order) -> None:
        if order.open:
            order.canceled_at = self.now
            self._end(order, "canceled")

    def _do_replace(self, pair: tuple[Order, Order, Decimal]) -> None:
        old, new, filled_before = pair
        if not new.open:
            return  # the close came first
        assert new.qty is not None
        # What the old order filled meanwhile is not to be filled again.
        still_wanted = new.qty - (old.filled_qty - filled_before)
        if old.group is not None:
            still_wanted = old.leaves  # a stop loss may have been cut
        if not old.open or still_wanted <= 0 or old.elected != new.elected:
            if old.open:
                self._set(old, "partially_filled" if old.filled_qty else "new")
            self._emit("order_replace_rejected", old)
            new.failed_at = self.now
            self._end(new, "rejected")
            return
        new.qty = still_wanted
        old.replaced_at = self.now
        old.replaced_by = new.id
        is_watched = old in self._books[old.symbol].stops
        if old.group is not None:
            old.group.put(new, old.group_role)
        self._end(old, "replaced")
        if old.group is None or not old.group.holds(new):
            self._arrive(new)
            return
        if new.status == "pending_new":
            self._set(new, "held")
        self._emit("held", new)
        if is_watched:
            self._books[new.symbol].stops.append(new)


def _changed(
    old: Order,
    qty: Decimal | None,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
    trail: Decimal | None,
    time_in_force: str | None,
    client_order_id: str,
) -> OrderRequest:
    """What `old` leaves to be done, with some of it changed."""
    return OrderRequest(
        symbol=old.symbol,
        side=old.side,
        type=old.type,
        time_in_force=time_in_force or old.time_in_force,
        qty=old.leaves if qty is None else qty,
        limit_price=limit_price if limit_price is not None else old.limit_price,
        stop_price=stop_price if old.type == "trailing_stop" or stop_price is not None else old.stop_price,
        client_order_id=client_order_id,
        extended_hours=old.extended_hours,
        trail_price=trail if trail is not None and old.trail_price is not None else old.trail_price,
        trail_percent=trail if trail is not None and old.trail_percent is not None else old.trail_percent,
    )
