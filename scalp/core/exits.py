"""The exit plan: what is to become of the shares held in one symbol, why, since when, and what is under way for it.

Handlers, checkups, risk rules, liquidation, winding up and the user state a plan, each one stronger than those before:

    OFFER        one limit sell for every whole share held; it is left working
    RISK_RULE    every other order is cancelled, and when facts say that they are gone the shares are sold at market;
                 once nothing is held or working, OFFER again
    LIQUIDATION  the same, as the close is near; OFFER again where the close is moved to later
    FLATTEN      the same, for good: the user said so
    WITHDRAW     every order is cancelled and nothing is sold: the session ends within seconds, or has ended

`ExitPlan.steps` drives the plan, and is asked again until facts say that it is done. An order that is being cancelled
so that another may go is part of a plan, never "a sell works": see `is_under_way`. An exit that works is cancelled only
for another exit on the ground of facts, or for a stronger plan.

An exit with a stop at the broker is a group of orders: one that fills cancels the others. It counts as one: it
offers its shares once, it is cancelled through its parent, and it is out of the way when every one of its orders has
ended by facts. Where two of them have filled, what was sold too many is bought back: see `Cover`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from msgspec import Struct

from scalp.core.cancels import CANCEL_AGAIN, cancel_due
from scalp.core.commands import AskLastTrade, AskOrder, CancelOrder
from scalp.core.cover import Cover
from scalp.core.decimals import ZERO
from scalp.core.ledger import Ledger
from scalp.core.order_state import Order
from scalp.core.orders import BUY, HELD, SELL, OrderType
from scalp.core.units import SECOND

LIQUIDATION = "the session is about to end"
ASK_AGAIN = 30 * SECOND
ASK_PRICE_AGAIN = 5 * SECOND
CAUSED_BY_FILL = 10 * SECOND  # a sell refused so soon after a fill: the broker may not see the position yet
PASSING_RETRIES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds, of what may pass soon
FIRST_RETRY, LONGEST_RETRY = 30 * SECOND, 960 * SECOND  # of what lasts: 30 s, 60 s, 120 s, ...
MARKET_RETRIES = (2 * SECOND, 4 * SECOND, 8 * SECOND, 15 * SECOND)
STUCK_AFTER = (10 * SECOND, 20 * SECOND, 40 * SECOND)  # a market exit that does not fill although the symbol trades
NO_RESEND_BEFORE_CLOSE = 20 * SECOND
DRIVE_EVERY = SECOND  # while a plan is under way
LEG_PATIENCE = 10 * SECOND  # for listings and executions to show what became of a stop that no source has reported
SPENT_FOR = SECOND  # an order whose group has sold everything may stand so long, then it is cancelled

# What a refusal of a sell says when it is about shares or orders as the broker sees them just now.
NO_SHARES = ("insufficient qty", "intent mismatch", "position does not exist")
MAY_PASS = (*NO_SHARES, "available", "wash trade", "not found")
_AVAILABLE = re.compile(r"available: (\d+)")
FEWER_AFTER = 3  # refusals that may pass, before no more is offered than a refusal says there is
LASTS = ("tradable", "not active", "restricted", "authorized", "not allowed", "suspended", "forbidden", "blocked")


class Plan(enum.IntEnum):
    """What is to become of the shares held: see the module's text."""

    OFFER = 0
    RISK_RULE = 1
    LIQUIDATION = 2
    FLATTEN = 3
    WITHDRAW = 4

    @property
    def is_at_market(self) -> bool:
        return self in (Plan.RISK_RULE, Plan.LIQUIDATION, Plan.FLATTEN)


class Sell(Struct, frozen=True):
    """Offer every whole share that is held."""

    type: OrderType


Step = Sell | CancelOrder | AskOrder | AskLastTrade


# What reports call the exits of risk rules, by the beginning of the reason.
RULES = (("stop loss", "stop"), ("held for", "max hold"), ("the session's loss", "max loss"), ("trail", "trail"))


class ExitPlan:
    """The plan of one symbol. Times are exchange time in ns."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.plan = Plan.OFFER
        self.why = ""  # in words; "" for OFFER
        self.since = 0
        self.retry_at = 0  # no sell before this time: it was refused
        self._passing = self._lasting = 0  # refusals in a row
        self._missing = ZERO  # shares that the broker says are missing: they wait, the others are offered
        self._whole_again_at = 0  # when all may be offered again, if a listing has all by then
        self._stuck = 0  # market exits in a row that did not fill
        self._asked: Order | None = None  # the market exit that was asked for by id
        self._asked_at: dict[str, int] = {}  # broker's order id -> when it was asked for last
        self._covered_version = -1  # the ledger version in which every share is on offer
        self._price_asked_at = -ASK_PRICE_AGAIN  # when the last trade was asked for, to price a sell
        self._bought_at = 0  # when shares were last bought
        self._leg_asked_at = 0  # since when it waits for a stop that no source has reported; 0: it does not
        self._driven_at = 0
        self.has_no_data = False  # no market data come: whether the symbol trades is not known
        self.cover = Cover(ledger)

    # -- stating a plan -----------------------------------------------------------------------------------------------

    def state(self, plan: Plan, why: str, at: int) -> bool:
        """Make `plan` the plan, unless the present one is as strong or stronger; False if nothing changed."""
        if plan <= self.plan:
            return False
        if not self.plan.is_at_market:
            self.forget_rejections()
            self._stuck = 0
        self.plan, self.why, self.since = plan, why, at
        return True

    def keep_hours(self, liquidate_at: int, quiet_at: int, at: int) -> bool:
        """Near the close everything is sold at market, and in the last seconds nothing is sent any more.

        True when liquidation begins.
        """
        if at < liquidate_at:
            if self.plan in (Plan.LIQUIDATION, Plan.WITHDRAW):
                self.lift(self.plan)  # the close was moved to later
            return False
        plan = Plan.WITHDRAW if at >= quiet_at else Plan.LIQUIDATION
        if plan is Plan.LIQUIDATION and self.plan is Plan.WITHDRAW and self.why == LIQUIDATION:
            self.lift(Plan.WITHDRAW)  # the clock was put back
        return self.state(plan, LIQUIDATION, at) and plan is Plan.LIQUIDATION

    def lift(self, plan: Plan) -> None:
        """The reason for `plan` is gone: the shares held are offered as before."""
        if self.plan is plan:
            self.plan, self.why = Plan.OFFER, ""

    def settle(self) -> None:
        """A risk rule's plan is done when nothing is held or working any more."""
        if self.plan is Plan.RISK_RULE and not self._ledger.whole_shares and not self._ledger.open_orders:
            self.lift(Plan.RISK_RULE)

    @property
    def is_under_way(self) -> bool:
        """Whether the plan is not done: some step has yet to happen, or to be confirmed."""
        ledger = self._ledger
        if ledger.position < 0:
            return self.cover.over_sold > 0 or any(order.is_cover or order.is_spent for order in ledger.open_orders)
        if self.plan is Plan.WITHDRAW:
            return bool(ledger.open_orders)
        if self.plan.is_at_market:
            return bool(ledger.open_orders) or ledger.whole_shares > 0
        if not ledger.whole_shares:
            return any(order.is_spent for order in ledger.open_orders)
        return not self._sells or any(order.cancel_sent_at or order.is_spent for order in ledger.open_orders)

    @property
    def is_in_order(self) -> bool:
        """Whether nothing would be lost if the process ended now: what the plan sends is with the broker, or done."""
        orders = self._ledger.open_orders
        if self._ledger.position < 0:
            return True
        if any(not order.id for order in orders):
            return False
        if self.plan is Plan.WITHDRAW:
            return not orders
        if self.plan.is_at_market:
            is_out = len(orders) == 1 and self._is_full_exit(orders[0]) and not orders[0].cancel_sent_at
            return is_out or (not orders and not self._ledger.whole_shares)
        offers = [order for order in self._sells if not order.cancel_sent_at and not order.is_spent]
        return not self._ledger.whole_shares or bool(offers)

    @property
    def is_rejected(self) -> bool:
        """Whether sells are refused for a reason that lasts, or on and on."""
        return self._lasting > 0

    @property
    def is_sending(self) -> bool:
        """Whether the broker has not answered a sell yet."""
        return any(not order.id for order in self._sells)

    def due_at(self, at: int) -> int:
        """When the plan is to be asked for steps again, if nothing happens before; 0: not at all.

        Shares whose sell somebody cancelled wait for the next bar or checkup; near the close checkups come each second.
        """
        if not self.is_under_way:
            return 0
        if self._ledger.position < 0:
            return max(self.cover.retry_at, at + 1) if self.cover.over_sold else at + DRIVE_EVERY
        if self.retry_at > at:
            return self.retry_at
        if self._leg_asked_at and self._ledger.lacks_leg:
            return at + DRIVE_EVERY  # a listing may show any moment that the shares are held
        spent = [order for order in self._ledger.open_orders if order.is_spent and not order.cancel_sent_at]
        if spent:
            return max(min(_spent_at(order) for order in spent) + SPENT_FOR, at + 1)
        cancelled = [order.cancel_sent_at for order in self._ledger.open_orders if order.cancel_sent_at]
        if cancelled:
            again = min(cancelled) + CANCEL_AGAIN
            return again if again > at else at + DRIVE_EVERY  # what is not cancelled again is looked at all the same
        if self.plan in (Plan.RISK_RULE, Plan.FLATTEN):
            marks = [mark for order in self._ledger.open_orders for mark in self._marks(order)]
            return min((mark for mark in marks if mark > at), default=at + DRIVE_EVERY)
        return 0

    # -- what happens to sells ----------------------------------------------------------------------------------------

    def on_bought(self, at: int) -> None:
        self._bought_at = at

    def on_sold(self) -> None:
        self._passing = self._lasting = self._stuck = 0

    def forget_rejections(self) -> None:
        """Past refusals have nothing to do with what is to be sold from here on."""
        self.retry_at = self._passing = self._lasting = 0
        self._missing = ZERO

    def may_go_now(self) -> None:
        """The reason why a sell may have been refused is gone."""
        self.retry_at = 0

    def on_rejected(self, why: str, at: int) -> int:
        """A sell was refused, or ended unsold: none goes before `retry_at`, later each time. Returns the wait, ns."""
        words = why.lower()
        lasts = any(word in words for word in LASTS)
        may_pass = at - self._bought_at < CAUSED_BY_FILL or any(word in words for word in MAY_PASS)
        if may_pass and not lasts and self._passing < len(PASSING_RETRIES):
            wait = round(PASSING_RETRIES[self._passing] * SECOND)
            self._passing += 1
        elif self.plan.is_at_market:
            wait = MARKET_RETRIES[min(self._lasting, len(MARKET_RETRIES) - 1)]
            self._lasting += 1
        else:
            wait = min(FIRST_RETRY << min(self._lasting, 10), LONGEST_RETRY)
            self._lasting += 1
        self.retry_at = at + wait
        fewer = available(words)
        if 0 < fewer < self.quantity and not lasts and self._passing > FEWER_AFTER:
            self._missing = self._ledger.position - fewer
            self._whole_again_at = at + (FIRST_RETRY << min(self._lasting, 5))
            self.retry_at = at
            return 0
        return wait

    @property
    def quantity(self) -> int:
        """Whole shares that the next sell offers: all that are held, or those that the broker says it has."""
        return max(int(self._to_offer), 0)

    @property
    def _to_offer(self) -> Decimal:
        held = self._ledger.position
        return held - self._missing if held > self._missing else held

    def on_listed_whole(self, at: int) -> None:
        """A listing shows all the shares held: those that a refusal said were missing are offered again."""
        if self._missing and at >= self._whole_again_at:
            self._missing = ZERO
            self._covered_version = -1

    # -- driving it ---------------------------------------------------------------------------------------------------

    def steps(
        self, followed: Order | None, sell_price: Callable[[], Decimal], printed_at: int, closes_at: int, at: int
    ) -> list[Step]:
        """What is to be done now, mostly nothing.

        `followed` is the order the state machine follows, `sell_price` gives the price of a limit sell, `printed_at` is
        when the symbol last traded, `closes_at` the session's close.
        """
        if self.plan is Plan.WITHDRAW:
            return _cancel(self._ledger.open_orders, at)
        if self.plan.is_at_market:
            return self._at_market(printed_at, closes_at, at)
        if spent := [order for order in self._ledger.open_orders if order.is_spent]:
            return _cancel([order for order in spent if at >= _spent_at(order) + SPENT_FOR], at)
        if followed is None:
            return self._offer(sell_price, at)
        if followed.side == BUY:
            return self._make_way(followed, at)
        # A market exit of an earlier run that does not fill gives way to an offer.
        stuck = self._watch(followed, printed_at, closes_at, at) if followed.type == "market" else []
        return stuck or self._keep_covered(followed, at)

    def follow_clock(self, at: int) -> None:
        """Where it was put back, what was to wait for seconds would wait until the old time comes again: waits end."""
        if at >= self._driven_at:
            self._driven_at = at
            return
        self._driven_at = at
        self.retry_at = self.cover.retry_at = self._whole_again_at = 0
        self._price_asked_at = at - ASK_PRICE_AGAIN
        self._bought_at, self._leg_asked_at = min(self._bought_at, at), min(self._leg_asked_at, at)
        self._asked_at.clear()
        for order in self._ledger.open_orders:
            order.cancel_sent_at, order.moved_at = min(order.cancel_sent_at, at), min(order.moved_at, at)
            if order.is_own and order.type == "market":
                order.submitted_at = min(order.submitted_at, at)

    def _offer(self, price: Callable[[], Decimal], at: int) -> list[Step]:
        if not self._ledger.whole_shares or at < self.retry_at or self._awaits_leg(at):
            return []
        if not (self._ledger.entry_price or price()):
            # No source has reported what the shares cost, nor a trade: nothing is offered at a price of zero.
            if at < self._price_asked_at + ASK_PRICE_AGAIN:
                return []
            self._price_asked_at = at
            return [AskLastTrade(self._ledger.symbol)]
        # The broker takes no sell that a buy of the same account could meet.
        buys = [order for order in self._ledger.open_orders if order.side == BUY]
        meeting = [order for order in buys if order.limit_price is None or order.limit_price >= price()]
        return _cancel(meeting, at) if meeting else [Sell("limit")]

    def _make_way(self, buy: Order, at: int) -> list[Step]:
        """A buy that works while shares from elsewhere are held is in the way of their exit."""
        if not self._ledger.whole_shares or buy.has_moved_shares:
            return []
        return _cancel([buy], at)

    def _keep_covered(self, sell: Order, at: int) -> list[Step]:
        """While a sell works, exactly the shares held by facts are on offer; else it is cancelled for a sell of all.

        Shares that a listing alone claims to be held wait until the working sell has ended.
        """
        ledger = self._ledger
        if ledger.version == self._covered_version and not sell.cancel_sent_at:
            return []
        offered = ZERO
        heads = [order for order in self._sells if not order.is_spare]
        # The leg of an exit made by hand that waits for the other one to end offers no shares of its own.
        for order in [o for o in heads if o.status != HELD] or heads:
            if order.on_offer is None:
                return []
            offered += order.on_offer
        over = offered - (self._to_offer - ledger.unoffered)
        if abs(over) < 1:
            self._covered_version = ledger.version
            return []
        strangers = [o for o in self._sells if not o.is_own and o.id and (o.head is not sell.head or o is sell)]
        if over > 0 and strangers:
            # The broker holds shares for each of them: what we know of an order by hand or of an earlier run is old,
            # or else what we know of the position.
            return self._ask(strangers, at)
        return _cancel([sell], at)

    def _at_market(self, printed_at: int, closes_at: int, at: int) -> list[Step]:
        orders = self._ledger.open_orders
        in_the_way = [order for order in orders if not self._is_full_exit(order)]
        if in_the_way:
            return _cancel(in_the_way, at)
        if orders:
            return self._watch(orders[0], printed_at, closes_at, at)
        if not self._ledger.whole_shares or at < self.retry_at or self._awaits_leg(at):
            return []
        return [Sell("market")]

    def _awaits_leg(self, at: int) -> bool:
        """Whether a stop that no source has reported may have sold the shares, and may still be found."""
        if not self._ledger.lacks_leg:
            self._leg_asked_at = 0
            return False
        self._leg_asked_at = self._leg_asked_at or at
        return at < self._leg_asked_at + LEG_PATIENCE

    def _watch(self, exit_: Order, printed_at: int, closes_at: int, at: int) -> list[Step]:
        """A market exit that stands unfilled while its symbol trades: ask for it, then cancel it and send another."""
        since = max(exit_.submitted_at, exit_.moved_at)
        if exit_.cancel_sent_at:
            return _cancel([exit_], at)
        if not exit_.id or not exit_.is_bots or at >= closes_at - NO_RESEND_BEFORE_CLOSE:
            return []
        if printed_at <= since and not self.has_no_data:
            return []  # it may be halted
        ask_at, cancel_at = self._marks(exit_)
        if at >= ask_at and self._asked is not exit_:
            self._asked = exit_
            return [AskOrder(exit_.symbol, exit_.id)]
        if at >= cancel_at:
            self._stuck += 1
            return _cancel([exit_], at)
        return []

    def _marks(self, exit_: Order) -> tuple[int, int]:
        """When a market exit that does not fill is asked for, and when it is cancelled."""
        # One that fills bit by bit is not stuck so soon; nor is one where no data show whether it could fill.
        is_patient = exit_.filled_qty > 0 or self.has_no_data
        patience = STUCK_AFTER[-1 if is_patient else min(self._stuck, len(STUCK_AFTER) - 1)]
        since = max(exit_.submitted_at, exit_.moved_at)
        return since + patience // 2, since + patience

    def _is_full_exit(self, order: Order) -> bool:
        """A market sell of ours for all that is held."""
        return (
            order.is_bots
            and order.side == SELL
            and order.type == "market"
            and order.remaining is not None
            and abs(order.remaining - self._to_offer) < 1
        )

    def _ask(self, orders: Sequence[Order], at: int) -> list[Step]:
        due = [order for order in orders if at - self._asked_at.get(order.id, 0) >= ASK_AGAIN]
        self._asked_at.update((order.id, at) for order in due)
        return [AskOrder(order.symbol, order.id) for order in due]

    @property
    def _sells(self) -> list[Order]:
        return [order for order in self._ledger.open_orders if order.side == SELL]


def available(why: str) -> Decimal:
    """How many whole shares a refusal says there are to sell; 0 where it names none."""
    found = _AVAILABLE.search(why.lower())
    return Decimal(found[1]) if found else ZERO


def _spent_at(order: Order) -> int:
    """When the rest of its group sold the last shares."""
    return max(other.moved_at for other in order.group)


def _cancel(orders: Sequence[Order], at: int) -> list[Step]:
    # The parents first: the broker cancels a group whole, and then the legs wait for that.
    return [*cancel_due(sorted(orders, key=lambda order: order.parent is not None), at)]


def market_reason(exits: ExitPlan) -> str:
    """What the market exit that works just now is for, as reports call it."""
    if exits.plan is Plan.LIQUIDATION:
        return "liquidation"
    if exits.plan is Plan.FLATTEN:
        return "flatten"
    return next((word for begin, word in RULES if exits.why.startswith(begin)), exits.why or "risk rule")
