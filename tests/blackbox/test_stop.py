"""Ctrl+C and SIGTERM: no more buys, working buys are cancelled, what fills gets its sell, sells stay."""

from __future__ import annotations

import signal

import pytest

from tests.blackbox.alpaca import Alpaca, slowly
from tests.blackbox.bot import ALWAYS, Bot, until


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["int", "term", "hup"]
)
async def test_a_stop_cancels_buys_and_leaves_sells(number: signal.Signals, code: int) -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            sell = await bot.order("TSLA", "sell")
            await alpaca.bar("AAPL", "10:30", 50.0)
            buy = await bot.order("AAPL", "buy")
            bot.process.send_signal(number)
            assert await bot.exits(within=10) == code
            assert (buy["status"], sell["status"]) == ("canceled", "new")
            assert "TSLA" in bot.last_line and "7 held" in bot.last_line and "sell 7 limit 100" in bot.last_line
            assert "AAPL" not in bot.last_line


async def test_what_fills_while_stopping_gets_its_sell() -> None:
    async with Alpaca() as alpaca:
        alpaca.obeys_cancels = False
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)
            buy = await bot.order("AAPL", "buy")
            bot.process.send_signal(signal.SIGINT)
            await until(lambda: buy["status"] == "pending_cancel", "the cancel")
            await alpaca.bar("TSLA", "10:30", 50.0)
            await alpaca.fill(buy)
            sell = await bot.order("AAPL", "sell")
            assert await bot.exits() == 130
            assert sell["status"] == "new" and sell["qty"] == buy["qty"]
            assert not alpaca.posted("TSLA")
            assert "AAPL" in bot.last_line and "40 held" in bot.last_line


async def test_a_cancel_nobody_confirms_is_told_and_not_waited_for() -> None:
    async with Alpaca() as alpaca:
        alpaca.obeys_cancels = False
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.order("AAPL", "buy")
            bot.process.send_signal(signal.SIGTERM)
            assert await bot.exits(within=15) == 143
            assert "AAPL" in bot.last_line and "buy 40 limit 50" in bot.last_line


async def test_the_second_ctrl_c_leaves_at_once() -> None:
    async with Alpaca() as alpaca:
        alpaca.obeys_cancels = False
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.order("AAPL", "buy")
            bot.process.send_signal(signal.SIGINT)
            await until(lambda: alpaca.asked("DELETE"), "the cancel")
            bot.process.send_signal(signal.SIGINT)
            assert await bot.exits(within=3) == 130


async def test_ctrl_c_before_anything_began() -> None:
    async with Alpaca() as alpaca:
        alpaca.on("GET", "/v2/clock", slowly(8))
        async with Bot(alpaca, "AAPL") as bot:
            await until(lambda: alpaca.requests, "the first question")
            bot.process.send_signal(signal.SIGINT)
            assert await bot.exits(within=5) == 130
            assert not bot.errors


async def test_a_buy_whose_answer_is_still_out_is_found_and_cancelled() -> None:
    async with Alpaca() as alpaca:
        alpaca.tells_updates = False
        alpaca.on("POST", "/v2/orders", alpaca.taking(slowly(1.5)))
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)
            buy = await bot.order("AAPL", "buy")
            bot.process.send_signal(signal.SIGTERM)
            assert await bot.exits(within=10) == 143
            assert buy["status"] == "canceled"


async def test_ctrl_c_while_waiting_for_the_open() -> None:
    async with Alpaca(at="20:15") as alpaca, Bot(alpaca, "--wait", "AAPL") as bot:
        await bot.says("waiting until")
        bot.process.send_signal(signal.SIGINT)
        assert await bot.exits(within=5) == 130
        assert not bot.errors
