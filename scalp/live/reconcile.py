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
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import NamedTuple

from msgspec.structs import replace

from scalp.core.clock import MarketClock
from scalp.core.decimals import ZERO
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.events import Doubt
from scalp.core.evidence import Evidence, Verdict, executed, held_already
from scalp.core.fleet import Fleet
from scalp.core.ledger import Ledger
from scalp.core.orders import BUY, FINAL_STATUSES, HELD, SELL, OrderReport, PositionReport
from scalp.core.ports import Account, Broker
from scalp.core.units import SECOND
from scalp.net.backoff import Backoff

log = logging.getLogger("scalp.reconcile")

TROUBLES = (Unreachable, OutcomeUnknown, Rejected)

AT_MOST_EVERY = 2.0  # seconds between two looks, however often somebody asks, once requests get short
RETRY_FIRST, RETRY_LONGEST = 1.0, 15.0  # seconds
MOST_BY_ID = 20  # orders asked for by id in one look where the listing fails
SNAPSHOT_TRIES, SNAPSHOT_PAUSE = 3, 0.5
PRICE_PATIENCE = 1.0  # seconds
BLIND_EVERY = 5.0  # seconds between listings while there are no order updates and something may need an exit
START_WITHOUT_UPDATES = 3.0  # seconds the first snapshot waits for the order updates: what is held needs its sell
LOOK_AGAIN = (5.0, 5.0, 5.0, 15.0, 15.0, 15.0, 30.0)  # seconds to the next look while something is in doubt
SURE_FOR = 60.0  # seconds: a checkup looks every 30
RECENT = 120 * SECOND  # before the first listings: executions that these may not show yet
BEFORE_OPEN = 6 * 3600 * SECOND  # nothing of the day was executed earlier
LATEST = SECOND  # an answer that took longer may still hold what was executed so long before it came
EXECUTIONS_PATIENCE = 1.0  # seconds the first sells wait for those


class Listings(NamedTuple):
    """Open orders and positions by watched symbol, as of when these are, and whose rows are unreadable.

    `asked_at` is when positions were asked for, in ns of a time that never jumps: to explain one takes its time.
    `heard` is the number of updates that had come before they were asked for: at the start these are kept.
    """

    orders: Mapping[str, Sequence[OrderReport]]
    positions: Mapping[str, PositionReport]
    as_of: int
    asked_at: int
    unreadable: frozenset[str]
    heard: int = 0

    def position(self, symbol: str) -> PositionReport:
        return self.positions.get(symbol) or PositionReport(symbol, ZERO, ZERO)


class Reconciler:
    def __init__(self, fleet: Fleet, broker: Broker, rest: Account, clock: MarketClock) -> None:
        self._fleet = fleet
        self._broker = broker
        self._rest = rest
        self._clock = clock
        self._wanted = asyncio.Event()
        self._is_started = False  # the first snapshot was taken
        self._has_waited = False  # for the prices of what was held then
        self._evidence = Evidence()
        self._activities = rest.activities(clock.now() - RECENT, broker.counted)
        self._knows_executions = False  # the day's activities could be read last time
        self._told_of: set[str] = set()  # executions that the ledgers have heard of
        # Order id -> its row in the last listing, and the version of its ledger once that was told of it.
        self._told_rows: dict[str, tuple[OrderReport, int]] = {}
        self.news_at_start: set[str] = set()  # executions of before the start that the first listings did not show yet
        self._unlisted: set[str] = set()  # symbols whose row could not be read at the start
        self._looked_at = float("-inf")  # when the last look was over, loop time
        self._unreadable: frozenset[str] = frozenset()  # those whose row in the last listings could not be read
        self._looks = 0  # in a row that left something in doubt
        self._said: set[str] = set()
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
        """Wait until somebody asks, or for a while; whether to reconcile then.

        Without order updates the listings are all that tells of a fill: what is at work is looked for more often.
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
        """Whether the orders and positions of before are known."""
        return self._is_started

    @property
    def is_sure(self) -> bool:
        """Whether a look of the last minute has told what is held and working, and left nothing in doubt."""
        since = asyncio.get_running_loop().time() - self._looked_at
        return self._is_started and since <= SURE_FOR and not self.doubts

    @property
    def doubts(self) -> list[str]:
        """What the listings and the ledgers differ in, and what could not be read, a line each."""
        differing = [f"{symbol}: {held} held by its executions, {listed} listed"
                     for symbol, held, listed in self._evidence.doubts]  # fmt: skip
        return differing + [f"{symbol}: its row in a listing could not be read" for symbol in sorted(self._unreadable)]

    async def reconcile(self) -> bool:
        """Once; False when a difference waits for a second look. Raises Unreachable or Rejected of a failed listing."""
        async with self._one_at_a_time:
            epoch = self._updates_epoch
            if not self._is_started:
                is_settled = await self._take_snapshot()
                self._is_started = True
            else:
                is_settled = await self._compare()
            if epoch == self._updates_epoch:
                self._fleet.readiness.update("reconciled", "")
            self._looked_at = asyncio.get_running_loop().time()
            return is_settled

    async def _list(self) -> Listings:
        symbols, heard = list(self._fleet.algos), len(self._fleet.orders.early_updates)
        if self._is_started:
            await self._broker.room()  # the first ones are what every exit waits for
        orders: defaultdict[str, list[OrderReport]] = defaultdict(list)
        listed = await self._broker.counted(self._rest.open_orders(symbols))
        for report in listed.rows:
            orders[report.symbol].append(report)
        now, asked_at = self._clock.now(), self._elapsed()
        held = await self._broker.counted(self._rest.positions())
        as_of = max(now, self._clock.now() - LATEST)
        positions = {p.symbol: p for p in held.rows if p.symbol in self._fleet.algos}
        self._unreadable = (listed.unreadable | held.unreadable) & self._fleet.algos.keys()
        return Listings(orders, positions, as_of, asked_at, self._unreadable, heard)

    async def _list_in_peace(self) -> Listings:
        """Listings during which the stream told of nothing, if that can be had in a few tries."""
        for _ in range(SNAPSHOT_TRIES):
            told = len(self._fleet.orders.early_updates)
            listed = await self._list()
            if len(self._fleet.orders.early_updates) == told:
                break
            await asyncio.sleep(SNAPSHOT_PAUSE)
        return listed

    async def _take_snapshot(self) -> bool:
        """The start. Listings during which the stream told of something are taken again; False if one more is due."""
        loop, since = asyncio.get_running_loop(), self._clock.now() - RECENT
        executed, ended = loop.create_task(self._recent_executions()), loop.create_task(self._ended_orders())
        try:
            listed = await self._list_in_peace()
            if not self._has_waited and not self._are_priced(listed.positions):
                self._has_waited = True
                await self._wait_for_prices(listed.positions)
                before = listed.orders
                with contextlib.suppress(*TROUBLES):  # those from before serve as well
                    listed = await self._list_in_peace()
                    await self._ask_for_unlisted(before, listed)
            await asyncio.wait({executed, ended}, timeout=EXECUTIONS_PATIENCE)
        finally:
            has_ended = {report.id: report for report in _result(ended)}
            executions = _executions(_result(executed), [*has_ended.values()], since)
        # A listing lags: what is listed open and has ended, has ended.
        orders = {s: [has_ended.get(row.id, row) for row in rows] for s, rows in listed.orders.items()}
        listed = listed._replace(orders=orders)
        listed = await self._without_contradicted(listed)
        listed = listed._replace(as_of=max(listed.as_of, _dated([*listed.orders.values(), *executions.values()])))
        # The listed positions hold what was executed before they were asked for; only later executions add to them.
        past: defaultdict[str, list[OrderReport]] = defaultdict(list)
        later: defaultdict[str, list[OrderReport]] = defaultdict(list)
        early = self._fleet.orders.early_updates.take()
        for number, report in enumerate(early):
            # What came before they were asked for is no news to them, whatever the clocks say.
            if number < listed.heard or report.at is None or report.at <= listed.as_of:
                past[report.symbol].append(report)
            else:
                later[report.symbol].append(report)
        is_settled = not early
        for symbol in self._fleet.algos:
            reports = [*past[symbol], *listed.orders.get(symbol, ())]
            is_settled &= self._take_over(symbol, reports, listed, executions.get(symbol, []), not later[symbol])
            for report in later[symbol]:
                self._fleet.orders.on_order_update(report)
            if later[symbol]:
                self._fleet.drive(symbol)
        return is_settled

    async def _ask_for_unlisted(self, before: Mapping[str, Sequence[OrderReport]], listed: Listings) -> None:
        """An order listed a moment ago and not any more is asked for by id: what it says is kept with the updates."""
        ids = {report.id for report in chain.from_iterable(listed.orders.values())}
        gone = [report for report in chain.from_iterable(before.values()) if report.id not in ids]
        for report in gone[:MOST_BY_ID]:
            await self._broker.ask(report.symbol, report.id)

    async def _without_contradicted(self, listed: Listings) -> Listings:
        """More is listed than a sell has on offer: where today's executions say that all is on offer, that stands.

        What is listed beyond it has to last, like every surplus.
        """
        on_offer = {symbol: _on_offer(orders) for symbol, orders in listed.orders.items()}
        doubtful = [s for s, offered in on_offer.items() if 0 < offered < listed.position(s).qty]
        session = self._fleet.session
        if not doubtful or not self._knows_executions or session is None:
            return listed
        today = self._rest.activities(session.open - BEFORE_OPEN, self._broker.counted)
        try:
            async with asyncio.timeout(EXECUTIONS_PATIENCE):
                executions = await today.read()
        except (*TROUBLES, TimeoutError):
            return listed
        positions = dict(listed.positions)
        for symbol in doubtful:
            if sum((done.signed for done in executions if done.symbol == symbol), ZERO) == on_offer[symbol]:
                positions[symbol] = replace(positions[symbol], qty=on_offer[symbol])
        return listed._replace(positions=positions)

    def _take_over(
        self,
        symbol: str,
        orders: Sequence[OrderReport],
        listed: Listings,
        executions: Sequence[OrderReport],
        decides: bool,
    ) -> bool:
        """One symbol's first listings, and the executions that these may not show yet; False if they differ."""
        self._told_of.update(report.execution_id for report in executions if report.execution_id)
        if symbol in listed.unreadable and symbol not in listed.positions:
            self._unlisted.add(symbol)
        position = listed.position(symbol)
        # What was told of an order may be older than its executions.
        filled = _filled(executions)
        newest = [
            replace(report, filled_qty=max(report.filled_qty or ZERO, filled.get(report.id, ZERO)))
            for report in {report.id: report for report in orders}.values()
        ]
        executions = [*executions, *_untold(newest, executions, listed.as_of)]
        on_offer = _on_offer(newest)
        sells = [report for report in newest if _on_offer([report])]
        count = held_already(position.qty, executions, on_offer, listed.as_of)
        missing = on_offer - position.qty - sum((executed(report) for report in executions[count:]), ZERO)
        if missing > 0 and position.qty >= 0 and sells and all(_closes(report) for report in sells):
            # The broker took these sells against shares that it knows to be held: their row is missing, or late.
            price = position.avg_entry_price or max(report.limit_price or ZERO for report in sells)
            position = replace(position, qty=position.qty + missing, avg_entry_price=price)
        self.news_at_start.update(report.execution_id for report in executions[count:] if report.execution_id)
        self._fleet.orders.on_snapshot(symbol, orders, position, listed.as_of, executions, count, decides)
        self._ledger(symbol).implied = position.qty - listed.position(symbol).qty
        if symbol in listed.unreadable:
            self._doubt(symbol, "its row in a listing could not be read")
            return False
        return self._weigh(self._ledger(symbol), listed, ZERO)

    async def _recent_executions(self) -> list[OrderReport]:
        """The day's activities of the last minutes; none where they cannot be had."""
        try:
            executions = await self._activities.read()
        except TROUBLES as error:
            self._say_no_activities(error)
            return []
        self._knows_executions = True
        return [done.report for done in executions]

    async def _ended_orders(self) -> list[OrderReport]:
        """The newest orders that have ended, asked for until they are told."""
        while True:
            with contextlib.suppress(*TROUBLES):
                symbols = list(self._fleet.algos)
                page = await self._broker.counted(self._rest.orders("closed", symbols, direction="desc"))
                return page.rows
            await asyncio.sleep(SNAPSHOT_PAUSE)

    def _say_no_activities(self, error: Exception) -> None:
        self._knows_executions = False
        why = str(error)
        if why not in self._said:
            self._said.add(why)
            log.warning("the day's activities: %s; only listings can explain what is held", why)

    def _are_priced(self, positions: Mapping[str, PositionReport]) -> bool:
        """Whether a last trade is known of all that is held, or no bar will tell: a limit sell is priced by it."""
        session = self._fleet.session
        if session is not None and self._clock.now() >= session.liquidate_at:
            return True  # by no price at all
        held = [self._fleet.algos[p.symbol] for p in positions.values() if p.qty > 0]
        return all(algo.tape.last_price or "history" not in algo.entry_blocks for algo in held)

    async def _wait_for_prices(self, positions: Mapping[str, PositionReport]) -> None:
        """The day's bars tell a last trade, if they come soon; else the listing's price has to do."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PRICE_PATIENCE
        while not self._are_priced(positions) and loop.time() < deadline:
            await asyncio.sleep(0.02)

    async def _compare(self) -> bool:
        known = {
            symbol: ([o.id for o in algo.ledger.open_orders if o.id], algo.ledger.version)
            for symbol, algo in self._fleet.algos.items()
        }
        try:
            listed = await self._list()
        except TROUBLES:
            await self._go_by_the_rest()
            raise
        self._tell_of_rows(listed)
        self._doubt_what_differs(listed, {symbol: version for symbol, (_, version) in known.items()})
        is_settled = True
        questions: list[str] = []
        for symbol, algo in self._fleet.algos.items():
            open_before, version = known[symbol]
            ledger = algo.ledger
            listed_ids = {report.id for report in listed.orders.get(symbol, ())}
            for order_id in open_before:
                if order_id not in listed_ids and not _has_ended(ledger, order_id):
                    await self._look_for(symbol, order_id)
            # What is still believed open without being listed could not be asked for, or was only just heard of.
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

    def _tell_of_rows(self, listed: Listings) -> None:
        told, self._told_rows = self._told_rows, {}
        for report in chain.from_iterable(listed.orders.values()):
            ledger = self._ledger(report.symbol)
            # A row that is as it was, to a ledger that is as it was, has nothing to tell: of many orders most are.
            if ledger.question or told.get(report.id) != (report, ledger.version):
                self._fleet.orders.on_order_update(report)
            self._told_rows[report.id] = (report, ledger.version)

    def _doubt_what_differs(self, listed: Listings, versions: Mapping[str, int]) -> None:
        """Before anything is asked, which takes its time: no buy goes out meanwhile."""
        for symbol, algo in self._fleet.algos.items():
            is_as_it_was = algo.ledger.version == versions[symbol] and symbol not in listed.unreadable
            if is_as_it_was and listed.position(symbol).qty != algo.ledger.position:
                self._doubt(symbol, "the listed position differs")

    async def _go_by_the_rest(self) -> None:
        """A listing cannot be had: orders that work are asked for by id, and positions are weighed alone."""
        working = [(s, o.id) for s, algo in self._fleet.algos.items() for o in algo.ledger.open_orders if o.id]
        for symbol, order_id in working[:MOST_BY_ID]:
            await self._broker.room()
            await self._broker.ask(symbol, order_id)
        versions = {symbol: algo.ledger.version for symbol, algo in self._fleet.algos.items()}
        as_of, asked_at = self._clock.now(), self._elapsed()
        with contextlib.suppress(*TROUBLES):
            held = await self._broker.counted(self._rest.positions())
            listed = Listings({}, {p.symbol: p for p in held.rows}, as_of, asked_at, held.unreadable)
            self._unreadable = listed.unreadable & self._fleet.algos.keys()
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
        if self._evidence.is_absent(order_id, is_known, self._elapsed()):
            self._fleet.orders.on_order_gone(symbol, order_id)

    async def _explain(self, symbols: Sequence[str], listed: Listings) -> bool:
        """Ask for what may explain the differences in `symbols`, then weigh what is left of them."""
        versions = {symbol: self._ledger(symbol).version for symbol in symbols}
        for symbol in symbols:
            ledger = self._ledger(symbol)
            known = [order for order in ledger if order.id]
            # What has stood in doubt for a while is no matter of the newest orders.
            newest = [] if self._evidence.is_in_doubt(symbol) and self._looks > 2 else known[-2:]
            unpriced = [order for order in known if not order.is_priced]
            for order in {order.id: order for order in (*unpriced[:2], *newest)}.values():
                await self._broker.room()
                await self._broker.ask(symbol, order.id)
        await self._broker.room()
        await self._hear_executions(symbols)
        transfers = []
        if self._looks > 1 and self._knows_executions and any(map(self._evidence.is_in_doubt, symbols)):
            with contextlib.suppress(*TROUBLES):
                transfers = await self._activities.transfers(min(self._ledger(s).adopted_at for s in symbols))
        explained = await self._explained_by_the_day(symbols, listed) if self._looks > 1 else frozenset()
        is_settled = True
        for symbol in symbols:
            ledger = self._ledger(symbol)
            ledger.question = "" if all(order.is_priced for order in ledger) else ledger.question
            if any(not order.id for order in ledger.open_orders) or ledger.version != versions[symbol]:
                is_settled = False  # something is being asked already, or has just been told: look again
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
        """Where more is listed, and today's executions make up just that: the first listing lacked some of them.

        All that the ledger knows of must be among them: they may lag as well.
        """
        more = [s for s in symbols if listed.position(s).qty > self._ledger(s).position >= 0]
        session = self._fleet.session
        if session is None or not self._knows_executions or not any(map(self._evidence.is_in_doubt, more)):
            return frozenset()
        try:
            today = await self._rest.activities(session.open - BEFORE_OPEN, self._broker.counted).read()
        except TROUBLES:
            return frozenset()
        filled = _filled([done.report for done in today])
        return frozenset(
            symbol
            for symbol in more
            if all(filled.get(order.id, ZERO) == order.filled_qty for order in self._ledger(symbol))
            and sum((done.signed for done in today if done.symbol == symbol), ZERO) == listed.position(symbol).qty
        )

    async def _hear_executions(self, symbols: Sequence[str]) -> None:
        """Tell the ledgers of executions that they have not heard of."""
        try:
            executions = await self._activities.read()
        except TROUBLES as error:
            self._say_no_activities(error)
            await self._hear_of_orders(symbols)
            return
        self._knows_executions = True
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
        """Where the day's executions cannot be had: tell the ledgers of orders that have filled and ended."""
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
        verdict = self._evidence.weigh(ledger, position, listed.asked_at, transferred, self._knows_executions)
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

    @staticmethod
    def _elapsed() -> int:
        """The loop's time in ns: how long something has stood, whatever happens to the exchange's time meanwhile."""
        return round(asyncio.get_running_loop().time() * SECOND)

    def _doubt(self, symbol: str, why: str) -> None:
        self._fleet.algos[symbol].entry_blocks.block("doubt", why)

    def _ledger(self, symbol: str) -> Ledger:
        return self._fleet.algos[symbol].ledger


def _has_ended(ledger: Ledger, order_id: str) -> bool:
    order = ledger.find(order_id)
    return order is None or order.has_ended


def _dated(reports: Sequence[Sequence[OrderReport]]) -> int:
    """When it was at least, by what the broker dates itself, exchange time in ns: its clock may tell an earlier time.

    Two orders must say so: one date alone may be odd.
    """
    latest: dict[str, int] = {}
    for report in chain.from_iterable(reports):
        latest[report.id] = max(latest.get(report.id, 0), report.at or 0, report.submitted_at or 0)
    return sorted(latest.values())[-2] + 1 if len(latest) > 1 else 0


def _closes(report: OrderReport) -> bool:
    """A sell of shares that are held: the broker says so, or it is this program's."""
    return report.closes or report.client_order_id.startswith("scalp-")


def _on_offer(orders: Sequence[OrderReport]) -> Decimal:
    """Shares that sells still have to sell."""
    sells = [report for report in orders if report.side == SELL and report.status not in FINAL_STATUSES]
    heads = {report.id for report in sells}  # the shares of a group are on offer once
    offers = [report for report in sells if report.status != HELD and report.parent_id not in heads]
    return sum(((report.qty or ZERO) - (report.filled_qty or ZERO) for report in offers), ZERO)


def _filled(executions: Sequence[OrderReport]) -> dict[str, Decimal]:
    """How far orders have filled by their newest execution, by the broker's id."""
    filled: dict[str, Decimal] = {}
    for done in executions:
        filled[done.id] = max(filled.get(done.id, ZERO), done.filled_qty or ZERO)
    return filled


def _result(reading: asyncio.Task[list[OrderReport]]) -> list[OrderReport]:
    """What was read; nothing of what has not answered yet."""
    if reading.done() and not reading.cancelled():
        return reading.result()
    reading.cancel()
    return []


def _executions(
    activities: Sequence[OrderReport], ended: Sequence[OrderReport], since: int
) -> dict[str, list[OrderReport]]:
    """Executions since then by symbol, oldest first: activities lag too, orders that have ended tell of the others."""
    covers = {report.id for report in ended if report.side == BUY and report.closes}
    untold = [replace(r, at=e.at) for e in _ended_since(ended, since) for r in _untold([e], activities, 0)]
    found: defaultdict[str, list[OrderReport]] = defaultdict(list)
    statuses = {report.id: report.status for report in ended}
    for report in sorted((*activities, *untold), key=lambda report: report.at or 0, reverse=True):
        # An activity tells how far its order had come with it: with the last one, that it has ended since.
        report = replace(report, status=statuses.pop(report.id, report.status))
        found[report.symbol].insert(0, replace(report, closes=True) if report.id in covers else report)
    return found


def _ended_since(orders: Sequence[OrderReport], since: int) -> list[OrderReport]:
    """Those that ended at `since` or later. Of one that was cancelled, the end dates what it had filled before."""
    dated = [replace(order, at=order.at or order.canceled_at) for order in orders]
    return [order for order in dated if order.at and order.at >= since]


def _untold(orders: Sequence[OrderReport], executions: Sequence[OrderReport], as_of: int) -> list[OrderReport]:
    """What orders have filled beyond the executions told of: those lag too, so that it may be as new as they are."""
    told, untold = _filled(executions), []
    for order in orders:
        missing = (order.filled_qty or ZERO) - told.get(order.id, ZERO)
        if missing > 0 and not (order.at and order.at < as_of - RECENT):
            price = order.filled_avg_price
            untold.append(replace(order, event="", execution_id=None, execution_qty=missing, price=price, at=as_of))
    return untold
