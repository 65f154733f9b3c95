"""What fill to exit is compared with, each as a process of its own: `python -m benchmarks.clients NAME PORT`.

All do one thing: answer the fill of a buy with a sell. `floor` does nothing else, so nothing in Python is faster.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from benchmarks.exchange import KEY, SECRET

SELL = (
    b'{"symbol":"S00000","qty":"11","side":"sell","type":"limit","time_in_force":"day","limit_price":"77.77",'
    b'"client_order_id":"scalp-S00000-1795188720000-%07d"}'
)
LOGIN = b'{"action":"auth","key":"%b","secret":"%b"}' % (KEY.encode(), SECRET.encode())
LISTEN = b'{"action":"listen","data":{"streams":["trade_updates"]}}'


class _Answers(asyncio.Protocol):
    """The warm connection of the floor: what comes back is not looked at."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class _Fills(asyncio.Protocol):
    """The order-update stream of the floor: a frame that holds a fill is answered, nothing is decoded."""

    def __init__(self, answers: _Answers, port: int) -> None:
        self._answers = answers
        self._port = port
        self._head = (
            f"POST /v2/orders HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAPCA-API-KEY-ID: {KEY}\r\n"
            f"APCA-API-SECRET-KEY: {SECRET}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(SELL % 0)}\r\n\r\n"
        ).encode()
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast(asyncio.Transport, transport)
        writer.write(
            b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" % self._port
        )
        for message in (LOGIN, LISTEN):
            # A mask of zeros leaves the text as it is.
            writer.write(bytes([0x81, 0x80 | len(message)]) + bytes(4) + message)

    def data_received(self, data: bytes) -> None:
        if b'"event":"fill"' in data and b'"side":"buy"' in data:
            self._sent += 1
            self._answers.transport.write(self._head + SELL % self._sent)


async def floor(port: int) -> None:
    """Raw sockets, a prebuilt order."""
    loop = asyncio.get_running_loop()
    _, answers = await loop.create_connection(_Answers, "127.0.0.1", port)
    await loop.create_connection(lambda: _Fills(answers, port), "127.0.0.1", port)
    await asyncio.Event().wait()


async def libraries(port: int) -> None:
    """aiohttp and websockets as their manuals use them, uvloop, msgspec; no state, no log, no check."""
    import aiohttp
    import msgspec
    from websockets.legacy.client import connect

    headers = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
    url = f"http://127.0.0.1:{port}/v2/orders"
    number = 0
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        connect(f"ws://127.0.0.1:{port}/stream", compression=None) as socket,
    ):
        await socket.send(LOGIN.decode())
        await socket.recv()
        await socket.send(LISTEN.decode())
        while True:
            data = msgspec.json.decode(await socket.recv()).get("data", {})
            if data.get("event") != "fill" or data["order"]["side"] != "buy":
                continue
            order = data["order"]
            number += 1
            sell = {"symbol": order["symbol"], "qty": order["qty"], "side": "sell", "type": "limit",
                    "time_in_force": "day", "limit_price": order["limit_price"],
                    "client_order_id": f"libraries-{number}"}  # fmt: skip
            async with session.post(url, json=sell) as response:
                await response.read()


async def alpaca_py(port: int) -> None:
    """Alpaca's present SDK, as its manual shows it."""
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import OrderSide, TimeInForce
    from alpaca.trading.requests import LimitOrderRequest
    from alpaca.trading.stream import TradingStream

    client = TradingClient(KEY, SECRET, url_override=f"http://127.0.0.1:{port}")
    stream = TradingStream(KEY, SECRET, url_override=f"ws://127.0.0.1:{port}/stream")

    async def on_update(update: Any) -> None:
        order = update.order
        if update.event == "fill" and order.side == OrderSide.BUY:
            client.submit_order(
                LimitOrderRequest(
                    symbol=order.symbol,
                    qty=order.qty,
                    side=OrderSide.SELL,
                    time_in_force=TimeInForce.DAY,
                    limit_price=order.limit_price,
                )
            )

    stream.subscribe_trade_updates(on_update)
    await stream._run_forever()  # type: ignore[no-untyped-call]


CLIENTS: dict[str, Callable[[int], Coroutine[Any, Any, None]]] = {
    "floor": floor, "libraries": libraries, "alpaca-py": alpaca_py,
}  # fmt: skip

if __name__ == "__main__":
    import uvloop

    uvloop.run(CLIENTS[sys.argv[1]](int(sys.argv[2])))
