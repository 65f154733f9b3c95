"""Started in the middle of things, and started again after a kill: the same shares, no order twice."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest

from tests.blackbox.alpaca import Alpaca, slowly
from tests.blackbox.bot import ALWAYS, Bot


async def test_starting_in_every_state() -> None:
    async with Alpaca() as alpaca:
        alpaca.place("AAPL", "buy", 19, "101.00", client_order_id="scalp-AAPL-1930000000000-1")  # BUY_SUBMITTED
        alpaca.hold("TSLA", 7, "100.123")  # TO_SELL
        alpaca.hold("NVDA", 5, "100")  # SELL_SUBMITTED
        alpaca.place("NVDA", "sell", 5, "103.00")
        alpaca.hold("AMD", 4, "100")  # several orders: hands off buying, the sell is followed
        alpaca.place("AMD", "sell", 4, "103.00")
        alpaca.place("AMD", "buy", 1, "20.00")
        alpaca.hold("F", 6, "10")  # a buy that filled in part and is still working
        part = alpaca.place("F", "buy", 10, "10.00", filled_qty="6", filled_avg_price="10", status="partially_filled")
        alpaca.hold("GE", 9, "10")  # not watched
        async with Bot(alpaca, "AAPL", "TSLA", "NVDA", "AMD", "F", "FB", signal=ALWAYS) as bot:
            await bot.trades()
            assert len(alpaca.requests) <= 13 + 1, [str(r) for r in alpaca.requests]  # 12, the history, the sell
            held = await bot.order("TSLA", "sell")
            assert (held["qty"], held["limit_price"]) == ("7", "100.13")
            await alpaca.bars("10:30", **dict.fromkeys(("AAPL", "TSLA", "NVDA", "AMD", "F", "FB"), 100.0))
            await bot.order("FB", "buy")  # TO_BUY
            assert [(r.body["symbol"], r.body["side"]) for r in alpaca.posted()] == [("TSLA", "sell"), ("FB", "buy")]

            await alpaca.fill(part)
            assert (await bot.order("F", "sell"))["qty"] == "10"
            await alpaca.fill(alpaca.open_orders("AAPL")[0])
            assert (await bot.order("AAPL", "sell"))["qty"] == "19"
            assert not alpaca.asked("DELETE")


async def test_the_first_sell_knows_the_last_trade() -> None:
    """From the day's bars, or from the listing of positions when those take too long; not for ever if nobody does."""
    async with Alpaca() as alpaca:
        for symbol in ("AAPL", "TSLA", "NVDA"):
            alpaca.hold(symbol, 5, "100")
        alpaca.current_prices = {"AAPL": "100.5", "NVDA": "102.5"}
        alpaca.flat_morning("AAPL", "TSLA", price=103.0, last=104.0)
        alpaca.on("GET", "/v2/stocks/bars", slowly(0.4))
        async with Bot(alpaca, "AAPL", "TSLA", "NVDA") as bot:
            told = [float((await bot.order(symbol, "sell"))["limit_price"]) for symbol in ("AAPL", "TSLA", "NVDA")]
            assert told == [104, 104, 102.5]
        assert len(alpaca.posted()) == 3
    async with Alpaca() as alpaca:
        alpaca.hold("AAPL", 5, "100")
        alpaca.on("GET", "/v2/stocks/bars", slowly(60))
        async with Bot(alpaca, "AAPL") as bot:
            assert float((await bot.order("AAPL", "sell"))["limit_price"]) == 100


@pytest.mark.parametrize("moment", ["buy unanswered", "buy working", "buy part filled", "held", "sell working"])
async def test_killed_and_started_again(moment: str) -> None:
    async with Alpaca() as alpaca:
        with tempfile.TemporaryDirectory(prefix="scalp-") as here:
            if moment == "buy unanswered":
                alpaca.on("POST", "/v2/orders", alpaca.taking(slowly(60)), times=1)
            async with Bot(alpaca, "AAPL", signal=ALWAYS, folder=Path(here)) as bot:
                await bot.trades()
                await alpaca.bar("AAPL", "10:30", 100.0)
                buy = await bot.order("AAPL", "buy")
                if moment == "buy part filled":
                    await alpaca.fill(buy, 8)
                    await bot.says("bought 8")
                if moment == "sell working":
                    await alpaca.fill(buy)
                    await bot.order("AAPL", "sell")
                bot.process.send_signal(signal.SIGKILL)
                await bot.exits()
            if moment == "held":
                await alpaca.fill(buy)  # nobody was there to see it

            async with Bot(alpaca, "AAPL", signal=ALWAYS, folder=Path(here)) as again:
                await again.trades()
                if moment not in ("held", "sell working"):
                    await alpaca.bar("AAPL", "10:30", 100.0)
                    await again.says("bar 100.0")
                    await alpaca.fill(buy)
                sell = await again.order("AAPL", "sell")
                assert sell["qty"] == "20"
                await alpaca.fill(sell)
                await again.says("SELL_SUBMITTED -> TO_BUY")
                assert [o["side"] for o in alpaca.orders.values()] == ["buy", "sell"]
                # Now it is free for a new trade, under an id that was never used.
                await alpaca.bar("AAPL", "10:31", 100.0)
                new = await again.order("AAPL", "buy", nth=2)
                assert new["client_order_id"] not in {
                    o["client_order_id"] for o in alpaca.orders.values() if o is not new
                }
                assert len((Path(here) / "console.log").read_text().split("buying is on")) == 3  # one log, appended


async def test_bought_and_sold_by_others_between_two_runs() -> None:
    async with Alpaca(at="10:32:02") as alpaca:
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 100.0)
            buy = await bot.order("AAPL", "buy")
            bot.process.kill()
            await bot.exits()
        await alpaca.fill(buy)
        await alpaca.fill(alpaca.place("AAPL", "sell", 20, "101.00"))
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as again:
            await again.trades()
            await alpaca.bar("AAPL", "10:31", 100.0)
            await again.order("AAPL", "buy", nth=2)  # there is nothing left to do, so a new trade begins
            assert len(alpaca.posted()) == 2
