"""A server for measuring: HTTP/1.1 and WebSocket straight on asyncio's transports, so that it adds little of its own.

It knows as much of both protocols as well-behaved clients on loopback need, and stamps what arrives by its own clock.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import unquote

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Request(NamedTuple):
    """One HTTP request; `at` is when its last byte had arrived, `time.perf_counter_ns()`."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    at: int


class Peer(asyncio.Protocol):
    """One connection. `answer` gives an HTTP answer; `on_message` hears the frames of a socket (path, text)."""

    def __init__(
        self,
        answer: Callable[[Request], tuple[int, bytes]],
        on_open: Callable[[str, Peer], None],
        on_message: Callable[[str, Peer, bytes], None],
    ) -> None:
        self._answer, self._on_open, self._on_message = answer, on_open, on_message
        self._data = b""
        self._path = ""  # of a WebSocket; "": HTTP
        self.transport: asyncio.Transport
        self.drained = asyncio.Event()
        self.drained.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        self.drained.clear()

    def resume_writing(self) -> None:
        self.drained.set()

    def data_received(self, data: bytes) -> None:
        at = time.perf_counter_ns()
        self._data = self._data + data if self._data else data
        while self._data and (self._one_frame() if self._path else self._one_request(at)):
            pass

    def send(self, frame: bytes) -> None:
        self.transport.write(frame)

    def _one_request(self, at: int) -> bool:
        """Answer the first request of what has arrived, if it is complete."""
        head, mark, rest = self._data.partition(b"\r\n\r\n")
        if not mark:
            return False
        first, *lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        length = int(headers.get(b"content-length", 0))
        if len(rest) < length:
            return False
        body, self._data = rest[:length], rest[length:]
        method, target, _ = first.decode().split(" ")
        path, _, query_text = target.partition("?")
        if b"sec-websocket-key" in headers:
            self._upgrade(path.rstrip("/"), headers[b"sec-websocket-key"])
            return True
        query = dict(part.partition("=")[::2] for part in query_text.split("&") if part)
        request = Request(method, unquote(path), {n: unquote(v) for n, v in query.items()}, body, at)
        status, answer = self._answer(request)
        self.transport.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nX-Ratelimit-Limit: 1000000\r\n"
            b"X-Ratelimit-Remaining: 999999\r\nX-Ratelimit-Reset: %d\r\nContent-Length: %d\r\n\r\n%b"
            % (status, time.time() // 60 * 60 + 60, len(answer), answer)
        )
        return True

    def _upgrade(self, path: str, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        self.transport.write(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        self._path = path
        self._on_open(path, self)

    def _one_frame(self) -> bool:
        """Take the first frame of what has arrived, if it is complete; clients' frames are masked and never split."""
        data = self._data
        if len(data) < 6:
            return False
        length, start = data[1] & 0x7F, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length, start = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
        end = start + 4 + length
        if len(data) < end:
            return False
        mask, masked = data[start : start + 4], data[start + 4 : end]
        self._data = data[end:]
        key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        payload = (int.from_bytes(masked, "big") ^ key).to_bytes(length, "big")
        kind = data[0] & 0x0F
        if kind == PING:
            self.send(frame(PONG, payload))
        elif kind == CLOSE:
            self.send(frame(CLOSE, payload))
            self.transport.close()
        elif kind in (TEXT, BINARY):
            self._on_message(self._path, self, payload)
        return not self.transport.is_closing()


def frame(kind: int, payload: bytes) -> bytes:
    """One WebSocket frame of a server's."""
    length = len(payload)
    if length < 126:
        size = bytes([length])
    elif length < 65536:
        size = b"\x7e" + length.to_bytes(2, "big")
    else:
        size = b"\x7f" + length.to_bytes(8, "big")
    return bytes([0x80 | kind]) + size + payload
