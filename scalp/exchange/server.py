"""The wire server: the simulated exchange on loopback, for any client that speaks Alpaca's or Polygon's protocol.

Exchange time is the running loop's time: start + (loop.time() - t0). So it runs as fast as its loop does, on a
`JumpingLoop` in one process with the bot (the same seed gives the same run) or on a `ScaledLoop` by itself. No thread
and no wall clock is involved.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from scalp.cli.settings import is_loopback
from scalp.core.market_data import Bar
from scalp.core.units import SECOND
from scalp.exchange import wire
from scalp.exchange.derived import joined, midnight
from scalp.exchange.faults import Faults
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Update
from scalp.exchange.path import Print
from scalp.exchange.rest import Access, Response, Rest
from scalp.exchange.simulation import Listener, Simulation
from scalp.exchange.streams import DataStreamClient, OrderStreamClient, PolygonStreamClient, StreamClient
from scalp.exchange.tape import Tape
from scalp.net.virtual_time import pace

LINGER = 60 * SECOND
LOGIN_TIMEOUT = 10.0  # seconds of the wall clock, however fast exchange time passes
MAX_BACKLOG = 5_000  # frames
BACKLOG = 4_096  # connections that may wait to be accepted: those of an instant, one for each symbol
KEEP_ALIVE = 86400.0  # seconds: an idle connection outlasts the day, however fast that passes
DATA_FEEDS = ("iex", "sip", "test", "delayed_sip")
HOST = re.compile(r"\[?([\w.:-]+?)\]?(:\d{1,5})?")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter

S = TypeVar("S", bound=StreamClient)


class ExchangeServer(Listener):
    """A running server; made by `start`. `port` is known from then on."""

    def __init__(self, simulation: Simulation, access: Access, faults: Faults) -> None:
        self.simulation = simulation
        self.rest = Rest(simulation, access)
        self.port = 0
        self.finished = asyncio.Event()
        self._access = access
        self._faults = faults
        self._loop = asyncio.get_running_loop()
        self._zero = self._loop.time()
        self._start = simulation.now
        self._timer: asyncio.TimerHandle | None = None
        self._end = simulation.engine.session_close + LINGER
        self._orders: list[OrderStreamClient] = []
        self._data: list[DataStreamClient] = []
        self._polygon: list[PolygonStreamClient] = []
        self._updates_sent = 0
        self._day: dict[str, Bar] = {}  # by symbol: the day so far; its prices are 0 before the open
        self._runner: web.AppRunner | None = None
        for bars in simulation.tape.published.values():
            for bar in bars:
                self._add_to_day(bar)
        simulation.listener = self

    @classmethod
    async def start(
        cls,
        market: Mapping[str, Sequence[Bar]],
        engine: Engine,
        *,
        tape: Tape | None = None,
        port: int = 0,
        access: Access | None = None,
        faults: Faults | None = None,
        linger: int = LINGER,
    ) -> ExchangeServer:
        """Listen on 127.0.0.1 (any free port for 0) and let time pass, from the engine's present on.

        `market` holds the day's minute bars by symbol (earlier days may come before: they are history); `tape`
        replaces the way they are played. `engine` must list the same symbols. `finished` is set `linger` ns after the
        session's close; the server answers until `stop`. Raises OSError when the port is taken.
        """
        server = cls(Simulation(market, engine, tape=tape), access or Access(), faults or Faults())
        server._end = engine.session_close + linger
        app = web.Application(middlewares=[_for_programs_of_this_machine])
        app.router.add_get("/stream", server._order_stream)
        app.router.add_get("/stream/", server._order_stream)
        for feed in DATA_FEEDS:
            app.router.add_get(f"/v2/{feed}", server._data_stream)
        app.router.add_get("/stocks", server._polygon_stream)
        app.router.add_route("*", "/{path:.*}", server._request)
        server._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_OneLine(logging.getLogger("scalp.exchange")),
            shutdown_timeout=0.1,
            keepalive_timeout=KEEP_ALIVE,
        )
        await server._runner.setup()
        site = web.TCPSite(server._runner, "127.0.0.1", port, backlog=BACKLOG)
        await site.start()
        server.port = server._runner.addresses[0][1]
        server.rest.set_base_url(server.url)
        server._faults.begin(server)
        server._zero = server._loop.time()
        server.catch_up(server._start)
        return server

    @property
    def url(self) -> str:
        """http address, no trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables that point a client here. The Polygon key is not among them."""
        streams = f"ws://127.0.0.1:{self.port}"
        key_id, secret = next(iter((self._access.keys or {"SIMULATED": "simulated-secret"}).items()))
        return {
            "APCA_API_BASE_URL": self.url,
            "APCA_API_DATA_URL": self.url,
            "APCA_API_STREAM_URL": streams,
            "APCA_API_KEY_ID": key_id,
            "APCA_API_SECRET_KEY": secret,
            "POLYGON_BASE_URL": self.url,
            "POLYGON_WS_URL": f"{streams}/stocks",
        }

    async def stop(self) -> None:
        """Close every connection and the port."""
        if self._timer is not None:
            self._timer.cancel()
        self.close_streams()
        self._end = 0
        if self._runner is not None:
            await self._runner.cleanup()

    def close_streams(self, kind: str = "") -> None:
        """Close the connections of one `kind` of stream ("orders", "data", "polygon"), or all."""
        for client in self.clients(kind):
            client.close()

    def mute_streams(self, kind: str = "", muted: bool = True) -> None:
        """A fault: connections stay open and say nothing."""
        for client in self.clients(kind):
            client.muted = muted

    def clients(self, kind: str = "") -> list[StreamClient]:
        """The open connections of one kind, or all."""
        kinds: dict[str, Sequence[StreamClient]] = {
            "orders": self._orders,
            "data": self._data,
            "polygon": self._polygon,
        }
        return [client for name, clients in kinds.items() if kind in ("", name) for client in clients]

    # --- time ---

    def now(self) -> int:
        """Exchange time in ns, by the loop's time; never earlier than what has happened."""
        return max(self.simulation.now, self._start + int((self._loop.time() - self._zero) * SECOND))

    def catch_up(self, due: int = 0) -> None:
        """Let everything happen until now, send it out, and come back when the next thing is due."""
        # A timer may fire a rounding error before the time it was set for: `due` makes sure it isn't set again.
        now = max(self.now(), due)
        self.simulation.advance(now)
        for client in self.clients():
            client.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if now >= self._end:
            self.finished.set()
            upcoming = self.simulation.engine.next_time()
        else:
            upcoming = min(self.simulation.next_time() or self._end, self._end)
        if upcoming is not None and self._end:
            self._timer = self._loop.call_at(self._zero + (upcoming - self._start) / SECOND, self.catch_up, upcoming)

    # --- what happens in the market ---

    def on_update(self, update: Update) -> None:
        for delay in self._faults.update(update):
            if delay:
                self._loop.call_later(delay, self._tell_update, update)
            else:
                self._tell_update(update)

    def _tell_update(self, update: Update) -> None:
        self._updates_sent += 1
        message = wire.update(update, self.now(), self._updates_sent, self.simulation.engine.assets)
        for client in self._orders:
            client.on_update(message)

    def on_print(self, symbol: str, made: Print) -> None:
        for client in self._data:
            client.on_print(symbol, made)
        for other in self._polygon:
            other.on_print(symbol, made)

    def on_bar(self, bar: Bar, corrected: bool) -> None:
        if not corrected:
            self._add_to_day(bar)
        for delay in self._faults.bar(bar):
            if delay:
                self._loop.call_later(delay, self._tell_bar_late, bar, corrected)
            else:
                self._tell_bar(bar, corrected)

    def _tell_bar_late(self, bar: Bar, corrected: bool) -> None:
        self._tell_bar(bar, corrected)
        self.catch_up()

    def _tell_bar(self, bar: Bar, corrected: bool) -> None:
        day = self._day[bar.symbol]
        for client in self._data:
            client.on_bar(bar, corrected, day if day.open else None)
        for other in self._polygon:
            other.on_bar(bar, day.volume, day.open)

    def _add_to_day(self, bar: Bar) -> None:
        session = self.simulation.day()
        if (day := self._day.get(bar.symbol)) is None:
            day = Bar(bar.symbol, midnight(session.date), 0.0, 0.0, 0.0, 0.0, 0.0)
        if bar.start >= day.start:
            day = joined(day, bar, session.open <= bar.start < session.close)
        self._day[bar.symbol] = day

    def on_status(self, symbol: str, at: int, halted: bool) -> None:
        for client in self._data:
            client.on_status(symbol, at, halted)
            client.flush()
        last = self.simulation.engine.last_price(symbol)
        for other in self._polygon:
            other.on_status(symbol, at, halted, float(last or 0))
            other.flush()

    # --- requests ---

    async def _request(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.read()
        except (web.RequestPayloadError, ConnectionError):
            return web.Response(status=400, text="the body is not what its headers say")

        def handle() -> Response:
            self.catch_up()
            answer = self.rest.handle(request.method, request.path, request.query, request.headers, body)
            self.catch_up()  # what the request has started is now waited for
            return answer

        told = await self._faults.request(request.method, request.path, body, handle)
        if told is None:
            # The answer is lost: the client sees its connection break.
            if request.transport is not None:
                request.transport.abort()
            told = Response(503, {}, b"")
        return web.Response(status=told.status, headers=told.headers, body=told.body or None)

    # --- streams ---

    async def _order_stream(self, request: web.Request) -> web.StreamResponse:
        if self._orders or self._faults.handshake("orders"):
            return web.Response(status=429, text="too many connections")
        packed = request.headers.get("Content-Type") == "application/msgpack"
        return await self._serve(
            request, lambda send, close: OrderStreamClient(self._access, send, close, packed=packed), self._orders
        )

    async def _data_stream(self, request: web.Request) -> web.StreamResponse:
        if self._faults.handshake("data"):
            return web.Response(status=429, text="too many connections")
        feed = request.path.rpartition("/")[2]
        packed = request.headers.get("Content-Type") == "application/msgpack"

        def claim(client: DataStreamClient) -> bool:
            if self._faults.login("data"):
                return False
            return not any(other.feed == feed and other.authenticated for other in self._data if other is not client)

        def make(send: Callable[[str | bytes], None], close: Callable[[], None]) -> DataStreamClient:
            return DataStreamClient(self._access, send, close, feed=feed, packed=packed, claim=claim)

        return await self._serve(request, make, self._data)

    async def _polygon_stream(self, request: web.Request) -> web.StreamResponse:
        if self._faults.handshake("polygon"):
            return web.Response(status=429, text="too many connections")

        def claim(client: PolygonStreamClient) -> None:
            for other in list(self._polygon):
                if other is not client and other.authenticated:
                    self._polygon.remove(other)
                    other.evict()

        def make(send: Callable[[str | bytes], None], close: Callable[[], None]) -> PolygonStreamClient:
            return PolygonStreamClient(self._access, send, close, claim=claim)

        return await self._serve(request, make, self._polygon)

    async def _serve(
        self,
        request: web.Request,
        make: Callable[[Callable[[str | bytes], None], Callable[[], None]], S],
        clients: list[S],
    ) -> web.StreamResponse:
        """Run one connection. Outgoing frames wait in a queue, so that a slow reader holds up nobody else."""
        socket = web.WebSocketResponse(compress=False)
        outgoing = Outgoing()
        client = make(outgoing.put, lambda: outgoing.put(None))
        if request.transport is not None:
            client.abort = outgoing.cut_off = request.transport.abort
        clients.append(client)  # before the handshake ends: the place is taken
        writer: asyncio.Task[None] | None = None

        def time_out() -> None:
            if not client.authenticated and client in clients:
                clients.remove(client)  # the place is free, however long the client takes to close
                client.too_late()
                client.close()

        login = self._loop.call_later(LOGIN_TIMEOUT * pace(self._loop), time_out)
        try:
            await socket.prepare(request)
            writer = asyncio.create_task(outgoing.write(socket))
            client.opened()
            key_id = request.headers.get("APCA-API-KEY-ID")
            if key_id and isinstance(client, DataStreamClient):
                client.log_in(key_id, request.headers.get("APCA-API-SECRET-KEY", ""))
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self.catch_up()
                    with outgoing.answering():
                        client.receive(message.data)
                    await outgoing.has_room.wait()
        finally:
            login.cancel()
            if client in clients:
                clients.remove(client)
            if writer is not None:
                writer.cancel()
        return socket


class Outgoing:
    """The frames of one connection that wait to be written.

    A client that reads the news too slowly is cut off. The answers it asked for may be more than that (Polygon confirms
    every channel): then its messages only wait until it has read them.
    """

    def __init__(self) -> None:
        self.cut_off: Callable[[], None] = lambda: self.put(None)
        self.has_room = asyncio.Event()
        self.has_room.set()
        self._frames: asyncio.Queue[tuple[str | bytes | None, bool]] = asyncio.Queue()
        self._news = 0  # of them
        self._is_answering = False

    def put(self, frame: str | bytes | None) -> None:
        """Have a frame written; None closes the connection once all before it are out."""
        is_news = frame is not None and not self._is_answering
        self._news += is_news
        if is_news and self._news > MAX_BACKLOG:
            self.cut_off()
            return
        self._frames.put_nowait((frame, is_news))
        if self._frames.qsize() > MAX_BACKLOG:
            self.has_room.clear()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Frames put inside are answers that the client has asked for."""
        self._is_answering = True
        try:
            yield
        finally:
            self._is_answering = False

    async def write(self, socket: web.WebSocketResponse) -> None:
        """Write frames until one of them is None or the client is gone."""
        try:
            while True:
                frame, is_news = await self._frames.get()
                if frame is None:
                    break
                if isinstance(frame, str):
                    await socket.send_str(frame)
                else:
                    await socket.send_bytes(frame)
                self._news -= is_news
                if self._frames.qsize() <= MAX_BACKLOG:
                    self.has_room.set()
        except ConnectionError:
            return  # the reading side ends too, and cleans up
        finally:
            self.has_room.set()
        await socket.close()


class _OneLine(Adapter):
    """Logs a client's malformed request in a line; a bug of ours keeps its traceback."""

    def exception(self, msg: object, *args: Any, exc_info: Any = True, **more: Any) -> None:
        if isinstance(exc_info, (HttpProcessingError, web.RequestPayloadError, ConnectionError)):
            self.warning("a request was not understood (%s)", type(exc_info).__name__)
        else:
            super().exception(msg, *args, exc_info=exc_info, **more)


@web.middleware
async def _for_programs_of_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A page in a browser on this machine must neither log in nor trade, whatever name it calls us by.

    Its requests name the page in Origin, or, where its own name was made to lead here, that name in Host.
    """
    host = request.headers.get("Host", "").lower()
    found = HOST.fullmatch(host)
    if found is None or not is_loopback(found[1]):
        return web.Response(status=403, text="the Host is not this machine: use 127.0.0.1 or localhost")
    if request.headers.get("Origin", f"http://{host}").lower() != f"http://{host}":
        return web.Response(status=403, text="pages of other servers have no access")
    return await handler(request)
