"""What must hold of stops, seen from the exchange's side: the exit takes its stop along, and a group sells once.

A group is the broker's: an exit of the bot's with its stop, of which one that fills cancels the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from scalp.core.prices import CENT
from scalp.core.units import SECOND
from scalp.exchange import rules
from scalp.exchange.orders import Order
from scalp.exchange.rest import Access
from tests.simulation.excuses import LEARN
from tests.simulation.told import IN_FORCE, is_bots

if TYPE_CHECKING:
    from tests.simulation.network import Call
    from tests.simulation.world import World

LAST_MOVE = 360.0  # seconds before the close in which no stop is moved any more
CLOCKS = 2.0  # seconds by which the bot's idea of the time may be off
SPENT_FELT = 5.0  # seconds until the end of an order is known whose group has sold all
ZERO = Decimal(0)


class StopInvariants:
    def __init__(self, world: World, fail: Callable[[int, str], None]) -> None:
        self._world = world
        self._fail = fail
        self._rule = world.limits.stop
        self._highest: defaultdict[str, Decimal] = defaultdict(Decimal)  # last trade told since shares came
        self._entry: dict[str, Decimal] = {}
        self._struck: set[str] = set()  # symbols whose stop was reached since shares came, by what the bot was told
        self._refused: set[str] = set()  # symbols in which the bot was told that no stop is taken, since then
        self._levels: dict[str, Decimal] = {}  # id of a group -> the highest stop it was known to have

    # -- what happens -------------------------------------------------------------------------------------------------

    def on_event(self, event: str, order: Order) -> None:
        """Shares that come begin anew."""
        symbol = order.symbol
        position = self._world.engine.account.positions.get(symbol)
        if event not in ("fill", "partial_fill") or order.side != "buy" or position is None:
            return
        if symbol not in self._entry:
            self._highest[symbol] = ZERO
            self._struck.discard(symbol)
        self._entry[symbol] = position.avg_entry_price
        self.see(symbol)

    def on_sold(self, symbol: str) -> None:
        if self._world.engine.account.held(symbol) < 1:
            self._entry.pop(symbol, None)
            if symbol not in self._world.touched:
                self._refused.discard(symbol)  # else the bot may believe that it holds some of them still

    def see(self, symbol: str) -> None:
        """The bot was told of a price."""
        prices, entry, rule = self._world.told.last[symbol].prices, self._entry.get(symbol), self._rule
        if not prices or entry is None or rule is None:
            return
        self._highest[symbol] = max(self._highest[symbol], *prices)
        levels = [entry * (1 - rule.loss)] if rule.loss is not None else []
        if rule.trail is not None:
            levels.append(max(entry, self._highest[symbol]) * (1 - rule.trail))
        if min(prices) <= max(levels) + CENT:
            self._struck.add(symbol)

    def on_answer(self, call: Call, status: int, body: bytes) -> None:
        """The bot was told that an exit with a stop is not taken."""
        if call.method == "POST" and 400 <= status < 500 and status != 429 and b'"oco"' in call.body:
            self._refused.add(call.symbol)

    def on_rejected(self, symbol: str) -> None:
        self._refused.add(symbol)

    def is_struck(self, symbol: str) -> bool:
        """Whether what is held had a reason to be sold at market."""
        return symbol in self._struck or (self._rule is not None and self._is_unsure(symbol))

    def _is_unsure(self, symbol: str) -> bool:
        """Whether entry and last trade of the bot may be others than those known here."""
        world = self._world
        return symbol in world.touched or world.told.odd_at[symbol] > 0 or world.process > 1

    # -- groups -------------------------------------------------------------------------------------------------------

    def groups(self, symbol: str) -> list[tuple[Order, Decimal]]:
        """The bot's groups: the first parent, and the shares that all its orders have sold."""
        orders = self._world.engine.orders.values()
        heads = [o for o in orders if o.symbol == symbol and o.group is not None and is_bots(o.client_order_id)]
        sold: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in orders:
            if order.group is not None:
                sold[order.group.id] += order.filled_qty
        return [(head, sold[head.group.id]) for head in heads if head.group is not None]

    def over_sold(self, symbol: str, since: float = float("-inf")) -> Decimal:
        """Shares sold twice by groups that were sent after `since`, and not bought back."""
        world = self._world
        too_many = ZERO
        for head, sold in self.groups(symbol):
            if (head.submitted_at - world.start) / SECOND >= since and head.qty is not None:
                too_many += max(sold - head.qty, ZERO)
        return too_many - sum((cover.filled_qty for cover in self._covers(symbol)), ZERO)

    def _covers(self, symbol: str) -> list[Order]:
        orders = self._world.engine.orders.values()
        return [o for o in orders if o.symbol == symbol and is_cover(o)]

    def covering(self, symbol: str) -> Decimal:
        """Shares that are being bought back."""
        return sum((o.leaves for o in self._world.engine.open_orders(symbol) if is_cover(o)), ZERO)

    def check_learned(self, symbol: str) -> None:
        """Where one order of a group is known to have sold all, the end of the other one is soon asked for."""
        world, told = self._world, self._world.told
        algo = world.fleet.algos.get(symbol) if world.fleet else None
        for order_id, (_, has_ended, at) in told.pending[symbol].items():
            group = world.engine.orders[order_id].group
            known = algo.ledger.find(order_id) if algo else None
            if not has_ended or group is None or told.base_at is None or world.bot is None:
                continue
            if known is None or known.has_ended:
                continue
            others = [o for o in (group.take_profit, group.stop_loss) if o is not None and o.id != order_id]
            is_sold = any(o.status == "filled" and o.id not in told.pending[symbol] for o in others)
            hindered = world.hindrances.until("ask", "claims")
            since = max(at, told.changed_at[symbol], told.base_at, hindered)
            since = max(since, world.hindrances.sending(symbol), world.invariants.excused_by_clock)
            is_ours = (group.parent.submitted_at - world.start) / SECOND >= world.bot_since
            # Where the first questions failed, or too few are allowed, one of the next look at all orders tells.
            is_later = hindered > at or world.rest.access.trading_limit < Access().trading_limit
            felt = LEARN if is_later else SPENT_FELT
            if is_sold and is_ours and world.elapsed > since + felt and world.until_close > felt:
                self._fail(3, f"{symbol}: {order_id} is believed to work, the rest of its group has sold all")

    # -- what the bot sends -------------------------------------------------------------------------------------------

    def check_cover(self, symbol: str, qty: int) -> None:
        """What both legs have sold is bought back, once."""
        proven = self.over_sold(symbol) - self.covering(symbol)
        if qty > proven:
            self._fail(1, f"{symbol}: {qty} bought back, {proven} were sold twice")

    def check_beside(self, symbol: str) -> None:
        """Nothing is sold beside a group that works, and of which the bot knows that."""
        world = self._world
        algo = world.fleet.algos.get(symbol) if world.fleet else None
        for order in world.engine.open_orders(symbol):
            known = algo.ledger.find(order.id) if algo and order.group is not None else None
            if known is not None and known.is_bots and not known.has_ended:
                self._fail(1, f"{symbol}: a sell is sent while {order.type} {order.id} of a group of its own works")

    def check_sell(self, symbol: str, fields: Any) -> None:
        """An exit takes its stop along, unless the broker takes none."""
        rule, stop = self._rule, (fields.get("stop_loss") or {}).get("stop_price")
        if stop is None:
            fleet = self._world.fleet
            entry = fleet.algos[symbol].ledger.entry_price if fleet and symbol in fleet.algos else None
            # A price that is none leaves nothing to reckon from, also for the run after the one that was told it.
            knows_entry = self._world.told.odd_at[symbol] <= 0 and entry is not None
            if rule is not None and rule.is_at_broker and knows_entry and symbol not in self._refused:
                self._fail(2, f"{symbol}: offered at {fields.get('limit_price')} without its stop")
            return
        if rule is None or not rule.is_at_broker:
            self._fail(2, f"{symbol}: a stop at the broker that nobody asked for")
            return
        entry, price = self._entry.get(symbol), Decimal(stop)
        if self._is_unsure(symbol) or entry is None:
            return
        low = max([entry * (1 - share) for share in (rule.loss, rule.trail) if share is not None]) - 2 * CENT
        if price < low:
            self._fail(2, f"{symbol}: a stop at {price}, the entry was {entry}")

    def check_move(self, call: Call, fields: Any) -> None:
        """A stop is only ever moved upwards, while nothing of its group has filled, and not near the close."""
        world, leg = self._world, self._world.engine.orders.get(call.order_id)
        if leg is None or leg.group is None or leg.stop_price is None:
            self._fail(2, f"{call.order_id}: is moved, and is no stop of a group")
            return
        symbol, group, price = leg.symbol, leg.group, Decimal(fields["stop_price"])
        highest = max(self._levels.get(group.id, ZERO), leg.stop_price)
        if price <= highest:
            self._fail(2, f"{symbol}: the stop at {highest} is moved to {price}")
        self._levels[group.id] = highest
        told = world.told
        is_read = told.is_complete(symbol) and world.elapsed > told.changed_at[symbol] + IN_FORCE
        if is_read and any(o.filled_qty for o in (group.stop_loss, group.take_profit) if o):
            self._fail(2, f"{symbol}: the stop is moved after a fill of its group")
        if world.until_close < LAST_MOVE - CLOCKS and world.invariants.knows_hours:
            self._fail(4, f"{symbol}: the stop is moved {world.until_close:.0f} s before the close")


def is_cover(order: Order) -> bool:
    """Whether the bot buys back with it what was sold too many."""
    return order.side == "buy" and is_bots(order.client_order_id) and order.type == "market"


def on_offer(orders: list[Order]) -> list[Order]:
    """The sells that hold shares, those of a group once."""
    return rules.on_offer(orders, "sell")


def is_closing(order: Order) -> bool:
    """Whether it sells at market: a market order, or a stop that was reached."""
    return order.side == "sell" and (order.type == "market" or order.elected)
