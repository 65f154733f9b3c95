"""Minute bars from Polygon: `POLYGON_API_KEY` is all it takes."""

from __future__ import annotations

import json

from aiohttp import web

from tests.blackbox.alpaca import Alpaca, Request, answer
from tests.blackbox.bot import ALWAYS, Bot, until
from tests.blackbox.sockets import POLYGON_KEY


async def test_a_whole_trade_on_polygon_bars() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL", "TSLA")
        alpaca.add_history("AAPL", alpaca.minute("08:00"), 500.0)  # before the session: does not count
        async with Bot(alpaca, "AAPL", "TSLA", environment=alpaca.polygon) as bot:
            await bot.trades()
            assert "2 symbols, 20 to 20 minutes each" in bot.text
            await alpaca.polygon_bar("TSLA", "08:01", 500.0)
            await alpaca.polygon_bar("AAPL", "10:30", 101.0)
            buy = await bot.order("AAPL", "buy")
            assert (buy["limit_price"], buy["qty"]) == ("101.00", "19")
            await alpaca.polygon_bar("AAPL", "10:30", 101.5)  # the minute again
            await bot.says("bar 101.5")
            await alpaca.fill(buy)
            assert (await bot.order("AAPL", "sell"))["limit_price"] == "101.50"
            assert len(alpaca.posted()) == 2

            # The key goes in a header, and only where it belongs; so do Alpaca's.
            history = alpaca.asked("GET", "/v2/aggs")
            assert len(history) == 2
            polygons = history + alpaca.asked("GET", "/v2/last/trade")
            assert all(r.headers["Authorization"] == f"Bearer {POLYGON_KEY}" for r in polygons)
            assert all("APCA-API-SECRET-KEY" not in r.headers for r in polygons)
            others = [r for r in alpaca.requests if r not in polygons]
            assert all(POLYGON_KEY not in json.dumps(r.headers) for r in others)
            assert [m["params"] for m in alpaca.logins if m["stream"] == "/stocks"] == [POLYGON_KEY]


async def test_a_symbol_trades_once_its_history_is_in() -> None:
    async with Alpaca() as alpaca:
        hold = True

        async def late(request: Request) -> web.Response | None:
            await until(lambda: not hold, "the story goes on")
            return None

        alpaca.on("GET", "/v2/aggs/ticker/TSLA", late)
        async with Bot(alpaca, "AAPL", "TSLA", environment=alpaca.polygon, signal=ALWAYS) as bot:
            await bot.says("buying is on")
            await until(lambda: any(r.status for r in alpaca.asked("GET", "/v2/aggs/ticker/AAPL")), "AAPL's history")
            await until(lambda: alpaca.asked("GET", "/v2/aggs/ticker/TSLA"), "a question for TSLA's")
            await alpaca.polygon_bar("AAPL", "10:30", 50.0)
            await alpaca.polygon_bar("TSLA", "10:30", 50.0)
            await bot.order("AAPL", "buy")
            await bot.says("TSLA signal, but no buy")
            hold = False
            await bot.says("bars of today")
            assert not alpaca.posted("TSLA")


async def test_a_plan_without_history_goes_on_with_the_bars_that_come() -> None:
    async with Alpaca() as alpaca:
        no = {"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."}
        alpaca.on("GET", "/v2/aggs/ticker/", answer(403, no))
        async with Bot(alpaca, "AAPL", "TSLA", environment=alpaca.polygon, signal=ALWAYS) as bot:
            await bot.says("today's bars so far cannot be had (403: no history of AAPL, TSLA: You are not entitled")
            await alpaca.polygon_bar("AAPL", "10:30", 50.0)
            await bot.order("AAPL", "buy")


async def test_polygon_refuses_the_key_on_the_stream_alone() -> None:
    """Its REST interface takes the same key: it is tried again, and exits need no bars."""
    async with Alpaca(speed=4) as alpaca:
        alpaca.polygon_refuses = True
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", environment=alpaca.polygon, signal=ALWAYS) as bot:
            await bot.says("polygon: Polygon refused the key: check POLYGON_API_KEY; next try in", times=2)
            await bot.order("TSLA", "sell")
            assert "buying is on" not in bot.text
            alpaca.polygon_refuses = False
            await bot.trades()
            await alpaca.polygon_bar("AAPL", "10:30", 50.0)
            await bot.order("AAPL", "buy")


async def test_polygon_knows_the_key_nowhere() -> None:
    async with Alpaca() as alpaca:
        wrong = {"POLYGON_API_KEY": "another-key"}
        async with Bot(alpaca, "AAPL", environment=alpaca.polygon | wrong) as bot:
            assert await bot.exits(within=15) == 2
            assert len(bot.errors) == 1 and "POLYGON_API_KEY" in bot.errors[0]
            # Once before it is known what is held, if that takes so long, and once after it.
            assert len([m for m in alpaca.logins if m["stream"] == "/stocks"]) <= 2


async def test_a_plan_without_minute_bars() -> None:
    async with Alpaca() as alpaca:
        alpaca.feed_errors = {"AM": 1, "T": 1}
        async with Bot(alpaca, "AAPL", environment=alpaca.polygon) as bot:
            assert await bot.exits(within=20) == 2
            assert len(bot.errors) == 1 and "plan" in bot.errors[0]


async def test_a_plan_without_minute_bars_while_shares_are_held() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.feed_errors = {"AM": 1, "T": 1}
        alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL", environment=alpaca.polygon) as bot:
            await bot.order("AAPL", "sell")
            await bot.says("this Polygon plan has no real-time minute bars", times=3)
            assert bot.process.returncode is None and not bot.errors


async def test_a_plan_without_trades_goes_on_with_bars() -> None:
    async with Alpaca() as alpaca:
        alpaca.feed_errors = {"T": 1}
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL", environment=alpaca.polygon) as bot:
            await bot.trades()
            await alpaca.polygon_bar("AAPL", "10:30", 101.0)
            # The last trade is not in that plan either: the close of the bar serves.
            assert (await bot.order("AAPL", "buy"))["limit_price"] == "101.00"
            assert alpaca.asked("GET", "/v2/last/trade/AAPL")
