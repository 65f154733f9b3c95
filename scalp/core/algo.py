"""ScalpAlgo: one symbol's state machine.

    TO_BUY          no position, no order           -> BUY_SUBMITTED, TO_SELL (shares bought elsewhere)
    BUY_SUBMITTED   a buy is working                -> TO_BUY, TO_SELL
    TO_SELL         holding shares, no sell working -> SELL_SUBMITTED, TO_BUY (sold elsewhere)
    SELL_SUBMITTED  a sell is working               -> TO_BUY, TO_SELL

Every handler takes an event with its exchange time, first passes what it reports to the ledger, then moves the state
and returns the actions that follow from it, mostly none. Nothing here waits, reads a clock or talks to anybody.
"""

from __future__ import annotations

import enum
import itertools
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from scalp.core.bars import SessionBars
from scalp.core.cancels import cancel
from scalp.core.clock import AHEAD, Session
from scalp.core.commands import Action, AskLastTrade, AskOrder, CancelOrder, SubmitOrder
from scalp.core.entry_blocks import EntryBlocks
from scalp.core.errors import IllegalMove
from scalp.core.events import EXIT_SIGNAL, Oversold, Rejected, RiskRuleStruck, SignalBlocked, Transition
from scalp.core.evidence import executed
from scalp.core.exits import NO_SHARES, PASSING_RETRIES, ExitPlan, Plan, Sell, available
from scalp.core.following import order_to_follow, successor
from scalp.core.hooks import Hooks, OwnPrices
from scalp.core.ledger import ANSWERED_WITHIN, Change, Ledger
from scalp.core.market_data import Bar, Trade
from scalp.core.order_builder import OrderBuilder
from scalp.core.order_state import LOST, REFUSED, Order
from scalp.core.orders import BUY, CANCELED, FILLED, REJECTED, SELL, OrderReport, OrderType, PositionReport, Side
from scalp.core.stops import NOT_THE_STOP, Stop
from scalp.core.subclass_checks import check_all_signals, check_window, take_old_name
from scalp.core.tape import Tape
from scalp.core.telling import Telling
from scalp.core.units import MINUTE, SECOND
from scalp.core.working_buys import WorkingBuys

if TYPE_CHECKING:
    import pandas as pd

FRESH = 90 * SECOND  # a bar that arrives later after its minute's end is no ground for a buy
LAST_TRADE_ANSWER = 10 * SECOND  # the same for the answer to AskLastTrade


class State(enum.StrEnum):
    TO_BUY = "TO_BUY"
    BUY_SUBMITTED = "BUY_SUBMITTED"
    TO_SELL = "TO_SELL"
    SELL_SUBMITTED = "SELL_SUBMITTED"


TO_BUY, BUY_SUBMITTED, TO_SELL, SELL_SUBMITTED = State

TRANSITIONS: dict[State, frozenset[State]] = {
    TO_BUY: frozenset({BUY_SUBMITTED, TO_SELL}),
    BUY_SUBMITTED: frozenset({TO_BUY, TO_SELL}),
    TO_SELL: frozenset({SELL_SUBMITTED, TO_BUY}),
    SELL_SUBMITTED: frozenset({TO_BUY, TO_SELL}),
}


def check_move(symbol: str, old: State, new: State, cause: str) -> None:
    """Raises IllegalMove. Called before an order enters the ledger, or a ghost of it would stay there."""
    if new not in TRANSITIONS[old]:
        raise IllegalMove(symbol, old, new, cause)


def _cause(order: Order) -> str:
    """What a report of `order` means for the state; for a group, what the whole of it has come to."""
    if order.head.legs and order.on_offer == 0:
        return "stop filled" if any(leg.filled_qty for leg in order.head.legs) else "sell filled"
    return f"{order.side} {order.status}"


class ScalpAlgo(Hooks):
    """Buys `symbol` on a signal and sells at once; subclass it and override what `Hooks` names.

    `lot` is in dollars; `run` makes this process's client order ids unlike those of any other run.
    """

    # Bars in the average of the built-in rule. A parameter, as any class attribute of a subclass may be.
    window = 20
    # Regular-session bars of today the signal needs before it is asked: two averages, one bar apart. It follows a
    # subclass's `window` (window + 1) until some class sets it.
    warmup_bars = window + 1
    _warmup_follows = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        import_module("scalp.core.frame")  # now, or its half second delays the first bar of a user's class
        take_old_name(cls)
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "warmup_bars" in own:
            cls._warmup_follows = False
        elif "window" in own and cls._warmup_follows and isinstance(cls.window, int):
            cls.warmup_bars = cls.window + 1
        check_window(cls, ScalpAlgo._calculate_buy_signal)
        check_all_signals(cls, ScalpAlgo._calculate_buy_signal)

    def __init__(self, symbol: str, lot: Decimal, run: str) -> None:
        self.symbol = symbol
        self.lot = lot
        self.state = TO_BUY
        self.ledger = Ledger(symbol)
        self.order: Order | None = None  # the working order that is followed; None: there is none
        self.session: Session | None = None  # None until the calendar was read: then nothing is bought or liquidated
        self._liquidate_at = self._quiet_at = sys.maxsize  # the session's, ns
        self.asks_last_trade = False  # no trades stream in: fetch the last one before a buy
        self.session_bars = SessionBars()
        self.plots = {}
        self.entry_blocks = EntryBlocks()
        self.tape = Tape()
        self._asked_of: tuple[int, float | None] = (0, None)  # the last trade when the exit signal was last asked
        self._price_asked_at = 0  # when a buy began to wait for the last trade; 0: none waits
        self.exits = ExitPlan(self.ledger)
        self.stop = Stop(self.ledger, self.tape)
        self._followed_version = -1  # the ledger version that state and order agree with
        self.telling = Telling(self.ledger)
        self.working_buys = WorkingBuys(self.ledger, self.exits, self.telling)
        if "_calculate_exit_price" in self._own_hooks:
            self.builder: OrderBuilder = OwnPrices(self.ledger, self.tape, run, self._own_exit_price)
        else:
            self.builder = OrderBuilder(self.ledger, self.tape, run)
        self._has_own_quantity = "_calculate_quantity" in self._own_hooks
        self._asks_exit = "_calculate_exit_signal" in self._own_hooks
        self.asks_exit_on_trades = self._asks_exit and self.exit_on_trades is True

    # -- for custom signals -------------------------------------------------------------------------------------------

    @property
    def _bars(self) -> pd.DataFrame:
        """All minute bars of today's regular session so far, one row a minute that traded, oldest first.

        Columns open, high, low, close (dollars) and volume (shares), float64; index: start of the minute,
        America/New_York. Only finished minutes are in it. Minutes without a trade have no row. A new frame after each
        bar: changing it changes no bar.
        """
        return self.session_bars.frame

    def _calculate_buy_signal(self) -> bool:
        """True to buy now. Asked once a minute while there is neither position nor order, with `warmup_bars` bars.

        Anything but True means no; an exception is logged and means no. The rule here: the close crosses the average of
        `window` bars upwards, compared exactly in millionths of a dollar.
        """
        window, sums = self.window, self.session_bars.close_sums
        if len(sums) < window + 2:
            return False
        last, before, at_first = sums[-1], sums[-2], sums[-window - 1]
        if window * (last - before) <= last - at_first:
            return False
        return window * (before - sums[-3]) < before - sums[-window - 2]

    # -- events -------------------------------------------------------------------------------------------------------

    def on_bar(self, bar: Bar, at: int) -> list[Action]:
        """A minute bar arrived at `at`."""
        is_newest = self.session_bars.add(bar)
        self.tape.see_close(bar, at)
        if self._asks_exit and is_newest and self._wants_out():
            actions = self.close_position(Plan.RISK_RULE, EXIT_SIGNAL, at)
        else:
            actions = self.drive(at, "bar")
        if self.stop.rule is not None:
            self.stop.see()
            actions = [*actions, *self.stop.move(self.exits.plan, self._liquidate_at, at)]
        if is_newest and self._may_enter(at):
            return self._look_for_entry(bar, at)
        return actions

    def on_history(self, bars: Sequence[Bar]) -> None:
        """Earlier bars, fetched: they fill the day but never lead to a trade."""
        for bar in bars:
            self.session_bars.add(bar)
            self.tape.see_close(bar, bar.start + MINUTE)

    def on_trade(self, trade: Trade) -> None:
        """A print that counts as last sale."""
        self.tape.see(trade)

    def after_trade(self, at: int) -> Sequence[Action]:
        """What follows from the print that arrived at `at`."""
        if self.asks_exit_on_trades:
            newest = self.tape.last_at, self.tape.last_price
            is_news, self._asked_of = newest != self._asked_of, newest
            if is_news and self._wants_out():
                return self.close_position(Plan.RISK_RULE, EXIT_SIGNAL, at)
        if self.stop.rule is not None:
            self.stop.see()
            return self.stop.move(self.exits.plan, self._liquidate_at, at)
        return ()

    def on_last_trade(self, trade: Trade | None, at: int) -> list[Action]:
        """The answer to AskLastTrade; None: none is available, the last close serves."""
        asked_at, self._price_asked_at = self._price_asked_at, 0
        if trade is not None:
            self.tape.see(trade)
        if not self.ledger.entry_price:
            waiting = self.drive(at, "last trade")  # an exit that has no other price
            if waiting:
                return waiting
        if not asked_at or not self._may_enter(at):
            return []
        if at - asked_at > LAST_TRADE_ANSWER:
            self.telling.warning("no buy: the last trade took %.0f s to fetch", (at - asked_at) / SECOND)
            return []
        return self._buy(at)

    def on_order_update(self, report: OrderReport, at: int) -> list[Action]:
        """Some source reported an order in this symbol: the stream, a REST answer, a listing."""
        known = self.ledger.find(report.id) or self.ledger.find(report.client_order_id)
        was_given_up = known is not None and known.status in (LOST, REFUSED)
        change = self.ledger.apply(report)
        if not change.moved:
            return []
        self.telling.change(change, report, at)
        order = change.order
        may_sell = order.side == BUY and (change.new_qty > 0 or change.ended)
        if change.new_qty:
            order.moved_at = at
        if order.side == BUY:
            if change.new_qty:
                self.exits.on_bought(at)
                self.exits.cover.rejections = 0
                self.stop.on_bought(min(report.at or at, at + AHEAD))  # as prints are
            if change.ended and order.is_cover and order.status != FILLED:
                self.exits.cover.on_rejected(at)
            elif change.ended:
                self.exits.may_go_now()  # the sell may have been refused because of this buy: a wash trade
        else:
            may_sell = self._on_sell(order, change, at)
        actions = self.drive(at, _cause(order), may_sell)
        if not order.is_priced and change.new_qty and order.id:
            actions = [*actions, AskOrder(self.symbol, order.id)]
        if change.new_qty and order.side == BUY and order is self.order and not order.has_ended:
            actions = [*actions, *self.working_buys.cancel_old(self.order, at)]  # found too late for its signal
        if order.parent is not None and not order.has_ended:
            actions = [
                *actions,
                *self.stop.move(self.exits.plan, self._liquidate_at, at),
            ]  # a print may have called for it before the leg was known
        is_stray = was_given_up and order.side == BUY and order is not self.order and not order.has_ended
        if is_stray and self.ledger.position >= 0 and at > order.cancel_sent_at:
            # It arrived after all, and nobody waits for it any more: one order at work, never two.
            actions = [*actions, cancel(order, at)]
        return actions

    def _on_sell(self, order: Order, change: Change, at: int) -> bool:
        """Take in what changed about a sell; returns whether the next one may go at once."""
        if change.new_qty:
            self.exits.on_sold()
            if order.parent is not None and order.filled_qty == change.new_qty:
                self.telling.tell(RiskRuleStruck(self.symbol, at, "the stop at the broker sells"))
        if order is not self.order or not change.ended:
            return False
        if order.stop_price is not None and order.status == REJECTED and order.is_own:
            self.stop.on_rejected()
            self.telling.no_stop(order.status)
            return True
        # Cancelled here, to offer another quantity, or by the rest of its group: nothing was refused.
        is_expected = order.cancel_sent_at > 0 or order.on_offer == 0
        may_sell = order.status == FILLED or (order.status == CANCELED and is_expected)
        if order.is_bots and (order.status == REJECTED or (order.type == "market" and not may_sell)):
            self.exits.on_rejected(order.status, at)
        return may_sell

    def on_submit_rejected(self, client_order_id: str, why: str, at: int) -> list[Action]:
        """The broker, or this program before sending it, refused an order: it never came to be."""
        order = self.ledger.find(client_order_id)
        if order is None or order.has_ended or order.id:
            return []  # the broker has reported it, so it exists: a second try of it was refused
        self.ledger.end(order, REFUSED)
        wait = 0.0
        if order.is_cover:
            self.exits.cover.on_rejected(at)
            self.telling.tell(Rejected(self.symbol, at, BUY, order.qty, why))
        elif order.stop_price is not None and not any(words in why.lower() for words in NOT_THE_STOP):
            self.stop.on_rejected()
            self.telling.no_stop(why)
        elif order.side == SELL:
            wait = self.exits.on_rejected(why, at) / SECOND
            if any(words in why.lower() for words in NO_SHARES):
                self.ledger.deny(available(why))
            may_pass = wait in PASSING_RETRIES and not self.exits.plan.is_at_market
            self.telling.tell(Rejected(self.symbol, at, SELL, order.qty, why, wait, may_pass, self.exits.quantity))
        else:
            self.telling.tell(Rejected(self.symbol, at, BUY, order.qty, why))
        return self.drive(at, f"{order.side} refused", may_sell=not wait)

    def on_submit_lost(self, client_order_id: str, at: int) -> list[Action]:
        """An order of unknown outcome never arrived: it is dropped, and the shares held are offered again."""
        order = self.ledger.find(client_order_id)
        if order is None or order.has_ended or order.id:
            return []
        self.ledger.end(order, LOST)
        self.telling.warning("%s %s never arrived", order.side, client_order_id)
        return self.drive(at, f"{order.side} lost")

    def on_order_gone(self, order_id: str, at: int) -> list[Action]:
        """A working order is absent wherever it is asked for, look after look: give it up.

        A sell without a fill is sent again under its own id: if it is there after all, the broker will say so. Shares
        that it bought or sold unreported will show in the listed position.
        """
        order = self.ledger.find(order_id)
        if order is None or order.has_ended:
            return []
        self.ledger.end(order, LOST)
        self.telling.warning("the broker knows no order %s any more: %s %s given up", order_id, order.side, order.qty)
        is_followed = order is self.order
        actions = self.drive(at, f"{order.side} lost", may_sell=False)
        is_whole = order.is_own and not order.filled_qty and order.qty == self.ledger.whole_shares
        is_offered = self.state is TO_SELL and self.exits.plan is Plan.OFFER
        if is_followed and order.side == SELL and is_whole and is_offered:
            self.ledger.forget_client_id(order)
            return [*actions, self._submit(SELL, self.ledger.whole_shares, "limit", order.limit_price, at,
                                           order.client_order_id, order.stop_price)]  # fmt: skip
        return actions

    def on_position(self, listed: PositionReport, as_of: int, at: int, executions: Iterable[str] = ()) -> list[Action]:
        """Take over the position that the broker listed at `as_of`; `executions` are the ids of those it includes."""
        before = self.ledger.position
        self.ledger.adopt_position(listed.qty, listed.avg_entry_price, as_of, executions)
        self.telling.listed(listed, before)
        self.tape.see_listed(listed.current_price)
        return self.drive(at, "position")

    def on_surplus(self, listed: PositionReport, as_of: int, at: int) -> list[Action]:
        """A listing alone shows more (or no more) shares than executions explain: the next sell offers them."""
        before = self.ledger.position
        self.ledger.claim(listed.qty - before, listed.avg_entry_price, as_of)
        self.telling.listed(listed, before)
        self.tape.see_listed(listed.current_price)
        return self.drive(at, "position")

    def checkup(self, at: int) -> list[Action]:
        """The background look, every 30 seconds (each second in liquidation)."""
        actions = self.drive(at, "checkup")
        if self.stop.rule is not None:
            actions = [*actions, *self.stop.move(self.exits.plan, self._liquidate_at, at)]
        return [*actions, *self.working_buys.cancel_old(self.order, at)]

    def on_snapshot(
        self,
        orders: Sequence[OrderReport],
        position: PositionReport,
        as_of: int,
        at: int,
        executions: Sequence[OrderReport] = (),
        held_already: int = 0,
        decides: bool = True,
    ) -> list[Action]:
        """Take over what the broker lists at the start, and at once offer the shares held without an order.

        Of the newest `executions` the first `held_already` are in the listed position; the others come on top. Without
        `decides` nothing is offered yet: more reports are about to come, then `drive` is called.
        """
        for report in orders:
            self.telling.change(self.ledger.apply(report), report, at)
        for report in executions[:held_already]:
            if self.ledger.find(report.id):
                self.ledger.apply(report)
        ids = [report.execution_id for report in executions[:held_already] if report.execution_id]
        before = self.ledger.position
        self.ledger.adopt_position(position.qty, position.avg_entry_price, as_of, ids)
        for report in executions[held_already:]:
            at_last = max(report.at or 0, as_of + ANSWERED_WITHIN)
            self.telling.change(self.ledger.apply(msgspec.structs.replace(report, at=at_last)), report, at)
        self.ledger.doubt_all()  # which of them the position included is a guess
        later = itertools.accumulate(map(executed, executions[held_already:]))
        self.ledger.alternatives.update(-shares for shares in later)
        self.ledger.alternatives.update(itertools.accumulate(map(executed, reversed(executions[:held_already]))))
        self.telling.listed(position, before)
        self.tape.see_listed(position.current_price)
        return [*self.drive(at, "position"), *self.working_buys.cancel_old(self.order, at)] if decides else []

    def begin_session(self, session: Session) -> None:
        """Today's session, or a change of it."""
        self.session = session
        self._liquidate_at, self._quiet_at = session.liquidate_at, session.quiet_at
        self.session_bars.limit_to(session.open, session.close)

    def close_position(self, plan: Plan, why: str, at: int) -> list[Action]:
        """Cancel everything and sell what is held at market; see `Plan` for how long."""
        if not self.exits.state(plan, why, at):
            return []
        if plan is Plan.RISK_RULE:
            self.telling.tell(RiskRuleStruck(self.symbol, at, why))
        legs = [order for order in self.ledger.open_orders if order.parent is not None and order.id]
        asked = [AskOrder(self.symbol, leg.id) for leg in legs] if plan is Plan.RISK_RULE else []
        return [*asked, *self.drive(at, why)]

    def due_at(self, at: int) -> int:
        """When this symbol is to be driven, if nothing happens before; 0: not at all."""
        due = self.exits.due_at(at)
        if not (stop := self.stop.due_at) or self.exits.plan is not Plan.OFFER:
            return due
        return max(min(due or stop, stop), at + 1)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def drive(self, at: int, cause: str = "exit plan", may_sell: bool = True) -> list[Action]:
        """Bring the state in line with the ledger, and go on with the exit plan: see `ExitPlan.due_at`."""
        self._follow(cause, at)
        exits = self.exits
        exits.follow_clock(at)
        if not self.ledger.whole_shares:
            self.stop.on_flat()
        if exits.keep_hours(self._liquidate_at, self._quiet_at, at):
            self.telling.liquidating(at)
        exits.settle()
        if self.ledger.position < 0:
            return self._cover(at)
        if self.state is TO_BUY and not self.ledger.open_orders:
            return []
        if exits.plan is Plan.OFFER and self.state is TO_SELL and not may_sell:
            return []
        session = self.session
        closes_at = session.close if session is not None else sys.maxsize
        actions: list[Action] = []
        for step in exits.steps(self.order, self.builder.sell_price, self.tape.last_at, closes_at, at):
            if isinstance(step, Sell):
                order_type = step.type
                if order_type == "limit" and self.stop.is_struck and session is not None:
                    exits.state(Plan.RISK_RULE, why := self.stop.why_close(at), at)
                    self.telling.tell(RiskRuleStruck(self.symbol, at, why))
                    order_type = "market"
                if session is not None or order_type == "limit":
                    actions.append(self._sell(order_type, at))
            else:
                actions.append(step)
                if isinstance(step, CancelOrder) and exits.plan is Plan.OFFER:
                    self.telling.cancel(step)
        return actions

    def _follow(self, cause: str, at: int) -> None:
        """Choose the order to follow, if the one followed so far has ended, and move the state accordingly."""
        if self.ledger.version == self._followed_version:
            return  # state and order follow from the ledger alone
        self._followed_version = self.ledger.version
        before, ledger = self.order, self.ledger
        self.order = None if before is None else successor(before, ledger)
        if self.order is not None:
            return
        held = ledger.whole_shares
        if not held:
            self.exits.forget_rejections()  # the next shares have nothing to do with what was refused
        chosen = order_to_follow(ledger, may_be_filling=self.state is TO_BUY and before is None)
        is_selling = bool(held) if chosen is None else chosen.side == SELL
        resting = TO_SELL if is_selling else TO_BUY
        if self.state is not resting:
            if self.state is TO_SELL:
                self.telling.warning("the shares were sold elsewhere")
            self._transition(resting, cause, at)
        if chosen is not None:
            self.order = chosen
            target = SELL_SUBMITTED if is_selling else BUY_SUBMITTED
            self._transition(target, f"following a {chosen.side} order", at)
        elif not held and ledger.position > 0:
            self.telling.once("dust", "%s of a share stays: only whole ones are sold", ledger.position)

    def _look_for_entry(self, bar: Bar, at: int) -> list[Action]:
        if len(self.session_bars) < self.warmup_bars or self.session is None:
            return []
        if at - (bar.start + MINUTE) > FRESH:
            late = (at - bar.start - MINUTE) / SECOND
            self.telling.once("late", "bars come %.0f s late: no buying on a delayed feed", late)
            return []
        try:
            is_signal = self._is_yes("buy signal", self._calculate_buy_signal())
        except (Exception, SystemExit) as error:
            self.telling.failed(f"the buy signal failed ({type(error).__name__}): no buy")
            return []
        if not is_signal:
            return []
        if self.entry_blocks:
            self.telling.tell(SignalBlocked(self.symbol, at, self.entry_blocks.why))
            return []
        if self.asks_last_trade:
            self._price_asked_at = at
            return [AskLastTrade(self.symbol)]
        return self._buy(at)

    def _buy(self, at: int) -> list[Action]:
        price = self.builder.buy_price()
        if price is None or self.entry_blocks:
            return []
        qty = int(self.lot // price) if price > 0 else 0
        if qty < 1:
            self.telling.once("lot", "lot of $%s buys no share at %s", self.lot, price)
            return []
        if self._has_own_quantity and (qty := self._own_quantity(price, qty)) < 1:
            self.telling.tell(SignalBlocked(self.symbol, at, "the quantity is below one share"))
            return []
        self.telling.info("signal: buy %d at %s", qty, price)
        return [self._submit(BUY, qty, "limit", price, at)]

    def _sell(self, order_type: OrderType, at: int) -> SubmitOrder:
        """Offer every whole share that is held, as far as the broker has them."""
        price = None if order_type == "market" else self.builder.sell_price()
        stop = None if price is None else self.stop.price_with(price)
        action = self._submit(SELL, self.exits.quantity, order_type, price, at, stop_price=stop)
        self.ledger.are_offered()
        return action

    def _submit(
        self,
        side: Side,
        qty: int,
        order_type: OrderType,
        price: Decimal | None,
        at: int,
        client_order_id: str = "",
        stop_price: Decimal | None = None,
    ) -> SubmitOrder:
        terms = "market" if price is None else f"limit {price}"
        if stop_price is not None:
            terms = f"{terms}, stop {stop_price}"
        target, cause = BUY_SUBMITTED if side == BUY else SELL_SUBMITTED, f"{side} {qty} {terms}"
        check_move(self.symbol, self.state, target, cause)
        action = self.builder.build(side, qty, order_type, price, client_order_id, stop_price)
        self.order = self.ledger.add_in_flight(action, at)
        self._transition(target, cause, at)
        return action

    def _cover(self, at: int) -> list[Action]:
        """Short: hands off, unless orders of one group of ours have sold too many."""
        exits, cover = self.exits, self.exits.cover
        qty = cover.quantity(at)
        if exits.plan is Plan.WITHDRAW:
            return [*cover.withdraw(at)]
        actions: list[Action] = [*cover.stop_selling(at)]
        if not qty:
            if not exits.is_under_way:
                self.telling.once("short", "short position of %s: hands off", self.ledger.position)
            return actions
        if not cover.rejections:
            self.telling.tell(Oversold(self.symbol, at, qty))
        action = self.builder.build(BUY, qty, "market", None, covers=True)
        self.ledger.add_in_flight(action, at)
        return [*actions, action]

    def _may_enter(self, at: int) -> bool:
        """No position (a short one is not ours to touch), no order, and time left."""
        has_time = at < self._liquidate_at and self.exits.plan is Plan.OFFER
        return has_time and self.state is TO_BUY and self.ledger.position >= 0 and not self.ledger.open_orders

    def _transition(self, new: State, cause: str, at: int) -> None:
        check_move(self.symbol, self.state, new, cause)
        old, self.state = self.state, new
        self.telling.tell(Transition(self.symbol, at, old, new, cause))
