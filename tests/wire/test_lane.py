"""The orders' own connections: what they survive, and that nobody is stormed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from scalp.alpaca.lane import CONNECTIONS, OrderLane
from scalp.transport import KEEP_ALIVE
from tests.wire.fakes import run


class Broker:
    """Answers every request with an empty object after `delay` seconds; hangs up at once while `is_rude`."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests = 0
        self.is_rude = False
        self.delay = 0.0
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0.1)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        if self.is_rude:
            writer.close()
            return
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await asyncio.sleep(self.delay)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


@asynccontextmanager
async def lane_to(broker: Broker) -> AsyncIterator[OrderLane]:
    await broker.open()
    lane = OrderLane(f"http://127.0.0.1:{broker.port}", {"APCA-API-KEY-ID": "KEY"})
    lane.start()
    await asyncio.sleep(0.5)
    try:
        yield lane
    finally:
        await lane.close()
        await broker.close()


def test_an_order_goes_out_on_a_connection_that_is_open_already() -> None:
    async def story() -> None:
        broker = Broker()
        async with lane_to(broker) as lane:
            answer = lane.send("POST", "/v2/orders", b"")
            assert answer is not None
            assert (await answer)[0::2] == (200, b"{}")
            assert broker.connections == CONNECTIONS

    run(story())


def test_a_server_that_hangs_up_on_everybody_is_not_stormed() -> None:
    async def story() -> None:
        broker = Broker()
        broker.is_rude = True
        async with lane_to(broker) as lane:
            await asyncio.sleep(60)
            assert broker.connections <= CONNECTIONS * 10
            assert lane.send("POST", "/v2/orders", b"") is None
            broker.is_rude = False
            await asyncio.sleep(20)
            assert lane.send("POST", "/v2/orders", b"") is not None

    run(story())


def test_an_order_that_is_under_way_while_connections_are_renewed_gets_its_answer() -> None:
    async def story() -> None:
        broker = Broker()
        async with lane_to(broker) as lane:
            broker.delay = KEEP_ALIVE
            await asyncio.sleep(KEEP_ALIVE - 5)
            answer = lane.send("POST", "/v2/orders", b"")
            assert answer is not None
            assert (await answer)[0] == 200
            assert broker.connections > CONNECTIONS  # the others are new

    run(story())


def test_connections_come_back_after_an_outage_that_began_while_they_were_idle() -> None:
    async def story() -> None:
        broker = Broker()
        async with lane_to(broker) as lane:
            await broker.close()
            await asyncio.sleep(KEEP_ALIVE * 2)
            assert lane.send("POST", "/v2/orders", b"") is None
            await broker.open()
            await asyncio.sleep(20)
            answer = lane.send("POST", "/v2/orders", b"")
            assert answer is not None and (await answer)[0] == 200

    run(story())


def test_an_answer_that_never_comes_is_told_as_a_lost_connection() -> None:
    async def story() -> None:
        broker = Broker()
        broker.delay = 3600
        async with lane_to(broker) as lane:
            answer = lane.send("POST", "/v2/orders", b"")
            assert answer is not None
            await asyncio.sleep(1)
            await broker.close()
            with pytest.raises(ConnectionError):
                await answer

    run(story())


def test_a_second_answer_to_one_request_ends_the_connection_and_is_nobodys() -> None:
    async def story() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            one = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nAAAA"
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await reader.readuntil(b"}")
                writer.write(one + one)
                await reader.read()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        lane = OrderLane(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {})
        lane.start()
        await asyncio.sleep(0.1)
        first = lane.send("POST", "/v2/orders", b"{}")
        assert first is not None
        assert (await first)[2] == b"AAAA"
        await asyncio.sleep(0.05)
        connections = [c for c in lane._idle]
        assert len(connections) == len(set(connections))
        assert all(connection.is_usable for connection in connections)
        await lane.close()
        server.close()
        await asyncio.sleep(0.1)

    asyncio.run(story())
