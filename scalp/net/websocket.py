"""One websocket connection, on websockets' Sans-I/O protocol.

The library does the protocol; this does the bytes, so that a frame can be handled in the same callback in which its
last byte arrives: the library's own client wakes two tasks for it, which an exit would have to wait for.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.client import ClientConnection
from websockets.connection import CONNECTING, OPEN
from websockets.exceptions import ConnectionClosedError, WebSocketException
from websockets.frames import OP_BINARY, OP_CONT, OP_PONG, OP_TEXT, Frame
from websockets.http11 import Response
from websockets.uri import parse_uri

MOST_PARTS = 10_000  # frames of one message
MOST_UNSENT = 2**20  # bytes: a server that asks and asks, and takes no answer, is left

PLAIN_TEXT, PLAIN_FRAMES = 0x81, (0x81, 0x82)  # first bytes of messages in one frame: text, and text or binary

# The library would log frames, the login among them, and handshake headers at DEBUG.
_silent = logging.getLogger("scalp.websockets")
_silent.setLevel(logging.CRITICAL)


class WebSocket(asyncio.Protocol):
    """An open connection; made by `connect`. Messages come whole, text as str and binary as bytes.

    They wait for `recv()` until `deliver` was called; from then on each is handed over as it arrives.
    """

    def __init__(self, url: str, max_size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = ClientConnection(parse_uri(url), max_size=max_size, logger=_silent)
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._messages: deque[str | bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._deliver: Callable[[str | bytes], None] | None = None
        self._parts: list[bytes] = []  # of a message in several frames
        self._is_text = False
        self._is_full = False  # more is waiting to be sent than should
        self._unsent = 0  # bytes that were added since
        self._pong_at = 0.0
        self._keepalive: asyncio.Task[None] | None = None

    # What a client does.

    async def recv(self) -> str | bytes:
        """The next message. Raises ConnectionClosedError when there will be none."""
        while not self._messages:
            if self._closed.done():
                raise self._closed_error()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.popleft()

    def deliver(self, handler: Callable[[str | bytes], None]) -> None:
        """From now on hand every message to `handler`, at once; those that wait come first."""
        self._deliver = handler
        while self._messages:
            handler(self._messages.popleft())

    async def wait_closed(self) -> None:
        """Never returns: raises ConnectionClosedError when the connection has ended."""
        await asyncio.shield(self._closed)
        raise self._closed_error()

    async def send(self, text: str) -> None:
        if self._closed.done():
            raise self._closed_error()
        self._wire.send_text(text.encode())
        self._flush()

    async def close(self, patience: float) -> None:
        """Say goodbye, and wait at most `patience` seconds for the answer."""
        if self._keepalive is not None:
            self._keepalive.cancel()
        if self._transport is None or self._closed.done():
            return
        try:
            if self._opened.done() and not self._opened.cancelled() and self._opened.exception() is None:
                self._wire.send_close(1000)
                self._flush()
                async with asyncio.timeout(patience):
                    await asyncio.shield(self._closed)
        except Exception:
            # It does not answer, or it broke meanwhile: then it just ends.
            _silent.debug("closed without an answer")
        finally:
            self._transport.abort()

    def keep_alive(self, interval: float, patience: float) -> None:
        """Ping every `interval` seconds; a connection that has not answered `patience` seconds later is dropped."""
        self._keepalive = self._loop.create_task(self._ping(interval, patience))

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._wire.send_request(self._wire.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._wire.state is OPEN and self._is_between_frames():
            data = self._take_plain(data)
            if not data:
                return
        self._wire.receive_data(data)
        for event in self._wire.events_received():
            if isinstance(event, Frame):
                self._on_frame(event)
            elif isinstance(event, Response) and not self._opened.done():
                if self._wire.handshake_exc is None:
                    self._opened.set_result(None)
                else:
                    self._opened.set_exception(self._wire.handshake_exc)
        self._flush()
        if self._wire.close_expected() and self._transport is not None:
            # The server waits for us in vain to close first: it ends here.
            self._transport.close()

    def _is_between_frames(self) -> bool:
        """Whether the library waits for the first byte of a message: only then may it be bypassed.

        It does not expose this, so its parser is looked at. That saves more than 10 us of a fill: see
        `benchmarks.frames`.
        """
        if self._wire.reader.buffer or self._wire.cur_size is not None:
            return False
        waiting: Any = self._wire.parser
        while waiting.gi_yieldfrom is not None:
            waiting = waiting.gi_yieldfrom
        return bool(waiting.gi_code.co_name == "at_eof")

    def _take_plain(self, data: bytes) -> bytes:
        """Handle the whole, unfragmented messages that `data` begins with; returns what the library has to look at.

        Almost all that comes is of this kind, and reading its header takes the library longer than an exit should wait.
        """
        while len(data) >= 2 and data[0] in PLAIN_FRAMES and (length := data[1]) <= 127:
            start = 2
            if length == 126 and len(data) >= 4:
                length, start = int.from_bytes(data[2:4], "big"), 4
            elif length >= 126:
                break
            end = start + length
            if len(data) < end:
                break
            self._is_text = data[0] == PLAIN_TEXT
            self._on_message(data[start:end])
            data = data[end:]
        return data

    def eof_received(self) -> None:
        if self._wire.state is CONNECTING:
            return  # cut off in the handshake: `connection_lost` reports it, the library would take it for a bug
        self._wire.receive_eof()
        self._flush()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full, self._unsent = False, 0

    def connection_lost(self, error: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionError("closed during the handshake"))
        if not self._closed.done():
            self._closed.set_result(None)
        self._wake()

    # Inner works.

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode is OP_PONG:
            self._pong_at = self._loop.time()
        if frame.opcode not in (OP_TEXT, OP_BINARY, OP_CONT):
            return
        if frame.opcode is not OP_CONT:
            self._is_text = frame.opcode is OP_TEXT
            if frame.fin:
                self._on_message(frame.data)
                return
        self._parts.append(frame.data)
        if len(self._parts) > MOST_PARTS and self._transport is not None:
            self._parts = []
            self._transport.abort()
        elif frame.fin:
            whole = b"".join(self._parts)
            self._parts = []
            self._on_message(whole)

    def _on_message(self, data: bytes) -> None:
        message = data.decode(errors="replace") if self._is_text else data
        if self._deliver is not None:
            self._deliver(message)
        else:
            self._messages.append(message)
            self._wake()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        for data in self._wire.data_to_send():
            if data:
                transport.write(data)
                if self._is_full:
                    self._unsent += len(data)
                    if self._unsent > MOST_UNSENT:
                        transport.abort()
                        return
            elif transport.can_write_eof():
                transport.write_eof()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _ping(self, interval: float, patience: float) -> None:
        while True:
            await asyncio.sleep(interval)
            sent_at = self._loop.time()
            try:
                self._wire.send_ping(b"")
                self._flush()
                await asyncio.sleep(patience)
                is_alive = self._pong_at >= sent_at
            except WebSocketException:
                is_alive = False  # it is closing, and does not finish
            if not is_alive and self._transport is not None:
                self._transport.abort()
                return

    def _closed_error(self) -> ConnectionClosedError:
        return ConnectionClosedError(self._wire.close_rcvd, self._wire.close_sent)

    async def opened(self) -> None:
        """Returns when the handshake has succeeded. Raises InvalidHandshake or ConnectionError."""
        await self._opened


async def connect(url: str, *, open_timeout: float, max_size: int) -> WebSocket:
    """Open a connection to a ws:// or wss:// address; redirects are refused, certificates are verified.

    Raises InvalidHandshake, OSError or TimeoutError.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "wss"
    options: dict[str, Any] = {"ssl": ssl.create_default_context()} if is_secure else {}
    socket = WebSocket(url, max_size)
    async with asyncio.timeout(open_timeout):
        await asyncio.get_running_loop().create_connection(
            lambda: socket, parts.hostname or "", parts.port or (443 if is_secure else 80), **options
        )
        try:
            await socket.opened()
        except BaseException:
            await socket.close(0.0)
            raise
    return socket
