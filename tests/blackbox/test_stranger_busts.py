"""Executions that the broker takes back, or puts right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.blackbox.alpaca import Alpaca
from tests.blackbox.bot import ALWAYS, Bot


async def bust(alpaca: Alpaca, order: dict[str, Any], qty: int, copy: str = "new", **update: Any) -> dict[str, Any]:
    """`qty` executed shares never were; the update holds the order as it is now, or an `old` copy."""
    old = alpaca._shown(order)
    order["filled_qty"] = str(int(order["filled_qty"]) - qty)
    held, entry = alpaca.positions[order["symbol"]]
    alpaca.positions[order["symbol"]] = (held - qty if order["side"] == "buy" else held + qty, entry)
    alpaca._note_positions()
    alpaca.activities = [row for row in alpaca.activities if row["order_id"] != order["id"]]
    told = {"event": "trade_bust", "qty": str(qty), "price": "50.00", "reason": "TRADE_BUST"} | update
    return await alpaca.tell(told.pop("event"), old if copy == "old" else order, **told)


@pytest.mark.parametrize("copy", ["new", "old"])
async def test_a_sale_that_is_taken_back_is_offered_again(copy: str) -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        await alpaca.fill(sell)
        data = await bust(alpaca, sell, 40, copy)
        again = await bot.order("AAPL", "sell", nth=2)
        assert (again["qty"], again["limit_price"]) == ("40", "50.00")
        await alpaca.fill(again)
        await bot.says("SELL_SUBMITTED -> TO_BUY", times=2)
        await alpaca.tell_late(data)
        await alpaca.fresh_bars(AAPL=51.0)
        await bot.order("AAPL", "buy", nth=2)
        assert len(alpaca.posted()) == 4


async def test_a_lot_taken_back_is_neither_offered_nor_bought_twice() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        data = await bust(alpaca, next(iter(alpaca.orders.values())), 40)
        await bot.says("-> TO_BUY")
        assert sell["status"] == "canceled"
        await alpaca.tell_late(data)
        await bot.holds(51.0)
        alpaca.positions_lag = 20.0
        await alpaca.passes(35)
        assert len(alpaca.open_orders()) == 1


async def test_a_part_of_a_lot_that_is_taken_back() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        await bust(alpaca, next(iter(alpaca.orders.values())), 15, event="trade_correct")
        rest = await bot.order("AAPL", "sell", nth=2)
        assert (sell["status"], rest["qty"]) == ("canceled", "25")


@pytest.mark.parametrize("total", ["40", None])
async def test_a_price_that_is_put_right_counts_no_share(total: str | None) -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        buy = next(iter(alpaca.orders.values()))
        told = buy | {"filled_qty": total, "filled_avg_price": "49.90"}
        await alpaca.tell("trade_correct", told, price="49.90", qty="40", position_qty="40")
        await alpaca.passes(8)
        assert sell["status"] == "new" and len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
