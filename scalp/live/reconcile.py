"""Reconciliation: the broker's listings of open orders and positions against the ledgers.

Two listings for the whole fleet, at the start, after every (re)connection of the order updates, and at every checkup;
more often while there are no order updates, or something is in doubt. They are not of one instant, and they lag behind
executions: a difference is a claim, which is explained by asking for the orders concerned by id and for the day's
activities, and weighed by `scalp.core.evidence`. A failed listing says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain

from msgspec.structs import replace

from scalp.core.clock import MarketClock
from scalp.core.decimals import ZERO
from scalp.core.events import Doubt
from scalp.core.evidence import Evidence, Verdict
from scalp.core.fleet import Fleet
from scalp.core.ledger import Ledger
from scalp.core.orders import OrderReport
from scalp.core.ports import Account, Broker
from scalp.live.listings import RECENT, TROUBLES, DayExecutions, Lister, Listings, elapsed, filled_by_id
from scalp.live.start_listings import MOST_BY_ID, FirstLook, StartListings
from scalp.net.backoff import Backoff

log = logging.getLogger("scalp.reconcile")

AT_MOST_EVERY = 2.0  # seconds between two looks, however often somebody asks, once requests get short
RETRY_FIRST, RETRY_LONGEST = 1.0, 15.0  # seconds
BLIND_EVERY = 5.0  # seconds between listings while there are no order updates and something may need an exit
START_WITHOUT_UPDATES = 3.0  # seconds the first look waits for the order updates: what is held needs its sell
LOOK_AGAIN = (5.0, 5.0, 5.0, 15.0, 15.0, 15.0, 30.0)  # seconds to the next look while something is in doubt
SURE_FOR = 60.0  # seconds: a checkup looks every 30


class Reconciler:
    def __init__(self, fleet: Fleet, broker: Broker, rest: Account, clock: MarketClock) -> None:
        self._fleet = fleet
        self._broker = broker
        self._rest = rest
        self._clock = clock
        self._wanted = asyncio.Event()
        self._is_started = False  # the first snapshot was taken
        self._lister = Lister(fleet, broker, rest, clock)
        self._executions = DayExecutions(fleet, broker, rest, clock)
        self._start = StartListings(fleet, broker, rest, clock, self._lister, self._executions)
        self._evidence = Evidence()
        self._told_of: set[str] = set()  # executions that the ledgers have been given
        # Order id -> its row in the last listing, and the version of its ledger once that had taken it in.
        self._told_rows: dict[str, tuple[OrderReport, int]] = {}
        self.news_at_start: set[str] = set()  # executions of before the start that the first listings did not show yet
        self._unlisted: set[str] = set()  # symbols whose row could not be read at the start
        self._looked_at = float("-inf")  # when the last look was over, loop time
        self._looks = 0  # in a row that left something in doubt
        self._updates_epoch = 0
        self._one_at_a_time = asyncio.Lock()

    def request(self, why: str) -> None:
        """Reconcile soon."""
        log.debug("reconciling: %s", why)
        self._wanted.set()

    def on_updates_changed(self) -> None:
        """The order updates came up or went down: listings asked for before this moment don't end the blindness."""
        self._updates_epoch += 1

    async def run(self) -> None:
        """Reconcile whenever somebody asks, until cancelled; for the first time soon, asked or not."""
        backoff = Backoff(RETRY_FIRST, RETRY_LONGEST)
        asyncio.get_running_loop().call_later(START_WITHOUT_UPDATES, self._begin)
        while True:
            if not await self._is_due():
                continue
            if not self._broker.has_plenty:
                await asyncio.sleep(max(self._looked_at + AT_MOST_EVERY - asyncio.get_running_loop().time(), 0.0))
            self._wanted.clear()
            try:
                is_settled = await self.reconcile()
            except TROUBLES as error:
                log.warning("no reconciliation: %s; again in %.0f s", error, backoff.pause)
                await backoff.wait()
                self._wanted.set()
                continue
            backoff.reset()
            if is_settled:
                self._looks = 0
            else:
                pause = LOOK_AGAIN[min(self._looks, len(LOOK_AGAIN) - 1)]
                self._looks += 1
                asyncio.get_running_loop().call_later(pause, self._wanted.set)

    async def _is_due(self) -> bool:
        """Wait until somebody asks, or for a while; returns whether to reconcile then.

        Without order updates only the listings show a fill: what is at work is looked for more often.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BLIND_EVERY):
                await self._wanted.wait()
        return self._wanted.is_set() or (
            self._is_started and not self._fleet.readiness.hears_updates and self._fleet.reservation.needed > 0
        )

    def _begin(self) -> None:
        if not self._is_started:
            self._wanted.set()

    @property
    def is_started(self) -> bool:
        """Whether the orders and positions from before the start are known."""
        return self._is_started

    @property
    def is_sure(self) -> bool:
        """Whether a look of the last minute has shown what is held and working, and left nothing in doubt."""
        since = asyncio.get_running_loop().time() - self._looked_at
        return self._is_started and since <= SURE_FOR and not self.doubts

    @property
    def doubts(self) -> list[str]:
        """What the listings and the ledgers differ in, and what could not be read, a line each."""
        differing = [f"{symbol}: {held} held by its executions, {listed} listed"
                     for symbol, held, listed in self._evidence.doubts]  # fmt: skip
        return differing + [
            f"{symbol}: its row in a listing could not be read" for symbol in sorted(self._lister.unreadable)
        ]

    async def reconcile(self) -> bool:
        """One look; False when a difference waits for another. Raises Unreachable or Rejected for a failed listing."""
        async with self._one_at_a_time:
            epoch = self._updates_epoch
            if not self._is_started:
                is_settled = await self._take_over()
                self._is_started = True
            else:
                is_settled = await self._compare()
            if epoch == self._updates_epoch:
                self._fleet.readiness.update("reconciled", "")
            self._looked_at = asyncio.get_running_loop().time()
            return is_settled

    async def _take_over(self) -> bool:
        """The first look; False if another is due: the stream reported something meanwhile, or something differs."""
        found = await self._start.look()
        is_settled = not any(chain(found.past.values(), found.later.values()))
        for symbol in self._fleet.algos:
            is_settled &= self._take_over_symbol(symbol, found)
            for report in (news := found.later.get(symbol, ())):
                self._fleet.orders.on_order_update(report)
            if news:
                self._fleet.drive(symbol)
        return is_settled

    def _take_over_symbol(self, symbol: str, found: FirstLook) -> bool:
        """False if the listing and the executions differ."""
        listed, decides = found.listed, not found.later.get(symbol)
        if symbol in listed.unreadable and symbol not in listed.positions:
            self._unlisted.add(symbol)
        orders, position, executions, count = found.before(symbol)
        self._told_of.update(report.execution_id for report in executions if report.execution_id)
        self.news_at_start.update(report.execution_id for report in executions[count:] if report.execution_id)
        self._fleet.orders.on_snapshot(symbol, orders, position, listed.as_of, executions, count, decides)
        self._ledger(symbol).implied = position.qty - listed.position(symbol).qty
        if symbol in listed.unreadable:
            self._doubt(symbol, "its row in a listing could not be read")
            return False
        return self._weigh(self._ledger(symbol), listed, ZERO)

    async def _compare(self) -> bool:
        known = {
            symbol: ([o.id for o in algo.ledger.open_orders if o.id], algo.ledger.version)
            for symbol, algo in self._fleet.algos.items()
        }
        await self._broker.room()
        try:
            listed = await self._lister.both()
        except TROUBLES:
            await self._go_by_the_rest()
            raise
        unknown = self._tell_of_rows(listed)
        self._doubt_what_differs(listed, {symbol: version for symbol, (_, version) in known.items()})
        await self._ask_for_unknown(unknown)
        is_settled = True
        questions: list[str] = []
        for symbol, algo in self._fleet.algos.items():
            open_before, version = known[symbol]
            ledger = algo.ledger
            listed_ids = {report.id for report in listed.orders.get(symbol, ())}
            for order_id in open_before:
                if order_id not in listed_ids and not _has_ended(ledger, order_id):
                    await self._look_for(symbol, order_id)
            # What is still believed open without being listed could not be asked for, or was only just reported.
            is_settled &= all(order.id in listed_ids for order in ledger.open_orders if order.id)
            if symbol in listed.unreadable:
                self._doubt(symbol, "its row in a listing could not be read")
                is_settled = False
            elif symbol in self._unlisted and ledger.version == version:
                self._unlisted.discard(symbol)
                self._fleet.orders.on_snapshot(symbol, (), listed.position(symbol), listed.as_of)
                is_settled = False
            elif ledger.question or listed.position(symbol).qty != ledger.position:
                if ledger.version == version or ledger.question:
                    questions.append(symbol)
                else:
                    self._looks = 0
                # Where something happened since the listings were asked for they prove nothing: look again soon.
                if listed.position(symbol).qty != ledger.position:
                    self._doubt(symbol, "the listed position differs")
                is_settled = False
            else:
                self._weigh(ledger, listed, ZERO)
        if questions:
            is_settled = await self._explain(questions, listed) and is_settled
        return is_settled

    def _tell_of_rows(self, listed: Listings) -> list[OrderReport]:
        """Pass on the rows of known orders; returns those of orders that nobody here knows."""
        told, self._told_rows = self._told_rows, {}
        unknown = []
        for report in chain.from_iterable(listed.orders.values()):
            ledger = self._ledger(report.symbol)
            # An unchanged row says nothing new to an unchanged ledger: of many orders most are like that.
            if ledger.question or told.get(report.id) != (report, ledger.version):
                if ledger.find(report.id) is None and ledger.find(report.client_order_id) is None:
                    unknown.append(report)
                    continue
                self._fleet.orders.on_order_update(report)
            self._told_rows[report.id] = (report, ledger.version)
        return unknown

    async def _ask_for_unknown(self, rows: Sequence[OrderReport]) -> None:
        """A row may be old: an order that nobody here knew is followed by what it says itself, if it can be asked."""

        async def ask(row: OrderReport) -> None:
            await self._broker.room()
            await self._broker.ask(row.symbol, row.id)

        await asyncio.gather(*map(ask, rows[:MOST_BY_ID]))
        for row in rows:
            self._fleet.orders.on_order_update(row)
            self._told_rows[row.id] = (row, self._ledger(row.symbol).version)

    def _doubt_what_differs(self, listed: Listings, versions: Mapping[str, int]) -> None:
        """Called before anything is asked, which takes time: no buy goes out meanwhile."""
        for symbol, algo in self._fleet.algos.items():
            is_as_it_was = algo.ledger.version == versions[symbol] and symbol not in listed.unreadable
            if is_as_it_was and listed.position(symbol).qty != algo.ledger.position:
                self._doubt(symbol, "the listed position differs")

    async def _go_by_the_rest(self) -> None:
        """A listing has failed: ask for working orders by id, and weigh positions alone."""
        working = [(s, o.id) for s, algo in self._fleet.algos.items() for o in algo.ledger.open_orders if o.id]
        for symbol, order_id in working[:MOST_BY_ID]:
            await self._broker.room()
            await self._broker.ask(symbol, order_id)
        versions = {symbol: algo.ledger.version for symbol, algo in self._fleet.algos.items()}
        with contextlib.suppress(*TROUBLES):
            listed = await self._lister.positions()
            for symbol, algo in self._fleet.algos.items():
                listed_qty, ledger = listed.position(symbol).qty, algo.ledger
                if symbol in listed.unreadable:
                    self._doubt(symbol, "its row in a listing could not be read")
                elif ledger.version != versions[symbol]:
                    continue
                elif listed_qty > ledger.position:
                    self._weigh(ledger, listed, ZERO)
                elif listed_qty < ledger.position:
                    self._doubt(symbol, "the listed position differs")

    async def _look_for(self, symbol: str, order_id: str) -> None:
        """An order that is believed open is not listed: ask for it by id, and failing that among all orders."""
        await self._broker.room()
        is_known = await self._broker.ask(symbol, order_id)
        if not is_known:
            order = self._fleet.orders.find_order(symbol, order_id)
            since = None if order is None else order.submitted_at - RECENT
            try:
                page = await self._broker.counted(self._rest.orders("all", [symbol], since))
            except TROUBLES:
                return  # no answer says nothing
            for report in page.rows:
                if report.id == order_id:
                    self._fleet.orders.on_order_update(report)
                    is_known = True
        if self._evidence.is_absent(order_id, is_known, elapsed()):
            self._fleet.orders.on_order_gone(symbol, order_id)

    async def _explain(self, symbols: Sequence[str], listed: Listings) -> bool:
        """Ask for what may explain the differences in `symbols`, then weigh what is left of them."""
        versions = {symbol: self._ledger(symbol).version for symbol in symbols}
        for symbol in symbols:
            ledger = self._ledger(symbol)
            known = [order for order in ledger if order.id]
            # A doubt that has stood for a while does not come from the newest orders.
            newest = [] if self._evidence.is_in_doubt(symbol) and self._looks > 2 else known[-2:]
            unpriced = [order for order in known if not order.is_priced]
            for order in {order.id: order for order in (*unpriced[:2], *newest)}.values():
                await self._broker.room()
                await self._broker.ask(symbol, order.id)
        await self._broker.room()
        await self._hear_executions(symbols)
        transfers = []
        if self._looks > 1 and any(map(self._evidence.is_in_doubt, symbols)):
            transfers = await self._executions.transfers(min(self._ledger(s).adopted_at for s in symbols))
        explained = await self._explained_by_the_day(symbols, listed) if self._looks > 1 else frozenset()
        is_settled = True
        for symbol in symbols:
            ledger = self._ledger(symbol)
            ledger.question = "" if all(order.is_priced for order in ledger) else ledger.question
            if any(not order.id for order in ledger.open_orders) or ledger.version != versions[symbol]:
                is_settled = False  # something is being asked already, or was just reported: look again
                if listed.position(symbol).qty != ledger.position:
                    self._doubt(symbol, "the listed position differs")
                continue
            transferred = sum((qty for name, qty, at in transfers if name == symbol and at > ledger.adopted_at), ZERO)
            if symbol in explained:
                transferred = listed.position(symbol).qty - ledger.position
            is_settled &= self._weigh(ledger, listed, transferred)
            is_settled &= not ledger.question
        return is_settled

    async def _explained_by_the_day(self, symbols: Sequence[str], listed: Listings) -> frozenset[str]:
        """Symbols where today's executions make up just what is listed: the first listing lacked some of them.

        All that the ledger knows of must be among them: they may lag as well. Fewer shares are not explained so, as a
        listing may lack a position; a short one, as both orders of an exit of an earlier run leave it, is.
        """
        listed_qty = {symbol: listed.position(symbol).qty for symbol in symbols}
        differing = [s for s, qty in listed_qty.items() if qty > self._ledger(s).position >= 0 or qty < 0]
        is_in_doubt = any(map(self._evidence.is_in_doubt, differing))
        if not is_in_doubt or (today := await self._executions.of_the_day()) is None:
            return frozenset()
        filled = filled_by_id([done.report for done in today])
        return frozenset(
            symbol
            for symbol in differing
            if all(filled.get(order.id, ZERO) == order.filled_qty for order in self._ledger(symbol))
            and sum((done.signed for done in today if done.symbol == symbol), ZERO) == listed_qty[symbol]
        )

    async def _hear_executions(self, symbols: Sequence[str]) -> None:
        """Pass the ledgers the executions that they do not have yet."""
        executions = await self._executions.recent()
        if executions is None:
            await self._hear_of_orders(symbols)
            return
        for done in executions:
            if done.id in self._told_of or done.symbol not in symbols:
                continue
            ledger = self._ledger(done.symbol)
            if ledger.find(done.order_id) is None:
                await self._broker.ask(done.symbol, done.order_id)
                if ledger.find(done.order_id) is None and any(not order.id for order in ledger.open_orders):
                    continue  # it may be the order whose outcome is being asked for
            self._told_of.add(done.id)
            self._fleet.orders.on_order_update(done.report)

    async def _hear_of_orders(self, symbols: Sequence[str]) -> None:
        """Where the day's executions cannot be read: pass the ledgers the orders that have filled and ended."""
        with contextlib.suppress(*TROUBLES):
            page = await self._broker.counted(self._rest.orders("closed", symbols, direction="desc"))
            for report in page.rows:
                if report.filled_qty:
                    self._fleet.orders.on_order_update(report)

    def _weigh(self, ledger: Ledger, listed: Listings, transferred: Decimal) -> bool:
        """Do what the evidence says of a listed position; True if nothing is in doubt."""
        symbol, held = ledger.symbol, ledger.position
        position, as_of = listed.position(symbol), listed.as_of
        was_in_doubt = self._evidence.is_in_doubt(symbol)
        verdict = self._evidence.weigh(ledger, position, listed.asked_at, transferred, self._executions.are_known)
        if verdict is Verdict.DOUBT:
            if not was_in_doubt:
                self._fleet.tell(Doubt(symbol, self._clock.now(), held, position.qty))
            self._doubt(symbol, "the listed position differs")
            return False
        if verdict is Verdict.AGREES:
            ledger.confirm(position.avg_entry_price)
            self._fleet.algos[symbol].exits.on_listed_whole(self._clock.now())
        elif verdict is Verdict.EXPLAINED:
            self._fleet.orders.on_position(position, as_of)
        elif verdict is Verdict.SURPLUS:
            self._fleet.orders.on_surplus(replace(position, qty=held + self._evidence.surplus), as_of)
        if not ledger.question:
            self._fleet.algos[symbol].entry_blocks.unblock("doubt")
        return True

    def _doubt(self, symbol: str, why: str) -> None:
        self._fleet.algos[symbol].entry_blocks.block("doubt", why)

    def _ledger(self, symbol: str) -> Ledger:
        return self._fleet.algos[symbol].ledger


def _has_ended(ledger: Ledger, order_id: str) -> bool:
    order = ledger.find(order_id)
    return order is None or order.has_ended
