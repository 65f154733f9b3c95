"""A stop that rests at the broker: with the bot alive, killed, or cut off from everything."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.alpaca import Alpaca, answer, never_arrives
from tests.blackbox.bot import ALWAYS, FLATTEN, Bot, until

STOP = ("--stop-loss", "0.5%")


async def test_the_exit_is_one_post_of_two_legs() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        before = len(alpaca.requests)
        await alpaca.fill(buy)
        await bot.order("AAPL", "sell")
        exit_ = alpaca.requests[before].body
        del exit_["client_order_id"]
        assert exit_ == {
            "symbol": "AAPL", "qty": "40", "side": "sell", "type": "limit", "time_in_force": "day",
            "order_class": "oco", "take_profit": {"limit_price": "50.00"}, "stop_loss": {"stop_price": "49.75"},
            "position_intent": "sell_to_close",
        }  # fmt: skip
        await alpaca.fill(await bot.order("AAPL", "sell"))
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")


async def test_the_stop_sells_while_the_bot_lives() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        await alpaca.trade("AAPL", 49.7)
        await alpaca.stop(sell, "49.70")
        await bot.says("the stop at the broker sells")
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        await alpaca.passes(5)
        assert len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")
        bot.process.terminate()
        assert await bot.exits() == 143
        assert "-12.00" in bot.text


async def test_the_bot_strikes_where_the_broker_does_not() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        await alpaca.trade("AAPL", 49.7)
        await until(lambda: alpaca.asked("DELETE"), "the group is cancelled")
        [delete] = alpaca.asked("DELETE")
        assert alpaca.order_of(delete) is sell
        market = await bot.order("AAPL", "sell", 2)
        assert (market["type"], market["qty"]) == ("market", "40")


# -- a dead bot -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sold", ["while it is dead", "before it died, and not told"])
async def test_killed_the_broker_sells_and_the_next_run_knows(sold: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Alpaca() as alpaca:
            async with Bot(alpaca, *STOP, "AAPL", folder=folder, signal=ALWAYS) as bot:
                await bot.trades()
                sell = await bot.holds()
                if sold != "while it is dead":
                    await alpaca.stop(sell, "49.70", tell=False)
                bot.process.send_signal(signal.SIGKILL)
                assert await bot.exits() == -signal.SIGKILL
            if sold == "while it is dead":
                await alpaca.stop(sell, "49.70")
            async with Bot(alpaca, *STOP, "AAPL", folder=folder, signal=ALWAYS) as bot:
                await bot.trades()
                await alpaca.passes(3)
                assert len(alpaca.posted()) == 2  # nothing is sold again
                sell = await bot.holds(51.0)
                await alpaca.fill(sell)
                await bot.says("SELL_SUBMITTED -> TO_BUY")
                bot.process.terminate()
                assert await bot.exits() == 143
                assert not bot.errors


async def test_killed_and_started_again_the_group_is_followed() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Alpaca() as alpaca:
            async with Bot(alpaca, *STOP, "AAPL", folder=folder, signal=ALWAYS) as bot:
                await bot.trades()
                sell = await bot.holds()
                bot.process.send_signal(signal.SIGKILL)
                await bot.exits()
            async with Bot(alpaca, *STOP, "AAPL", folder=folder, signal=ALWAYS) as bot:
                await bot.says("buying is on")
                await alpaca.passes(40)
                assert len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")
                await alpaca.stop(sell, "49.70")
                await bot.says("SELL_SUBMITTED -> TO_BUY")
                assert len(alpaca.posted()) == 2


async def test_the_network_is_gone_while_the_stop_sells() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        for method in ("GET", "POST", "DELETE", "PATCH"):
            alpaca.on(method, "/", never_arrives, seconds=20)
        alpaca.tells_updates = False
        await alpaca.trade("AAPL", 49.7)
        await alpaca.stop(sell, "49.70")
        await alpaca.passes(25)
        alpaca.tells_updates = True
        await bot.says("SELL_SUBMITTED -> TO_BUY", within=60)
        assert [r.body["side"] for r in alpaca.posted() if r.status] == ["buy", "sell"]
        assert alpaca.positions["AAPL"][0] == 0


# -- the end of a group -----------------------------------------------------------------------------------------------


async def test_the_passive_legs_end_is_never_told() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        [leg] = alpaca.legs(sell)
        await alpaca.end(leg, tell=False)
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        await alpaca.fresh_bars(AAPL=51.0)
        await bot.order("AAPL", "buy", 2)


async def test_what_both_legs_sold_is_bought_back_once() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        alpaca.may_be_short = True
        await bot.trades()
        sell = await bot.holds()
        [leg] = alpaca.legs(sell)
        leg["status"] = "new"
        await alpaca.fill(leg, price="49.70")
        await alpaca.fill(sell)
        cover = await bot.order("AAPL", "buy", 2)
        assert (cover["type"], cover["qty"], cover["position_intent"]) == ("market", "40", "buy_to_close")
        await alpaca.passes(31)
        await alpaca.fill(cover, price="49.80")
        await alpaca.passes(31)
        assert alpaca.positions["AAPL"][0] == 0
        assert [r.body["side"] for r in alpaca.posted()] == ["buy", "sell", "buy"]
        assert [line for line in bot.errors if "both legs" in line]


REFUSED = {"code": 42210000, "message": "oco orders must be exit orders"}


async def test_refused_the_plain_exit_goes_at_once() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        alpaca.on("POST", "/v2/orders", answer(422, REFUSED), times=1)
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        assert (sell["limit_price"], sell["order_class"]) == ("50.00", "")
        assert len(alpaca.posted()) == 3
        await alpaca.trade("AAPL", 49.7)  # the bot's own stop stands behind it, and strikes at once
        await alpaca.trade("AAPL", 49.69)
        market = await bot.order("AAPL", "sell", 2)
        assert market["type"] == "market"


async def test_the_trail_moves_the_stop() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "--trail", "1%", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.trade("AAPL", 60.0)
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await alpaca.trade("AAPL", 60.0)
        await bot.early_questions(buy)
        await alpaca.fill(buy, price="50.00")
        sell = await bot.order("AAPL", "sell")
        assert (sell["limit_price"], alpaca.legs(sell)[0]["stop_price"]) == ("60.00", "49.50")
        await alpaca.trade("AAPL", 55.0)
        await until(lambda: alpaca.asked("PATCH"), "the stop is moved")
        assert alpaca.asked("PATCH")[0].body == {"stop_price": "54.45"}
        await alpaca.passes(3)
        await alpaca.trade("AAPL", 54.9)
        await alpaca.trade("AAPL", 56.0)
        await until(lambda: len(alpaca.asked("PATCH")) == 2, "it is moved again")
        [leg] = alpaca.legs(sell)
        assert leg["stop_price"] == "55.44"
        await alpaca.stop(sell, "55.40")
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2


# -- the end of the day, and of the bot -------------------------------------------------------------------------------


async def test_liquidated_both_legs_go_first() -> None:
    async with Alpaca(at="15:54:20") as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await bot.holds()
        await bot.says("liquidating", within=90)
        market = await bot.order("AAPL", "sell", 2)
        assert (market["type"], market["qty"]) == ("market", "40")
        await alpaca.fill(market, price="50.00")
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.asked("DELETE")) == 1


@pytest.mark.parametrize("how", ["keep", "flatten"])
async def test_stopped_the_group_stays_or_is_sold(how: str) -> None:
    async with Alpaca() as alpaca, Bot(alpaca, *STOP, "--on-exit", how, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell: dict[str, Any] = await bot.holds()
        bot.process.send_signal(signal.SIGTERM)
        if how == "flatten":
            market = await bot.order("AAPL", "sell", 2)
            assert market["type"] == "market"
            await alpaca.fill(market, price="50.00")
        assert await bot.exits() == 143
        if how == "keep":
            assert bot.last_line.endswith("AAPL: 40 held at 50.00, working: sell 40 limit 50.00, stop at 49.75")
        assert len(alpaca.legs(sell)) == (1 if how == "keep" else 0)


async def test_flatten_cancels_the_group_and_sells() -> None:
    async with Alpaca() as alpaca:
        async with Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await bot.holds()
            bot.process.send_signal(signal.SIGKILL)
            await bot.exits()
        async with Bot(alpaca, "AAPL", program=FLATTEN) as flatten:
            market = await flatten.order("AAPL", "sell", 2)
            assert (market["type"], market["qty"]) == ("market", "40")
            await alpaca.fill(market, price="49.00")
            assert await flatten.exits() == 0
            assert len(alpaca.asked("DELETE")) == 1
