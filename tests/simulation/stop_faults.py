"""Exits with a stop at the broker: which seeds have them, and what goes wrong with them at the exchange."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from scalp.core.orders import FINAL_STATUSES
from scalp.core.risk_limits import RiskLimits
from scalp.exchange import rules
from scalp.exchange.fills import Book, FillModel
from scalp.exchange.orders import Order, OrderRequest, Update
from tests.simulation.faults import GROUPS, STOP_HALTED, Episode, size

if TYPE_CHECKING:
    from tests.simulation.world import World

MORE_STOPS = 0.375  # of the seeds whose rules have none: half of all have one then
TRAILS, ALONE, AT_BOT = 0.4, 0.3, 0.15  # of those: a trail as well, no loss beside it, the bot keeps the stop
SHARES = (Decimal("0.0005"), Decimal("0.001"), Decimal("0.002"), Decimal("0.005"))
WHY_NOT = ("invalid order_class", "oco orders must be exit orders", "order class oco is not supported at this time")

log = logging.getLogger("scalp.world")


def draw(seed: int, limits: RiskLimits, only: frozenset[str] | None) -> RiskLimits:
    """The rules of this seed, and the stop that it has besides them."""
    rng = random.Random(f"stop {seed}")
    is_drawn = rng.random() < MORE_STOPS
    is_wanted = only is not None and bool(only & set(GROUPS))
    if limits.stop_loss is not None or not (is_drawn or is_wanted):
        return limits
    loss, trail = rng.choice(SHARES), rng.choice(SHARES) if rng.random() < TRAILS else None
    is_alone = trail is not None and rng.random() < ALONE
    is_at_bot = rng.random() < AT_BOT and not is_wanted
    return replace(limits, stop_loss=None if is_alone else loss, trail=trail, stop_at="bot" if is_at_bot else None)


class StickyFills(FillModel, frozen=True):
    """As ever, but some orders get nothing, whatever trades: a market order outside its collar, a group forgotten."""

    stuck: set[str] = set()  # noqa: RUF012  (msgspec copies it); order ids, and those of groups
    outages: set[float] = set()  # noqa: RUF012  (the same); while there is one no stop sees a print

    def may_trade(self, order: Order, book: Book, now: int) -> bool:
        is_stuck = order.id in self.stuck or (order.group is not None and order.group.id in self.stuck)
        return not is_stuck and super().may_trade(order, book, now)

    def elects(self, order: Order, book: Book) -> bool:
        is_stuck = bool(self.outages) or (order.group is not None and order.group.id in self.stuck)
        return not is_stuck and super().elects(order, book)


class StopFaults:
    """What goes wrong with the bot's groups."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._untold: set[str] = set()  # ids of orders of whose end no update tells
        self._end_leg = world.engine.end_leg
        world.engine.end_leg = self._end_other  # type: ignore[method-assign]

    def schedule(self) -> None:
        for outage in self._world.plan.episodes.get("stop triggers down", ()):
            self._world.loop.call_later(outage.start, self._begin_outage, outage)

    def _begin_outage(self, outage: Episode) -> None:
        world = self._world
        if world.plan.episode("stop triggers down", world.elapsed) is None:
            return
        world.fills.outages.add(outage.start)
        world.loop.call_later(outage.end - outage.start, world.fills.outages.discard, outage.start)

    def check(self, request: OrderRequest) -> None:
        """Raises Rejection while groups are not taken."""
        if request.order_class != "oco":
            return
        if episode := self._world.plan.episode("stop class refused", self._world.elapsed):
            raise rules.unprocessable(str(episode.choose(*WHY_NOT)))

    def on_event(self, event: str, order: Order) -> None:
        """A take-profit that is filled in part may be the last thing that happens to its group for a while."""
        world, group = self._world, order.group
        if event != "partial_fill" or group is None or order is not group.take_profit or not is_of_bot(order):
            return
        kind = "a part filled and then neither leg acts"
        if world.plan.strikes(kind, world.elapsed):
            world.fills.stuck.add(group.id)
            world.loop.call_later(size(world.plan.rng(kind), 5.0, 600.0), world.fills.stuck.discard, group.id)

    def is_untold(self, update: Update) -> bool:
        return update.order.id in self._untold and update.event in FINAL_STATUSES

    def _end_other(self, leg: Order, status: str) -> None:
        """An order is about to end because another one of its group was filled, elected or ended."""
        world, plan, now, group = self._world, self._world.plan, self._world.elapsed, leg.group
        assert group is not None
        stop, profit = group.stop_loss, group.take_profit
        if status == "canceled" and stop is not None and profit is not None and is_of_bot(leg):
            if stop.elected or profit.status == "filled":
                if plan.strikes("both legs fill", now):
                    world.loop.call_later(size(plan.rng("both legs fill"), 0.001, 1.5), self._fill_too, leg)
                    return
                if leg is profit and plan.strikes("take-profit ends replaced", now):
                    status = "replaced"
            if plan.strikes("a leg's end never told", now):
                self._untold.add(leg.id)
        self._end_leg(leg, status)

    def _fill_too(self, leg: Order) -> None:
        """The other one was faster than its cancel."""
        world = self._world
        world.pump()
        engine, book = world.engine, world.engine._book(leg.symbol)
        if not leg.open or book.halted or not engine.is_open:
            return
        log.info("FAULT both legs fill")
        if leg in book.stops:
            engine.elect(leg, book)
        elif leg in book.live and leg.limit_price is not None:
            engine._fill(leg, book, (leg.limit_price, int(leg.leaves)))
        world.pump()

    def halt(self) -> bool:
        """Trading stops in a symbol, and its stop is cancelled: alone, or with the rest of its group."""
        world, rng = self._world, self._world.plan.rng(STOP_HALTED)
        waiting = {
            symbol: [stop for stop in world.engine._book(symbol).stops if is_of_bot(stop)] for symbol in world.symbols
        }
        symbols = [symbol for symbol, stops in waiting.items() if stops and not world.engine.is_halted(symbol)]
        if not symbols:
            return False
        symbol = rng.choice(symbols)
        world.happenings.halt_now(symbol, STOP_HALTED)
        for stop in waiting[symbol]:
            assert stop.group is not None
            stop.group.is_over = rng.random() < 0.5
            world.engine.end_leg(stop, "canceled")
        return True


def is_of_bot(order: Order) -> bool:
    """Whether it belongs to a group that the bot made."""
    return order.group is not None and order.group.parent.client_order_id.startswith("scalp-")
