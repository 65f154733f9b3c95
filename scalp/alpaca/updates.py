"""The order-update stream of an Alpaca account."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from scalp.alpaca.decode import UpdateFields, order_report
from scalp.cli.settings import Endpoints
from scalp.core.ports import OrderUpdateSink, never
from scalp.net.stream import Frame, LoginRefused, ReconnectingStream, StreamTrouble, websocket_url
from scalp.net.websocket import WebSocket

ANSWER_TIMEOUT = 10.0  # seconds for the answer to the login, and for that to `listen`
LONGEST_FRAME = 2**20  # bytes: a frame is about one order


class _Heading(msgspec.Struct):
    stream: str


class _Message(_Heading):
    data: UpdateFields


_decoder = msgspec.json.Decoder(_Message)


class OrderUpdates(ReconnectingStream):
    """Passes the account's order updates to the sink. Silence is normal: while nothing trades, nothing is sent."""

    def __init__(
        self,
        endpoints: Endpoints,
        sink: OrderUpdateSink,
        rng: random.Random,
        is_final: Callable[[LoginRefused], Awaitable[bool]] = never,
    ) -> None:
        super().__init__("order updates", websocket_url(endpoints.trading_url) + "/stream", rng, is_final=is_final,
                         mask=endpoints.mask, longest=LONGEST_FRAME)  # fmt: skip
        self._sink = sink
        self._login_message = msgspec.json.encode(
            {"action": "auth", "key": endpoints.key_id, "secret": endpoints.secret_key}
        ).decode()

    async def _login(self, socket: WebSocket) -> None:
        await socket.send(self._login_message)
        data = await self._answer(socket, "authorization")
        if data.get("status") != "authorized":
            words = str(data.get("message") or data.get("error") or "")
            if "connection" in words:
                raise StreamTrouble("another connection to this account's order updates is open")
            if data.get("status") != "unauthorized":
                raise StreamTrouble("the answer to the login was not understood")
            raise LoginRefused(
                "the order-update stream refused the keys: check APCA_API_KEY_ID and APCA_API_SECRET_KEY, "
                "and that they belong to the account (paper or live) at APCA_API_BASE_URL"
            )
        await socket.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
        streams = (await self._answer(socket, "listening")).get("streams")
        if not isinstance(streams, list) or "trade_updates" not in streams:
            raise StreamTrouble("the server does not offer trade_updates")

    async def _answer(self, socket: WebSocket, stream: str) -> dict[str, Any]:
        """The data of the next message of `stream`; an update that comes first is not lost."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while True:
                frame = await socket.recv()
                message = msgspec.json.decode(frame)
                if isinstance(message, dict) and message.get("stream") == stream:
                    data = message.get("data")
                    return data if isinstance(data, dict) else {}
                self._take(frame)

    def _on_frame(self, frame: Frame) -> bool:
        try:
            message = _decoder.decode(frame)
        except msgspec.ValidationError:
            stream = msgspec.json.decode(frame, type=_Heading).stream
            if stream == "trade_updates":
                raise
            self._ignore(stream)
            return False
        if message.stream != "trade_updates":
            self._ignore(message.stream)
            return False
        report = order_report(message.data.order, message.data)
        if not report.id:
            raise ValueError("an update of an order without an id")
        self._sink.on_order_update(report)
        return True

    def _ignore(self, stream: str) -> None:
        self._say_once("message of the stream '%s' ignored", self._mask.words(stream, 40))

    def _on_up(self) -> None:
        self._sink.on_updates_up()

    def _on_down(self, why: str) -> None:
        self._sink.on_updates_down(why)
