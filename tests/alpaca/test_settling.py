"""The broker alone, before a REST that plays a script: what is sent, and what is not sent any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.rate_limiter import RateLimiter
from scalp.alpaca.rest import OrderPage, RateLimited
from scalp.core.commands import SubmitOrder
from scalp.core.errors import OutcomeUnknown, Rejected
from scalp.core.ledger import Ledger
from scalp.core.order_state import Order
from scalp.core.orders import BUY, SELL, OrderReport, Side
from tests.helpers import AAPL, BrokerOrder
from tests.wire.fakes import run


class Desk:
    """One symbol's ledger, what forbids orders, and what was said of them."""

    def __init__(self) -> None:
        self.ledger = Ledger(AAPL)
        self.held = 10
        self.no_order = self.no_buy = ""
        self.said: list[str] = []

    def on_order_update(self, report: OrderReport) -> None:
        self.said.append(f"told {report.status}")

    def on_submit_rejected(self, symbol: str, client_order_id: str, why: str) -> None:
        self.said.append(f"refused: {why}")

    def on_submit_lost(self, symbol: str, client_order_id: str) -> None:
        self.ledger.end(self.order, "lost")
        self.said.append("lost")

    def on_last_trade(self, symbol: str, trade: object) -> None: ...

    def on_sent(self, action: SubmitOrder) -> None: ...

    def find_order(self, symbol: str, key: str) -> Order | None:
        return self.ledger.find(key)

    def why_no_entry(self, symbol: str) -> str:
        return self.no_buy

    def no_orders(self) -> str:
        return self.no_order

    def may_close(self, action: SubmitOrder) -> bool:
        return self.held >= action.qty

    def reconcile_soon(self, why: str) -> None: ...

    def on_mute_updates(self) -> None: ...

    @property
    def order(self) -> Order:
        return next(iter(self.ledger))


class Rest:
    """Every POST ends as `outcome` says, and no look-up finds an order."""

    def __init__(self, outcome: Exception) -> None:
        self.outcome = outcome
        self.posts = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def submit_now(self, action: SubmitOrder) -> Awaitable[OrderReport] | None:
        return self.submit(action)

    def submit(self, action: SubmitOrder) -> Awaitable[OrderReport]:
        self.posts += 1

        async def answer() -> OrderReport:
            self.meanwhile()
            raise self.outcome

        return answer()

    async def order_by_client_id(self, key: str) -> OrderReport:
        raise Rejected(404, 0, "not found")

    async def orders(self, *_: object) -> OrderPage:
        return OrderPage([], frozenset(), 0)


class Counter:
    """A broker, its desk and its REST, and one order to perform."""

    def __init__(self, outcome: Exception, side: Side = SELL, covers: bool = False) -> None:
        self.desk, self.rest = Desk(), Rest(outcome)
        limiter = RateLimiter(lambda: 0, lambda: 0)
        self.broker = AlpacaBroker(self.rest, limiter, self.desk, _no_trade)  # type: ignore[arg-type]
        self.action = SubmitOrder(AAPL, "scalp-AAPL-R-1", side, 10, "limit", Decimal(101), covers=covers)
        self.desk.ledger.add_in_flight(self.action, 0)

    def perform(self, seconds: float = 60) -> tuple[int, list[str]]:
        """How often the order was POSTed, and what the desk was told of it."""

        async def story() -> None:
            self.broker.perform(self.action)
            await asyncio.sleep(seconds)
            await self.broker.close()

        run(story())
        return self.rest.posts, self.desk.said


async def _no_trade(_symbol: str) -> None:
    return None


TOO_MANY, UNKNOWN = RateLimited("too many requests", 1.0), OutcomeUnknown("timed out")


def test_a_sell_nobody_wants_is_not_repeated_after_a_429() -> None:
    counter = Counter(TOO_MANY)
    counter.rest.meanwhile = lambda: setattr(counter.desk.order, "cancel_sent_at", 1)
    assert counter.perform() == (1, ["lost"])


def test_a_buy_cancelled_before_it_was_sent_is_not_sent() -> None:
    counter = Counter(UNKNOWN, BUY)
    counter.desk.order.cancel_sent_at = 1
    assert counter.perform() == (0, ["refused: cancelled before it was sent"])


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_nothing_is_sent_when_no_order_may_go_any_more(side: Side) -> None:
    counter = Counter(UNKNOWN, side)
    counter.desk.no_order = counter.desk.no_buy = "too close to the close"
    assert counter.perform() == (0, ["refused: too close to the close"])


def test_an_unknown_sell_is_not_repeated_when_no_order_may_go() -> None:
    counter = Counter(UNKNOWN)
    counter.rest.meanwhile = lambda: setattr(counter.desk, "no_order", "too close to the close")
    assert counter.perform() == (1, [])


def test_unknown_sell_is_not_repeated_once_its_shares_are_sold() -> None:
    counter = Counter(UNKNOWN)
    counter.rest.meanwhile = lambda: setattr(counter.desk, "held", 9)
    assert counter.perform() == (1, [])


def test_an_unknown_sell_is_repeated_until_nobody_wants_it() -> None:
    counter = Counter(UNKNOWN)
    assert counter.perform(7) == (7, [])
    counter = Counter(UNKNOWN)
    counter.rest.meanwhile = lambda: setattr(counter.desk.order, "cancel_sent_at", 1)
    assert counter.perform() == (10, ["lost"])  # within 10 s or so


def test_a_cover_of_unknown_outcome_is_sent_again_like_a_sell() -> None:
    assert Counter(UNKNOWN, BUY, covers=True).perform(7) == (7, [])


def test_a_buy_of_unknown_outcome_is_never_sent_again() -> None:
    assert Counter(UNKNOWN, BUY).perform() == (1, ["lost"])


def test_exit_behind_buy_of_unknown_outcome_waits_for_no_429() -> None:
    """Its look-up was told to come back in a minute; but its cancel waits for it, and behind that the exit."""
    counter = Counter(UNKNOWN, BUY)

    def unwanted() -> None:
        counter.desk.order.cancel_sent_at = 1
        counter.broker._limiter.refused(3600.0)

    counter.rest.meanwhile = unwanted
    assert counter.perform(15) == (1, ["lost"])


def test_a_refused_sell_is_told_once() -> None:
    assert Counter(Rejected(403, 0, "insufficient qty")).perform() == (1, ["refused: insufficient qty"])


@pytest.mark.parametrize(("word", "told_late"), [("canceled", False), ("fill", True)])
def test_a_passive_leg_that_ends_untold_says_nothing_of_the_stream(word: str, told_late: bool) -> None:
    """What a leg sold is always told, by 5 s after an answer knows of it; that the other one is gone need not be."""
    counter, muted = Counter(UNKNOWN), []
    desk, ledger = counter.desk, counter.desk.ledger
    desk.on_order_update = ledger.apply  # type: ignore[method-assign, assignment]
    desk.on_mute_updates = lambda: muted.append("mute")  # type: ignore[method-assign]
    profit = BrokerOrder("p", "sell", client_order_id=counter.action.client_order_id, limit_price=Decimal(101))
    stop = BrokerOrder("s", "sell", type="stop", status="held", stop_price=Decimal(99), parent_id="p")
    for report in (profit.report("new"), stop.report(), profit.report("fill", 10, 101)):
        ledger.apply(report)

    async def answer(order_id: str) -> OrderReport:
        return stop.report(word, 10 if word == "fill" else 0, 99)

    counter.rest.order = answer  # type: ignore[attr-defined]

    async def story() -> None:
        await counter.broker.ask(AAPL, "s")
        await asyncio.sleep(10)
        await counter.broker.close()

    run(story())
    assert muted == (["mute"] if told_late else [])
