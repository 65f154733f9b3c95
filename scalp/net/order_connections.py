"""The orders' own way out: a few warm HTTP/1.1 connections with nothing queued on them.

A general client takes longer to send a request than to read the broker's answer. Here the bytes of an order are
written in the same callback that asked for it, onto a connection that is open and idle; reading the answer can take its
time. When no connection is ready, `send` says so and the general client takes over.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

from scalp.net.backoff import Backoff
from scalp.net.transport import KEEP_ALIVE, Answer

log = logging.getLogger("scalp.lane")

CONNECTIONS = 3
OPEN_TIMEOUT = 10.0
LONGEST_ANSWER = 2**18  # bytes, headers and all: it is about one order
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0  # seconds between attempts to open a connection


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time, and reports to its owner what becomes of it."""

    def __init__(self, owner: OrderConnections) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._room = 0  # bytes that the answer may still have
        self.idle_since = 0.0
        self._is_given_up = False

    def send(self, request: bytes, answer: asyncio.Future[Answer]) -> None:
        assert self._transport is not None
        self._transport.write(request)
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body, self._room = {}, [], LONGEST_ANSWER
        # Nobody waits for it any more, after a timeout: what still comes must not be taken for the next answer.
        answer.add_done_callback(self._on_done)

    @property
    def is_usable(self) -> bool:
        """Open, and not given up."""
        return not self._is_given_up and self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        self._is_given_up = True
        self._owner.retire(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._owner.gained(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # nothing was asked
            return
        self._room -= len(data)
        if self._room < 0:
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def eof_received(self) -> None:
        self._owner.retire(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner.lost(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("closed before the answer"))

    def _on_done(self, answer: asyncio.Future[Answer]) -> None:
        if answer.cancelled():
            self.abort()

    # The parser's callbacks.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1")] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            self.abort()  # a second answer to one request: what the next one answers is unknown
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._answer = answer  # an interim answer: the real one follows
            self._headers, self._body = {}, []
            return
        if not answer.done():
            answer.set_result((status, self._headers, b"".join(self._body)))
        if self._parser.should_keep_alive():
            self._owner.free(self)
        else:
            self.abort()


class OrderConnections:
    """Warm connections to `base_url`; `headers` go with every request, the keys among them."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path
        lines = [f"Host: {parts.netloc}", *(f"{name}: {value}" for name, value in headers.items())]
        self._head = ("\r\n".join([*lines, "Content-Type: application/json", "Content-Length: "])).encode("latin-1")
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._missing = asyncio.Event()

    def start(self) -> None:
        """Open the connections, and keep them open until `close`."""
        self._keeper = self._loop.create_task(self._keep())

    def send(self, method: str, path: str, body: bytes) -> asyncio.Future[Answer] | None:
        """Write a request, now; None when no connection is ready and nothing was written.

        The answer is (status, headers, body); ConnectionError when it is lost. Cancel it to give it up.
        """
        now = self._loop.time()
        while True:
            if not self._idle:
                return None
            connection = self._idle.pop()
            if connection.is_usable and now - connection.idle_since <= KEEP_ALIVE:
                break
        answer: asyncio.Future[Answer] = self._loop.create_future()
        line = f"{method} {self._path}{path} HTTP/1.1\r\n".encode("latin-1")
        connection.send(b"%b%b%d\r\n\r\n%b" % (line, self._head, len(body), body), answer)
        return answer

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for connection in list(self._open):
            connection.abort()

    # What the connections report.

    def gained(self, connection: Connection) -> None:
        self._open.add(connection)
        self.free(connection)

    def free(self, connection: Connection) -> None:
        if not connection.is_usable or connection in self._idle:
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def retire(self, connection: Connection) -> None:
        """It is about to close: nothing may be sent on it any more."""
        if connection in self._idle:
            self._idle.remove(connection)

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.retire(connection)
        self._missing.set()

    async def _keep(self) -> None:
        """Open what is missing, and replace what has been idle for so long that the server may be about to close it."""
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        while True:
            self._missing.clear()
            began = self._loop.time()
            try:
                for _ in range(CONNECTIONS - len(self._open)):
                    await self._connect()
                await self._renew()
                async with asyncio.timeout(KEEP_ALIVE / 3):
                    await self._missing.wait()
            except TimeoutError:
                log.debug("all connections for orders are as they were, or one could not be opened in time")
            except OSError as error:
                log.debug("no connection for orders (%s)", type(error).__name__)
            if self._loop.time() - began < KEEP_ALIVE / 3:
                # Refused, or lost soon: a server that hangs up on everybody is not to be stormed.
                await backoff.wait()
            else:
                backoff.reset()

    async def _renew(self) -> None:
        now = self._loop.time()
        for connection in [c for c in self._idle if now - c.idle_since > KEEP_ALIVE / 2]:
            await self._connect()  # the new one first: there is always one ready
            if connection in self._idle:  # else an order took it meanwhile
                connection.abort()

    async def _connect(self) -> None:
        async with asyncio.timeout(OPEN_TIMEOUT):
            await self._loop.create_connection(lambda: Connection(self), self._host, self._port, ssl=self._ssl)
