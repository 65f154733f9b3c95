"""What the account executed today, by its activities: the second witness of orders and positions.

A listing says what is held, an activity what was done: each row names one execution, with its id (the same as in the
order updates), its order and its time. A row that cannot be read costs none of the others.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from scalp.alpaca.decode import format_time_ns, text_of, time_or_none
from scalp.alpaca.rest import AlpacaREST
from scalp.core.clock import NEW_YORK, nanoseconds
from scalp.core.decimals import amount_or_none, decimal_or_none
from scalp.core.errors import Rejected, Unreachable
from scalp.core.orders import BUY, SELL
from scalp.core.ports import Counted, Execution, FeeCharged
from scalp.core.units import SECOND

PAGE = 100  # activities in one answer, Alpaca's maximum
MOST_PAGES = 400  # a server that never ends its pages is no witness
LATE_BY = 60 * SECOND  # rows may enter the listing so long after rows of a later time
EXECUTIONS, FEES, ALL = "/account/activities/FILL", "/account/activities/FEE", "/account/activities"
# What moves shares without an order: transfers, journals, splits, mergers, spin-offs, symbol changes, corrections.
TRANSFERS = frozenset({"TRANS", "ACATS", "ACATC", "JNLS", "SPLIT", "SSP", "SPIN", "MA", "SC", "NC", "REORG", "MISC"})


class Activities:
    """The executions since `since` (ns), read again and again: each reading asks only for what is new."""

    def __init__(self, rest: AlpacaREST, since: int, counted: Counted) -> None:
        self._rest = rest
        self._since = self._newest = since
        self._counted = counted
        self._path = EXECUTIONS
        self._executions: dict[str, Execution] = {}
        self._totals: dict[str, tuple[Decimal, Decimal]] = {}  # order id -> shares and dollars so far
        self.unreadable: set[str] = set()  # symbols with a row that could not be read

    async def read(self) -> list[Execution]:
        """All executions since the beginning, oldest first. Raises Unreachable, Rejected."""
        after = max(self._newest - LATE_BY, self._since)
        for row in await self._rows(self._path, after):
            self._take(row)
        return sorted(self._executions.values(), key=lambda done: done.at)

    async def transfers(self, since: int) -> list[tuple[str, Decimal, int]]:
        """Shares that came (or went) after `since` by no order: (symbol, shares, when). Raises the same."""
        moved = [row for row in await self._rows(ALL, since) if text_of(row.get("activity_type")) in TRANSFERS]
        return [
            (text_of(row.get("symbol")), decimal_or_none(row.get("qty")) or Decimal(0), _entered_at(row.get("id")))
            for row in moved
        ]

    async def fees(self) -> list[FeeCharged]:
        """What was charged since the beginning. Raises Unreachable, Rejected."""
        return [fee for row in await self._rows(FEES, self._since) if (fee := _fee(row)) is not None]

    async def _rows(self, path: str, after: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        token = ""
        for _ in range(MOST_PAGES):
            query = {"after": format_time_ns(after), "direction": "asc", "page_size": str(PAGE)}
            if token:
                query["page_token"] = token
            try:
                page = await self._counted(self._rest.get(path, query))
            except Rejected as refusal:
                if refusal.status == 404 and path in (EXECUTIONS, FEES):
                    # One path for all kinds, those asked for among them.
                    self._path = ALL if path == EXECUTIONS else self._path
                    return await self._rows(ALL, after)
                raise
            if not isinstance(page, list):
                raise Unreachable(f"GET {path}: the answer is not understood")
            read = [row for row in page if isinstance(row, dict)]
            ids = {text_of(row.get("id")) for row in read}
            if not ids - seen:
                return rows  # a server that repeats itself has no more rows
            seen |= ids
            rows += read
            token = text_of(read[-1].get("id"))
            if len(page) < PAGE or not token:
                return rows
        raise Unreachable(f"GET {path}: the pages have no end")

    def _take(self, row: dict[str, Any]) -> None:
        if text_of(row.get("activity_type")) not in ("", "FILL"):
            return
        name, order_id, symbol = (text_of(row.get(key)) for key in ("id", "order_id", "symbol"))
        qty, at, side = amount_or_none(row.get("qty")), time_or_none(row.get("transaction_time")), row.get("side")
        # The id holds a time, and behind it what the order updates call the execution.
        execution_id = name.rpartition("::")[2]
        if not (qty and at is not None and order_id and symbol and execution_id) or side not in (
            "buy",
            "sell",
            "sell_short",
        ):
            if symbol:
                self.unreadable.add(symbol)
            return
        if execution_id in self._executions:
            return
        self._newest = max(self._newest, at)
        price = amount_or_none(row.get("price")) or None
        shares, dollars = self._totals.get(order_id, (Decimal(0), Decimal(0)))
        shares, dollars = shares + qty, dollars + qty * (price or Decimal(0))
        self._totals[order_id] = shares, dollars
        told = amount_or_none(row.get("cum_qty"))
        is_whole = told is None or told == shares  # all of the order's executions are here
        self._executions[execution_id] = Execution(
            id=execution_id,
            order_id=order_id,
            symbol=symbol,
            side=BUY if side == BUY else SELL,
            qty=qty,
            price=price,
            at=at,
            cumulative=shares if told is None else told,
            leaves=amount_or_none(row.get("leaves_qty")),
            order_status=text_of(row.get("order_status")) or "partially_filled",
            average=dollars / shares if is_whole and price is not None else None,
        )


def _fee(row: dict[str, Any]) -> FeeCharged | None:
    """None for a row that is no fee, or cannot be read."""
    amount, name = decimal_or_none(row.get("net_amount")), text_of(row.get("id"))
    date = text_of(row.get("date"))[:10]
    if text_of(row.get("activity_type")) != "FEE" or amount is None or not name or len(date) < len("2026-11-20"):
        return None
    return FeeCharged(name, text_of(row.get("activity_sub_type")) or "FEE", -amount, date)


def _entered_at(activity_id: object) -> int:
    """When an activity was entered (ns): its id begins with the New York time, to the millisecond. 0: unknown."""
    try:
        at = dt.datetime.strptime(text_of(activity_id)[:14], "%Y%m%d%H%M%S").replace(tzinfo=NEW_YORK)
    except ValueError:
        return 0
    return nanoseconds(at)
