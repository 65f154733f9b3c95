"""The warm-up of the exit's caches: the real way, with nothing behind it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

from scalp.core.order_router import OrderRouter
from scalp.live.cache_warmup import EVERY, CacheWarmup, keep_warm
from scalp.net.virtual_time import JumpingLoop


def run(story: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(story)


def test_the_sell_of_a_fill_comes_out_and_nothing_else_happens(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        warmup = CacheWarmup()
        for _ in range(20):
            await asyncio.sleep(100)  # nothing of it grows too old
            head, _, body = warmup.play().partition(b"\r\n\r\n")
            assert head.startswith(b"POST /v2/orders HTTP/1.1\r\n")
            assert json.loads(body) == {
                "symbol": "REHEARSAL", "qty": "19", "side": "sell", "type": "limit", "time_in_force": "day",
                "client_order_id": "scalp-REHEARSAL-0-1", "position_intent": "sell_to_close", "limit_price": "100.25",
            }  # fmt: skip
        assert warmup.play() == head + b"\r\n\r\n" + body
        assert asyncio.all_tasks() == {asyncio.current_task()}

    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(story())
        gc.collect()
    assert [record for record in caplog.records if record.name.startswith("scalp")] == []


def test_it_is_played_only_while_something_is_at_stake(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[float] = []

    def play(self: CacheWarmup) -> bytes:
        played.append(asyncio.get_running_loop().time())
        return b"sent"

    monkeypatch.setattr(CacheWarmup, "play", play)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(keep_warm(lambda: 60 <= loop.time() < 61))
        await asyncio.sleep(120)
        task.cancel()

    run(story())
    first, *rest = played
    assert first == 0  # once at the start, to see that it works
    assert 60 <= rest[0] < 60.01 and 60.99 < rest[-1] < 61
    assert len(rest) == pytest.approx(1 / EVERY, abs=2)


def test_one_that_goes_wrong_is_the_last_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OrderRouter, "on_order_update", lambda self, report: None)

    async def story() -> None:
        await asyncio.wait_for(keep_warm(lambda: True), 1.0)  # it ends, and raises nothing

    run(story())
    assert [record.message for record in caplog.records] == [
        "exits are not rehearsed any more (RuntimeError: no order came of it): they may be slower"
    ]
