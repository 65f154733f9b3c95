"""No key ever leaves in the wrong direction: not into the terminal, not into console.log, not into a traceback, not to
another host than the one it is for."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import os
import random
import shutil
import ssl
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from scalp.alpaca.feed import AlpacaFeed
from scalp.alpaca.rest import AlpacaREST
from scalp.alpaca.updates import OrderUpdates
from scalp.cli.settings import Endpoints
from scalp.core.commands import SubmitOrder
from scalp.core.errors import ScalpError
from scalp.core.orders import BUY
from scalp.core.units import MINUTE
from scalp.exchange.calendar import session_day
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.faults import Faults, Server
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.exchange.rest import Access, Response
from scalp.exchange.server import ExchangeServer
from scalp.net.stream import ReconnectingStream
from scalp.net.virtual_time import JumpingLoop, ScaledLoop
from scalp.polygon.feed import PolygonFeed
from tests.blackbox.shared_time import SharedTime
from tests.wire.fakes import Told

ROOT = Path(__file__).resolve().parents[1]
MAIN = ROOT / "main.py"
IN_THE_BOT = ROOT / "tests" / "blackbox" / "in_the_bot"
# With characters that are written differently in a URL.
KEY_ID, SECRET, POLYGON_KEY = "PKLEAK+ID/0=", "leaked+s3cret/0f=the-acc0unt==", "leaked+p0lyg0n/k3y="
SPEED = 60.0

SIGNAL = """import os

from scalp import ScalpAlgo

class Custom(ScalpAlgo):
    warmup_bars = 1
    asked = 0

    def _calculate_buy_signal(self):
        self.asked += 1
        if self.asked % 2:
            raise RuntimeError("ECHO " + os.environ["APCA_API_SECRET_KEY"])
        return True
"""


def forms(key: str) -> set[str]:
    """How a key may look in a text."""
    encoded = {base64.b64encode(key.encode()), base64.urlsafe_b64encode(key.encode())}
    return {key, quote(key), quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1]} | {
        text.decode().rstrip("=") for text in encoded
    }


def assert_no_key(text: str) -> None:
    for key in (KEY_ID, SECRET, POLYGON_KEY):
        for form in forms(key):
            assert form not in text, text
        # Nor any part of it that is long enough to be of use.
        assert not [key[at : at + PIECE] for at in range(len(key) - PIECE + 1) if key[at : at + PIECE] in text], text
    pair = base64.b64encode(f"{KEY_ID}:{SECRET}".encode()).decode()
    assert pair not in text


PIECE = 8
ECHO = json.dumps({"code": 1, "message": f"ECHO request is unauthorized (key {KEY_ID}, secret {SECRET})"}).encode()
# The keys lie where long words are cut.
LONG_ECHO = json.dumps({"code": 1, "message": f"ECHO {'x' * 275} {SECRET} {KEY_ID}"}).encode()
PAGE = f"<html>APCA-API-KEY-ID: {KEY_ID}\nAPCA-API-SECRET-KEY: {SECRET}\nAuthorization: Bearer {POLYGON_KEY}".encode()


class Hostile(Faults):
    """Of the requests about four in ten fail, of the handshakes every second one; streams are dropped."""

    def __init__(self, elsewhere: str) -> None:
        json_type = {"Content-Type": "application/json"}
        passing: list[Response | None] = [
            Response(500, {"Content-Type": "text/html"}, PAGE),
            None,
            Response(200, json_type, b'{"bad json'),
            Response(302, {"Location": f"{elsewhere}/v2/clock"}, PAGE),
            Response(503, json_type, ECHO),
            Response(429, json_type, ECHO),
            Response(503, json_type, LONG_ECHO),
        ]
        # At the start these would be fatal.
        refusing = [Response(401, json_type, ECHO), Response(422, json_type, ECHO), Response(422, json_type, LONG_ECHO)]
        self._at_start = itertools.cycle([failure for passes in passing for failure in ("handle", passes)])
        self._later = [*passing, *refusing]
        self._rng = random.Random(1)
        self._handshakes = itertools.cycle((True, False))
        self._is_started = False
        self._server: ExchangeServer

    def begin(self, server: Server) -> None:
        assert isinstance(server, ExchangeServer)
        self._server = server
        for seconds in (200, 300):
            asyncio.get_running_loop().call_later(seconds, self._drop)

    def _drop(self) -> None:
        for stream in self._server.clients():
            stream.abort()

    async def request(self, method: str, path: str, body: bytes, handle: Callable[[], Response]) -> Response | None:
        self._is_started = self._is_started or "/bars" in path or path == "/v2/positions"
        if self._is_started:
            return self._rng.choice(self._later) if self._rng.random() < 0.4 else handle()
        outcome = next(self._at_start)
        return handle() if isinstance(outcome, str) else outcome

    def handshake(self, kind: str) -> bool:
        return next(self._handshakes)


class Elsewhere:
    """Another host: nobody should ever ask it for anything."""

    def __init__(self) -> None:
        self.heard = b""
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.heard += await reader.read(4096)


Says = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(says: Says, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Whoever connects gets `says`; yields "127.0.0.1:PORT"."""
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await says(reader, writer)
        finally:
            writer.close()
            talks.discard(task)

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for _ in range(20):
            await asyncio.sleep(0.01)  # connections that were cut off in their handshake end, too


def answering(raw: bytes) -> Says:
    """Answers every request on a connection with `raw`, and hangs up."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass

    return say


@asynccontextmanager
async def exchange(faults: Faults | None = None) -> AsyncIterator[ExchangeServer]:
    """The wire server with this file's keys, 15 minutes before a close."""
    day = session_day(DEFAULT_DAY)
    market = synthetic_day(["TSLA", "AAPL"], day, 1)
    engine = Engine(day.open, day.open + 51 * MINUTE, market, now=day.open + 36 * MINUTE)
    access = Access({KEY_ID: SECRET}, polygon_key=POLYGON_KEY)
    server = await ExchangeServer.start(market, engine, access=access, faults=faults, linger=10**15)
    try:
        yield server
    finally:
        await server.stop()


def prepared(folder: Path) -> Path:
    """A folder with the custom signal in it."""
    folder.mkdir()
    (folder / "custom.py").write_text(SIGNAL)
    return folder


def journaled(folder: Path) -> str:
    """Whatever of the journal is text."""
    return "".join(file.read_bytes().decode(errors="replace") for file in folder.rglob("journal.sqlite*"))


async def run_bot(time: SharedTime, folder: Path, environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """The exit code of the whole bot at --debug, and everything it printed or wrote."""
    seat, time_file = time.seat()
    shared = {"BLACKBOX_TIME": time_file, "BLACKBOX_SEAT": str(seat)}
    base = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONASYNCIODEBUG": "1",
            "PYTHONPATH": os.pathsep.join((str(IN_THE_BOT), str(ROOT))), "XDG_STATE_HOME": str(folder)}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "default", str(MAIN), "--debug", "--algo", "custom.py:Custom", *arguments,
        cwd=folder, env={**base, **shared, "SCALP_SPEED": f"{SPEED:g}", **environment},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    time.watch(seat, process)
    try:
        async with asyncio.timeout(40 * SPEED):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    log = folder / "console.log"
    text = out.decode() + err.decode() + (log.read_text() if log.exists() else "")
    assert_no_key(text + journaled(folder))
    for line in text.splitlines():
        # The last barrier was needed for what others said only: the server's own words, and the custom signal's.
        assert "***" not in line or "ECHO" in line, line
    assert process.returncode is not None
    return process.returncode, text


class SharedLoop(ScaledLoop):
    """Of the server: its time waits for a bot that is at work."""

    def __init__(self, shared: SharedTime) -> None:
        self._shared = shared
        super().__init__(SPEED)

    def time(self) -> float:
        return self._shared.now * self.speed


def in_shared_time(story: Callable[[SharedTime], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(shared)

    shared = SharedTime()
    shared.start()
    try:
        with asyncio.Runner(loop_factory=lambda: SharedLoop(shared)) as runner:
            runner.run(run())
    finally:
        shared.stop()


def environment_of(server: ExchangeServer, **more: str) -> dict[str, str]:
    return server.environment() | {"POLYGON_API_KEY": POLYGON_KEY} | more


def test_a_session_in_which_everything_fails(tmp_path: Path) -> None:
    async def one(time: SharedTime, feed: str) -> None:
        elsewhere = Elsewhere()
        async with listening(elsewhere) as address, exchange(Hostile(f"http://{address}")) as server:
            folder = prepared(tmp_path / feed)
            _, text = await run_bot(time, folder, environment_of(server), "--feed", feed, "TSLA", "AAPL")
        assert elsewhere.connections == 0
        # It did meet the trouble it was to meet.
        for trouble in ("HTTP 500", "not JSON", "HTTP 302", "ECHO ***", "HTTP 429 at the handshake", "Traceback"):
            assert trouble in text, text

    async def story(time: SharedTime) -> None:
        await asyncio.gather(one(time, "sip"), one(time, "polygon"))

    in_shared_time(story)


def test_starts_that_fail(tmp_path: Path) -> None:
    """Keys that only some refuse, redirected streams, no TLS where TLS should be, nobody there, nonsense."""
    elsewhere = Elsewhere()

    async def story(time: SharedTime) -> None:
        async with (
            listening(elsewhere) as other,
            listening(answering(f"HTTP/1.1 302 Found\r\nLocation: ws://{other}/\r\n\r\n".encode())) as redirecting,
            listening(answering(b"HTTP/1.1 401 Unauthorized\r\n\r\n" + ECHO)) as refusing,
            listening(answering(b"HTTP/1.1 200 OK\r\n\r\n<html>" + PAGE)) as garbage,
            exchange() as plain,
            exchange() as strange,
        ):
            # Its streams know other keys than its REST interface.
            strange._access = Access({"another": "pair"}, polygon_key="another")
            runs = {
                "rest refuses": (environment_of(plain, APCA_API_BASE_URL=f"http://{refusing}"), "sip"),
                "rest redirects": (environment_of(plain, APCA_API_BASE_URL=f"http://{redirecting}"), "sip"),
                "rest says nonsense": (environment_of(plain, APCA_API_BASE_URL=f"http://{garbage}"), "sip"),
                "nobody there": (environment_of(plain, APCA_API_BASE_URL="http://127.0.0.1:1"), "sip"),
                "no TLS": (environment_of(plain, APCA_API_BASE_URL=plain.url.replace("http:", "https:")), "sip"),
                "streams refuse": (environment_of(strange), "sip"),
                "Polygon refuses": (environment_of(strange), "polygon"),
            }
            results = await asyncio.gather(
                *(
                    run_bot(time, prepared(tmp_path / name.replace(" ", "-")), environment, "--feed", feed, "TSLA")
                    for name, (environment, feed) in runs.items()
                )
            )
        for name, (code, text) in zip(runs, results, strict=True):
            assert (name, code) == (name, 2), text
            assert " ERROR " in text and "Traceback" not in text, text
        assert elsewhere.connections == 0

    in_shared_time(story)


# -- in this process: what is raised and logged, before any barrier ------------------------------------------------

BROKEN_ANSWERS = {
    "hangs up": b"",
    "no HTTP": b"\x00\xff nonsense\r\n\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n",
    "bad compression": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "bad header": b"HTTP/1.1 200 OK\r\nX\x00: y\r\n\r\n",
    "redirect to nowhere": b"HTTP/1.1 302 Found\r\n\r\n",
    "bad redirect": b"HTTP/1.1 302 Found\r\nLocation: http://[:::/\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: nonsense\r\n\r\n",
    "401": b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
    "200": b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{"bad ',
}


def endpoints(http: str, socket: str) -> Endpoints:
    return Endpoints(http, http, socket, KEY_ID, SECRET, "sip", http, socket, POLYGON_KEY)


REQUESTS = 5  # that `all_errors` makes


async def all_errors(where: Endpoints) -> AsyncIterator[str]:
    """The tracebacks of every kind of request of the REST edges."""
    rest = AlpacaREST(where, order_timeout=1, timeout=1)
    polygon = PolygonFeed(where, ["TSLA"], Told(), random.Random(1), lambda: True)
    order = SubmitOrder("TSLA", "scalp-TSLA-1-1", BUY, 1, "limit", Decimal(1))

    async def submit_by_order_connections() -> None:
        rest.open_order_connections().start()
        await asyncio.sleep(0.1)
        await rest.submit(order)

    asked: tuple[Callable[[], Awaitable[object]], ...] = (
        rest.clock,
        lambda: rest.submit(order),
        lambda: rest.cancel("x"),
        lambda: polygon._get("/v2/aggs", None),
        submit_by_order_connections,
    )
    try:
        for ask in asked:
            try:
                await ask()
            except ScalpError as error:
                yield "".join(traceback.format_exception(error)) + repr(error)
    finally:
        await rest.close()
        await polygon.close()


async def all_streams(where: Endpoints) -> None:
    """Every stream for a while: several attempts each."""
    rest, told, rng = AlpacaREST(where), Told(), random.Random(1)
    streams: list[ReconnectingStream] = [
        OrderUpdates(where, told, rng),
        AlpacaFeed(where, ["TSLA"], told, rng, lambda: True, rest),
        PolygonFeed(where, ["TSLA"], told, rng, lambda: True),
    ]
    for stream in streams:
        try:
            async with asyncio.timeout(15):
                await stream.run()
        except TimeoutError:
            pass
        except ScalpError as error:
            logging.getLogger("test").error("%s", "".join(traceback.format_exception(error)))
    await rest.close()


@pytest.mark.parametrize("kind", [*BROKEN_ANSWERS, "nobody there", "no TLS", "silent"])
def test_no_error_of_the_network_holds_a_key(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    async def story() -> None:
        async with listening(silence if kind == "silent" else answering(BROKEN_ANSWERS.get(kind, b""))) as address:
            secure = "s" if kind == "no TLS" else ""
            host = "127.0.0.1:1" if kind == "nobody there" else address
            where = endpoints(f"http{secure}://{host}", f"ws{secure}://{host}")
            assert_no_key(repr(where))
            tracebacks = [text async for text in all_errors(where)]
            assert len(tracebacks) == REQUESTS
            for text in tracebacks:
                assert_no_key(text)
            await all_streams(where)

    with caplog.at_level(logging.DEBUG), asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.get_loop().set_debug(True)
        runner.run(story())
    assert "next try in" in caplog.text
    assert_no_key(caplog.text)


def test_a_server_that_nobody_vouches_for_hears_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """TLS is verified: a certificate made by anybody is not enough."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    made = tmp_path / "made.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made, "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", made)
    impostor = Elsewhere()

    async def story() -> None:
        async with listening(impostor, context) as address:
            where = endpoints(f"https://{address}", f"wss://{address}")
            tracebacks = [text async for text in all_errors(where)]
            assert len(tracebacks) == REQUESTS
            for text in tracebacks:
                assert_no_key(text)
            await all_streams(where)
        assert impostor.heard == b""

    with caplog.at_level(logging.DEBUG), asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(story())
    assert_no_key(caplog.text)


def test_redirects_are_not_followed() -> None:
    """Neither by a request nor by a stream: the keys stay with the host they are for."""
    elsewhere = Elsewhere()

    async def story() -> None:
        async with listening(elsewhere) as other:
            for location in (f"http://{other}/", f"ws://{other}/stream", f"//{other}/"):
                for status in (301, 302, 303, 307, 308):
                    raw = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
                    async with listening(answering(raw)) as address:
                        where = endpoints(f"http://{address}", f"ws://{address}")
                        assert len([text async for text in all_errors(where)]) == REQUESTS
                        if status in (302, 307):
                            await all_streams(where)

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(story())
    assert elsewhere.connections == 0
