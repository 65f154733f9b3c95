"""Groups of a take-profit and a stop, told of in part, late, or by a clock that is ahead."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, Request, Rows, answer, slowly
from tests.blackbox.bot import ALWAYS, Bot, until
from tests.blackbox.sockets import utc

STOP = ("--stop-loss", "0.5%")


async def killed_with_a_group(alpaca: Alpaca, folder: Path) -> dict[str, Any]:
    async with Bot(alpaca, *STOP, "AAPL", folder=folder, signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        bot.process.send_signal(signal.SIGKILL)
        await bot.exits()
    return sell


async def test_stop_sells_by_stamps_of_exchange_behind_its_clock() -> None:
    """The clock is 20 s ahead of what orders are stamped with; the stop fires unheard as its group is cancelled."""
    async with Alpaca(speed=10) as alpaca:

        async def ahead(request: Request) -> web.Response | None:
            alpaca.clock_says = {"timestamp": utc(alpaca.now + 20)}
            return None

        alpaca.on("GET", "/v2/clock", ahead)
        async with Bot(alpaca, *STOP, "--on-exit", "flatten", "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            sell = await bot.holds()

            async def fires(request: Request) -> web.Response:
                await alpaca.stop(sell, "49.70", tell=False)
                return alpaca.ordinary(request)

            alpaca.on("DELETE", "/v2/orders", fires, times=1)
            bot.process.send_signal(signal.SIGTERM)
            assert await bot.exits(within=80) == 143
            assert len(alpaca.posted()) == 2 and "AAPL" not in bot.last_line


# -- started again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", ["the leg alone", "the parent alone", "the leg beside it", "neither"])
async def test_started_again_while_half_of_a_group_is_listed(listed: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with Alpaca(speed=10) as alpaca:
            sell = await killed_with_a_group(alpaca, Path(name))
            [leg] = alpaca.legs(sell)

            def shown(rows: Rows) -> Rows:
                legs = [alpaca._shown(leg)] if leg["status"] in ("held", "new") else []
                parents = [row | {"legs": None} for row in rows if row["id"] != leg["id"]]
                return {"the leg alone": legs, "the parent alone": parents, "neither": []}.get(listed, legs + parents)

            alpaca.shown_orders = shown
            async with Bot(alpaca, *STOP, "AAPL", folder=Path(name), signal=ALWAYS) as bot:
                await bot.trades()
                await alpaca.passes(2)
                await alpaca.stop(sell, "49.70")
                await bot.says("-> TO_BUY")
                await bot.holds(51.0)


async def test_both_legs_sold_a_part_while_the_bot_was_dead() -> None:
    with tempfile.TemporaryDirectory() as name:
        async with Alpaca(speed=10) as alpaca:
            sell = await killed_with_a_group(alpaca, Path(name))
            await alpaca.fill(sell, 15)
            await alpaca.stop(sell, "49.70")
            async with Bot(alpaca, *STOP, "AAPL", folder=Path(name), signal=ALWAYS) as bot:
                await bot.trades()
                await alpaca.passes(31)
                assert len(alpaca.posted()) == 2
                await bot.holds(51.0)


@pytest.mark.parametrize("state", ["a part is sold", "no answer yet"])
async def test_killed_in_the_liquidation(state: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with Alpaca(at="15:54:50", speed=10) as alpaca:
            alpaca.hold("AAPL", 40, "50")
            async with Bot(alpaca, *STOP, "AAPL", folder=Path(name)) as bot:
                await bot.order("AAPL", "sell")
                if state == "no answer yet":
                    alpaca.on("POST", "/v2/orders", alpaca.taking(slowly(30)), times=1)
                market = await bot.order("AAPL", "sell", nth=2)
                if state == "a part is sold":
                    await alpaca.fill(market, 15, price="49.90")
                bot.process.send_signal(signal.SIGKILL)
                await bot.exits()
            async with Bot(alpaca, *STOP, "AAPL", folder=Path(name)) as bot:
                await bot.trades()
                await alpaca.fill(market, price="49.90")
                await bot.says("-> TO_BUY")
                assert len(alpaca.orders) == 3


# -- what the legs do -------------------------------------------------------------------------------------------------


async def test_a_stop_that_does_not_shrink_sells_too_many() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        alpaca.may_be_short = True
        await bot.trades()
        sell = await bot.holds()
        [leg] = alpaca.legs(sell)
        await alpaca.fill(sell, 10)
        leg["status"], leg["qty"] = "new", "40"
        await alpaca.fill(leg, price="49.70")
        await alpaca.end(sell, alone=True)
        cover = await bot.order("AAPL", "buy", nth=2)
        assert (cover["type"], cover["qty"], cover["position_intent"]) == ("market", "10", "buy_to_close")
        await alpaca.fill(cover, price="49.80")
        await alpaca.passes(31)
        assert alpaca.positions["AAPL"][0] == 0 and len(alpaca.posted()) == 3


async def test_a_stop_sells_before_its_group_is_answered() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()

        async def stop_first(request: Request) -> web.Response | None:
            if request.body["side"] == "buy":
                return None
            response = alpaca.ordinary(request)
            await alpaca.stop(alpaca.order_of(request), "49.70")
            await alpaca.passes(1)
            return response

        alpaca.on("POST", "/v2/orders", stop_first)
        await bot.holds()
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        await alpaca.passes(31)
        assert len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")


async def test_a_stop_sells_of_a_group_whose_answer_is_lost() -> None:
    async with Alpaca(speed=5) as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        alpaca.on("POST", "/v2/orders", alpaca.taking(answer(504, HTML)), times=1)
        alpaca.shown_orders = lambda rows: [row | {"legs": None} for row in rows]
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        await alpaca.passes(3)
        await alpaca.stop(sell, "49.70")
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        await alpaca.passes(31)
        assert len({r.body["client_order_id"] for r in alpaca.posted()}) == 2


async def test_a_take_profit_ends_replaced_by_nothing() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        [leg] = alpaca.legs(sell)
        await alpaca.end(sell, "replaced", alone=True)
        await alpaca.passes(31)
        assert len(alpaca.posted()) == 2
        leg["status"] = "new"
        await alpaca.fill(leg, 10, price="49.70")
        await alpaca.fill(leg, price="49.60")
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2


async def test_a_take_profit_is_edited_by_hand() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, *STOP, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        [leg] = alpaca.legs(sell)
        new = alpaca._replace(sell, {"limit_price": "50.40"})
        new["order_class"], leg["parent"] = "oco", new["id"]
        await alpaca.tell("replaced", sell)
        await alpaca.tell("new", new)
        await alpaca.passes(65)
        assert len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")
        await alpaca.stop(new, "49.70")
        await bot.says("SELL_SUBMITTED -> TO_BUY")


async def test_a_group_whose_cancel_nobody_tells_of_is_liquidated() -> None:
    async with Alpaca(at="15:54:20", speed=10) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, *STOP, "AAPL") as bot:
            await bot.order("AAPL", "sell")
            await bot.trades()
            alpaca.tells_updates = False
            market = await bot.order("AAPL", "sell", nth=2)
            assert (market["type"], market["qty"]) == ("market", "40")
            await alpaca.fill(market, price="49.00")
            await bot.says("-> TO_BUY")


async def test_a_stop_is_not_lifted_as_it_has_sold() -> None:
    async with Alpaca(speed=5) as alpaca, Bot(alpaca, "--trail", "1%", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.trade("AAPL", 60.0)
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        await alpaca.fill(buy, price="50.00")
        sell = await bot.order("AAPL", "sell")

        async def sold(request: Request) -> web.Response:
            await alpaca.stop(sell, "49.50", tell=False)
            return web.json_response({"code": 42210000, "message": "order is not open"}, status=422)

        alpaca.on("PATCH", "/v2/orders", sold, times=1)
        await until(lambda: alpaca.posted("AAPL", "sell")[0].status, "the answer")
        await alpaca.trade("AAPL", 55.0)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2
