"""Minute bars, last trades and halts from Polygon's (now Massive's) stream, history from its REST interface."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from scalp.cli.settings import Endpoints
from scalp.core.errors import Rejected, Unreachable
from scalp.core.market_data import Bar, Halt, Trade
from scalp.core.ports import Account, Feed, Judge, MarketDataSink, never
from scalp.core.prices import HIGHEST_PRICE
from scalp.core.units import MILLISECOND, MINUTE
from scalp.net.marketdata import MarketDataStream
from scalp.net.stream import Frame, FrameDecoder, LoginRefused, StreamTrouble, websocket_url
from scalp.net.transport import HttpTransport, RateLimited, Transport, check, decode, exchange
from scalp.net.websocket import WebSocket

ANSWER_TIMEOUT = 10.0  # seconds for each answer to the login
CONFIRM_TIMEOUT = 5.0  # seconds without a further answer to a subscription: not every channel is confirmed
REFUSED_TIMEOUT = 1.0  # the same once a channel was refused
LONGEST_PAUSE = 15.0  # seconds, whatever Retry-After says: a hole in the bars is left behind after a minute
EVICTED_WAIT = 60.0  # seconds after "max_connections": two programs on one key would throw each other out for ever
CHUNK = 400  # channels in one subscription message
REST_TIMEOUT = 10.0
LONGEST_PATH = 150  # characters in a line of ours
PACE = 0.05  # seconds between two requests for history
RETRIES = (2.0, 4.0, 8.0, 15.0)  # seconds before asking again
MOST_NAMED = 20  # symbols in one line
NANOSECONDS = 10**15  # a time beyond this is not in milliseconds

HALTED, RESUMED = 17, 18  # indicators of the LULD channel, of issues listed at Nasdaq only

DELAYED_HOST = "wss://delayed.massive.com/stocks"

# Conditions whose print does not become the last sale; codes that are not named here count.
# 2 average price, 5 bunched and sold late, 7 cash, 10 derivatively priced, 12 extended hours (form T), 13 extended
# hours out of sequence, 15 official close, 16 official open, 20 next day, 21 price variation, 22 prior reference price,
# 29 seller, 32 and 33 out of sequence, 35 stock option, 37 odd lot, 43 and 44 not eligible or cancelled, 52 contingent,
# 53 qualified contingent.
NO_LAST_SALE = frozenset({2, 5, 7, 10, 12, 13, 15, 16, 20, 21, 22, 29, 32, 33, 35, 37, 43, 44, 52, 53})


class _Aggregate(msgspec.Struct, tag_field="ev", tag="AM", gc=False):
    sym: str
    s: float  # epoch milliseconds
    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: float


class _Trade(msgspec.Struct, tag_field="ev", tag="T", gc=False):
    sym: str
    t: float  # epoch milliseconds
    p: float
    s: float = 0.0
    c: list[int] | None = None
    i: int | str = ""


class _Luld(msgspec.Struct, tag_field="ev", tag="LULD"):
    T: str  # the symbol
    t: float  # epoch milliseconds; nanoseconds in some of the documentation's examples
    i: list[int] | None = None


class _Status(msgspec.Struct, tag_field="ev", tag="status"):
    status: str = ""
    message: str = ""


_Data = _Aggregate | _Trade | _Luld
_Message = _Aggregate | _Trade | _Luld | _Status

_decoder: FrameDecoder[_Message] = FrameDecoder(_Message)


class PolygonFeed(MarketDataStream):
    """The minute bars of `symbols` from 04:00 to 20:00 New York time; trades and halts where the plan has them."""

    is_exclusive = True  # the newest connection throws out the older one

    def __init__(
        self,
        endpoints: Endpoints,
        symbols: Sequence[str],
        sink: MarketDataSink,
        rng: random.Random,
        expect_messages: Callable[[], bool],
        transport: Transport | None = None,
        is_final: Callable[[LoginRefused], Awaitable[bool]] = never,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        url = websocket_url(endpoints.polygon_stream_url)
        super().__init__("polygon", url, symbols, sink, rng, expect_messages, is_final, endpoints.mask)
        self._longest_pause = longest_pause
        self._rest_url = endpoints.polygon_url.rstrip("/")
        self._own_transport = HttpTransport() if transport is None else None
        self._transport: Transport = transport or self._own_transport  # type: ignore[assignment]
        # A key in a URL would end up in logs of proxies and servers.
        self._headers = {"Authorization": f"Bearer {endpoints.polygon_key}", "User-Agent": "scalp"}
        self._login_message = msgspec.json.encode({"action": "auth", "params": endpoints.polygon_key}).decode()
        self._confirmed: set[str] = set()
        self._not_authorized = False
        self._asked_for_halts = False

    async def close(self) -> None:
        """Close the connections of the default transport."""
        if self._own_transport is not None:
            await self._own_transport.close()

    def streams_bars(self, symbol: str) -> bool:
        """Whether minute bars of `symbol` come: not known, as some come though they were not confirmed."""
        return True

    def _grants_bars(self, symbol: str) -> bool:
        return True

    def _grants_trades(self, symbol: str) -> bool:
        return f"T.{symbol}" in self._confirmed

    # Login and subscription.

    async def _login(self, socket: WebSocket) -> None:
        self._confirmed = set()
        self._asked_for_halts = False
        await self._status(socket, "connected")
        await socket.send(self._login_message)
        await self._status(socket, "auth_success")
        # One kind after the other: a refusal does not name the channel it is about.
        await self._subscribe(socket, "AM")
        bars = [symbol for symbol in self._symbols if f"AM.{symbol}" in self._confirmed]
        if not bars and self._not_authorized:
            raise LoginRefused(
                "this Polygon plan has no real-time minute bars: it needs the Advanced plan. "
                f"(A delayed plan streams at POLYGON_WS_URL={DELAYED_HOST}, too late to trade on.)",
                is_about_plan=True,
            )
        if len(bars) < len(self._symbols):
            missing = ", ".join(symbol for symbol in self._symbols if symbol not in set(bars))
            self._say_once("the subscription to the minute bars of %s was not confirmed", missing)
        await self._subscribe(socket, "T")
        if not all(self._grants_trades(symbol) for symbol in self._symbols):
            self._say_once("no trades of some symbols (does the plan have them?); going on with minute bars")
        # Nobody waits for an answer: many symbols never get one on this channel.
        self._asked_for_halts = True
        for params in self._params("LULD"):
            await socket.send(params)

    async def _status(self, socket: WebSocket, wanted: str) -> None:
        """Wait for this status. Raises the error that another one means."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while True:
                for message in _decoder.messages(await socket.recv(), self._not_understood):
                    if not isinstance(message, _Status):
                        self._deliver(message)
                    elif message.status == wanted:
                        return
                    else:
                        _raise_trouble(message)

    async def _subscribe(self, socket: WebSocket, kind: str) -> None:
        """Subscribe all symbols, and wait while answers keep coming: some channels never get one."""
        self._not_authorized = False
        channels = [f"{kind}.{symbol}" for symbol in self._symbols]
        for params in self._params(kind):
            await socket.send(params)
        while not self._confirmed.issuperset(channels):
            try:
                async with asyncio.timeout(REFUSED_TIMEOUT if self._not_authorized else CONFIRM_TIMEOUT):
                    frame = await socket.recv()
            except TimeoutError:
                return
            self._take(frame)

    def _params(self, kind: str) -> list[str]:
        """The messages that subscribe this kind of all symbols."""
        channels = [f"{kind}.{symbol}" for symbol in self._symbols]
        return [
            msgspec.json.encode({"action": "subscribe", "params": ",".join(channels[first : first + CHUNK])}).decode()
            for first in range(0, len(channels), CHUNK)
        ]

    def _take_status(self, message: _Status) -> None:
        _raise_trouble(message)
        if message.message.startswith("subscribed to:"):
            names = message.message.partition(":")[2].split(",")
            self._confirmed.update(name.strip() for name in names)
        elif "not authorized" in message.message.lower():
            self._not_authorized = True
            if self._asked_for_halts:
                self._say_once("halts are not told (does the plan have them?); going on without")
        elif message.status == "error":
            self._say_once("error: %s", self._mask.words(message.message))

    # Data.

    def _on_frame(self, frame: Frame) -> bool:
        data: list[_Data] = []
        for message in _decoder.messages(frame, self._not_understood):
            if isinstance(message, _Status):
                self._take_status(message)
            else:
                data.append(message)
        self._hand_over(data)
        return any(not isinstance(message, _Luld) for message in data)

    def _deliver(self, message: _Data) -> None:
        if isinstance(message, _Luld):
            self._deliver_halt(message)
        elif message.sym not in self._watched:
            return
        elif isinstance(message, _Trade):
            self._hear_print()
            if 0 < message.p < HIGHEST_PRICE and NO_LAST_SALE.isdisjoint(message.c or ()):
                at = int(message.t) * MILLISECOND
                self._tell_trade(Trade(message.sym, at, message.p, message.s, message.i))
        else:
            try:
                bar = _bar(message.sym, message.s, message.o, message.h, message.l, message.c, message.v)
            except ValueError as error:
                self._frame_trouble(error)
                self._lose_bar(message.sym)
            else:
                self._tell_bar(bar)

    def _deliver_halt(self, message: _Luld) -> None:
        """Most messages of this channel are about price bands only."""
        indicators = message.i or ()
        if message.T in self._watched and (HALTED in indicators or RESUMED in indicators):
            at = int(message.t) * (1 if message.t > NANOSECONDS else MILLISECOND)
            self._tell_halt(Halt(message.T, at, RESUMED not in indicators, "told by LULD"))

    # REST.

    async def history(self, symbols: Sequence[str], start: int, end: int) -> AsyncIterator[tuple[str, list[Bar]]]:
        """Finished minute bars from `start` to `end` (ns), symbol by symbol, oldest first; a symbol without bars too.

        One request a symbol, one after the other. A symbol that cannot be fetched does not hold up the others: at the
        end Unreachable, naming the missing ones, is raised, or Rejected when it was a definite no for each of them.
        """
        missing: dict[str, Unreachable | Rejected] = {}
        # A copy, as the caller may remove what was yielded from its list.
        for symbol in list(symbols):
            try:
                bars = await self._bars(symbol, start, end)
            except (Unreachable, Rejected) as error:
                missing[symbol] = error
            else:
                yield symbol, bars
            await asyncio.sleep(PACE)
        trouble = [error for error in missing.values() if isinstance(error, Unreachable)]
        names = ", ".join(missing) if len(missing) <= MOST_NAMED else f"{len(missing)} symbols"
        if trouble:
            raise Unreachable(f"no history of {names}: {trouble[0]}")
        for refusal in missing.values():
            assert isinstance(refusal, Rejected)
            raise Rejected(refusal.status, refusal.code, f"no history of {names}: {refusal.message}")

    async def _bars(self, symbol: str, start: int, end: int) -> list[Bar]:
        path = f"/v2/aggs/ticker/{quote(symbol, safe='')}/range/1/minute/{start // MILLISECOND}/{end // MILLISECOND}"
        query = {"adjusted": "false", "sort": "asc", "limit": "50000"}
        bars: list[Bar] = []
        before = None
        while True:
            answer = await self._get_patiently(path, query)
            rows = answer.get("results")
            for row in rows if isinstance(rows, list) else ():
                try:
                    numbers = [float(row[name]) for name in ("t", "o", "h", "l", "c", "v")]
                    bar = _bar(symbol, *numbers)
                except (KeyError, TypeError, ValueError, OverflowError) as error:
                    self._frame_trouble(error)
                    continue
                if bar.start + MINUTE <= end:
                    bars.append(bar)
            further = answer.get("next_url")
            if not isinstance(further, str) or not further or further == before:
                return bars  # a server that repeats itself has no more bars
            before = further
            # Only path and query are taken from it, so the key goes to no other host: `@elsewhere/` is no path.
            try:
                parts = urlsplit(further)
                if not parts.path.startswith("/"):
                    raise ValueError
                path, query = parts.path, dict(parse_qsl(parts.query))
            except ValueError:
                raise Unreachable(f"no more bars of {symbol}: the address of the next page is not understood") from None

    async def _get_patiently(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        for pause in RETRIES:
            try:
                return await self._get(path, query)
            except RateLimited as error:
                await asyncio.sleep(min(error.retry_after or pause, self._longest_pause))
            except Unreachable:
                await asyncio.sleep(pause)
        return await self._get(path, query)

    async def latest_trade(self, symbol: str) -> Trade | None:
        """The latest trade if it counts as last sale; None where plan or symbol have none. Raises Unreachable."""
        try:
            answer = await self._get(f"/v2/last/trade/{quote(symbol, safe='')}", None)
        except Rejected:
            return None
        trade = answer.get("results")
        if not isinstance(trade, dict):
            return None
        try:
            if not NO_LAST_SALE.isdisjoint(trade.get("c") or ()):
                return None
            # Unlike on the stream this time is in nanoseconds.
            at, price, size = int(trade["t"]), float(trade["p"]), float(trade.get("s") or 0)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return Trade(symbol, at, price, size, str(trade.get("i", ""))) if 0 < price < HIGHEST_PRICE else None

    async def latest_trades(self, symbols: Sequence[str]) -> dict[str, Trade]:
        """The latest trade of each symbol where it is one that counts as last sale; failures are left out."""
        found: dict[str, Trade] = {}
        for symbol in symbols:
            try:
                trade = await self.latest_trade(symbol)
            except Unreachable:
                continue
            if trade is not None:
                found[symbol] = trade
            await asyncio.sleep(PACE)
        return found

    async def ask_rest(self) -> None:
        """Ask anything, with the key. Raises Rejected with status 401 where the key is not known, or Unreachable."""
        symbol = quote(self._symbols[0], safe="")
        await self._get(f"/v2/aggs/ticker/{symbol}/range/1/minute/0/0", {"limit": "1"})

    async def _get(self, path: str, query: dict[str, str] | None) -> dict[str, Any]:
        what = f"GET {self._mask.words(path, LONGEST_PATH)}"
        headers, status, body = await exchange(
            self._transport,
            "GET",
            self._rest_url + path,
            self._headers,
            query,
            None,
            REST_TIMEOUT,
            what=what,
            changes=False,
        )
        check(status, headers, body, what=what, changes=False, mask=self._mask)
        answer = decode(body, what=what, changes=False)
        if not isinstance(answer, dict):
            raise Unreachable(f"{what}: the answer is not understood")
        # DELAYED is the success of a delayed plan.
        if answer.get("status") not in ("OK", "DELAYED"):
            reason = answer.get("error") or answer.get("message") or answer.get("status")
            raise Rejected(status, 0, self._mask.words(reason))
        return answer


def open_feed(
    endpoints: Endpoints,
    symbols: Sequence[str],
    sink: MarketDataSink,
    rng: random.Random,
    expect_messages: Callable[[], bool],
    account: Account | None = None,
    judge: Judge = never,
    transport: Transport | None = None,
    longest_pause: float | None = None,
) -> Feed:
    """See `scalp.cli.venues`. Its REST interface is the second witness of a refused key."""
    feed = PolygonFeed(endpoints, symbols, sink, rng, expect_messages, transport,
                       is_final=lambda refusal: judge(refusal, feed.ask_rest, refusals=(401,)),
                       longest_pause=LONGEST_PAUSE if longest_pause is None else longest_pause)  # fmt: skip
    return feed


def _bar(symbol: str, start: float, open_: float, high: float, low: float, close: float, volume: float) -> Bar:
    """`start` in ms. Raises ValueError for what is no bar: its close would price orders and feed the signal."""
    prices = (open_, high, low, close)
    if not (all(0 < price < HIGHEST_PRICE for price in prices) and volume >= 0):
        raise ValueError("a bar with an impossible price or volume")
    return Bar(symbol, int(start) * MILLISECOND, open_, high, low, close, volume)


def _raise_trouble(message: _Status) -> None:
    """Raise the error that a status means for the connection, if any."""
    if message.status == "auth_failed":
        raise LoginRefused("Polygon refused the key: check POLYGON_API_KEY")
    if message.status == "max_connections":
        raise StreamTrouble(
            "another connection with this key is open (Polygon allows one, the newest wins)", EVICTED_WAIT
        )
    if message.status == "auth_timeout":
        raise StreamTrouble("the login came too late")
