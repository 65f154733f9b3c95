"""What was traded today before the process began: some risk rails have to know it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from scalp.core.clock import Session
from scalp.core.errors import OutcomeUnknown, Refused, Unreachable
from scalp.core.fleet import Fleet
from scalp.core.messages import SECOND
from scalp.core.ports import Account, Broker, Execution
from scalp.core.rails import Rails
from scalp.core.trades import Fill
from scalp.live.reconcile import TROUBLES, Reconciler
from scalp.net.backoff import Backoff

log = logging.getLogger("scalp.main")

HISTORY_RETRY = (5.0, 60.0)  # seconds: the first, doubling up to the longest
EARLIEST_FILL = 6 * 3600 * SECOND  # before the open: nothing of the day before is so late


class PastFills:
    """Tells the rails of `fleet` what was traded before the positions that the bot started with were listed."""

    def __init__(self, fleet: Fleet, account: Account, broker: Broker, reconciler: Reconciler) -> None:
        self._fleet = fleet
        self._account = account
        self._broker = broker
        self._reconciler = reconciler

    async def recall(self, rails: Rails, session: Session) -> None:
        """Ask until there is an answer; until then this process's own losses have to do."""
        backoff = Backoff(*HISTORY_RETRY)
        while not self._reconciler.is_started:
            await asyncio.sleep(0.05)
        activities = self._account.activities(session.open - EARLIEST_FILL, self._broker.counted)
        while True:
            try:
                past = fills(e for e in await activities.read() if e.id not in self._reconciler.news_at_start)
                break
            except (Unreachable, OutcomeUnknown) as error:
                log.warning("no buys: today's fills, which the rails need: %s; again in %.0f s", error,
                            backoff.pause)  # fmt: skip
            except Refused as refusal:
                # The account has no activities to show: its orders tell nearly as much.
                try:
                    past = await self._fills_by_orders(session)
                    break
                except TROUBLES as error:
                    log.warning("no buys: today's fills, which the rails need: %s, %s; again in %.0f s",
                                refusal, error, backoff.pause)  # fmt: skip
            rails.judge_by_own()
            self._fleet.risk.obey(rails)
            await backoff.wait()
        fleet = self._fleet
        rails.recall([fill for fill in past if fill.symbol in fleet.algos and fill.at <= fleet.listed_at])
        fleet.risk.obey(rails)

    async def _fills_by_orders(self, session: Session) -> list[Fill]:
        """Today's fills by the orders of the day, one an order, where the account's activities cannot be had."""
        found: dict[str, Fill] = {}
        since: int = session.open - EARLIEST_FILL
        while True:
            page = await self._broker.counted(self._account.orders("all", list(self._fleet.algos), since))
            before = len(found)
            for report in page.rows:
                at = report.at or report.submitted_at  # one that was cancelled in part does not tell when it filled
                if report.filled_qty and report.filled_avg_price and at is not None:
                    price = report.filled_avg_price
                    found[report.id] = Fill(report.symbol, report.side, report.filled_qty, price, at)
            last = page.rows[-1].submitted_at if page.rows else None
            if page.length < page.most or last is None or (last <= since and len(found) == before):
                return sorted(found.values(), key=lambda fill: fill.at)
            since = max(last - 1, since + 1)


def fills(executions: Iterable[Execution]) -> list[Fill]:
    """The executions that have a price, as fills."""
    return [Fill(e.symbol, e.side, e.qty, e.price, e.at) for e in executions if e.price is not None]
