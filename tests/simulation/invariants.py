"""What must always hold, seen from the exchange's side: its books don't depend on what the bot believes.

Numbers 1 to 6 are those of the design's list, 7 is about the risk rails. A person's trades and the trouble of the plan
excuse what they cause, no more.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

from scalp.exchange.orders import Order, OrderRequest
from scalp.fleet import Fleet
from scalp.messages import SECOND
from tests.simulation.rails import RailInvariants

if TYPE_CHECKING:
    from tests.simulation.world import World

LOT = Decimal(2000)
QUICK = 1.5  # seconds within which held shares have a sell when nothing is wrong
CALM = 60.0  # seconds without trouble after which nothing counts as wrong any more
TWO_CHECKUPS = 62.0
BUY_LIFETIME = 120.0
CHECKUP = 30.0
BLIND_FOR = 3.0  # seconds without an order stream that must have reached the bot
BELIEF_FOR = 5.0


class Violation(AssertionError):
    """An invariant does not hold."""

    world: World


class Invariants:
    def __init__(self, world: World) -> None:
        self._world = world
        self._bare_since: dict[str, float] = {}  # symbol -> since when held shares have had no sell
        self._blind_since = 0.0
        self.rails = RailInvariants(world, world.limits, self._fail)
        self.violation: Violation | None = None
        self.violated = asyncio.Event()

    def check(self) -> None:
        """After every event."""
        world, engine = self._world, self._world.engine
        for symbol in world.symbols:
            orders = engine.open_orders(symbol)
            own = [o for o in orders if o.client_order_id.startswith("scalp-") and not o.replaces]
            if len([o for o in own if o.status != "pending_cancel"]) > 1:
                self._fail(1, f"{symbol}: several own orders at work: {[o.client_order_id for o in own]}")
            held = engine.account.held(symbol)
            if held < 0:
                self._fail(1, f"{symbol}: short, {held}")
            if symbol not in world.by_hand:
                position = engine.account.positions.get(symbol)
                cost = held * position.avg_entry_price if position else Decimal(0)
                cost += sum(o.leaves * (o.limit_price or 0) for o in own if o.side == "buy")
                if cost > LOT:
                    self._fail(1, f"{symbol}: bought for {cost}, more than a lot")
            self._check_covered(symbol, held, orders)
            self._check_age(own)
        self.rails.check()

    def _trouble(self) -> float:
        """Until when something was wrong; the first minute of a process counts as well."""
        return max(self._world.plan.last_at, self._world.bot_since)

    def _check_covered(self, symbol: str, held: Decimal, orders: list[Order]) -> None:
        """2: held shares have a sell at work: at once when nothing is wrong, else two checkups after the trouble."""
        world = self._world
        if held < 1 or orders:
            self._bare_since.pop(symbol, None)
            return
        now = world.elapsed
        if symbol not in self._bare_since:
            self._bare_since[symbol] = now
            world.loop.call_later(QUICK + 0.1, world.check)
        if world.bot is None or world.now() >= world.session.close - 2 * SECOND:
            return
        since, trouble = self._bare_since[symbol], self._trouble()
        if since > trouble + CALM and now - since > QUICK:
            self._fail(2, f"{symbol}: {held} held without a sell for {now - since:.1f} s, and nothing was wrong")
        if now > max(since, trouble) + TWO_CHECKUPS + world.longest_backoff:
            self._fail(2, f"{symbol}: {held} held without a sell for {now - since:.0f} s")

    def _check_age(self, own: list[Order]) -> None:
        """An unfilled buy is cancelled after 2 minutes, by the checkup that follows."""
        world = self._world
        for order in own:
            age = (world.now() - order.submitted_at) / SECOND
            calm = world.elapsed - self._trouble()
            if order.side == "buy" and world.bot is not None and min(age, calm) > BUY_LIFETIME + CHECKUP + QUICK:
                self._fail(2, f"{order.symbol}: a buy has worked for {age:.0f} s")

    def check_submit(self, request: OrderRequest) -> None:
        """No buy goes out while the bot is blind, or against a rail."""
        world = self._world
        self.rails.check_submit(request)
        if request.side == "buy" and not any(s.listening for s in world.order_sessions):
            blind = world.elapsed - world.deaf_since
            if blind > BLIND_FOR and world.rng_late < world.elapsed - BLIND_FOR:
                self._fail(3, f"{request.symbol}: a buy was sent, {blind:.1f} s without order updates")

    def check_liveness(self, fleet: Fleet) -> None:
        """Two checkups after the last trouble the ledgers equal the exchange's books, reconciled or not."""
        world = self._world
        if min(world.elapsed - self._trouble(), world.elapsed - world.changed_at) > TWO_CHECKUPS:
            self.check_belief(fleet)

    def check_belief(self, fleet: Fleet) -> None:
        """3: after a reconciliation during which nothing changed, the ledgers equal the exchange's books."""
        engine = self._world.engine
        for symbol, algo in fleet.algos.items():
            held = engine.account.held(symbol)
            if algo.ledger.position != held:
                self._fail(3, f"{symbol}: {algo.ledger.position} held by the ledger, {held} in truth")
            believed = {order.id for order in algo.ledger.open_orders if order.id}
            real = {order.id for order in engine.open_orders(symbol)}
            if believed != real:
                self._fail(3, f"{symbol}: orders {sorted(believed)} believed open, {sorted(real)} are")

    def no_part_may_die(self) -> None:
        """5: whatever happens out there, the bot itself goes on: it ended with exit code 1 before the close."""
        self._fail(5, "a part of the bot died")

    def check_end(self) -> None:
        """4: after the close nothing is held or at work, or the exit code says so."""
        world, engine = self._world, self._world.engine
        self.check()
        left = {s: engine.account.held(s) for s in world.symbols if engine.account.held(s)}
        at_work = [o.client_order_id for s in world.symbols for o in engine.open_orders(s)]
        if (left or at_work) and world.exit_code == 0:
            self._fail(4, f"exit code 0, but held: {left}, at work: {at_work}")
        if world.exit_code is None:
            self._fail(4, "the process never ended")
        if self._trouble() < (world.session.close - world.start) / SECOND - 300:
            for symbol, held in left.items():
                if not self._was_offered(symbol) and not engine.is_halted(symbol):
                    self._fail(4, f"{symbol}: {held} held after the close")

    def _was_offered(self, symbol: str) -> bool:
        """Whether a market sell worked until the end, and the market just did not take all of it."""
        last = [o for o in self._world.engine.orders.values() if o.symbol == symbol][-1]
        ended = last.canceled_at or last.expired_at or 0
        return last.side == "sell" and last.type == "market" and ended >= self._world.session.close - 3 * SECOND

    def _fail(self, number: int, text: str) -> None:
        """Note the first violation; the world ends the run with it."""
        if self.violation is None:
            self.violation = Violation(f"invariant {number}: {text} (at {self._world.elapsed:.3f} s)")
            self.violation.world = self._world
            self.violated.set()
