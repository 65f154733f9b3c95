"""Answers, updates and frames that say something else than they should."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, Answer, Request, answer, never_arrives
from tests.blackbox.bot import ALWAYS, Bot, until

OTHER = {"id": "0f2b3c4d-0000-4000-8000-00000000000f", "client_order_id": "somebody-elses", "symbol": "TSLA",
         "side": "buy", "qty": "3", "filled_qty": "3", "filled_avg_price": "1.00", "status": "filled"}  # fmt: skip


def raw(status: int, body: bytes) -> Answer:
    async def say(request: Request) -> web.Response:
        return web.Response(status=status, body=body, content_type="application/json")

    return say


RUBBISH: dict[str, Answer] = {
    "empty": raw(200, b""), "html": answer(200, HTML), "null": raw(200, b"null"), "another order": answer(201, OTHER),
    "cut off": raw(200, b'{"id": "0f2b'), "no utf-8": raw(200, b"\xff\xfe\x00"),
    "nulls": answer(200, dict.fromkeys(OTHER)),
}  # fmt: skip


@pytest.mark.parametrize("what", RUBBISH)
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_sell_is_answered_with(what: str, arrives: bool) -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.on("POST", "/v2/orders", alpaca.taking(RUBBISH[what]) if arrives else RUBBISH[what], times=1)
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        await alpaca.passes(31)
        assert alpaca.open_orders("AAPL") == [sell] and not alpaca.asked("DELETE")
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")


CANCELS: dict[str, Answer] = {
    "200": raw(200, b""), "207": answer(207, [{"id": "x", "status": 500}]), "404": answer(404, {}),
    "reset": never_arrives, "429 for a day": answer(429, {}, **{"Retry-After": "86400"}), "401": answer(401, {}),
}  # fmt: skip


@pytest.mark.parametrize("what", CANCELS)
@pytest.mark.parametrize("arrives", [True, False])
async def test_the_cancel_before_a_market_exit_is_answered_with(what: str, arrives: bool) -> None:
    stop = ("--stop-loss", "1%", "--stop-at", "bot")
    async with Alpaca(speed=5) as alpaca, Bot(alpaca, *stop, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        alpaca.on("DELETE", "/v2/orders", alpaca.taking(CANCELS[what]) if arrives else CANCELS[what], times=1)
        since = alpaca.now
        for price in (49.0, 48.9):
            await alpaca.trade("AAPL", price)
            await alpaca.passes(0.5)
        market = await bot.order("AAPL", "sell", nth=2)
        assert alpaca.now - since < 45 and sell["status"] == "canceled"
        assert (market["type"], market["qty"]) == ("market", "40")


REFUSALS: list[tuple[int, Any]] = [
    (403, {"code": 40310000, "message": "account is restricted to liquidation only"}),
    (403, {"code": 40310100, "message": "trade denied due to pattern day trading protection"}),
    (422, {"code": 42210000, "message": "invalid limit_price 50.001. sub-penny increment"}),
    (422, {"code": 42210000, "message": None}), (422, []), (403, HTML), (409, {"message": {"deep": []}}), (418, None),
]  # fmt: skip


@pytest.mark.parametrize("why", REFUSALS, ids=str)
async def test_a_sell_is_refused_for_a_minute_with(why: tuple[int, Any]) -> None:
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.on("POST", "/v2/orders", answer(*why), seconds=60)
        free_at = alpaca.now + 60
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        assert alpaca.now - free_at < 130 and len(alpaca.posted()) < 20
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")


COPIES: list[dict[str, Any]] = [
    {"filled_qty": 40, "qty": 40.0, "filled_avg_price": 50.0}, {"filled_qty": "-40"}, {"filled_qty": "1e30"},
    {"legs": [None]}, {"qty": None, "notional": "2000"}, {"side": None, "type": None}, {"status": "FILLED"},
]  # fmt: skip


@pytest.mark.parametrize("odd", COPIES, ids=str)
async def test_a_fill_is_told_with_an_odd_copy_of_its_order(odd: dict[str, Any]) -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        data = await alpaca.fill(buy, tell=False)
        await alpaca.tell_late(data | {"order": data["order"] | odd})
        sell = await bot.order("AAPL", "sell")
        assert (sell["qty"], sell["limit_price"]) == ("40", "50.00")
        data = await alpaca.fill(sell, tell=False)
        await alpaca.tell_late(data | {"order": data["order"] | odd})
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2


FRAMES: list[bytes | str] = [
    b"", "", "{", "[[]]", "null", "\x00", b"\xff\xfe\xff", "[" * 3000, "9" * 5000, '[{"T":7},{"T":null},null,7]',
    '[{"T":"t","S":"AAPL","p":null,"t":null}]', '[{"T":"c","S":"AAPL"}]', '[{"T":"error","code":"x"}]',
    '[{"T":"t","S":"AAPL","p":-5,"s":1,"c":null,"t":"2031-03-12T14:30:59Z"}]',
    '[{"T":"b","S":"AAPL","o":1e308,"h":1e308,"l":1e308,"c":1e308,"v":1,"t":"2031-03-12T14:30:00Z"}]',
    '[{"T":"l","S":"AAPL","u":null,"d":null,"i":null,"t":null}]',
]  # fmt: skip


async def test_odd_frames_on_both_streams() -> None:
    async with Alpaca(speed=5) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        for frame in FRAMES:
            for socket in (*alpaca._feed_sockets, *alpaca._listeners):
                await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
        await alpaca.passes(3)
        await alpaca.fill(await bot.holds(51.0))
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2


@pytest.mark.parametrize("path", ["/v2/account/activities", "/v2/stocks/bars"])
async def test_pages_without_an_end(path: str) -> None:
    row = {"activity_type": "FILL", "type": "fill", "order_id": "0f2b3c4d-0000-4000-8000-0000000000aa", "side": "buy",
           "symbol": "TSLA", "price": "1", "qty": "1", "transaction_time": "2031-03-12T14:30:30.5Z"}  # fmt: skip
    rows = [row | {"id": f"20310312103030{n:03}::0f2b3c4d-0000-4000-8000-000000000{n:03}"} for n in range(100)]
    bar = {"t": "2031-03-12T13:35:00Z", "o": 50, "h": 50, "l": 50, "c": 50, "v": 1}
    async with Alpaca(speed=10) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        page = rows if "act" in path else {"bars": {"AAPL": [bar]}, "next_page_token": "again"}
        alpaca.on("GET", path, answer(200, page))
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.order("AAPL", "sell")
            await alpaca.passes(40)
            assert await until(lambda: len(alpaca.asked("GET", path)), "it is asked for") < 150
