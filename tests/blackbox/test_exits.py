"""Exits that meet resistance: refused for a moment, accepted and not filled, in the way of an older order."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from tests.blackbox.alpaca import INTENT, Alpaca, Request, answer, no_shares
from tests.blackbox.bot import ALWAYS, Bot, until


def _is_canceled(order: dict[str, Any]) -> bool:
    return bool(order["status"] == "canceled")


@pytest.mark.parametrize("why", ["available: 0", "intent mismatch"])
async def test_refusal_right_after_fill_is_retried_within_second(why: str) -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)

        async def refuse(request: Request) -> web.Response:
            if why == "available: 0":
                return no_shares(request.body["qty"], 0)
            return web.json_response({"code": 42210000, "message": INTENT}, status=422)

        alpaca.on("POST", "/v2/orders", refuse, seconds=3)
        free_at = alpaca.now + 3
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        *refused, taken = alpaca.posted("AAPL", "sell")
        assert sell["qty"] == "40" and taken.when - free_at < 2.5
        assert 4 <= len(refused) <= 8  # at once, then after 0.25, 0.5, 1, 2 s
        gaps = [after.when - before.when for before, after in pairwise((*refused, taken))]
        assert all(gap >= pause for gap, pause in zip(gaps, (0.2, 0.4, 0.9, 1.8), strict=False))
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")


async def test_a_refusal_that_lasts_makes_no_storm() -> None:
    """After the quick tries it is tried less and less often, bars and checkups in between or not."""
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)

        async def refuse(request: Request) -> web.Response:
            return no_shares(request.body["qty"], 0)

        alpaca.on("POST", "/v2/orders", refuse, seconds=200)
        free_at = alpaca.now + 200
        await alpaca.fill(buy)
        async with alpaca.market(AAPL=50.0):
            await until(lambda: alpaca.posted("AAPL", "sell")[-1:] and alpaca.now > free_at, "the end of the block")
        tries = len(alpaca.posted("AAPL", "sell"))
        assert 6 <= tries <= 13
        await bot.order("AAPL", "sell")
        assert alpaca.posted("AAPL", "sell")[-1].when - free_at < 260


async def test_unfilled_market_exit_is_sent_anew_while_others_trade() -> None:
    """Accepted, at work, and passed by: looked at by id, and after 10, 20, 40 s cancelled and sent again."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "--stop-loss", "1%", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await bot.holds()
        async with alpaca.market(AAPL=49.0):
            for nth, (least, most) in enumerate(((8, 22), (17, 40), (35, 70)), start=2):
                exit_ = await bot.order("AAPL", "sell", nth)
                sent_at = next(r.when for r in alpaca.posted() if r.body["client_order_id"] == exit_["client_order_id"])
                assert exit_["type"] == "market"
                await until(partial(_is_canceled, exit_), "the cancel", within=20)
                cancel = next(r for r in alpaca.asked("DELETE") if exit_["id"] in r.path)
                assert least <= cancel.when - sent_at <= most
                looked = [r for r in alpaca.asked("GET", f"/v2/orders/{exit_['id']}") if r.when <= cancel.when]
                assert looked, "asked by id before it is cancelled"
            last = await bot.order("AAPL", "sell", nth=5)
            assert (last["type"], last["qty"]) == ("market", "40")
            await alpaca.fill(last, price="48.90")
            await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted("AAPL", "sell")) == 5


async def test_market_exit_that_fills_in_part_is_sent_anew_for_rest() -> None:
    async with Alpaca(at="15:55:05", speed=10) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL") as bot:
            first = await bot.order("AAPL", "sell")
            async with alpaca.market(AAPL=50.0):
                await alpaca.fill(first, 15, price="49.90")
                second = await bot.order("AAPL", "sell", nth=2)
            assert (first["status"], second["type"], second["qty"]) == ("canceled", "market", "25")
            await alpaca.fill(second, price="49.90")
            assert await bot.exits(within=60) == 0


async def test_a_market_exit_in_a_halted_stock_waits() -> None:
    """No print of its own symbol: others that trade say nothing about it."""
    async with Alpaca(at="15:55:05", speed=20) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL", "TSLA") as bot:
            exit_ = await bot.order("AAPL", "sell")
            async with alpaca.market(TSLA=50.0):
                await alpaca.reaches("15:58:30")
            assert exit_["status"] == "new" and len(alpaca.posted()) == 1
            await alpaca.fill(exit_, price="49.90")
            assert await bot.exits() == 0


async def test_a_market_exit_is_not_replaced_in_the_last_seconds() -> None:
    async with Alpaca(at="15:59:28", speed=5) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL") as bot, alpaca.market(AAPL=50.0):
            await bot.order("AAPL", "sell")
            assert await bot.exits() == 1
            assert "AAPL" in bot.last_line and "40 held" in bot.last_line
            for request in alpaca.posted():
                assert request.when < alpaca.minute("15:59:41")
            for request in alpaca.asked("DELETE"):
                assert not alpaca.minute("15:59:41") <= request.when < alpaca.minute("15:59:57")
            assert not alpaca.open_orders()


@pytest.mark.parametrize("beside", ["nothing", "shares", "a sell", "nothing, and it is listed late"])
async def test_older_partly_filled_buy_is_cancelled_and_all_is_sold(beside: str) -> None:
    held = 6 if beside.startswith("nothing") else 10
    async with Alpaca(at="10:41:02", speed=10) as alpaca:
        alpaca.hold("AAPL", held, "100")
        if beside == "a sell":
            alpaca.place("AAPL", "sell", 4, "103.00", client_order_id="scalp-AAPL-1930000000000-2")
        old = alpaca.place("AAPL", "buy", 19, "101.00", client_order_id="scalp-AAPL-1930000000000-3", filled_qty="6",
                           filled_avg_price="100", status="partially_filled",
                           created_at="2031-03-12T14:31:00Z", submitted_at="2031-03-12T14:31:00Z")  # fmt: skip
        if beside.endswith("late"):
            appears_at = alpaca.now + 5
            alpaca.shown_orders = lambda rows: [r for r in rows if r["side"] == "sell" or alpaca.now > appears_at]
        started_at = alpaca.now
        async with Bot(alpaca, "AAPL") as bot:
            sell = await until(
                lambda: next((o for o in alpaca.open_orders() if (o["side"], o["qty"]) == ("sell", str(held))), None),
                "all is offered",
            )
            assert old["status"] == "canceled"
            cancel = next(r for r in alpaca.asked("DELETE") if old["id"] in r.path)
            assert cancel.when - started_at < 50 and alpaca.posted()[-1].when - started_at < 80
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")


async def test_a_young_buy_of_the_run_before_has_its_two_minutes() -> None:
    async with Alpaca(at="10:41:02", speed=20) as alpaca:
        alpaca.hold("AAPL", 6, "100")
        young = alpaca.place("AAPL", "buy", 19, "99.00", client_order_id="scalp-AAPL-1930000000000-1", filled_qty="6",
                             filled_avg_price="100", status="partially_filled",
                             created_at="2031-03-12T14:40:32Z", submitted_at="2031-03-12T14:40:32Z")  # fmt: skip
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            sell = await bot.order("AAPL", "sell")
            cancel = alpaca.asked("DELETE")[0]
            assert 115 <= cancel.when - alpaca.minute("10:40:32") < 175
            assert sell["qty"] == "6" and young["status"] == "canceled"


async def test_a_cancel_that_errs_is_repeated_before_the_exit_goes() -> None:
    """A stop loss: the sell's DELETE meets a 500, a refusal and a lost answer before one gets through."""
    async with Alpaca(speed=5) as alpaca, Bot(alpaca, "--stop-loss", "1%", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        answers: list[dict[str, Any]] = [{"code": 50010000, "message": "internal server error occurred"},
                                         {"code": 42210000, "message": "order is not cancelable"}]  # fmt: skip
        alpaca.on("DELETE", "/v2/orders", answer(500, answers[0]), times=1)
        alpaca.on("DELETE", "/v2/orders", answer(422, answers[1]), times=1)
        struck_at = alpaca.now
        await alpaca.trade("AAPL", 49.0)
        exit_ = await bot.order("AAPL", "sell", nth=2)
        assert exit_["type"] == "market" and sell["status"] == "canceled"
        assert len(alpaca.asked("DELETE")) == 3 and alpaca.posted()[-1].when - struck_at < 40
        await alpaca.fill(exit_, price="48.90")
        await bot.says("SELL_SUBMITTED -> TO_BUY")
