"""Log lines come after the actions, in their order; on the wall clock a moment later."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from scalp.core.lines import LINGER
from tests.core.test_fleet import World

FILLED = [
    "bought 10 at 100.00",
    "BUY_SUBMITTED -> TO_SELL: buy filled",
    "TO_SELL -> SELL_SUBMITTED: sell 10 limit 100.00",
]


class Timers:
    """What was asked of the loop."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        assert seconds == LINGER
        self.waiting.append(callback)


def test_lines_wait_until_the_exits_of_the_same_instant_are_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world, timers = World("TSLA", "FB"), Timers()
    world.see_all()
    buys = [world.buy(symbol) for symbol in ("TSLA", "FB")]
    caplog.clear()
    world.fleet.lines.call_later = timers.call_later
    for buy in buys:
        world.report(buy, "filled", 10)
    assert [action.side for action in world.sent[-2:] if hasattr(action, "side")] == ["sell", "sell"]
    assert caplog.messages == []
    (write,) = timers.waiting
    write()
    assert caplog.messages == [*FILLED, *FILLED]
    assert [record.name for record in caplog.records] == ["scalp.TSLA"] * 3 + ["scalp.FB"] * 3

    caplog.clear()
    world.bar("TSLA")  # the next one begins anew
    assert len(timers.waiting) == 2 and caplog.messages == []
    world.fleet.see("feed", "no bars")  # what is said at once follows what waited
    assert caplog.messages == ["bar 100.0 100.0 100.0 100.0, volume 10000", "no buys: no bars"]


def test_without_a_loop_they_are_written_with_their_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World("TSLA")
    world.see_all()
    buy = world.buy("TSLA")
    caplog.clear()
    world.report(buy, "filled", 10)
    assert caplog.messages == FILLED
