"""Performs a fleet's actions at Alpaca: sends, asks, waits; decides nothing about trading.

Each action runs as a task of its own, so no symbol waits for another's answer and an exit never waits for the answer to
its own buy. The outcome of an action returns to the fleet as a report, a refusal, or the notice that an order
never arrived.

The outcome of a POST that broke off is unknown until a fact settles it: an answer by client order id or the order's row
in the listing of all orders, an update, and for a sell its POST again under the same id, which the broker takes once
only. A buy is never sent twice: absent wherever it is asked for, it is dropped. A look-up that fails proves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from scalp.alpaca.rate_limiter import RateLimiter
from scalp.alpaca.rest import AlpacaREST, RateLimited
from scalp.core.commands import Action, AskLastTrade, AskOrder, CancelOrder, MoveStop, SubmitOrder
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.market_data import Trade
from scalp.core.order_state import Order
from scalp.core.orders import BUY, SELL, OrderReport
from scalp.core.ports import OrderListener
from scalp.core.units import SECOND
from scalp.net.backoff import Backoff

T = TypeVar("T")

log = logging.getLogger("scalp.broker")

ASK_AFTER = (0.05, 0.15, 0.3, 0.7)  # seconds after a buy was accepted; the stream may report its fill 250 ms late
ASK_DENSELY_FOR = 0.5  # seconds after that, while requests are plenty
DENSEST = 0.017  # seconds between two of these questions
DENSEST_OF_ALL = 0.004  # the same over all buys: the answers have to be read as well
MOST_UNANSWERED = 4  # of them at once
ASK_CANCEL_AFTER = (0.5, 2.0, 3.0)  # seconds after a cancel was accepted, while no update has reported its end
# Seconds for which a buy must be absent, as it may still be on its way: by one source alone; by id and in the listing.
ABSENT_FOR = (30.0, 5.0)
ASK_PRICE_AFTER = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds, one after the other
UNWANTED_FOR = 10.0  # seconds at most that an exit waits for the end of an order of unknown outcome
TAKEN_FOR = 30.0  # seconds to look for the order behind a taken id: after that another id has to do
ALL_LOOKS = 2  # by client order id, and in the listing of all orders
LISTED_SINCE = 120 * SECOND  # before an order was sent: how far back the listing goes in which it is looked for
ENTRY_PATIENCE = 30.0  # an entry that had to wait longer is dropped: its signal is old
MUTE_AFTER = 5.0  # seconds after an answer by id shows that an order moved: by then the stream must report it
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0  # seconds, doubling: 429 without Retry-After, and questions without an answer
EXIT_PAUSE = 2.0  # seconds an exit or a cancel waits at most after a 429, whatever it says
# Seconds after a cancel that was refused or broke off, while the order works.
CANCEL_TRIES = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
ASK_MOVE_AFTER = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds after a stop was to be moved, one after the other
MUTE_AGAIN = 120.0  # seconds between two reconnections of a stream for being mute
ROOM_EVERY = 0.25  # seconds between looks whether the limiter has room
LONGEST_ROOM_WAIT = 60  # seconds a question waits for that: by then the minute is another

LAST_TRADE_PATIENCE = 3.0  # seconds: a buy waits for it
MOST_RELATED = 5  # orders that a refusal names, and that are asked for
SAME_TIME = 5 * SECOND  # an order with our id was submitted no earlier than so long before we sent ours


class AlpacaBroker:
    """`latest_trade(symbol)` is the feed's; it is asked for AskLastTrade."""

    def __init__(
        self,
        rest: AlpacaREST,
        limiter: RateLimiter,
        listener: OrderListener,
        latest_trade: Callable[[str], Awaitable[Trade | None]],
    ) -> None:
        self._rest = rest
        self._limiter = self.limit = limiter
        self._listener = listener
        self._latest_trade = latest_trade
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: set[str] = set()  # orders known by id to have moved, until the stream reports them
        self.round_trips: list[float] = []  # seconds from an order's sending to its answer, in this run
        self._asked_early = 0  # buys that were just accepted, and are asked for
        self._sent: Counter[str] = Counter()  # how often a client order id was to be sent
        self._cancelling: set[str] = set()  # orders whose cancel has not got through yet
        self._mute_at = float("-inf")  # when the stream was last reported to be mute, loop time

    def start(self) -> None:
        """From now on orders have connections of their own."""
        self._rest.open_order_connections().start()

    def perform(self, action: Action) -> None:
        """Start `action`; returns at once."""
        if isinstance(action, SubmitOrder):
            # An exit is on the wire before this returns, if a connection is warm; an entry needs permission first.
            sent = None
            if action.is_exit and not self._listener.no_orders():
                try:
                    sent = self._rest.submit_now(action)
                except Exception:
                    # Nobody knows what got out: it is asked for, like every order of unknown outcome.
                    log.exception("%s: the order lane failed", action.symbol)
                    sent = _unknown()
                if sent is not None:
                    self._listener.on_sent(action)
            self._start(self._submit(action, sent))
            self._sent[action.client_order_id] += 1
        elif isinstance(action, CancelOrder):
            self._start(self._cancel(action))
        elif isinstance(action, AskOrder):
            self._start(self._ask(action))
        elif isinstance(action, MoveStop):
            self._start(self._move_stop(action))
        else:
            self._start(self._ask_last_trade(action))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def on_stream_told(self, report: OrderReport) -> None:
        """The order-update stream reported this order: it is not mute."""
        self._watched.discard(report.id)

    def on_updates_up(self) -> None:
        """A new connection: it does not report what happened before."""
        self._watched.clear()

    async def counted(self, request: Awaitable[T]) -> T:
        """Await one request to the trading API, counted in the limiter."""
        self._limiter.sent()
        try:
            answer = await request
            self._limiter.went_through()
            return answer
        except RateLimited as limited:
            self._limiter.refused(limited.retry_after)
            raise
        finally:
            self._limiter.answered()

    @property
    def has_plenty(self) -> bool:
        """More than half of the minute's requests are left."""
        return self._limiter.has_plenty

    async def room(self) -> None:
        """Wait until the limiter has room for what is not urgent."""
        await _room(lambda: self._limiter.allows_rest)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # A bug in here must not take the other orders with it.
            log.error("an action failed", exc_info=error)

    # -- submitting ---------------------------------------------------------------------------------------------------

    async def _submit(self, action: SubmitOrder, sent: Awaitable[OrderReport] | None) -> None:
        """See an order through; `sent` is the answer to come if it is on the wire already."""
        deadline = asyncio.get_running_loop().time() + ENTRY_PATIENCE
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        found: OrderReport | None
        while True:
            if sent is None:
                is_exit = action.is_exit
                why = self._listener.no_orders() if is_exit else await self._entry_forbidden(action, deadline)
                if why:
                    self._listener.on_submit_rejected(action.symbol, action.client_order_id, why)
                    return
                if not backoff.is_fresh and _is_unwanted(self._listener, action):
                    # Not wanted any more after a 429, and never accepted: what is wanted instead can go at once.
                    self._listener.on_submit_lost(action.symbol, action.client_order_id)
                    return
                self._listener.on_sent(action)
                sent = self._rest.submit(action)
            try:
                answer, sent, sent_at = sent, None, time.perf_counter()
                found = await self.counted(answer)
                self.round_trips.append(time.perf_counter() - sent_at)
            except RateLimited as limited:
                # Nothing was done. Only this order waits, and no longer than until the limit is fresh.
                left = max(deadline - asyncio.get_running_loop().time(), 0.0)
                pause = self._pause(limited, backoff.next(), EXIT_PAUSE if action.is_exit else left)
                log.warning("%s %s: too many requests, again in %.1f s", action.side, action.symbol, pause)
                await asyncio.sleep(pause)
                continue
            except Rejected as refusal:
                if not _is_duplicate(refusal):
                    self._refuse(action, refusal)
                    return
                found = await self._settle_duplicate(action)
            except (OutcomeUnknown, Unreachable) as error:
                log.warning("%s %s: %s; asking what became of it", action.side, action.symbol, error)
                found = await (self._settle_exit(action) if action.is_exit else self._settle_buy(action))
            if found is None:
                return
            self._listener.on_order_update(found)
            if action.side == BUY:
                await self._ask_early(action.symbol, found.id)
            return

    def _refuse(self, action: SubmitOrder, refusal: Rejected) -> None:
        self._listener.on_submit_rejected(action.symbol, action.client_order_id, refusal.message)
        if refusal.orders:
            self._start(self._ask_related(action.symbol, refusal.orders[:MOST_RELATED]))
        if action.side == SELL:
            self._listener.reconcile_soon(f"a sell of {action.symbol} was refused")

    def _pause(self, limited: RateLimited, wait: float, longest: float) -> float:
        """Seconds to wait after a 429: what it says, else `wait`; at most until the limit is fresh, and `longest`."""
        return min(limited.retry_after or wait, max(self._limiter.resets_in, FIRST_WAIT), longest)

    async def _entry_forbidden(self, action: SubmitOrder, deadline: float) -> str:
        """Wait until an entry may go; returns why not when it may not at all."""
        loop = asyncio.get_running_loop()
        while True:
            order = self._listener.find_order(action.symbol, action.client_order_id)
            if order is not None and order.cancel_sent_at:
                return "cancelled before it was sent"
            if why := self._listener.why_no_entry(action.symbol):
                return why
            if loop.time() >= deadline:
                return "the request limit left no room for it"
            if self._limiter.allows_entry:
                return ""
            await asyncio.sleep(min(ROOM_EVERY, max(deadline - loop.time(), 0.01)))

    async def _settle_duplicate(self, action: SubmitOrder) -> OrderReport | None:
        """The id was used: by this same order, whose answer got lost, unless its terms differ."""
        report = await self._find(action)
        if report is None:
            return None
        order = self._listener.find_order(action.symbol, action.client_order_id)
        is_same = (
            (report.symbol, report.side, report.type) == (action.symbol, action.side, action.type)
            and report.qty in (None, action.qty)
            and report.limit_price in (None, action.limit_price)
        )
        if order is not None and report.submitted_at is not None:
            is_same &= report.submitted_at >= order.submitted_at - SAME_TIME
        # One that was given up and is there after all is known by its own id.
        if is_same or self._listener.find_order(action.symbol, report.id) is not None:
            return report
        why = f"the id {action.client_order_id} belongs to another order"
        self._listener.on_submit_rejected(action.symbol, action.client_order_id, why)
        return None

    async def _find(self, action: SubmitOrder) -> OrderReport | None:
        """An order that exists, as its id is taken: ask until it is found; None when another source reports it.

        One that was given up and sent again is there, and has the shares. For any other the search ends after half a
        minute, so that nothing is left without an exit.
        """
        loop = asyncio.get_running_loop()
        backoff, unwanted_since, began = Backoff(FIRST_WAIT / 4, LONGEST_WAIT), 0.0, loop.time()
        while not _is_settled(self._listener, action):
            report, absent = await self._look_up(action)
            if report is not None:
                return report
            is_over = self._sent[action.client_order_id] < 2 and loop.time() - began >= TAKEN_FOR
            if is_over and (absent == ALL_LOOKS or action.side == SELL):
                why = f"the id {action.client_order_id} is taken, its order was not found"
                self._listener.on_submit_rejected(action.symbol, action.client_order_id, why)
                return None
            if _is_unwanted(self._listener, action):
                unwanted_since = unwanted_since or loop.time()
                if loop.time() - unwanted_since >= UNWANTED_FOR:
                    self._listener.on_submit_lost(action.symbol, action.client_order_id)
                    return None
            await backoff.wait()
        return None

    async def _settle_exit(self, action: SubmitOrder) -> OrderReport | None:
        """Send it again under its own id until there is an answer: the broker takes an id once, so that is a fact.

        The same where it is no longer wanted: then it can be cancelled by its id, and nothing of it arrives later; but
        never once its shares are sold. Without an answer for 10 s the exit that replaces it does not wait for it.
        None when the listener knows its end.
        """
        loop = asyncio.get_running_loop()
        backoff, unwanted_since = Backoff(FIRST_WAIT / 4, EXIT_PAUSE), 0.0
        while not _is_settled(self._listener, action):
            refusal: Rejected | None = None
            may_send = not self._listener.no_orders() and self._listener.may_close(action)
            if may_send:
                try:
                    return await self.counted(self._rest.submit(action))
                except RateLimited as limited:
                    await asyncio.sleep(self._pause(limited, backoff.pause, EXIT_PAUSE))
                    continue
                except Rejected as error:
                    refusal = error
                except (OutcomeUnknown, Unreachable) as error:
                    log.debug("%s %s: %s", action.side, action.symbol, error)
            report, absent = await self._look_up(action)
            if report is not None:
                return report
            if absent and refusal is not None and not _is_duplicate(refusal):
                # Not because the first one is there and holds the shares: the broker does not want this order.
                self._refuse(action, refusal)
                return None
            if _is_unwanted(self._listener, action):
                unwanted_since = unwanted_since or loop.time()
                if (absent and not may_send) or loop.time() - unwanted_since >= UNWANTED_FOR:
                    self._listener.on_submit_lost(action.symbol, action.client_order_id)
                    return None
            await backoff.wait()
        return None

    async def _settle_buy(self, action: SubmitOrder) -> OrderReport | None:
        """Look for it; drop it once it was absent wherever it was asked for, for some seconds at a stretch."""
        loop = asyncio.get_running_loop()
        absent_since: float | None = None
        backoff, unwanted_since = Backoff(FIRST_WAIT / 4, LONGEST_WAIT), 0.0
        while not _is_settled(self._listener, action):
            if _is_unwanted(self._listener, action):
                # Its cancel waits, and behind that an exit: if the buy is there, the broker says so to the exit.
                unwanted_since = unwanted_since or loop.time()
                if loop.time() - unwanted_since >= UNWANTED_FOR:
                    self._listener.on_submit_lost(action.symbol, action.client_order_id)
                    return None
            # A 429 may have asked for more patience than an exit has.
            await _room(lambda: self._limiter.allows_question or _is_unwanted(self._listener, action))
            report, absent = await self._look_up(action)
            if report is not None:
                return report
            if not absent:
                absent_since = None  # no answer is no "not found"
            elif absent_since is None:
                absent_since = loop.time()
                backoff.reset()
            elif loop.time() - absent_since >= ABSENT_FOR[absent - 1]:
                self._listener.on_submit_lost(action.symbol, action.client_order_id)
                return None
            await asyncio.sleep(backoff.next(None if absent_since is None else 1.0))
        return None

    async def _look_up(self, action: SubmitOrder) -> tuple[OrderReport | None, int]:
        """Look by client order id and, unless that finds it, in the listing of all orders.

        Returns the order if it was found, and how many of the two said that there is none.
        """
        absent = 0
        try:
            return await self.counted(self._rest.order_by_client_id(action.client_order_id)), 0
        except Rejected as refusal:
            absent += refusal.status == 404
        except (Unreachable, OutcomeUnknown) as error:
            log.debug("%s: %s", action.symbol, error)
        order = self._listener.find_order(action.symbol, action.client_order_id)
        since = order.submitted_at - LISTED_SINCE if order is not None else None
        try:
            page = await self.counted(self._rest.orders("all", [action.symbol], since))
        except (Rejected, Unreachable, OutcomeUnknown) as error:
            log.debug("%s: %s", action.symbol, error)
            return None, absent
        found = [report for report in page.rows if report.client_order_id == action.client_order_id]
        return (found[0], 0) if found else (None, absent + 1)

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _ask_early(self, symbol: str, order_id: str) -> None:
        """Ask for a buy that was just accepted: an answer by id is faster than the stream may be."""
        loop = asyncio.get_running_loop()
        accepted_at, offset, asked = loop.time(), 0.0, set[asyncio.Task[bool]]()
        self._asked_early += 1
        try:
            while (offset := self._next_question(offset)) <= ASK_AFTER[-1]:
                await asyncio.sleep(max(accepted_at + offset - loop.time(), 0))
                order = self._listener.find_order(symbol, order_id)
                if order is None or order.has_ended or not self._limiter.has_plenty:
                    break
                asked = {task for task in asked if not task.done()}
                if len(asked) < MOST_UNANSWERED:
                    asked.add(loop.create_task(self.ask(symbol, order_id)))
            await asyncio.gather(*asked)
        finally:
            self._asked_early -= 1
            for task in asked:
                task.cancel()  # of those that are done nothing is left to cancel

    def _next_question(self, offset: float) -> float:
        """When a buy that was just accepted is asked for next, after `offset` seconds.

        As densely as its share of the requests that can be spared allows, in the first half second; never more seldom
        than `ASK_AFTER`, which half of what can be spared is kept for.
        """
        sparse = next((after for after in ASK_AFTER if after > offset), ASK_AFTER[-1] + 1)
        share = (self._limiter.spare - self._limiter.limit // 4) / self._asked_early
        if share < 1 or offset >= ASK_DENSELY_FOR:
            return sparse
        return min(sparse, offset + max(DENSEST, DENSEST_OF_ALL * self._asked_early, ASK_DENSELY_FOR / share))

    async def ask(self, symbol: str, order_id: str) -> bool:
        """Ask for an order by the broker's id; the answer goes to the listener, a missing one is only logged.

        False if the answer is that there is no such order.
        """
        order = self._listener.find_order(symbol, order_id)
        filled, status = (order.filled_qty, order.status) if order else (None, "")
        try:
            report = await self.counted(self._rest.order(order_id))
        except (Rejected, Unreachable, OutcomeUnknown) as error:
            log.debug("%s: %s", symbol, error)
            return not (isinstance(error, Rejected) and error.status == 404)
        after = self._listener.find_order(symbol, order_id)
        has_news = after is not None and not after.has_ended and (after.filled_qty, after.status) == (filled, status)
        self._listener.on_order_update(report)
        moved = has_news and after is not None and (after.has_ended or after.filled_qty != filled)
        # The end of a leg whose group has sold all is not always reported; the sale was.
        is_passive = after is not None and bool(after.head.legs) and after.on_offer == 0 and after.filled_qty == filled
        if moved and not is_passive and order_id not in self._watched:
            self._watched.add(order_id)
            self._start(self._expect_update(order_id))
        return True

    async def _ask_related(self, symbol: str, order_ids: Sequence[str]) -> None:
        """A refusal named these orders: no listing may have shown them yet."""
        for order_id in order_ids:
            order = self._listener.find_order(symbol, order_id)
            if order is None or order.has_ended:
                await self.ask(symbol, order_id)

    async def _expect_update(self, order_id: str) -> None:
        """An answer by id showed that the order moved: the stream must report it too, or it is mute."""
        await asyncio.sleep(MUTE_AFTER)
        now = asyncio.get_running_loop().time()
        if order_id in self._watched:
            self._watched.discard(order_id)
            if now - self._mute_at >= MUTE_AGAIN:
                self._mute_at = now
                self._listener.on_mute_updates()

    async def _ask(self, action: AskOrder) -> None:
        """Ask by id, and again while no answer says at what price it was filled."""
        for pause in ASK_PRICE_AFTER:
            await asyncio.sleep(pause)
            await self.ask(action.symbol, action.id)
            order = self._listener.find_order(action.symbol, action.id)
            if order is None or order.is_priced:
                return

    async def _ask_last_trade(self, action: AskLastTrade) -> None:
        try:
            async with asyncio.timeout(LAST_TRADE_PATIENCE):
                trade = await self._latest_trade(action.symbol)
        except (Rejected, Unreachable, OutcomeUnknown, TimeoutError) as error:
            log.info("%s: no last trade (%s), its last close serves", action.symbol, str(error) or "no answer in time")
            trade = None
        self._listener.on_last_trade(action.symbol, trade)

    # -- moving stops -------------------------------------------------------------------------------------------------

    async def _move_stop(self, action: MoveStop) -> None:
        """Change a stop's price, as long as requests are plenty; an outcome that is not known is asked for."""
        symbol, order_id = action.symbol, action.id
        if not self._limiter.has_plenty or self._listener.no_orders():
            self._listener.on_stop_fixed(symbol, order_id, "")
            return
        try:
            report = await self.counted(self._rest.move_stop(order_id, action.stop_price))
        except RateLimited:
            self._listener.on_stop_fixed(symbol, order_id, "")
            return
        except Rejected as refusal:
            await self.ask(symbol, order_id)
            order = self._listener.find_order(symbol, order_id)
            works = order is not None and not order.has_ended
            self._listener.on_stop_fixed(symbol, order_id, refusal.message if works else "")
            return
        except (OutcomeUnknown, Unreachable) as error:
            log.warning("%s: moving the stop: %s; asking what became of it", symbol, error)
            for pause in ASK_MOVE_AFTER:
                await asyncio.sleep(pause)
                order = self._listener.find_order(symbol, order_id)
                if order is None or order.has_ended:
                    return
                await self.ask(symbol, order_id)
            self._listener.on_stop_fixed(symbol, order_id, "")
            return
        self._listener.on_order_update(report)

    # -- cancelling ---------------------------------------------------------------------------------------------------

    async def _cancel(self, action: CancelOrder) -> None:
        key = action.client_order_id or action.id
        if key in self._cancelling:
            return
        self._cancelling.add(key)
        try:
            order = await self._send_cancel(action)
        finally:
            self._cancelling.discard(key)
        if order is None:
            return
        for pause in ASK_CANCEL_AFTER:
            await asyncio.sleep(pause)
            if all(other.has_ended for other in order.group):
                return
            if self._limiter.allows_question:
                await self.ask(action.symbol, order.id)
            if order.has_ended and _works(order) is not None:
                # It had ended already when the cancel came, by its stop: that one sells on.
                order = await self._send_cancel(action) or order

    async def _send_cancel(self, action: CancelOrder) -> Order | None:
        """The order whose cancel was accepted; None when there is nothing to wait for.

        Where the cancel is refused or breaks off, it is asked for again while the order works.
        """
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        tries = iter(CANCEL_TRIES)
        while True:
            order = _works(self._listener.find_order(action.symbol, action.id or action.client_order_id))
            if order is None:
                return None
            if not order.id:
                # Its POST is still under way, or its outcome is being asked for: find it first.
                await asyncio.sleep(0.05)
                continue
            try:
                await self.counted(self._rest.cancel(order.id))
                return order
            except RateLimited as limited:
                await asyncio.sleep(self._pause(limited, backoff.next(), EXIT_PAUSE))
                continue
            except Rejected as refusal:
                # Mostly: filled already.
                log.info("%s: cancel refused: %s", action.symbol, refusal.message)
            except (OutcomeUnknown, Unreachable) as error:
                log.warning("%s: cancel: %s", action.symbol, error)
            await self.ask(action.symbol, order.id)
            pause = next(tries, None)
            if pause is None:
                return None  # the exit plan, or the checkup, asks again
            await asyncio.sleep(pause)


def _works(order: Order | None) -> Order | None:
    """`order`, or what still sells of its group: its stop may have ended it in the instant of the cancel."""
    left = [] if order is None else [other for other in order.group if not other.has_ended and not other.is_spent]
    return order if order is not None and not order.has_ended else next(iter(left), None)


def _is_unwanted(listener: OrderListener, action: SubmitOrder) -> bool:
    """Whether its cancel was asked for before the broker answered the order."""
    order = listener.find_order(action.symbol, action.client_order_id)
    return order is not None and order.cancel_sent_at > 0 and not order.id


def _is_settled(listener: OrderListener, action: SubmitOrder) -> bool:
    """Whether another source has reported what became of it."""
    order = listener.find_order(action.symbol, action.client_order_id)
    return order is None or bool(order.id) or order.has_ended


async def _room(is_allowed: Callable[[], bool]) -> None:
    # Not for ever: open orders may need more requests than a whole minute has, and the question must be asked.
    for _ in range(round(LONGEST_ROOM_WAIT / ROOM_EVERY)):
        if is_allowed():
            return
        await asyncio.sleep(ROOM_EVERY)


async def _unknown() -> OrderReport:
    raise OutcomeUnknown("the order lane failed")


def _is_duplicate(refusal: Rejected) -> bool:
    return refusal.status == 422 and "client_order_id must be unique" in refusal.message.lower()
