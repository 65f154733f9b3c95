"""Event loops with a time of their own."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from typing import Any

import pytest

from scalp.net.virtual_time import JumpingLoop, ScaledLoop, pace


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long the loops of this thread asked the system to wait, each time that nothing came before."""
    waits: list[float] = []
    here = threading.get_ident()  # other tests may have left a loop at work in a thread of a library
    select = selectors.DefaultSelector.select

    def noting(self: selectors.DefaultSelector, timeout: float | None = None) -> object:
        ready = select(self, timeout)
        if timeout and not ready and threading.get_ident() == here:
            waits.append(timeout)
        return ready

    monkeypatch.setattr(selectors.DefaultSelector, "select", noting)
    return waits


def test_a_jumping_loop_skips_waits_and_keeps_the_order(waited: list[float]) -> None:
    async def story() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        trace: list[tuple[str, float]] = []

        async def worker(name: str, pause: float) -> None:
            for _ in range(3):
                await asyncio.sleep(pause)
                trace.append((name, round(loop.time(), 6)))

        await asyncio.gather(worker("a", 3600.0), worker("b", 5000.0))
        return trace

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        trace = runner.run(story())
    assert trace == [("a", 3600), ("b", 5000), ("a", 7200), ("b", 10000), ("a", 10800), ("b", 15000)]
    assert waited == []


def test_sockets_come_before_the_next_jump() -> None:
    async def story() -> float:
        loop = asyncio.get_running_loop()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(100):
            writer.write(b"x")
            async with asyncio.timeout(1.0):
                assert await reader.read(1) == b"x"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return loop.time()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        assert runner.run(story()) < 1.0


def test_both_ends_of_a_connection_in_one_loop_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def say(**where: Any) -> bytes:
        reader, writer = await asyncio.open_connection(**where)
        writer.write(b"word")
        heard = await reader.read(100)
        writer.close()
        await writer.wait_closed()
        return heard

    async def story() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await say(host="127.0.0.1", port=port) == b"word"
        assert await say(host="localhost", port=port) == b"word"
        connected = socket.socket()  # as aiohttp does it
        connected.setblocking(False)
        await loop.sock_connect(connected, ("127.0.0.1", port))
        assert await say(sock=connected) == b"word"
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionError, match="by TCP"):
            await say(host="127.0.0.1", port=port)

    def connect(*_: object) -> None:
        raise ConnectionError("by TCP")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(story())


@pytest.mark.parametrize("loop", [lambda: JumpingLoop(100.0), lambda: ScaledLoop(100.0)])
def test_a_paced_loop_takes_a_hundredth_of_the_time(loop: object, waited: list[float]) -> None:
    async def story() -> float:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(20.0)
        return asyncio.get_running_loop().time() - begun

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        assert runner.run(story()) >= 20
    # It asks once, a little less for what has passed since, and again where it was woken a moment too early.
    assert 0 < max(waited) <= 0.2 and sum(waited) <= 0.21


def test_the_pace_of_a_loop_is_known_where_it_is_steady() -> None:
    loops: list[asyncio.AbstractEventLoop] = [ScaledLoop(60.0), JumpingLoop(60.0), asyncio.new_event_loop()]
    assert [pace(loop) for loop in loops] == [60, 1, 1]
    for loop in loops:
        loop.close()
