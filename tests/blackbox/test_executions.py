"""Executions count once, whenever and by whatever way they are told, and at a price that a market has."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import web

from tests.blackbox.alpaca import Alpaca, Request, answer
from tests.blackbox.bot import ALWAYS, Bot, until


@pytest.mark.parametrize("activities", ["there", "forbidden"])
async def test_bought_by_hand_listed_adopted_and_told_late(activities: str) -> None:
    async with Alpaca(speed=20) as alpaca:
        if activities == "forbidden":
            alpaca.on("GET", "/v2/account/activities", answer(403, {"message": "forbidden."}))
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            update = await alpaca.fill(alpaca.place("AAPL", "buy", 5, "100.00"), tell=False)
            sell = await bot.order("AAPL", "sell")
            assert sell["qty"] == "5"
            await alpaca.passes(49)
            await alpaca.tell_late(update)
            await alpaca.tell_late(update)
            await alpaca.passes(70)
            assert sell["status"] == "new" and len(alpaca.posted()) == 1 and not alpaca.asked("DELETE")
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            await alpaca.passes(40)
            assert len(alpaca.posted()) == 1


async def test_an_adopted_order_that_fills_on_adds_only_what_is_new() -> None:
    """5 of 10 were adopted from the listing; the update of the rest tells a total of 10."""
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL") as bot:
        await bot.trades()
        by_hand = alpaca.place("AAPL", "buy", 10, "100.00")
        alpaca.on("GET", "/v2/account/activities", answer(500, {"code": 50010000, "message": "internal"}), seconds=5)
        first = await alpaca.fill(by_hand, 5, tell=False)
        looks = len(alpaca.asked("GET", "/v2/positions"))
        await until(lambda: len(alpaca.asked("GET", "/v2/positions")) > looks, "a look", 60)
        await alpaca.passes(10)
        await alpaca.fill(by_hand)
        await alpaca.tell_late(first)
        await alpaca.passes(75)
        held = [o for o in alpaca.open_orders("AAPL") if o["side"] == "sell"]
        assert [o["qty"] for o in held] == ["10"]
        await alpaca.fill(held[0])
        await bot.says("-> TO_BUY")
        await alpaca.passes(40)
        assert not alpaca.open_orders()


async def test_growth_is_news_whatever_its_time() -> None:
    """A buy of the run before fills while nobody looks; the update comes late, with the time it happened at."""
    async with Alpaca(at="10:35:02", speed=10) as alpaca:
        old = alpaca.place("AAPL", "buy", 10, "50.00", client_order_id="scalp-AAPL-1930000000000-1")
        alpaca.on("GET", "/v2/account/activities", answer(200, []), seconds=60)
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            alpaca.positions_lag = alpaca.orders_lag = 60.0
            alpaca.on("GET", f"/v2/orders/{old['id']}", answer(200, dict(old)))
            update = await alpaca.fill(old, tell=False)
            await alpaca.passes(8)
            before = "2031-03-12T14:34:31.5Z"  # half a minute before the bot started
            await alpaca.tell_late(update | {"timestamp": before, "order": update["order"] | {"filled_at": before}})
            told_at = alpaca.now
            sell = await bot.order("AAPL", "sell")
            assert alpaca.posted()[0].when - told_at < 8 and sell["qty"] == "10"


@pytest.mark.parametrize(
    ("way", "price"),
    [("by id", "0"), ("by id", "-101"), ("by id", None), ("update", "0"), ("update", "NaN"), ("update", "1E+40")],
)
async def test_a_price_that_no_market_has(way: str, price: str | None) -> None:
    """The shares count at once, at the limit until a better price is told; they are never offered below it."""
    async with Alpaca(speed=3) as alpaca:
        alpaca.flat_morning("AAPL")
        alpaca.tells_updates = way == "update"
        odd = True

        async def tell_oddly(request: Request) -> web.Response | None:
            order = alpaca.orders[request.path.rpartition("/")[2]]
            if not odd or order["filled_qty"] == "0":
                return None
            return web.json_response(order | {"filled_avg_price": price})

        alpaca.on("GET", "/v2/orders/", tell_oddly)
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            buy = await bot.order("AAPL", "buy")
            await alpaca.trade("AAPL", 96.11)
            if way == "update":
                await bot.early_questions(buy)
            await bot.hears_all("AAPL")
            update = await alpaca.fill(buy, price="100.98", tell=False)
            filled_at = alpaca.now
            if way == "update":
                await alpaca.tell_late(
                    update | {"price": price, "order": update["order"] | {"filled_avg_price": price}}
                )
            sell = await bot.order("AAPL", "sell")
            assert sell["qty"] == "19" and float(sell["limit_price"]) == 101
            assert alpaca.posted("AAPL", "sell")[0].when - filled_at < (3 if way == "update" else 35)
            odd, alpaca.tells_updates = False, True
            # The answer that told of it was one; the activities know the price as well.
            least = 2 if way == "by id" else 1
            await until(
                lambda: len([r for r in alpaca.asked("GET") if r.when > filled_at and (
                    "activities" in r.path or buy["id"] in r.path)]) >= least,
                "the price is asked again",
            )  # fmt: skip
            await alpaca.passes(1)
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            bot.process.terminate()
            assert await bot.exits() == 143
            # At 100.98 by the price asked again, or at 101 by the limit.
            assert re.search(r"AAPL +1 +19 +\+0\.(38|00) ", bot.text), bot.text
            assert len(alpaca.posted()) == 2


async def test_a_late_fill_after_a_buy_was_cancelled_is_offered() -> None:
    """Cancelled, told so by every source, and half a minute later its execution is reported after all."""
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await alpaca.end(buy)
        await bot.says("BUY_SUBMITTED -> TO_BUY")
        await alpaca.passes(25)
        await alpaca.fill(buy, 7)
        filled_at = alpaca.now
        sell = await bot.order("AAPL", "sell")
        assert sell["qty"] == "7" and alpaca.posted("AAPL", "sell")[0].when - filled_at < 10


async def test_the_same_execution_from_every_source_counts_once() -> None:
    """Stream (three times), by id, listing, activities; then the sell's executions in the same way."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        updates: list[dict[str, Any]] = [await alpaca.fill(buy, 15), await alpaca.fill(buy)]
        sell = await bot.order("AAPL", "sell")
        updates += [await alpaca.fill(sell, 10)]
        for _ in range(3):
            for update in updates:
                await alpaca.tell_late(update)
        await alpaca.passes(35)
        for update in reversed(updates):
            await alpaca.tell_late(update)
        await alpaca.passes(35)
        assert sell["status"] == "partially_filled" and len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        await alpaca.passes(35)
        assert len(alpaca.posted()) == 2
