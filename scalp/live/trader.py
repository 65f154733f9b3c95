"""One trading session: its parts, put together around a fleet, and what the streams report to each of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import TypeVar

from scalp.cli.identity import since_backtest, told
from scalp.cli.settings import Endpoints, Settings
from scalp.cli.venues import open_feed
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import MarketClock, new_york
from scalp.core.commands import Action
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.events import Listener
from scalp.core.fees import ALPACA
from scalp.core.fleet import Fleet
from scalp.core.leftovers import leftovers
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.orders import OrderReport
from scalp.core.ports import Account, Broker, Clock, Feed, OrderUpdates
from scalp.core.risk_rules import RiskRules
from scalp.core.units import MINUTE, SECOND
from scalp.journal.recorder import Recorder
from scalp.live.cache_warmup import keep_warm
from scalp.live.checkups import Checkups
from scalp.live.closing_books import ClosingBooks
from scalp.live.early_bars import EarlyBars
from scalp.live.heartbeat import SignsOfLife
from scalp.live.history import History
from scalp.live.hours import CLOCK_PATIENCE, Calendar, MarketHours
from scalp.live.jobs import Jobs
from scalp.live.past_fills import PastFills
from scalp.live.reconcile import Reconciler
from scalp.live.startup_checks import Permits, StartupChecks
from scalp.live.trip_watch import TripWatch
from scalp.live.winding_up import WindingUp
from scalp.net.stream import LoginRefused
from scalp.net.virtual_time import is_real_time

T = TypeVar("T")

__all__ = ["CLOCK_PATIENCE", "Trader"]

log = logging.getLogger("scalp.main")

LOUD_NAMES = 20  # up to so many symbols are listed in one line


class Trader:
    """Everything one session needs, from the moment on at which the market was found open. Made by `Startup`.

    Use: `feed.run()`, `updates.run()`, `watch()`, and every `until_next_checkup()` seconds `ask_clock()` and
    `checkup()`; `drain()` when stopped early, else `finish()`; `over()`.
    """

    _trips: TripWatch | None = None  # None: there is no journal
    is_later = False  # this process has traded another day before: its keys were right, and nobody is there to look
    _is_over = False
    equity: Decimal | None = None  # of the account at the start, dollars; None where it did not say
    has_closed = False  # it came to its close, and was not stopped before

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        algo_class: type[ScalpAlgo],
        account: Account,
        clock: MarketClock,
        calendar: Calendar,
        answer: Clock,
        listeners: Sequence[Listener] = (),
    ) -> None:
        """`answer` is what the exchange's clock said last; `listeners` get every event, as the log does."""
        self.settings = settings
        self.clock = clock
        self.rest = account
        self._algo_class = algo_class
        self._run = str(clock.now() // 1_000_000)
        self._loop = asyncio.get_running_loop()
        self._jobs = Jobs()
        algos = (algo_class(symbol, settings.lot, self._run) for symbol in settings.symbols)
        self.fleet = fleet = Fleet(algos, clock.now, self._perform)
        for listener in listeners:
            fleet.bus.listen(listener)
        rng = random.Random(f"{self._run}-jitter")
        self.updates: OrderUpdates = account.order_updates(self, rng, self._is_final)
        self.feed: Feed = open_feed(endpoints, settings.symbols, self, rng, self._expect_bars, account, self._is_final)
        self.broker: Broker = account.broker(fleet.orders, clock.now, lambda: fleet.reservation.needed,
                                             self.feed.latest_trade)  # fmt: skip
        self.request_limit = self.broker.limit
        # Market data goes to the fleet, with nothing between, except while the hours are in doubt.
        self._take_bar: Callable[[Bar], None] = fleet.on_bar
        self.on_trade: Callable[[Trade], None] = fleet.on_trade
        self.on_trade_correction: Callable[[TradeCorrection], None] = fleet.on_trade_correction
        self.on_halt: Callable[[Halt], None] = fleet.on_halt
        self.hours = MarketHours(fleet, clock, calendar, account, answer, self.broker.counted,
                                 self._listen, self._jobs.start)  # fmt: skip
        early_bars = EarlyBars(fleet, clock, self.hours, self._jobs.start)
        self.reconciler = Reconciler(fleet, self.broker, account, clock)
        self.history = History(fleet, self.feed, clock, self._jobs.start, self.hours.refresh)
        heartbeat = SignsOfLife(fleet, (self.feed, self.updates), self.request_limit, self._loop.time)
        self._checkups = Checkups(fleet, clock, self.hours, self.reconciler, heartbeat)
        self._closing_books = ClosingBooks(fleet, account, self.broker)
        self._winding_up = WindingUp(fleet, self.reconciler, clock, settings.on_exit, lambda: self.is_over)
        fleet.connect(self.reconciler.request, self.updates.reconnect, early_bars.on_early_bar)
        fleet.on_gap = self.history.on_gap

    # -- the start ----------------------------------------------------------------------------------------------------

    def _say_algo(self) -> None:
        algo = self._algo_class
        log.info("algo %s", told(algo))
        if self.settings.endpoints is not None and algo is not ScalpAlgo and (news := since_backtest(algo)):
            log.info("algo %s: %s", algo.__qualname__, news)

    async def begin(self, start: StartupChecks, recorder: Recorder) -> None:
        """Say what is traded, ask what may be, and set the background going. Raises UserError for an unknown symbol."""
        session = self.hours.begin()
        fees = self.settings.fees
        self.fleet.charge(fees.on(session.date), self.settings.net_exit)
        recorder.begin(self.fleet, self._algo_class, self._run, session)
        if self.settings.journal is not None:
            self._trips = trips = TripWatch(self.fleet, self._loop.call_later)
            self.fleet.bus.listen(trips)
            self.fleet.on_held_print = trips.see
        if fees != ALPACA or fees.is_before(session.date) or self.settings.net_exit:
            exits = ", exits pay for them" if self.settings.net_exit else ""
            log.info("%s%s", fees.told([session.date]), exits)
        self._say_algo()
        marks = (f"{new_york(at):%H:%M:%S}" for at in (session.open, session.liquidate_at, session.close))
        told = "SIMULATED session" if self.settings.is_simulated_elsewhere else "session"
        log.info("%s %s (New York): open %s, liquidation %s, close %s", told, session.date, *marks)
        permits = Permits(self.rest, self.fleet, self.settings)
        await permits.look(start)
        self.equity = permits.equity
        self.history.begin()
        symbols = self.settings.symbols
        names = ", ".join(symbols) if len(symbols) <= LOUD_NAMES else f"these {len(symbols)} symbols"
        log.info("every order and position in %s is this bot's to manage, also those made by hand", names)
        self.broker.start()
        await self.hours.ask_last_trades(self.feed.latest_trade)
        self._jobs.start(self.reconciler.run())
        self._jobs.start(self._checkups.drive_exits())
        self._jobs.start(permits.ask_again(self.broker.counted))
        if is_real_time(self._loop):
            gc.collect()
            gc.freeze()  # what is here stays: no collection has to look at it while an exit waits
            self._jobs.start(keep_warm(lambda: self.fleet.reservation.needed))
            self.fleet.bus.call_later = self._loop.call_later
        self._begin_risk_rules()
        self._checkups.begin()

    def _begin_risk_rules(self) -> None:
        limits, rules = self.settings.risk_limits, None
        if limits:
            self.fleet.risk.rules = rules = RiskRules(limits, not limits.needs_todays_fills, self.fleet.takings)
            log.info("risk limits: %s", limits)
        if (stop := limits.stop) is not None and stop.is_at_broker:
            log.info("each exit takes its stop along to the broker, where it rests also while this bot is down")
        past = PastFills(self.fleet, self.rest, self.broker, self.reconciler, rules)
        self._jobs.start(self._recall(past))

    async def _recall(self, past: PastFills) -> None:
        if (session := self.fleet.session) is not None:
            await past.recall(session)
            await self._closing_books.ask_old_fees(session)

    def _perform(self, action: Action) -> None:
        self.broker.perform(action)

    def _listen(self, is_in_doubt: bool) -> None:
        """While the hours or the time are in doubt, bars and trades go through `hours`."""
        if is_in_doubt:
            self._take_bar, self.on_trade = self._on_bar_in_doubt, self._on_trade_in_doubt
        else:
            self._take_bar, self.on_trade = self.fleet.on_bar, self.fleet.on_trade

    def _on_bar_in_doubt(self, bar: Bar) -> None:
        self._hear(self.hours.hear_bar, bar)
        self.fleet.on_bar(bar)

    def _on_trade_in_doubt(self, trade: Trade) -> None:
        self._hear(self.hours.hear_trade, trade)
        self.fleet.on_trade(trade)

    def _hear(self, hear: Callable[[T], None], what: T) -> None:
        before = self.clock.now()
        hear(what)
        if abs(self.clock.now() - before) > MINUTE:
            self.history.on_feed_up()  # what was asked for by the wrong time proves nothing

    # -- what the streams report --------------------------------------------------------------------------------------

    def on_order_update(self, report: OrderReport) -> None:
        self.broker.on_stream_told(report)
        self.hours.hear_order_update(report)
        self.fleet.orders.on_order_update(report)

    def on_updates_up(self) -> None:
        self.broker.on_updates_up()
        self.reconciler.on_updates_changed()
        self.fleet.orders.on_updates_up()

    def on_updates_down(self, why: str) -> None:
        if not self._is_over:
            self.reconciler.on_updates_changed()
            self.fleet.orders.on_updates_down(why)

    def on_bar(self, bar: Bar) -> None:
        self.history.on_bar(bar)
        self._take_bar(bar)

    def on_gap(self, symbol: str) -> None:
        self.history.on_gap(symbol)

    def on_feed_up(self) -> None:
        self.history.on_feed_up()
        self.fleet.on_feed_up()

    def on_feed_down(self, why: str) -> None:
        if not self._is_over:
            self.history.on_feed_down()
            self.fleet.on_feed_down(why)

    async def _is_final(
        self,
        refusal: LoginRefused,
        ask: Callable[[], Awaitable[object]] | None = None,
        refusals: Sequence[int] = (401, 403),
    ) -> bool:
        """Whether what a stream refuses at the start ends the run: never while anything is held or working.

        What the plan lacks is documented; refused keys need a second witness, `ask`, which takes the same keys.
        """
        if self.is_later or not self.reconciler.is_sure or leftovers(self.fleet.algos):
            return False
        if refusal.is_about_plan:
            return True
        # One endpoint may refuse what another takes.
        for question in (self.rest.clock, self.rest.get_account) if ask is None else (ask,):
            try:
                await (self.broker.counted(question()) if ask is None else question())
            except Rejected as error:
                if error.status not in refusals:
                    return False
            except (Unreachable, OutcomeUnknown):
                return False
            else:
                return False
        return True

    def _expect_bars(self) -> bool:
        session = self.fleet.session
        return session is not None and session.open + 120 * SECOND <= self.clock.now() < session.close

    # -- in the background --------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Wait until a task in the background fails, and raise its error."""
        await self._jobs.watch()

    def until_next_checkup(self) -> float:
        """Seconds until the next checkup is due."""
        return self._checkups.until_next()

    def ask_clock(self) -> asyncio.Task[bool] | None:
        """Ask for the exchange's time if that is due; the answer is worth waiting for, if there is one to wait for."""
        return self.hours.ask_clock()

    def checkup(self) -> bool:
        """Every symbol looks after itself; listings follow in their own time. False at the close."""
        return self._checkups.checkup()

    @property
    def is_over(self) -> bool:
        """Whether the close has come."""
        return self.hours.is_over(self.clock.now())

    # -- the end ------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stopped early: no more buys, and what `--on-exit` says of the rest."""
        await self._winding_up.drain()
        if (session := self.fleet.session) is not None and self.reconciler.is_started:
            await self._closing_books.compare_at_stop(session)
        await self._winding_up.see_through()

    async def finish(self) -> bool:
        """After the close: False if the broker has not confirmed what the ledgers say, however often it was asked.

        Or if the close has not come after all: then `has_closed` is False.
        """
        is_settled = await self._winding_up.finish()
        if not self.is_over:
            return False
        self.has_closed = True
        if (session := self.fleet.session) is not None:
            await self._closing_books.compare(session)
        return is_settled

    def tell_leftovers(self) -> bool:
        """Say what is held or working, and what is in doubt; True if anything is held or working."""
        return self._winding_up.tell_leftovers()

    def over(self) -> None:
        """From here on the streams go down on purpose, and events are delivered without waiting."""
        self._is_over = True
        if self._trips is not None:
            self._trips.close()
        self.fleet.bus.call_later = None
        self.fleet.bus.deliver()

    async def close(self) -> None:
        """End what runs in the background; the account stays open."""
        await self._jobs.close()
        await self.broker.close()
        await self.feed.close()
