"""The risk rules of some seeds, and what they promise, seen from the exchange's side.

This is invariant 7. A person's trades excuse what they cause. An exit is promised while nothing is wrong; that a buy
stays at home, always.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from scalp.core.clock import new_york
from scalp.core.decimals import ZERO
from scalp.core.orders import BUY
from scalp.core.risk_limits import RiskLimits
from scalp.core.trades import Fill, RoundTrips
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.orders import Order, OrderRequest
from tests.simulation.stop_invariants import is_closing, is_cover

if TYPE_CHECKING:
    from tests.simulation.world import World

WITH_RAILS = 0.4  # of the seeds
PROMPT = 3.0  # seconds from a cause to the market sell at work
GRACE = 3.5  # seconds more in which the stop at the broker may act
CHECKUP = 30.0
DATA_FELT = 60.0  # seconds after trouble with the market data
CLOCKS = 2.0  # seconds by which the bot's idea of the time may be off
LATEST = 8.0  # seconds from the decision to buy until the order arrives
PENNY = Decimal("0.01")


def draw(seed: int, start: int, minutes: int) -> RiskLimits:
    """The rules of this seed; of most seeds none."""
    rng = random.Random(f"rails {seed}")
    if rng.random() >= WITH_RAILS:
        return RiskLimits()
    ends = new_york(start + int(minutes * rng.uniform(0.3, 0.8)) * MINUTE).time().replace(second=0, microsecond=0)
    return RiskLimits(
        stop_loss=_maybe(rng, Decimal("0.001"), Decimal("0.003")),
        max_hold=_maybe(rng, 120 * SECOND, 300 * SECOND, 600 * SECOND),
        max_loss=_maybe(rng, Decimal(3), Decimal(10), None),
        cooldown=_maybe(rng, 120 * SECOND, 900 * SECOND),
        max_positions=_maybe(rng, 1, 2),
        budget=_maybe(rng, Decimal(1500), Decimal(2500), Decimal(4500)),
        no_buy_after=_maybe(rng, ends, None),
    )


def _maybe(rng: random.Random, *values: Any) -> Any:
    return rng.choice((*values, *[None] * len(values)))


class RiskInvariants:
    def __init__(self, world: World, limits: RiskLimits, fail: Callable[[int, str], None]) -> None:
        self._world = world
        self._limits = limits
        self._is_on = bool(limits)
        self._fail = fail
        self._seen = 0  # executions
        self._trips = RoundTrips()
        self._counted = 0  # round trips
        self._realised = Decimal(0)
        self._lost_at: dict[str, int] = {}
        self._told_at: dict[str, int] = {}  # symbol -> when the bot was first told of all that is held now
        self._since: defaultdict[str, dict[str, float]] = defaultdict(dict)  # kind of trouble -> symbol -> when

    def on_print(self) -> None:
        if self._is_on:
            self.check()

    def check(self) -> None:
        """After every event and every print."""
        if not self._is_on:
            return
        self._read_executions()
        if not self._world.touched:
            if not self._was_kept_from:
                self._check_use()
            self._check_loss()
        for symbol in self._world.symbols:
            self._check_exit(symbol)

    def check_submit(self, request: OrderRequest) -> None:
        """What must not be bought."""
        limits, world = self._limits, self._world
        if not self._is_on or request.side != "buy" or request.type == "market":
            return
        self._read_executions()
        now = world.now()
        if limits.no_buy_after is not None:
            day = new_york(now)
            ends = dt.datetime.combine(day.date(), limits.no_buy_after, day.tzinfo)
            if (day - ends).total_seconds() > LATEST:
                self._fail(7, f"{request.symbol}: bought at {day:%H:%M:%S}, after {limits.no_buy_after}")
        lost_at = self._lost_at.get(request.symbol)
        if limits.cooldown is not None and lost_at is not None and request.symbol not in world.touched:
            past = (now - lost_at) / SECOND
            if past < limits.cooldown / SECOND - CLOCKS:
                self._fail(7, f"{request.symbol}: bought {past:.0f} s after a loss")
        if self._is_lasting("loss", "", CHECKUP) and not world.touched:
            self._fail(7, f"{request.symbol}: bought after the session's loss had reached its limit")
        if limits.budget is not None and not world.touched and not self._was_kept_from:
            dollars = (request.qty or 0) * (request.limit_price or 0)
            dollars += sum(self._dollars(symbol, self._is_short_known(symbol)) for symbol in world.symbols)
            if dollars > limits.budget:
                self._fail(7, f"{request.symbol}: bought with ${dollars:.2f} in use, more than the budget")

    def _read_executions(self) -> None:
        executions = self._world.engine.executions
        for done in executions[self._seen :]:
            self._trips.add(Fill(done.symbol, done.side, done.qty, done.price, done.at))
        self._seen = len(executions)
        for trip in self._trips.trades[self._counted :]:
            self._realised += trip.pnl
            if trip.pnl < -PENNY:
                self._lost_at[trip.symbol] = trip.exit_time
        self._counted = len(self._trips.trades)

    def _check_use(self) -> None:
        """Never more dollars, never more symbols."""
        limits, symbols = self._limits, self._world.symbols
        dollars = sum(self._dollars(symbol) for symbol in symbols)
        taken = [symbol for symbol in symbols if self._buys(symbol) or self._world.engine.account.held(symbol) > 0]
        if limits.budget is not None and dollars > limits.budget:
            self._fail(7, f"${dollars:.2f} held and being bought for, more than the budget")
        if limits.max_positions is not None and len(taken) > limits.max_positions:
            self._fail(7, f"too many symbols held or being bought: {taken}")

    def _buys(self, symbol: str) -> list[Order]:
        own = [o for o in self._world.engine.open_orders(symbol) if o.client_order_id.startswith("scalp-")]
        return [o for o in own if o.side == "buy" and not is_cover(o)]

    def _dollars(self, symbol: str, with_short: bool = False) -> Decimal:
        """Held and being bought for; of a short position the bot learns when it has happened."""
        position = self._world.engine.account.positions.get(symbol)
        held = ZERO if position is None or (position.qty < 0 and not with_short) else abs(position.cost)
        return held + sum((o.leaves * (o.limit_price or 0) for o in self._buys(symbol)), ZERO)

    @property
    def _was_kept_from(self) -> bool:
        """Whether what an earlier process left at work was not listed when this one began."""
        world = self._world
        return world.process > 1 and (world.told.base_at is None or world.invariants.was_deceived)

    def _is_short_known(self, symbol: str) -> bool:
        """Whether a buy that arrives now was decided upon when the bot had been told what it is short of."""
        told = self._world.told
        known_at = max(told.changed_at[symbol], told.base_at or 0.0)
        return told.is_complete(symbol) and self._world.elapsed > known_at + LATEST

    def _last(self, symbol: str) -> Decimal | None:
        """The last trade that the bot was told of, the higher one where two might be it."""
        return max(self._world.told.last[symbol].prices, default=None)

    def _check_loss(self) -> None:
        """Over the limit for a while, and by more than the bot's and the exchange's last trade may differ."""
        if self._limits.max_loss is None:
            return
        total = self._realised
        for symbol, holding in self._trips.held.items():
            last = self._last(symbol)
            total += holding.profit_at(last or holding.entry_price)
        self._note("loss", "", total < self._limits.max_loss * Decimal("-1.1") - 1)

    def _check_exit(self, symbol: str) -> None:
        engine, limits = self._world.engine, self._limits
        position = engine.account.positions.get(symbol)
        is_leaving_now = any(map(is_closing, engine.open_orders(symbol)))
        is_bare = position is not None and position.qty >= 1 and not is_leaving_now
        is_bare &= symbol not in self._world.touched
        last = self._last(symbol)
        if position is None:
            self._told_at.pop(symbol, None)
        elif self._world.told.is_complete(symbol):
            told_at = self._world.start + round(self._world.told.changed_at[symbol] * SECOND)
            self._told_at.setdefault(symbol, told_at)
        is_under = False
        if is_bare and position is not None and limits.stop_loss is not None and last is not None:
            is_under = last <= position.avg_entry_price * (1 - limits.stop_loss)
        self._note("stop", symbol, is_under)
        is_at_broker = limits.stop is not None and limits.stop.is_at_broker
        if self._is_lasting("stop", symbol, PROMPT + (GRACE if is_at_broker else 0.0)):
            self._fail(7, f"{symbol}: under the stop loss and not for sale at market")
        is_old = False
        if is_bare and limits.max_hold is not None:
            since = max(self._entered_at(symbol), self._told_at.get(symbol, self._world.now()))
            is_old = self._world.now() - since > limits.max_hold
        self._note("hold", symbol, is_old)
        if self._is_lasting("hold", symbol, CHECKUP + PROMPT):
            self._fail(7, f"{symbol}: held for too long and not for sale at market")
        self._note("flat", symbol, is_bare and self._is_lasting("loss", "", 0.0))
        if self._is_lasting("flat", symbol, CHECKUP + PROMPT):
            self._fail(7, f"{symbol}: held although the session's loss had reached its limit")

    def _entered_at(self, symbol: str) -> int:
        """When what is held was bought, as far as the process could learn it."""
        world, at = self._world, self._trips.held[symbol].entry_time
        if world.plan.stands("activities forbidden") and at < world.start + world.bot_since * SECOND:
            # Of before its start it knows the day's orders alone: these tell when the last share was bought.
            return max(done.at for done in world.engine.executions if done.symbol == symbol and done.side == BUY)
        return at

    def _note(self, kind: str, symbol: str, is_so: bool) -> None:
        since = self._since[kind]
        if not is_so:
            since.pop(symbol, None)
        elif symbol not in since:
            since[symbol] = self._world.elapsed
            for wait in (PROMPT, PROMPT + GRACE, CHECKUP + PROMPT):
                self._world.loop.call_later(wait + 0.1, self.check)

    def _is_lasting(self, kind: str, symbol: str, seconds: float) -> bool:
        """Whether it has been so for so long while the bot could know it and do something about it."""
        world, since = self._world, self._since[kind].get(symbol)
        if since is None or world.bot is None or world.now() > world.session.close - 2 * SECOND:
            return False
        hindrances, invariants = world.hindrances, world.invariants
        for each in (symbol,) if symbol else world.symbols:
            since = max(since, invariants.excused_until(each, 0.0), world.told.odd_at[each] + DATA_FELT)
        since = max(since, hindrances.until("data") + DATA_FELT, world.bot_since + CHECKUP)
        if world.process > 1:
            # What was lost and held before the process began, it learns from the day's activities.
            since = max(since, hindrances.until("activities") + DATA_FELT)
        return world.elapsed - since > seconds
