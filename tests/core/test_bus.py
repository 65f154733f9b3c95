"""What is told goes to its listeners after the actions, in its order; on the wall clock a moment later."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal

import pytest

from scalp.core.bus import AT_ONCE, LINGER, EventBus
from scalp.core.commands import SubmitOrder
from scalp.core.events import Event, Fill, Transition
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
    world.fleet.bus.call_later = timers.call_later
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
    world.fleet.readiness.update("feed", "no bars")  # what is said at once follows what waited
    assert caplog.messages == ["bar 100.0 100.0 100.0 100.0, volume 10000", "no buys: no bars"]


def test_without_a_loop_they_are_written_with_their_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World("TSLA")
    world.see_all()
    buy = world.buy("TSLA")
    caplog.clear()
    world.report(buy, "filled", 10)
    assert caplog.messages == FILLED


def test_listeners_are_told_in_order_after_the_orders_are_out() -> None:
    world = World("TSLA")
    told: list[tuple[str, list[str]]] = []

    def listen(event: Event) -> None:
        told.append((type(event).__name__, [a.side for a in world.sent if isinstance(a, SubmitOrder)]))

    world.see_all()
    buy = world.buy("TSLA")
    world.fleet.bus.listen(listen)
    at = world.now
    world.report(buy, "filled", 10)
    both = ["buy", "sell"]
    assert told == [("Fill", both), ("Transition", both), ("Transition", both), ("OrderDecided", both),
                    ("OrderReported", both), ("OrderMoved", both)]  # fmt: skip
    assert at == world.now


def test_an_event_has_its_exchange_time_and_no_words(caplog: pytest.LogCaptureFixture) -> None:
    world = World("TSLA")
    told: list[Event] = []
    world.see_all()
    buy = world.buy("TSLA")
    world.fleet.bus.listen(told.append)
    world.report(buy, "filled", 10)
    price, profit = Decimal("100.00"), Decimal(0)
    assert told[:3] == [
        Fill("TSLA", world.now, "buy", Decimal(10), price, profit),
        Transition("TSLA", world.now, "BUY_SUBMITTED", "TO_SELL", "buy filled"),
        Transition("TSLA", world.now, "TO_SELL", "SELL_SUBMITTED", "sell 10 limit 100.00"),
    ]


def test_listener_that_fails_harms_neither_others_nor_exit(caplog: pytest.LogCaptureFixture) -> None:
    def fails(event: Event) -> None:
        raise ValueError("a bug")

    caplog.set_level(logging.ERROR, "scalp")
    world = World("TSLA")
    told: list[Event] = []
    world.see_all()
    buy = world.buy("TSLA")
    world.fleet.bus.listen(fails)
    world.fleet.bus.listen(told.append)
    caplog.clear()
    world.report(buy, "filled", 10)
    assert [action.side for action in world.sent if isinstance(action, SubmitOrder)] == ["buy", "sell"]
    assert len(told) == 6
    assert caplog.messages == ["a listener failed, and may go on failing: trading goes on"]
    world.bar("TSLA")
    assert len(told) == 7 and len(caplog.messages) == 1


def test_many_events_are_handed_on_a_few_at_a_time() -> None:
    told: list[Event] = []
    bus, timers = EventBus(int, told.append), Timers()
    bus.call_later = timers.call_later
    events = [Transition("TSLA", number, "TO_BUY", "BUY_SUBMITTED", "") for number in range(2 * AT_ONCE + 1)]
    for event in events:
        bus.tell(event)
        bus.settle()
    for turn in range(3):
        assert len(timers.waiting) == turn + 1 and told == events[: turn * AT_ONCE]
        timers.waiting[turn]()
    assert told == events and len(timers.waiting) == 3
