"""Event loops with a time of their own."""

from __future__ import annotations

import asyncio
import time

import pytest

from scalp.net.loops import JumpingLoop, ScaledLoop, pace


def test_a_jumping_loop_skips_all_waiting_and_keeps_the_order_of_timers() -> None:
    async def story() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        trace: list[tuple[str, float]] = []

        async def worker(name: str, pause: float) -> None:
            for _ in range(3):
                await asyncio.sleep(pause)
                trace.append((name, round(loop.time(), 6)))

        await asyncio.gather(worker("a", 3600.0), worker("b", 5000.0))
        return trace

    started = time.monotonic()
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        trace = runner.run(story())
    assert trace == [("a", 3600), ("b", 5000), ("a", 7200), ("b", 10000), ("a", 10800), ("b", 15000)]
    assert time.monotonic() - started < 1


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


@pytest.mark.parametrize("loop", [lambda: JumpingLoop(100.0), lambda: ScaledLoop(100.0)])
def test_a_paced_loop_takes_a_hundredth_of_the_time(loop: object) -> None:
    async def story() -> float:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(20.0)
        return asyncio.get_running_loop().time() - begun

    started = time.monotonic()
    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        passed = runner.run(story())
    assert passed == pytest.approx(20, abs=2)
    assert 0.15 <= time.monotonic() - started < 1


def test_the_pace_of_a_loop_is_known_where_it_is_steady() -> None:
    loops: list[asyncio.AbstractEventLoop] = [ScaledLoop(60.0), JumpingLoop(60.0), asyncio.new_event_loop()]
    assert [pace(loop) for loop in loops] == [60, 1, 1]
    for loop in loops:
        loop.close()
