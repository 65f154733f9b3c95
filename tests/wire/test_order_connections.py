"""The orders' own connections: what they survive, and that nobody is stormed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from scalp.net.order_connections import CONNECTIONS, Connection, OrderConnections
from scalp.net.transport import KEEP_ALIVE


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
async def connections_to(broker: Broker) -> AsyncIterator[OrderConnections]:
    await broker.open()
    connections = OrderConnections(f"http://127.0.0.1:{broker.port}", {"APCA-API-KEY-ID": "KEY"})
    connections.start()
    await asyncio.sleep(0.5)
    try:
        yield connections
    finally:
        await connections.close()
        await broker.close()


async def test_an_order_goes_out_on_a_connection_that_is_open_already() -> None:
    broker = Broker()
    async with connections_to(broker) as connections:
        answer = connections.send("POST", "/v2/orders", b"")
        assert answer is not None
        assert (await answer)[0::2] == (200, b"{}")
        assert broker.connections == CONNECTIONS


async def test_a_server_that_hangs_up_on_everybody_is_not_stormed() -> None:
    broker = Broker()
    broker.is_rude = True
    async with connections_to(broker) as connections:
        await asyncio.sleep(60)
        assert broker.connections <= CONNECTIONS * 10
        assert connections.send("POST", "/v2/orders", b"") is None
        broker.is_rude = False
        await asyncio.sleep(20)
        assert connections.send("POST", "/v2/orders", b"") is not None


async def test_an_order_under_way_at_a_renewal_gets_its_answer() -> None:
    broker = Broker()
    async with connections_to(broker) as connections:
        broker.delay = KEEP_ALIVE
        await asyncio.sleep(KEEP_ALIVE - 5)
        answer = connections.send("POST", "/v2/orders", b"")
        assert answer is not None
        assert (await answer)[0] == 200
        assert broker.connections > CONNECTIONS  # the others are new


async def test_connections_come_back_after_an_idle_outage() -> None:
    broker = Broker()
    async with connections_to(broker) as connections:
        await broker.close()
        await asyncio.sleep(KEEP_ALIVE * 2)
        assert connections.send("POST", "/v2/orders", b"") is None
        await broker.open()
        await asyncio.sleep(20)
        answer = connections.send("POST", "/v2/orders", b"")
        assert answer is not None and (await answer)[0] == 200


async def test_answer_that_never_comes_is_told_as_lost_connection() -> None:
    broker = Broker()
    broker.delay = 3600
    async with connections_to(broker) as connections:
        answer = connections.send("POST", "/v2/orders", b"")
        assert answer is not None
        await asyncio.sleep(1)
        await broker.close()
        with pytest.raises(ConnectionError):
            await answer


def test_a_second_answer_ends_the_connection() -> None:
    async def story() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            one = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nAAAA"
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await reader.readuntil(b"}")
                writer.write(one + one)
                await reader.read()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        connections = OrderConnections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {})
        connections.start()
        await asyncio.sleep(0.1)
        first = connections.send("POST", "/v2/orders", b"{}")
        assert first is not None
        assert (await first)[2] == b"AAAA"
        await asyncio.sleep(0.05)
        idle = [c for c in connections._idle]
        assert len(idle) == len(set(idle))
        assert all(connection.is_usable for connection in idle)
        await connections.close()
        server.close()
        await asyncio.sleep(0.1)

    asyncio.run(story())


class Wire(asyncio.Transport):
    """Writes down what goes out."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_gone = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_gone

    def abort(self) -> None:
        self.is_gone = True


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def connected() -> tuple[OrderConnections, Connection, Wire]:
    """Connections of which one is open and idle."""
    connections, wire = OrderConnections("http://127.0.0.1:1", {}), Wire()
    connection = Connection(connections)
    connection.connection_made(wire)
    return connections, connection, wire


@pytest.mark.parametrize(("idle", "is_sent"), [(KEEP_ALIVE, True), (KEEP_ALIVE + 0.1, False)])
async def test_nothing_is_sent_where_server_may_be_about_to_hang_up(idle: float, is_sent: bool) -> None:
    connections, _, wire = connected()
    await asyncio.sleep(idle)
    assert (connections.send("POST", "/v2/orders", b"{}") is not None) is is_sent
    assert bool(wire.written) is is_sent


async def test_answer_nobody_waits_for_any_more_is_not_next_ones() -> None:
    connections, connection, wire = connected()
    given_up = connections.send("POST", "/v2/orders", b"{}")
    assert given_up is not None
    given_up.cancel()
    await asyncio.sleep(0)
    assert wire.is_gone
    connection.data_received(ANSWER)
    assert connections.send("POST", "/v2/orders", b"{}") is None


@pytest.mark.parametrize(
    ("said", "is_kept"),
    [
        (ANSWER, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", False),
        (ANSWER + ANSWER, False),
        (ANSWER + b"nonsense", False),
    ],
)
async def test_a_connection_is_used_again_only_after_one_whole_answer(said: bytes, is_kept: bool) -> None:
    connections, connection, wire = connected()
    answer = connections.send("POST", "/v2/orders", b"{}")
    assert answer is not None
    connection.data_received(said)
    assert (await answer)[0::2] == (200, b"{}")
    assert wire.is_gone is not is_kept
    assert (connections.send("POST", "/v2/orders", b"{}") is not None) is is_kept


@pytest.mark.parametrize("said", [ANSWER, b"x"])
async def test_a_server_that_talks_unasked_is_hung_up_on(said: bytes) -> None:
    connections, connection, wire = connected()
    connection.data_received(said)
    assert wire.is_gone
    assert connections.send("POST", "/v2/orders", b"{}") is None


async def test_a_connection_given_up_takes_no_order() -> None:
    connections, connection, wire = connected()
    wire.abort = lambda: None  # type: ignore[method-assign]
    connection.abort()
    assert not connection.is_usable and connection not in connections._idle
    connections.free(connection)
    assert connections.send("POST", "/v2/orders", b"{}") is None
    assert wire.written == b""


async def test_of_idle_connections_old_are_replaced_and_others_stay() -> None:
    broker = Broker()
    async with connections_to(broker) as connections:
        old = set(connections._idle)
        await asyncio.sleep(KEEP_ALIVE)
        assert broker.connections >= 2 * CONNECTIONS
        assert len(connections._open) == len(connections._idle) == CONNECTIONS
        assert not old & set(connections._idle)


async def test_a_connection_taken_while_being_replaced_stays() -> None:
    connections, _, wire = connected()
    await asyncio.sleep(KEEP_ALIVE / 2 + 1)

    async def connect() -> None:
        assert connections.send("POST", "/v2/orders", b"{}") is not None

    connections._connect = connect  # type: ignore[method-assign]
    await connections._renew()
    assert not wire.is_gone
