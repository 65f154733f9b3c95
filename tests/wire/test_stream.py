"""The reconnecting client: when it tries again, when it gives up, what it survives."""

import asyncio
import logging
import random

import pytest

from scalp.core.errors import UserError
from scalp.net.stream import BUSY, LoginRefused, ReconnectingStream, StreamTrouble
from scalp.net.websocket import WebSocket
from tests.wire.fakes import ScriptedServer, Talk, run, scripted


class Echo(ReconnectingStream):
    """Logs in with a word, then writes down every frame."""

    def __init__(self, server: ScriptedServer, **options: object) -> None:
        super().__init__("test", server.url, random.Random(1), **options)  # type: ignore[arg-type]
        self.told: list[str] = []

    async def _login(self, socket: WebSocket) -> None:
        await socket.send('"password"')
        answer = await socket.recv()
        if answer == "refused":
            raise LoginRefused("check TEST_KEY")
        if answer == "busy":
            raise StreamTrouble("busy", wait=60)

    def _on_frame(self, frame: str | bytes) -> bool:
        if frame == "bad":
            raise ValueError("bad frame")
        if frame == "useless":
            raise StreamTrouble("useless now")
        self.told.append(str(frame))
        return frame != "control"

    def _on_up(self) -> None:
        self.told.append("up")

    def _on_down(self, why: str) -> None:
        self.told.append(f"down: {why}")


async def one_word(talk: Talk) -> None:
    assert await talk.hears() == "password"
    await talk.says("welcome", "word")
    await talk.stays(1)


def gaps(server: ScriptedServer) -> list[float]:
    return [round(b - a, 3) for a, b in zip(server.connected_at, server.connected_at[1:], strict=False)]


async def test_a_refused_handshake_is_retried_with_growing_waits() -> None:
    async with scripted(*[429] * 12, one_word) as server:
        stream = Echo(server)
        await server.against(stream)
    assert stream.told[:2] == ["up", "word"]
    waits = gaps(server)
    limits = [(1, 2), (2, 4), (4, 8)] + [(7.5, 15)] * 9
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, limits, strict=True))
    assert len(set(waits)) == len(waits)


def test_the_third_sign_of_another_bot_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    async def session() -> None:
        async with scripted(429, 429, 503, 429, 429, 429, 429, one_word) as server:
            await server.against(Echo(server))

    with caplog.at_level(logging.INFO):
        run(session())
    told = [line.partition("; next try")[0] for line in caplog.messages if "next try" in line]
    refused = "test: HTTP 429 at the handshake"
    busy = f"{refused}: {BUSY}"
    assert told[:7] == [refused, refused, "test: HTTP 503 at the handshake", refused, refused, busy, busy]


async def test_short_life_does_not_reset_backoff_useful_one_does() -> None:
    async def brief(talk: Talk) -> None:
        await talk.hears()
        await talk.says("welcome")

    async def useful(talk: Talk) -> None:
        await talk.hears()
        await talk.says("welcome")
        await talk.stays(31)

    async with scripted(brief, brief, brief, useful, one_word) as server:
        await server.against(Echo(server))
    waits = gaps(server)
    assert 1 <= waits[0] <= 2.1
    assert 2 <= waits[1] <= 4.1
    assert 4 <= waits[2] <= 8.1
    assert 31 + 1 <= waits[3] <= 31 + 2.1


async def test_a_peer_that_vanishes_and_a_port_that_answers_nothing() -> None:
    async def vanishing(talk: Talk) -> None:
        await talk.hears()
        await talk.says("welcome", "first")
        await talk.stays(1)
        await talk.dies()

    async with scripted(vanishing, one_word) as server:
        stream = Echo(server)
        await server.against(stream)
    assert stream.told[:5] == ["up", "first", "down: connection lost", "up", "word"]

    closed = Echo(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await closed.run()
    assert closed.told == []


async def refusing(talk: Talk) -> None:
    await talk.hears()
    await talk.says("refused")
    await talk.stays(1)


@pytest.mark.parametrize("judged", [True, False])
def test_a_refused_login_is_final_only_with_a_second_witness(judged: bool) -> None:
    asked: list[str] = []

    async def witness(refusal: LoginRefused) -> bool:
        asked.append(str(refusal))
        return judged

    async def session() -> None:
        async with scripted(refusing, refusing, one_word) as server:
            stream = Echo(server, is_final=witness)
            if judged:
                with pytest.raises(UserError, match=r"^check TEST_KEY$"):
                    await server.against(stream)
            else:
                await server.against(stream)
                assert stream.told[:2] == ["up", "word"]

    run(session())
    assert asked == ["check TEST_KEY"] * (1 if judged else 2)


async def test_after_a_login_that_worked_no_refusal_is_final() -> None:
    async def witness(refusal: LoginRefused) -> bool:
        raise AssertionError("nobody is asked")

    async with scripted(one_word, *[refusing] * 30, one_word) as server:
        stream = Echo(server, is_final=witness)
        await server.against(stream)
        assert stream.told.count("word") == 2
    assert all(gap <= 16.1 for gap in gaps(server))


def test_the_same_trouble_is_a_warning_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def session() -> None:
        async with scripted(*[refusing] * 20, 429, one_word) as server:
            await server.against(Echo(server))
            took.append(server.connected_at[20] - server.connected_at[0])

    took: list[float] = []
    with caplog.at_level(logging.INFO):
        run(session())
    lines = [record for record in caplog.records if "next try in" in record.getMessage()]
    assert len(lines) >= 21
    loud = [record.getMessage().partition(";")[0] for record in lines if record.levelno == logging.WARNING]
    assert "test: HTTP 429 at the handshake" in loud
    assert 2 <= loud.count("test: check TEST_KEY") <= took[0] / 60 + 1


def test_what_a_server_says_makes_no_long_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        stream = ReconnectingStream("test", "ws://127.0.0.1:1", random.Random(1))
        stream._frame_trouble(ValueError("long and\nbroken " * 10_000))
        for number in range(1000):
            stream._say_once("message %d", number)
    assert len(caplog.records[0].getMessage()) < 200 and "\n" not in caplog.records[0].getMessage()
    assert sum(record.levelno >= logging.WARNING for record in caplog.records) <= 201
    assert len(str(StreamTrouble("x" * 10_000))) <= 300


async def test_trouble_may_name_its_own_wait() -> None:
    async def busy(talk: Talk) -> None:
        await talk.hears()
        await talk.says("busy")

    async with scripted(busy, one_word) as server:
        await server.against(Echo(server))
    assert 60 <= gaps(server)[0] < 61


def test_a_bad_frame_costs_itself_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def bad_frames(talk: Talk) -> None:
        await talk.hears()
        await talk.says("welcome", "one", "bad", "two", "bad", "three")
        await talk.stays(1)
        await talk.says("useless", "lost")
        await talk.stays(60)

    async def session() -> None:
        async with scripted(bad_frames, one_word) as server:
            stream = Echo(server)
            await server.against(stream)
        assert stream.told[:6] == ["up", "one", "two", "three", "down: useless now", "up"]

    with caplog.at_level(logging.INFO):
        run(session())
    assert [record.getMessage() for record in caplog.records if "not understood" in record.getMessage()] == [
        "test: a message was not understood (ValueError: bad frame)"
    ]


async def test_silence_is_measured_in_session_only() -> None:
    async def silent(talk: Talk) -> None:
        await talk.hears()
        await talk.says("welcome", "control")
        await talk.stays(10_000)

    async def silent_after_a_word(talk: Talk) -> None:
        await talk.hears()
        await talk.says("welcome", "word")
        await talk.stays(10_000)

    loop = asyncio.get_running_loop()
    async with scripted(silent, silent, silent, silent_after_a_word, one_word) as server:
        stream = Echo(server, stale_after=150, expect_messages=lambda: loop.time() >= 1000)
        await server.against(stream)
    assert [word for word in stream.told if "down" in word][:4] == [
        "down: no message for 150 s",
        "down: no message for 300 s",
        "down: no message for 600 s",
        "down: no message for 150 s",
    ]
    assert 1145 <= server.connected_at[1] <= 1155


async def test_reconnect_on_request_and_a_clean_close_on_cancel() -> None:
    closes: list[int | None] = []

    async def lasting(talk: Talk) -> None:
        await talk.hears()
        await talk.says("welcome")
        await talk.stays(10_000)
        closes.append(talk.socket.close_code)

    async with scripted(lasting, lasting, one_word) as server:
        stream = Echo(server)
        stream.reconnect("nothing to close yet")
        running = asyncio.create_task(stream.run())
        await asyncio.sleep(5)
        stream.reconnect("mute")
        stream.reconnect("a second reason changes nothing")
        await asyncio.sleep(5)
        running.cancel()
        before = asyncio.get_running_loop().time()
        await asyncio.wait((running,))
        assert running.cancelled()
        assert asyncio.get_running_loop().time() - before < 1
        assert stream.told == ["up", "down: mute", "up", "down: stopped"]
    assert closes == [1000, 1000]


def test_redirect_is_not_followed_and_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def session() -> None:
        async with scripted(302, 401, one_word) as server:
            stream = Echo(server)
            await server.against(stream)
            assert stream.told[:2] == ["up", "word"]

    with caplog.at_level(logging.DEBUG):
        run(session())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("scalp")]
    assert any("HTTP 401 at the handshake" in line for line in ours)
    assert not any("password" in line for line in ours)
