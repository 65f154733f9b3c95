"""What is seen of a round trip beside its fills, as one event a minute after its exit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from scalp.core.algo import ScalpAlgo
from scalp.core.commands import Action, CancelOrder, SubmitOrder
from scalp.core.events import Event, TripSeen
from scalp.core.exits import Plan
from scalp.core.fleet import Fleet
from scalp.core.market_data import Trade
from scalp.core.orders import SELL, OrderReport, PositionReport
from scalp.core.risk_limits import NO_RISK_LIMITS, RiskLimits
from scalp.core.risk_rules import RiskRules
from scalp.core.units import MINUTE, SECOND
from scalp.live.trip_watch import TripWatch
from tests.core.test_fleet import OPEN, SESSION, Eager, World

T = OPEN + 2 * MINUTE  # when the bar's buy goes out


class Watched(World):
    """Orders go out at once, unless `waits`; `later` lets time pass, with the timers that are due."""

    waits = False

    def __init__(self, algo: type[ScalpAlgo] = Eager, held: int = 0, by: OrderReport | None = None) -> None:
        """`held` shares are there at the start, bought at 100, on offer `by` an order."""
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
        if by is not None:
            position = PositionReport("TSLA", Decimal(held), Decimal(100))
            self.fleet.orders.on_snapshot("TSLA", [by], position, self.now)

    def _send(self, action: Action) -> None:
        self.sent.append(action)
        if isinstance(action, SubmitOrder) and not self.waits:
            self.fleet.orders.on_sent(action)

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


def test_round_trip_from_its_signal_to_minute_after_its_exit() -> None:
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
    entry = {1: 99.97, 5: 100.04, 30: 100.03, 60: 100.03}
    chain = "limit", 100.0, OPEN + MINUTE, 99.98, T, T, 99.98, T + SECOND // 2, 99.97, 99.97, 100.04
    assert at.seen == [
        TripSeen("TSLA", T + round(6.5 * SECOND), T, *chain, {1: 99.97, 5: 100.04}, {}),
        TripSeen("TSLA", T + round(66.501 * SECOND), T, *chain, entry, {1: 100.01, 5: 100.03, 30: 100.03, 60: 90.0}),
    ]  # fmt: skip


STOP, TRAIL = Decimal("0.01"), Decimal("0.02")


def sold(at: Watched, order: SubmitOrder) -> str:
    """Why, once `order` has sold everything at 98 and a minute has passed."""
    at.fleet.orders.on_order_update(
        OrderReport("TSLA", f"id-{order.client_order_id}", order.client_order_id, "sell", order.type, "filled",
                    Decimal(order.qty), Decimal(order.qty), Decimal(98), submitted_at=at.now + 5 * SECOND)
    )  # fmt: skip
    return told(at)


def told(at: Watched) -> str:
    """Why a trip ended: at once, and a minute later."""
    at.later(61)
    reasons = [one.reason for one in at.seen if one.exit or one.reason]
    assert len(reasons) == 2 and len(set(reasons)) == 1
    return reasons[0]


def leg(sell: SubmitOrder, id: str, status: str, stop: str, **more: Any) -> OrderReport:
    filled = Decimal(sell.qty if status == "filled" else 0)
    return OrderReport("TSLA", id, f"{id} by the broker", "sell", "stop", status, Decimal(sell.qty), filled,
                       Decimal(98), submitted_at=T + 5 * SECOND, stop_price=Decimal(stop),
                       parent_id=f"id-{sell.client_order_id}", **more)  # fmt: skip


def held(limits: RiskLimits = NO_RISK_LIMITS) -> tuple[Watched, SubmitOrder]:
    """Bought at 100, and offered."""
    at = Watched()
    at.fleet.risk.rules = RiskRules(limits, True, at.fleet.takings)
    sell = at.bought()
    at.report(sell, "new")
    return at, sell


def market(at: Watched, sell: SubmitOrder) -> SubmitOrder:
    """The offer was cancelled, and a market order went out in its place."""
    assert at.sent[-1] == CancelOrder("TSLA", sell.client_order_id, f"id-{sell.client_order_id}")
    at.report(sell, "canceled")
    found = at.order("sell")
    assert found.type == "market"
    return found


def test_a_limit_took_the_profit() -> None:
    at, sell = held()
    assert sold(at, sell) == "limit"


def test_the_stop_at_the_broker_sold() -> None:
    at, sell = held(RiskLimits(stop_loss=STOP))
    assert sell.stop_price == 99
    at.fleet.orders.on_order_update(leg(sell, "stop", "held", "99"))
    at.fleet.orders.on_order_update(leg(sell, "stop", "filled", "99"))
    assert told(at) == "stop at broker"


def test_the_stop_at_the_broker_was_moved_and_sold() -> None:
    for before in (True, False):  # the process that moved it, and the next one
        at, sell = held(RiskLimits(trail=TRAIL))
        if before:
            at.fleet.orders.on_order_update(leg(sell, "stop", "held", "98"))
            at.fleet.orders.on_order_update(leg(sell, "stop", "replaced", "98", replaced_by="moved"))
        at.fleet.orders.on_order_update(leg(sell, "moved", "held", "99"))
        at.fleet.orders.on_order_update(leg(sell, "moved", "filled", "99", replaces=None if before else "stop"))
        assert told(at) == "trail"


def test_the_stop_at_the_broker_was_not_moved_before_it_sold() -> None:
    at, sell = held(RiskLimits(trail=TRAIL))
    at.fleet.orders.on_order_update(leg(sell, "stop", "held", "98"))
    at.fleet.orders.on_order_update(leg(sell, "stop", "filled", "98"))
    assert told(at) == "stop at broker"


def test_the_bot_stopped() -> None:
    at, sell = held(RiskLimits(stop_loss=STOP, trail=TRAIL, stop_at="bot"))
    at.later(1)
    at.price(99.0)
    assert sold(at, market(at, sell)) == "stop"


def test_the_bot_trailed() -> None:
    at, sell = held(RiskLimits(stop_loss=STOP, trail=TRAIL, stop_at="bot"))
    at.later(1)
    at.price(102.0)  # so that the stop is at 99.96
    at.later(1)
    at.price(99.9)
    why = at.fleet.algos["TSLA"].exits.why
    assert why == "trail, the last trade is 99.9, the highest was 102.0, the entry was 100.00"
    assert sold(at, market(at, sell)) == "trail"


def test_it_was_held_for_too_long() -> None:
    at, sell = held(RiskLimits(max_hold=60 * SECOND))
    at.later(61)
    at.price(100.0)
    assert sold(at, market(at, sell)) == "max hold"


def test_the_session_lost_too_much() -> None:
    at, sell = held(RiskLimits(max_loss=Decimal(5)))
    at.price(99.0)
    assert sold(at, market(at, sell)) == "max loss"


def test_the_close_came() -> None:
    at, sell = held()
    at.later((SESSION.liquidate_at - at.now) / SECOND)
    at.fleet.checkup()
    assert sold(at, market(at, sell)) == "liquidation"


def test_the_user_said_flatten() -> None:
    at, sell = held()
    at.fleet.flatten()
    assert sold(at, market(at, sell)) == "flatten"


def test_a_rule_of_somebodys_own_is_told_in_its_words() -> None:
    at, sell = held()
    algo = at.fleet.algos["TSLA"]
    for action in algo.close_position(Plan.RISK_RULE, "the signal says so", at.now):
        at._send(action)
    assert sold(at, market(at, sell)) == "the signal says so"


@pytest.mark.parametrize("kind", ["limit", "market", "stop"])
def test_a_sell_of_somebody_else_is_by_hand(kind: Any) -> None:
    at, _ = held()
    assert sold(at, SubmitOrder("TSLA", "theirs", SELL, 10, kind)) == "by hand"


def test_shares_that_went_without_an_order_went_by_hand() -> None:
    at, _ = held()
    at.fleet.orders.on_position(PositionReport("TSLA", Decimal(0), Decimal(0)), at.now)
    assert told(at) == "by hand"


def test_the_end_of_the_session_tells_what_was_seen_so_far() -> None:
    at = Watched()
    at.report(at.bought(), "filled", 10)
    at.later(2)
    at.trips.close()
    at.later(60)
    assert [(one.entry, one.exit) for one in at.seen] == [({}, {}), ({1: 100.0}, {1: 100.0})]


def test_what_is_seen_of_held_shares_is_told_each_minute() -> None:
    at, _ = held()
    at.later(61)
    at.price(101.0)
    at.trips.close()
    assert [(one.reason, one.signal_price, one.high, len(one.entry)) for one in at.seen] == [
        ("", 100.0, 100.0, 4), ("", 100.0, 101.0, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "kind", "reason"),
    [
        ("scalp-TSLA-0-2", "limit", "limit"),
        ("scalp-TSLA-0-2", "market", "risk rule"),
        ("theirs", "limit", "by hand"),
    ],
)
def test_shares_held_before_the_process_are_watched_too(key: str, kind: Any, reason: str) -> None:
    at = Watched(held=10, by=OrderReport("TSLA", f"id-{key}", key, "sell", kind, "new", Decimal(10), Decimal(0)))
    started = at.now
    at.price(100.5)
    at.later(10)
    at.price(99.5)
    assert sold(at, SubmitOrder("TSLA", key, SELL, 10, kind)) == reason
    assert at.seen[-1] == TripSeen("TSLA", started + round(70.001 * SECOND), started, reason, low=99.5, high=100.5,
                                   exit={1: 99.5, 5: 99.5, 30: 99.5, 60: 99.5})  # fmt: skip


def test_a_sell_that_has_to_wait_was_decided_before_it_is_sent() -> None:
    at = Watched()
    at.bar("TSLA", 100.0)
    buy, decided_at = at.order("buy"), at.now
    at.waits = True
    at.report(buy, "filled", 10)
    at.now += 3 * SECOND
    at.fleet.orders.on_sent(at.order("sell"))
    at.trips.close()
    assert [(one.decided_at, one.sent_at) for one in at.seen] == [(decided_at, decided_at + 3 * SECOND)]
