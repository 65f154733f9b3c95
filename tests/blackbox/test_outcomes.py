"""Orders of unknown outcome: a sell goes again under its own id at once, a buy never does, and facts settle both."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, Answer, BrokenConnection, Request, answer, never_arrives
from tests.blackbox.bot import ALWAYS, Bot, until

NO_ANSWER = answer(504, HTML)
INTERNAL = answer(500, {"code": 50010000, "message": "internal server error occurred"})
NOT_UNDERSTOOD = answer(422, {"code": 40010001, "message": "client_order_id is missing"})


async def hang(request: Request) -> web.Response:
    await request.time.sleep(12)
    raise BrokenConnection


@pytest.mark.parametrize(("loss", "bound"), [(never_arrives, 2), (hang, 8)], ids=["broken", "hanging"])
async def test_a_sell_that_was_lost_goes_again_at_once(loss: Answer, bound: float) -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.fresh_bars(AAPL=50.0)
            buy = await bot.order("AAPL", "buy")
            await bot.early_questions(buy)
            alpaca.on("POST", "/v2/orders", loss, times=1)
            await alpaca.fill(buy)
            filled_at = alpaca.now
            sell = await bot.order("AAPL", "sell")
            first, again = alpaca.posted("AAPL", "sell")
            assert first.body == again.body and sell["client_order_id"] == first.body["client_order_id"]
            assert again.when - filled_at < bound
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.orders) == 2


@pytest.mark.parametrize("lookup", [NOT_UNDERSTOOD, INTERNAL, answer(400, {"message": "bad request"})],
                         ids=["422", "500", "400"])  # fmt: skip
async def test_a_sell_that_never_arrived_while_look_ups_err(lookup: Answer) -> None:
    """An error of a look-up has said nothing about the order."""
    async with Alpaca(speed=2) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.on("GET", "/v2/orders:by_client", lookup)
        lost = answer(504, HTML)
        alpaca.on("POST", "/v2/orders", lost, times=1)
        await alpaca.fill(buy)
        filled_at = alpaca.now
        sell = await bot.order("AAPL", "sell")
        first, again = alpaca.posted("AAPL", "sell")
        assert first.body == again.body and again.when - filled_at < 4
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.orders) == 2


@pytest.mark.parametrize("state", ["works", "filled"])
async def test_a_sell_that_did_arrive_is_found_by_listing(state: str) -> None:
    """Its answer is lost, its id is taken when it goes again, look-ups by that id err, no update tells of it."""
    async with Alpaca(speed=4) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)

        async def take(request: Request) -> web.Response:
            alpaca.ordinary(request)
            if state == "filled":
                await alpaca.fill(alpaca.order_of(request))
            return web.Response(status=504, text=HTML)

        alpaca.on("POST", "/v2/orders", take, times=1)
        alpaca.on("GET", "/v2/orders:by_client", INTERNAL)
        update = await alpaca.fill(buy, tell=False)
        alpaca.tells_updates = False
        await alpaca.tell_late(update)
        sell = await bot.order("AAPL", "sell")
        if state == "works":
            await alpaca.passes(20)
            alpaca.tells_updates = True
            await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY", within=40)
        sent = alpaca.posted("AAPL", "sell")
        assert {r.body["client_order_id"] for r in sent} == {sell["client_order_id"]} and len(sent) <= 3
        alpaca.tells_updates = True
        await alpaca.fresh_bars(AAPL=50.0)
        await bot.order("AAPL", "buy", nth=2)


async def test_a_buy_of_unknown_outcome_is_never_sent_again() -> None:
    """One that never arrived is dropped; one that did is found by listing, and its shares are offered."""
    async with Alpaca(speed=5) as alpaca:
        alpaca.on("GET", "/v2/orders:by_client", INTERNAL)
        alpaca.on("POST", "AAPL", NO_ANSWER, times=1)
        alpaca.on("POST", "TSLA", alpaca.taking(NO_ANSWER), times=1)
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            alpaca.tells_updates = False
            await alpaca.fresh_bars(AAPL=50.0, TSLA=50.0)
            arrived = await bot.order("TSLA", "buy")
            await alpaca.passes(3)
            await alpaca.fill(arrived)
            filled_at = alpaca.now
            sell = await bot.order("TSLA", "sell")
            assert sell["qty"] == "40" and alpaca.posted("TSLA", "sell")[0].when - filled_at < 35
            alpaca.tells_updates = True
            assert [r.body["side"] for r in alpaca.posted("AAPL")] == ["buy"]
            await bot.says("AAPL BUY_SUBMITTED -> TO_BUY", within=40)
            await alpaca.fresh_bars(AAPL=50.0)
            await bot.order("AAPL", "buy")
            old, new = alpaca.posted("AAPL")
            assert old.body["client_order_id"] != new.body["client_order_id"]


async def test_sell_of_unknown_outcome_does_not_hold_up_liquidation() -> None:
    """The server loses every sell from 15:54:20 until 15:55:15, and look-ups err all the time."""
    async with Alpaca(at="15:53:02", speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        await alpaca.reaches("15:54:20")
        alpaca.on("POST", "/v2/orders", NO_ANSWER, seconds=55)
        alpaca.on("GET", "/v2/orders:by_client", INTERNAL)
        await alpaca.fill(buy)
        exit_ = await until(lambda: next((o for o in alpaca.open_orders() if o["type"] == "market"), None), "an exit")
        assert exit_["qty"] == "40"
        accepted_at = next(r.when for r in alpaca.posted() if alpaca.orders and r.body["client_order_id"]
                           == exit_["client_order_id"] and r.status == 200)  # fmt: skip
        assert accepted_at < alpaca.minute("15:56:20")
        await alpaca.fill(exit_, price="49.90")
        assert await bot.exits(within=40) == 0


async def test_a_duplicate_that_is_another_order_is_not_believed() -> None:
    """422 "must be unique", and what is found under the id sells something else: no fact about our shares."""
    async with Alpaca(speed=4) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        other: dict[str, Any] = {}

        async def taken(request: Request) -> web.Response | None:
            if other:
                return None
            other.update(alpaca.place("AAPL", "buy", 1, "20.00", client_order_id=request.body["client_order_id"]))
            other["status"] = alpaca.orders[other["id"]]["status"] = "canceled"
            return web.Response(status=504, text=HTML)

        alpaca.on("POST", "/v2/orders", taken)
        async with Bot(alpaca, "AAPL") as bot:
            await until(lambda: [o for o in alpaca.open_orders("AAPL") if o["side"] == "sell"], "the sell", within=40)
            sell = alpaca.open_orders("AAPL")[0]
            assert (sell["qty"], sell["side"]) == ("7", "sell")
            assert sell["client_order_id"] != other["client_order_id"]
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
