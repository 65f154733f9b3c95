"""ScalpAlgo: one symbol's state machine.

    TO_BUY          no position, no order           -> BUY_SUBMITTED, TO_SELL (shares bought elsewhere)
    BUY_SUBMITTED   a buy is working                -> TO_BUY, TO_SELL
    TO_SELL         holding shares, no sell working -> SELL_SUBMITTED, TO_BUY (sold elsewhere)
    SELL_SUBMITTED  a sell is working               -> TO_BUY, TO_SELL

Every handler takes an event with its exchange time, first lets the ledger take in what it tells, then moves the state
and returns the actions that follow from it, mostly none. Nothing here waits, reads a clock or talks to anybody.
"""

from __future__ import annotations

import enum
import inspect
import itertools
import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from scalp.core.bars import SessionBars
from scalp.core.bus import EventBus, Notes
from scalp.core.clock import Session
from scalp.core.errors import IllegalMove
from scalp.core.events import Fill, Liquidating, Listener, OrderEnded, OrderFound, Refused, RiskRuleStruck, Transition
from scalp.core.evidence import executed
from scalp.core.exits import CANCEL_AGAIN, NO_SHARES, PASSING_RETRIES, ExitPlan, Plan, Sell, available, cancel
from scalp.core.ledger import ANSWERED_WITHIN, LOST, REFUSED, Change, Ledger, Order
from scalp.core.log import log_event
from scalp.core.messages import (
    MINUTE,
    SECOND,
    Action,
    AskLastTrade,
    AskOrder,
    Bar,
    CancelOrder,
    OrderReport,
    OrderType,
    PositionReport,
    SubmitOrder,
    Trade,
)
from scalp.core.prices import exact, round_down, round_up
from scalp.core.tape import Tape

LIQUIDATION = "the session is about to end"
BUY_LIFETIME = 120 * SECOND  # an unfilled buy is cancelled after 2 minutes: its signal is not effective any more
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


class ScalpAlgo:
    """Buys `symbol` on a signal and sells at once; subclass it and override `_calculate_buy_signal`.

    `lot` is in dollars; `run` makes this process's client order ids unlike those of any other run.
    """

    # Bars in the average of the built-in rule. A parameter, as any class attribute of a subclass may be.
    window = 20
    # Regular-session bars of today the signal needs before it is asked: two averages, one bar apart. It follows a
    # subclass's `window` (window + 1) until some class sets it.
    warmup_bars = window + 1
    _warmup_follows = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "warmup_bars" in own:
            cls._warmup_follows = False
        elif "window" in own and cls._warmup_follows and isinstance(cls.window, int):
            cls.warmup_bars = cls.window + 1
        if "_calc_buy_signal" in own:
            if "_calculate_buy_signal" in own:
                raise TypeError(f"{cls.__name__} defines _calculate_buy_signal and _calc_buy_signal: keep the first")
            warnings.warn(f"{cls.__name__}._calc_buy_signal is taken as _calculate_buy_signal", stacklevel=2)
            cls._calculate_buy_signal = own["_calc_buy_signal"]  # type: ignore[method-assign]
        signal = cls._calculate_buy_signal
        if (
            inspect.iscoroutinefunction(signal)
            or inspect.isgeneratorfunction(signal)
            or inspect.isasyncgenfunction(signal)
        ):
            # What such a function returns is always truthy: it would buy on every bar.
            raise TypeError(f"{cls.__name__}._calculate_buy_signal must be a plain function: no async, no yield")
        if signal is ScalpAlgo._calculate_buy_signal and not (isinstance(cls.window, int) and cls.window >= 1):
            raise ValueError(f"{cls.__name__}.window must be a whole number of bars, 1 or more, not {cls.window!r}")

    def __init__(self, symbol: str, lot: Decimal, run: str) -> None:
        self.symbol = symbol
        self.lot = lot
        self.state = TO_BUY
        self.ledger = Ledger(symbol)
        self.order: Order | None = None  # the working order that is followed; None: there is none
        self.session: Session | None = None  # None until the calendar was read: then nothing is bought or liquidated
        self._liquidate_at = sys.maxsize  # the session's, ns
        self.asks_last_trade = False  # no trades stream in: fetch the last one before a buy
        self._run = run
        self._orders_sent = 0
        self.session_bars = SessionBars()
        self._no_buys: dict[str, str] = {}  # reasons for buying nothing just now, by kind
        self.tape = Tape()
        self._price_asked_at = 0  # when a buy began to wait for the last trade; 0: none waits
        self.exits = ExitPlan(self.ledger)
        self._followed_version = -1  # of the ledger, that state and order are in line with
        self._said: set[str] = set()  # what is said only once
        self._tell: Listener = log_event
        self._log = Notes(symbol, log_event)

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
        actions = self._decide(at, "bar")
        if is_newest and self._may_enter(at):
            return self._look_for_entry(bar, at)
        return actions

    def on_history(self, bars: Sequence[Bar]) -> None:
        """Bars of before, fetched: they fill the day but never trade."""
        for bar in bars:
            self.session_bars.add(bar)
            self.tape.see_close(bar, bar.start + MINUTE)

    def on_trade(self, trade: Trade) -> None:
        """A print that counts as last sale."""
        self.tape.see(trade)

    def on_last_trade(self, trade: Trade | None, at: int) -> list[Action]:
        """The answer to AskLastTrade; None: there is none to be had, the last close serves."""
        asked_at, self._price_asked_at = self._price_asked_at, 0
        if trade is not None:
            self.tape.see(trade)
        if not asked_at or not self._may_enter(at):
            return []
        if at - asked_at > LAST_TRADE_ANSWER:
            self._log.warning("no buy: the last trade took %.0f s to fetch", (at - asked_at) / SECOND)
            return []
        return self._buy(at)

    def on_order_update(self, report: OrderReport, at: int) -> list[Action]:
        """Some source told of an order in this symbol: the stream, a REST answer, a listing."""
        known = self.ledger.find(report.id) or self.ledger.find(report.client_order_id)
        was_given_up = known is not None and known.status in (LOST, REFUSED)
        change = self.ledger.merge(report)
        if not change.moved:
            return []
        self._tell_change(change, report, at)
        order = change.order
        may_sell = order.side == "buy" and (change.new_qty > 0 or change.ended)
        if change.new_qty:
            order.moved_at = at
        if order.side == "buy":
            if change.new_qty:
                self.exits.on_bought(at)
            if change.ended:
                self.exits.may_go_now()  # it may be what the sell was refused for: a wash trade
        else:
            if change.new_qty:
                self.exits.on_sold()
            if order is self.order and change.ended:
                # Cancelled here, to offer another quantity: nothing was refused, the next one goes at once.
                was_wanted = order.status == "canceled" and order.cancel_sent_at > 0
                may_sell = was_wanted or order.status == "filled"
                if order.is_bots and (order.status == "rejected" or (order.type == "market" and not may_sell)):
                    self.exits.on_refused(order.status, at)
        actions = self._decide(at, f"{order.side} {order.status}", may_sell)
        if not order.is_priced and change.new_qty and order.id:
            actions = [*actions, AskOrder(self.symbol, order.id)]
        if change.is_new and change.new_qty and order.side == "buy" and order is self.order:
            actions = [*actions, *self._cancel_old_buys(at)]  # found too late for its signal
        is_stray = was_given_up and order.side == "buy" and order is not self.order and not order.has_ended
        if is_stray and self.ledger.position >= 0 and at > order.cancel_sent_at:
            # It arrived after all, and nobody waits for it any more: one order at work, never two.
            actions = [*actions, cancel(order, at)]
        return actions

    def on_submit_refused(self, client_order_id: str, why: str, at: int) -> list[Action]:
        """The broker, or this side on the way there, refused an order: it never came to be."""
        order = self.ledger.find(client_order_id)
        if order is None or order.has_ended or order.id:
            return []  # an order the broker told of exists: a second try of it was refused
        self.ledger.end(order, REFUSED)
        wait = 0.0
        if order.side == "sell":
            wait = self.exits.on_refused(why, at) / SECOND
            if any(words in why.lower() for words in NO_SHARES):
                self.ledger.deny(available(why))
            may_pass = wait in PASSING_RETRIES and not self.exits.plan.is_at_market
            self._tell(Refused(self.symbol, at, "sell", order.qty, why, wait, may_pass, self.exits.quantity))
        else:
            self._tell(Refused(self.symbol, at, "buy", order.qty, why))
        return self._decide(at, f"{order.side} refused", may_sell=not wait)

    def on_submit_lost(self, client_order_id: str, at: int) -> list[Action]:
        """An order of unknown outcome turned out never to have arrived: it is dropped, and what is held goes anew."""
        order = self.ledger.find(client_order_id)
        if order is None or order.has_ended or order.id:
            return []
        self.ledger.end(order, LOST)
        self._log.warning("%s %s never arrived", order.side, client_order_id)
        return self._decide(at, f"{order.side} lost")

    def on_order_gone(self, order_id: str, at: int) -> list[Action]:
        """An order that was working is absent wherever it is asked for, look after look: give it up.

        A sell of which nothing was filled is sent again under its own id: were it there after all, the broker would say
        so. What was bought or sold without a word the listed position will tell.
        """
        order = self.ledger.find(order_id)
        if order is None or order.has_ended:
            return []
        self.ledger.end(order, LOST)
        self._log.warning("the broker knows no order %s any more: %s %s given up", order_id, order.side, order.qty)
        is_followed = order is self.order
        actions = self._decide(at, f"{order.side} lost", may_sell=False)
        is_whole = order.is_own and not order.filled_qty and order.qty == self.ledger.whole_shares
        if is_followed and order.side == "sell" and is_whole and self.state is TO_SELL and not self._is_liquidation(at):
            self.ledger.forget_client_id(order)
            return [*actions, self._submit("sell", self.ledger.whole_shares, "limit", order.limit_price, at,
                                           order.client_order_id)]  # fmt: skip
        return actions

    def on_position(
        self, listed: PositionReport, as_of: int, at: int, executions: Iterable[str] = ()
    ) -> list[Action]:
        """Take over the position that the broker listed at `as_of`; `executions` are the ids of those it holds."""
        before = self.ledger.position
        self.ledger.adopt_position(listed.qty, listed.avg_entry_price, as_of, executions)
        self._see_listed(listed, before)
        return self._decide(at, "position")

    def on_surplus(self, listed: PositionReport, as_of: int, at: int) -> list[Action]:
        """More (or no more) is held than executions explain, by a listing alone: it is offered with the next sell."""
        before = self.ledger.position
        self.ledger.claim(listed.qty - before, listed.avg_entry_price, as_of)
        self._see_listed(listed, before)
        return self._decide(at, "position")

    def _see_listed(self, listed: PositionReport, before: Decimal) -> None:
        if listed.qty != before:
            self._log.warning("position is %s at %s, was %s", listed.qty, listed.avg_entry_price, before)
        if self.tape.last_price is None and listed.current_price:
            self.tape.last_price = float(listed.current_price)  # until a bar or a print tells, however old

    def drive(self, at: int) -> list[Action]:
        """Go on with the exit plan: see `ExitPlan.due_at`."""
        return self._decide(at, "exit plan")

    def checkup(self, at: int) -> list[Action]:
        """The background look, every 30 seconds (each second in liquidation)."""
        return [*self._decide(at, "checkup"), *self._cancel_old_buys(at)]

    def _cancel_old_buys(self, at: int) -> list[Action]:
        """A buy that has not filled in 2 minutes is cancelled, and again where that failed."""
        actions: list[Action] = []
        if self.exits.plan is not Plan.OFFER or self.ledger.position < 0:
            return actions
        for order in self.ledger.open_orders:
            is_ours = order is self.order or order.is_bots  # also a buy of an earlier run beside shares that are held
            is_old = order.side == "buy" and at - order.submitted_at >= BUY_LIFETIME
            if is_ours and is_old and at - order.cancel_sent_at >= CANCEL_AGAIN:
                self._log.info("buy unfilled after %d s: cancelling", (at - order.submitted_at) // SECOND)
                actions.append(cancel(order, at))
        return actions

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
        """What the broker lists at the start: take it over, and offer at once what is held without an order.

        Of the newest `executions` the first `held_already` are in the listed position; the others come on top. Not
        `decides`: more is about to be told, and `drive` follows.
        """
        for report in orders:
            self._tell_change(self.ledger.merge(report), report, at)
        for report in executions[:held_already]:
            if self.ledger.find(report.id):
                self.ledger.merge(report)
        ids = [report.execution_id for report in executions[:held_already] if report.execution_id]
        before = self.ledger.position
        self.ledger.adopt_position(position.qty, position.avg_entry_price, as_of, ids)
        for report in executions[held_already:]:
            at_last = max(report.at or 0, as_of + ANSWERED_WITHIN)
            self._tell_change(self.ledger.merge(msgspec.structs.replace(report, at=at_last)), report, at)
        self.ledger.doubt_all()  # which of them were held is a guess
        later = itertools.accumulate(map(executed, executions[held_already:]))
        self.ledger.alternatives.update(-shares for shares in later)
        self.ledger.alternatives.update(itertools.accumulate(map(executed, reversed(executions[:held_already]))))
        self._see_listed(position, before)
        return [*self._decide(at, "position"), *self._cancel_old_buys(at)] if decides else []

    def begin_session(self, session: Session) -> None:
        """Today's session, or a change of it."""
        self.session = session
        self._liquidate_at = session.liquidate_at
        self.session_bars.limit_to(session.open, session.close)

    def forbid_buys(self, kind: str, why: str) -> None:
        """Buy nothing until `allow_buys(kind)`; exits go on."""
        self._no_buys[kind] = why

    def allow_buys(self, kind: str) -> None:
        self._no_buys.pop(kind, None)

    @property
    def no_buys(self) -> str:
        """Why nothing is bought just now; "" when nothing stands against it."""
        return ", ".join(self._no_buys.values())

    @property
    def waits_for_history(self) -> bool:
        """Whether today's bars so far are still being fetched."""
        return "history" in self._no_buys

    @property
    def last_price(self) -> float | None:
        """The last trade in dollars, by exchange timestamp; None before any."""
        return self.tape.last_price

    def cancel_buys(self, at: int) -> list[Action]:
        """Cancel every working buy, and again while no fact tells of its end: nobody would sell what it fills."""
        if self.ledger.position < 0:
            return []
        buys = [order for order in self.ledger.open_orders if order.side == "buy"]
        return [cancel(order, at) for order in buys if at - order.cancel_sent_at >= CANCEL_AGAIN]

    def leave(self, plan: Plan, why: str, at: int) -> list[Action]:
        """Cancel everything and sell what is held at market; see `Plan` for how long."""
        if not self.exits.state(plan, why, at):
            return []
        if plan is Plan.RISK_RULE:
            self._tell(RiskRuleStruck(self.symbol, at, why))
        return self._decide(at, why)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, at: int, cause: str, may_sell: bool = True) -> list[Action]:
        """Bring the state in line with the ledger, and go on with the exit plan."""
        self._follow(cause, at)
        self._plan_by_time(at)
        exits = self.exits
        exits.settle()
        if self.ledger.position < 0:
            self._once("short", logging.WARNING, "short position of %s: hands off", self.ledger.position)
            return []
        if self.state is TO_BUY and not self.ledger.open_orders:
            return []
        if exits.plan is Plan.OFFER and self.state is TO_SELL and not may_sell:
            return []
        session = self.session
        closes_at = session.close if session is not None else sys.maxsize
        actions: list[Action] = []
        for step in exits.steps(self.order, self._sell_price, self.tape.last_at, closes_at, at):
            if isinstance(step, Sell):
                if session is not None or step.type == "limit":
                    actions.append(self._sell(step.type, at))
            else:
                actions.append(step)
                if isinstance(step, CancelOrder) and exits.plan is Plan.OFFER:
                    self._tell_cancel(step)
        return actions

    def _plan_by_time(self, at: int) -> None:
        """Near the close everything is sold at market, and in the last seconds nothing is sent any more."""
        exits = self.exits
        if at < self._liquidate_at:
            if exits.plan in (Plan.LIQUIDATION, Plan.WITHDRAW):
                exits.lift(exits.plan)  # the close was moved to later
            return
        plan = Plan.WITHDRAW if self._is_quiet(at) else Plan.LIQUIDATION
        if exits.state(plan, LIQUIDATION, at) and plan is Plan.LIQUIDATION:
            ledger = self.ledger
            if ledger.open_orders or ledger.position:
                self._tell(Liquidating(self.symbol, at, ledger.position, len(ledger.open_orders)))

    def _tell_cancel(self, step: CancelOrder) -> None:
        """No exit that works, and no buy, is cancelled without a reason that is said."""
        order = self.ledger.find(step.id or step.client_order_id)
        offered = order.remaining if order is not None else None
        if order is not None and order.side == "buy":
            self._log.info("holding %s from elsewhere: cancelling the buy to sell them", self.ledger.position)
        else:
            held = self.ledger.position
            self._log.info("holding %s, %s on offer: cancelling the sell to offer all", held, offered)

    def _follow(self, cause: str, at: int) -> None:
        """Choose the order to follow, if the one so far ended, and move the state accordingly."""
        if self.ledger.version == self._followed_version:
            return  # state and order follow from the ledger alone
        self._followed_version = self.ledger.version
        current, has_ended = self.order, False
        while current is not None and current.has_ended:
            has_ended = True
            current = self.ledger.heard_of(current.replaced_by, current) if current.replaced_by else None
        self.order = current
        if current is not None:
            return
        held = self.ledger.whole_shares
        if not held:
            self.exits.forget_refusals()  # the next shares have nothing to do with what was refused
        resting, target, chosen = TO_SELL if held else TO_BUY, None, None
        waiting: Order | None = None  # a leg that waits for another order: followed only where there is nothing else
        for order in self.ledger.open_orders:
            if order.side == "sell" and order.status == "held":
                waiting = waiting or order
                continue
            if order.side == "sell":
                resting, target, chosen = TO_SELL, SELL_SUBMITTED, order
                break
            # Held shares come before a buy, unless that buy bought them and is still working (a restart in mid-buy),
            # or the bot sent it in an earlier run: it has one order at work, never two.
            is_filling = (order.filled_qty > 0 or order.is_bots) and self.state is TO_BUY and not has_ended
            if target is None and (not held or is_filling):
                resting, target, chosen = TO_BUY, BUY_SUBMITTED, order
        if target is None and waiting is not None:
            resting, target, chosen = TO_SELL, SELL_SUBMITTED, waiting
        if self.state is not resting:
            if self.state is TO_SELL:
                self._log.warning("the shares were sold elsewhere")
            self._transition(resting, cause, at)
        if target is not None:
            self.order = chosen
            self._transition(target, f"following a {target.value.partition('_')[0].lower()} order", at)
        elif not held and self.ledger.position > 0:
            self._once("dust", logging.WARNING, "%s of a share stays: only whole ones are sold", self.ledger.position)

    def _look_for_entry(self, bar: Bar, at: int) -> list[Action]:
        if len(self.session_bars) < self.warmup_bars or self.session is None:
            return []
        if at - (bar.start + MINUTE) > FRESH:
            late = (at - bar.start - MINUTE) / SECOND
            self._once("late", logging.WARNING, "bars come %.0f s late: no buying on a delayed feed", late)
            return []
        try:
            # Not `bool(...)`: NaN, a coroutine or "no" are truthy, and what is odd must not buy.
            answer = self._calculate_buy_signal()
            is_signal = isinstance(answer, (bool, np.bool_)) and bool(answer)
        except (Exception, SystemExit) as error:
            kind = f"the buy signal failed ({type(error).__name__}): no buy"
            # It may fail in every minute of the day: where it comes from is said once.
            if kind in self._said:
                self._log.log(logging.ERROR, kind)
            else:
                self._said.add(kind)
                self._log.exception(kind)
            return []
        if not is_signal:
            return []
        if self._no_buys:
            self._log.info("signal, but no buy: %s", self.no_buys)
            return []
        if self.asks_last_trade:
            self._price_asked_at = at
            return [AskLastTrade(self.symbol)]
        return self._buy(at)

    def _buy(self, at: int) -> list[Action]:
        last = self.tape.last_price
        if last is None or self._no_buys:
            return []
        price = round_down(exact(last))
        qty = int(self.lot // price) if price > 0 else 0
        if qty < 1:
            self._once("lot", logging.WARNING, "lot of $%s buys no share at %s", self.lot, price)
            return []
        self._log.info("signal: buy %d at %s", qty, price)
        return [self._submit("buy", qty, "limit", price, at)]

    def _sell(self, order_type: OrderType, at: int) -> SubmitOrder:
        """Offer every whole share that is held, as far as the broker has them."""
        price = None if order_type == "market" else self._sell_price()
        action = self._submit("sell", self.exits.quantity, order_type, price, at)
        self.ledger.are_offered()
        return action

    def _sell_price(self) -> Decimal:
        """The last trade or the entry, whichever is higher."""
        price = self.ledger.entry_price or Decimal(0)
        if (last := self.tape.last_price) is not None:
            price = max(price, exact(last))
        return round_up(price)

    def _submit(
        self, side: str, qty: int, order_type: OrderType, price: Decimal | None, at: int, client_order_id: str = ""
    ) -> SubmitOrder:
        terms = "market" if price is None else f"limit {price}"
        target, cause = BUY_SUBMITTED if side == "buy" else SELL_SUBMITTED, f"{side} {qty} {terms}"
        self._check_move(target, cause)
        if not client_order_id:
            self._orders_sent += 1
            client_order_id = f"scalp-{self.symbol}-{self._run}-{self._orders_sent}"
        action = SubmitOrder(
            symbol=self.symbol,
            client_order_id=client_order_id,
            side="buy" if side == "buy" else "sell",
            qty=qty,
            type=order_type,
            limit_price=price,
        )
        self.order = self.ledger.expect(action, at)
        self._transition(target, cause, at)
        return action

    def _is_liquidation(self, at: int) -> bool:
        return at >= self._liquidate_at or self.exits.plan is not Plan.OFFER

    def _is_quiet(self, at: int) -> bool:
        return self.session is not None and at >= self.session.quiet_at

    def _may_enter(self, at: int) -> bool:
        """No position (a short one is not ours to touch), no order, and time left."""
        return self.state is TO_BUY and self.ledger.position >= 0 and not self._is_liquidation(at)

    # -- telling ------------------------------------------------------------------------------------------------------

    def tell_to(self, bus: EventBus) -> None:
        """Let the listeners of `bus` hear of everything."""
        self._tell = bus.tell
        self._log = Notes(self.symbol, bus.tell, bus.now)

    def _check_move(self, new: State, cause: str) -> None:
        """Raises IllegalMove, for an order before the ledger has it: else a ghost of it would stay there."""
        if new not in TRANSITIONS[self.state]:
            raise IllegalMove(self.symbol, self.state, new, cause)

    def _transition(self, new: State, cause: str, at: int) -> None:
        self._check_move(new, cause)
        old, self.state = self.state, new
        self._tell(Transition(self.symbol, at, old, new, cause))

    def _tell_change(self, change: Change, report: OrderReport, at: int) -> None:
        order, symbol = change.order, self.symbol
        if change.is_new:
            self._tell(OrderFound(symbol, at, order.side, order.qty, order.type, order.limit_price))
        if change.new_qty:
            self._tell(Fill(symbol, at, order.side, change.new_qty, change.price, change.profit))
        if change.ended and order.status != "filled":
            self._tell(OrderEnded(symbol, at, order.side, order.status, order.filled_qty, order.qty))
        elif not change.new_qty:
            self._log.debug("%s %s", order.side, report.event or order.status)

    def _once(self, kind: str, level: int, text: str, *args: object) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._log.log(level, text, *args)
