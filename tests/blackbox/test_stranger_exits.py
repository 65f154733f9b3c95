"""Exits that lack a price, an id, or a print to be moved by."""

from __future__ import annotations

import pytest

from tests.blackbox.alpaca import Alpaca, answer
from tests.blackbox.bot import ALWAYS, Bot, until

NOT_FOUND = answer(404, {"code": 40410000, "message": "order not found"})
TAKEN = answer(422, {"code": 40010001, "message": "client_order_id must be unique"})


@pytest.mark.parametrize("price", [None, "0", "1e25"])
async def test_a_position_without_a_price_is_not_offered_at_zero(price: str | None) -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("AAPL", 40, "50")
        alpaca.latest["AAPL"] = 49.5
        alpaca.shown_positions = lambda rows: [row | {"avg_entry_price": price} for row in rows]
        async with Bot(alpaca, "AAPL") as bot:
            sell = await bot.order("AAPL", "sell")
            assert (sell["qty"], sell["limit_price"]) == ("40", "49.50")
            assert len(alpaca.posted()) == 1


async def test_what_it_cost_prices_a_position_without_a_price() -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("AAPL", 40, "50")
        alpaca.latest["AAPL"] = 49.5
        alpaca.shown_positions = lambda rows: [row | {"avg_entry_price": None, "cost_basis": "2020"} for row in rows]
        async with Bot(alpaca, "AAPL") as bot:
            assert (await bot.order("AAPL", "sell"))["limit_price"] == "50.50"


async def test_a_sell_whose_id_is_taken_by_an_order_nobody_finds() -> None:
    async with Alpaca(speed=4) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.on("POST", "/v2/orders", TAKEN, times=1)
        alpaca.on("GET", "/v2/orders:by_client", NOT_FOUND)
        since = alpaca.now
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        assert (sell["qty"], sell["limit_price"]) == ("40", "50.00") and alpaca.now - since < 40


async def test_a_stop_that_could_not_be_lifted_is_lifted_later() -> None:
    async with Alpaca(speed=2) as alpaca, Bot(alpaca, "--trail", "1%", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.trade("AAPL", 60.0)
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.on("PATCH", "/v2/orders", answer(429, {"message": "too many requests."}), times=1)
        await alpaca.fill(buy, price="50.00")
        sell = await bot.order("AAPL", "sell")
        await alpaca.trade("AAPL", 55.0)
        await until(lambda: alpaca.legs(sell)[0]["stop_price"] == "54.45", "the stop is moved")
        assert [r.status for r in alpaca.asked("PATCH")] == [429, 200]


async def test_clock_that_is_stuck_near_close_while_market_goes_on() -> None:
    """It says 15:59:58 again and again at 10:32; bars and prints go on as before."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        alpaca.clock_says = {"timestamp": "2031-03-12T15:59:58-04:00"}
        async with alpaca.market(AAPL=49.5):
            await alpaca.passes(150)
            assert sell["status"] == "new" and not alpaca.asked("DELETE") and bot.process.returncode is None
            alpaca.clock_says = {}
            await alpaca.fill(sell)
            await bot.order("AAPL", "buy", nth=2)
