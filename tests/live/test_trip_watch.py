"""What is seen of a round trip beside its fills, as one event a minute after its exit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from scalp.core.algo import ScalpAlgo
from scalp.core.events import Event, TripSeen
from scalp.core.exits import Plan
from scalp.core.fleet import Fleet
from scalp.core.messages import MINUTE, SECOND, Action, OrderReport, SubmitOrder, Trade
from scalp.live.trip_watch import TripWatch
from tests.core.test_fleet import OPEN, SESSION, Eager, World

T = OPEN + 2 * MINUTE  # when the bar's buy goes out


class Watched(World):
    """Orders go out at once; `later` lets time pass, with the timers that are due."""

    def __init__(self, algo: type[ScalpAlgo] = Eager) -> None:
        super().__init__("TSLA", algo=algo)
        self.timers: list[tuple[int, Callable[[], Any]]] = []
        self.seen: list[TripSeen] = []
        self.fleet = Fleet(self.fleet.algos.values(), lambda: self.now, self._send, [])
        self.fleet.begin_session(self.fleet.algos["TSLA"].session)  # type: ignore[arg-type]
        self.trips = TripWatch(self.fleet, self._call_later)
        self.fleet.bus.listen(self.trips)
        self.fleet.bus.listen(self._hear)
        self.fleet.on_held_print = self.trips.see
        self.see_all()

    def _send(self, action: Action) -> None:
        self.sent.append(action)
        if isinstance(action, SubmitOrder):
            self.fleet.on_sent(action)

    def _call_later(self, seconds: float, work: Callable[..., Any], *args: Any) -> Any:
        self.timers.append((self.now + round(seconds * SECOND), lambda: work(*args)))

    def _hear(self, event: Event) -> None:
        if isinstance(event, TripSeen):
            self.seen.append(event)

    def later(self, seconds: float) -> None:
        until = self.now + round(seconds * SECOND)
        for at, work in sorted(self.timers, key=lambda timer: timer[0]):
            if at <= until:
                self.now = at
                work()
        self.timers = [timer for timer in self.timers if timer[0] > until]
        self.now = until

    def price(self, price: float) -> None:
        self.fleet.on_trade(Trade("TSLA", self.now, price))

    def order(self, side: str) -> SubmitOrder:
        found = self.sent[-1]
        assert isinstance(found, SubmitOrder) and found.side == side
        return found

    def bought(self) -> SubmitOrder:
        """Bought at 100; the sell."""
        self.bar("TSLA", 100.0)
        self.report(self.order("buy"), "filled", 10)
        return self.order("sell")


def test_a_round_trip_from_its_signal_to_a_minute_after_its_exit() -> None:
    at = Watched()
    at.bar("TSLA", 100.0)
    buy = at.order("buy")
    assert at.now == T
    at.price(99.98)
    at.report(buy, "filled", 10)
    sell = at.order("sell")
    at.later(0.5)
    at.price(99.97)
    at.report(sell, "new")
    at.later(1)  # the first look sees 99.97
    at.price(100.04)
    at.later(5)
    at.price(100.01)
    at.report(sell, "filled", 10)
    at.later(2)
    at.price(100.03)
    at.later(55)
    at.price(90.0)  # long after it
    at.later(4)
    assert at.seen == [
        TripSeen(
            "TSLA", T + round(66.501 * SECOND), T, "limit", 100.0, OPEN + MINUTE, 99.98, T, 99.98, T + SECOND // 2,
            99.97, 99.97, 100.04, {1: 99.97, 5: 100.04, 30: 100.03, 60: 100.03},
            {1: 100.01, 5: 100.03, 30: 100.03, 60: 90.0},
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "why", "reason"),
    [
        (Plan.RISK_RULE, "stop loss, the last trade is 99, the entry was 100.00", "stop"),
        (Plan.RISK_RULE, "held for 900 s", "max hold"),
        (Plan.RISK_RULE, "the session's loss has reached $300", "max loss"),
        (Plan.RISK_RULE, "the signal says so", "the signal says so"),
        (Plan.LIQUIDATION, "the session is about to end", "liquidation"),
        (Plan.FLATTEN, "told to flatten", "flatten"),
    ],
)
def test_why_it_was_left(plan: Plan, why: str, reason: str) -> None:
    at = Watched()
    sell = at.bought()
    at.report(sell, "new")
    algo = at.fleet.algos["TSLA"]
    if plan is Plan.LIQUIDATION:
        at.now = SESSION.liquidate_at
    for action in algo.leave(plan, why, at.now):
        at._send(action)
    at.report(sell, "canceled")
    market = at.order("sell")
    assert market.type == "market"
    at.report(SubmitOrder("TSLA", market.client_order_id, "sell", 10, "market", Decimal(99)), "filled", 10)
    at.later(61)
    assert [one.reason for one in at.seen] == [reason]


def test_a_sell_of_somebody_else_is_by_hand_and_a_leg_is_a_stop() -> None:
    for kind, reason in (("limit", "by hand"), ("stop", "stop at broker")):
        at = Watched()
        at.bought()
        at.fleet.on_order_update(
            OrderReport("TSLA", "theirs", "theirs", "sell", kind, "filled", Decimal(10), Decimal(10), Decimal(99),
                        submitted_at=at.now + 5 * SECOND)
        )  # fmt: skip
        at.later(61)
        assert [one.reason for one in at.seen] == [reason]


def test_the_end_of_the_session_tells_what_was_seen_so_far() -> None:
    at = Watched()
    at.report(at.bought(), "filled", 10)
    at.later(2)
    at.trips.close()
    at.later(60)
    assert [(one.entry, one.exit) for one in at.seen] == [({1: 100.0}, {1: 100.0})]
