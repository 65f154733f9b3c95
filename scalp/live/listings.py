"""What the broker lists: open orders and positions, and the day's executions. None of it is a fact: it lags."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from scalp.core.clock import MarketClock
from scalp.core.decimals import ZERO
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.fleet import Fleet
from scalp.core.orders import OrderReport, PositionReport
from scalp.core.ports import Account, Broker, Execution
from scalp.core.units import SECOND

log = logging.getLogger("scalp.reconcile")

TROUBLES = (Unreachable, OutcomeUnknown, Rejected)

RECENT = 120 * SECOND  # before the first listings: executions that these may not show yet
LATEST = SECOND  # an answer that took longer may still show what was executed so long before it came
BEFORE_OPEN = 6 * 3600 * SECOND  # nothing of the day was executed earlier


class Listings(NamedTuple):
    """Open orders and positions by watched symbol, the time of these, and the symbols with unreadable rows.

    `asked_at` is when positions were asked for, in ns of a time that never jumps: explaining one takes time.
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


class Lister:
    """Asks for what the broker lists of the watched symbols."""

    def __init__(self, fleet: Fleet, broker: Broker, rest: Account, clock: MarketClock) -> None:
        self._fleet = fleet
        self._broker = broker
        self._rest = rest
        self._clock = clock
        self.unreadable: frozenset[str] = frozenset()  # those whose row in the last listings could not be read

    async def both(self) -> Listings:
        """Open orders, then positions. Raises Unreachable, OutcomeUnknown or Rejected."""
        symbols, heard = list(self._fleet.algos), len(self._fleet.orders.early_updates)
        orders: defaultdict[str, list[OrderReport]] = defaultdict(list)
        listed = await self._broker.counted(self._rest.open_orders(symbols))
        for report in listed.rows:
            orders[report.symbol].append(report)
        positions = await self.positions()
        self.unreadable |= listed.unreadable & self._fleet.algos.keys()
        return positions._replace(orders=orders, unreadable=self.unreadable, heard=heard)

    async def positions(self) -> Listings:
        """Positions alone."""
        now, asked_at = self._clock.now(), elapsed()
        held = await self._broker.counted(self._rest.positions())
        as_of = max(now, self._clock.now() - LATEST)
        positions = {p.symbol: p for p in held.rows if p.symbol in self._fleet.algos}
        self.unreadable = held.unreadable & self._fleet.algos.keys()
        return Listings({}, positions, as_of, asked_at, self.unreadable)


class DayExecutions:
    """What the account executed, by its activities."""

    def __init__(self, fleet: Fleet, broker: Broker, rest: Account, clock: MarketClock) -> None:
        self._fleet = fleet
        self._broker = broker
        self._rest = rest
        self._activities = rest.activities(clock.now() - RECENT, broker.counted)
        self._said: set[str] = set()
        self.are_known = False  # whether they could be read last time

    async def recent(self) -> list[Execution] | None:
        """Those since shortly before the start, oldest first; None where they cannot be read, which is logged once."""
        try:
            executions = await self._activities.read()
        except TROUBLES as error:
            self.are_known = False
            why = str(error)
            if why not in self._said:
                self._said.add(why)
                log.warning("the day's activities: %s; only listings can explain what is held", why)
            return None
        self.are_known = True
        return executions

    async def of_the_day(self) -> list[Execution] | None:
        """All of today's, oldest first; None where they cannot be read, or could not be last time."""
        session = self._fleet.session
        if session is None or not self.are_known:
            return None
        try:
            return await self._rest.activities(session.open - BEFORE_OPEN, self._broker.counted).read()
        except TROUBLES:
            return None

    async def transfers(self, since: int) -> list[tuple[str, Decimal, int]]:
        """Shares that came or went after `since` by no order: (symbol, shares, when); none where they are not known."""
        try:
            return await self._activities.transfers(since) if self.are_known else []
        except TROUBLES:
            return []


def elapsed() -> int:
    """The loop's time in ns: how long something has stood, whatever happens to the exchange's time meanwhile."""
    return round(asyncio.get_running_loop().time() * SECOND)


def filled_by_id(executions: Sequence[OrderReport]) -> dict[str, Decimal]:
    """How far orders have filled by their newest execution, by the broker's id."""
    filled: dict[str, Decimal] = {}
    for done in executions:
        filled[done.id] = max(filled.get(done.id, ZERO), done.filled_qty or ZERO)
    return filled
