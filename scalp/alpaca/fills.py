"""What the account traded today, for rails that hold over a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from scalp.alpaca.decode import amount_or_none, format_time_ns, text_of, time_or_none
from scalp.alpaca.rest import AlpacaREST
from scalp.errors import Unreachable
from scalp.trades import Fill

PAGE = 100  # activities in one answer, Alpaca's maximum

Counted = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits one request, counted against the request limit."""


async def fills_since(rest: AlpacaREST, since: int, counted: Counted) -> list[Fill]:
    """Every execution after `since` (ns), oldest first, whatever the symbol. Raises Unreachable or Refused."""
    fills: list[Fill] = []
    token = ""
    while True:
        query = {"after": format_time_ns(since), "direction": "asc", "page_size": str(PAGE)}
        if token:
            query["page_token"] = token
        rows = await counted(rest.get("/account/activities/FILL", query))
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Unreachable("GET /account/activities/FILL: the answer is not understood")
        fills += [_fill(row) for row in rows]
        last = text_of(rows[-1].get("id")) if rows else ""
        if len(rows) < PAGE or not last or last == token:
            return sorted(fills, key=lambda fill: fill.at)
        token = last


def _fill(row: dict[str, Any]) -> Fill:
    """One that is not understood makes all the rest worthless: a loss could hide in it."""
    qty, price = amount_or_none(row.get("qty")), amount_or_none(row.get("price"))
    at = time_or_none(row.get("transaction_time"))
    symbol, side = text_of(row.get("symbol")), text_of(row.get("side"))
    if qty is None or price is None or at is None or not symbol or side not in ("buy", "sell", "sell_short"):
        raise Unreachable("GET /account/activities/FILL: a fill is not understood")
    return Fill(symbol, "buy" if side == "buy" else "sell", qty, price, at)
