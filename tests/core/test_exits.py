"""The exit plan alone: what it does with which orders, when it is done, and when it wants to be asked again."""

from __future__ import annotations

from decimal import Decimal

import pytest

from scalp.core.commands import AskOrder, CancelOrder, SubmitOrder
from scalp.core.exits import ExitPlan, Plan, Sell
from scalp.core.ledger import Ledger
from scalp.core.order_state import Order
from scalp.core.orders import BUY, SELL
from scalp.core.units import SECOND
from tests.helpers import AAPL, BrokerOrder, clock

START = clock("10:00")
CLOSE = clock("16:00")


class Exit:
    """A plan at 10:00, with shares held since long; `now` in seconds after that."""

    def __init__(self, held: int = 10, plan: Plan = Plan.OFFER) -> None:
        self.ledger = Ledger(AAPL)
        self.ledger.adopt_position(Decimal(held), Decimal(100), START - 3600 * SECOND)
        self.exits = ExitPlan(self.ledger)
        self.exits.state(plan, "a reason", START)
        self.closes_at = CLOSE

    def order(
        self, name: str, side: str = "sell", qty: int = 10, price: str | None = "101", own: bool = True, at: float = 0
    ) -> BrokerOrder:
        """An order that works since `at`."""
        limit, kind = (None, "market") if price is None else (Decimal(price), "limit")
        key = f"scalp-AAPL-R-{name}" if own else f"{name}-by-hand"
        order = BrokerOrder(name, side, Decimal(qty), limit, key, kind, submitted_at=START + round(at * SECOND))
        self.ledger.apply(order.report("new"))
        return order

    def unanswered(self, side: str = "sell") -> None:
        """An order of ours on its way."""
        action = SubmitOrder(AAPL, "scalp-AAPL-R-u", BUY if side == "buy" else SELL, 10, "limit", Decimal(101))
        self.ledger.add_in_flight(action, START)

    def known(self, name: str) -> Order:
        order = self.ledger.find(name)
        assert order is not None
        return order

    def cancelled_at(self, name: str, seconds: float) -> None:
        self.known(name).cancel_sent_at = START + round(seconds * SECOND)

    def steps(self, now: float, printed: float | None = None, followed: str = "") -> list[str]:
        """What is to be done `now`, where the symbol last traded at `printed` (None: just now)."""
        at = START + round(now * SECOND)
        printed_at = at if printed is None else START + round(printed * SECOND)
        order = self.known(followed) if followed else None
        words = []
        self.exits.follow_clock(at)
        for step in self.exits.steps(order, lambda: Decimal(101), printed_at, self.closes_at, at):
            if isinstance(step, Sell):
                words.append(f"sell {step.type}")
            else:
                assert isinstance(step, (CancelOrder, AskOrder))
                words.append(f"{'cancel' if isinstance(step, CancelOrder) else 'ask'} {step.id}")
        return words

    def due(self, now: float) -> float | None:
        """When it wants to be asked again, in seconds; None: never."""
        due = self.exits.due_at(START + round(now * SECOND))
        return (due - START) / SECOND if due else None


# -- a market exit that does not fill ---------------------------------------------------------------------------------


def test_an_unfilled_market_exit_is_asked_for_then_cancelled() -> None:
    story, began = Exit(plan=Plan.FLATTEN), 0.0
    for name, patience in (("a", 10), ("b", 20), ("c", 40), ("d", 40)):
        order = story.order(name, price=None, at=began)
        assert story.steps(began + patience / 2 - 0.1) == []
        assert story.steps(began + patience / 2) == [f"ask {name}"]
        assert story.steps(began + patience - 0.1) == []  # once is enough
        assert story.steps(began + patience) == [f"cancel {name}"]
        assert story.steps(began + patience + 4.9) == []
        assert story.steps(began + patience + 5) == [f"cancel {name}"]  # no word of its end
        story.ledger.apply(order.report("canceled"))
        assert story.steps(began + patience + 5) == ["sell market"]
        began += 100
    story.exits.on_sold()
    story.order("e", price=None, at=began)
    assert [story.steps(began + 10), story.steps(began + 11)] == [["ask e"], ["cancel e"]]


def test_a_market_exit_waits_while_its_symbol_does_not_trade() -> None:
    story = Exit(plan=Plan.FLATTEN)
    story.order("a", price=None)
    assert story.steps(60, printed=-1) == story.steps(60, printed=0) == []  # no print since: it may be halted
    assert story.steps(60, printed=1) == ["ask a"]
    assert story.steps(61, printed=1) == ["cancel a"]


def test_a_market_exit_nobody_can_see_has_40_seconds() -> None:
    story = Exit(plan=Plan.FLATTEN)
    story.order("a", price=None)
    story.exits.has_no_data = True
    assert story.steps(19.9, printed=-1) == []
    assert story.steps(20, printed=-1) == ["ask a"]
    assert story.steps(39.9, printed=-1) == []
    assert story.steps(40, printed=-1) == ["cancel a"]


def test_slowly_filling_market_exit_has_40_s_since_it_last_did() -> None:
    story = Exit(plan=Plan.FLATTEN)
    order = story.order("a", price=None)
    story.ledger.apply(order.report("partial_fill", 4, 100, at=START + 5 * SECOND))
    story.known("a").moved_at = START + 5 * SECOND
    assert story.steps(24.9) == []
    assert story.steps(25) == ["ask a"]
    assert story.steps(45) == ["cancel a"]


def test_no_market_exit_is_sent_anew_in_the_last_20_seconds() -> None:
    story = Exit(plan=Plan.LIQUIDATION)
    story.order("a", price=None)
    story.closes_at = START + 80 * SECOND
    assert story.steps(60) == []
    assert story.steps(58.9) == ["ask a"]
    assert story.steps(59.9) == ["cancel a"]


def test_market_exit_that_nobody_answered_for_is_not_asked_for() -> None:
    story = Exit(plan=Plan.FLATTEN)
    action = SubmitOrder(AAPL, "scalp-AAPL-R-u", SELL, 10, "market")
    story.ledger.add_in_flight(action, START)
    assert story.steps(60) == []


@pytest.mark.parametrize("way", ["by hand", "limit", "too few", "buy"])
def test_what_is_no_market_sell_of_ours_for_all_makes_way(way: str) -> None:
    story = Exit(plan=Plan.FLATTEN)
    story.order(
        "a", "buy" if way == "buy" else "sell", 9 if way == "too few" else 10, "101" if way == "limit" else None,
        own=way != "by hand",
    )  # fmt: skip
    assert story.steps(1) == ["cancel a"]


# -- offering ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "price", "steps"),
    [
        ("buy", "100.99", ["sell limit"]),
        ("buy", "101", ["cancel a"]),  # the sell at 101 could meet it: the broker takes none
        ("buy", None, ["cancel a"]),
        ("sell", "102", ["sell limit"]),
    ],
)
def test_a_buy_that_could_meet_the_sell_is_cancelled_first(side: str, price: str | None, steps: list[str]) -> None:
    story = Exit()
    story.order("a", side, price=price, own=False)
    assert story.steps(1) == steps


@pytest.mark.parametrize(("held", "over"), [(10, False), (9, True), (11, True)])
def test_the_working_sell_covers_exactly_what_is_held(held: int, over: bool) -> None:
    story = Exit(held)
    story.ledger.add_in_flight(SubmitOrder(AAPL, "scalp-AAPL-R-a", SELL, 10, "limit", Decimal(101)), START)
    story.order("a")
    assert story.steps(1, followed="a") == (["cancel a"] if over else [])


def test_too_much_on_offer_by_an_older_order_is_asked_for() -> None:
    story = Exit(10)
    action = SubmitOrder(AAPL, "scalp-AAPL-R-1", SELL, 10, "limit", Decimal(101))
    story.ledger.add_in_flight(action, START)
    story.ledger.apply(BrokerOrder("a", "sell", Decimal(10), Decimal(101), "scalp-AAPL-R-1").report("new"))
    story.order("old", qty=1, own=False)
    assert story.steps(1, followed="a") == ["ask old"]
    assert story.steps(30.9, followed="a") == []
    assert story.steps(31, followed="a") == ["ask old"]
    short = Exit(12)
    short.ledger.add_in_flight(action, START)
    short.ledger.apply(BrokerOrder("a", "sell", Decimal(10), Decimal(101), "scalp-AAPL-R-1").report("new"))
    short.order("old", qty=1, own=False)
    assert short.steps(1, followed="a") == ["cancel a"]  # too little is no matter of what is told


def test_a_sell_by_hand_of_too_much_is_asked_for() -> None:
    story = Exit(0)
    story.order("by-hand", qty=20, own=False)
    assert story.steps(1, followed="by-hand") == ["ask by-hand"]
    assert story.steps(2, followed="by-hand") == []


# -- whether it is done -----------------------------------------------------------------------------------------------

# The orders that work, whether one of them is being cancelled; shares held; then by plan whether the plan is under way,
# and whether the process may end.
DONE = {
    "nothing held": ((), 0, {Plan.OFFER: (False, True), Plan.FLATTEN: (False, True), Plan.WITHDRAW: (False, True)}),
    "short": ((), -5, {Plan.OFFER: (False, True), Plan.FLATTEN: (False, True), Plan.WITHDRAW: (False, True)}),
    "short, with an order": (("limit",), -5, {plan: (False, True) for plan in Plan}),
    "held, no order": ((), 10, {Plan.OFFER: (True, False), Plan.FLATTEN: (True, False), Plan.WITHDRAW: (False, True)}),
    "limit sell": (
        ("limit",), 10, {Plan.OFFER: (False, True), Plan.FLATTEN: (True, False), Plan.WITHDRAW: (True, False)},
    ),
    "limit sell going": (
        ("limit, going",), 10,
        {Plan.OFFER: (True, False), Plan.FLATTEN: (True, False), Plan.WITHDRAW: (True, False)},
    ),
    "two sells, one going": (("limit, going", "limit"), 10, {Plan.OFFER: (True, True), Plan.FLATTEN: (True, False)}),
    "market sell": (("market",), 10, {Plan.OFFER: (False, True), Plan.FLATTEN: (True, True)}),
    "market sell going": (("market, going",), 10, {Plan.FLATTEN: (True, False)}),
    "market sell of too few": (("market",), 15, {Plan.FLATTEN: (True, False)}),
    "two market sells": (("market", "market"), 10, {Plan.FLATTEN: (True, False)}),
    "buy beside shares": (("buy",), 10, {Plan.OFFER: (True, False), Plan.FLATTEN: (True, False)}),
    "buy alone": (
        ("buy",), 0, {Plan.OFFER: (False, True), Plan.FLATTEN: (True, False), Plan.WITHDRAW: (True, False)},
    ),
    "sell unanswered": (("unanswered",), 10, {Plan.OFFER: (False, False), Plan.FLATTEN: (True, False)}),
    "buy unanswered": (("buy unanswered",), 0, {Plan.OFFER: (False, False)}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(DONE))
def test_whether_plan_is_under_way_and_whether_process_may_end(name: str) -> None:
    orders, held, plans = DONE[name]
    for plan, answer in plans.items():
        story = Exit(held, plan)
        for number, order in enumerate(orders):
            if "unanswered" in order:
                story.unanswered("buy" if "buy" in order else "sell")
                continue
            story.order(str(number), "buy" if order == "buy" else "sell", price=None if "market" in order else "101")
            if "going" in order:
                story.cancelled_at(str(number), 0)
        assert (story.exits.is_under_way, story.exits.is_in_order) == answer, plan


def test_only_a_sell_that_nobody_answered_for_is_being_sent() -> None:
    story = Exit()
    story.unanswered("buy")
    story.order("a")
    assert not story.exits.is_sending
    story = Exit()
    story.unanswered()
    assert story.exits.is_sending


# -- when it wants to be asked ----------------------------------------------------------------------------------------


def test_when_a_plan_wants_to_be_asked_again() -> None:
    story = Exit(plan=Plan.FLATTEN)
    assert story.due(3) == 4  # nothing sent yet: each second
    story.order("a", price=None)
    assert [story.due(now) for now in (0, 4.9, 5, 9.9, 10)] == [5, 5, 10, 10, 11]
    story.cancelled_at("a", 10)
    assert [story.due(now) for now in (10, 14.9)] == [15, 15]
    story.exits.on_rejected("no", START + 10 * SECOND)
    assert (story.due(11), story.due(12)) == (12, 15)


def test_of_several_cancels_the_first_one_is_asked_for_again() -> None:
    story = Exit(plan=Plan.FLATTEN)
    for name, at in (("a", 4), ("b", 2)):
        story.order(name)
        story.cancelled_at(name, at)
    assert story.due(5) == 7


def test_an_older_exit_stands_for_shares_whatever_was_listed() -> None:
    """The broker holds them for it: it is asked for, not cancelled."""
    story = Exit(held=0)
    story.order("a")
    assert story.steps(1, followed="a") == ["ask a"]
    assert story.steps(2, followed="a") == []


def test_a_cancel_nobody_wants_is_looked_at_each_second() -> None:
    story = Exit()
    story.order("a")
    story.cancelled_at("a", 2)  # it did not offer all; by now it does
    assert story.steps(8, followed="a") == []
    assert story.due(8) == 9


def test_a_clock_that_is_put_back_ends_all_waits() -> None:
    at = Exit()
    assert at.steps(400) == ["sell limit"]
    at.exits.on_rejected("the venue is closed", START + 400 * SECOND)
    assert (at.steps(401), at.due(401)) == ([], 430)
    assert at.steps(1) == ["sell limit"]
    at.order("a", qty=8, at=2)
    assert at.steps(402, followed="a") == ["cancel a"]
    at.cancelled_at("a", 402)
    assert (at.steps(403, followed="a"), at.steps(3, followed="a"), at.steps(8, followed="a")) == ([], [], ["cancel a"])


def test_a_clock_put_back_into_the_liquidation_sells_again() -> None:
    at = Exit()
    hours = (START + 100 * SECOND, START + 398 * SECOND)
    at.exits.keep_hours(*hours, START + 399 * SECOND)
    assert (at.exits.plan, at.steps(399)) == (Plan.WITHDRAW, [])
    at.exits.keep_hours(*hours, START + 300 * SECOND)
    assert (at.exits.plan, at.steps(300)) == (Plan.LIQUIDATION, ["sell market"])


def test_a_plan_that_rests_or_is_done_wants_nothing() -> None:
    assert Exit().due(3) is None  # the next bar or checkup offers what somebody cancelled
    assert Exit(plan=Plan.LIQUIDATION).due(3) is None  # a checkup comes each second
    done = Exit(0, Plan.FLATTEN)
    done.exits.on_rejected("no", START)
    assert done.due(0) is None


# -- stronger plans, and refusals -------------------------------------------------------------------------------------


def test_a_plan_gives_way_to_a_stronger_one_only() -> None:
    story = Exit()
    stated = [story.exits.state(plan, plan.name, START + plan) for plan in (Plan.LIQUIDATION, Plan.RISK_RULE)]
    assert (stated, story.exits.plan, story.exits.why) == ([True, False], Plan.LIQUIDATION, "LIQUIDATION")
    story.exits.lift(Plan.FLATTEN)
    assert story.exits.plan is Plan.LIQUIDATION
    story.exits.lift(Plan.LIQUIDATION)
    assert (story.exits.plan, story.exits.why) == (Plan.OFFER, "")


def test_a_refusal_holds_back_only_the_second_market_sell() -> None:
    story = Exit()
    assert story.exits.on_rejected("not tradable", START) == 30 * SECOND
    assert story.steps(29.9) == []
    story.exits.state(Plan.RISK_RULE, "a reason", START)
    assert story.steps(0) == ["sell market"]
    assert [story.exits.on_rejected("not tradable", START) / SECOND for _ in range(5)] == [2, 4, 8, 15, 15]
    story.exits.state(Plan.FLATTEN, "a reason", START)
    assert story.steps(14.9) == []
    assert story.steps(15) == ["sell market"]


@pytest.mark.parametrize(("since", "wait"), [(9.9, 0.25), (10, 30)])
def test_just_after_a_fill_any_refusal_may_pass(since: float, wait: float) -> None:
    story = Exit()
    story.exits.on_bought(START)
    assert story.exits.on_rejected("no", START + round(since * SECOND)) == wait * SECOND


def test_risk_rule_has_its_will_when_nothing_is_held_or_working() -> None:
    for held, orders, plan in ((0, 0, Plan.OFFER), (0, 1, Plan.RISK_RULE), (10, 0, Plan.RISK_RULE)):
        story = Exit(held, Plan.RISK_RULE)
        for number in range(orders):
            story.order(str(number))
        story.exits.settle()
        assert story.exits.plan is plan
