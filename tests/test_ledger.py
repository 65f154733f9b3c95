"""The ledger: however reports arrive, the same orders end in the same fills, position and profit."""

# mypy: disable-error-code="comparison-overlap"
# A Decimal equals an int here, as it does when the tests run.

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from msgspec.structs import replace

from scalp.ledger import LOST, REFUSED, Ledger
from scalp.messages import FINAL_STATUSES, SECOND, OrderReport, Side, SubmitOrder
from tests.helpers import AAPL, BrokerOrder, clock, fill

CENT = Decimal("0.01")


def told(*reports: OrderReport) -> Ledger:
    ledger = Ledger(AAPL)
    for report in reports:
        ledger.merge(report)
    return ledger


def sent(ledger: Ledger, side: str = "buy", qty: int = 10, price: str = "100", number: int = 1) -> BrokerOrder:
    """An order of our own, entered before anybody answered, and what the broker will tell of it."""
    key = f"scalp-AAPL-R-{number}"
    action = SubmitOrder(AAPL, key, "buy" if side == "buy" else "sell", qty, "limit", Decimal(price))
    ledger.expect(action, clock("10:00"))
    return BrokerOrder(f"id{number}", side, Decimal(qty), Decimal(price), key)


def test_a_buy_and_a_sell_make_a_profit() -> None:
    ledger = told(fill(10, "100.00"), fill(10, "100.25", "sell", "s1"))
    assert (ledger.position, ledger.entry_price, ledger.realised) == (0, None, Decimal("2.50"))
    assert (ledger.shares_sold, ledger.round_trips) == (10, 1)


def test_running_totals_count_not_the_size_of_an_execution() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    assert ledger.merge(order.report("partial_fill", 4)).new_qty == 4
    order.report("partial_fill", 3)  # lost
    change = ledger.merge(order.report("fill", 3, "99.00"))
    assert (change.new_qty, ledger.position) == (6, 10)
    assert change.price == Decimal("99.50")  # 3 at 100 and 3 at 99, from the averages
    assert ledger.entry_price == Decimal("99.7")


def test_a_repeated_report_changes_nothing() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    part = order.report("partial_fill", 4)
    assert ledger.merge(part).moved
    version = ledger.version
    again = ledger.merge(part)
    assert (again.moved, again.new_qty, ledger.position, ledger.version) == (False, 0, 4, version)


def test_without_totals_an_execution_counts_once() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    whole = [order.report("partial_fill", qty) for qty in (4, 3)]
    bare = [replace(report, filled_qty=None, filled_avg_price=None) for report in whole]
    for report in (*bare, *bare):
        ledger.merge(report)
    assert (ledger.position, ledger.entry_price) == (7, 100)


def test_a_late_report_never_takes_shares_away() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    early = order.report("partial_fill", 4)
    ledger.merge(order.report("fill", 6))
    assert not ledger.merge(early).moved
    known = ledger.find("id1")
    assert known is not None and (known.status, known.filled_qty) == ("filled", 10)


@pytest.mark.parametrize("ending", sorted(FINAL_STATUSES))
def test_an_ending_stays_and_a_fill_after_it_counts(ending: str) -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    late = BrokerOrder("id1", "buy", Decimal(10), Decimal(100), "scalp-AAPL-R-1").report("partial_fill", 4)
    assert ledger.merge(order.report(ending)).ended
    change = ledger.merge(late)
    assert (change.new_qty, change.ended, ledger.position) == (4, False, 4)
    for kind in ("new", "pending_cancel", "accepted", "sneezed"):
        assert not ledger.merge(order.report(kind)).moved
    assert ledger.open_orders == []


def test_a_fill_with_a_copy_of_the_order_from_before_it_is_a_whole_one() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    stale = replace(order.report("fill", 10, "99.50"), filled_qty=Decimal(0), filled_avg_price=None, status="new")
    assert ledger.merge(stale).new_qty == 10
    assert ledger.merge(stale).new_qty == 0
    assert (ledger.position, ledger.entry_price, ledger.open_orders) == (10, Decimal("99.50"), [])


@pytest.mark.parametrize("first_is_lost", [False, True])
def test_a_stale_copy_in_the_last_fill_after_a_partial_one(first_is_lost: bool) -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    first = order.report("partial_fill", 6, "100.00")
    if not first_is_lost:
        ledger.merge(first)
    stale = replace(order.report("fill", 4, "101.00"), filled_qty=Decimal(6), filled_avg_price=Decimal(100))
    assert ledger.merge(stale).ended
    assert ledger.merge(stale).new_qty == 0
    assert (ledger.position, ledger.entry_price) == (10, Decimal("100.4"))


def test_a_fill_of_an_order_of_unknown_size_is_not_counted_again() -> None:
    ledger = Ledger(AAPL)
    order = BrokerOrder("n", "buy", Decimal(10), None, "by-hand", "market")
    whole = replace(order.report("fill", 10, "100.00"), qty=None)
    ledger.merge(replace(whole, event="", execution_id=None, execution_qty=None, price=None))
    before = ledger.position
    ledger.merge(replace(whole, filled_qty=Decimal(0), filled_avg_price=None))
    assert ledger.position == before


def test_the_kind_of_an_update_is_newer_than_the_copy_of_the_order_in_it() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    assert ledger.merge(replace(order.report("canceled"), status="pending_cancel")).ended


@pytest.mark.parametrize("word", [REFUSED, LOST])
def test_the_broker_overrules_what_was_only_believed(word: str) -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    own = ledger.find("scalp-AAPL-R-1")
    assert own is not None
    ledger.end(own, word)
    assert ledger.open_orders == []
    ledger.merge(order.report("new"))
    assert ledger.open_orders == [own]
    assert ledger.merge(order.report("fill", 10)).ended
    ledger.end(own, word)
    assert (own.status, ledger.position) == ("filled", 10)


def test_done_for_day_ends_a_day_order_and_not_one_that_goes_on_tomorrow() -> None:
    assert told(BrokerOrder("x").report("done_for_day")).open_orders == []
    assert len(told(BrokerOrder("x").report("done_for_day", time_in_force="gtc")).open_orders) == 1


def test_the_fill_comes_before_the_answer_to_the_post() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger)
    answer = order.report("")  # pending, nothing filled
    change = ledger.merge(order.report("fill", 10))
    assert (change.is_new, change.new_qty, change.order.id) == (False, 10, "id1")
    assert not ledger.merge(answer).moved
    assert [order.id for order in ledger] == ["id1"]


def test_unknown_words_and_missing_fields_are_a_working_order() -> None:
    ledger = told(OrderReport(AAPL, "x", "", "buy", "limit", "moonlit", event="eclipse"))
    (order,) = ledger.open_orders
    assert (order.status, order.remaining, order.filled_qty) == ("moonlit", None, 0)


def test_a_replacement_is_known_by_its_id_until_somebody_tells_more() -> None:
    ledger = Ledger(AAPL)
    order = sent(ledger, "sell")
    ledger.merge(order.report("replaced", replaced_by="id9"))
    old = ledger.find("id1")
    assert old is not None and old.has_ended and old.replaced_by == "id9"
    new = ledger.heard_of("id9", old)
    assert (new.side, new.qty, new.remaining, new.is_own) == ("sell", None, None, True)
    assert ledger.heard_of("id9", old) is new
    ledger.merge(BrokerOrder("id9", "sell", Decimal(7), Decimal(103), "edited").report("new"))
    assert (new.qty, new.limit_price, ledger.find("edited")) == (7, 103, new)


def test_a_listed_position_is_believed_and_older_fills_of_unknown_orders_are_in_it() -> None:
    ledger = Ledger(AAPL)
    ledger.adopt_position(Decimal(10), Decimal("99.5"), clock("10:00"))
    before = BrokerOrder("x", "buy", Decimal(20)).report("partial_fill", 10, "99.50", at=clock("09:59"))
    assert (ledger.merge(before).new_qty, ledger.position) == (0, 10)
    after = BrokerOrder("y", "buy", Decimal(10)).report("fill", 10, "100.50", at=clock("10:01"))
    assert (ledger.merge(after).new_qty, ledger.position, ledger.entry_price) == (10, 20, 100)


def test_what_an_order_found_at_the_start_had_filled_is_in_the_position_already() -> None:
    ledger = Ledger(AAPL)
    found = BrokerOrder("x", "sell", Decimal(10), Decimal(101))
    found.report("partial_fill", 4)
    ledger.merge(found.report())
    ledger.adopt_position(Decimal(6), Decimal(100), clock("10:00"))
    change = ledger.merge(found.report("fill", 6, at=clock("10:01")))
    assert (change.new_qty, change.profit, ledger.position) == (6, 6, 0)


def test_the_profit_of_a_sell_told_before_its_buy_comes_with_the_buy() -> None:
    ledger = told(fill(10, "101.00", "sell", "s1"))
    assert (ledger.position, ledger.realised) == (-10, 0)
    ledger.merge(fill(10, "100.00", "buy", "b1"))
    assert (ledger.position, ledger.entry_price, ledger.realised, ledger.round_trips) == (0, None, 10, 1)


def test_through_zero_only_the_closed_shares_make_a_profit() -> None:
    ledger = told(fill(4, "100.00"), fill(10, "101.00", "sell", "s1"))
    assert (ledger.position, ledger.entry_price, ledger.realised) == (-6, 101, 4)
    ledger.merge(fill(8, "100.00", "buy", "b2"))
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
        side: Side = "buy" if first.side == "buy" else "sell"
        ledger.expect(SubmitOrder(AAPL, first.client_order_id, side, int(first.qty or 0), "limit", Decimal(100)), 0)
    return ledger


@pytest.mark.parametrize("seed", range(150))
def test_in_whatever_order_and_however_often_reports_arrive_the_end_is_the_same(seed: int) -> None:
    rng = random.Random(seed)
    told_of, cash = reports_of_a_day(rng)
    in_order = knows_the_orders(told_of)
    for reports in told_of:
        for report in reports:
            in_order.merge(report)
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
            order = ledger.merge(report).order
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
                ledger.merge(report)
    for reports in told_of:
        last = reports[-1]
        by_id = OrderReport(
            AAPL, last.id, last.client_order_id, last.side, last.type, last.status, last.qty, last.filled_qty,
            last.filled_avg_price,
        )  # fmt: skip
        ledger.merge(by_id)
    assert ledger.position == 0 and ledger.realised.quantize(CENT) == cash
    assert ledger.open_orders == []


def test_an_execution_told_after_a_listing_had_claimed_its_shares_counts_once() -> None:
    for sold_meanwhile in (False, True):
        ledger = Ledger("AAPL")
        ledger.adopt_position(Decimal(0), None, 1_000 * SECOND)
        ledger.claim(Decimal(5), Decimal(100), 1_100 * SECOND)
        if sold_meanwhile:
            ledger.merge(BrokerOrder("s1", "sell", Decimal(5)).report("fill", 5, 101, at=1_105 * SECOND))
        buy = BrokerOrder("b1", "buy", Decimal(8), Decimal(100), submitted_at=1_050 * SECOND)
        assert ledger.merge(buy.report("partial_fill", 5, 100, at=1_050 * SECOND)).new_qty == 0
        assert ledger.position == (0 if sold_meanwhile else 5)
        assert ledger.merge(buy.report("fill", 3, 100, at=1_110 * SECOND)).new_qty == 3
        assert ledger.position == (3 if sold_meanwhile else 8)
