"""Fleet: which algo an event belongs to, and what all algos share.

Synchronous: an event is handled whole, the actions it gave are handed to `send`, then the listeners of `bus` are
notified, and the next event comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from scalp.core.algo import FRESH, ScalpAlgo
from scalp.core.bus import EventBus
from scalp.core.clock import AHEAD, Session, new_york
from scalp.core.commands import Action
from scalp.core.dispatcher import Dispatcher
from scalp.core.events import (
    BarHeard,
    Event,
    HistoryHeard,
    Listener,
    SessionSet,
)
from scalp.core.exits import DRIVE_EVERY, Plan
from scalp.core.fees import Rates
from scalp.core.log import LogListener
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.order_router import OrderRouter
from scalp.core.readiness import FEED, Readiness
from scalp.core.takings import Takings

LOUD_SYMBOLS = 50  # with up to so many symbols, every bar is a line at INFO


class Fleet:
    """`algos` by symbol. `now` is exchange time (ns); `send` performs an action.

    `listeners` get every event once the actions are out; None: only the log does.
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
        self._now = now
        self._logger = logging.getLogger("scalp.fleet")
        self._bar_level = logging.INFO if len(self.algos) <= LOUD_SYMBOLS else logging.DEBUG
        self.bus = EventBus(now, *([LogListener(self._bar_level)] if listeners is None else listeners))
        for algo in self.algos.values():
            algo.telling.to(self.bus)
        dispatcher = Dispatcher(self.algos, self.bus, send)
        self.risk, self.reservation, self.exit_times = dispatcher.risk, dispatcher.reservation, dispatcher.exit_times
        self.readiness = Readiness(self.algos, now, self.tell)
        self.takings = Takings()
        self.orders = OrderRouter(dispatcher, self.readiness, self.takings)
        self._notes = dispatcher.notes
        self._handle = dispatcher.handle
        self._perform = dispatcher.perform
        self._carry_out = dispatcher.carry_out
        self._trouble = dispatcher.trouble
        self.on_gap: Callable[[str], None] = lambda symbol: None  # called when a bar had to be refused
        self.on_held_print: Callable[[Trade], None] = lambda trade: None  # a print in a symbol that is held
        self._settle_early_bar: Callable[[Bar], None] = self.refuse_early_bar
        self.newest_minute = 0  # start of the newest minute with a bar in any symbol, ns; 0 before any
        self._early_told: set[str] = set()  # symbols with a warning logged that a bar came before its time

    def connect(
        self,
        reconcile: Callable[[str], None],
        reconnect_updates: Callable[[str], None],
        settle_early_bar: Callable[[Bar], None] | None = None,
    ) -> None:
        """What to call when a reconciliation is due, order updates are mute, or a bar came before its time."""
        self.orders.connect(reconcile, reconnect_updates)
        self._settle_early_bar = settle_early_bar or self.refuse_early_bar

    # -- market data --------------------------------------------------------------------------------------------------

    def on_bar(self, bar: Bar, is_settled: bool = False) -> None:
        """A minute bar. One that comes long before its time goes to the callback of `connect`, unless it `is_settled`.

        It comes before its time when it is far ahead of the clock and of all bars so far.
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
        # There are more bars than anything else: where nobody listens for them, as in a backtest, none is reported.
        if self.bus.has_guests or self._logger.isEnabledFor(self._bar_level):
            self.bus.tell(BarHeard(at, bar))
        try:
            actions = algo.on_bar(bar, at)
        except Exception:
            self._trouble(algo)
        else:
            self._perform(algo, actions)

    def refuse_early_bar(self, bar: Bar) -> None:
        """Its minute is far from over: until then it would be the newest bar, and no signal would be asked."""
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
        if trade.at > now + AHEAD:
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
        """Earlier bars, fetched: they never lead to a trade."""
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
            algo.entry_blocks.block("halt", f"trading is halted ({halt.reason})")
        else:
            self._notes.info("%s: trading goes on", halt.symbol)
            algo.entry_blocks.unblock("halt")
        self.bus.deliver()

    def on_feed_up(self) -> None:
        self.readiness.update(FEED, "")

    def on_feed_down(self, why: str) -> None:
        self.readiness.update(FEED, f"no bars: {why}")

    def tell(self, event: Event) -> None:
        """Pass `event` to the listeners at once, after those that wait."""
        self.bus.tell(event)
        self.bus.deliver()

    # -- all together -------------------------------------------------------------------------------------------------

    def checkup(self, symbols: Iterable[str] | None = None) -> None:
        """The background look at `symbols`; None: at all."""
        if self.orders.shut:
            return  # what time alone makes due can wait
        for symbol in self.algos if symbols is None else symbols:
            self._handle(symbol, lambda algo, at: algo.checkup(at))

    def cancel_buys(self) -> None:
        for symbol in self.algos:
            self._handle(symbol, lambda algo, at: algo.working_buys.cancel(at))

    def flatten(self) -> None:
        """Liquidate everything from now on."""
        for symbol in self.algos:
            self.close_position(symbol)

    def close_position(self, symbol: str) -> None:
        """Liquidate `symbol` from now on."""
        self._handle(symbol, lambda algo, at: algo.close_position(Plan.FLATTEN, "told to flatten", at))

    def drive_exits(self) -> None:
        """Go on with the exit plans that are due."""
        now = self._now()
        for symbol in self.exit_times.due(now):
            if self.orders.shut:
                self.exit_times.put_off(symbol, now + DRIVE_EVERY)
            else:
                self.exit_times.forget(symbol)
                self.drive(symbol)

    def drive(self, symbol: str) -> None:
        """Go on with the exit plan of `symbol`."""
        self._handle(symbol, lambda algo, at: algo.drive(at))

    def begin_session(self, session: Session) -> None:
        if session != self.session:
            self.session = self.orders.session = session
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
            algo.entry_blocks.block(kind, why)

    def unblock(self, kind: str) -> None:
        for algo in self.algos.values():
            algo.entry_blocks.unblock(kind)
