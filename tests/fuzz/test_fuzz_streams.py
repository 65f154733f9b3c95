"""Whatever a stream sends: a logged line at most, the other messages of the frame are delivered, and it stays alive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError

from scalp.alpaca.feed import AlpacaFeed
from scalp.alpaca.rest import AlpacaREST
from scalp.alpaca.updates import OrderUpdates
from scalp.core.market_data import Bar, Trade
from scalp.core.orders import OrderReport
from scalp.net import stream
from scalp.net.stream import ReconnectingStream, StreamTrouble
from scalp.polygon.feed import PolygonFeed
from tests.fuzz import messages as real
from tests.fuzz.strategies import HALF_NESTED, absurd, bodies, briefly, broken, fuzz, values, written
from tests.wire.fakes import Told, endpoints, run

POINTS = endpoints("ws://127.0.0.1:1", polygon_key="polygontestkey")
SYMBOLS = ["AAPL", "TSLA"]


def updates(told: Told) -> ReconnectingStream:
    return OrderUpdates(POINTS, told, random.Random(1))


def alpaca(told: Told) -> ReconnectingStream:
    return AlpacaFeed(POINTS, SYMBOLS, told, random.Random(1), lambda: True, AlpacaREST(POINTS))


def polygon(told: Told) -> ReconnectingStream:
    return PolygonFeed(POINTS, SYMBOLS, told, random.Random(1), lambda: True)


ALPACA = (real.ALPACA_BAR, real.ALPACA_TRADE, real.ALPACA_HALT, real.ALPACA_SUBSCRIPTION, real.ALPACA_SUCCESS)
POLYGON = (real.POLYGON_BAR, real.POLYGON_TRADE, real.POLYGON_STATUS)
UPDATES = (real.FILL, real.LOGIN, real.LISTENING)
KINDS: tuple[tuple[Callable[[Told], ReconnectingStream], tuple[Any, ...]], ...] = (
    (updates, UPDATES),
    (alpaca, ALPACA),
    (polygon, POLYGON),
)


@pytest.fixture(autouse=True, scope="module")
def quietly() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def take(subject: ReconnectingStream, frame: str | bytes) -> None:
    """A frame is handled; the only thing that may come of it is that the connection is given up."""
    with contextlib.suppress(StreamTrouble):
        subject._take(frame)


def check(told: Told) -> None:
    """Nothing that was delivered can mislead a trade."""
    for item in told.all:
        if isinstance(item, Bar):
            numbers = (item.open, item.high, item.low, item.close)
            assert all(0 < number < 1e9 for number in numbers), item
            assert 0 <= item.volume < math.inf
        elif isinstance(item, Trade):
            assert 0 < item.price < 1e9
            assert isinstance(item.at, int)
        elif isinstance(item, OrderReport):
            assert item.id
            for number in (
                item.qty,
                item.filled_qty,
                item.filled_avg_price,
                item.limit_price,
                item.price,
                item.execution_qty,
            ):
                assert number is None or 0 <= number < 10**12


@pytest.mark.parametrize(("make", "examples"), KINDS)
@fuzz
@given(data=st.data())
def test_any_frame(make: Callable[[Told], ReconnectingStream], examples: tuple[Any, ...], data: st.DataObject) -> None:
    told = Told()
    subject = make(told)
    for _ in range(3):
        frame = data.draw(bodies(*examples, list(examples)))
        take(subject, frame)
        take(subject, frame.decode(errors="replace"))
    check(told)


@pytest.mark.parametrize(("make", "examples"), KINDS)
def test_one_absurd_value_anywhere_in_a_frame(
    make: Callable[[Told], ReconnectingStream], examples: tuple[Any, ...]
) -> None:
    told = Told()
    subject = make(told)
    for example in (*examples, list(examples)):
        for _, frame in absurd(example):
            take(subject, frame)
            take(subject, frame.decode(errors="replace"))
    check(told)


BAD_TEXT = b'{"T":"b","ev":"AM","S":"AAPL","sym":"\xff","t":"2026-11-20T15:30:00Z\xc3"}'


@pytest.mark.parametrize(
    ("make", "good", "examples"),
    [(alpaca, real.ALPACA_BAR, ALPACA[:3]), (polygon, real.POLYGON_BAR, POLYGON[:2])],
)
@fuzz
@given(data=st.data())
def test_a_bad_message_costs_itself_only(
    make: Callable[[Told], ReconnectingStream], good: dict[str, Any], examples: tuple[Any, ...], data: st.DataObject
) -> None:
    told = Told()
    first, last = good | {"c": 178.31}, good | {"c": 178.47}
    bad = data.draw(
        st.one_of(
            st.sampled_from(examples).flatmap(broken).map(written),
            values.map(written),
            st.sampled_from((BAD_TEXT, HALF_NESTED)),
        )
    )
    take(make(told), b"[" + written(first) + b"," + bad + b"," + written(last) + b"]")
    closes = [item.close for item in told.all if isinstance(item, Bar)]
    assert closes[0] == 178.31
    assert closes[-1] == 178.47
    check(told)


class Socket:
    """Plays one connection: says the frames, then breaks."""

    def __init__(self, frames: list[str | bytes]) -> None:
        self._frames = frames

    def keep_alive(self, interval: float, patience: float) -> None:
        pass

    def deliver(self, handler: Callable[[str | bytes], None]) -> None:
        while self._frames:
            handler(self._frames.pop(0))

    async def wait_closed(self) -> None:
        raise ConnectionClosedError(None, None)

    async def send(self, frame: str) -> None:
        pass

    async def close(self, patience: float) -> None:
        pass

    async def recv(self) -> str | bytes:
        if not self._frames:
            raise ConnectionClosedError(None, None)
        await asyncio.sleep(0.1)
        return self._frames.pop(0)


LOGINS: dict[Any, list[Any]] = {
    updates: [real.LOGIN, real.LISTENING],
    alpaca: [[real.ALPACA_SUCCESS], [real.ALPACA_SUCCESS | {"msg": "authenticated"}], [real.ALPACA_SUBSCRIPTION]],
    polygon: [
        [{"ev": "status", "status": "connected"}],
        [{"ev": "status", "status": "auth_success"}],
        [real.POLYGON_STATUS],
    ],
}
REFUSALS = ("unauthorized", "402", "409", "410", "auth_failed", "not authorized")


@pytest.mark.parametrize(("make", "examples"), KINDS)
@briefly
@given(data=st.data())
def test_no_login_kills_it(
    make: Callable[[Told], ReconnectingStream], examples: tuple[Any, ...], data: st.DataObject
) -> None:
    """Three connections of nonsense, before, instead of and after the login's messages; only a refusal is the end."""
    steps: Any = st.sampled_from([written(step) for step in LOGINS[make]])
    junk = bodies(*examples, *LOGINS[make])
    connections = data.draw(st.lists(st.lists(steps | junk, max_size=5), min_size=3, max_size=3))
    if any(word.encode() in frame for frames in connections for frame in frames for word in REFUSALS):
        return
    told = Told()

    async def connect(*_: object, **__: object) -> Socket:
        return Socket(connections.pop(0) if connections else [])

    async def story() -> None:
        job = asyncio.ensure_future(make(told).run())
        await asyncio.sleep(400)
        assert connections == []
        assert not job.done(), job
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "connect", connect)
        run(story())
    check(told)


def test_the_examples_are_understood() -> None:
    """What is broken above works as it is."""
    for make, examples in KINDS:
        told = Told()
        subject = make(told)
        for example in examples:
            take(subject, json.dumps(example))
        assert told.all
