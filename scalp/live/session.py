"""One trading session at Alpaca: what is opened, checked, fetched and closed around the event loop of main.py."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from scalp.alpaca.activities import Activities, fills
from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.budget import RequestBudget
from scalp.alpaca.feed import AlpacaFeed
from scalp.alpaca.rest import PAGE as ORDERS_PAGE
from scalp.alpaca.rest import AlpacaREST
from scalp.alpaca.updates import OrderUpdates
from scalp.cli.settings import Endpoints, Settings
from scalp.core.algo import BUY_SUBMITTED, ScalpAlgo
from scalp.core.clock import (
    CHECKUP_EVERY,
    LATE_LOOK_EVERY,
    LIQUIDATION_EVERY,
    MarketClock,
    Session,
    new_york,
)
from scalp.core.errors import OutcomeUnknown, Refused, Unreachable
from scalp.core.events import LeftOver, Listener
from scalp.core.fleet import Fleet
from scalp.core.messages import MINUTE, SECOND, Action, Bar, Halt, OrderReport, Trade, TradeGone
from scalp.core.rails import Rails
from scalp.core.trades import Fill
from scalp.journal.recorder import Journaling
from scalp.live.heartbeat import SignsOfLife
from scalp.live.history import History
from scalp.live.hours import CLOCK_PATIENCE, Calendar, MarketHours
from scalp.live.opening import Permits, Start
from scalp.live.reconcile import TROUBLES, Reconciler
from scalp.live.rehearsal import keep_warm
from scalp.net.loops import is_real_time
from scalp.net.stream import LoginRefused
from scalp.polygon.feed import PolygonFeed

T = TypeVar("T")

__all__ = ["CLOCK_PATIENCE", "TradingSession"]

log = logging.getLogger("scalp.main")

DRAIN = 4.0  # seconds after Ctrl+C in which what fills still gets its sell
FLATTEN = 30.0  # seconds after Ctrl+C in which everything is cancelled and sold, with --on-exit flatten
FLATTEN_LOOK_EVERY = 3  # checkups, a second apart, between looks at the listings then
AFTER_CLOSE = 8.0  # seconds in which the last updates of the day may come
# Seconds, at orders and positions after the close: what is listed without an explanation is believed by then.
LAST_LOOKS_FOR, LAST_LOOK_EVERY = 70.0, 5.0
HISTORY_RETRY = (5.0, 60.0)  # seconds: the first, doubling up to the longest
ON_EXIT = {
    "keep": "orders stay as they are",
    "cancel-buys": "working buys are cancelled, sells stay",
    "flatten": "everything is cancelled and sold at market",
}
LOUD_NAMES = 20  # up to as many symbols are listed in one line
EARLIEST_FILL = 6 * 3600 * SECOND  # before the open: nothing of the day before is so late


class TradingSession:
    """Everything one session needs, put together around a fleet of `algo_class`.

    Use: `open()`; then `feed.run()`, `updates.run()`, `watch()`, and every `until_next_checkup()` seconds `ask_clock()`
    and `checkup()`; `drain()` when stopped early, else `finish()`; `close()`.
    """

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        algo_class: type[ScalpAlgo],
        listeners: Sequence[Listener] = (),
    ) -> None:
        """`listeners` are told of everything, as the log and the journal are."""
        self.settings = settings
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self.clock = MarketClock(self._loop.time)
        self._algo_class = algo_class
        self._endpoints = endpoints
        self.rest = AlpacaREST(endpoints)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._looked_at = float("-inf")  # loop time
        self._is_over = False
        self._exits_due = asyncio.Event()
        self._journaling = Journaling(settings, endpoints, self.now)
        # Set in open(), once the exchange's time is known. Market data goes to the fleet, with nothing between, except
        # while the hours are in doubt.
        self._take_bar: Callable[[Bar], None]
        self.on_trade: Callable[[Trade], None]
        self.on_trade_gone: Callable[[TradeGone], None]
        self.on_halt: Callable[[Halt], None]
        self.fleet: Fleet
        self.hours: MarketHours
        self.broker: AlpacaBroker
        self.feed: AlpacaFeed | PolygonFeed
        self.updates: OrderUpdates
        self.history: History
        self.reconciler: Reconciler
        self.budget: RequestBudget
        self._heartbeat: SignsOfLife

    def now(self) -> int | None:
        """Exchange time (ns), None before it is known."""
        return self.clock.now() if self.clock.is_set else None

    # -- the start ----------------------------------------------------------------------------------------------------

    async def open(self) -> bool:
        """Clock, calendar, account, assets; False when the market is closed and nobody wants to wait."""
        calendar = Calendar(self.rest)
        start = Start(self.rest, self.clock, calendar, self.settings)
        answer = await start.market()
        if answer is None:
            return False
        run = str(self.clock.now() // 1_000_000)
        symbols = self.settings.symbols
        algos = [self._algo_class(symbol, self.settings.lot, run) for symbol in symbols]
        self.fleet = Fleet(algos, self.clock.now, self._perform)
        for listener in self._listeners:
            self.fleet.bus.listen(listener)
        self.on_trade_gone, self.on_halt = self.fleet.on_trade_gone, self.fleet.on_halt
        budget = RequestBudget(self.clock.now, lambda: self.fleet.reservation.needed)
        self.rest.on_rate_limit = budget.on_rate_limit
        self.budget = budget
        rng = random.Random(f"{run}-jitter")
        self.updates = OrderUpdates(self._endpoints, self, rng, self._is_final)
        if self._endpoints.feed == "polygon":
            polygon = PolygonFeed(
                self._endpoints, symbols, self, rng, self._expect_bars,
                is_final=lambda refusal: self._is_final(refusal, polygon.ask_rest, refusals=(401,)),
            )  # fmt: skip
            self.feed = polygon
        else:
            self.feed = AlpacaFeed(self._endpoints, symbols, self, rng, self._expect_bars, self.rest, self._is_final)
        self.broker = AlpacaBroker(self.rest, budget, self.fleet, self.feed.latest_trade)
        self.hours = MarketHours(self.fleet, self.clock, calendar, self.rest, answer, self.broker.counted,
                                 self._listen, self._start, self.fleet.refuse_early_bar)  # fmt: skip
        session = self.hours.begin()
        self._journaling.begin(self.fleet, self._algo_class, run, session)
        marks = (f"{new_york(at):%H:%M:%S}" for at in (session.open, session.liquidate_at, session.close))
        log.info("session %s (New York): open %s, liquidation %s, close %s", session.date, *marks)
        permits = Permits(self.rest, self.fleet, self.settings)
        await permits.look(start)
        self.reconciler = Reconciler(self.fleet, self.broker, self.rest, self.clock)
        self._heartbeat = SignsOfLife(self.fleet, (self.feed, self.updates), budget, self._loop.time)
        self.fleet.connect(self.reconciler.request, self.updates.reconnect, self.hours.on_early_bar)
        self.history = History(self.fleet, self.feed, self.clock, self._start, self.hours.refresh)
        self.fleet.on_gap = self.history.on_gap
        names = ", ".join(symbols) if len(symbols) <= LOUD_NAMES else f"these {len(symbols)} symbols"
        log.info("every order and position in %s is this bot's to manage, also those made by hand", names)
        self.rest.open_lane().start()
        await self.hours.ask_last_trades(self.feed.latest_trade)
        self._start(self.reconciler.run())
        self.fleet.exit_times.on_sooner = self._exits_due.set
        self._start(self._drive_exits())
        self._start(permits.ask_again(self.broker.counted))
        if is_real_time(self._loop):
            gc.collect()
            gc.freeze()  # what is here stays: no collection has to look at it while an exit waits
            self._start(keep_warm(lambda: self.fleet.reservation.needed))
            self.fleet.bus.call_later = self._loop.call_later
        if self.settings.rails:
            needs_past = self.settings.rails.needs_todays_fills
            self.fleet.rails = rails = Rails(self.settings.rails, knows_today=not needs_past)
            log.info("risk rails: %s", self.settings.rails)
            if needs_past:
                self._start(self._recall(rails, session))
        # However near the next checkup is: it asks and looks again.
        since = (self.clock.now() - session.open) / SECOND % CHECKUP_EVERY
        self._looked_at = self._loop.time() - since
        self.hours.count_from(self._looked_at)
        return True

    def _perform(self, action: Action) -> None:
        self.broker.perform(action)

    def _listen(self, is_in_doubt: bool) -> None:
        """While the hours or the time are, bars and trades come past `hours`."""
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
        if abs(self.clock.now() - before) > MINUTE and hasattr(self, "history"):
            self.history.on_feed_up()  # what was asked for by the wrong time proves nothing

    # -- what the streams tell ----------------------------------------------------------------------------------------

    def on_order_update(self, report: OrderReport) -> None:
        self.broker.on_stream_told(report)
        self.hours.hear_order_update(report)
        self.fleet.on_order_update(report)

    def on_updates_up(self) -> None:
        self.broker.on_updates_up()
        self.reconciler.on_updates_changed()
        self.fleet.on_updates_up()

    def on_updates_down(self, why: str) -> None:
        if not self._is_over:
            self.reconciler.on_updates_changed()
            self.fleet.on_updates_down(why)

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

        What the plan lacks is in the documentation; refused keys need a second witness, `ask`, that takes the same.
        """
        is_known = self.reconciler.is_started
        if is_known and self.fleet.leftovers():
            return False
        if refusal.is_about_plan:
            return is_known
        try:
            await (ask() if ask is not None else self.broker.counted(self.rest.clock()))
        except Refused as error:
            return error.status in refusals
        except (Unreachable, OutcomeUnknown):
            pass
        return False

    async def _drive_exits(self) -> None:
        """Go on with the exit plans when they are due: the next checkup may be half a minute away."""
        while True:
            due = self.fleet.exit_times.next_at
            self._exits_due.clear()
            with contextlib.suppress(TimeoutError):
                # Never for less than a float of seconds can tell from nothing.
                async with asyncio.timeout(max(self.clock.seconds_until(due), 0.001) if due else None):
                    await self._exits_due.wait()
            if due and self.clock.now() >= due:
                self.fleet.drive_exits()

    async def _recall(self, rails: Rails, session: Session) -> None:
        """Tell the rails what was traded today before the positions that the bot started with were listed."""
        wait, longest = HISTORY_RETRY
        while not self.reconciler.is_started:
            await asyncio.sleep(0.05)
        activities = Activities(self.rest, session.open - EARLIEST_FILL, self.broker.counted)
        while True:
            try:
                past = fills(e for e in await activities.read() if e.id not in self.reconciler.news_at_start)
                break
            except (Unreachable, OutcomeUnknown) as error:
                log.warning("no buys: today's fills, which the rails need: %s; again in %.0f s", error, wait)
            except Refused as refusal:
                # The account has no activities to show: its orders tell nearly as much.
                try:
                    past = await self._fills_by_orders(session)
                    break
                except TROUBLES as error:
                    log.warning("no buys: today's fills, which the rails need: %s, %s; again in %.0f s",
                                refusal, error, wait)  # fmt: skip
            rails.judge_by_own()
            self.fleet.obey(rails)
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)
        fleet = self.fleet
        rails.recall([fill for fill in past if fill.symbol in fleet.algos and fill.at <= fleet.listed_at])
        fleet.obey(rails)

    async def _fills_by_orders(self, session: Session) -> list[Fill]:
        """Today's fills by the orders of the day, one an order, where the account's activities cannot be had."""
        found: dict[str, Fill] = {}
        since: int = session.open - EARLIEST_FILL
        while True:
            page = await self.broker.counted(self.rest.orders("all", list(self.fleet.algos), since))
            before = len(found)
            for report in page.rows:
                at = report.at or report.submitted_at  # one that was cancelled in part does not tell when it filled
                if report.filled_qty and report.filled_avg_price and at is not None:
                    price = report.filled_avg_price
                    found[report.id] = Fill(report.symbol, report.side, report.filled_qty, price, at)
            last = page.rows[-1].submitted_at if page.rows else None
            if page.length < ORDERS_PAGE or last is None or (last <= since and len(found) == before):
                return sorted(found.values(), key=lambda fill: fill.at)
            since = max(last - 1, since + 1)

    def _expect_bars(self) -> bool:
        session = self.fleet.session
        return session is not None and session.open + 120 * SECOND <= self.clock.now() < session.close

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._failure.done():
            self._failure.set_exception(error)

    # -- in the background --------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Raises what a task in the background died of; until then it waits."""
        await self._failure

    def until_next_checkup(self) -> float:
        """Seconds until the next checkup is due: every 30 s, more often near the end, sharp at the session's marks.

        Counted from the open, whenever the bot started: a backtest then has its checkups at the same times.
        """
        session = self.fleet.session
        assert session is not None
        now = self.clock.now()
        every = round((LIQUIDATION_EVERY if self.fleet.is_leaving else session.checkup_every(now)) * SECOND)
        marks = (session.near_at, session.liquidate_at, session.quiet_at, session.close)
        waits = [every - (now - session.open) % every, *(mark - now for mark in marks if mark > now)]
        return min(waits) / SECOND

    def ask_clock(self) -> asyncio.Task[bool] | None:
        """Ask for the exchange's time if that is due; the answer is worth waiting for, if there is one to wait for."""
        return self.hours.ask_clock()

    def checkup(self) -> bool:
        """Every symbol looks after itself; listings follow in their own time. False at the close."""
        session = self.fleet.session
        assert session is not None
        at = self.clock.now()
        if self.hours.is_over(at):
            return False
        self.fleet.checkup()
        self._heartbeat.look(at)
        # A checkup may have waited for the clock, and the next one did not.
        every = LATE_LOOK_EVERY if at >= session.liquidate_at else CHECKUP_EVERY
        if self._is_due(self._looked_at, every - CLOCK_PATIENCE if at < session.liquidate_at else every):
            self._looked_at = self._loop.time()
            self.reconciler.request("checkup")
        return True

    def _is_due(self, last: float, every: float) -> bool:
        return self._loop.time() + 0.5 - last >= every

    # -- the end ------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stopped early: no more buys, and what `--on-exit` says of the rest."""
        log.warning("stopping: no more buys, %s", ON_EXIT[self.settings.on_exit])
        self.fleet.forbid_buys("stopping", "the bot is stopping")
        if self.settings.on_exit == "flatten" and not self.fleet.shut:
            await self._flatten()
            return
        if not self.reconciler.is_started:
            await self._look(DRAIN)
        deadline, latest = self._loop.time() + DRAIN, self._loop.time() + FLATTEN
        while True:
            if self.settings.on_exit == "cancel-buys":
                self.fleet.cancel_buys()
            plans = [algo.exits for algo in self.fleet.algos.values() if not algo.exits.is_in_order]
            # An exit in the middle of being replaced by another is seen through; all else has a few seconds.
            is_replacing = any(
                plan.is_sending or (plan.is_under_way and plan.retry_at <= self.clock.now()) for plan in plans
            )
            has_buys = any(algo.state is BUY_SUBMITTED for algo in self.fleet.algos.values())
            is_waiting = bool(plans) or (has_buys and self.settings.on_exit == "cancel-buys")
            if not is_waiting or self._loop.time() >= (latest if is_replacing else deadline):
                break
            await asyncio.sleep(0.05)

    async def _flatten(self) -> None:
        """Liquidate now, until nothing is left by the broker's own listings, for at most 30 s."""
        deadline = self._loop.time() + FLATTEN
        session = self.fleet.session
        assert session is not None
        self.fleet.flatten()
        is_flat = False
        turn = 0
        while not is_flat and self._loop.time() < deadline and self.clock.now() < session.close:
            if self.fleet.leftovers() or not self.reconciler.is_started:
                turn += 1
                if turn % FLATTEN_LOOK_EVERY == 0:
                    self.reconciler.request("flattening")
                await asyncio.sleep(LIQUIDATION_EVERY)
                self.fleet.checkup()
            else:
                is_flat = await self._look(deadline - self._loop.time()) and not self.fleet.leftovers()
                if not is_flat:
                    await asyncio.sleep(LIQUIDATION_EVERY)
        if not is_flat:
            log.error("not flat, or not known to be, after %.0f s", FLATTEN)

    async def _look(self, patience: float) -> bool:
        """Compare with the broker's listings, within `patience` seconds; whether nothing is in doubt."""
        try:
            async with asyncio.timeout(patience):
                return await self.reconciler.reconcile()
        except (Unreachable, OutcomeUnknown, Refused, TimeoutError) as error:
            log.warning("no look at orders and positions: %s", str(error) or "no answer in time")
        except Exception:
            log.exception("no look at orders and positions")  # whatever is broken: winding up goes on
        return False

    async def finish(self) -> bool:
        """After the close: wait for the day's last updates, then ask the broker what is left, and cancel that.

        False if the broker has not confirmed what the ledgers say, however often it was asked.
        """
        deadline = self._loop.time() + AFTER_CLOSE
        while self.fleet.leftovers() and self._loop.time() < deadline:
            await asyncio.sleep(0.25)
        deadline = self._loop.time() + LAST_LOOKS_FOR
        while True:
            is_settled = await self._look(max(deadline - self._loop.time(), 1.0))
            if is_settled and not self.fleet.has_open_orders:
                return True
            if self._loop.time() >= deadline:
                log.error("orders and positions after the close are not confirmed by the broker's listings")
                return is_settled
            self.fleet.checkup()  # what is parked is cancelled, lest it fills at the next open
            await asyncio.sleep(LAST_LOOK_EVERY)

    def over(self) -> None:
        """From here on the streams go down because they are told to, and nothing that is told waits."""
        self._is_over = True
        self.fleet.bus.call_later = None
        self.fleet.bus.deliver()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "broker"):
            await self.broker.close()
        if hasattr(self, "feed") and isinstance(self.feed, PolygonFeed):
            await self.feed.close()
        await self.rest.close()
        self._journaling.end()

    def tell_leftovers(self) -> bool:
        """Say what is held or working, and what is in doubt; True if anything is held or working."""
        left = self.fleet.leftovers()
        for symbol, (position, orders) in left.items():
            working = ", ".join(f"{o.side} {o.remaining} {o.type} {o.limit_price or ''}".strip()
                                + (" (outcome unknown)" if not o.id else "")
                                + (" (being cancelled)" if o.cancel_sent_at else "") for o in orders)  # fmt: skip
            entry_price = self.fleet.algos[symbol].ledger.entry_price
            self.fleet.tell(LeftOver(symbol, self.clock.now(), position, entry_price, working))
        for line in self.reconciler.doubts:
            log.warning("%s", line)
        return bool(left)
