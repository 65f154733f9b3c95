"""A day whose time, market or network is not as it should be."""

from __future__ import annotations

import json
import signal

import pytest

from tests.blackbox.alpaca import Alpaca, never_arrives
from tests.blackbox.bot import ALWAYS, Bot, until
from tests.blackbox.sockets import utc


@pytest.mark.parametrize("wakes", ["15:59:20", "16:03:00"])
async def test_asleep_over_the_liquidation(wakes: str) -> None:
    """The machine sleeps, or the process is stopped: afterwards what can be sold is, or the last line says so."""
    async with Alpaca(at="15:54:30", speed=60) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL") as bot:
            sell = await bot.order("AAPL", "sell")
            await bot.trades()
            await alpaca.passes(2)
            bot.process.send_signal(signal.SIGSTOP)
            await alpaca.reaches(wakes)
            if wakes > "16":
                await alpaca.end(sell, "expired", tell=False)
            bot.process.send_signal(signal.SIGCONT)
            if wakes < "16":
                await alpaca.fill(await bot.order("AAPL", "sell", nth=2), price="49.00")
            assert await bot.exits(within=60) == (0 if wakes < "16" else 1)
            assert ("40 held" in bot.last_line) == (wakes > "16") and not alpaca.open_orders()


async def test_an_early_close_that_is_told_a_minute_before() -> None:
    async with Alpaca(at="12:57:40", speed=10) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.order("AAPL", "sell")
            await bot.trades()
            await alpaca.reaches("12:58:40")
            alpaca.close = alpaca.minute("13:00")
            market = await bot.order("AAPL", "sell", nth=2)
            assert market["type"] == "market" and alpaca.posted()[-1].when < alpaca.minute("12:59:58")
            await alpaca.fill(market, price="50.00")
            assert await bot.exits(within=60) == 0


async def test_a_minute_begun_before_a_halt_buys_nothing() -> None:
    async with Alpaca(at="10:31:40", speed=10) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        halt = {"T": "s", "S": "AAPL", "sc": "H", "sm": "", "rc": "LUDP", "rm": "", "z": "C", "t": utc(alpaca.now)}
        await alpaca.send_feed(json.dumps([halt]))
        await alpaca.reaches("10:32:01")
        await alpaca.bars("10:31", AAPL=50.0, TSLA=50.0)
        await bot.order("TSLA", "buy")
        await alpaca.passes(3)
        assert not alpaca.posted("AAPL")


async def test_the_whole_network_is_gone_while_a_buy_fills() -> None:
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        for method in ("GET", "POST", "DELETE"):
            alpaca.on(method, "/", never_arrives, seconds=70)
        alpaca.refuses_updates, alpaca.feed_errors["login"] = 10_000, 406
        await alpaca.drop_feed()
        await alpaca.drop_updates()
        await alpaca.fill(buy)
        await alpaca.passes(70)
        alpaca.refuses_updates = 0
        alpaca.feed_errors.clear()
        back_at = alpaca.now
        sell = await bot.order("AAPL", "sell")
        assert alpaca.now - back_at < 40
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len({r.body["client_order_id"] for r in alpaca.posted()}) == 2


@pytest.mark.parametrize("state", ["a buy in part", "a sell in part", "a group in part", "a stop at work"])
async def test_stopped_and_flattened_with(state: str) -> None:
    stop = ("--stop-loss", "0.5%") if state in ("a group in part", "a stop at work") else ()
    flatten = ("--on-exit", "flatten")
    async with Alpaca(speed=5) as alpaca, Bot(alpaca, *stop, *flatten, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await alpaca.fill(buy, 8 if "buy" in state else None)
        if "buy" not in state:
            sell = await bot.order("AAPL", "sell")
            if state == "a stop at work":
                [leg] = alpaca.legs(sell)
                leg["status"] = "new"
                await alpaca.end(sell, alone=True)
            await alpaca.fill(leg if state == "a stop at work" else sell, 8, price="50.00")
        bot.process.send_signal(signal.SIGTERM)
        market = await until(lambda: [o for o in alpaca.open_orders() if o["type"] == "market"], "a market exit")
        await alpaca.fill(market[0], price="49.90")
        assert await bot.exits(within=60) == 143
        assert alpaca.positions["AAPL"][0] == 0 and not alpaca.open_orders() and "AAPL" not in bot.last_line
