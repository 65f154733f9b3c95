"""The websocket connection alone: whatever the pieces its bytes arrive in, the messages are the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from websockets.exceptions import WebSocketException
from websockets.frames import OP_BINARY, OP_CLOSE, OP_CONT, OP_PING, OP_TEXT, Close, Frame
from websockets.http11 import Request
from websockets.server import ServerConnection

from scalp.net.websocket import WebSocket


class Pipe(asyncio.Transport):
    """The other end of a connection: what the client writes goes to `written`."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


LOOKS_LIKE_A_FRAME = "\x82\x02"  # in UTF-8 c2 82 02: its end is the head of a binary message of two bytes


def opened() -> tuple[WebSocket, Pipe]:
    """A client whose handshake was answered."""
    socket, pipe, server = WebSocket("ws://127.0.0.1:1/stream", 2**20), Pipe(), ServerConnection()
    socket.connection_made(pipe)
    server.receive_data(pipe.written)
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    pipe.written = b""
    for data in server.data_to_send():
        socket.data_received(data)
    return socket, pipe


def frame(opcode: Any, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def many(rng: random.Random) -> tuple[bytes, list[str | bytes]]:
    """Bytes of frames of every kind, and the messages in them."""
    stream, messages = b"", []
    for number in range(rng.randint(1, 12)):
        text = f"{number} " + LOOKS_LIKE_A_FRAME * rng.choice([0, 1, 40, 41, 42, 43, 200, 30_000])
        kind = rng.random()
        if kind < 0.5:
            stream += frame(OP_TEXT, text.encode())
        elif kind < 0.65:
            stream += frame(OP_BINARY, text.encode())
        else:
            whole = text.encode()
            cut = rng.randint(0, len(whole))
            stream += frame(OP_TEXT, whole[:cut], fin=False)
            if rng.random() < 0.5:
                stream += frame(OP_PING, b"p")
            stream += frame(OP_CONT, whole[cut:])
        messages.append(text.encode() if 0.5 <= kind < 0.65 else text)
        if rng.random() < 0.2:
            stream += frame(OP_PING, b"ping")
    return stream, messages


@pytest.mark.parametrize("seed", range(60))
def test_messages_do_not_depend_on_the_pieces_they_arrive_in(seed: int) -> None:
    rng = random.Random(seed)
    stream, expected = many(rng)

    async def story() -> None:
        socket, _ = opened()
        heard: list[str | bytes] = []
        socket.deliver(heard.append)
        longest = rng.choice([1, 2, 3, 10, 200, len(stream)]) if len(stream) < 20_000 else rng.choice([999, 10**6])
        rest = stream
        while rest:
            size = rng.randint(1, longest)
            socket.data_received(rest[:size])
            rest = rest[size:]
        assert heard == expected

    run(story())


def test_a_ping_is_answered_also_between_the_parts_of_a_message() -> None:
    async def story() -> None:
        socket, pipe = opened()
        heard: list[str | bytes] = []
        socket.deliver(heard.append)
        socket.data_received(frame(OP_TEXT, b"one, ", fin=False) + frame(OP_PING, b"x"))
        assert pipe.written[0] == 0x8A and heard == []
        socket.data_received(frame(OP_CONT, b"two") + frame(OP_TEXT, b"three"))
        assert heard == ["one, two", "three"]

    run(story())


@pytest.mark.parametrize(
    "wrong",
    [
        frame(OP_TEXT, b"a", fin=False) + frame(OP_TEXT, b"b"),
        frame(OP_CONT, b"of nothing"),
        b"\x81\xfe" + bytes(12),  # masked by a server
        b"\xf1\x01a",  # reserved bits
        b"\x81\x7f" + (2**40).to_bytes(8, "big"),  # longer than anybody should send
        frame(OP_CLOSE, Close(1008, "enough").serialize()),
    ],
)
def test_a_broken_protocol_or_a_goodbye_ends_the_connection(wrong: bytes) -> None:
    async def story() -> None:
        socket, pipe = opened()
        heard: list[str | bytes] = []
        socket.deliver(heard.append)
        socket.data_received(frame(OP_TEXT, b"before") + wrong + frame(OP_TEXT, b"after"))
        socket.eof_received()
        assert heard == ["before"]
        assert pipe.written[0] == 0x88  # a close frame

    run(story())


@pytest.mark.parametrize("answered", [b"", b"HTTP/1.1 101 Switching", b"HTTP/1.1 503 Busy\r\n\r\n"])
def test_a_handshake_that_is_cut_off_is_one_error(answered: bytes) -> None:
    async def story() -> None:
        socket, pipe = WebSocket("ws://127.0.0.1:1/stream", 2**20), Pipe()
        socket.connection_made(pipe)
        if answered:
            socket.data_received(answered)
        socket.eof_received()
        socket.connection_lost(None)
        with pytest.raises((ConnectionError, WebSocketException)):
            await socket.opened()

    run(story())


@pytest.mark.parametrize("opcode", [OP_TEXT, OP_BINARY])
@pytest.mark.parametrize("size", [5, 126, 70_000])
def test_the_rest_of_a_message_that_looks_like_a_frame_is_none(opcode: Any, size: int) -> None:
    """Cut where the rest begins with the head of a whole frame: within a message, and between its parts."""
    inner = frame(OP_TEXT, b"no")
    whole = b"." * size + inner

    async def story() -> None:
        for parts in (
            [frame(opcode, whole)[: -len(inner)], inner],
            [frame(opcode, whole[:size], fin=False), frame(OP_CONT, inner)],
            [frame(opcode, b".", fin=False), frame(OP_CONT, whole[1:])[: -len(inner)], inner],
        ):
            socket, _ = opened()
            heard: list[str | bytes] = []
            socket.deliver(heard.append)
            for part in parts:
                socket.data_received(part)
            expected = whole if opcode is OP_BINARY else whole.decode(errors="replace")
            assert heard == [expected]

    run(story())


def test_a_frame_inside_a_message_ends_the_connection() -> None:
    """Only its continuation, or a control frame, may follow the first part of a message."""

    async def story() -> None:
        socket, pipe = opened()
        heard: list[str | bytes] = []
        socket.deliver(heard.append)
        socket.data_received(frame(OP_TEXT, b"one, ", fin=False))
        socket.data_received(frame(OP_TEXT, b"another"))
        assert heard == []
        assert pipe.written[0] == 0x88  # a close frame

    run(story())
