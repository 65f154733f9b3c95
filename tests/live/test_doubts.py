"""Reconciliation alone: listings that do not fit what happens while they are asked for, and what is asked then."""

# mypy: disable-error-code="comparison-overlap"
# A Decimal equals an int here, as it does when the tests run.

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from scalp.alpaca.activities import Activities
from scalp.alpaca.rest import Listing, OrderPage
from scalp.core.commands import SubmitOrder
from scalp.core.errors import Unreachable
from scalp.core.events import Doubt
from scalp.core.orders import OrderReport, PositionReport
from scalp.core.ports import Counted
from scalp.core.units import MINUTE, SECOND
from scalp.live.reconcile import Reconciler
from tests.core.test_fleet import World
from tests.helpers import BrokerOrder

T = TypeVar("T")


class Broker:
    """What is listed and told; `meanwhile[question]` happens while that is being answered."""

    has_plenty = True

    def __init__(self, *, is_started: bool = True) -> None:
        self.world = World("TSLA")
        self.listed = 0
        self.asked: list[str] = []
        self.executions: list[dict[str, str]] = []
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.fails = ""
        self.unreadable: frozenset[str] = frozenset()
        self.rows: list[OrderReport] = []
        clock = SimpleNamespace(now=lambda: self.world.now)
        self.reconciler = Reconciler(self.world.fleet, self, self, clock)  # type: ignore[arg-type]
        if is_started:
            self.reconcile()
            self.world.see_all()

    @property
    def held(self) -> Decimal:
        return self.world.fleet.algos["TSLA"].ledger.position

    def activities(self, since: int, counted: Counted) -> Activities:
        return Activities(self, since, counted)  # type: ignore[arg-type]

    def reconcile(self, after: float = 0) -> bool:
        """`after` so many seconds; whether nothing is in doubt."""
        self.world.now += round(after * SECOND)
        return asyncio.run(self.reconciler.reconcile())

    def by_hand(self, shares: int, name: str = "mine", **more: Any) -> None:
        """The stream tells of shares that somebody bought just now."""
        order = BrokerOrder(name, "buy", Decimal(shares), Decimal(100), symbol="TSLA", submitted_at=self.world.now)
        self.world.fleet.orders.on_order_update(order.report("fill", shares, **{"at": self.world.now, **more}))

    def executed(self, shares: int, order_id: str, side: str = "buy", at: str = "14:31:00") -> None:
        """The activities tell of shares that were bought or sold."""
        self.executions.append(
            {"id": f"20261120093000000::{order_id}/1", "activity_type": "FILL", "symbol": "TSLA", "side": side,
             "qty": str(shares), "cum_qty": str(shares), "price": "100", "order_id": order_id,
             "transaction_time": f"2026-11-20T{at}Z"}
        )  # fmt: skip

    def _answer(self, question: str) -> None:
        self.meanwhile.pop(question, lambda: None)()
        if self.fails == question:
            raise Unreachable("503")

    # What is asked.

    async def counted(self, request: Awaitable[T]) -> T:
        return await request

    async def room(self) -> None: ...

    async def open_orders(self, symbols: object) -> Listing[OrderReport]:
        self._answer("orders")
        return Listing(self.rows)

    async def positions(self) -> Listing[PositionReport]:
        self._answer("positions")
        if self.unreadable:
            return Listing([], self.unreadable)
        return Listing([PositionReport("TSLA", Decimal(self.listed), Decimal(100))] if self.listed else [])

    async def orders(self, *_: object, **__: object) -> OrderPage:
        return OrderPage([], frozenset(), 0)

    async def ask(self, symbol: str, order_id: str) -> bool:
        self.asked.append(order_id)
        self._answer("by id")
        return True

    async def get(self, path: str, query: object) -> object:
        self._answer("activities")
        return self.executions


def bought(broker: Broker) -> SubmitOrder:
    """The bot bought 10, and the listing says so."""
    buy = broker.world.buy("TSLA")
    broker.world.fleet.orders.on_sent(buy)
    broker.world.report(buy, "filled", 10)
    sell = broker.world.sent[-1]
    assert isinstance(sell, SubmitOrder)
    broker.world.report(sell, "new")
    broker.world.report(sell, "filled", 10)
    assert broker.held == 0
    return buy


def test_a_difference_stops_buys_before_anything_is_asked() -> None:
    broker = Broker()
    buy = broker.world.buy("TSLA")
    broker.world.fleet.orders.on_sent(buy)
    broker.world.report(buy, "new")
    broker.listed = 4
    told: list[str] = []
    broker.meanwhile["by id"] = lambda: told.append(broker.world.fleet.orders.why_no_entry("TSLA"))
    assert broker.reconcile() is False
    assert told == ["the listed position differs"]


def test_a_doubt_comes_before_unknown_orders_are_asked() -> None:
    broker = Broker()
    broker.listed = 4
    broker.rows = [BrokerOrder("mine", "buy", Decimal(9), Decimal(90), symbol="TSLA").report("new")]
    told: list[str] = []
    broker.meanwhile["by id"] = lambda: told.append(broker.world.fleet.orders.why_no_entry("TSLA"))
    assert broker.reconcile() is False
    assert (told, broker.asked[0]) == (["the listed position differs"], "mine")


def test_what_happens_during_the_listings_leaves_no_doubt() -> None:
    broker = Broker()
    buy = broker.world.buy("TSLA")
    broker.world.fleet.orders.on_sent(buy)
    broker.world.report(buy, "new")
    broker.meanwhile["positions"] = lambda: broker.world.report(buy, "filled", 10)
    assert not broker.reconcile()  # another look is due
    assert (broker.held, broker.reconciler.doubts, broker.asked) == (10, [], [])
    assert broker.world.fleet.orders.why_no_entry("TSLA") == "the listed position differs"


def test_what_happens_during_an_explanation_is_looked_at_again() -> None:
    broker = Broker()
    broker.listed = 5
    buy = BrokerOrder("mine", "buy", Decimal(5), Decimal(90), symbol="TSLA", submitted_at=broker.world.now)
    broker.meanwhile["activities"] = lambda: broker.world.fleet.orders.on_order_update(buy.report("new"))
    assert not broker.reconcile()
    assert (broker.held, broker.reconciler.doubts) == (0, [])


def test_what_happens_during_a_positions_listing_is_no_doubt() -> None:
    for is_busy, doubts in ((False, ["TSLA: 0 held by its executions, 5 listed"]), (True, [])):
        broker = Broker()
        broker.listed, broker.fails = 5, "orders"
        if is_busy:
            broker.meanwhile["positions"] = lambda broker=broker: broker.by_hand(3)  # type: ignore[misc]
        try:
            broker.reconcile()
        except Unreachable:
            assert broker.reconciler.doubts == doubts


def test_the_newest_orders_are_asked_for_before_any_doubt() -> None:
    broker = Broker()
    buy = bought(broker)
    broker.listed = 4
    broker.meanwhile["by id"] = lambda: broker.by_hand(4)
    assert not broker.reconcile()
    assert broker.asked[0] == f"id-{buy.client_order_id}"
    assert (broker.held, broker.reconciler.doubts) == (4, [])


def test_surplus_is_none_while_unknown_order_may_explain_it() -> None:
    broker = Broker()
    buy = broker.world.buy("TSLA")  # nobody answers for it
    broker.world.fleet.orders.on_sent(buy)
    broker.listed = 10
    for _ in range(20):
        assert not broker.reconcile(after=10)
        assert (broker.held, broker.reconciler.doubts) == (0, [])
    broker.world.report(buy, "filled", 10)
    assert broker.held == 10
    assert broker.reconcile(after=10)


def test_a_foreign_execution_waits_for_an_unknown_order() -> None:
    for is_waiting, held in ((True, 0), (False, 10)):
        broker = Broker()
        if is_waiting:
            broker.world.fleet.orders.on_sent(broker.world.buy("TSLA"))
        broker.listed = 10
        broker.executed(10, "x")
        broker.reconcile(after=5)
        assert broker.asked == ["x"]
        assert broker.held == held


def test_an_update_of_before_the_first_listings_is_in_them() -> None:
    """Told without its time, and the listing holds its shares already."""
    broker = Broker(is_started=False)
    broker.listed = 10
    broker.by_hand(10, at=None)
    broker.reconcile()
    assert broker.held == 10


def test_an_update_of_after_the_first_listings_comes_on_top() -> None:
    broker = Broker(is_started=False)
    broker.listed = 10

    def later() -> None:
        broker.world.now += SECOND
        broker.by_hand(3)

    broker.meanwhile["positions"] = later
    broker.reconciler._start._list_in_peace = broker.reconciler._lister.both  # type: ignore[method-assign]
    broker.reconcile()
    assert broker.held == 13


def test_what_the_whole_day_explains_is_held() -> None:
    """The first listing lacked 10 that were bought long before; 10 bought and sold since look just like it."""
    for told, held in (("all", [0, 0, 10]), ("not the sell", [0, 0, 0]), ("not the first buy", [0, 0, 0])):
        broker = Broker(is_started=False)
        broker.world.now += 10 * MINUTE
        if told != "not the first buy":
            broker.executed(10, "x", at="14:29:00")
        broker.reconcile()
        broker.world.see_all()
        buy = bought(broker)
        broker.executed(10, f"id-{buy.client_order_id}", at="14:42:00")
        if told != "not the sell":
            broker.executed(10, f"id-{broker.world.sent[-1].client_order_id}", "sell", "14:42:01")  # type: ignore[union-attr]
        broker.listed = 10
        seen = []
        for _ in range(3):
            broker.reconciler._looks += not broker.reconcile(after=5)
            seen.append(broker.held)
        assert seen == held, told


def test_a_short_position_that_the_whole_day_explains_is_known() -> None:
    """An earlier run bought 10 and sold them twice; nothing is explained by fewer that are listed."""
    for listed, held in ((-10, [0, 0, -10]), (0, [0, 0, 0])):
        broker = Broker(is_started=False)
        broker.world.now += 10 * MINUTE
        for number, side in enumerate(["buy", "sell", "sell"]):
            broker.executed(10, f"x{number}", side, at="14:29:00")
        broker.reconcile()
        broker.listed = listed
        seen = []
        for _ in range(3):
            broker.reconciler._looks += not broker.reconcile(after=5)
            seen.append(broker.held)
        assert seen == held, listed


def test_an_unreadable_row_is_doubted_though_orders_are_not_listed() -> None:
    broker = Broker()
    broker.fails, broker.unreadable = "orders", frozenset({"TSLA"})
    with pytest.raises(Unreachable):
        broker.reconcile()
    assert broker.reconciler.doubts == ["TSLA: its row in a listing could not be read"]
    assert broker.world.fleet.orders.why_no_entry("TSLA") == "its row in a listing could not be read"
    broker.fails, broker.unreadable = "", frozenset()
    assert broker.reconcile()
    assert broker.world.fleet.orders.why_no_entry("TSLA") == ""


def test_the_first_readable_row_counts_when_nothing_happened_meanwhile() -> None:
    broker = Broker(is_started=False)
    broker.unreadable = frozenset({"TSLA"})
    broker.reconcile()
    broker.unreadable, broker.listed = frozenset(), 7
    broker.meanwhile["positions"] = lambda: broker.by_hand(3)  # is it in that listing?
    assert not broker.reconcile(after=5)
    assert broker.held == 3
    broker.listed = 10
    broker.reconcile(after=5)
    assert broker.held == 10


def test_a_doubt_is_told_once_while_it_stands() -> None:
    broker, told = Broker(), list[object]()
    broker.world.fleet.bus.listen(lambda event: told.append(event) if isinstance(event, Doubt) else None)
    broker.listed = 4
    assert [broker.reconcile(after=5) for _ in range(3)] == [False] * 3
    assert told == [Doubt("TSLA", broker.world.now - 10 * SECOND, Decimal(0), Decimal(4))]
