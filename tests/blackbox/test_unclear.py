"""Orders that are refused, and orders of which nobody says what became of them: never twice, never lost."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, BrokenConnection, Request, answer, never_arrives
from tests.blackbox.bot import ALWAYS, Bot, until

NO_ORDER = {"code": 40410000, "message": "order not found"}


async def hang(request: Request) -> None:
    await request.time.sleep(6)
    raise BrokenConnection


def _is_found(alpaca: Alpaca, client_order_id: str) -> bool:
    asked = alpaca.asked("GET", "/v2/orders:by_client_order_id")
    return any(r.query.get("client_order_id") == client_order_id and r.status == 200 for r in asked)


async def test_order_whose_answer_is_lost_is_found_and_not_sent_again() -> None:
    async with Alpaca(speed=4) as alpaca:
        symbols = ("AAPL", "TSLA", "NVDA", "AMD")
        alpaca.flat_morning(*symbols)
        alpaca.tells_updates = False  # only questions can tell
        alpaca.on("POST", "AAPL", alpaca.taking(answer(504, HTML)), times=1)
        alpaca.on("POST", "TSLA", alpaca.taking(never_arrives), times=1)  # the connection breaks
        alpaca.on("POST", "NVDA", alpaca.taking(hang), times=1)  # no answer at all
        alpaca.on("POST", "AMD", alpaca.taking(answer(500, {"code": 50010000, "message": "internal"})), times=1)
        async with Bot(alpaca, *symbols) as bot:
            await bot.trades()
            await alpaca.bars("10:30", **dict.fromkeys(symbols, 101.0))
            for symbol in symbols:
                buy = await bot.order(symbol, "buy")
                await until(
                    partial(_is_found, alpaca, buy["client_order_id"]),
                    f"{symbol} is asked for by its own id",
                )
            alpaca.tells_updates = True
            for symbol in symbols:
                await alpaca.fill(alpaca.open_orders(symbol)[0])
                await bot.order(symbol, "sell")
                assert [r.body["side"] for r in alpaca.posted(symbol)] == ["buy", "sell"]


async def test_a_lost_buy_is_dropped_and_a_lost_sell_goes_again() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.hold("TSLA", 7, "100")
        for symbol in ("AAPL", "TSLA"):
            alpaca.on("POST", symbol, never_arrives, times=1)
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)
            await bot.says("buy scalp-AAPL", within=30)
            await bot.says("BUY_SUBMITTED -> TO_BUY")
            sell = await bot.order("TSLA", "sell")
            first, again = alpaca.posted("TSLA")
            assert first.body == again.body and sell["client_order_id"] == first.body["client_order_id"]
            assert again.when - first.when < 4  # at once: the broker keeps ids unique
            assert len(alpaca.posted("AAPL")) == 1
            # The next signal is a new order.
            await alpaca.bar("AAPL", "10:31", 50.0)
            await bot.order("AAPL", "buy")
            old, new = alpaca.posted("AAPL")
            assert old.body["client_order_id"] != new.body["client_order_id"]


async def test_an_id_that_turns_out_to_be_used_is_the_order_itself() -> None:
    """The broker loses its answer, then says for five seconds that there is no such order, though there is."""
    async with Alpaca(speed=4) as alpaca:
        alpaca.hold("TSLA", 7, "100")
        alpaca.on("POST", "/v2/orders", alpaca.taking(answer(504, HTML)), times=1)

        async def forgetful(request: Request) -> web.Response | None:
            if len(alpaca.posted()) > 1:
                return None
            return await (answer(404, NO_ORDER) if "by_client" in request.path else answer(200, []))(request)

        alpaca.on("GET", "/v2/orders", forgetful)
        alpaca.tells_updates = False
        async with Bot(alpaca, "TSLA") as bot:
            await until(lambda: len(alpaca.posted()) == 2, "the sell, again")
            assert [r.status for r in alpaca.posted()] == [504, 422]
            found = await until(
                lambda: [r for r in alpaca.asked("GET", "/v2/orders:by_client") if r.status == 200], "a look"
            )
            assert found
            alpaca.tells_updates = True
            await alpaca.fill(await bot.order("TSLA", "sell"))
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.orders) == 1


async def test_refused_and_rejected_buys_wait_for_the_next_signal() -> None:
    no_money = {"code": 40310000, "message": "insufficient buying power", "buying_power": "0", "cost_basis": "1999"}
    async with Alpaca(at="10:32:20") as alpaca:
        alpaca.on("POST", "AAPL", answer(403, no_money), times=1)
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bars("10:30", AAPL=50.0, TSLA=50.0)
            await bot.says("refused: insufficient buying power")
            rejected = await bot.order("TSLA", "buy")
            await until(lambda: alpaca.posted("TSLA")[0].status == 200, "the answer")
            await alpaca.end(rejected, "rejected")
            await bot.says("TSLA BUY_SUBMITTED -> TO_BUY")
            assert len(alpaca.posted()) == 2
            await alpaca.bars("10:31", AAPL=50.0, TSLA=50.0)
            await bot.order("AAPL", "buy")
            await bot.order("TSLA", "buy", nth=2)
            assert len(alpaca.posted()) == 4


async def test_a_sell_refused_again_and_again_is_tried_less_often() -> None:
    async with Alpaca(speed=30) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        alpaca.hold("TSLA", 7, "100")
        alpaca.on("POST", "AAPL", answer(403, {"code": 40310000, "message": "not authorized to trade"}), times=2)
        async with Bot(alpaca, "AAPL", "TSLA") as bot:
            await alpaca.end(await bot.order("TSLA", "sell"), "rejected")  # after a 200
            await bot.says("SELL_SUBMITTED -> TO_SELL")
            for _ in range(20):
                await alpaca.bars("10:31", AAPL=100.0, TSLA=100.0)
            await bot.order("AAPL", "sell")
            first, second, third = (r.when for r in alpaca.posted("AAPL"))
            assert 29 <= second - first <= 100 and 59 <= third - second <= 160
            before, after = (r.when for r in alpaca.posted("TSLA"))
            assert 29 <= after - before <= 100
