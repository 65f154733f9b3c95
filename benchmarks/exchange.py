"""Enough of Alpaca to trade a session with, and nothing that takes time: what the benchmarks measure the bot against.

Orders wait until the benchmark fills them. Minutes may be of the future, so that a session's 390 pass in seconds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from benchmarks.eager import TRIGGER
from benchmarks.wire import BINARY, TEXT, Peer, Request, frame

KEY, SECRET = "PKBENCHMARK", "benchmark-secret"
NEW_YORK = ZoneInfo("America/New_York")
UPDATES, BARS = "/stream", "/v2/iex"
BARS_IN_FRAME = 250
PATIENCE = 20.0  # seconds for anything a client has to do


class Exchange:
    """One account on a port of its own, for one client. `symbols` exist.

    Exchange time starts a minute after a very early open, so that there are minutes enough.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        self._open = dt.datetime(2031, 3, 12, 0, 30, tzinfo=NEW_YORK)
        self._close = self._open.replace(hour=23, minute=0)
        self._ahead = self._open.timestamp() + 60 - time.time()
        self._minutes = itertools.count()
        self.orders: dict[str, dict[str, Any]] = {}
        self.requests: Counter[str] = Counter()
        self.sockets: dict[str, Peer] = {}  # by path
        self.subscribed_at = 0  # perf_counter_ns of the last subscription on either stream
        self._channels: dict[str, dict[str, None]] = {}
        self._arrivals: asyncio.Queue[tuple[dict[str, Any], int]] = asyncio.Queue()
        self._held: dict[str, float] = {}
        self.port = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Exchange]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Peer(self._answer, self._on_open, self._on_message), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for socket in self.sockets.values():
                socket.transport.abort()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead the bot here."""
        here = f"127.0.0.1:{self.port}"
        return {
            "APCA_API_BASE_URL": f"http://{here}",
            "APCA_API_DATA_URL": f"http://{here}",
            "APCA_API_STREAM_URL": f"ws://{here}",
            "APCA_API_KEY_ID": KEY,
            "APCA_API_SECRET_KEY": SECRET,
        }

    @property
    def trading_requests(self) -> int:
        """Requests so far without those that come when they like and hold up no order: questions for bars, for last
        trades, and for a buy that was just accepted."""
        return sum(n for kind, n in self.requests.items() if kind != "GET order" and not kind.startswith("GET stocks/"))

    @staticmethod
    def clock() -> int:
        """The one clock of all times here, ns."""
        return time.perf_counter_ns()

    # -- what a benchmark does ----------------------------------------------------------------------------------------

    async def listening(self) -> None:
        """Wait until a client has logged in on the order-update stream."""
        async with asyncio.timeout(PATIENCE):
            while UPDATES not in self.sockets or not self.subscribed_at:
                await asyncio.sleep(0.01)

    async def asked_for_bars(self) -> None:
        """Wait until the bot has asked for the bars so far: none that comes before is the first of its day."""
        async with asyncio.timeout(PATIENCE):
            while not self.requests["GET stocks/bars"]:
                await asyncio.sleep(0.01)

    async def order(self, side: str, within: float = PATIENCE) -> tuple[dict[str, Any], int]:
        """The next order of this side, and when the last byte of its POST had arrived (perf_counter_ns)."""
        async with asyncio.timeout(within):
            while True:
                order, at = await self._arrivals.get()
                if order["side"] == side:
                    return order, at

    async def provoke(self, symbol: str) -> dict[str, Any]:
        """Make the bot buy `symbol`: one minute after the other closes at the trigger, until it does."""
        for within in (0.25, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0):
            self.send_bars([self._trade_frame(symbol), *self.minute_frames([(symbol, TRIGGER)])])
            try:
                order, _ = await self.order("buy", within)
            except TimeoutError:
                continue
            return order
        raise TimeoutError(f"the bot does not buy {symbol}")

    def minute_frames(self, closes: Iterable[tuple[str, float]]) -> list[bytes]:
        """The frames of the next minute's bars of these (symbol, close)."""
        at = self._open + dt.timedelta(minutes=next(self._minutes))
        if at >= self._close:
            raise ValueError("the session has no more minutes")
        start = at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        bars = [
            {"T": "b", "S": symbol, "o": close, "h": close, "l": close, "c": close, "v": 21874, "n": 212,
             "vw": close, "t": start}
            for symbol, close in closes
        ]  # fmt: skip
        parts = (bars[first : first + BARS_IN_FRAME] for first in range(0, len(bars), BARS_IN_FRAME))
        return [frame(TEXT, msgspec.json.encode(part)) for part in parts]

    def _trade_frame(self, symbol: str) -> bytes:
        """A print: bars that nothing was traded for would be a channel that died."""
        trade = {"T": "t", "S": symbol, "i": 1, "p": TRIGGER, "s": 100, "c": ["@"], "z": "A", "t": self._now()}
        return frame(TEXT, msgspec.json.encode([trade]))

    def send_bars(self, frames: Iterable[bytes]) -> None:
        self.sockets[BARS].send(b"".join(frames))

    async def bars_sent(self) -> int:
        """Wait until the last byte of the bars has left; returns that time (perf_counter_ns)."""
        await self.sockets[BARS].drained.wait()
        return self.clock()

    def update(self, event: str, order: dict[str, Any]) -> bytes:
        """The frame that tells of `event`; a fill is booked."""
        now = self._now()
        data: dict[str, Any] = {"event": event, "execution_id": str(uuid.uuid4()), "timestamp": now, "at": now}
        order["status"] = "filled" if event == "fill" else event
        if event == "fill":
            order["filled_qty"], order["filled_avg_price"] = order["qty"], order["limit_price"] or "77.77"
            order["filled_at"] = now
            sign = 1 if order["side"] == "buy" else -1
            self._held[order["symbol"]] = self._held.get(order["symbol"], 0.0) + sign * float(order["qty"])
            position = f"{self._held[order['symbol']]:g}"
            data |= {"price": order["filled_avg_price"], "qty": order["qty"], "position_qty": position}
        return frame(BINARY, msgspec.json.encode({"stream": "trade_updates", "data": {**data, "order": order}}))

    def tell(self, update: bytes) -> int:
        """Write a frame of `update()` on the order-update stream; returns the time just before (perf_counter_ns)."""
        at = self.clock()
        self.sockets[UPDATES].send(update)
        return at

    def new_order(self, symbol: str, side: str, qty: str = "11", **terms: Any) -> dict[str, Any]:
        """An order as Alpaca shows it, complete."""
        now = self._now()
        order: dict[str, Any] = {
            "id": str(uuid.uuid4()), "client_order_id": str(uuid.uuid4()), "created_at": now, "updated_at": now,
            "submitted_at": now, "filled_at": None, "expired_at": None, "expires_at": now, "canceled_at": None,
            "failed_at": None, "replaced_at": None, "replaced_by": None, "replaces": None,
            "asset_id": "0a7c1d0e-55b2-49d0-9f6f-1b3c5a7e9d20", "symbol": symbol, "asset_class": "us_equity",
            "notional": None, "qty": qty, "filled_qty": "0", "filled_avg_price": None, "order_class": "",
            "order_type": "limit", "type": "limit", "side": side, "position_intent": f"{side}_to_open",
            "time_in_force": "day", "limit_price": "77.77", "status": "pending_new", "extended_hours": False,
            "legs": None, "trail_percent": None, "trail_price": None, "hwm": None, "subtag": None, "source": None,
        }  # fmt: skip
        order.update(terms)
        self.orders[order["id"]] = order
        return order

    # -- what a client asks -------------------------------------------------------------------------------------------

    def _now(self) -> str:
        at = dt.datetime.fromtimestamp(time.time() + self._ahead, dt.UTC)
        return f"{at:%Y-%m-%dT%H:%M:%S.%f}918Z"

    def _answer(self, request: Request) -> tuple[int, bytes]:
        path = request.path.removeprefix("/v2")
        kind = "order" if path.startswith("/orders/") else path.strip("/")
        self.requests[f"{request.method} {kind}"] += 1
        status, answer = self._rest(request)
        return status, msgspec.json.encode(answer)

    def _rest(self, request: Request) -> tuple[int, object]:
        open_statuses = ("new", "pending_new")
        match request.method, request.path.removeprefix("/v2").strip("/").split("/"):
            case "POST", ["orders"]:
                terms = msgspec.json.decode(request.body)
                terms.pop("position_intent", None)
                order = self.new_order(**terms)
                self._arrivals.put_nowait((order, request.at))
                return 200, order
            case "GET", ["clock"]:
                return 200, {
                    "timestamp": self._now(),
                    "is_open": True,
                    "next_open": (self._open + dt.timedelta(days=1)).isoformat(),
                    "next_close": self._close.isoformat(),
                }
            case "GET", ["calendar"]:
                return 200, [{"date": f"{self._open:%Y-%m-%d}", "open": "00:30", "close": "23:00"}]
            case "GET", ["account"]:
                return 200, {"id": str(uuid.uuid4()), "status": "ACTIVE", "equity": "1e9", "buying_power": "4e9"}
            case "GET", ["assets"]:
                return 200, [self._asset(symbol) for symbol in self.symbols]
            case "GET", ["assets", symbol]:
                return 200, self._asset(symbol)
            case "GET", ["stocks", "bars"]:
                return 200, {"bars": {}, "next_page_token": None}
            case "GET", ["orders"]:
                is_open = request.query.get("status", "open") == "open"
                return 200, [o for o in self.orders.values() if is_open and o["status"] in open_statuses]
            case "GET", ["orders", order_id] if order_id in self.orders:
                return 200, self.orders[order_id]
            case "GET", ["positions"]:
                return 200, [
                    {"symbol": symbol, "qty": f"{held:g}", "side": "long", "avg_entry_price": "77.77"}
                    for symbol, held in self._held.items() if held
                ]  # fmt: skip
        return 404, {"code": 40410000, "message": f"no answer to {request.method} {request.path}"}

    @staticmethod
    def _asset(symbol: str) -> dict[str, Any]:
        return {"id": str(uuid.uuid4()), "class": "us_equity", "exchange": "NYSE", "symbol": symbol,
                "name": f"{symbol} Common Stock", "status": "active", "tradable": True}  # fmt: skip

    # -- streams ------------------------------------------------------------------------------------------------------

    def _on_open(self, path: str, socket: Peer) -> None:
        self.sockets[path] = socket
        if path != UPDATES:
            socket.send(frame(TEXT, b'[{"T":"success","msg":"connected"}]'))

    def _on_message(self, path: str, socket: Peer, text: bytes) -> None:
        message = msgspec.json.decode(text)
        action = message["action"]
        if path == UPDATES:
            if action == "listen":
                answer: object = {"stream": "listening", "data": {"streams": ["trade_updates"]}}
            else:
                answer = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
            socket.send(frame(BINARY, msgspec.json.encode(answer)))
        elif action == "auth":
            socket.send(frame(TEXT, b'[{"T":"success","msg":"authenticated"}]'))
        else:
            for channel, symbols in message.items():
                if channel != "action":
                    self._channels.setdefault(channel, {}).update(dict.fromkeys(symbols))
            lists = {channel: list(symbols) for channel, symbols in self._channels.items()}
            socket.send(frame(TEXT, msgspec.json.encode([{"T": "subscription", **lists}])))
        if action in ("listen", "subscribe"):
            self.subscribed_at = self.clock()


def symbols(count: int) -> list[str]:
    """So many symbols that nobody trades."""
    return [f"S{number:05d}" for number in range(count)]


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
