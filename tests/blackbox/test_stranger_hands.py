"""Hands at the dashboard, and a second bot on the account."""

from __future__ import annotations

import pytest

from tests.blackbox.alpaca import Alpaca
from tests.blackbox.bot import ALWAYS, Bot


async def test_a_sell_is_cut_to_fewer_shares_by_hand() -> None:
    """Those it offers no more are offered in the end, and nothing twice."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        cut = alpaca._replace(sell, {"qty": "15"})
        await alpaca.tell("replaced", sell)
        await alpaca.tell("new", cut)
        rest = await bot.order("AAPL", "sell", nth=2)
        assert cut["status"] == "canceled" and rest["qty"] == "40"
        await alpaca.fill(rest)
        await bot.says("SELL_SUBMITTED -> TO_BUY")


@pytest.mark.parametrize("told", [True, False])
async def test_a_buy_is_edited_to_more_shares_by_hand(told: bool) -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        await alpaca.fill(buy, 10)
        more = alpaca._replace(buy, {"qty": "60", "limit_price": "50.10"})
        await alpaca.tell("replaced", buy, quietly=not told)
        await alpaca.tell("new", more, quietly=not told)
        await alpaca.passes(3)
        await alpaca.fill(more, tell=told)
        sell = await bot.order("AAPL", "sell")
        assert (sell["qty"], sell["limit_price"]) == ("60", "50.09")  # 50.08333... on average


async def test_a_sell_is_edited_again_and_again_by_hand() -> None:
    """Told in the wrong order, or not at all."""
    async with Alpaca(speed=10) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            order = await bot.order("AAPL", "sell")
            for cents in range(4):
                new = alpaca._replace(order, {"limit_price": f"101.0{cents}"})
                await alpaca.tell("new", new, quietly=cents == 2)
                await alpaca.tell("replaced", order, quietly=cents == 2)
                order = new
            await alpaca.passes(65)
            assert len(alpaca.posted()) == 1 and not alpaca.asked("DELETE")
            await alpaca.fill(order)
            await bot.says("SELL_SUBMITTED -> TO_BUY")


async def test_a_part_is_sold_by_hand() -> None:
    """The bot's sell is cancelled and 25 of 40 are sold at market, all within the second."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.end(await bot.holds())
        await alpaca.fill(alpaca.place("AAPL", "sell", 25, None), price="49.90")
        rest = await bot.order("AAPL", "sell", nth=2)
        assert (rest["qty"], rest["limit_price"]) == ("15", "50.00")


@pytest.mark.parametrize("told", [True, False])
async def test_the_position_is_closed_by_hand_and_the_stock_halts(told: bool) -> None:
    """Every order is cancelled, and a market sell waits for 45 s."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.end(await bot.holds(), tell=told)
        by_hand = alpaca.place("AAPL", "sell", 40, None)
        await alpaca.tell("new", by_hand, quietly=not told)
        await alpaca.passes(45)
        assert alpaca.open_orders("AAPL") == [by_hand]
        await alpaca.fill(by_hand, price="49.50", tell=told)
        await bot.says("-> TO_BUY")
        assert not alpaca.open_orders("AAPL")


async def test_a_second_bot_buys_and_offers_its_own_shares() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.passes(5)  # certainly later than the listings of the start, by the bot's clock too
        await alpaca.fill(alpaca.place("AAPL", "buy", 20, "50.00"), tell=False)
        offer = alpaca.place("AAPL", "sell", 20, "50.05")
        await alpaca.tell("new", offer)
        await alpaca.passes(31)
        assert alpaca.open_orders("AAPL") == [offer]
        await bot.says("bought 20 at 50.00")
        await alpaca.fill(offer)
        await alpaca.passes(31)
        await bot.holds()


async def test_a_sell_of_yesterday_counts_until_the_liquidation() -> None:
    async with Alpaca(at="15:54:30", speed=10) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        then = "2031-03-11T18:00:00Z"
        gtc = alpaca.place("AAPL", "sell", 7, "120.00", time_in_force="gtc", submitted_at=then, created_at=then)
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            assert not alpaca.posted()
            market = await bot.order("AAPL", "sell")
            assert gtc["status"] == "canceled" and (market["type"], market["qty"]) == ("market", "7")
