"""The streams of the stand-in for Alpaca and Polygon: order updates, Alpaca's market data, Polygon's."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import WSMsgType, web

from tests.blackbox.shared_time import SharedTime

NEW_YORK = ZoneInfo("America/New_York")
DATE = "2031-03-12"  # a Wednesday, years from the machine's clock
KEY, SECRET, POLYGON_KEY = "PKBLACKBOXKEY", "very-secret-blackbox-secret", "polygon-blackbox-key"


class Market:
    """What goes on meanwhile; a test may change the prices, and whether there are bars."""

    def __init__(self, prices: dict[str, float], bars: bool) -> None:
        self.prices = prices
        self.bars = bars


class Streams:
    """Every socket of one server, and the exchange's time. The bars of a test go to whoever has logged in."""

    def __init__(self, at: str, speed: float) -> None:
        self.speed = speed
        self.time = SharedTime()
        self._starts = self.minute(at)
        self._began: float | None = None  # when the bot first asked for the time
        self.logins: list[dict[str, Any]] = []  # what was sent on the streams to log in, "stream" telling which
        self.binary_frames = True  # of order updates
        self.refuses_updates = 0  # so many handshakes of the order-update stream are answered with 429
        self.login_delay = 0.0  # of the order-update stream, seconds
        self.login_answer = "authorized"
        self.is_listened_to = False  # somebody has subscribed to order updates
        self.feed_errors: dict[str, int] = {}  # "login" or a channel -> error code
        self.polygon_refuses = False
        self.channels: dict[str, list[str]] = {}
        self._trade_id = 7
        self.last_minute = 0.0  # of which a bar was sent
        self._update_sockets: list[web.WebSocketResponse] = []
        self._authorized: set[web.WebSocketResponse] = set()  # of these
        self._listeners: set[web.WebSocketResponse] = set()  # and of those
        self._feed_sockets: list[web.WebSocketResponse] = []

    async def close_sockets(self) -> None:
        for socket in (*self._update_sockets, *self._feed_sockets):
            await socket.close()

    @property
    def now(self) -> float:
        """Exchange time, epoch seconds."""
        passed = 0.0 if self._began is None else (self.time.now - self._began) * self.speed
        return self._starts + passed

    def leap(self, to: str) -> None:
        """The exchange's clock goes on from `to`."""
        self._starts += self.minute(to) - self.now

    def minute(self, text: str) -> float:
        """A New York minute of the day as epoch seconds."""
        return dt.datetime.fromisoformat(f"{DATE} {text}").replace(tzinfo=NEW_YORK).timestamp()

    # -- what tests do ------------------------------------------------------------------------------------------------

    async def passes(self, seconds: float) -> None:
        """Let so many seconds of the exchange go by."""
        await self.reaches(self.now + seconds)

    async def reaches(self, when: float | str) -> None:
        """Wait until it is that time, in epoch seconds or as a New York time of the day."""
        at = self.minute(when) if isinstance(when, str) else when
        while (left := at - self.now) > 0:
            await asyncio.sleep(min(max(left / self.speed, 0.002), 0.1))

    async def fresh_bars(self, **closes: float) -> None:
        """Stream the minute that has just ended, or, where that was sent, the next, once it has."""
        start = max(self.now // 60 * 60 - 60, self.last_minute + 60)
        await self.reaches(start + 61)
        await self.bars(f"{dt.datetime.fromtimestamp(start, NEW_YORK):%H:%M}", **closes)

    @contextlib.asynccontextmanager
    async def market(self, every: float = 2.0, bars: bool = True, **prices: float) -> AsyncIterator[Market]:
        """Meanwhile a trade of each symbol every so many seconds, and a bar of every minute, 1 s after its end."""
        market = Market(prices, bars)
        task = asyncio.create_task(self._trade_on(market, every))
        try:
            yield market
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _trade_on(self, market: Market, every: float) -> None:
        while True:
            with contextlib.suppress(ConnectionError):  # the bot has closed a socket
                for symbol, price in market.prices.items():
                    await self.trade(symbol, price)
                start = (self.now - 1) // 60 * 60 - 60
                if market.bars and start > self.last_minute:
                    await self.bars(f"{dt.datetime.fromtimestamp(start, NEW_YORK):%H:%M}", **market.prices)
            await self.passes(every)

    async def bar(self, symbol: str, minute: str, close: float, kind: str = "b") -> None:
        """Stream a minute bar (`kind` "u": a corrected one)."""
        self.last_minute = max(self.last_minute, self.minute(minute))
        bar = {"T": kind, "S": symbol, "o": close, "h": close, "l": close, "c": close, "v": 100, "n": 3, "vw": close,
               "t": utc(self.minute(minute))}  # fmt: skip
        await self._stream([bar])

    async def bars(self, minute: str, **closes: float) -> None:
        """Stream one minute of several symbols in one frame."""
        self.last_minute = max(self.last_minute, self.minute(minute))
        await self._stream([
            {"T": "b", "S": s, "o": c, "h": c, "l": c, "c": c, "v": 100, "n": 3, "vw": c,
             "t": utc(self.minute(minute))}
            for s, c in closes.items()
        ])  # fmt: skip

    async def polygon_bar(self, symbol: str, minute: str, close: float) -> None:
        start = int(self.minute(minute) * 1000)
        await self._stream([
            {"ev": "AM", "sym": symbol, "v": 100.5, "av": 18203344, "vw": close, "o": close, "c": close, "h": close,
             "l": close, "a": close, "z": 12.0, "s": start, "e": start + 60000, "dv": "100.5"}
        ])  # fmt: skip

    async def trade(self, symbol: str, price: float, conditions: tuple[str, ...] = ("@",)) -> int:
        """Stream a print; returns its id."""
        self._trade_id += 1
        await self._stream([{"T": "t", "S": symbol, "i": self._trade_id, "x": "V", "p": price, "s": 100,
                             "c": list(conditions), "z": "C", "t": utc(self.now)}])  # fmt: skip
        return self._trade_id

    async def correct_trade(self, symbol: str, trade: int, was: float, price: float) -> None:
        self._trade_id += 1
        await self._stream([{"T": "c", "S": symbol, "x": "V", "oi": trade, "op": was, "os": 100, "oc": ["@"],
                             "ci": self._trade_id, "cp": price, "cs": 100, "cc": ["@"], "z": "C",
                             "t": utc(self.now)}])  # fmt: skip

    async def cancel_trade(self, symbol: str, trade: int, was: float) -> None:
        await self._stream([{"T": "x", "S": symbol, "i": trade, "x": "V", "p": was, "s": 100, "a": "C", "z": "C",
                             "t": utc(self.now)}])  # fmt: skip

    def bar_text(self, symbol: str, minute: str, close: float) -> str:
        return json.dumps({"T": "b", "S": symbol, "o": close, "h": close, "l": close, "c": close, "v": 1, "n": 1,
                           "vw": close, "t": utc(self.minute(minute))})  # fmt: skip

    async def send_feed(self, text: str) -> None:
        """Send any frame on the market-data stream."""
        for socket in list(self._feed_sockets):
            await socket.send_str(text)

    async def drop_feed(self) -> None:
        for socket in list(self._feed_sockets):
            await socket.close(code=1011)

    async def _stream(self, messages: list[dict[str, Any]]) -> None:
        for socket in list(self._feed_sockets):
            await socket.send_str(json.dumps(messages))

    async def send_update(self, message: object) -> None:
        """Send any message on the order-update stream, to whoever listens."""
        text = json.dumps(message)
        for socket in list(self._listeners):
            await (socket.send_bytes(text.encode()) if self.binary_frames else socket.send_str(text))

    async def drop_updates(self) -> None:
        """End the connections of the order-update stream, without a word."""
        for socket in list(self._update_sockets):
            await socket.close(code=1011)

    # -- sockets ------------------------------------------------------------------------------------------------------

    async def serve_socket(self, raw: web.BaseRequest, path: str) -> web.StreamResponse:
        if path.rstrip("/") == "/stream":
            if self._update_sockets or self.refuses_updates > 0:
                self.refuses_updates -= 1
                return web.Response(status=429)
            serve = self._serve_updates
        elif path == "/stocks":
            serve = self._serve_polygon
        elif path in ("/v2/iex", "/v2/sip"):
            serve = self._serve_feed
        else:
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(raw)
        sockets = self._update_sockets if path.startswith("/stream") else self._feed_sockets
        if path.startswith("/stream"):
            sockets.append(socket)
        try:
            if path == "/stocks":
                await socket.send_json([{"ev": "status", "status": "connected", "message": "Connected Successfully"}])
            elif path.startswith("/v2"):
                await socket.send_json([{"T": "success", "msg": "connected"}])
            async for frame in socket:
                if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    message = json.loads(frame.data)
                    if "auth" in message["action"]:
                        self.logins.append({"stream": path, **message})
                    await serve(socket, message)
        finally:
            if socket in sockets:
                sockets.remove(socket)
            self._authorized.discard(socket)
            self._listeners.discard(socket)
        return socket

    async def _serve_updates(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        if message["action"] in ("auth", "authenticate"):
            await self.time.sleep(self.login_delay)
            answer = {"stream": "authorization", "data": {"status": self.login_answer, "action": "authenticate"}}
            if self.login_answer == "authorized":
                self._authorized.add(socket)
        elif socket not in self._authorized:
            answer = {"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}}
        else:
            answer = {"stream": "listening", "data": {"streams": message["data"]["streams"]}}
            self._listeners.add(socket)
            self.is_listened_to = True
        text = json.dumps(answer)
        await (socket.send_bytes(text.encode()) if self.binary_frames else socket.send_str(text))

    async def _serve_feed(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        if message["action"] == "auth":
            code = self.feed_errors.get("login", 0)
            if message["key"] != KEY or message["secret"] != SECRET:
                code = 402
            if code:
                await socket.send_json([{"T": "error", "code": code, "msg": f"error number {code}"}])
                return
            self._feed_sockets.append(socket)
            await socket.send_json([{"T": "success", "msg": "authenticated"}])
            return
        for channel in (c for c in message if c != "action"):
            if code := self.feed_errors.get(channel, 0):
                await socket.send_json([{"T": "error", "code": code, "msg": f"error number {code}"}])
                return
        for channel in (c for c in message if c != "action"):
            self.channels[channel] = sorted({*self.channels.get(channel, []), *message[channel]})
        empty: dict[str, list[str]] = {"trades": [], "quotes": [], "bars": [], "dailyBars": []}
        await socket.send_json([{"T": "subscription", **empty, **self.channels}])

    async def _serve_polygon(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        if message["action"] == "auth":
            if message["params"] != POLYGON_KEY or self.polygon_refuses:
                await socket.send_json([{"ev": "status", "status": "auth_failed", "message": "authentication failed"}])
                return
            self._feed_sockets.append(socket)
            await socket.send_json([{"ev": "status", "status": "auth_success", "message": "authenticated"}])
            return
        for channel in message["params"].split(","):
            done = {"ev": "status", "status": "success", "message": f"subscribed to: {channel}"}
            if channel.partition(".")[0] in self.feed_errors:
                done = {"ev": "status", "status": "error", "message": "not authorized"}
            await socket.send_json([done])


def utc(at: float) -> str:
    """RFC 3339 in UTC with nanoseconds where it is not a whole second."""
    when = dt.datetime.fromtimestamp(at, dt.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}" + (f".{when.microsecond:06d}789Z" if when.microsecond else "Z")


def seconds(text: str) -> float:
    """The epoch seconds of a time as it is sent."""
    return dt.datetime.fromisoformat(text).timestamp()
