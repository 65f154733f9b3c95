"""Stopped, or at the end of the day, in the middle of something: it is seen through, and the last line is true."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, Answer, Request, answer, never_arrives, no_shares
from tests.blackbox.bot import ALWAYS, Bot, until

INTERNAL = answer(500, {"code": 50010000, "message": "internal server error occurred"})
NOT_NOW = answer(422, {"code": 42210000, "message": "order is not cancelable"})

APART = 0.5  # seconds by which the bot's idea of the exchange's time may be off


@pytest.mark.parametrize("on_exit", ["keep", "cancel-buys"])
@pytest.mark.parametrize("reason", ["stop loss", "end of the day"])
async def test_stopped_while_the_sell_is_cancelled_for_a_market_exit(reason: str, on_exit: str) -> None:
    async with Alpaca(at="15:54:52" if reason == "end of the day" else "10:31:02") as alpaca:
        alpaca.hold("AAPL", 40, "50")
        alpaca.obeys_cancels = False
        async with Bot(alpaca, "--stop-loss", "1%", "--on-exit", on_exit, "AAPL") as bot:
            sell = await bot.order("AAPL", "sell")
            await bot.trades()
            if reason == "stop loss":
                await alpaca.trade("AAPL", 49.0)
            await until(lambda: sell["status"] == "pending_cancel", "the cancel")
            bot.process.send_signal(signal.SIGTERM)
            await alpaca.passes(0.8)
            assert bot.process.returncode is None, "it left with an exit under way"
            await alpaca.fill(sell, 10)
            await alpaca.end(sell)
            exit_ = await bot.order("AAPL", "sell", nth=2)
            assert (exit_["type"], exit_["qty"]) == ("market", "30")
            assert await bot.exits(within=40) == 143
            assert "AAPL" in bot.last_line and "30 held" in bot.last_line and "sell 30 market" in bot.last_line


async def test_stopped_while_a_cancel_is_never_confirmed() -> None:
    """It does not wait for ever, and it does not say that a sell works as if nothing was asked of it."""
    async with Alpaca(speed=2) as alpaca, Bot(alpaca, "--stop-loss", "1%", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        alpaca.obeys_cancels = False
        sell = await bot.holds()
        await alpaca.trade("AAPL", 49.0)
        await until(lambda: sell["status"] == "pending_cancel", "the cancel")
        bot.process.send_signal(signal.SIGTERM)
        assert await bot.exits(within=45) == 143
        assert "AAPL" in bot.last_line and "40 held" in bot.last_line
        assert len(alpaca.posted()) == 2


@pytest.mark.parametrize(
    "trouble", [INTERNAL, NOT_NOW, answer(504, HTML), never_arrives], ids=["500", "422", "504", "broken"]
)
async def test_a_cancel_that_errs_while_stopping_is_asked_again(trouble: Answer) -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "--on-exit", "cancel-buys", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.on("DELETE", "/v2/orders", trouble, times=1)
        bot.process.send_signal(signal.SIGINT)
        assert await bot.exits(within=15) == 130
        assert buy["status"] == "canceled" and len(alpaca.asked("DELETE")) == 2
        assert "AAPL" not in bot.last_line


async def test_cancel_that_is_lost_and_fill_that_won_while_stopping() -> None:
    """The DELETE's answer is lost and the buy fills in the same moment: its shares are offered before it leaves."""
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)

        async def fill_first(request: Request) -> web.Response:
            await alpaca.fill(buy, tell=False)
            return web.Response(status=504, text=HTML)

        alpaca.on("DELETE", "/v2/orders", fill_first, times=1)
        bot.process.send_signal(signal.SIGINT)
        sell = await bot.order("AAPL", "sell")
        assert await bot.exits(within=15) == 130
        assert (sell["qty"], sell["status"]) == ("40", "new") and "sell 40 limit 50" in bot.last_line


async def test_stopped_while_the_exit_is_refused_for_a_moment() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)

        async def refuse(request: Request) -> web.Response:
            return no_shares(request.body["qty"], 0)

        alpaca.on("POST", "/v2/orders", refuse, seconds=1.5)
        await alpaca.fill(buy)
        await until(lambda: alpaca.posted("AAPL", "sell"), "the first try")
        bot.process.send_signal(signal.SIGTERM)
        assert await bot.exits(within=20) == 143
        assert [o["status"] for o in alpaca.orders.values() if o["side"] == "sell"] == ["new"]
        assert "40 held" in bot.last_line and "sell 40 limit 50" in bot.last_line


@pytest.mark.parametrize("did", ["arrive", "not arrive"])
async def test_stopped_while_the_exit_is_of_unknown_outcome(did: str) -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        lost = answer(504, HTML)
        alpaca.on("POST", "/v2/orders", alpaca.taking(lost) if did == "arrive" else lost, times=1)
        alpaca.on("GET", "/v2/orders:by_client", INTERNAL)
        alpaca.tells_updates = False
        await alpaca.tell_late(await alpaca.fill(buy))
        await until(lambda: alpaca.posted("AAPL", "sell"), "the first try")
        bot.process.send_signal(signal.SIGTERM)
        assert await bot.exits(within=20) == 143
        sells = [o for o in alpaca.orders.values() if o["side"] == "sell"]
        assert [o["status"] for o in sells] == ["new"]
        assert "40 held" in bot.last_line and "sell 40 limit 50" in bot.last_line
        assert "unknown" not in bot.last_line


async def test_flatten_on_exit_sees_through_what_errs() -> None:
    """--on-exit flatten: the sell's DELETE and the first market sell each meet one error."""
    async with Alpaca(speed=2) as alpaca, Bot(alpaca, "--on-exit", "flatten", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await bot.holds()
        alpaca.on("DELETE", "/v2/orders", NOT_NOW, times=1)
        alpaca.on("POST", "/v2/orders", answer(504, HTML), times=1)
        alpaca.shown_positions = lambda rows: []  # and the listing says that there is nothing to do
        bot.process.send_signal(signal.SIGTERM)
        exit_ = await bot.order("AAPL", "sell", nth=2)
        assert (exit_["type"], exit_["qty"]) == ("market", "40")
        await alpaca.fill(exit_, price="49.90")
        assert await bot.exits(within=40) == 143
        assert "AAPL" not in bot.last_line


@pytest.mark.parametrize("path", ["/v2/positions$", "/v2/orders$"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_last_look_that_errs_is_taken_again(path: str, times: int) -> None:
    """Bought by hand in the last second, seen by nobody before the close; then a listing errs."""
    async with Alpaca(at="15:58:02", speed=10) as alpaca:
        left = times
        failed: list[Request] = []

        async def late(request: Request) -> web.Response | None:
            return web.json_response([]) if request.when < alpaca.close - APART else None

        async def err(request: Request) -> web.Response | None:
            if request.when < alpaca.close - APART or len(failed) >= left:
                return None
            failed.append(request)
            return web.json_response({"code": 50010000, "message": "internal"}, status=500)

        async def both(request: Request) -> web.Response | None:
            return await late(request) or (await err(request) if path == "/v2/positions$" else None)

        alpaca.on("GET", "/v2/positions$", both)
        alpaca.on("GET", "/v2/account/activities", late)
        if path == "/v2/orders$":
            alpaca.on("GET", path, err)
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.reaches("15:59:59")
            await alpaca.fill(alpaca.place("AAPL", "buy", 5, "100.00"), tell=False)
            assert await bot.exits(within=40) == 1
            assert len(failed) == times and "AAPL" in bot.last_line and "5 held" in bot.last_line


@pytest.mark.parametrize("path", ["/v2/positions$", "/v2/orders$"])
async def test_a_last_look_that_is_never_answered_is_no_clean_end(path: str) -> None:
    async with Alpaca(at="15:58:32", speed=10) as alpaca:

        async def err(request: Request) -> web.Response | None:
            return web.Response(status=503, text=HTML) if request.when >= alpaca.close - APART else None

        alpaca.on("GET", path, err)
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            assert await bot.exits(within=60) == 1
            assert len([r for r in alpaca.asked("GET", path) if r.when >= alpaca.close - APART]) >= 3


async def test_a_parked_order_is_cancelled_though_its_delete_errs() -> None:
    async with Alpaca(at="15:58:32", speed=10) as alpaca, Bot(alpaca, "AAPL") as bot:
        parked: list[dict[str, Any]] = []

        async def park(request: Request) -> None:
            if request.when >= alpaca.close and not parked:
                parked.append(alpaca.place("AAPL", "buy", 5, "90.00"))

        await bot.trades()
        alpaca.on("GET", "/v2/orders", park)
        alpaca.on("DELETE", "/v2/orders", INTERNAL, times=1)
        assert await bot.exits(within=60) == 0
        assert [order["status"] for order in parked] == ["canceled"]


async def test_exit_code_0_only_if_flat_by_the_executions() -> None:
    """The market exit is filled in part, the rest expires; every listing after the close is empty."""
    async with Alpaca(at="15:58:32", speed=10) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL") as bot:
            exit_ = await bot.order("AAPL", "sell")
            await alpaca.fill(exit_, 15, price="49.90")
            await alpaca.reaches("15:59:57")
            await alpaca.end(exit_, "expired")
            alpaca.shown_positions = alpaca.shown_orders = lambda rows: []
            assert await bot.exits(within=60) == 1
            assert "AAPL" in bot.last_line and "25 held" in bot.last_line
