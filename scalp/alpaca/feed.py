"""Minute bars, last trades and halts from Alpaca's data stream, history from its data API."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import msgspec

from scalp.alpaca.decode import format_time_ns, parse_time_ns
from scalp.alpaca.rest import LONGEST_LIST, AlpacaREST, list_length
from scalp.cli.settings import Endpoints
from scalp.core.errors import Rejected, Unreachable, UserError
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.ports import Account, Feed, Judge, MarketDataSink, never
from scalp.core.prices import HIGHEST_PRICE
from scalp.core.units import MINUTE
from scalp.net.marketdata import MarketDataStream
from scalp.net.stream import Frame, FrameDecoder, LoginRefused, StreamTrouble, websocket_url
from scalp.net.transport import UNDECODABLE, RateLimited, Transport
from scalp.net.websocket import WebSocket

ANSWER_TIMEOUT = 10.0  # seconds for each answer to login and subscription
CHUNK = 400  # symbols in one subscription message: servers refuse very long ones
CHANNELS = ("bars", "trades", "statuses", "updatedBars")  # in the order of need, should a limit be hit
BARS_PER_PAGE = 10_000

AUTH_FAILED, ALREADY_AUTHENTICATED, SYMBOL_LIMIT, NOT_IN_PLAN, NO_SUCH_CHANNEL = 402, 403, 405, 409, 410
# Not authenticated, login too late, connection limit, slow client, internal error: another connection may fare better.
HOPELESS = frozenset({401, 404, 406, 407, 500})

HALT_CODES = frozenset({"H", "P", "2"})
RESUME_CODES = frozenset({"T", "3"})

# Sale conditions whose print does not become the consolidated last sale, by the rules of the two tapes' plans. Those
# that count only when nothing was traded before (prior reference price, out of sequence, derivatively priced) are among
# them. Codes that are not named here count.
# Both: C cash, H price variation, I odd lot, M official close, N next day, P prior reference price, Q official open,
# R seller, T extended hours, U extended hours out of sequence, V contingent, Z out of sequence, 4 derivatively priced,
# 7 qualified contingent.
_NO_LAST_SALE = frozenset("CHIMNPQRTUVZ47")
NO_LAST_SALE_AB = _NO_LAST_SALE | {"B"}  # B average price
NO_LAST_SALE_C = _NO_LAST_SALE | {"W", "G"}  # W average price, G bunched and sold late


class _Bar(msgspec.Struct, tag_field="T", tag="b", gc=False):
    S: str
    t: str
    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: float


class _UpdatedBar(_Bar, tag_field="T", tag="u", gc=False):
    pass


class _Trade(msgspec.Struct, tag_field="T", tag="t", gc=False):
    S: str
    t: str
    p: float
    s: float = 0.0
    c: list[str] | None = None
    z: str | None = None
    i: int | str = ""


class _Status(msgspec.Struct, tag_field="T", tag="s"):
    S: str
    t: str
    sc: str
    rc: str | None = None
    rm: str | None = None


class _Correction(msgspec.Struct, tag_field="T", tag="c"):
    """Comes along with trades, as does the next: an original print, and what it should have been."""

    S: str = ""
    t: str = ""
    oi: int | str = ""
    op: float = 0.0
    ci: int | str = ""
    cp: float = 0.0
    cc: list[str] | None = None
    z: str | None = None


class _CancelError(msgspec.Struct, tag_field="T", tag="x"):
    S: str = ""
    t: str = ""
    i: int | str = ""
    p: float = 0.0


class _Success(msgspec.Struct, tag_field="T", tag="success"):
    msg: str = ""


class _Error(msgspec.Struct, tag_field="T", tag="error"):
    code: int = 0
    msg: str = ""


class _Subscription(msgspec.Struct, tag_field="T", tag="subscription"):
    bars: list[str] | None = None
    trades: list[str] | None = None
    statuses: list[str] | None = None
    updatedBars: list[str] | None = None


_Control = _Success | _Error | _Subscription
_Message = _Bar | _UpdatedBar | _Trade | _Status | _Correction | _CancelError | _Success | _Error | _Subscription

_decoder: FrameDecoder[_Message] = FrameDecoder(_Message)


class _HistoryBar(msgspec.Struct, gc=False):
    t: str
    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: float


class _Page(msgspec.Struct):
    # Rows are decoded one by one: a bad one must not cost the others of ten thousand.
    bars: dict[str, list[msgspec.Raw] | None] | None = None
    next_page_token: str | None = None


class _LatestTrade(msgspec.Struct):
    t: str
    p: float
    s: float = 0.0
    i: int | str = ""


class _LatestTrades(msgspec.Struct):
    trades: dict[str, msgspec.Raw] | None = None


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_latest = msgspec.json.Decoder(_LatestTrades).decode
_decode_trade = msgspec.json.Decoder(_LatestTrade | None).decode
_decode_row = msgspec.json.Decoder(_HistoryBar).decode


class AlpacaFeed(MarketDataStream):
    """The bars of `symbols` on the feed "iex" or "sip"; a URL that already names a feed is used as it is."""

    is_exclusive = False

    def __init__(
        self,
        endpoints: Endpoints,
        symbols: Sequence[str],
        sink: MarketDataSink,
        rng: random.Random,
        expect_messages: Callable[[], bool],
        rest: AlpacaREST,
        is_final: Callable[[LoginRefused], Awaitable[bool]] = never,
    ) -> None:
        url = _stream_url(endpoints.data_stream_url, endpoints.feed)
        super().__init__(f"alpaca {endpoints.feed}", url, symbols, sink, rng, expect_messages, is_final, endpoints.mask)
        self._feed = endpoints.feed
        self._rest = rest
        self._granted: dict[str, frozenset[str]] = {}
        self._controls: deque[_Control] = deque()  # control messages not yet looked at by the login
        self._login_message = msgspec.json.encode(
            {"action": "auth", "key": endpoints.key_id, "secret": endpoints.secret_key}
        ).decode()

    def streams_bars(self, symbol: str) -> bool:
        """Whether minute bars of `symbol` come (known once subscribed)."""
        return self._grants_bars(symbol)

    def _grants_bars(self, symbol: str) -> bool:
        return self._has("bars", symbol)

    def _grants_trades(self, symbol: str) -> bool:
        return self._has("trades", symbol)

    # Login and subscription.

    async def _login(self, socket: WebSocket) -> None:
        self._granted = {}
        self._controls.clear()
        for message in (None, self._login_message):
            if message is not None:
                await socket.send(message)
            answer = await self._answer(socket)
            if isinstance(answer, _Error) and answer.code != ALREADY_AUTHENTICATED:
                raise self._refusal(answer) or StreamTrouble(f"login: error {self._words_of(answer)}")
        for channel in CHANNELS:
            await self._subscribe_all(socket, channel)

    async def _subscribe_all(self, socket: WebSocket, channel: str) -> None:
        """Subscribe all symbols to `channel`. Bars are needed; other missing channels are logged and skipped."""
        reason = "left out of the server's answer"
        for first in range(0, len(self._symbols), CHUNK):
            chunk = self._symbols[first : first + CHUNK]
            refusal = await self._subscribe(socket, channel, chunk)
            if refusal is None:
                continue
            reason = self._words_of(refusal)
            if refusal.code in HOPELESS:
                raise StreamTrouble(f"{channel}: error {reason}")
            if channel == "bars":
                if refusal.code != SYMBOL_LIMIT:
                    raise self._refusal(refusal) or StreamTrouble(f"bars: error {reason}")
                await self._fit(socket, chunk)
            break
        missing = [symbol for symbol in self._symbols if not self._has(channel, symbol)]
        if not missing:
            return
        symbols = ", ".join(missing)
        if channel != "bars":
            self._say_once("no %s of %s (%s); going on with bars", channel, symbols, reason)
        elif len(missing) < len(self._symbols):
            self._say_once("NO BARS, and so no trading, of %s (%s); the others go on", symbols, reason)
        else:
            raise StreamTrouble(f"no bars at all ({reason})")

    async def _fit(self, socket: WebSocket, symbols: Sequence[str]) -> None:
        """Subscribe bars of as many of the first `symbols`, refused as a whole, as the limit lets in: by halving."""
        half = len(symbols) // 2
        for part in (symbols[:half], symbols[half:]) if half else ():
            if await self._subscribe(socket, "bars", part) is not None:
                await self._fit(socket, part)
                return

    async def _subscribe(self, socket: WebSocket, channel: str, symbols: Sequence[str]) -> _Error | None:
        """One subscription message; the error it was refused with, None once its answer is in."""
        await socket.send(msgspec.json.encode({"action": "subscribe", channel: symbols}).decode())
        try:
            answer = await self._answer(socket)
        except TimeoutError:
            if channel == "bars":
                raise
            return None  # not granted, which is what counts; should it come later, it is taken then
        return answer if isinstance(answer, _Error) else None

    def _words_of(self, error: _Error) -> str:
        return f"{error.code} {self._mask.words(error.msg)}"

    def _refusal(self, error: _Error) -> LoginRefused | None:
        """The LoginRefused for an error that only the user can fix; None for any other."""
        if error.code == AUTH_FAILED:
            return LoginRefused(
                "the data stream refused the keys: check APCA_API_KEY_ID and APCA_API_SECRET_KEY (APCA_API_STREAM_URL)"
            )
        if error.code in (NOT_IN_PLAN, NO_SUCH_CHANNEL):
            hint = "; --feed iex is free" if self._feed != "iex" else ""
            why = f"this account's data plan has no minute bars on the feed {self._feed}{hint}"
            return LoginRefused(why, is_about_plan=True)
        return None

    async def _answer(self, socket: WebSocket) -> _Control:
        """The next control message; data that arrives meanwhile is delivered."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while not self._controls:
                frame = await socket.recv()
                for message in _decoder.messages(frame, self._not_understood):
                    if isinstance(message, _Subscription):
                        self._take_subscription(message)
                    if isinstance(message, (_Success, _Error, _Subscription)):
                        self._controls.append(message)
                    else:
                        self._deliver(message)
        return self._controls.popleft()

    def _take_subscription(self, answer: _Subscription) -> None:
        # Always the whole present list, so a late answer corrects what was believed.
        self._granted = {channel: frozenset(getattr(answer, channel) or ()) for channel in CHANNELS}

    def _has(self, channel: str, symbol: str) -> bool:
        granted = self._granted.get(channel, frozenset())
        return symbol in granted or "*" in granted

    # Data.

    def _on_frame(self, frame: Frame) -> bool:
        data: list[_Message] = []
        trouble: StreamTrouble | None = None
        for message in _decoder.messages(frame, self._not_understood):
            if isinstance(message, _Subscription):
                self._take_subscription(message)
            elif isinstance(message, _Error):
                self._say_once("error %s", self._words_of(message))
                if message.code in HOPELESS:
                    trouble = StreamTrouble(f"error {self._words_of(message)}")
            elif not isinstance(message, _Success):
                data.append(message)
        self._hand_over(data)
        if trouble is not None:
            raise trouble
        return any(isinstance(message, (_Bar, _Trade)) for message in data)

    def _deliver(self, message: _Message) -> None:
        try:
            if isinstance(message, _Trade):
                if message.S in self._watched:
                    self._hear_print()
                    if 0 < message.p < HIGHEST_PRICE and counts_as_last_sale(message.c, message.z):
                        at = parse_time_ns(message.t)
                        self._tell_trade(Trade(message.S, at, message.p, message.s, message.i))
            elif isinstance(message, _Bar):
                if message.S in self._watched:
                    self._deliver_bar(message)
            elif isinstance(message, _Correction):
                if message.S in self._watched:
                    counts = 0 < message.cp < HIGHEST_PRICE and counts_as_last_sale(message.cc, message.z)
                    instead = message.cp if counts else None
                    at = 0 if message.oi != "" else parse_time_ns(message.t)
                    self._sink.on_trade_correction(
                        TradeCorrection(message.S, message.op, instead, message.oi, message.ci, at)
                    )
            elif isinstance(message, _CancelError):
                if message.S in self._watched:
                    at = 0 if message.i != "" else parse_time_ns(message.t)
                    self._sink.on_trade_correction(TradeCorrection(message.S, message.p, None, message.i, "", at))
            elif (
                isinstance(message, _Status)
                and message.S in self._watched
                and (message.sc in HALT_CODES or message.sc in RESUME_CODES)
            ):
                reason = self._mask.words(message.rm or message.rc or "")
                self._tell_halt(Halt(message.S, parse_time_ns(message.t), message.sc in HALT_CODES, reason))
        except (ValueError, IndexError) as error:
            self._frame_trouble(error)

    def _deliver_bar(self, message: _Bar) -> None:
        try:
            bar = _bar(message.S, message)
        except (ValueError, IndexError) as error:
            self._frame_trouble(error)
            self._lose_bar(message.S)
        else:
            self._tell_bar(bar, isinstance(message, _UpdatedBar))

    async def close(self) -> None:
        """Nothing to close: the REST interface belongs to whoever made it."""

    # History.

    async def history(self, symbols: Sequence[str], start: int, end: int) -> AsyncIterator[tuple[str, list[Bar]]]:
        """Finished minute bars from `start` to `end` (ns), symbol by symbol, oldest first; a symbol without bars too.

        Raises UserError if the plan does not allow it, else the errors of AlpacaREST. Symbols that cannot be fetched
        do not hold up those that are asked for in another request.
        """
        troubles: list[Rejected | Unreachable] = []
        for chunk in _chunks(symbols):
            try:
                bars = await self._chunk_of_history(chunk, start, end)
            except RateLimited:
                raise
            except (Rejected, Unreachable) as error:
                troubles.append(error)
            else:
                for symbol in chunk:
                    yield symbol, bars[symbol]
        if troubles:
            # One that may pass: the others are asked for again with it.
            raise next((error for error in troubles if isinstance(error, Unreachable)), troubles[0])

    async def _chunk_of_history(self, symbols: Sequence[str], start: int, end: int) -> dict[str, list[Bar]]:
        bars: dict[str, list[Bar]] = {symbol: [] for symbol in symbols}
        token: str | None = None
        while True:
            page = await self._page(symbols, start, end, token)
            for symbol, rows in (page.bars or {}).items():
                # A minute that is still running may be listed too.
                listed = self._rows(symbol, rows or ())
                bars.setdefault(symbol, []).extend(bar for bar in listed if bar.start + MINUTE <= end)
            if not page.next_page_token or page.next_page_token == token:
                return bars  # a server that repeats itself has no more bars
            token = page.next_page_token

    async def _page(self, symbols: Sequence[str], start: int, end: int, token: str | None) -> _Page:
        query = {
            "symbols": ",".join(symbols),
            "timeframe": "1Min",
            "start": format_time_ns(start),
            "end": format_time_ns(end),
            "limit": BARS_PER_PAGE,
            "adjustment": "raw",
            "sort": "asc",
            "page_token": token,
        }
        try:
            return _decode_page(await self._rest.data_bytes("/stocks/bars", query, self._feed))
        except Rejected as error:
            if error.status == 403 and "recent sip" in str(error).lower():
                raise UserError(
                    f"this account's data plan has no recent bars of the feed {self._feed}; --feed iex is free"
                ) from None
            raise
        except UNDECODABLE:
            raise Unreachable("GET /stocks/bars: the answer is not understood") from None

    def _rows(self, symbol: str, rows: Sequence[msgspec.Raw]) -> Iterator[Bar]:
        for row in rows:
            try:
                yield _bar(symbol, _decode_row(row))
            except (ValueError, IndexError, RecursionError) as error:
                # Of msgspec's errors those about content are ValueErrors.
                self._frame_trouble(error)

    async def latest_trades(self, symbols: Sequence[str]) -> dict[str, Trade]:
        """The latest trade that counts as last sale of each symbol that has one. Raises as AlpacaREST does."""
        found: dict[str, Trade] = {}
        for chunk in _chunks(symbols):
            body = await self._rest.data_bytes("/stocks/trades/latest", {"symbols": ",".join(chunk)}, self._feed)
            try:
                rows = _decode_latest(body).trades or {}
            except UNDECODABLE:
                raise Unreachable("GET /stocks/trades/latest: the answer is not understood") from None
            for symbol, row in rows.items():
                try:
                    if (trade := _decode_trade(row)) is not None:
                        found[symbol] = Trade(symbol, parse_time_ns(trade.t), trade.p, trade.s, trade.i)
                except (ValueError, IndexError, RecursionError) as error:
                    self._frame_trouble(error)
        return found

    async def latest_trade(self, symbol: str) -> Trade | None:
        """The latest trade that counts as last sale; None where the plan or the symbol has none."""
        try:
            return await self._rest.latest_trade(symbol, self._feed)
        except Rejected:
            return None


class _FeedAlone(AlpacaFeed):
    """Used beside another broker's account: it asks through a REST interface of its own."""

    async def close(self) -> None:
        await self._rest.close()


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
    """See `scalp.cli.venues`. It asks by the REST interface of `account`, where that is Alpaca's."""
    if isinstance(account, AlpacaREST):
        return AlpacaFeed(endpoints, symbols, sink, rng, expect_messages, account, judge)
    rest = AlpacaREST(endpoints, transport)
    return _FeedAlone(endpoints, symbols, sink, rng, expect_messages, rest, judge)


def counts_as_last_sale(conditions: Sequence[str] | None, tape: str | None) -> bool:
    """Whether a print with these sale conditions on tape A, B or C moves the last price; unknown codes count."""
    return (NO_LAST_SALE_C if tape == "C" else NO_LAST_SALE_AB).isdisjoint(conditions or ())


def _bar(symbol: str, row: _Bar | _HistoryBar) -> Bar:
    """Raises ValueError for what is no bar: its close would price orders and feed the signal."""
    if not (min(row.o, row.h, row.l, row.c) > 0 and max(row.o, row.h, row.l, row.c) < HIGHEST_PRICE and row.v >= 0):
        raise ValueError("a bar with an impossible price or volume")
    return Bar(symbol, parse_time_ns(row.t), row.o, row.h, row.l, row.c, row.v)


def _stream_url(url: str, feed: str) -> str:
    url = websocket_url(url)
    if url.endswith("/v2"):
        return f"{url}/{feed}"
    return url if "/v2/" in url else f"{url}/v2/{feed}"


def _chunks(symbols: Sequence[str]) -> Iterator[list[str]]:
    """`symbols` in pieces that fit into a URL."""
    chunk: list[str] = []
    # A copy, as the caller may remove what was yielded from its list.
    for symbol in list(symbols):
        if chunk and list_length([*chunk, symbol]) > LONGEST_LIST:
            yield chunk
            chunk = []
        chunk.append(symbol)
    if chunk:
        yield chunk
