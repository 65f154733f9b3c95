"""The end of the session: the clock says when, and what is left then is told."""

from __future__ import annotations

from tests.blackbox.alpaca import Alpaca, answer
from tests.blackbox.bot import ALWAYS, Bot, until
from tests.blackbox.sockets import utc


async def test_a_half_day_ends_with_everything_sold() -> None:
    async with Alpaca(at="12:54:20", close="13:00", speed=50) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        sell = alpaca.place("AAPL", "sell", 7, "103.00")
        buy = alpaca.place("TSLA", "buy", 3, "50.00")
        alpaca.obeys_cancels = False
        async with Bot(alpaca, "AAPL", "TSLA", "NVDA", signal=ALWAYS) as bot:
            await bot.trades()
            cancels = await until(lambda: c if len(c := alpaca.asked("DELETE")) >= 2 else None, "the cancels")
            for cancel in cancels[:2]:
                assert -1 <= cancel.when - alpaca.minute("12:55") < 60
            assert {c.path.rpartition("/")[2] for c in cancels[:2]} == {sell["id"], buy["id"]}

            await alpaca.bar("NVDA", "12:54", 100.0)  # a signal, but the day is over
            await bot.says("bar 100.0")
            assert not alpaca.posted()  # nothing goes before the cancels are confirmed
            await alpaca.fill(buy, 2)
            await alpaca.end(buy)
            await alpaca.end(sell)
            for symbol, shares in (("AAPL", "7"), ("TSLA", "2")):
                exit_ = await bot.order(symbol, "sell")
                assert (exit_["type"], exit_["qty"], exit_["limit_price"]) == ("market", shares, None)
                await alpaca.fill(exit_, price="99.50")

            assert await bot.exits() == 0
            assert alpaca.now >= alpaca.close
            assert len(alpaca.posted()) == 2 and not alpaca.open_orders()
            assert "the market has closed" in bot.text


async def test_what_cannot_be_sold_is_told_in_the_last_line() -> None:
    async with Alpaca(at="15:58:40", speed=20) as alpaca:
        alpaca.hold("AAPL", 7, "100.5")
        alpaca.hold("TSLA", 3, "50")
        alpaca.on("POST", "AAPL", answer(403, {"code": 40310000, "message": "halted"}))
        async with Bot(alpaca, "AAPL", "TSLA") as bot:
            await alpaca.fill(await bot.order("TSLA", "sell"))
            assert await bot.exits() == 1
            assert "AAPL" in bot.last_line and "7" in bot.last_line and "100.5" in bot.last_line
            tries = [r.when for r in alpaca.posted("AAPL")]
            # After 2, 4, 8, 15, 15... s, and never in the last two seconds, when it would be parked for tomorrow.
            assert 4 <= len(tries) <= 9 and tries[-1] <= alpaca.close - 1
            assert all(r.body["type"] == "market" for r in alpaca.posted())


async def test_an_unfilled_market_exit_is_cancelled_before_the_close() -> None:
    async with Alpaca(at="15:59:00", speed=10) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL") as bot:
            exit_ = await bot.order("AAPL", "sell")
            assert await bot.exits() == 1
            assert exit_["status"] == "canceled" and len(alpaca.posted()) == 1
            assert alpaca.asked("DELETE")[0].when < alpaca.close
            assert "AAPL: 7 held" in bot.last_line


async def test_a_closed_market_ends_the_run_at_once() -> None:
    async with Alpaca(at="20:15") as alpaca, Bot(alpaca, "AAPL") as bot:
        assert await bot.exits() == 0
        assert "Thursday 2031-03-13 09:30" in bot.text
        assert {r.path for r in alpaca.requests} == {"/v2/clock"}


async def test_waiting_for_the_open() -> None:
    async with Alpaca(at="09:29:30", speed=20) as alpaca, Bot(alpaca, "--wait", "AAPL", signal=ALWAYS) as bot:
        await bot.says("waiting until")
        assert {r.path for r in alpaca.requests} == {"/v2/clock"}
        await bot.trades()
        assert alpaca.now >= alpaca.minute("09:30")
        await alpaca.bar("AAPL", "09:30", 50.0)
        await bot.order("AAPL", "buy")


async def test_clock_that_leaps_ahead_is_followed_by_next_checkup() -> None:
    async with Alpaca(at="10:31:20", speed=3) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.order("AAPL", "sell")
            alpaca.leap("15:56:20")
            exit_ = await bot.order("AAPL", "sell", nth=2)
            assert exit_["type"] == "market" and alpaca.posted()[-1].when < alpaca.minute("15:56:45")
            await alpaca.fill(exit_, price="99.50")
            alpaca.leap("16:00:01")
            assert await bot.exits(within=10) == 0


async def test_bars_may_run_ahead_of_the_time_that_was_asked_for_last() -> None:
    async with Alpaca(at="10:31:02") as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.bar("AAPL", "12:00", 50.0)  # wrong: it is 10:31
        await bot.says("AAPL: a bar of 12:00 came before its time: ignored")
        await alpaca.bar("AAPL", "10:30", 51.0)
        assert (await bot.order("AAPL", "buy"))["limit_price"] == "51.00"
        alpaca.leap("14:00:01")
        await alpaca.bar("TSLA", "13:59", 50.0)  # right: it is 14:00, which the bot does not know yet
        await bot.order("TSLA", "buy")


async def test_a_clock_that_stands_still_stops_no_timer() -> None:
    async with Alpaca(at="10:31", speed=40) as alpaca:
        clock = {"timestamp": utc(alpaca.now), "is_open": True, "next_open": utc(alpaca.now + 82740),
                 "next_close": utc(alpaca.close)}  # fmt: skip
        alpaca.on("GET", "/v2/clock", answer(200, clock))
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)
            buy = await bot.order("AAPL", "buy")
            await until(lambda: buy["status"] == "canceled", "the cancel after two minutes")
            await alpaca.bar("AAPL", "10:55", 60.0)  # the bars go on without it
            assert (await bot.order("AAPL", "buy", nth=2))["limit_price"] == "60.00"


async def test_a_close_that_moves_is_followed() -> None:
    async with Alpaca(at="10:31", speed=20) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL") as bot:
            limit = await bot.order("AAPL", "sell")
            assert limit["type"] == "limit"
            alpaca.close = alpaca.now + 290
            exit_ = await bot.order("AAPL", "sell", nth=2)
            assert exit_["type"] == "market" and limit["status"] == "canceled"
