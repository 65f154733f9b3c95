"""The three streams of the simulated exchange as a client sees them, without sockets.

A `StreamClient` is given a `send` for outgoing frames (text or bytes) and a `close`; the server hands it every incoming
message whole. Order updates: Alpaca's account stream. Data: Alpaca's market data stream, JSON or msgpack. Polygon: its
/stocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from scalp.core.market_data import Bar
from scalp.core.units import MILLISECOND
from scalp.exchange import wire
from scalp.exchange.path import Print
from scalp.exchange.rest import Access
from scalp.exchange.wire import Json

Send = Callable[[str | bytes], None]

_CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors")
_NEVER_SENT = ("lulds",)  # not simulated; some clients name every channel, with an empty list
LULD_PAUSE, LULD_OVER = 17, 18  # indicators of Polygon's LULD events
_FOLLOWS_TRADES = ("corrections", "cancelErrors")


class StreamClient:
    """What all streams share: a way out, and whether the client has logged in."""

    def __init__(self, access: Access, send: Send, close: Callable[[], None]) -> None:
        self.access = access
        self.authenticated = False
        self.muted = False  # a fault: connected, and silent
        self.close = close
        self.abort = close  # a fault: the server replaces it by breaking the connection without a close frame
        self._out = send

    def send(self, frame: str | bytes) -> None:
        if not self.muted:
            self._out(frame)

    def opened(self) -> None:
        """The connection is up."""

    def receive(self, frame: str | bytes) -> None:
        """A whole message of the client."""
        raise NotImplementedError

    def too_late(self) -> None:
        """The time to log in is over: say so before the connection is closed."""

    def flush(self) -> None:
        """Send what has been gathered."""


class OrderStreamClient(StreamClient):
    """The account stream. JSON in binary frames, as Alpaca's paper environment sends it; msgpack if asked for."""

    def __init__(self, access: Access, send: Send, close: Callable[[], None], *, packed: bool = False) -> None:
        super().__init__(access, send, close)
        self.listening = False
        self._encode = msgspec.msgpack.encode if packed else msgspec.json.encode

    def receive(self, frame: str | bytes) -> None:
        message = _decode(frame)
        if not isinstance(message, dict):
            return
        data = message.get("data")
        data = data if isinstance(data, dict) else {}
        action = message.get("action")
        if action in ("authenticate", "auth"):
            key, secret = (data.get("key_id"), data.get("secret_key")) if action == "authenticate" else (None, None)
            key, secret = key or message.get("key"), secret or message.get("secret")
            self.authenticated = self.access.admits(str(key or ""), str(secret or ""))
            self._authorization("authenticate")
        elif action == "listen" and not self.authenticated:
            self._authorization("listen")
        elif action == "listen":
            wanted = data.get("streams")
            known = [name for name in wanted if name == "trade_updates"] if isinstance(wanted, list) else []
            self.listening = bool(known)
            self._tell({"stream": "listening", "data": {"streams": known}})

    def on_update(self, message: Json) -> None:
        if self.listening:
            self._tell(message)

    def _authorization(self, action: str) -> None:
        status = "authorized" if self.authenticated else "unauthorized"
        self._tell({"stream": "authorization", "data": {"status": status, "action": action}})

    def _tell(self, message: Json) -> None:
        self.send(self._encode(message))


class DataStreamClient(StreamClient):
    """Alpaca's market data stream. `claim` asks whether the one place of this feed is free, and takes it."""

    def __init__(
        self,
        access: Access,
        send: Send,
        close: Callable[[], None],
        *,
        feed: str,
        packed: bool,
        claim: Callable[[DataStreamClient], bool],
    ) -> None:
        super().__init__(access, send, close)
        self.feed = feed
        self._packed = packed
        self._claim = claim
        self._wanted: dict[str, dict[str, None]] = {channel: {} for channel in _CHANNELS}  # in order
        self._gathered: list[Json | wire.Trade] = []

    def opened(self) -> None:
        self._tell({"T": "success", "msg": "connected"})

    def too_late(self) -> None:
        self._error(404, "auth timeout")

    def log_in(self, key: str, secret: str) -> None:
        """Log in, by message or by the headers of the handshake."""
        if self.authenticated:
            self._error(403, "already authenticated")
        elif self.feed != "test" and not self.access.admits(key, secret):
            self._error(402, "auth failed")
        elif self.feed == "sip" and not self.access.sip:
            self._error(409, "insufficient subscription")
        elif not self._claim(self):
            self._error(406, "connection limit exceeded")
        else:
            self.authenticated = True
            self._tell({"T": "success", "msg": "authenticated"})

    def receive(self, frame: str | bytes) -> None:
        message = _decode(frame)
        if not isinstance(message, dict) or not isinstance(message.get("action"), str):
            self._error(400, "invalid syntax")
        elif message["action"] == "auth":
            self.log_in(str(message.get("key", "")), str(message.get("secret", "")))
        elif message["action"] not in ("subscribe", "unsubscribe"):
            self._error(400, "invalid syntax")
        elif not self.authenticated:
            self._error(401, "not authenticated")
        else:
            self._subscribe(message.pop("action") == "subscribe", message)

    def _subscribe(self, adding: bool, changes: dict[str, Any]) -> None:
        if not all(isinstance(symbols, list) and all(isinstance(symbol, str) for symbol in symbols)
                   for symbols in changes.values()):  # fmt: skip
            self._error(400, "invalid syntax")
            return
        if adding and any(changes.get(channel) for channel in _NEVER_SENT):
            # The rest of the message still counts.
            self._error(410, "invalid subscribe action for this feed")
            changes = {channel: symbols for channel, symbols in changes.items() if channel not in _NEVER_SENT}
        if any(channel not in _CHANNELS for channel in changes):
            self._error(410, "invalid subscribe action for this feed")
            return
        wanted = {channel: dict(symbols) for channel, symbols in self._wanted.items()}
        for channel, symbols in changes.items():
            if adding:
                wanted[channel].update(dict.fromkeys(symbols))
            else:
                for symbol in symbols:
                    wanted[channel].pop(symbol, None)
        for channel in _FOLLOWS_TRADES:
            wanted[channel] = dict(wanted["trades"])
        counted = ("trades", "quotes", "bars")
        limit = self.access.symbol_limit
        if limit is not None and len({symbol for channel in counted for symbol in wanted[channel]}) > limit:
            self._error(405, "symbol limit exceeded")
            return
        self._wanted = wanted
        self._tell({"T": "subscription"} | {channel: list(symbols) for channel, symbols in wanted.items()})

    def wants(self, channel: str, symbol: str) -> bool:
        wanted = self._wanted[channel]
        return symbol in wanted or "*" in wanted

    def on_bar(self, bar: Bar, corrected: bool, day: Bar | None = None) -> None:
        """A finished minute or its correction, and the day so far, once the session has begun."""
        if self.wants("updatedBars" if corrected else "bars", bar.symbol):
            self._gather("u" if corrected else "b", bar.symbol, wire.bar(bar, self._when))
        if day is not None and not corrected and self.wants("dailyBars", bar.symbol):
            self._gather("d", bar.symbol, wire.bar(day, self._when))

    def on_print(self, symbol: str, made: Print) -> None:
        wanted = self._wanted
        if symbol in wanted["trades"] or "*" in wanted["trades"]:
            when = self._when(made.at)
            self._gathered.append(wire.Trade(symbol, when, made.price, wire.count(made.size), made.at // 1000))
        if wanted["quotes"] and self.wants("quotes", symbol):
            self._gather("q", symbol, wire.quote(made, self._when))

    def on_status(self, symbol: str, at: int, halted: bool) -> None:
        if self.wants("statuses", symbol):
            code = {"sc": "H", "sm": "Trading Halt"} if halted else {"sc": "T", "sm": "Trading Resumption"}
            reason = {"rc": "LUDP", "rm": "Volatility Trading Pause"} if halted else {"rc": "", "rm": ""}
            self._gather("s", symbol, code | reason | {"z": "C", "t": self._when(at)})

    def on_correction(self, symbol: str, made: Print, price: float | None) -> None:
        """A print was wrong: `price` is its right one, None if it never was."""
        if not self.wants("corrections" if price is not None else "cancelErrors", symbol):
            return
        told = wire.trade(made, self._when)
        if price is None:
            self._gather("x", symbol, {name: told[name] for name in ("t", "x", "i", "p", "s", "z")} | {"a": "C"})
            return
        right = {"ci": told["i"] + 1, "cp": price, "cs": told["s"], "cc": told["c"]}
        wrong = {"oi": told["i"], "op": told["p"], "os": told["s"], "oc": told["c"]}
        self._gather("c", symbol, {"t": told["t"], "x": told["x"]} | wrong | right | {"z": told["z"]})

    def _when(self, ns: int) -> object:
        return wire.stamp(ns) if self._packed else wire.utc(ns)

    def _gather(self, kind: str, symbol: str, body: Json) -> None:
        self._gathered.append({"T": kind, "S": symbol} | body)

    def flush(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.send(self._encode(gathered))

    def _encode(self, messages: Sequence[Json | wire.Trade]) -> str | bytes:
        return msgspec.msgpack.encode(messages) if self._packed else msgspec.json.encode(messages).decode()

    def _tell(self, message: Json) -> None:
        self.send(self._encode([message]))

    def _error(self, code: int, message: str) -> None:
        self._tell({"T": "error", "code": code, "msg": message})


class PolygonStreamClient(StreamClient):
    """Polygon's stream. `claim` makes this the one client of the key and evicts an older one."""

    def __init__(
        self, access: Access, send: Send, close: Callable[[], None], *, claim: Callable[[PolygonStreamClient], None]
    ) -> None:
        super().__init__(access, send, close)
        self._claim = claim
        self._wanted: dict[str, None] = {}
        self._gathered: list[Json] = []

    def opened(self) -> None:
        self._status("connected", "Connected Successfully")

    def too_late(self) -> None:
        self._status("auth_timeout", "No authentication request received.")

    def evict(self) -> None:
        """A newer connection came with the same key."""
        self._status("max_connections", "Maximum number of websocket connections exceeded.")
        self.close()

    def receive(self, frame: str | bytes) -> None:
        message = _decode(frame)
        if not isinstance(message, dict):
            return
        action, params = message.get("action"), str(message.get("params", ""))
        if action == "auth":
            if not self.access.admits_polygon(params):
                self._status("auth_failed", "authentication failed")
                return
            self.authenticated = True
            self._claim(self)
            self._status("auth_success", "authenticated")
        elif not self.authenticated:
            self._status("error", "not authorized")
        elif action in ("subscribe", "unsubscribe"):
            for channel in params.replace(" ", "").split(","):
                self._change(channel, action == "subscribe")

    def _change(self, channel: str, adding: bool) -> None:
        # As at Polygon: unknown channels and those already held get no answer.
        kind, dot, _ = channel.partition(".")
        if kind not in ("AM", "T", "LULD") or not dot or (channel in self._wanted) == adding:
            return
        if adding:
            self._wanted[channel] = None
        else:
            del self._wanted[channel]
        self._status("success", f"{'subscribed' if adding else 'unsubscribed'} to: {channel}")

    def wants(self, kind: str, symbol: str) -> bool:
        return f"{kind}.{symbol}" in self._wanted or f"{kind}.*" in self._wanted

    def on_bar(self, bar: Bar, day_volume: float, day_open: float) -> None:
        if self.wants("AM", bar.symbol):
            self._gathered.append(wire.polygon_bar(bar, day_volume, day_open))

    def on_print(self, symbol: str, made: Print) -> None:
        if self.wants("T", symbol):
            event = {"ev": "T", "sym": symbol, "x": 11, "i": str(made.at // 1000), "z": 3, "p": made.price}
            self._gathered.append(event | {"s": made.size, "c": [], "t": made.at // MILLISECOND, "q": made.at // 1000})

    def on_status(self, symbol: str, at: int, halted: bool, last: float) -> None:
        """A volatility pause, or its end; the bands are 5 % around the last trade."""
        if self.wants("LULD", symbol):
            bands = {"h": round(last * 1.05, 2), "l": round(last * 0.95, 2)}
            event = {"ev": "LULD", "T": symbol, **bands, "i": [LULD_PAUSE if halted else LULD_OVER]}
            self._gathered.append(event | {"z": 3, "t": at // MILLISECOND, "q": at // 1000})

    def flush(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self.send(msgspec.json.encode(gathered).decode())

    def _status(self, status: str, message: str) -> None:
        self.send(msgspec.json.encode([{"ev": "status", "status": status, "message": message}]).decode())


def _decode(frame: str | bytes) -> object:
    """The message in a frame: JSON, or msgpack in a binary one; None when it is neither."""
    try:
        return msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if isinstance(frame, str):
        return None
    try:
        return msgspec.msgpack.decode(frame)
    except (ValueError, RecursionError):
        return None
