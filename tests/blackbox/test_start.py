"""The start: what is asked, what is told, and what a user gets wrong."""

from __future__ import annotations

import pytest

from tests.blackbox.alpaca import HTML, Alpaca, Answer, answer, never_arrives, slowly
from tests.blackbox.bot import ALWAYS, Bot, until

UNAUTHORIZED = {"message": "unauthorized."}
NO_PERMISSION = {"message": "forbidden."}


async def test_start_takes_few_requests_and_account_of_two_fields() -> None:
    async with Alpaca() as alpaca:
        assert set(alpaca.account) == {"id", "status"}
        async with Bot(alpaca, "aapl", "TSLA", "FB", "AAPL", "NVDA", "AMD", "F") as bot:
            await bot.trades()
            assert len(alpaca.requests) <= 12, [str(r) for r in alpaca.requests]
            assert "FB is A Buffer ETF" in bot.text  # not the company one may think of
            assert "AAPL is named twice" in bot.text and "aapl is taken as AAPL" in bot.text
            assert alpaca.channels["bars"] == ["AAPL", "AMD", "F", "FB", "NVDA", "TSLA"]


async def test_four_symbols_take_few_requests_too() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL", "TSLA", "FB", "NVDA", minutes=60)
        async with Bot(alpaca, "AAPL", "TSLA", "FB", "NVDA") as bot:
            await bot.trades()
            assert len(alpaca.requests) <= 12 + 1, [str(r) for r in alpaca.requests]
            assert "4 symbols, 60 to 60 minutes each" in bot.text


@pytest.mark.parametrize(
    "refusal",
    [answer(401, UNAUTHORIZED), answer(401, HTML), answer(403, NO_PERMISSION)],
    ids=["401 without a code", "401 in HTML", "403"],
)
async def test_wrong_keys(refusal: Answer) -> None:
    async with Alpaca() as alpaca:
        alpaca.on("GET", "/v2", refusal)
        async with Bot(alpaca, "AAPL") as bot:
            assert await bot.exits(within=15) == 2
            assert len(bot.text.splitlines()) == 1 and "APCA_API_SECRET_KEY" in bot.text
            assert len(alpaca.requests) == 1  # no retry


async def test_keys_of_another_account() -> None:
    async with Alpaca() as alpaca:
        mine = {"APCA_API_SECRET_KEY": "not-the-right-one"}
        async with Bot(alpaca, "AAPL", environment=mine) as bot:
            assert await bot.exits(within=15) == 2
            assert len(bot.errors) == 1 and "not-the-right-one" not in bot.text


async def test_an_unknown_symbol() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", "TSLQ") as bot:
        assert await bot.exits(within=15) == 2
        assert len(bot.errors) == 1 and "TSLQ" in bot.last_line and "TSLA" in bot.last_line
        assert not alpaca.logins and not alpaca.posted()


async def test_a_blocked_account_buys_nothing_and_still_sells() -> None:
    async with Alpaca() as alpaca:
        alpaca.account |= {"trading_blocked": True, "equity": "1", "buying_power": None}
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            await bot.order("TSLA", "sell")
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.says("no buy: the account is blocked")
            assert not alpaca.posted("AAPL")


async def test_trouble_at_the_start_is_waited_out() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.on("GET", "/v2/clock", answer(503, HTML), times=1)
        alpaca.on("GET", "/v2/clock", never_arrives, times=1)
        alpaca.on("GET", "/v2/account", answer(500, {"code": 50010000, "message": "internal"}), times=1)
        alpaca.on("GET", "/v2/assets", answer(200, HTML), times=1)
        alpaca.on("GET", "/v2/positions", answer(502, HTML), times=1)  # never means that nothing is held
        alpaca.on("GET", "/v2/stocks/bars", answer(504, HTML), times=1)
        alpaca.hold("AAPL", 7, "100")
        alpaca.flat_morning("TSLA")
        async with Bot(alpaca, "AAPL", "TSLA") as bot:
            await bot.trades()
            await bot.order("AAPL", "sell")
            await alpaca.bars("10:30", AAPL=100.0, TSLA=101.0)
            await bot.order("TSLA", "buy")


async def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    async with Alpaca(speed=20) as alpaca:
        nobody = {"APCA_API_BASE_URL": "http://127.0.0.1:9"}
        async with Bot(alpaca, "AAPL", environment=nobody) as bot:
            assert await bot.exits() == 2
            assert len(bot.errors) == 1 and "APCA_API_BASE_URL" in bot.last_line


async def test_a_slow_clock_moves_no_time() -> None:
    """The clock takes 3 s to answer, and its answer is of the moment it was made."""
    async with Alpaca() as alpaca:
        alpaca.on("GET", "/v2/clock", slowly(3))
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            await bot.order("AAPL", "buy")
            sent = alpaca.posted()[0]
            assert abs(int(sent.body["client_order_id"].split("-")[2]) / 1000 - alpaca.now) < 10


async def test_without_rate_limit_headers() -> None:
    async with Alpaca() as alpaca:
        alpaca.rate_limit_headers = alpaca.binary_frames = False
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            await alpaca.fill(await bot.order("AAPL", "buy"))
            await alpaca.fill(await bot.order("AAPL", "sell"))
            await bot.says("SELL_SUBMITTED -> TO_BUY")


async def test_an_own_class_is_used() -> None:
    body = "return len(self._bars) >= 2 and str(self._bars.index.tz) == 'America/New_York'"
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", signal=body) as bot:
        await bot.trades()
        await alpaca.bar("AAPL", "10:29", 50.0)
        await alpaca.bar("AAPL", "10:30", 50.5)
        assert (await bot.order("AAPL", "buy"))["limit_price"] == "50.50"


async def test_a_symbol_with_a_dot() -> None:
    async with Alpaca() as alpaca:
        alpaca.assets["BRK.B"] = "Berkshire Hathaway Inc. Class B"
        alpaca.flat_morning("BRK.B")
        async with Bot(alpaca, "brk.b") as bot:
            await bot.trades()
            await alpaca.bars("10:30", **{"BRK.B": 101.0})
            await alpaca.fill(await bot.order("BRK.B", "buy"))
            await bot.order("BRK.B", "sell")


async def test_a_class_that_is_none_is_told_in_one_line() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", "--algo", "nowhere.py:Nothing") as bot:
        assert await bot.exits() == 2
        assert len(bot.text.splitlines()) == 1 and "nowhere.py" in bot.text
        assert not alpaca.requests


async def test_a_lot_below_the_price_buys_nothing() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "--lot", "49.99", "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.bars("10:30", AAPL=50.0, TSLA=0.51237)
        await bot.says("buys no share")
        buy = await bot.order("TSLA", "buy")
        # Below a dollar the tick is a hundredth of a cent.
        assert (buy["limit_price"], buy["qty"]) == ("0.5123", "97")
        await until(lambda: len(alpaca.posted()) == 1)
