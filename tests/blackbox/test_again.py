"""Killed at a bad moment and started again: what the broker knows of the orders counts, and nothing goes twice."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from tests.blackbox.alpaca import Alpaca, slowly
from tests.blackbox.bot import ALWAYS, Bot, until


async def kill(bot: Bot) -> None:
    bot.process.send_signal(signal.SIGKILL)
    await bot.exits()


def _listed(alpaca: Alpaca, times: int) -> bool:
    return len(alpaca.asked("GET", "/v2/positions")) >= times


async def test_killed_while_its_sell_was_unanswered() -> None:
    async with Alpaca() as alpaca:
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.fresh_bars(AAPL=50.0)
            buy = await bot.order("AAPL", "buy")
            await bot.early_questions(buy)
            alpaca.on("POST", "/v2/orders", alpaca.taking(slowly(60)), times=1)
            await alpaca.fill(buy)
            sell = await bot.order("AAPL", "sell")
            await kill(bot)
        alpaca.positions_lag = 2.0
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as again:
            await again.trades()
            await alpaca.passes(4)
            await alpaca.fill(sell)
            await again.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")


async def test_killed_in_the_first_second_again_and_again() -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("AAPL", 7, "100")
        for runs in range(1, 4):
            async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
                await until(partial(_listed, alpaca, runs), "a listing")
                if runs == 3:
                    await until(lambda: alpaca.posted(), "the sell")
                await kill(bot)
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.passes(3)
            sells = [o for o in alpaca.orders.values() if o["side"] == "sell"]
            assert [o["status"] for o in sells] == ["new"]
            assert len({r.body["client_order_id"] for r in alpaca.posted()}) == len(alpaca.posted())


async def test_killed_between_cancel_of_sell_and_its_market_exit() -> None:
    """A stop loss: the run before had asked for the cancel; the next one sees it confirmed, and its shares bare."""
    async with Alpaca(speed=4) as alpaca:
        alpaca.obeys_cancels = False
        async with Bot(alpaca, "--stop-loss", "1%", "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            sell = await bot.holds()
            await alpaca.trade("AAPL", 49.0)
            await until(lambda: sell["status"] == "pending_cancel", "the cancel")
            await kill(bot)
        async with Bot(alpaca, "--stop-loss", "1%", "AAPL", signal=ALWAYS) as again:
            await again.trades()
            assert len(alpaca.posted()) == 2
            confirmed_at = alpaca.now
            await alpaca.end(sell)
            await again.order("AAPL", "sell", nth=2)
            assert alpaca.posted()[-1].when - confirmed_at < 40
            alpaca.obeys_cancels = True
            await alpaca.trade("AAPL", 49.0)
            exit_ = await until(
                lambda: next((o for o in alpaca.orders.values() if o["type"] == "market"), None), "the market exit"
            )
            assert exit_["qty"] == "40"


@pytest.mark.parametrize("lag", [40.0, 1e6], ids=["40 s", "for ever"])
async def test_started_in_liquidation_while_position_is_not_listed(lag: float) -> None:
    """Bought at 15:54:50 by the run before: the activities know what was executed, and the orders what is offered."""
    async with Alpaca(at="15:54:22", speed=10) as alpaca:
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.reaches("15:54:50")
            sell = await bot.holds()
            await kill(bot)
        alpaca.positions_lag = lag
        await alpaca.reaches("15:55:05")
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as again:
            exit_ = await again.order("AAPL", "sell", nth=2)
            assert (exit_["type"], exit_["qty"], sell["status"]) == ("market", "40", "canceled")
            assert alpaca.posted()[-1].when < alpaca.minute("15:56:30")
            await alpaca.fill(exit_, price="49.90")
            assert await again.exits(within=60) == 0
            assert len([o for o in alpaca.orders.values() if o["side"] == "sell"]) == 2


async def test_started_while_the_market_exit_of_before_works() -> None:
    async with Alpaca(at="15:56:02", speed=20) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL") as bot:
            exit_ = await bot.order("AAPL", "sell")
            await kill(bot)
        async with Bot(alpaca, "AAPL") as again:
            await again.trades()
            await alpaca.passes(10)
            assert exit_["status"] == "new" and len(alpaca.posted()) == 1
            await alpaca.fill(exit_, price="49.90")
            assert await again.exits(within=60) == 0


async def test_started_while_the_position_is_listed_twice_as_large() -> None:
    """The broker's listing has the buy twice for 8 s: what the account executed is less."""
    async with Alpaca(speed=10) as alpaca:
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            sell = await bot.holds()
            await kill(bot)
        doubled = {"symbol": "AAPL", "qty": "80", "avg_entry_price": "50", "side": "long"}
        alpaca.shown_positions = lambda rows: [doubled]
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as again:
            await again.trades()
            await alpaca.passes(8)
            alpaca.shown_positions = list
            await alpaca.passes(60)
            assert [o["qty"] for o in alpaca.open_orders("AAPL")] == ["40"]
            await alpaca.fill(alpaca.open_orders("AAPL")[0])
            await again.says("-> TO_BUY")
            await alpaca.passes(35)
            assert not alpaca.open_orders() and sell["status"] in ("filled", "canceled")
