"""The stop loss of one symbol: at which price it stands, and whether it rests at the broker.

The exit goes out as one order of two legs (OCO): a limit to take the profit, and a stop that sells at market even
if this program is dead. What this program sees itself is the second line: where the last trade has been at or under the
stop for `GRACE` and nothing of the group was executed, the group is cancelled and the rest sold at market. Where the
broker does not take the stop, or the user wants it kept by the bot, the bot's own stop strikes at once.

With a trail the stop follows the last trade upwards, never down, by a change of the stop leg's price.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from scalp.core.commands import MoveStop
from scalp.core.exits import Plan
from scalp.core.ledger import Ledger
from scalp.core.order_state import Order
from scalp.core.orders import SELL
from scalp.core.prices import CENT, Written, exact, round_down
from scalp.core.tape import Tape
from scalp.core.units import MINUTE, SECOND

GRACE = 3 * SECOND  # for the broker's stop to act before the bot does
MOVE_EVERY = 2 * SECOND  # between two changes of a stop's price
NO_MOVE_BEFORE = MINUTE  # no move so soon before the liquidation
# Why this program sends nothing at all just now; neither that nor missing shares show whether the broker takes a stop.
MAY_BE_CLOSED, NEAR_CLOSE = "the market may be closed", "too close to the close"
NOT_THE_STOP = ("insufficient qty", MAY_BE_CLOSED, NEAR_CLOSE)


class StopRule(Struct, frozen=True):
    """`loss` is a share of the entry price, `trail` one of the highest last trade since; None: not asked for."""

    loss: Decimal | None = None
    trail: Decimal | None = None
    is_at_broker: bool = True

    def level(self, entry: Decimal, highest: Decimal) -> Decimal | None:
        """The price of the stop, `highest` being the highest last trade since the entry, or the entry."""
        levels = [entry * (1 - self.loss)] if self.loss is not None else []
        if self.trail is not None:
            levels.append(highest * (1 - self.trail))
        return max(levels, default=None)


class Stop:
    """Times are exchange time in ns, prices dollars a share."""

    def __init__(self, ledger: Ledger, tape: Tape) -> None:
        self.rule: StopRule | None = None
        self._ledger = ledger
        self._tape = tape
        self.bought_at = 0  # when the first of the shares held were bought; 0: they were listed, or none are
        self._highest = 0.0  # the highest last trade since then
        self._level: Decimal | None = None
        self._level_of: tuple[Decimal, float] | None = None  # entry price and highest trade that it was computed from
        self._is_rejected = False  # the broker took no stop for the shares held now
        self._is_fixed = False  # the broker does not let its stop be moved
        self._under_since = 0  # when the last trade was first seen at or under the stop; 0: it is not
        self._moved_at = 0

    # -- what happens -------------------------------------------------------------------------------------------------

    def on_bought(self, at: int) -> None:
        if not self.bought_at:
            self.bought_at = at

    def on_flat(self) -> None:
        """The next shares have nothing to do with these."""
        self.bought_at = self._under_since = 0
        self._highest = 0.0
        self._is_rejected = self._is_fixed = False

    def on_rejected(self) -> None:
        """The broker takes no stop: these shares are offered without one."""
        self._is_rejected = True

    def on_fixed(self) -> None:
        """The broker does not change its stop: the bot trails by itself."""
        self._is_fixed = True

    def see(self) -> None:
        """A print was made: the trail follows it upwards."""
        last, tape = self._tape.last_price, self._tape
        if last is not None and last > self._highest and tape.last_at > self.bought_at > 0:
            self._highest = last

    # -- what follows -------------------------------------------------------------------------------------------------

    @property
    def level(self) -> Decimal | None:
        """A last trade at or under this price is a stop loss; None: there is no stop, or nothing is held."""
        rule, entry = self.rule, self._ledger.entry_price
        if rule is None or entry is None or self._ledger.position <= 0:
            return None
        reckoned_from = (entry, self._highest)
        if self._level_of != reckoned_from:
            self._level_of = reckoned_from
            self._level = rule.level(entry, max(entry, exact(self._highest)))
        return self._level

    def price_with(self, limit: Decimal) -> Decimal | None:
        """The stop to send with an exit at `limit`; None: it goes without one."""
        rule = self.rule
        if rule is None or not rule.is_at_broker or self._is_rejected or (level := self.level) is None:
            return None
        stop = round_down(level)
        return stop if 0 < stop <= limit - CENT else None

    @property
    def is_struck(self) -> bool:
        """Whether a print made after the shares were bought is at or under the stop."""
        last, level = self._tape.last_price, self.level
        return level is not None and last is not None and self._tape.last_at > self.bought_at and exact(last) <= level

    @property
    def leg(self) -> Order | None:
        """The stop that rests at the broker."""
        for order in self._ledger.open_orders:
            if order.side == SELL and order.parent is not None and order.type.startswith("stop"):
                return order
        return None

    def why_close(self, at: int) -> str:
        """Why what is held must be sold at market now; "" if it may stay."""
        last, level = self._tape.last_price, self.level
        if level is None or last is None or exact(last) > level:
            self._under_since = 0
            return ""
        if self._rests:
            self._under_since = self._under_since or at
            if at < self.due_at:
                return ""
        rule, entry = self.rule, self._ledger.entry_price or Decimal(0)
        first = None if rule is None else rule.level(entry, entry)
        if first is not None and level > first:
            return f"trail, the last trade is {last}, the highest was {self._highest}, the entry was {Written(entry)}"
        return f"stop loss, the last trade is {last}, the entry was {Written(entry)}"

    @property
    def due_at(self) -> int:
        """When the bot's own stop strikes if the broker's does nothing; 0: nothing calls for it."""
        if not self._under_since:
            return 0
        moved = max((order.moved_at for order in self._ledger.open_orders if order.side == SELL), default=0)
        return max(self._under_since, moved) + GRACE

    @property
    def _rests(self) -> bool:
        """Whether the broker has a stop, or is just being asked to take one."""
        if self.leg is not None:
            return True
        return any(
            order.side == SELL and order.is_own and order.stop_price is not None and not order.legs
            for order in self._ledger.open_orders
        )

    def move(self, plan: Plan, liquidate_at: int, at: int) -> list[MoveStop]:
        """Bring the broker's stop up to the trail, where it is time for that and `plan` lets the shares rest."""
        is_offered = plan is Plan.OFFER and self._ledger.position > 0
        move = self._next_move(liquidate_at, at) if is_offered else None
        return [] if move is None else [move]

    def _next_move(self, liquidate_at: int, at: int) -> MoveStop | None:
        rule = self.rule
        if rule is None or rule.trail is None or self._is_fixed or at < self._moved_at + MOVE_EVERY:
            return None
        leg, level = self.leg, self.level
        if leg is None or level is None or leg.stop_price is None or leg.move_sent_at or leg.cancel_sent_at:
            return None
        if at >= liquidate_at - NO_MOVE_BEFORE or leg.head.sold_by_group or not leg.id:
            return None
        stop, last = round_down(level), exact(self._tape.last_price or 0.0)
        limit = leg.head.limit_price
        if stop <= leg.stop_price or stop > last - CENT or (limit is not None and stop > limit - CENT):
            return None
        leg.move_sent_at = self._moved_at = at
        return MoveStop(leg.symbol, leg.id, stop)
