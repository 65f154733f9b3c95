"""Answers and frames without end: each is left as soon as it is longer than anything the call can need."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from scalp.alpaca.feed import AlpacaFeed
from scalp.alpaca.rest import AlpacaREST
from scalp.alpaca.updates import OrderUpdates
from scalp.core.commands import SubmitOrder
from scalp.core.errors import OutcomeUnknown, Rejected, ScalpError, Unreachable
from scalp.core.orders import Side
from scalp.net import order_connections
from scalp.net.stream import LONGEST_FRAME, MOST_BEHIND, ReconnectingStream
from scalp.net.transport import LISTING, LONGEST, LONGEST_ERROR, SHORT
from scalp.polygon.feed import PolygonFeed
from tests.wire.fakes import Talk, Told, endpoints, run, scripted

MEGABYTE = 2**20
BUY = SubmitOrder("TSLA", "scalp-TSLA-1-1", Side.BUY, 1, "limit", Decimal(1))
# What may be in buffers on the way when the client leaves.
ON_THE_WAY = 12 * MEGABYTE


class Endless:
    """Answers every request with `head` and then `part` again and again, until the client leaves or `most` is sent."""

    def __init__(self, head: bytes, part: bytes, most: int = 100 * MEGABYTE) -> None:
        self.sent = 0
        self._head, self._part, self._most = head, part, most

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.sent = 0
            writer.write(self._head)
            while self.sent < self._most:
                writer.write(self._part)
                self.sent += len(self._part)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


Says = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(says: Says) -> AsyncIterator[str]:
    server = await asyncio.start_server(says, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.sleep(0.1)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
PART = b"[" + b"1," * 100_000

Ask = Callable[[AlpacaREST], Awaitable[object]]
ASKED: dict[str, tuple[Ask, int]] = {
    "clock": (lambda rest: rest.clock(), SHORT),
    "account": (lambda rest: rest.account(), SHORT),
    "asset": (lambda rest: rest.asset("TSLA"), SHORT),
    "order": (lambda rest: rest.order("b1"), SHORT),
    "order by client id": (lambda rest: rest.order_by_client_id("b1"), SHORT),
    "submit": (lambda rest: rest.submit(BUY), SHORT),
    "cancel": (lambda rest: rest.cancel("b1"), SHORT),
    "open orders": (lambda rest: rest.open_orders(["TSLA"]), LISTING),
    "positions": (lambda rest: rest.positions(), LISTING),
    "bars": (lambda rest: rest.data_bytes("/stocks/bars", {}), LISTING),
    "latest trades": (lambda rest: rest.data_bytes("/stocks/trades/latest", {}), LISTING),
    "activities": (lambda rest: rest.get("/account/activities/FILL", {}), LISTING),
    "assets": (lambda rest: rest.assets(), LONGEST),
}


async def error_of(asked: Awaitable[object]) -> ScalpError:
    try:
        await asked
    except ScalpError as error:
        return error
    raise AssertionError("it was taken")


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_is_not_longer_than_its_call_can_need(name: str) -> None:
    ask, most = ASKED[name]
    server = Endless(OK, PART)

    async def story() -> None:
        async with listening(server) as address:
            rest = AlpacaREST(endpoints(f"http://{address}"))
            error = await error_of(ask(rest))
            await rest.close()
        assert str(error).endswith(f"the answer is longer than {most:,} bytes")
        assert isinstance(error, OutcomeUnknown if name in ("submit", "cancel") else Unreachable)

    run(story())
    assert server.sent < most + ON_THE_WAY


async def test_a_packed_answer_is_not_unpacked_without_end() -> None:
    packed = gzip.compress(b" " * 32 * MEGABYTE)
    server = Endless(OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"), packed, len(packed))

    async with listening(server) as address:
        rest = AlpacaREST(endpoints(f"http://{address}"))
        assert str(await error_of(rest.clock())).endswith(f"longer than {SHORT:,} bytes")
        assert str(await error_of(rest.assets())).endswith(f"longer than {LONGEST:,} bytes")
        await rest.close()


async def test_a_packed_answer_is_understood() -> None:
    body = gzip.compress(json.dumps({"id": "x", "status": "ACTIVE"}).encode())
    head = OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body))
    server = Endless(head, body, len(body))

    async with listening(server) as address:
        rest = AlpacaREST(endpoints(f"http://{address}"))
        assert await rest.account() == {"id": "x", "status": "ACTIVE"}
        server._part = body[:-5]  # cut off, as long as it says it is
        server._head = head.replace(b"%d" % len(body), b"%d" % (len(body) - 5))
        server._most = 1
        assert isinstance(await error_of(rest.account()), Unreachable)
        await rest.close()


@pytest.mark.parametrize("status", [404, 422, 429, 500, 302])
def test_of_what_did_not_succeed_the_beginning_is_enough(status: int) -> None:
    server = Endless(b"HTTP/1.1 %d No\r\n\r\n" % status, b" " * MEGABYTE)

    async def story() -> None:
        async with listening(server) as address:
            rest = AlpacaREST(endpoints(f"http://{address}"))
            error = await error_of(rest.order("b1"))
            await rest.close()
        # What it says is known all the same.
        assert isinstance(error, Rejected) == (status in (404, 422))
        assert "no reason given" in str(error) or "too many requests" in str(error)

    run(story())
    assert server.sent < LONGEST_ERROR + ON_THE_WAY


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (OK, PART),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * MEGABYTE),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 9999),
    ],
)
def test_an_order_of_its_own_connection_has_no_endless_answer(head: bytes, part: bytes) -> None:
    server = Endless(head, part)

    async def story() -> None:
        async with listening(server) as address:
            rest = AlpacaREST(endpoints(f"http://{address}"))
            rest.open_order_connections().start()
            await asyncio.sleep(0.1)
            sent = rest.submit_now(BUY)
            assert sent is not None
            assert isinstance(await error_of(sent), OutcomeUnknown)
            await rest.close()

    run(story())
    assert server.sent < order_connections.LONGEST_ANSWER + ON_THE_WAY


def test_a_page_of_polygon_has_an_end() -> None:
    server = Endless(OK, PART)

    async def story() -> None:
        async with listening(server) as address:
            feed = PolygonFeed(endpoints(f"http://{address}"), ["TSLA"], Told(), random.Random(1), lambda: True)
            error = await error_of(feed._get("/v2/aggs", None))
            await feed.close()
        assert str(error) == f"GET /v2/aggs: the answer is longer than {LONGEST:,} bytes"

    run(story())
    assert server.sent < LONGEST + ON_THE_WAY


# -- streams ----------------------------------------------------------------------------------------------------------


def updates(url: str, told: Told) -> OrderUpdates:
    return OrderUpdates(endpoints(url), told, random.Random(1))


def bars(url: str, told: Told) -> AlpacaFeed:
    return AlpacaFeed(endpoints(url), ["TSLA"], told, random.Random(1), lambda: True, None)  # type: ignore[arg-type]


async def accept_orders(talk: Talk) -> None:
    await talk.hears()
    await talk.says({"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}})
    await talk.hears()
    await talk.says({"stream": "listening", "data": {"streams": ["trade_updates"]}})


async def accept_bars(talk: Talk) -> None:
    await talk.says([{"T": "success", "msg": "connected"}])
    await talk.hears()
    await talk.says([{"T": "success", "msg": "authenticated"}])
    for _ in range(4):
        await talk.hears()
        await talk.says([{"T": "subscription", "bars": ["TSLA"], "trades": ["TSLA"]}])


@pytest.mark.parametrize("kind", ["orders", "bars"])
async def test_a_frame_is_not_longer_than_a_stream_can_need(kind: str) -> None:
    told = Told()
    most = 2**20 if kind == "orders" else LONGEST_FRAME

    async def talks(talk: Talk) -> None:
        await (accept_orders if kind == "orders" else accept_bars)(talk)
        await talk.says("[" + " " * (most - 10) + "]")
        await talk.says("[" + " " * most + "]")
        await talk.stays(60)

    async def again(talk: Talk) -> None:
        await talk.stays(1)

    async with scripted(talks, again) as server:
        stream: ReconnectingStream = updates(server.url, told) if kind == "orders" else bars(server.url, told)
        await server.against(stream)
    assert told.all[:2] == ["up", "down: connection lost"]


async def test_frames_that_nobody_can_follow_end_the_connection() -> None:
    """While many messages are handed on in slices, those that come wait; they don't fill the memory."""
    told = Told()
    bar = {"T": "b", "S": "TSLA", "t": "2026-11-20T15:30:00Z", "o": 1.0, "h": 1.0, "l": 1.0, "c": 1.0, "v": 1}
    frame = json.dumps([bar] * 1000)

    feed = bars("ws://127.0.0.1:1", told)
    behind = 0
    while feed._trouble is None:
        feed.on_message(frame)
        behind += len(frame)
        assert behind < 2 * MOST_BEHIND
    assert str(feed._trouble) == "more comes than can be looked at"
    assert not feed._frames
    feed.on_message(frame)
    assert not feed._frames


async def test_a_message_in_parts_without_end_ends_the_connection() -> None:
    told = Told()

    async def talks(talk: Talk) -> None:
        await accept_orders(talk)
        transport = talk.socket.transport
        transport.write(b"\x01\x00")
        for _ in range(200):
            transport.write(b"\x00\x00" * 1000)  # empty ones
            await asyncio.sleep(0.01)
        await talk.stays(60)

    async def again(talk: Talk) -> None:
        await talk.stays(1)

    async with scripted(talks, again) as server:
        await server.against(updates(server.url, told))
    assert told.all[:2] == ["up", "down: connection lost"]


def test_a_server_that_asks_and_takes_no_answer_is_left() -> None:
    """Pings are answered; but the answers don't gather for ever where nobody reads them."""
    told, pings = Told(), 0

    async def talks(talk: Talk) -> None:
        nonlocal pings
        await accept_orders(talk)
        transport = talk.socket.transport
        transport.pause_reading()
        try:
            while not transport.is_closing() and pings < 2_000_000:
                transport.write((b"\x89\x7d" + b"p" * 125) * 1000)
                pings += 1000
                await asyncio.sleep(0)
        finally:
            transport.resume_reading()
        await talk.stays(60)

    async def again(talk: Talk) -> None:
        await talk.stays(1)

    async def story() -> None:
        async with scripted(talks, again) as server:
            await server.against(updates(server.url, told))
        assert told.all[:2] == ["up", "down: connection lost"]

    run(story())
    assert pings < 500_000
