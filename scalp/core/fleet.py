"""Fleet: which algo an event belongs to, and what all algos share.

Synchronous: an event is handled whole, the actions it gave are handed to `send`, then the listeners of `bus` are told
of it, and the next event comes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from scalp.core.algo import FRESH, TO_BUY, ScalpAlgo
from scalp.core.bus import EventBus, Notes
from scalp.core.clock import Session, new_york
from scalp.core.commands import Action, SubmitOrder
from scalp.core.early_updates import EarlyUpdates
from scalp.core.events import (
    BarHeard,
    Event,
    HistoryHeard,
    Listener,
    OrderSent,
    SessionSet,
)
from scalp.core.exit_times import ExitTimes
from scalp.core.exits import DRIVE_EVERY, Plan
from scalp.core.fees import Rates
from scalp.core.ledger import Order
from scalp.core.log import LogListener
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.orders import BUY, OrderReport, PositionReport
from scalp.core.readiness import FEED, RECONCILED, UPDATES, Readiness
from scalp.core.recording import Recording
from scalp.core.reservation import Reservation
from scalp.core.risk_watch import RiskWatch
from scalp.core.takings import Takings

LOUD_SYMBOLS = 50  # up to as many, every bar is a line at INFO


class Fleet:
    """`algos` by symbol. `now` is exchange time (ns); `send` performs an action.

    `listeners` are told of everything once the actions are out; None: only the log is.
    """

    def __init__(
        self,
        algos: Iterable[ScalpAlgo],
        now: Callable[[], int],
        send: Callable[[Action], None],
        listeners: Sequence[Listener] | None = None,
    ) -> None:
        self.algos = {algo.symbol: algo for algo in algos}
        self.session: Session | None = None
        self.shut = ""  # why nothing at all may be sent just now; "": it may
        self.listed_at = 0  # exchange time of the positions the bot started with, ns
        self._logger = logging.getLogger("scalp.fleet")
        self._bar_level = logging.INFO if len(self.algos) <= LOUD_SYMBOLS else logging.DEBUG
        self.bus = EventBus(now, *([LogListener(self._bar_level)] if listeners is None else listeners))
        self._record = Recording(self.bus)
        self.risk = RiskWatch(self.algos, self.bus, self._record, self._carry_out, self._trouble)
        self.takings = Takings()
        self._notes = Notes("fleet", self.bus.tell, now)
        for algo in self.algos.values():
            algo.telling.to(self.bus)
        self.fill_to_exit: dict[str, list[float]] = {}  # seconds from a fill's arrival to its sell's sending
        self._now = now
        self._send = send
        self._is_sending = False  # actions are being handed over: nobody is told of anything before they are out
        self.reservation = Reservation()
        self.exit_times = ExitTimes()
        self.readiness = Readiness(self.algos, now, self.tell)
        self.early_updates = EarlyUpdates()
        self._filled_at: dict[str, float] = {}  # client order id of a sell -> when the fill that caused it arrived
        self.on_gap: Callable[[str], None] = lambda symbol: None  # told when a bar had to be refused
        self.on_held_print: Callable[[Trade], None] = lambda trade: None  # a print in a symbol that is held
        self._reconcile: Callable[[str], None] = lambda why: None
        self._reconnect_updates: Callable[[str], None] = lambda why: None
        self._settle_early_bar: Callable[[Bar], None] = self.refuse_early_bar
        self.newest_minute = 0  # start of the newest minute of which there is a bar in any symbol, ns; 0 before any
        self._early_told: set[str] = set()  # symbols of which it was said that a bar came before its time

    def connect(
        self,
        reconcile: Callable[[str], None],
        reconnect_updates: Callable[[str], None],
        settle_early_bar: Callable[[Bar], None] | None = None,
    ) -> None:
        """Whom to tell that a reconciliation is due, that order updates are mute, that a bar came before its time."""
        self._reconcile, self._reconnect_updates = reconcile, reconnect_updates
        self._settle_early_bar = settle_early_bar or self.refuse_early_bar

    # -- market data --------------------------------------------------------------------------------------------------

    def on_bar(self, bar: Bar, is_settled: bool = False) -> None:
        """A minute bar. One from long before its time is handed to whom `connect` named, unless it `is_settled`.

        Its time has not come when it is far ahead of the clock and of all bars so far.
        """
        algo = self.algos.get(bar.symbol)
        if algo is None:
            return
        at = self._now()
        if bar.start > self.newest_minute:
            if bar.start - max(at, self.newest_minute) > FRESH and not is_settled:
                self._settle_early_bar(bar)
                return
            self.newest_minute = bar.start
        # There are more bars than anything else: where nobody wants to know of them, as in a backtest, none is told of.
        if self.bus.has_guests or self._logger.isEnabledFor(self._bar_level):
            self.bus.tell(BarHeard(at, bar))
        try:
            actions = algo.on_bar(bar, at)
        except Exception:
            self._trouble(algo)
        else:
            self._perform(algo, actions)

    def refuse_early_bar(self, bar: Bar) -> None:
        """Its minute is not over, by far: it would be the newest bar until then, and no signal be asked."""
        level = logging.DEBUG if bar.symbol in self._early_told else logging.WARNING
        self._early_told.add(bar.symbol)
        self.on_gap(bar.symbol)
        minute = f"{new_york(bar.start):%H:%M}"
        self._notes.log(level, "%s: a bar of %s came before its time: ignored", bar.symbol, minute)
        self.bus.deliver()

    def on_trade(self, trade: Trade) -> None:
        algo = self.algos.get(trade.symbol)
        if algo is None:
            return
        now = self._now()
        if trade.at > now:
            # A print from the future would be the last trade for ever: it counts as made when it came.
            trade = Trade(trade.symbol, now, trade.price, trade.size, trade.id)
        try:
            algo.on_trade(trade)
            actions = algo.after_trade(now)
        except Exception:
            self._trouble(algo)
            return
        if actions:
            self._carry_out(algo, actions)
        if algo.ledger.position:
            self.on_held_print(trade)
            if (rules := self.risk.rules) is not None:
                self.risk.watch(algo, rules)
                if (due := algo.stop.due_at) and algo.exits.plan is Plan.OFFER:
                    self.exit_times.hasten(trade.symbol, due)

    def on_trade_correction(self, correction: TradeCorrection) -> None:
        if algo := self.algos.get(correction.symbol):
            algo.tape.strike(correction, algo.session_bars)

    def on_history(self, symbol: str, bars: Sequence[Bar]) -> None:
        """Fetched bars of before: they never trade."""
        if algo := self.algos.get(symbol):
            algo.on_history(bars)
            self.newest_minute = max([self.newest_minute, *(bar.start for bar in bars)])
            self.bus.tell(HistoryHeard(self._now(), bars))
            self.bus.settle()

    def on_halt(self, halt: Halt) -> None:
        algo = self.algos.get(halt.symbol)
        if algo is None:
            return
        if halt.halted:
            self._notes.warning("%s: trading is halted (%s): no buys", halt.symbol, halt.reason)
            algo.block_entries("halt", f"trading is halted ({halt.reason})")
        else:
            self._notes.info("%s: trading goes on", halt.symbol)
            algo.unblock("halt")
        self.bus.deliver()

    def on_feed_up(self) -> None:
        self.readiness.update(FEED, "")

    def on_feed_down(self, why: str) -> None:
        self.readiness.update(FEED, f"no bars: {why}")

    def on_last_trade(self, symbol: str, trade: Trade | None) -> None:
        if trade is not None and trade.at > self._now():
            trade = Trade(trade.symbol, self._now(), trade.price, trade.size, trade.id)
        self._handle(symbol, lambda algo, at: algo.on_last_trade(trade, at))

    # -- orders -------------------------------------------------------------------------------------------------------

    def on_order_update(self, report: OrderReport) -> None:
        """Some source told of an order; of its legs first, so that its end is not met before what they have done."""
        for leg in report.legs:
            self.on_order_update(leg)
        arrived = time.perf_counter()
        algo = self.algos.get(report.symbol)
        if algo is None:
            return
        if self.early_updates.are_kept:
            self.early_updates.keep(report)
            return
        at, before = self._now(), algo.ledger.position
        try:
            actions = algo.on_order_update(report, at)
        except Exception:
            self._trouble(algo)
            return
        for action in actions:
            if isinstance(action, SubmitOrder) and report.side == BUY:
                self._filled_at[action.client_order_id] = arrived
        self._perform(algo, actions)
        self.takings.look(algo.ledger)
        self._record.reported(algo.ledger, report, before, at)
        if report.replaced_by and not self._was_moved_here(algo, report):
            self._reconcile(f"an order of {report.symbol} was replaced")
        elif algo.ledger.question:
            algo.block_entries("doubt", f"it is not known {algo.ledger.question}")
            self._reconcile(algo.ledger.question)

    @staticmethod
    def _was_moved_here(algo: ScalpAlgo, report: OrderReport) -> bool:
        """Whether it is a stop of which this program has asked for another price."""
        order = algo.ledger.find(report.id)
        return order is not None and order.move_sent_at > 0

    def on_stop_fixed(self, symbol: str, order_id: str, why: str) -> None:
        """The stop `order_id` was not moved; without a `why` it may be later."""
        algo = self.algos.get(symbol)
        order = None if algo is None else algo.ledger.find(order_id)
        if algo is None or order is None:
            return
        order.move_sent_at = 0
        if why:
            algo.stop.on_fixed()
            self._notes.warning("%s: the stop at the broker stays where it is (%s): the bot trails by itself",
                                symbol, why)  # fmt: skip
            self.bus.deliver()

    def on_updates_up(self) -> None:
        self.readiness.update(RECONCILED, "not reconciled since order updates are up")
        self.readiness.update(UPDATES, "")
        self._reconcile("order updates are up")

    def on_updates_down(self, why: str) -> None:
        self.readiness.update(UPDATES, f"no order updates: {why}")
        self.readiness.update(RECONCILED, "not reconciled since order updates were lost")

    def on_mute_updates(self) -> None:
        self._reconnect_updates("an order moved and the stream said nothing")

    def on_submit_rejected(self, symbol: str, client_order_id: str, why: str) -> None:
        self.reservation.is_out(client_order_id)
        self._filled_at.pop(client_order_id, None)
        self._handle(symbol, lambda algo, at: algo.on_submit_rejected(client_order_id, why, at))
        self._record.failed(symbol, client_order_id, "refused", why)

    def on_submit_lost(self, symbol: str, client_order_id: str) -> None:
        self._handle(symbol, lambda algo, at: algo.on_submit_lost(client_order_id, at))
        self._record.failed(symbol, client_order_id, "lost", "it never arrived")

    def on_snapshot(
        self,
        symbol: str,
        orders: Sequence[OrderReport],
        position: PositionReport,
        as_of: int,
        executions: Sequence[OrderReport] = (),
        held_already: int = 0,
        decides: bool = True,
    ) -> None:
        """What the broker listed at the start, as of `as_of`; see `ScalpAlgo.on_snapshot`."""
        self.listed_at = as_of
        self._handle(
            symbol, lambda algo, at: algo.on_snapshot(orders, position, as_of, at, executions, held_already, decides)
        )
        if algo := self.algos.get(symbol):
            self._record.listed(algo.ledger, orders)

    def on_position(self, position: PositionReport, as_of: int) -> None:
        """A position listed at `as_of` that differs, and that something explains."""
        self._handle(position.symbol, lambda algo, at: algo.on_position(position, as_of, at))
        if algo := self.algos.get(position.symbol):
            self._record.position(algo.ledger)

    def on_surplus(self, position: PositionReport, as_of: int) -> None:
        """A position listed at `as_of` that differs, that nothing explains, and that has stood."""
        self._handle(position.symbol, lambda algo, at: algo.on_surplus(position, as_of, at))
        if algo := self.algos.get(position.symbol):
            self._record.position(algo.ledger)

    def on_order_gone(self, symbol: str, order_id: str) -> None:
        """An order that was working is unknown to the broker, for good."""
        self._handle(symbol, lambda algo, at: algo.on_order_gone(order_id, at))
        self._record.failed(symbol, order_id, "gone", "the broker knows it no more")

    def on_sent(self, action: SubmitOrder) -> None:
        """An order is on its way out: from now on it may need a cancel or an exit. Notes how long its cause took."""
        self.reservation.is_out(action.client_order_id)
        self._reckon(self.algos[action.symbol])
        arrived = self._filled_at.pop(action.client_order_id, None)
        if arrived is not None:
            self.fill_to_exit.setdefault(action.symbol, []).append(time.perf_counter() - arrived)
        self.bus.tell(OrderSent(self._now(), action))
        if not self._is_sending:
            self.bus.settle()

    def find_order(self, symbol: str, key: str) -> Order | None:
        algo = self.algos.get(symbol)
        return None if algo is None else algo.ledger.find(key)

    def tell(self, event: Event) -> None:
        """Tell the listeners at once, after what waits."""
        self.bus.tell(event)
        self.bus.deliver()

    def reconcile_soon(self, why: str) -> None:
        self._reconcile(why)

    # -- all together -------------------------------------------------------------------------------------------------

    def checkup(self) -> None:
        if self.shut:
            return  # what time alone makes due can wait
        for symbol in self.algos:
            self._handle(symbol, lambda algo, at: algo.checkup(at))

    def cancel_buys(self) -> None:
        for symbol in self.algos:
            self._handle(symbol, lambda algo, at: algo.working_buys.cancel(at))

    def flatten(self) -> None:
        """Liquidate everything from now on."""
        for symbol in self.algos:
            self._handle(symbol, lambda algo, at: algo.close_position(Plan.FLATTEN, "told to flatten", at))

    def drive_exits(self) -> None:
        """Go on with the exit plans that are due."""
        now = self._now()
        for symbol in self.exit_times.due(now):
            if self.shut:
                self.exit_times.put_off(symbol, now + DRIVE_EVERY)
            else:
                self.exit_times.forget(symbol)
                self.drive(symbol)

    def drive(self, symbol: str) -> None:
        """Go on with the exit plan of `symbol`."""
        self._handle(symbol, lambda algo, at: algo.drive(at))

    def begin_session(self, session: Session) -> None:
        if session != self.session:
            self.session = session
            for algo in self.algos.values():
                algo.begin_session(session)
            self.bus.tell(SessionSet(self._now(), session))
            self.bus.settle()

    def charge(self, rates: Rates, net_exit: bool = False) -> None:
        """The fees of the day; with `net_exit` an exit is offered no lower than what pays for those of both sides."""
        self.takings.rates = rates
        for algo in self.algos.values():
            algo.telling.rates = rates
            algo.builder.break_even = rates.break_even() if net_exit else None

    def block_entries(self, kind: str, why: str) -> None:
        for algo in self.algos.values():
            algo.block_entries(kind, why)

    def unblock(self, kind: str) -> None:
        for algo in self.algos.values():
            algo.unblock(kind)

    def why_no_entry(self, symbol: str) -> str:
        algo = self.algos.get(symbol)
        if algo is None:
            return "not watched"
        if self.session is not None and self._now() >= self.session.liquidate_at:
            return "the session is about to end"
        return algo.why_no_entry or self.risk.why_no_entry(algo)

    def no_orders(self) -> str:
        """Why no order at all may go out: one sent in the last seconds could be parked for tomorrow's open."""
        is_quiet = self.session is not None and self._now() >= self.session.quiet_at
        return self.shut or ("too close to the close" if is_quiet else "")

    def holds(self, symbol: str, qty: int) -> bool:
        """Whether so many shares are held, by the ledger."""
        algo = self.algos.get(symbol)
        return algo is not None and algo.ledger.whole_shares >= qty

    def _handle(self, symbol: str, handler: Callable[[ScalpAlgo, int], list[Action]]) -> None:
        algo = self.algos.get(symbol)
        if algo is None:
            return
        try:
            actions = handler(algo, self._now())
        except Exception:
            self._trouble(algo)
            return
        self._perform(algo, actions)

    def _perform(self, algo: ScalpAlgo, actions: Sequence[Action]) -> None:
        rules = self.risk.rules
        if rules is None:
            self._carry_out(algo, actions)
        else:
            self._carry_out(algo, self.risk.allowed(algo, actions, rules))
            self.risk.watch(algo, rules)

    def _carry_out(self, algo: ScalpAlgo, actions: Sequence[Action]) -> None:
        self._is_sending = True
        decided_at = self._now() if actions else 0
        for action in actions:
            if isinstance(action, SubmitOrder) and action.side == BUY and not action.covers:
                self.reservation.buy_waits(action.client_order_id)
            try:
                self._send(action)
            except Exception:
                self._trouble(algo)  # the other actions go all the same
        self._is_sending = False
        self._reckon(algo)
        self._record.decided(actions, decided_at)
        self.bus.settle()

    def _reckon(self, algo: ScalpAlgo) -> None:
        """Note what `algo` may need now: requests, and when its exit plan is to be driven."""
        ledger = algo.ledger
        is_idle = algo.order is None and algo.state is TO_BUY and not ledger.open_orders and ledger.position >= 0
        if is_idle and not self.reservation.holds_for(algo):
            self.exit_times.forget(algo.symbol)
            return
        self.exit_times.note(algo, self._now())
        self.reservation.reckon(algo)

    def _trouble(self, algo: ScalpAlgo) -> None:
        """A bug in one algo must not stop the others, nor its own exits; it buys nothing more."""
        self._notes.exception("%s: an event could not be handled: no more buys in this symbol", algo.symbol)
        self.bus.deliver()
        algo.block_entries("trouble", "an event could not be handled")
