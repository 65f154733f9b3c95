"""What must always hold, seen from the exchange's side: its books don't depend on what the bot believes.

Numbers 1 to 6 are those of the design's list, 7 is about the risk rules. Nothing is excused because something else was
wrong: each deadline is as long as a sound bot needs, by what it was told over the wire (`told`) and by which ways were
hindered (`hindrances`), and where facts were told and orders get through that is a second or two.
"""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from scalp.core.leftovers import leftovers
from scalp.core.order_state import LOST
from scalp.core.prices import round_up, tick
from scalp.core.units import SECOND
from scalp.exchange.orders import Order, OrderRequest
from tests.simulation import own_exits
from tests.simulation.excuses import (
    CLOCK_MOVES,
    CLOSE_FELT,
    EXPLAIN,
    LEARN,
    LIQUIDATION,
    LISTINGS_LAG,
    QUICK,
    QUIET,
    START,
    Excuses,
)
from tests.simulation.risk_rules import RiskInvariants
from tests.simulation.stop_faults import is_of_bot
from tests.simulation.stop_invariants import StopInvariants, is_closing, is_cover, on_offer

if TYPE_CHECKING:
    from tests.simulation.network import Call
    from tests.simulation.world import World

LOT = Decimal(2000)
BUY_LIFETIME, CHECKUP = 120.0, 30.0
BEGINNING = 4.0  # seconds in which it begins: a checkup may be waiting for the clock's answer
ODD_FELT = 60.0  # seconds after a price that is none was told
TRADES_WITHIN = 60.0  # seconds: a symbol without a print for so long may be halted, for all the bot can see
STUCK_SEEN = 10.0
STUCK_FOR = 75.0  # seconds a market order may stand unfilled while its symbol trades
DOUBT_AFTER = 0.02  # seconds after a listing that differs was told
BLIND_AFTER = 1.0
HELD_REASON = 90.0  # seconds for which a reason to cancel an exit counts
# Orders by hand are learned of in another order than they were executed in.
UNTOLD = ("update late", "update lost", "hand buys in a gap of the stream")
CALM = 260.0  # seconds after all trouble in which buying must be on again


class Violation(AssertionError):
    """An invariant does not hold."""

    world: World


class Invariants(Excuses):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._bare_since: dict[str, float] = {}  # symbol -> since when not all that is held is on offer
        self._due: dict[str, float] = {}  # symbol -> when a look at it is scheduled
        self._differed_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))  # shares and offer, last
        self._bought_blindly: set[str] = set()  # symbols in which a process bought that was shown no lot of before
        self._posted: set[str] = set()  # client order ids that were sent
        self._may_repeat: set[str] = set()  # of those, what the broker did nothing about
        self.cancelled: set[str] = set()  # order ids whose cancel the bot asked for
        self._stuck_since: dict[str, float] = {}  # order id -> when its symbol began to trade past it
        self._traded_at: dict[str, float] = {}  # when it was first seen that others trade
        self._start_position: dict[str, Decimal] = {}
        self._first_execution = 0  # of the running process
        self._looks = 0
        self._has_risk_rules = bool(replace(world.limits, stop_loss=None, trail=None))  # stops are looked at closely
        self._has_risk_rules |= "_calculate_exit_signal" in world.algo._own_hooks  # which may leave at any time, too
        self.stops = StopInvariants(world, self._fail)
        self.risk_rules = RiskInvariants(world, world.limits, self._fail)
        self.violation: Violation | None = None
        self.violated: asyncio.Future[None] = world.loop.create_future()

    def on_started(self) -> None:
        """A new process."""
        world = self._world
        self._bare_since.clear()
        self._first_execution = len(world.engine.executions)
        self._start_position = {s: world.engine.account.held(s) for s in world.symbols}

    # -- the books ----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Now and then, while nothing happens."""
        for symbol in self._world.symbols:
            self._check_books(symbol)
            self._check_belief(symbol)
            self._check_dropped(symbol)
            self.stops.check_learned(symbol)
            if self._looks % 6 == 0:
                self._check_resumed(symbol)
        self._looks += 1
        self.risk_rules.check()

    def check(self, symbol: str) -> None:
        """After every event in a symbol."""
        if symbol in self._world.symbols:
            self._check_books(symbol)
            self.stops.check_learned(symbol)
            self.risk_rules.check()

    def _check_books(self, symbol: str) -> None:
        world, engine = self._world, self._world.engine
        orders = engine.open_orders(symbol)
        own = [o for o in orders if (is_own(o) and not is_cover(o)) or is_of_bot(o)]
        if world.told.base_at is None or self.was_deceived:
            # What an earlier run left at work it may not have been shown when it began.
            own = [o for o in own if (o.submitted_at - world.start) / SECOND >= world.bot_since]
        at_work = [o for o in own if o.status != "pending_cancel"]
        is_its_doing = any((o.submitted_at - world.start) / SECOND >= world.bot_since for o in at_work)
        if len({o.group.id if o.group else o.id for o in at_work}) > 1 and is_its_doing:
            self._fail(1, f"{symbol}: several own orders at work: {[o.client_order_id for o in own]}")
        held = engine.account.held(symbol)
        if held < 0 and -held > self.stops.over_sold(symbol):
            self._fail(1, f"{symbol}: short, {held}")
        algo = world.fleet and world.fleet.algos.get(symbol)
        is_chance = world.told.base_at is None and world.told.pending[symbol]  # both are wrong by the same
        if algo and algo.ledger.position == held and world.elapsed >= world.told.first_claimed_at and not is_chance:
            self._knew_at[symbol] = world.elapsed  # whoever told
        if not own and not held:
            self._bought_blindly.discard(symbol)
        elif symbol not in world.touched:
            position = engine.account.positions.get(symbol)
            cost = held * position.avg_entry_price if position else Decimal(0)
            cost += sum(o.leaves * (o.limit_price or 0) for o in own if o.side == "buy")
            if cost > LOT and world.told.base_at is None and world.process > 1:
                self._bought_blindly.add(symbol)
            elif cost > LOT and symbol not in self._bought_blindly:
                self._fail(1, f"{symbol}: bought for {cost}, more than a lot")
        self._check_covered(symbol, held, orders)
        self._check_orders(symbol, own)

    def _check_covered(self, symbol: str, held: Decimal, orders: list[Order]) -> None:
        """2: every whole share held is on offer; in liquidation at market, and no other order works."""
        world, now = self._world, self._world.elapsed
        is_liquidation = now >= self.liquidates_at
        offered, is_in_the_way = Decimal(0), False
        holding = on_offer(orders)
        for order in orders:
            if order.status == "pending_cancel" or is_cover(order):
                continue
            if order in holding and (is_closing(order) or not is_liquidation):
                offered += order.leaves
            elif is_liquidation and (is_own(order) or is_of_bot(order)) and not self._is_nowhere(order):
                is_in_the_way = True
        if offered != held:
            self._differed_at[symbol] = now
        is_over = self._is_about_over or self._seems_closed
        is_kept = world.stopped_at is not None and world.on_exit == "keep" and any(o.side == "buy" for o in orders)
        # Shares of which listings alone tell wait for the exit that works.
        is_guess = offered > 0 and not is_liquidation and self._are_untold(symbol)
        is_covered = (offered >= int(held) and not is_in_the_way) or self._is_deceived(symbol) or is_guess
        short = 0 if held >= 0 else self._not_bought_back(symbol)
        is_covered = not short if held < 0 else is_covered
        if is_covered or world.bot is None or is_over or is_kept:
            self._bare_since.pop(symbol, None)
            return
        since = self._bare_since.setdefault(symbol, now)
        until = self.excused_until(symbol, max(since, self.liquidates_at + BEGINNING if is_liquidation else 0.0))
        buys = [o for o in orders if o.side == "buy"]
        if buys:
            # Some of a buy's shares may wait for the rest of it, until it is cancelled for its age.
            waiting = [o for o in buys if o.filled_qty] or buys  # somebody else's that got nothing is none of those
            oldest = (min(o.submitted_at for o in waiting) - world.start) / SECOND
            waits = max(oldest + BUY_LIFETIME, world.bot_since + START) + CHECKUP + QUICK * 2
            waits += CLOCK_MOVES if world.hindrances.leaps_until > world.bot_since else 0.0
            until = max(until, min(waits, max(self.liquidates_at, since) + 2 * QUICK))
        if now > until and short:
            self._fail(2, f"{symbol}: {short} were sold twice, and not bought back for {now - since:.1f} s")
        elif now > until:
            what = "not for sale at market" if is_liquidation else "not on offer"
            self._fail(2, f"{symbol}: {held} held, {held - offered} of them {what} for {now - since:.1f} s")
        elif self._due.get(symbol, 0.0) <= now or self._due[symbol] > until + 0.02:
            self._due[symbol] = until + 0.01
            world.loop.call_later(until - now + 0.01, self._check_books, symbol)

    def _is_nowhere(self, order: Order) -> bool:
        """Whether the bot has given it up, as neither by id nor in any listing there was anything of it for minutes."""
        algo = self._world.fleet.algos.get(order.symbol) if self._world.fleet else None
        known = algo.ledger.find(order.id) if algo else None
        return known is not None and known.status == LOST and self._world.plan.struck["orders empty"] > 0

    def _not_bought_back(self, symbol: str) -> int:
        """Shares that both legs of an exit of this process have sold, and that nobody is buying back."""
        world = self._world
        if symbol in world.touched or world.told.base_at is None:
            return 0
        due = min(-world.engine.account.held(symbol), self.stops.over_sold(symbol, world.bot_since))
        return max(int(due - self.stops.covering(symbol)), 0)

    def _check_orders(self, symbol: str, own: list[Order]) -> None:
        """A buy is cancelled after 2 minutes; a market exit that gets nothing where others trade, sooner."""
        world, now = self._world, self._world.elapsed
        if self._is_about_over or self._seems_closed:
            return
        for order in own:
            if world.bot is None or order.status == "pending_cancel":
                continue
            age = now - max((order.submitted_at - world.start) / SECOND, world.bot_since + START)
            late = max(now - age + BUY_LIFETIME + CHECKUP, self.excused_until(symbol, 0.0) + CHECKUP)
            late += CLOCK_MOVES if world.hindrances.leaps_until > world.bot_since else 0.0
            if order.side == "buy" and now > late + BEGINNING:
                self._fail(2, f"{symbol}: a buy has worked for {age:.0f} s")
            if order.type != "market" or order.id not in world.fills.stuck or world.engine.is_halted(symbol):
                self._stuck_since.pop(order.id, None)
                self._traded_at.pop(order.id, None)
                continue
            since, printed_at = self._stuck_since.setdefault(order.id, now), world.told.printed_at[symbol]
            trades = printed_at > since + STUCK_SEEN and printed_at > now - TRADES_WITHIN
            if not trades:
                self._traded_at.pop(order.id, None)
                continue
            since = max(
                since,
                self.excused_until(symbol, 0.0),
                self._traded_at.setdefault(order.id, now) + STUCK_SEEN - STUCK_FOR,
            )
            if now - since > STUCK_FOR and world.until_close > 20:
                self._fail(2, f"{symbol}: a market order has got nothing for {now - since:.0f} s, and others trade")

    # -- what the bot sends -------------------------------------------------------------------------------------------

    def check_sent(self, call: Call, fields: Any) -> None:
        """The bot sends or cancels an order."""
        world = self._world
        if call.method == "DELETE":
            self._note_cancel(call.order_id)
            self._check_cancel(call)
            return
        if call.method == "PATCH":
            self.stops.check_move(call, fields)
            return
        side, key = fields.get("side"), call.client_id
        is_again = key in self._posted
        self._posted.add(key)
        # A close that the clock alone tells of is no close before the calendar has been asked.
        may_doubt = world.close_moved_at > 0 and world.hindrances.until("start") > world.elapsed - CLOSE_FELT
        has_told = self._knows_close and not world.hindrances.has_clock_lied and not may_doubt
        if world.until_close <= QUIET - 0.05 and has_told:
            self._fail(4, f"{call.symbol}: an order is sent {world.until_close:.2f} s before the close")
        if int(fields["qty"]) < 1:
            self._fail(1, f"{call.symbol}: an order of {fields['qty']} shares")
        if side == "sell":
            if fields.get("position_intent") != "sell_to_close":
                self._fail(1, f"{call.symbol}: a sell without its intent")
            if not is_again:
                self._check_quantity(call.symbol, int(fields["qty"]))
                self._check_sell(call.symbol, fields)
                self.stops.check_beside(call.symbol)
        elif fields.get("position_intent") == "buy_to_close":
            if not is_again:
                self.stops.check_cover(call.symbol, int(fields["qty"]))
        elif side == "buy":
            self._check_buy(call.symbol, key, is_again and key not in self._may_repeat)
        self._may_repeat.discard(key)

    def _note_cancel(self, order_id: str) -> None:
        """With one order of a group all are cancelled."""
        order = self._world.engine.orders.get(order_id)
        group = None if order is None else order.group
        self.cancelled.add(order_id)
        if group is not None:
            self.cancelled.update(o.id for o in (group.take_profit, group.stop_loss) if o is not None)

    def on_limited(self, key: str) -> None:
        """The broker did nothing about this order: it may be sent again."""
        self._may_repeat.add(key)

    @property
    def excused_by_clock(self) -> float:
        """Until when nothing is due by the time: a clock leaps."""
        return self._world.hindrances.leaps_until if self._knows_time else float("inf")

    @property
    def knows_hours(self) -> bool:
        """Whether nothing but the truth was told of time and close."""
        world = self._world
        is_plain = world.close_moved_at <= 0 and not world.hindrances.has_clock_lied
        return is_plain and self._knows_time and self._knows_close

    def _check_quantity(self, symbol: str, qty: int) -> None:
        """1: no more is offered than is held, where facts have told how much that is."""
        world, told, now = self._world, self._world.told, self._world.elapsed
        touched_at = world.touched.get(symbol, 0.0)
        if told.base_at is None or not told.is_complete(symbol) or self._is_deceived(symbol) or not self._knows_time:
            return
        if now < told.base_at + LEARN or (touched_at and now < touched_at + EXPLAIN) or told.stirred_at[symbol] > 0:
            return
        held = world.engine.account.held(symbol)
        if qty > held and not self._is_hands_off(symbol):
            self._fail(1, f"{symbol}: a sell of {qty}, with {held} held")

    def _check_sell(self, symbol: str, fields: Any) -> None:
        """Neither below what the last trade and the entry call for, nor above."""
        world, told = self._world, self._world.told
        price = (fields.get("take_profit") or fields).get("limit_price")
        if price is None:
            self._check_market(symbol)
            return
        self.stops.check_sell(symbol, fields)
        limit = Decimal(str(price))
        last = told.last[symbol].in_force(world.elapsed)
        position = world.engine.account.positions.get(symbol)
        is_odd = world.elapsed - told.odd_at[symbol] < ODD_FELT
        if symbol in world.touched and (is_odd or told.changed_at[symbol] > world.elapsed - 0.15):
            return  # a market order has no limit to stand in; or priced between two orders that one answer told of
        if not last or not told.is_complete(symbol) or position is None:
            return
        if world.hindrances.leaps_until > world.elapsed - 60:
            return
        is_new = told.base_at is not None and told.base_at > world.elapsed - START and world.process > 1
        is_new |= self._is_deceived(symbol) or (self.was_deceived and world.process > 1)
        if symbol in world.touched and (is_new or any(world.plan.struck[kind] for kind in UNTOLD)):
            return  # the average of shares bought twice depends on whether a sell between them is known to be told of
        entry = round(position.avg_entry_price, 9)
        own = own_exits.takes(world.algo, entry)
        if own is not None and abs(limit - own) <= tick(own):
            return
        low, high = round_up(max(min(last), entry)), round_up(max(*last, entry))
        if limit < low:
            self._fail(1, f"{symbol}: offered at {limit}, the last trade is {sorted(last)}, the entry {entry}")
        if limit > high + tick(high) and not is_odd:
            self._fail(1, f"{symbol}: offered at {limit}, too high: last trade {sorted(last)}, entry {entry}")

    def _check_market(self, symbol: str) -> None:
        """1: at market only in liquidation, for a risk rule, or because the user stops."""
        world = self._world
        early = LIQUIDATION if world.hindrances.has_clock_lied else 1.0
        if (
            self._has_risk_rules
            or self.stops.is_struck(symbol)
            or world.stopped_at is not None
            or world.elapsed >= self.liquidates_at - CLOCK_MOVES - early
        ):
            return
        if not self._knows_time or not self._knows_close or world.close_moved_at > 0:
            return
        self._fail(2, f"{symbol}: sold at market without a reason")

    def _check_buy(self, symbol: str, key: str, is_again: bool) -> None:
        """No buy twice, in doubt, blind, in a halt, on a hole in the bars, or on top of what is held."""
        world, told, now = self._world, self._world.told, self._world.elapsed
        if is_again:
            self._fail(1, f"{symbol}: the buy {key} is sent twice")
        if now >= self.liquidates_at + QUICK:
            self._fail(4, f"{symbol}: a buy in liquidation")
        if world.stopped_at is not None and now > world.stopped_at + 0.1:
            self._fail(4, f"{symbol}: a buy after the bot was asked to stop")
        halted_at = told.halted_at.get(symbol)
        if halted_at is not None and now > halted_at + 0.001:
            self._fail(3, f"{symbol}: a buy {now - halted_at:.1f} s after trading was halted")
        is_deaf = not any(session.listening for session in world.order_sessions)
        if is_deaf and now > max(world.deaf_since, world.bot_since) + BLIND_AFTER:
            self._fail(3, f"{symbol}: a buy without order updates")
        elif not is_deaf and told.claimed_at < world.heard_since - 0.1:
            self._fail(3, f"{symbol}: a buy before orders and positions were reconciled")
        if told.is_complete(symbol) and now > told.changed_at[symbol] + QUICK:
            held = world.engine.account.held(symbol)
            orders = [o for o in world.engine.open_orders(symbol) if is_own(o)]
            if (held >= 1 or orders) and not self._is_deceived(symbol):
                self._fail(1, f"{symbol}: a buy with {held} held and {len(orders)} orders at work")
        if unknown := [other for other, (of, _, _) in told.unknown.items() if of == symbol and other != key]:
            real = [o for o in map(world.engine._by_client_id.get, unknown) if o is not None and o.open]
            if real:
                self._fail(3, f"{symbol}: a buy while {real[0].client_order_id} of unknown outcome is open")
        self._check_doubt(symbol)
        self._check_bars(symbol)

    def _check_doubt(self, symbol: str) -> None:
        """A listing that was read says something else than the ledger."""
        world = self._world
        claim, algo = world.told.claims.get(symbol), world.fleet.algos.get(symbol) if world.fleet else None
        if claim is None or algo is None or world.told.changed_at[symbol] >= claim.asked_at - 0.2:
            return
        if claim.qty != algo.ledger.position and world.elapsed - claim.told_at > DOUBT_AFTER:
            self._fail(3, f"{symbol}: a buy in doubt: {claim.qty} listed, {algo.ledger.position} in the ledger")

    def _check_bars(self, symbol: str) -> None:
        """The bars that a signal looks at are those that were published, as far as the bot can know."""
        world = self._world
        known, published = world.told.bars[symbol], world.simulation.tape.published[symbol]
        if not known or not self._knows_time:
            return
        newest = max(known)
        seen = [bar.start for bar in published if world.session.open <= bar.start <= newest]
        missing = [start for start in seen[-world.algo.warmup_bars :]
                   if start not in known and start in world.must_have[symbol]]  # fmt: skip
        if missing:
            minutes = [(newest - start) // (60 * SECOND) for start in missing]
            self._fail(3, f"{symbol}: a buy on a hole in the bars, {minutes} minutes back")

    def _check_cancel(self, call: Call) -> None:
        """2: a working exit is cancelled for the liquidation, a risk rule, the user, or other shares than it offers."""
        world, now = self._world, self._world.elapsed
        order = world.engine.orders.get(call.order_id)
        if order is None or not order.open or not is_own(order) or order.side != "sell" or order.type == "market":
            return
        symbol = order.symbol
        early = CLOCK_MOVES + (120.0 if world.hindrances.has_clock_lied else 1.0)
        if (
            self._has_risk_rules
            or self.stops.is_struck(symbol)
            or world.stopped_at is not None
            or now >= self.liquidates_at - early
            or not self._knows_time
            or not self._knows_close
        ):
            return
        held = world.engine.account.held(symbol)
        algo = world.fleet.algos.get(symbol) if world.fleet else None
        # Of a group the bot knows that it offers its shares once.
        is_known = is_of_bot(order) and algo is not None and algo.ledger.position == held
        if world.close_moved_at > 0 or (not is_known and now - self._differed_at[symbol] < HELD_REASON):
            return
        until = now if world.plan.stands("activities forbidden") else world.hindrances.until("activities")
        if algo is not None and algo.ledger.position != held and until > world.bot_since:
            return  # a listing lagged, and no execution could be read that would have said so
        others = [o for o in world.engine.open_orders(symbol) if o.group is None or o.group is not order.group]
        if abs(held - order.leaves) < 1 and others in ([], [order]):
            self._fail(2, f"{symbol}: a sell of {order.leaves} is cancelled without a reason, {held} are held")

    def check_submit(self, request: OrderRequest) -> None:
        """An order of the bot's arrives at the exchange."""
        self.risk_rules.check_submit(request)

    # -- what the bot believes ----------------------------------------------------------------------------------------

    def _check_belief(self, symbol: str) -> None:
        """3: where facts have told all, the ledger equals the exchange's books, whatever listings say."""
        world, told, now = self._world, self._world.told, self._world.elapsed
        algo = world.fleet.algos.get(symbol) if world.fleet else None
        if algo is None or world.bot is None or told.base_at is None or not told.is_complete(symbol):
            return
        asked = max(told.stirred_at[symbol], world.hindrances.until("ask", "claims"))
        since = max(told.changed_at[symbol], told.base_at, asked + LEARN if told.stirred_at[symbol] > 0 else 0.0)
        if not self._knows_time:
            if symbol in world.touched:
                return  # what was executed before the start and after it no wrong clock tells apart
            since = max(since, told.changed_at[symbol] + EXPLAIN)
        if symbol in world.touched:
            since = max(since, world.touched[symbol], world.hindrances.until("claims", "ask")) + EXPLAIN
        based = told.base_at + (EXPLAIN if self.was_deceived else LEARN)
        if now < max(since + QUICK, based) or self._is_deceived(symbol):
            return
        held = world.engine.account.held(symbol)
        if self._is_hands_off(symbol):
            return
        if algo.ledger.position != held:
            self._fail(3, f"{symbol}: {algo.ledger.position} held by the ledger, {held} in truth")
        believed = {order.id for order in algo.ledger.open_orders if order.id}
        real = {order.id for order in world.engine.open_orders(symbol)}
        if believed - real:
            self._fail(3, f"{symbol}: orders {sorted(believed - real)} believed open, {sorted(real)} are")

    def _is_hands_off(self, symbol: str) -> bool:
        """Both legs of an earlier run's exit have filled: the short position may be in doubt.

        Where shares were held overnight too, or where they were bought back just before the start, which nobody tells
        from any other buy while orders can't be listed.
        """
        world = self._world
        is_short = world.engine.account.held(symbol) < 0
        was_earlier = self.stops.over_sold(symbol) > self.stops.over_sold(symbol, world.bot_since)
        return was_earlier and (is_short or self._was_executed_shortly_before(world.bot_since, symbol))

    def _check_dropped(self, symbol: str) -> None:
        """A buy of unknown outcome is dropped when somebody said that there is none, or where it is in the way."""
        algo = self._world.fleet.algos.get(symbol) if self._world.fleet else None
        if algo is None:
            return
        for key, (of, is_buy, _) in self._world.told.unknown.items():
            order = algo.ledger.find(key) if of == symbol and is_buy else None
            is_dropped = order is not None and order.status == LOST and not order.cancel_sent_at
            if is_dropped and key not in self._world.told.denied:
                self._fail(3, f"{symbol}: the buy {key} is dropped, and nobody has said that it is not there")

    def _check_resumed(self, symbol: str) -> None:
        """Long after all trouble nothing stands against buying any more."""
        world = self._world
        since = max(world.hindrances.last, world.bot_since, *world.touched.values(), 0.0, world.told.changed_at[symbol])
        since = max([since, *(e.end for episodes in world.plan.episodes.values() for e in episodes
                              if e.start <= world.elapsed)])  # fmt: skip
        if world.elapsed < since + CALM or world.stopped_at is not None or world.bot is None or self._has_risk_rules:
            return
        if (
            world.elapsed > self.liquidates_at - CLOCK_MOVES - 2
            or world.engine.is_halted(symbol)
            or world.fleet is None
        ):
            return
        if why := world.fleet.orders.why_no_entry(symbol):
            self._fail(3, f"{symbol}: nothing is bought, long after all trouble: {why}")

    # -- the end ------------------------------------------------------------------------------------------------------

    def check_login(self, code: int) -> None:
        """5: a session that began is ended by a refused login only where REST refuses the same keys."""
        struck = self._world.plan.struck
        is_refused = struck["clock down"] and struck["account down"]
        is_refused |= self._world.polygon and struck["history down"]
        if code == 2 and not is_refused:
            self._fail(5, "a refused login is the end, and REST takes the same keys")

    def check_exit(self, code: int) -> None:
        """The process has ended by itself."""
        world = self._world
        if world.stopped_at is not None:
            # Asked in the last looks after a session that has ended: what is left counts for more.
            is_left = code == 1 and self._may_be_over and world.fleet is not None and bool(leftovers(world.fleet.algos))
            if code != 128 + signal.SIGTERM and not is_left:
                self._fail(4, f"exit code {code} after SIGTERM")
            self._check_stopped()
            return
        if not self._may_be_over and world.is_started and self._knows_time:
            open_orders = [o for s in world.symbols for o in world.engine.open_orders(s) if is_own(o)]
            held = {s: str(h) for s in world.symbols if (h := world.engine.account.held(s)) >= 1}
            if code == 1 or held or open_orders:
                self._fail(5, f"ended with {code} before the close, {held} held, {len(open_orders)} orders at work")
        self._check_profit()

    def _check_stopped(self) -> None:
        """What `--on-exit` promises is done, or said."""
        world = self._world
        if not world.is_started or world.fleet is None or not self._knows_time:
            return
        said = leftovers(world.fleet.algos)
        near = 10 + (CLOCK_MOVES if world.hindrances.has_clock_lied else 0.0)
        for symbol in world.symbols:
            if not world.told.is_complete(symbol) or world.until_close < near or world.engine.is_halted(symbol):
                continue
            if self._is_deceived(symbol):
                continue  # what was hidden at the start and is listed now has to stand for a minute
            orders = world.engine.open_orders(symbol)
            held = world.engine.account.held(symbol)
            buys = [o for o in orders if o.side == "buy" and o.status != "pending_cancel"]
            sells = [o for o in on_offer(orders) if o.status != "pending_cancel"]
            offered = sum((o.leaves for o in sells if o.id not in self.cancelled), Decimal(0))
            is_hindered = world.hindrances.sending(symbol) > (world.stopped_at or 0.0) - 5.0
            wrong = ""
            if world.on_exit == "flatten":
                leaving = [o for o in orders if is_closing(o)]
                if (held >= 1 or orders) and not (orders == leaving and offered >= int(held)):
                    wrong = f"{held} held, {len(orders)} orders at work"
            else:
                if world.on_exit == "cancel-buys" and any(is_own(o) for o in buys):
                    wrong = "a buy works"
                if offered < int(held) and not (world.on_exit == "keep" and buys):
                    wrong = f"{held} held, {offered} on offer"
            if wrong and not is_hindered:
                self._fail(4, f"{symbol}: stopped with {world.on_exit}: {wrong}")
            if wrong and world.told.changed_at[symbol] < world.elapsed - 1:
                position, working = said.get(symbol, (Decimal(0), []))
                if position != held or {o.id for o in working if o.id} - {o.id for o in orders}:
                    self._fail(4, f"{symbol}: {wrong}, and {position} held, {len(working)} at work is what it said")

    def _check_profit(self) -> None:
        """3: the profit that the bot reckons is that of the exchange's books, if it saw all there was to see."""
        world = self._world
        if world.fleet is None or not world.is_started:
            return
        for symbol, algo in world.fleet.algos.items():
            told = world.told
            if not told.is_complete(symbol) or self._start_position[symbol] or told.odd_at[symbol] > 0:
                continue
            if symbol in world.touched or (told.base_at or 0.0) > world.bot_since + LEARN:
                continue
            before = [e.at for e in world.engine.executions[: self._first_execution] if e.symbol == symbol]
            if before and (before[-1] - world.start) / SECOND > world.bot_since - START - LISTINGS_LAG:
                continue  # it may be counted on top of a listing that lacks it
            held, cost, profit = Decimal(0), Decimal(0), Decimal(0)
            for done in world.engine.executions[self._first_execution :]:
                if done.symbol != symbol:
                    continue
                qty = done.qty if done.side == "buy" else -done.qty
                if held * qty < 0:
                    average, closed = cost / held, min(abs(held), done.qty)
                    profit += closed * (done.price - average) * (1 if held > 0 else -1)
                    cost -= average * closed * (1 if held > 0 else -1)
                    held += closed if qty > 0 else -closed
                    qty += -closed if qty > 0 else closed
                held, cost = held + qty, cost + qty * done.price
            if abs(algo.ledger.realised - profit) > Decimal("0.02"):
                self._fail(3, f"{symbol}: a profit of {algo.ledger.realised} is reported, it was {profit}")

    def never_ended(self) -> None:
        """Long after the close: when that was, a clock that lies does not tell, and the calendar may never have."""
        if self._knows_close and self._knows_time:
            self._fail(4, "the process never ended")

    def check_end(self) -> None:
        """4: after the close nothing is held or at work, or the exit code says so."""
        world, engine = self._world, self._world.engine
        left = {s: str(held) for s in world.symbols if abs(held := engine.account.held(s)) >= 1}
        at_work = [o.client_order_id for s in world.symbols for o in engine.open_orders(s)]
        is_told = (at_work or any(map(self._could_know, left))) and world.told.base_at is not None
        if is_told and world.exit_code == 0 and self._knows_time:
            self._fail(4, f"exit code 0, but held: {left}, at work: {at_work}")

    def _could_know(self, symbol: str) -> bool:
        """Whether a fact, or a true listing, told the last process of what is held."""
        world, told = self._world, self._world.told
        if self.was_deceived and told.base_at is not None and told.truly_claimed_at < told.base_at + LISTINGS_LAG:
            # Of what was there before, a look or two told, and all others that there was nothing.
            done = [e for e in world.engine.executions[self._first_execution :] if e.symbol == symbol]
            if sum((e.qty if e.side == "buy" else -e.qty for e in done), Decimal(0)) < world.engine.account.held(
                symbol
            ):
                return False
        return not told.pending[symbol] or told.truly_claimed_at > max(at for *_, at in told.pending[symbol].values())

    def _fail(self, number: int, text: str) -> None:
        """Note the first violation; the world ends the run with it."""
        if self.violation is None:
            self.violation = Violation(f"invariant {number}: {text} (at {self._world.elapsed:.3f} s)")
            self.violation.world = self._world
            if not self.violated.done():
                self.violated.set_result(None)


def is_own(order: Order) -> bool:
    """Whether the bot made it, and nobody changed it since."""
    return order.client_order_id.startswith("scalp-") and not order.replaces
