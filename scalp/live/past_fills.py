"""What was traded today before the process began: the day's figures and some risk rules have to know it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from decimal import Decimal

from scalp.core.clock import Session
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.events import DayRecalled
from scalp.core.fleet import Fleet
from scalp.core.orders import BUY, OrderReport
from scalp.core.ports import Account, Broker, Execution
from scalp.core.risk_rules import RiskRules
from scalp.core.trades import Fill
from scalp.core.units import SECOND
from scalp.live.listings import TROUBLES
from scalp.live.reconcile import Reconciler
from scalp.net.backoff import Backoff

log = logging.getLogger("scalp.main")

HISTORY_RETRY = (5.0, 60.0)  # seconds: the first, doubling up to the longest
SOON, LATER = 0.05, 1.0  # seconds between looks whether the first listings are here
CALM, CALM_LOOKS = 5.0, 24  # seconds between looks whether there are requests to spare; for so many looks
EARLIEST_FILL = 6 * 3600 * SECOND  # before the open: nothing of the day before is so late


class PastFills:
    """Reports to `fleet` and its `rules` what was traded before the positions that the bot started with were listed."""

    def __init__(
        self, fleet: Fleet, account: Account, broker: Broker, reconciler: Reconciler, rules: RiskRules | None
    ) -> None:
        self._fleet = fleet
        self._account = account
        self._broker = broker
        self._reconciler = reconciler
        self._rules = rules
        self._is_needed = rules is not None and rules.limits.needs_todays_fills
        self._is_said = False

    async def recall(self, session: Session) -> None:
        """Ask until there is an answer; until then only this process's own losses count."""
        backoff = Backoff(*HISTORY_RETRY)
        while not self._reconciler.is_started:
            await asyncio.sleep(SOON if self._is_needed else LATER)
        if not self._is_needed:
            await until_calm(self._fleet, self._broker)
        activities = self._account.activities(session.open - EARLIEST_FILL, self._broker.counted)
        executions: list[Execution] = []
        while True:
            try:
                told = await activities.read()
                executions = [e for e in told if self._is_past(e.symbol, e.at) and not self._is_news(e)]
                past = fills(executions)
                break
            except (Unreachable, OutcomeUnknown) as error:
                self._say(str(error), backoff.pause)
            except Rejected as refusal:
                # The account has no activities to show: its orders show nearly as much.
                try:
                    told_by_orders = await self._fills_by_orders(session)
                    past = [fill for fill in told_by_orders if self._is_past(fill.symbol, fill.at)]
                    break
                except TROUBLES as error:
                    self._say(f"{refusal}, {error}", backoff.pause)
            if self._rules is not None:
                self._rules.judge_by_own()
                self._fleet.risk.obey(self._rules)
            await backoff.wait()
        if self._rules is None:
            self._fleet.takings.recall(past, self._carried(past))
        else:
            self._rules.recall(past, self._carried(past))
            self._fleet.risk.obey(self._rules)
        if executions:
            await self._tell(executions, session)

    def _carried(self, past: Iterable[Fill]) -> dict[str, Decimal]:
        """Shares by symbol that the first position held and nobody bought today."""
        carried = {symbol: algo.ledger.adopted for symbol, algo in self._fleet.algos.items()}
        for fill in past:
            carried[fill.symbol] -= fill.qty if fill.side == BUY else -fill.qty
        return {symbol: qty for symbol, qty in carried.items() if qty > 0}

    async def _tell(self, executions: list[Execution], session: Session) -> None:
        """Write down what an earlier run was about to write down when it was killed."""
        try:
            orders = await self._orders(session)
        except TROUBLES:
            orders = []  # which orders the executions are of may be known otherwise
        self._fleet.tell(DayRecalled(self._fleet.bus.now(), executions, orders))

    def _is_past(self, symbol: str, at: int) -> bool:
        return symbol in self._fleet.algos and at <= self._fleet.orders.listed_at

    def _is_news(self, execution: Execution) -> bool:
        return execution.id in self._reconciler.news_at_start

    def _say(self, why: str, pause: float) -> None:
        if self._is_needed:
            log.warning("no buys: today's fills, which the risk limits need: %s; again in %.0f s", why, pause)
        elif not self._is_said:
            self._is_said = True
            log.info("what was traded earlier today is not in the figures yet: %s", why)

    async def _fills_by_orders(self, session: Session) -> list[Fill]:
        """Today's fills by the orders of the day, one an order, where the account's activities cannot be read."""
        found = []
        for report in await self._orders(session):
            at = report.at or report.submitted_at  # one that was cancelled in part does not say when it filled
            if report.filled_qty and report.filled_avg_price and at is not None:
                found.append(Fill(report.symbol, report.side, report.filled_qty, report.filled_avg_price, at))
        return sorted(found, key=lambda fill: fill.at)

    async def _orders(self, session: Session) -> list[OrderReport]:
        """All orders of the day in watched symbols."""
        found: dict[str, OrderReport] = {}
        since: int = session.open - EARLIEST_FILL
        while True:
            page = await self._broker.counted(self._account.orders("all", list(self._fleet.algos), since))
            before = len(found)
            found.update((report.id, report) for report in page.rows)
            last = page.rows[-1].submitted_at if page.rows else None
            if page.length < page.most or last is None or (last <= since and len(found) == before):
                return list(found.values())
            since = max(last - 1, since + 1)


async def until_calm(fleet: Fleet, broker: Broker) -> None:
    """Wait until the start is over and no exit may need the way to the broker, for two minutes at most."""
    for _ in range(CALM_LOOKS):
        if fleet.readiness.is_ready and not fleet.reservation.needed and broker.has_plenty:
            return
        await asyncio.sleep(CALM)


def fills(executions: Iterable[Execution]) -> list[Fill]:
    """The executions that have a price, as fills."""
    return [Fill(e.symbol, e.side, e.qty, e.price, e.at) for e in executions if e.price is not None]
