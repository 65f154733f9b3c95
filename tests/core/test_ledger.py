"""The ledger: however reports arrive, the same orders end in the same fills, position and profit."""

# mypy: disable-error-code="comparison-overlap"
# A Decimal equals an int here, as it does when the tests run.

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from msgspec.structs import replace

from scalp.core.commands import SubmitOrder
from scalp.core.ledger import Ledger
from scalp.core.order_state import LOST, REFUSED
from scalp.core.orders import BUY, FINAL_STATUSES, SELL, OrderReport, Side
from scalp.core.units import SECOND
from tests.helpers import AAPL, BrokerOrder, clock, fill

CENT = Decimal("0.01")


def told(*reports: OrderReport) -> Ledger:
    ledger = Ledger(AAPL)
    for report in reports:
        ledger.apply(report)
    return ledger


def sent(ledger: Ledger, side: str = "buy", qty: int = 10, price: str = "100", number: int = 1) -> BrokerOrder:
    """An order of our own, entered before anybody answered, and what the broker will tell of it."""
    key = f"scalp-AAPL-R-{number}"
    action = SubmitOrder(AAPL, key, BUY if side == "buy" else SELL, qty, "limit", Decimal(price))
    ledger.add_in_flight(action, clock("10:00"))
    return BrokerOrder(f"id{number}", side, Decimal(qty), Decimal(price), key)


def test_a_buy_and_a_sell_make_a_profit() -> None:
    ledger = told(fill(10, "100.00"), fill(10, "100.25", "sell", "s1"))
    assert (ledger.position, ledger.entry_price, ledger.realised) == (0, None, Decimal("2.50"))
    assert (ledger.shares_sold, ledger.done.round_trips) == (10, 1)


def test_running_totals_count_not_the_size_of_an_execution() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    assert ledger.apply(order.report("partial_fill", 4)).new_qty == 4
    order.report("partial_fill", 3)  # lost
    change = ledger.apply(order.report("fill", 3, "99.00"))
    assert (change.new_qty, ledger.position) == (6, 10)
    assert change.price == Decimal("99.50")  # 3 at 100 and 3 at 99, from the averages
    assert ledger.entry_price == Decimal("99.7")


def test_a_repeated_report_changes_nothing() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    part = order.report("partial_fill", 4)
    assert ledger.apply(part).moved
    version = ledger.version
    again = ledger.apply(part)
    assert (again.moved, again.new_qty, ledger.position, ledger.version) == (False, 0, 4, version)


def test_without_totals_an_execution_counts_once() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    whole = [order.report("partial_fill", qty) for qty in (4, 3)]
    bare = [replace(report, filled_qty=None, filled_avg_price=None) for report in whole]
    for _ in range(2):
        for report in bare:
            ledger.apply(report)
        assert (ledger.position, ledger.entry_price) == (7, 100)


def test_a_late_report_never_takes_shares_away() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    early = order.report("partial_fill", 4)
    ledger.apply(order.report("fill", 6))
    assert not ledger.apply(early).moved
    known = ledger.find("id1")
    assert known is not None and (known.status, known.filled_qty) == ("filled", 10)


@pytest.mark.parametrize("ending", sorted(FINAL_STATUSES))
def test_an_ending_stays_and_a_fill_after_it_counts(ending: str) -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    late = BrokerOrder("id1", "buy", Decimal(10), Decimal(100), "scalp-AAPL-R-1").report("partial_fill", 4)
    assert ledger.apply(order.report(ending)).ended
    change = ledger.apply(late)
    assert (change.new_qty, change.ended, ledger.position) == (4, False, 4)
    for kind in ("new", "pending_cancel", "accepted", "sneezed"):
        assert not ledger.apply(order.report(kind)).moved
    assert ledger.open_orders == []


def test_fill_with_copy_of_order_from_before_it_is_whole_one() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    stale = replace(order.report("fill", 10, "99.50"), filled_qty=Decimal(0), filled_avg_price=None, status="new")
    assert ledger.apply(stale).new_qty == 10
    assert ledger.apply(stale).new_qty == 0
    assert (ledger.position, ledger.entry_price, ledger.open_orders) == (10, Decimal("99.50"), [])


@pytest.mark.parametrize("first_is_lost", [False, True])
def test_a_stale_copy_in_the_last_fill_after_a_partial_one(first_is_lost: bool) -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    first = order.report("partial_fill", 6, "100.00")
    if not first_is_lost:
        ledger.apply(first)
    stale = replace(order.report("fill", 4, "101.00"), filled_qty=Decimal(6), filled_avg_price=Decimal(100))
    assert ledger.apply(stale).ended
    assert ledger.apply(stale).new_qty == 0
    assert (ledger.position, ledger.entry_price) == (10, Decimal("100.4"))


def test_fill_of_order_of_unknown_size_is_not_counted_again() -> None:
    ledger = Ledger(AAPL)
    order = BrokerOrder("n", "buy", Decimal(10), None, "by-hand", "market")
    whole = replace(order.report("fill", 10, "100.00"), qty=None)
    ledger.apply(replace(whole, event="", execution_id=None, execution_qty=None, price=None))
    before = ledger.position
    ledger.apply(replace(whole, filled_qty=Decimal(0), filled_avg_price=None))
    assert ledger.position == before


def test_kind_of_update_is_newer_than_copy_of_order_in_it() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    assert ledger.apply(replace(order.report("canceled"), status="pending_cancel")).ended


@pytest.mark.parametrize("word", [REFUSED, LOST])
def test_the_broker_overrules_what_was_only_believed(word: str) -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    own = ledger.find("scalp-AAPL-R-1")
    assert own is not None
    ledger.end(own, word)
    assert ledger.open_orders == []
    ledger.apply(order.report("new"))
    assert ledger.open_orders == [own]
    assert ledger.apply(order.report("fill", 10)).ended
    ledger.end(own, word)
    assert (own.status, ledger.position) == ("filled", 10)


def test_done_for_day_ends_a_day_order_only() -> None:
    assert told(BrokerOrder("x").report("done_for_day")).open_orders == []
    assert len(told(BrokerOrder("x").report("done_for_day", time_in_force="gtc")).open_orders) == 1


def test_the_fill_comes_before_the_answer_to_the_post() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    answer = order.report("")  # pending, nothing filled
    change = ledger.apply(order.report("fill", 10))
    assert (change.is_new, change.new_qty, change.order.id) == (False, 10, "id1")
    assert not ledger.apply(answer).moved
    assert [order.id for order in ledger] == ["id1"]


def test_unknown_words_and_missing_fields_are_a_working_order() -> None:
    ledger = told(OrderReport(AAPL, "x", "", "buy", "limit", "moonlit", event="eclipse"))
    (order,) = ledger.open_orders
    assert (order.status, order.remaining, order.filled_qty) == ("moonlit", None, 0)


def test_a_replacement_is_known_by_its_id_at_first() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger, "sell")
    ledger.apply(order.report("replaced", replaced_by="id9"))
    old = ledger.find("id1")
    assert old is not None and old.has_ended and old.replaced_by == "id9"
    new = ledger.add_replacement("id9", old)
    assert (new.side, new.qty, new.remaining, new.is_own) == ("sell", None, None, True)
    assert ledger.add_replacement("id9", old) is new
    ledger.apply(BrokerOrder("id9", "sell", Decimal(7), Decimal(103), "edited").report("new"))
    assert (new.qty, new.limit_price, ledger.find("edited")) == (7, 103, new)


def test_a_listed_position_holds_older_fills_of_unknown_orders() -> None:
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal("99.5"), clock("10:00"))
    before = BrokerOrder("x", "buy", Decimal(20)).report("partial_fill", 10, "99.50", at=clock("09:59"))
    assert (ledger.apply(before).new_qty, ledger.position) == (0, 10)
    after = BrokerOrder("y", "buy", Decimal(10)).report("fill", 10, "100.50", at=clock("10:01"))
    assert (ledger.apply(after).new_qty, ledger.position, ledger.entry_price) == (10, 20, 100)


def test_what_order_found_at_start_filled_is_held_already() -> None:
    ledger = Ledger(AAPL)
    found = BrokerOrder("x", "sell", Decimal(10), Decimal(101))
    found.report("partial_fill", 4)
    ledger.apply(found.report())
    ledger.adopt_position(Decimal(6), Decimal(100), clock("10:00"))
    change = ledger.apply(found.report("fill", 6, at=clock("10:01")))
    assert (change.new_qty, change.profit, ledger.position) == (6, 6, 0)


def test_profit_of_sell_told_before_its_buy_comes_with_buy() -> None:
    ledger = told(fill(10, "101.00", "sell", "s1"))
    assert (ledger.position, ledger.realised) == (-10, 0)
    ledger.apply(fill(10, "100.00", "buy", "b1"))
    assert (ledger.position, ledger.entry_price, ledger.realised, ledger.done.round_trips) == (0, None, 10, 1)


def test_through_zero_only_the_closed_shares_make_a_profit() -> None:
    ledger = told(fill(4, "100.00"), fill(10, "101.00", "sell", "s1"))
    assert (ledger.position, ledger.entry_price, ledger.realised) == (-6, 101, 4)
    ledger.apply(fill(8, "100.00", "buy", "b2"))
    assert (ledger.position, ledger.entry_price, ledger.realised) == (2, 100, 10)


# -- any interleaving, any duplication, anything lost and told later ---------------------------------------------------


def reports_of_a_day(rng: random.Random) -> tuple[list[list[OrderReport]], Decimal]:
    """The reports of a few buys and sells that end flat, a list an order; and the cash they leave."""
    told_of: list[list[OrderReport]] = []
    cash, held = Decimal(0), 0
    for number in range(rng.randint(1, 4) * 2):
        buys = number % 2 == 0
        qty = rng.randint(1, 30) if buys else held
        order = BrokerOrder(f"id{number}", "buy" if buys else "sell", Decimal(qty), Decimal(100), f"c{number}")
        reports, left = [order.report("new")], qty
        while left:
            shares = rng.randint(1, left)
            left -= shares
            price = Decimal(rng.randint(9900, 10100)) / 100
            cash += -shares * price if buys else shares * price
            reports.append(order.report("partial_fill" if left else "fill", shares, price))
            if buys and left and rng.random() < 0.2:
                reports.append(order.report(rng.choice(["canceled", "expired"])))
                break
        held = held + qty - left if buys else 0
        told_of.append(reports)
    return told_of, cash


def summary(ledger: Ledger) -> tuple[object, ...]:
    filled = {order.id: (order.filled_qty, order.has_ended) for order in ledger}
    return filled, ledger.position, ledger.entry_price, ledger.realised.quantize(CENT / 1000)


def knows_the_orders(told_of: list[list[OrderReport]]) -> Ledger:
    """A ledger to which every order was entered before it was sent, as the bot does."""
    ledger = Ledger(AAPL)
    for reports in told_of:
        first = reports[0]
        side: Side = BUY if first.side == "buy" else SELL
        ledger.add_in_flight(
            SubmitOrder(AAPL, first.client_order_id, side, int(first.qty or 0), "limit", Decimal(100)), 0
        )
    return ledger


@pytest.mark.parametrize("seed", range(150))
def test_reports_in_any_order_and_number_end_the_same(seed: int) -> None:
    rng = random.Random(seed)
    told_of, cash = reports_of_a_day(rng)
    in_order = knows_the_orders(told_of)
    for reports in told_of:
        for report in reports:
            in_order.apply(report)
    assert in_order.position == 0 and in_order.realised.quantize(CENT) == cash

    everything = [report for reports in told_of for report in reports]
    for _ in range(5):
        arriving = everything + rng.choices(everything, k=len(everything) // 2)
        rng.shuffle(arriving)
        lost = rng.sample(range(len(arriving)), len(arriving) // 3)
        ledger = knows_the_orders(told_of)
        filled: dict[str, Decimal] = {}
        final: dict[str, str] = {}
        on_time = [r for i, r in enumerate(arriving) if i not in lost]
        for report in [*on_time, *(arriving[i] for i in lost)]:
            order = ledger.apply(report).order
            assert order.filled_qty >= filled.get(order.id, Decimal(0)), "a quantity shrank"
            assert order.status == final.get(order.id, order.status), "an ending did not stay"
            filled[order.id] = order.filled_qty
            if order.has_ended:
                final[order.id] = order.status
        assert summary(ledger) == summary(in_order)


@pytest.mark.parametrize("seed", range(50))
def test_what_the_stream_lost_a_listing_by_id_brings_back(seed: int) -> None:
    rng = random.Random(seed)
    told_of, cash = reports_of_a_day(rng)
    ledger = knows_the_orders(told_of)
    for reports in told_of:
        for report in reports:
            if rng.random() < 0.5:
                ledger.apply(report)
    for reports in told_of:
        last = reports[-1]
        by_id = OrderReport(
            AAPL, last.id, last.client_order_id, last.side, last.type, last.status, last.qty, last.filled_qty,
            last.filled_avg_price,
        )  # fmt: skip
        ledger.apply(by_id)
    assert ledger.position == 0 and ledger.realised.quantize(CENT) == cash
    assert ledger.open_orders == []


def test_an_execution_after_its_listing_counts_once() -> None:
    for sold_meanwhile in (False, True):
        ledger = Ledger("AAPL")
        ledger.adopt_position(Decimal(0), None, 1_000 * SECOND)
        ledger.claim(Decimal(5), Decimal(100), 1_100 * SECOND)
        if sold_meanwhile:
            ledger.apply(BrokerOrder("s1", "sell", Decimal(5)).report("fill", 5, 101, at=1_105 * SECOND))
        buy = BrokerOrder("b1", "buy", Decimal(8), Decimal(100), submitted_at=1_050 * SECOND)
        assert ledger.apply(buy.report("partial_fill", 5, 100, at=1_050 * SECOND)).new_qty == 0
        assert ledger.position == (0 if sold_meanwhile else 5)
        assert ledger.apply(buy.report("fill", 3, 100, at=1_110 * SECOND)).new_qty == 3
        assert ledger.position == (3 if sold_meanwhile else 8)


# -- money told wrong, twice, or not at all ----------------------------------------------------------------------------


def test_more_than_was_ordered_cannot_be_bought_or_sold() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    told_too_much = replace(order.report("partial_fill", 4), filled_qty=Decimal(12))
    assert (ledger.apply(told_too_much).new_qty, ledger.position) == (10, 10)
    ledger = Ledger(AAPL)
    order = sent(ledger)
    for _ in range(3):  # without totals and ids nobody can say whether it is the same execution
        ledger.apply(replace(order.report("partial_fill", 4), filled_qty=None, execution_id=None))
    assert ledger.position == 10


def unpriced(order: BrokerOrder) -> OrderReport:
    """Filled, at a price that is none."""
    return replace(order.report("fill", 10), filled_avg_price=Decimal(0), price=Decimal(0))


def test_right_price_of_buy_takes_place_of_one_that_stood_in() -> None:
    ledger = Ledger(AAPL)
    buy = sent(ledger, price="101")
    ledger.apply(unpriced(buy))
    assert (ledger.position, ledger.entry_price) == (10, 101)
    ledger.apply(fill(4, "103.00", "sell", "s1"))
    assert ledger.realised == 8
    ledger.apply(replace(buy.report(), filled_avg_price=Decimal(100)))
    assert (ledger.entry_price, ledger.realised) == (100, 12)
    ledger.apply(fill(6, "100.00", "sell", "s2"))
    assert (ledger.position, ledger.realised) == (0, 12)


def test_right_price_of_buy_beside_older_shares_moves_average() -> None:
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal(90), 0)
    buy = sent(ledger, price="100")
    ledger.apply(unpriced(buy))
    assert ledger.entry_price == 95
    ledger.apply(replace(buy.report(), filled_avg_price=Decimal(98)))
    assert (ledger.entry_price, ledger.realised) == (94, 0)


def test_the_right_price_of_a_sold_buy_is_profit_or_loss() -> None:
    ledger = Ledger(AAPL)
    buy = sent(ledger, price="101")
    ledger.apply(unpriced(buy))
    ledger.apply(fill(10, "103.00", "sell", "s1"))
    ledger.apply(replace(buy.report(), filled_avg_price=Decimal(100)))
    assert (ledger.position, ledger.entry_price, ledger.realised) == (0, None, 30)


def test_the_right_price_of_a_sell_puts_its_profit_right() -> None:
    ledger = told(fill(10, "100.00"))
    sell = sent(ledger, "sell", price="101")
    ledger.apply(unpriced(sell))
    assert ledger.realised == 10
    for _ in range(2):
        ledger.apply(replace(sell.report(), filled_avg_price=Decimal("101.50")))
        assert ledger.realised == 15


# -- what a listing told of -------------------------------------------------------------------------------------------


def test_claimed_shares_that_are_given_up_leave_no_entry_price() -> None:
    ledger = Ledger(AAPL)
    ledger.claim(Decimal(5), Decimal(100), 1_000 * SECOND)
    assert (ledger.position, ledger.entry_price) == (5, 100)
    ledger.claim(Decimal(-5), None, 1_100 * SECOND)
    assert (ledger.position, ledger.entry_price, ledger.claimed, ledger.unoffered) == (0, None, 0, 0)


def test_a_sell_proves_a_claim_only_while_it_works() -> None:
    for event, claimed in (("new", 0), ("canceled", 4)):
        ledger = Ledger(AAPL)
        sell = BrokerOrder("s1", "sell", Decimal(4), Decimal(101), "scalp-AAPL-Q-1").report(event)
        ledger.apply(sell)
        ledger.claim(Decimal(4), Decimal(100), 1_000 * SECOND)
        ledger.apply(sell)
        assert ledger.refutable == claimed


@pytest.mark.parametrize(("seconds", "held"), [(5, 5), (61, 0)])
def test_an_older_sell_seen_unsold_has_sold_since(seconds: int, held: int) -> None:
    """By an answer that names no execution. Just after the listing it may have sold before it; a minute later not."""
    ledger, adopted_at = Ledger(AAPL), clock("10:00")
    ledger.adopt_position(Decimal(5), Decimal(100), adopted_at)
    sell = BrokerOrder("a", "sell", Decimal(5), Decimal(101), "scalp-AAPL-R-1", submitted_at=adopted_at - 60 * SECOND)
    ledger.apply(sell.report())
    at = adopted_at + seconds * SECOND
    ledger.apply(replace(sell.report("fill", 5, at=at), event="", execution_id=None, execution_qty=None, price=None))
    assert ledger.position == held


def test_sell_older_than_adopted_position_proves_none_of_it() -> None:
    """It is heard of later, as working: that may be what it did before, and then it had sold these very shares."""
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(5), Decimal(100), clock("10:00"))
    sell = BrokerOrder("s1", "sell", Decimal(5), Decimal(101), "scalp-AAPL-Q-1", submitted_at=clock("09:59"))
    ledger.apply(sell.report("new"))
    ledger.apply(sell.report("fill", 5, at=clock("09:59:50")))
    ledger.is_denied = True
    assert (ledger.position, ledger.refutable) == (5, 5)


def test_an_execution_named_by_the_adoption_never_counts_again() -> None:
    for named, position in ((("b1/1",), 10), ((), 20)):
        ledger = Ledger(AAPL)
        ledger.adopt_position(Decimal(10), Decimal(100), clock("10:00"), named)
        buy = BrokerOrder("b1", "buy", Decimal(10), Decimal(100), submitted_at=clock("10:00:05"))
        ledger.apply(buy.report("fill", 10, at=clock("10:00:05")))
        assert ledger.position == position


@pytest.mark.parametrize(("side", "position"), [("buy", 14), ("sell", 6)])
def test_of_an_older_order_only_what_came_after_adoption_counts(side: str, position: int) -> None:
    """10 were adopted; 7 more were executed, 4 of them since then."""
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal(100), clock("10:00"))
    order = BrokerOrder("x", side, Decimal(20), Decimal(100), submitted_at=clock("09:59"))
    ledger.apply(order.report("new", at=clock("09:59")))
    order.report("partial_fill", 3)
    ledger.apply(order.report("partial_fill", 4, at=clock("10:01")))
    assert ledger.position == position
    assert ledger.question == "when an order was filled that is older than the listed position"


def test_a_claim_explains_no_more_executions_than_it_had_shares() -> None:
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(0), None, 1_000 * SECOND)
    ledger.claim(Decimal(5), Decimal(100), 1_100 * SECOND)
    for name, position in (("b1", 5), ("b2", 9)):
        buy = BrokerOrder(name, "buy", Decimal(5 if name == "b1" else 4), Decimal(100), submitted_at=1_050 * SECOND)
        ledger.apply(buy.report("fill", buy.qty, at=1_050 * SECOND))
        assert ledger.position == position


@pytest.mark.parametrize(("average", "price", "is_priced"), [("100", "0", True), ("0", "100", True), ("0", "0", False)])
def test_one_source_of_a_price_is_enough(average: str, price: str, is_priced: bool) -> None:
    report = fill(10)
    ledger = told(replace(report, filled_avg_price=Decimal(average), price=Decimal(price)))
    assert (ledger.position, ledger.entry_price) == (10, 100)  # the limit, where nobody tells
    (order,) = ledger
    assert order.is_priced is is_priced
    assert ledger.question == ("" if is_priced else "at what price order b1 was filled")


@pytest.mark.parametrize(("held", "entry"), [(4, 90), (0, 101), (-2, 101)])
def test_a_sell_of_an_earlier_run_sold_what_was_held(held: int, entry: int) -> None:
    """Whatever was listed: nobody becomes short by it. What it cost is as listed, or not known: no profit then."""
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(held), Decimal(90), clock("10:00"))
    sell = BrokerOrder("s", "sell", Decimal(10), Decimal(101), "scalp-AAPL-Q-1", submitted_at=clock("10:01"))
    ledger.apply(sell.report("fill", 10, at=clock("10:01")))
    assert (ledger.position, ledger.realised) == (0, 10 * (101 - entry))


@pytest.mark.parametrize(
    ("adopted", "filled_at", "own", "position"),
    [
        (4, "09:58:30", False, 4),  # the very shares
        (3, "09:58:30", False, 4),  # of which one came after all
        (0, "09:58:30", False, 4),  # listed as behind as the order
        (4, "09:59:30", False, 8),  # a listing may lag so much
        (4, "09:58:30", True, 8),  # followed since it was sent
    ],
)
def test_a_buy_listed_open_that_had_filled_long_before(adopted: int, filled_at: str, own: bool, position: int) -> None:
    ledger = Ledger(AAPL)
    buy = sent(ledger, qty=4) if own else BrokerOrder("x", "buy", Decimal(4), Decimal(100), submitted_at=clock("09:58"))
    ledger.apply(buy.report("new"))
    ledger.adopt_position(Decimal(adopted), Decimal(100), clock("10:00"))
    ledger.apply(replace(buy.report("", 4), filled_qty=Decimal(4), status="filled", at=clock(filled_at)))
    assert (ledger.position, ledger.open_orders) == (position, [])


def test_an_older_buy_brought_what_the_position_lacks() -> None:
    for side, position in (("buy", 7), ("sell", -2)):
        ledger = Ledger(AAPL)
        ledger.adopt_position(Decimal(2), Decimal(100), clock("10:00"))
        order = BrokerOrder("x", side, Decimal(20), Decimal(100), submitted_at=clock("09:59"))
        ledger.apply(order.report("new", at=clock("09:59")))
        order.report("partial_fill", 3)
        ledger.apply(order.report("partial_fill", 4, at=clock("10:01")))
        assert ledger.position == position


def test_order_of_after_adoption_grows_though_nobody_tells_when() -> None:
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(0), None, clock("10:00"))
    buy = BrokerOrder("x", "buy", Decimal(10), Decimal(100), submitted_at=clock("10:01"))
    ledger.apply(buy.report("new", at=clock("10:01")))
    buy.report("fill", 10)
    ledger.apply(buy.report())  # by id
    assert (ledger.position, ledger.question) == (10, "")


def test_an_assumed_execution_made_after_adoption_counts_once() -> None:
    """The order's row was newer than the position's."""
    ledger = Ledger(AAPL)
    buy = BrokerOrder("x", "buy", Decimal(10), Decimal(100), submitted_at=clock("09:59"))
    update = buy.report("fill", 10, at=clock("10:00:01"))
    ledger.apply(buy.report())
    ledger.adopt_position(Decimal(0), None, clock("10:00"))
    for _ in range(2):
        ledger.apply(update)
        assert ledger.position == 10


@pytest.mark.parametrize(("at", "named", "asks"), [("10:00:09", (), True), ("10:00:09", ("x/1",), False),
                                                   ("10:00:10", (), False), ("09:59:51", (), True)])  # fmt: skip
def test_an_execution_at_the_turn_is_asked_about(at: str, named: tuple[str, ...], asks: bool) -> None:
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal(100), clock("10:00"), named)
    buy = BrokerOrder("x", "buy", Decimal(10), Decimal(100), submitted_at=clock("09:59"))
    ledger.apply(buy.report("fill", 10, at=clock(at)))
    assert ledger.question == ("whether an execution is in the listed position" if asks else "")


def test_what_execution_explains_of_claim_is_claim_no_more() -> None:
    ledger = Ledger(AAPL)
    version = ledger.version
    ledger.claim(Decimal(5), Decimal(100), 1_100 * SECOND)
    assert ledger.version > version
    ledger.apply(BrokerOrder("b1", submitted_at=1_050 * SECOND).report("partial_fill", 3, 100, at=1_050 * SECOND))
    assert (ledger.position, ledger.claimed, ledger.unoffered) == (5, 2, 2)


def test_what_is_adopted_is_a_claim_no_more() -> None:
    ledger = Ledger(AAPL)
    ledger.claim(Decimal(5), Decimal(100), 1_100 * SECOND)
    ledger.adopt_position(Decimal(5), Decimal(100), 1_200 * SECOND)
    assert (ledger.refutable, ledger.unoffered, ledger.overlap) == (0, 0, 0)
    ledger.apply(BrokerOrder("b1", submitted_at=1_250 * SECOND).report("fill", 10, 100, at=1_250 * SECOND))
    assert ledger.position == 15


@pytest.mark.parametrize(("after", "held"), [(1, 10), (3, 14)])
def test_an_order_well_after_the_adopted_position_is_not_in_it(after: int, held: int) -> None:
    """Told of by an answer by id alone, without an execution; in between only the next listing can tell."""
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal(100), clock("10:00"))
    buy = BrokerOrder("b1", qty=Decimal(4), submitted_at=clock("10:00") + after * SECOND)
    buy.report("fill", 4, 100)
    ledger.apply(buy.report("", at=clock("10:00") + 4 * SECOND))
    assert (ledger.position, bool(ledger.question)) == (held, True)


@pytest.mark.parametrize(
    ("side", "own", "near"), [("sell", True, 0), ("sell", False, 0), ("buy", True, 0), ("buy", False, 10)]
)
def test_only_a_foreign_buy_may_be_in_a_position_dated_before(side: str, own: bool, near: int) -> None:
    """It fills half a second later; a listing that still shows the shares it sold is behind."""
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal(100), clock("10:00"))
    order = BrokerOrder("s1", side, Decimal(10), None, "scalp-AAPL-R-1", "market", submitted_at=clock("10:00"))
    if own:
        ledger.add_in_flight(
            SubmitOrder(AAPL, "scalp-AAPL-R-1", SELL if side == "sell" else BUY, 10, "market", None), 0
        )
    ledger.apply(order.report("fill", 10, 100, at=clock("10:00") + SECOND // 2))
    assert (ledger.position, ledger.near, ledger.overlap) == (20 if side == "buy" else 0, near, 0)


@pytest.mark.parametrize("way", ["by id", "stream"])
def test_leg_of_exit_sent_from_here_is_news_whatever_its_time(way: str) -> None:
    """The position was adopted by a clock that is seconds ahead of the broker's stamps."""
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal(100), clock("10:00:05"))
    action = SubmitOrder(AAPL, "scalp-AAPL-R-1", SELL, 10, "limit", Decimal(101), Decimal(99))
    ledger.add_in_flight(action, clock("10:00:06"))
    exit_ = BrokerOrder("s", "sell", Decimal(10), Decimal(101), "scalp-AAPL-R-1", submitted_at=clock("10:00:01"))
    leg = BrokerOrder("t", "sell", Decimal(10), None, "x", "stop", "held", clock("10:00:01"), stop_price=Decimal(99),
                      parent_id="s")  # fmt: skip
    ledger.apply(leg.report())
    ledger.apply(exit_.report())
    sold = leg.report("fill", 10, 99, at=clock("10:00:02"))
    by_id = replace(sold, event="", execution_id=None, execution_qty=None, price=None)
    ledger.apply(by_id if way == "by id" else sold)
    assert (ledger.position, ledger.question, ledger.overlap) == (0, "", 0)


def test_no_refusal_takes_away_what_was_bought_since_adoption() -> None:
    """Ten were adopted and sold; ten are bought then, and for a while the broker does not see them."""
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal(100), clock("10:00"))
    ledger.apply(BrokerOrder("s1", "sell", submitted_at=clock("10:01")).report("fill", 10, 100, at=clock("10:01")))
    ledger.apply(BrokerOrder("b1", "buy", submitted_at=clock("10:02")).report("fill", 10, 100, at=clock("10:02")))
    ledger.deny(Decimal(0))
    assert (ledger.position, ledger.refutable) == (10, 0)


def test_refusal_and_listing_take_away_what_was_only_guessed() -> None:
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(2), Decimal(100), clock("10:00"))
    ledger.apply(BrokerOrder("b1", "buy", submitted_at=clock("10:01")).report("fill", 10, 100, at=clock("10:01")))
    ledger.doubt_all()
    sell = BrokerOrder("s1", "sell", Decimal(12), Decimal(101), "scalp-AAPL-R-1", submitted_at=clock("10:02"))
    ledger.apply(sell.report("new"))
    assert ledger.refutable == 0  # the broker took a sell of all
    ledger.apply(sell.report("canceled"))
    ledger.deny(Decimal(2))
    assert (ledger.position, ledger.refutable) == (12, 10)


def test_what_was_bought_before_adoption_may_have_been_sold() -> None:
    """The first listing of orders was behind: the buy was followed as open, though its shares had been sold."""
    ledger = Ledger(AAPL)
    buy = BrokerOrder("b1", qty=Decimal(5), submitted_at=clock("09:55"))
    ledger.apply(buy.report("new"))
    ledger.adopt_position(Decimal(0), None, clock("10:00"))
    ledger.apply(buy.report("fill", 5, 100, at=clock("09:56")))
    assert (ledger.position, ledger.refutable) == (5, 0)
    ledger.deny(Decimal(0))
    assert ledger.refutable == 5
