"""The clock alone neither ends a session nor begins one: the calendar, the bars and the trades are its witnesses."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, Answer, Request, answer, never_arrives
from tests.blackbox.bot import ALWAYS, Bot, until
from tests.blackbox.sockets import utc

CLOSED = {"is_open": False, "next_open": "2031-03-13T09:30:00-04:00", "next_close": "2031-03-13T16:00:00-04:00"}


@pytest.mark.parametrize("lasts", [40, 150], ids=["twice", "minutes"])
async def test_a_clock_that_says_closed_while_bars_go_on(lasts: float) -> None:
    async with Alpaca(at="10:15:02", speed=10) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        async with alpaca.market(AAPL=49.5):
            await alpaca.reaches("10:16:05")
            alpaca.clock_says = CLOSED
            await until(lambda: len([r for r in alpaca.asked("GET", "/v2/clock") if r.when > alpaca.minute("10:16:05")])
                        >= 2, "two looks at the clock")  # fmt: skip
            await alpaca.passes(lasts)
            alpaca.clock_says = {}
            assert sell["status"] == "new" and not alpaca.asked("DELETE") and bot.process.returncode is None
            assert [o["symbol"] for o in alpaca.orders.values() if o["type"] == "market"] == []
        await alpaca.passes(65)
        await alpaca.fresh_bars(AAPL=49.5, TSLA=60.0)
        await bot.order("TSLA", "buy")
        assert sell["status"] == "new" and len(alpaca.posted("AAPL")) == 2


async def test_a_closed_clock_in_silence_stops_all_and_ends_nothing() -> None:
    """No bar and no print for minutes: it may be true. Nothing is sent or cancelled, it is said, the day may go on."""
    async with Alpaca(at="10:15:02", speed=20) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0, TSLA=60.0)
        await alpaca.fill(await bot.order("AAPL", "buy"))
        sell = await bot.order("AAPL", "sell")
        await alpaca.end(await bot.order("TSLA", "buy"))
        await alpaca.passes(20)
        alpaca.clock_says = CLOSED
        said_at, before = alpaca.now, len(bot.text)
        await alpaca.passes(260)
        assert bot.process.returncode is None and sell["status"] == "new"
        assert not [r for r in alpaca.requests if r.when > said_at and r.method != "GET"]
        assert "closed" in bot.text[before:].lower()
        alpaca.clock_says = {}
        async with alpaca.market(AAPL=49.5, TSLA=60.0):
            await bot.order("TSLA", "buy", nth=2)
        assert sell["status"] == "new"


async def test_a_market_that_closed_early_sends_nothing_more() -> None:
    async with Alpaca(at="15:51:02", speed=15) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        alpaca.clock_says = CLOSED
        said_at = alpaca.now
        assert await bot.exits(within=75) == 1
        assert alpaca.now >= alpaca.close - 1
        assert not [r for r in alpaca.posted() if r.when > said_at]
        assert all(r.when > alpaca.minute("15:59:50") for r in alpaca.asked("DELETE"))
        assert "AAPL" in bot.last_line and "40 held" in bot.last_line
        assert sell["status"] in ("new", "canceled")


@pytest.mark.parametrize("close", ["10:35", "17:00"], ids=["earlier", "later"])
async def test_a_close_that_only_the_clock_moves(close: str) -> None:
    """A clock that tells of another close than the calendar: the calendar's stands, and the day ends by it."""
    at = "10:29:02" if close == "10:35" else "15:53:32"
    async with Alpaca(at=at, speed=15) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        alpaca.clock_says = {"next_close": f"2031-03-12T{close}:00-04:00", "is_open": True}
        sell = await bot.holds()
        if close == "10:35":
            async with alpaca.market(AAPL=49.5):
                await alpaca.reaches("10:35:40")
            assert sell["status"] == "new" and bot.process.returncode is None and not alpaca.asked("DELETE")
        else:
            exit_ = await bot.order("AAPL", "sell", nth=2)
            assert exit_["type"] == "market" and alpaca.posted()[-1].when < alpaca.minute("15:56")
            await alpaca.fill(exit_, price="49.90")
            assert await bot.exits(within=45) == 0
            assert not [r for r in alpaca.requests if r.when > alpaca.minute("16:02")]


async def test_time_that_leaps_ahead_while_bars_of_true_minute_come() -> None:
    """For a while the clock tells a time near the close; prints and bars tell that of before."""
    async with Alpaca(at="10:29:02", speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        async with alpaca.market(AAPL=49.5):
            await alpaca.passes(20)
            ahead = alpaca.minute("15:57") - alpaca.now
            until_then = alpaca.now + 70
            while alpaca.now < until_then:
                alpaca.clock_says = {"timestamp": utc(alpaca.now + ahead)}
                await alpaca.passes(0.5)
            alpaca.clock_says = {}
            await alpaca.passes(40)
        assert sell["status"] == "new" and len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")
        await alpaca.fill(sell)
        await alpaca.passes(35)
        await alpaca.fresh_bars(AAPL=50.0)
        await bot.order("AAPL", "buy", nth=2)


async def test_a_time_that_steps_back_over_the_mark() -> None:
    """At 15:55 the sell is cancelled; before that is confirmed the clock says 15:54:59. The exit is a market order."""
    async with Alpaca(at="15:54:35", speed=3) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        alpaca.obeys_cancels = False
        await alpaca.reaches("15:54:58")

        async def step_back(request: Request) -> web.Response:
            alpaca.clock_says = {"timestamp": utc(alpaca.now - 0.9)}
            return alpaca.ordinary(request)

        alpaca.on("GET", "/v2/clock", step_back)
        await until(lambda: sell["status"] == "pending_cancel", "the cancel")
        asked_at = alpaca.now
        await until(lambda: alpaca.now > asked_at + 0.3)
        await alpaca.end(sell)
        exit_ = await bot.order("AAPL", "sell", nth=2)
        assert (exit_["type"], exit_["qty"]) == ("market", "40")


async def test_a_half_day_that_the_clock_does_not_know() -> None:
    async with Alpaca(at="12:53:32", speed=15) as alpaca:
        alpaca.calendar_close = alpaca.minute("13:00")
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await bot.holds()
            exit_ = await bot.order("AAPL", "sell", nth=2)
            assert exit_["type"] == "market"
            assert alpaca.minute("12:55") - 1 < alpaca.posted()[-1].when < alpaca.minute("12:56")
            await alpaca.fill(exit_, price="49.90")
            assert await bot.exits(within=45) == 0


async def test_clock_that_says_open_before_calendar_does_buys_nothing() -> None:
    async with Alpaca(at="08:45:02", speed=20) as alpaca:
        alpaca.clock_says = {"is_open": True, "next_close": "2031-03-12T16:00:00-04:00"}
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await until(lambda: alpaca.requests, "the first question")
            async with alpaca.market(AAPL=50.0):
                await alpaca.reaches("08:48:30")
            assert not alpaca.posted("AAPL", "buy")
            if bot.process.returncode is not None:
                assert bot.process.returncode == 0


@pytest.mark.parametrize("outage", [answer(503, HTML), never_arrives, answer(401, HTML)], ids=["503", "broken", "401"])
async def test_waiting_for_the_open_while_the_clock_is_away(outage: Answer) -> None:
    """Asked in the night, the clock is away for two minutes around the open: the day is traded all the same."""
    async with Alpaca(at="09:28:02", speed=20) as alpaca, Bot(alpaca, "--wait", "AAPL", signal=ALWAYS) as bot:
        await bot.says("waiting until")
        alpaca.on("GET", "/v2/clock", outage, seconds=150)
        await alpaca.reaches("09:30:50")
        assert bot.process.returncode is None
        async with alpaca.market(AAPL=50.0):
            await bot.order("AAPL", "buy")
        assert alpaca.posted()[0].when < alpaca.minute("09:35")


async def test_waiting_for_the_open_while_all_is_away() -> None:
    async with Alpaca(at="09:29:02", speed=20) as alpaca, Bot(alpaca, "--wait", "AAPL", signal=ALWAYS) as bot:
        await bot.says("waiting until")
        for path in ("/v2/account", "/v2/calendar", "/v2/assets"):
            alpaca.on("GET", path, answer(500, {"code": 50010000, "message": "internal"}), seconds=100)
        async with alpaca.market(AAPL=50.0):
            await bot.order("AAPL", "buy")
        assert alpaca.posted()[0].when < alpaca.minute("09:35")
