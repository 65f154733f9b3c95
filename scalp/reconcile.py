"""Reconciliation: the broker's listings of open orders and positions against the ledgers.

Two listings for the whole fleet, at the start, after every (re)connection of the order updates, and at every checkup;
more often while there are no order updates.
They are not of one instant, and they lag behind fills: a difference is explained by asking for the orders concerned by
id, and what stays unexplained is believed only when it was seen twice, 5 s apart. A failed listing says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.rest import AlpacaREST
from scalp.clock import MarketClock
from scalp.errors import OutcomeUnknown, Refused, Unreachable
from scalp.fleet import Fleet
from scalp.ledger import ZERO, Ledger
from scalp.messages import SECOND, OrderReport, PositionReport

log = logging.getLogger("scalp.reconcile")

BELIEVE_AFTER = 5 * SECOND
GONE_AFTER = 3  # looks, `BELIEVE_AFTER` apart, at which the broker knew nothing of an order that was working
RETRY_FIRST, RETRY_LONGEST = 1.0, 15.0  # seconds
SNAPSHOT_TRIES, SNAPSHOT_PAUSE = 3, 0.5
PRICE_PATIENCE = 1.0  # seconds
BLIND_EVERY = 5.0  # seconds between listings while there are no order updates and something may need an exit
START_WITHOUT_UPDATES = 3.0  # seconds the first snapshot waits for the order updates: what is held needs its sell


class Reconciler:
    def __init__(self, fleet: Fleet, broker: AlpacaBroker, rest: AlpacaREST, clock: MarketClock) -> None:
        self._fleet = fleet
        self._broker = broker
        self._rest = rest
        self._clock = clock
        self._wanted = asyncio.Event()
        self._is_started = False  # the first snapshot was taken
        self._has_waited = False  # for the prices of what was held then
        # Differences seen but not believed: symbol -> (listed position, ledger's position, first seen at).
        self._doubts: dict[str, tuple[Decimal, Decimal, int]] = {}
        self._gone: dict[str, tuple[int, int]] = {}  # order id -> (looks it was not found at, when it last was not)
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
        wait = RETRY_FIRST
        asyncio.get_running_loop().call_later(START_WITHOUT_UPDATES, self._begin)
        while True:
            if not await self._is_due():
                continue
            self._wanted.clear()
            try:
                is_settled = await self.reconcile()
            except (Unreachable, OutcomeUnknown, Refused) as error:
                log.warning("no reconciliation: %s; again in %.0f s", error, wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, RETRY_LONGEST)
                self._wanted.set()
                continue
            wait = RETRY_FIRST
            if not is_settled:
                asyncio.get_running_loop().call_later(BELIEVE_AFTER / SECOND, self._wanted.set)

    async def _is_due(self) -> bool:
        """Wait until somebody asks, or for a while; whether to reconcile then.

        Without order updates the listings are all that tells of a fill: what is at work is looked for more often.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BLIND_EVERY):
                await self._wanted.wait()
        return self._wanted.is_set() or (
            self._is_started and not self._fleet.hears_updates and self._fleet.needed_requests > 0
        )

    def _begin(self) -> None:
        if not self._is_started:
            self._wanted.set()

    @property
    def is_started(self) -> bool:
        """Whether the orders and positions of before are known."""
        return self._is_started

    async def reconcile(self) -> bool:
        """Once; False when a difference waits for a second look. Raises Unreachable or Refused of a failed listing."""
        async with self._one_at_a_time:
            epoch = self._updates_epoch
            if not self._is_started:
                is_settled = await self._take_snapshot()
                self._is_started = True
            else:
                is_settled = await self._compare()
            if epoch == self._updates_epoch:
                self._fleet.see("reconciled", "")
            return is_settled

    async def _list(self) -> tuple[dict[str, list[OrderReport]], dict[str, PositionReport], int]:
        """Open orders and positions by watched symbol, and when the positions were asked for."""
        symbols = list(self._fleet.algos)
        if self._is_started:
            await self._broker.room()  # the first ones are what every exit waits for
        orders: defaultdict[str, list[OrderReport]] = defaultdict(list)
        for report in await self._broker.counted(self._rest.open_orders(symbols)):
            orders[report.symbol].append(report)
        as_of = self._clock.now()
        positions = await self._broker.counted(self._rest.positions())
        return orders, {p.symbol: p for p in positions if p.symbol in self._fleet.algos}, as_of

    async def _list_in_peace(self) -> tuple[dict[str, list[OrderReport]], dict[str, PositionReport], int]:
        """Listings during which the stream told of nothing, if that can be had in a few tries."""
        for _ in range(SNAPSHOT_TRIES):
            told = self._fleet.early_count
            listed = await self._list()
            if self._fleet.early_count == told:
                break
            await asyncio.sleep(SNAPSHOT_PAUSE)
        return listed

    async def _take_snapshot(self) -> bool:
        """The start. Listings during which the stream told of something are taken again; False if one more is due."""
        orders, positions, as_of = await self._list_in_peace()
        if not self._has_waited and not self._are_priced(positions):
            self._has_waited = True
            await self._wait_for_prices(positions)
            with contextlib.suppress(Unreachable, OutcomeUnknown, Refused):  # those from before serve as well
                orders, positions, as_of = await self._list_in_peace()
        # The listed positions hold what was executed before they were asked for; only later executions add to them.
        past: defaultdict[str, list[OrderReport]] = defaultdict(list)
        later = []
        early = self._fleet.take_early()
        for report in early:
            if report.at is None or report.at <= as_of:
                past[report.symbol].append(report)
            else:
                later.append(report)
        for symbol in self._fleet.algos:
            position = positions.get(symbol) or PositionReport(symbol, ZERO, ZERO)
            self._fleet.on_snapshot(symbol, [*past[symbol], *orders.get(symbol, ())], position, as_of)
        for report in later:
            self._fleet.on_order_update(report)
        return not early

    def _are_priced(self, positions: Mapping[str, PositionReport]) -> bool:
        """Whether a last trade is known of all that is held, or no bar will tell: a limit sell is priced by it."""
        session = self._fleet.session
        if session is not None and self._clock.now() >= session.liquidate_at:
            return True  # by no price at all
        held = [self._fleet.algos[p.symbol] for p in positions.values() if p.qty > 0]
        return all(algo.last_price or not algo.waits_for_history for algo in held)

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
        orders, positions, as_of = await self._list()
        for reports in orders.values():
            for report in reports:
                self._fleet.on_order_update(report)
        is_settled = True
        for symbol, algo in self._fleet.algos.items():
            open_before, version = known[symbol]
            listed_ids = {report.id for report in orders.get(symbol, ())}
            for order_id in open_before:
                if order_id not in listed_ids and not self._has_ended(algo.ledger, order_id):
                    await self._broker.room()
                    self._count_gone(symbol, order_id, await self._broker.ask(symbol, order_id))
            # What is still believed open without being listed could not be asked for, or was only just heard of.
            is_settled &= all(order.id in listed_ids for order in algo.ledger.open_orders if order.id)
            position = positions.get(symbol) or PositionReport(symbol, ZERO, ZERO)
            if position.qty == algo.ledger.position:
                self._settle(symbol)
            elif algo.ledger.version != version:
                # Something happened since the listings were asked for: they prove nothing.
                is_settled = False
            else:
                is_settled &= await self._explain(algo.ledger, position, as_of)
        return is_settled

    async def _explain(self, ledger: Ledger, position: PositionReport, as_of: int) -> bool:
        """Ask for the orders that may explain the difference; believe it if it was seen before."""
        symbol, version = ledger.symbol, ledger.version
        if any(not order.id for order in ledger.open_orders):
            return False  # what became of it is being asked already: its fill must not be counted twice
        concerned = [order for order in ledger if order.id]
        for order in concerned[-2:]:
            await self._broker.room()
            await self._broker.ask(symbol, order.id)
        if ledger.version != version:
            return False
        doubt = self._doubts.get(symbol)
        if doubt is None or doubt[:2] != (position.qty, ledger.position):
            log.info("%s: %s held by the ledger, %s listed: looking again", symbol, ledger.position, position.qty)
            self._doubts[symbol] = (position.qty, ledger.position, as_of)
            self._fleet.algos[symbol].forbid_buys("doubt", "the listed position differs")
            return False
        if as_of - doubt[2] < BELIEVE_AFTER:
            return False
        self._settle(symbol)
        self._fleet.on_position(position, as_of)
        return True

    def _count_gone(self, symbol: str, order_id: str, is_known: bool) -> None:
        """An order that is neither listed nor known by id, look after look, is over; what it did the position tells."""
        if is_known:
            self._gone.pop(order_id, None)
            return
        now = self._clock.now()
        looks, last_at = self._gone.get(order_id, (0, 0))
        if now - last_at < BELIEVE_AFTER:
            return
        self._gone[order_id] = (looks + 1, now)
        if looks + 1 >= GONE_AFTER:
            del self._gone[order_id]
            self._fleet.on_order_gone(symbol, order_id)

    def _settle(self, symbol: str) -> None:
        if self._doubts.pop(symbol, None) is not None:
            self._fleet.algos[symbol].allow_buys("doubt")

    @staticmethod
    def _has_ended(ledger: Ledger, order_id: str) -> bool:
        order = ledger.find(order_id)
        return order is None or order.has_ended
