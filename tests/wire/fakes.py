"""Tiny servers that play a script, and sinks that write down what they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from websockets.exceptions import ConnectionClosed
from websockets.legacy.server import WebSocketServerProtocol, serve

from scalp.cli.settings import Endpoints
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.orders import OrderReport
from scalp.net.stream import ReconnectingStream
from scalp.net.virtual_time import JumpingLoop

KEY, SECRET, POLYGON_KEY = "PKTESTKEY", "testsecret", "polygontestkey"


def run(session: Coroutine[Any, Any, None]) -> None:
    """On a loop that skips all waiting."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(session)


def endpoints(url: str, **more: str) -> Endpoints:
    """All of them at one server; `url` begins with ws or http."""
    http = "http" + url[2:] if url.startswith("ws") else url
    return Endpoints(http, http, url, KEY, SECRET, **{"polygon_url": http, "polygon_stream_url": url, **more})


class Talk:
    """The server's side of one connection."""

    def __init__(self, socket: WebSocketServerProtocol) -> None:
        self.socket = socket
        self.path = socket.path

    async def says(self, *messages: Any) -> None:
        """Each message a frame: text and bytes as they are, everything else as JSON."""
        for message in messages:
            await self.socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def hears(self) -> Any:
        return json.loads(await self.socket.recv())

    async def stays(self, seconds: float) -> None:
        """Silent for so long, or until the client leaves."""
        try:
            async with asyncio.timeout(seconds):
                await self.socket.wait_closed()
        except TimeoutError:
            pass

    async def dies(self) -> None:
        """Without a close frame."""
        self.socket.transport.abort()
        await self.socket.wait_closed()


# What happens on one connection; a number refuses the handshake with that HTTP status.
Script = Callable[[Talk], Awaitable[None]] | int


class ScriptedServer:
    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self.url = ""
        self.connected_at: list[float] = []
        self._scripts = list(scripts)
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    async def refuse(self, _path: str, _headers: Any) -> Any:
        self.connected_at.append(round(asyncio.get_running_loop().time(), 3))
        if self._scripts and isinstance(status := self._scripts[0], int):
            self._scripts.pop(0)
            return HTTPStatus(status), {"Location": "ws://127.0.0.1:1/elsewhere"}, b"no"
        return None

    async def play(self, socket: WebSocketServerProtocol, _path: str = "") -> None:
        if not self._scripts:
            return
        script = self._scripts.pop(0)
        assert not isinstance(script, int)
        try:
            await script(Talk(socket))
        except ConnectionClosed:
            pass
        except BaseException as error:
            self._failure = error
            raise
        finally:
            if not self._scripts or self._failure:
                self._ended.set()

    async def against(self, stream: ReconnectingStream) -> None:
        """Run `stream` until the last script has ended. Raises what the stream or a script raised."""
        client = asyncio.ensure_future(stream.run())
        ended = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait((client, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not client.done():
            client.cancel()
        await asyncio.wait((client,))
        if self._failure is not None:
            raise self._failure
        if not client.cancelled():
            client.result()


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(scripts)
    async with serve(
        server.play, "127.0.0.1", 0, process_request=server.refuse, compression=None, close_timeout=1
    ) as running:
        server.url = f"ws://127.0.0.1:{next(iter(running.sockets)).getsockname()[1]}"
        yield server


class Told:
    """A sink for everything: `all` holds what it was told, in order."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def on_bar(self, bar: Bar) -> None:
        self.all.append(bar)

    def on_trade(self, trade: Trade) -> None:
        self.all.append(trade)

    def on_gap(self, symbol: str) -> None:
        self.all.append(f"gap: {symbol}")

    def on_trade_correction(self, correction: TradeCorrection) -> None:
        self.all.append(correction)

    def on_halt(self, halt: Halt) -> None:
        self.all.append(halt)

    def on_feed_up(self) -> None:
        self.all.append("up")

    def on_feed_down(self, why: str) -> None:
        self.all.append(f"down: {why}")

    def on_order_update(self, report: OrderReport) -> None:
        self.all.append(report)

    def on_updates_up(self) -> None:
        self.all.append("up")

    def on_updates_down(self, why: str) -> None:
        self.all.append(f"down: {why}")


class HttpFake:
    """Answers requests from a list of canned answers, in order, and writes down what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str, Any]] = []  # method, path with query (decoded), JSON body
        self.headers: list[dict[str, str]] = []
        self.answers: list[web.Response | float] = []  # a number: silence for so many seconds

    def will_answer(self, body: Any = "", status: int = 200, **headers: str) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(web.Response(text=text, status=status, headers=named))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, unquote(request.path_qs), body))
        self.headers.append(dict(request.headers))
        answer = self.answers.pop(0)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return web.Response(text="too late")
        return answer


@asynccontextmanager
async def http_fake() -> AsyncIterator[HttpFake]:
    fake = HttpFake()
    runner = web.ServerRunner(web.Server(fake.handle), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
