"""Streams that refuse, break, or keep silent: no buys while blind, and nothing is lost."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.blackbox.alpaca import Alpaca, Request, answer, slowly
from tests.blackbox.bot import ALWAYS, Bot, until


async def test_order_stream_refuses_login_while_rest_takes_keys() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.login_answer = "unauthorized"
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await until(lambda: order_logins(alpaca) >= 3, "another try")
            await bot.order("TSLA", "sell")  # exits need no updates
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.says("the order-update stream refused the keys: check APCA_API_KEY_ID", times=3)
            assert "buying is on" not in bot.text and not alpaca.posted("AAPL")
            alpaca.login_answer = "authorized"
            await bot.trades()
            await alpaca.bar("AAPL", "10:31", 50.0)
            await bot.order("AAPL", "buy")


@pytest.mark.parametrize("holds", [False, True])
async def test_everybody_refuses_the_keys_from_the_start_on(holds: bool) -> None:
    """What is held is known from before they were refused, and is not left."""
    async with Alpaca(speed=4) as alpaca:
        alpaca.login_answer = "unauthorized"
        alpaca.login_delay = 1.0
        if holds:
            alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL") as bot:
            await until(lambda: any(r.status for r in alpaca.asked("GET", "/v2/positions")), "the first listing")
            if holds:
                await bot.order("AAPL", "sell")
            for path in ("/v2/clock", "/v2/account"):
                alpaca.on("GET", path, answer(401, {"message": "unauthorized."}))
            if holds:
                await until(lambda: order_logins(alpaca) >= 3, "another try")
                assert bot.process.returncode is None and not bot.errors
            else:
                assert await bot.exits(within=15) == 2
                assert len(bot.errors) == 1 and "APCA_API_KEY_ID" in bot.errors[0]


@pytest.mark.parametrize("where", ["login", "bars"])
async def test_a_login_that_is_refused_later_ends_nothing(where: str) -> None:
    """For a minute in the middle of the session; what is held is sold meanwhile."""
    code = {"login": 402, "bars": 409}[where]
    async with Alpaca(speed=8) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.bar("AAPL", "10:30", 50.0)
        buy = await bot.order("AAPL", "buy")
        alpaca.login_answer, alpaca.feed_errors[where] = "unauthorized", code
        await alpaca.drop_feed()
        await alpaca.drop_updates()
        refused_at = alpaca.now
        await until(lambda: alpaca.now > refused_at + 60)
        assert order_logins(alpaca) >= 6
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        alpaca.login_answer = "authorized"
        alpaca.feed_errors.clear()
        await bot.says("buying is on", times=2)
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert not bot.errors


async def test_the_data_stream_refuses_the_keys_while_rest_takes_them() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.feed_errors["login"] = 402
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.says("the data stream refused the keys: check APCA_API_KEY_ID", times=2)
            alpaca.feed_errors.clear()
            await bot.trades()


@pytest.mark.parametrize("holds", [False, True])
async def test_plan_without_bars_ends_run_unless_shares_are_held(holds: bool) -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.feed_errors["bars"] = 409
        if holds:
            alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL") as bot:
            if holds:
                await bot.order("AAPL", "sell")
                await bot.says("this account's data plan has no minute bars", times=3)
                assert bot.process.returncode is None and not bot.errors
            else:
                assert await bot.exits(within=15) == 2
                assert len(bot.errors) == 1 and "data plan" in bot.errors[0]


@pytest.mark.parametrize(("where", "code"), [("login", 406), ("bars", 405)])
async def test_the_data_stream_refuses_for_now(where: str, code: int) -> None:
    """Somebody else holds the connection, or the symbols: no bars, no trading, and it is tried again."""
    async with Alpaca(speed=4) as alpaca:
        alpaca.feed_errors[where] = code
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await until(lambda: len([m for m in alpaca.logins if m["stream"] == "/v2/iex"]) >= 2, "another try")
            await bot.order("TSLA", "sell")  # exits need no bars
            assert str(code) in bot.text and "buying is on" not in bot.text
            alpaca.feed_errors.clear()
            await bot.trades()
            await alpaca.bar("AAPL", "10:31", 50.0)
            await bot.order("AAPL", "buy")


async def test_without_a_trades_channel_a_buy_asks_for_the_last_trade() -> None:
    async with Alpaca() as alpaca:
        alpaca.feed_errors["trades"] = 405
        alpaca.latest["AAPL"] = 101.579
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            assert "going on with bars" in bot.text
            await alpaca.bar("AAPL", "10:30", 101.0)
            buy = await bot.order("AAPL", "buy")
            assert buy["limit_price"] == "101.57"
            await alpaca.fill(buy)
            await alpaca.fill(await bot.order("AAPL", "sell"))
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.asked("GET", "/v2/stocks/AAPL/trades/latest")) == 1


def order_logins(alpaca: Alpaca) -> int:
    return len([m for m in alpaca.logins if m["stream"].startswith("/stream")])


async def test_a_fill_while_the_order_stream_is_away() -> None:
    async with Alpaca(speed=4) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.bar("AAPL", "10:30", 50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.refuses_updates = 1  # the first try meets the old connection
        await alpaca.drop_updates()
        await bot.says("closed by the server")
        await alpaca.fill(buy)  # told to nobody
        await alpaca.bar("TSLA", "10:30", 50.0)
        await bot.says("signal, but no buy")
        sell = await bot.order("AAPL", "sell")
        assert sell["qty"] == buy["qty"]
        await bot.says("buying is on", times=2)
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert not alpaca.posted("TSLA") and len(alpaca.posted()) == 2
        # What happened while it was away is no reason to doubt the new connection.
        reconnected_at = alpaca.now
        await until(lambda: alpaca.now > reconnected_at + 8)
        assert order_logins(alpaca) == 2


async def test_a_mute_order_stream_is_noticed_and_replaced() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.tells_updates = False
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            filled: list[str] = []

            async def fill_early(request: Request) -> web.Response | None:
                if not filled:
                    filled.append(request.path)
                    await alpaca.fill(next(iter(alpaca.orders.values())))
                return None

            alpaca.on("GET", "/v2/orders/", fill_early)
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.order("AAPL", "sell")
            buy, sell = alpaca.posted()
            assert sell.when - buy.when < 10  # the early question told, not the checkup
            await until(lambda: order_logins(alpaca) == 2, "a new connection")


async def test_no_buy_before_listing_that_is_newer_than_order_stream() -> None:
    """Shares that came between the first listing and the subscription must not be bought a second time."""
    async with Alpaca(speed=4) as alpaca:
        alpaca.login_delay = 1.2  # 4.8 s: what is held is looked for without waiting that long

        async def listing(request: Request) -> web.Response | None:
            if not alpaca.is_listened_to:
                return None
            alpaca.hold("AAPL", 5, "50")
            return await slowly(1.5)(request)

        alpaca.on("GET", "/v2/positions", listing)
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.says("order updates: up")
            await bot.says("alpaca iex: up")
            await bot.says("bars of today")
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.order("AAPL", "sell")
            assert [r.body["side"] for r in alpaca.posted()] == ["sell"]


async def test_the_order_stream_is_taken_by_somebody_else() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.refuses_updates = 2  # HTTP 429 at the handshake
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.says("HTTP 429 at the handshake", times=2)
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.trades()
            assert not alpaca.posted()


async def test_the_data_stream_breaks_and_the_gap_is_filled() -> None:
    async with Alpaca(at="10:32:02") as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.drop_feed()
            alpaca.add_history("AAPL", alpaca.minute("10:30"), 98.5)  # the gap's bar: would-be signals in it are over
            await bot.says("buying is on", times=2)
            await bot.says("bars of today", times=2)
            assert "21 to 21 minutes" in bot.text
            await alpaca.bar("AAPL", "10:31", 101.0)
            await bot.order("AAPL", "buy")


async def test_a_halted_symbol_is_not_bought() -> None:
    halt = '[{"T":"s","S":"AAPL","sc":"%s","rc":"LUDP","rm":"Volatility Pause","t":"2031-03-12T14:31:00Z"}]'
    async with Alpaca(at="10:32:02") as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.send_feed(halt % "P")
        await alpaca.bar("AAPL", "10:30", 50.0)
        await bot.says("no buy: trading is halted")
        await alpaca.send_feed(halt % "T")
        await alpaca.bar("AAPL", "10:31", 50.0)
        await bot.order("AAPL", "buy")
        assert len(alpaca.posted()) == 1


async def test_odd_frames_on_the_data_stream() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            for text in ("", "[]", "{", "null", '[{"T":"zz","S":"AAPL"}]', '[{"T":"b","S":"AAPL","o":null}]',
                         '[{"T":"t","S":"AAPL","p":-1,"s":1,"c":null,"t":"never"}]', '{"T":"success"}'):  # fmt: skip
                await alpaca.send_feed(text)
            await alpaca.send_feed('[{"T":"q","S":"AAPL","x":1},' + alpaca.bar_text("AAPL", "10:30", 101.0) + "]")
            await bot.order("AAPL", "buy")


async def test_a_nearly_used_request_limit_stops_buys_not_exits() -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("NVDA", 7, "100")
        sell = alpaca.place("NVDA", "sell", 7, "103.00")

        async def nearly_out(request: Request) -> web.Response:
            response = alpaca.ordinary(request)
            response.headers.update(alpaca.limit_headers(remaining=4))
            return response

        alpaca.on("POST", "AAPL", nearly_out)
        async with Bot(alpaca, "AAPL", "TSLA", "NVDA", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)
            buy = await bot.order("AAPL", "buy")
            await until(lambda: alpaca.posted("AAPL")[0].status, "the answer")
            # Four are left: two for AAPL's cancel and exit, and three are what another buy may need.
            await alpaca.bar("TSLA", "10:30", 50.0)
            await alpaca.end(sell)
            await bot.says("SELL_SUBMITTED -> TO_SELL")
            await alpaca.bar("NVDA", "10:30", 100.0)
            await bot.order("NVDA", "sell")
            await alpaca.fill(buy)
            await bot.order("AAPL", "sell")
            assert not alpaca.posted("TSLA")
