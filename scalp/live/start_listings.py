"""What the bot finds when it starts: the first listings, and what happened around them that they may not show yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import NamedTuple

from msgspec.structs import replace

from scalp.core.clock import MarketClock
from scalp.core.decimals import ZERO
from scalp.core.evidence import executed, held_already
from scalp.core.fleet import Fleet
from scalp.core.orders import BUY, FINAL_STATUSES, HELD, SELL, OrderReport, PositionReport
from scalp.core.ports import Account, Broker
from scalp.live.listings import RECENT, TROUBLES, DayExecutions, Lister, Listings, filled_by_id

MOST_BY_ID = 20  # orders asked for by id in one look: where the listing fails, or has rows of unknown ones
SNAPSHOT_TRIES, SNAPSHOT_PAUSE = 3, 0.5
PRICE_PATIENCE = 1.0  # seconds
EXECUTIONS_PATIENCE = 1.0  # seconds the first sells wait for those

Reports = Mapping[str, Sequence[OrderReport]]  # by symbol


class Before(NamedTuple):
    """One symbol as it was left: its orders, its position, and executions: the position includes the first `held`."""

    orders: Sequence[OrderReport]
    position: PositionReport
    executions: Sequence[OrderReport]
    held: int


class FirstLook(NamedTuple):
    """The first listings, the executions that these may not show yet, and what the stream reported meanwhile."""

    listed: Listings
    executions: Reports  # oldest first
    past: Reports  # from the stream, of before the positions were asked for
    later: Reports  # and of after that: news

    def before(self, symbol: str) -> Before:
        """How a symbol was left, as far as all of that shows."""
        orders = [*self.past.get(symbol, ()), *self.listed.orders.get(symbol, ())]
        position, executions = self.listed.position(symbol), self.executions.get(symbol, ())
        # The report of an order may be older than its executions.
        filled = filled_by_id(executions)
        newest = [
            replace(report, filled_qty=max(report.filled_qty or ZERO, filled.get(report.id, ZERO)))
            for report in _newest(orders)
        ]
        executions = [*executions, *_untold(newest, executions, self.listed.as_of)]
        on_offer = _on_offer(newest)
        sells = [report for report in newest if _on_offer([report])]
        count = held_already(position.qty, executions, on_offer, self.listed.as_of)
        missing = on_offer - position.qty - sum((executed(report) for report in executions[count:]), ZERO)
        if missing > 0 and position.qty >= 0 and sells and all(_closes(report) for report in sells):
            # The broker took these sells against shares that it knows to be held: their row is missing, or late.
            price = position.avg_entry_price or max(report.limit_price or ZERO for report in sells)
            position = replace(position, qty=position.qty + missing, avg_entry_price=price)
        return Before(orders, position, executions, count)


class StartListings:
    """Asks for orders, positions and executions at the start."""

    def __init__(
        self, fleet: Fleet, broker: Broker, rest: Account, clock: MarketClock, lister: Lister, executions: DayExecutions
    ) -> None:
        self._fleet = fleet
        self._broker = broker
        self._rest = rest
        self._clock = clock
        self._lister = lister
        self._executions = executions
        self._has_waited = False  # for the prices of what is held

    async def look(self) -> FirstLook:
        """Ask for everything. Raises Unreachable, OutcomeUnknown or Rejected where a listing fails."""
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
            # The list has parents with legs that work.
            has_ended = {report.id: report for report in _result(ended) if report.status in FINAL_STATUSES}
            executions = _executions(_result(executed), [*has_ended.values()], since)
        # A listing lags: what is listed open and has ended, has ended.
        orders = {s: [has_ended.get(row.id, row) for row in rows] for s, rows in listed.orders.items()}
        listed = await self._without_contradicted(listed._replace(orders=orders))
        listed = listed._replace(as_of=max(listed.as_of, _dated([*orders.values(), *executions.values()])))
        # The listed positions hold what was executed before they were asked for; only later executions add to them.
        past: defaultdict[str, list[OrderReport]] = defaultdict(list)
        later: defaultdict[str, list[OrderReport]] = defaultdict(list)
        for number, report in enumerate(self._fleet.orders.early_updates.take()):
            # What came before they were asked for is no news to them, whatever the clocks say.
            is_past = number < listed.heard or report.at is None or report.at <= listed.as_of
            (past if is_past else later)[report.symbol].append(report)
        return FirstLook(listed, executions, past, later)

    async def _list_in_peace(self) -> Listings:
        """Listings during which the stream reported nothing, if a few tries get them."""
        for _ in range(SNAPSHOT_TRIES):
            told = len(self._fleet.orders.early_updates)
            listed = await self._lister.both()
            if len(self._fleet.orders.early_updates) == told:
                break
            await asyncio.sleep(SNAPSHOT_PAUSE)
        return listed

    async def _ask_for_unlisted(self, before: Mapping[str, Sequence[OrderReport]], listed: Listings) -> None:
        """Ask by id for orders listed a moment ago and not any more: the answers are kept with the updates."""
        ids = {report.id for report in chain.from_iterable(listed.orders.values())}
        gone = [report for report in chain.from_iterable(before.values()) if report.id not in ids]
        for report in gone[:MOST_BY_ID]:
            await self._broker.ask(report.symbol, report.id)

    async def _without_contradicted(self, listed: Listings) -> Listings:
        """Where more is listed than sells have on offer, and by today's executions all is on offer, that stands.

        What is listed beyond it has to last, like every surplus.
        """
        on_offer = {symbol: _on_offer(orders) for symbol, orders in listed.orders.items()}
        doubtful = [s for s, offered in on_offer.items() if 0 < offered < listed.position(s).qty]
        if not doubtful:
            return listed
        try:
            async with asyncio.timeout(EXECUTIONS_PATIENCE):
                executions = await self._executions.of_the_day()
        except TimeoutError:
            return listed
        if executions is None:
            return listed
        positions = dict(listed.positions)
        for symbol in doubtful:
            if sum((done.signed for done in executions if done.symbol == symbol), ZERO) == on_offer[symbol]:
                positions[symbol] = replace(positions[symbol], qty=on_offer[symbol])
        return listed._replace(positions=positions)

    async def _recent_executions(self) -> list[OrderReport]:
        """The day's activities of the last minutes; none where they cannot be read."""
        return [done.report for done in await self._executions.recent() or ()]

    async def _ended_orders(self) -> list[OrderReport]:
        """The newest orders that have ended, asked for until there is an answer."""
        while True:
            with contextlib.suppress(*TROUBLES):
                symbols = list(self._fleet.algos)
                page = await self._broker.counted(self._rest.orders("closed", symbols, direction="desc"))
                return page.rows
            await asyncio.sleep(SNAPSHOT_PAUSE)

    def _are_priced(self, positions: Mapping[str, PositionReport]) -> bool:
        """Whether all shares held have a known last trade, or no bar will bring one: it prices a limit sell."""
        session = self._fleet.session
        if session is not None and self._clock.now() >= session.liquidate_at:
            return True  # liquidation needs no price
        held = [self._fleet.algos[p.symbol] for p in positions.values() if p.qty > 0]
        return all(algo.tape.last_price or "history" not in algo.entry_blocks for algo in held)

    async def _wait_for_prices(self, positions: Mapping[str, PositionReport]) -> None:
        """The day's bars bring a last trade, if they come soon; else the listing's price has to do."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PRICE_PATIENCE
        while not self._are_priced(positions) and loop.time() < deadline:
            await asyncio.sleep(0.02)


def _dated(reports: Sequence[Sequence[OrderReport]]) -> int:
    """The earliest it can be by the broker's own dates, exchange time in ns: its clock may show an earlier time.

    Two orders must show it: one date alone may be odd.
    """
    latest: dict[str, int] = {}
    for report in chain.from_iterable(reports):
        latest[report.id] = max(latest.get(report.id, 0), report.at or 0, report.submitted_at or 0)
    return sorted(latest.values())[-2] + 1 if len(latest) > 1 else 0


def _newest(reports: Sequence[OrderReport]) -> list[OrderReport]:
    """One report of each order: an end stays, of others the last counts, and fills only grow."""
    found: dict[str, OrderReport] = {}
    for report in reports:
        if report.id not in found or found[report.id].status not in FINAL_STATUSES or report.status in FINAL_STATUSES:
            found[report.id] = report
    filled = filled_by_id(reports)
    return [replace(report, filled_qty=filled[report.id]) for report in found.values()]


def _closes(report: OrderReport) -> bool:
    """A sell of shares that are held: the broker says so, or it is this program's."""
    return report.closes or report.client_order_id.startswith("scalp-")


def _on_offer(orders: Sequence[OrderReport]) -> Decimal:
    """Shares that sells still have to sell."""
    sells = [report for report in orders if report.side == SELL and report.status not in FINAL_STATUSES]
    heads = {report.id for report in sells}  # the shares of a group are on offer once
    offers = [report for report in sells if report.status != HELD and report.parent_id not in heads]
    return sum(((report.qty or ZERO) - (report.filled_qty or ZERO) for report in offers), ZERO)


def _result(reading: asyncio.Task[list[OrderReport]]) -> list[OrderReport]:
    """What was read; nothing where there is no answer yet."""
    if reading.done() and not reading.cancelled():
        return reading.result()
    reading.cancel()
    return []


def _executions(
    activities: Sequence[OrderReport], ended: Sequence[OrderReport], since: int
) -> dict[str, list[OrderReport]]:
    """Executions since then by symbol, oldest first: activities lag too, orders that have ended show the others."""
    covers = {report.id for report in ended if report.side == BUY and report.closes}
    untold = [replace(r, at=e.at) for e in _ended_since(ended, since) for r in _untold([e], activities, 0)]
    found: defaultdict[str, list[OrderReport]] = defaultdict(list)
    statuses = {report.id: report.status for report in ended}
    for report in reversed(sorted((*activities, *untold), key=lambda report: report.at or 0)):
        # An activity has its order's status at that time: the last one gets the end that came since.
        report = replace(report, status=statuses.pop(report.id, report.status))
        found[report.symbol].insert(0, replace(report, closes=True) if report.id in covers else report)
    return found


def _ended_since(orders: Sequence[OrderReport], since: int) -> list[OrderReport]:
    """Those that ended at `since` or later. For a cancelled one, the end dates what it had filled before."""
    dated = [replace(order, at=order.at or order.canceled_at) for order in orders]
    return [order for order in dated if order.at and order.at >= since]


def _untold(orders: Sequence[OrderReport], executions: Sequence[OrderReport], as_of: int) -> list[OrderReport]:
    """What orders have filled beyond the known executions: those lag too, so that it may be as new as they are."""
    told, untold = filled_by_id(executions), []
    for order in orders:
        missing = (order.filled_qty or ZERO) - told.get(order.id, ZERO)
        if missing > 0 and not (order.at and order.at < as_of - RECENT):
            price = order.filled_avg_price
            untold.append(replace(order, event="", execution_id=None, execution_qty=missing, price=price, at=as_of))
    return untold
