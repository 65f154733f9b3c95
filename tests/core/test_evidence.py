"""What a listing is worth beside executions: the table of `scalp.core.evidence`, row by row."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from scalp.core.evidence import Evidence, Verdict, held_already
from scalp.core.ledger import Ledger
from scalp.core.orders import OrderReport, PositionReport
from scalp.core.units import SECOND
from tests.helpers import AAPL, BrokerOrder, Desk, position

NOW = 1_000_000 * SECOND


def ledger(held: int = 0) -> Ledger:
    book = Ledger("AAPL")
    book.adopt_position(Decimal(held), Decimal(100), NOW - 3600 * SECOND)
    return book


def weigh(evidence: Evidence, book: Ledger, listed: int, after: float, transferred: int = 0, knows: bool = True) -> str:
    at = NOW + round(after * SECOND)
    return evidence.weigh(book, position(listed, 100), at, Decimal(transferred), knows).value


def test_sources_that_agree_leave_no_doubt() -> None:
    evidence, book = Evidence(), ledger(5)
    assert weigh(evidence, book, 5, 0) == "agrees"
    assert weigh(evidence, book, 3, 1) == "doubt"
    assert evidence.doubts == [("AAPL", Decimal(5), Decimal(3))]
    assert weigh(evidence, book, 5, 2) == "agrees"
    assert evidence.doubts == []


def test_less_listed_than_executions_tell_is_never_believed() -> None:
    evidence, book = Evidence(), ledger(0)
    book.apply(BrokerOrder("b1", qty=Decimal(5), submitted_at=NOW).report("fill", 5, 100, at=NOW))
    assert [weigh(evidence, book, 0, minute * 60) for minute in range(300)] == ["doubt"] * 300


def test_a_surplus_is_believed_when_it_has_stood_for_a_minute() -> None:
    evidence, book = Evidence(), ledger(5)
    assert [weigh(evidence, book, 9, after) for after in (0, 30, 59.9, 60)] == ["doubt", "doubt", "doubt", "surplus"]
    assert evidence.doubts == []


@pytest.mark.parametrize("change", ["listing", "ledger", "agreement"])
def test_the_minute_begins_anew_when_anything_changes(change: str) -> None:
    evidence, book = Evidence(), ledger(5)
    assert weigh(evidence, book, 9, 0) == "doubt"
    if change == "listing":
        assert weigh(evidence, book, 4, 30) == "doubt"
    elif change == "agreement":
        assert weigh(evidence, book, 5, 30) == "agrees"
    else:
        book.apply(BrokerOrder("s1", "sell", submitted_at=NOW).report("partial_fill", 1, 100, at=NOW))
    assert weigh(evidence, book, 9, 61) == "doubt"


def test_shares_bought_meanwhile_leave_the_difference_as_it_is() -> None:
    evidence, book = Evidence(), ledger(5)
    assert weigh(evidence, book, 9, 0) == "doubt"
    book.apply(BrokerOrder("b1", submitted_at=NOW).report("partial_fill", 1, 100, at=NOW))
    assert weigh(evidence, book, 10, 61) == "surplus"


def test_a_listing_of_before_an_execution_of_ours_is_behind() -> None:
    """Where executions can be read they speak against it; else it counts as a surplus."""
    for knows, verdict in ((True, "doubt"), (False, "surplus")):
        evidence, book = Evidence(), ledger(5)
        sell = BrokerOrder("s1", "sell", Decimal(5), Decimal(100), submitted_at=NOW)
        book.apply(sell.report("fill", 5, at=NOW))
        assert weigh(evidence, book, 5, 0, knows=knows) == "doubt"
        assert weigh(evidence, book, 5, 600, knows=knows) == verdict


def test_without_executions_a_listing_may_be_a_minute_behind() -> None:
    """Sold one by one, with 2 listed too many at every look: believed a minute after the last that would explain it."""
    evidence, book = Evidence(), ledger(9)
    sell = BrokerOrder("s1", "sell", Decimal(9), Decimal(100), submitted_at=NOW)
    verdicts = []
    for after in range(0, 181, 30):
        verdicts.append(weigh(evidence, book, int(book.position) + 2, after, knows=False))
        if after < 150:
            book.apply(sell.report("partial_fill", 1, at=NOW))
    assert verdicts == ["doubt"] * 6 + ["surplus"]
    assert (book.position, evidence.surplus) == (Decimal(4), Decimal(2))


def test_where_ledger_is_below_zero_listing_is_not_one_behind() -> None:
    """Shares that no listing had told of were sold by hand."""
    evidence, book = Evidence(), ledger(0)
    book.apply(BrokerOrder("s1", "sell", Decimal(5), submitted_at=NOW).report("fill", 5, 100, at=NOW))
    assert [weigh(evidence, book, 0, after) for after in (1, 59, 61)] == ["doubt", "doubt", "surplus"]
    assert evidence.surplus == 5


def test_what_both_legs_have_sold_no_listing_takes_back() -> None:
    evidence, book = Evidence(), ledger(5)
    profit = BrokerOrder("s1", "sell", Decimal(5), Decimal(101), "scalp-AAPL-R-1", submitted_at=NOW)
    stop = BrokerOrder("s2", "sell", Decimal(5), type="stop", submitted_at=NOW, parent_id="s1", stop_price=Decimal(99))
    for report in (profit.report(), stop.report(), profit.report("fill", 5, at=NOW), stop.report("fill", 5, 99, NOW)):
        book.apply(report)
    assert (int(book.position), int(book.sold_twice)) == (-5, 5)
    assert [weigh(evidence, book, 0, minute * 60) for minute in range(90)] == ["doubt"] * 90
    assert [weigh(evidence, book, 1, 6000 + minute * 60) for minute in range(9)] == ["doubt"] * 9


def test_a_transfer_explains_a_difference_at_once() -> None:
    evidence, book = Evidence(), ledger(5)
    assert weigh(evidence, book, 3, 0, transferred=-2) == "explained"
    assert weigh(evidence, book, 2, 1, transferred=-2) == "doubt"


@pytest.mark.parametrize(("side", "listed"), [("buy", 3), ("sell", 17)])
def test_execution_that_was_taken_back_explains_difference_once(side: str, listed: int) -> None:
    evidence, book = Evidence(), ledger(10)
    order = BrokerOrder("o1", side, Decimal(14), submitted_at=NOW)
    book.apply(order.report("partial_fill", 7, 100, at=NOW))
    held = int(book.position)
    bust = msgspec.structs.replace(order.report("trade_bust", at=NOW), filled_qty=Decimal(0), execution_qty=Decimal(7))
    for _ in range(2):
        book.apply(bust)
        assert (int(book.position), book.question[:12]) == (held, "what is held")
    assert weigh(evidence, book, held + 1, 0) == "doubt"
    assert [weigh(evidence, book, 10, after) for after in (1, 4.9, 6)] == ["doubt", "doubt", "explained"]
    book.adopt_position(Decimal(10), Decimal(100), NOW + 6 * SECOND)
    book.apply(bust)
    assert [weigh(evidence, book, listed, after) for after in (7, 30)] == ["doubt"] * 2  # counted already


def test_a_claim_may_be_taken_back_by_a_claim() -> None:
    evidence, book = Evidence(), ledger(5)
    book.claim(Decimal(4), Decimal(90), NOW)
    assert (book.position, book.entry_price) == (Decimal(9), Decimal(100))
    assert weigh(evidence, book, 5, 0) == "doubt"
    assert weigh(evidence, book, 5, 59) == "doubt"
    assert weigh(evidence, book, 5, 60) == Verdict.SURPLUS.value
    assert evidence.surplus == -4


def test_what_the_broker_took_a_sell_of_is_no_claim_any_more() -> None:
    evidence, book = Evidence(), ledger(5)
    book.apply(BrokerOrder("s1", "sell", Decimal(5), client_order_id="scalp-AAPL-1-1").report("new"))
    assert [weigh(evidence, book, 0, after) for after in (0, 60, 600)] == ["doubt"] * 3


def test_adopted_position_is_no_claim_unless_broker_denies_it() -> None:
    for is_denied, verdict in ((False, "doubt"), (True, "surplus")):
        evidence, book = Evidence(), ledger(5)
        book.is_denied = is_denied
        assert weigh(evidence, book, 0, 0) == "doubt"
        assert weigh(evidence, book, 0, 60) == verdict


def test_what_a_sell_has_on_offer_is_not_taken_away() -> None:
    """It was found after the position was adopted, by the refusal of another one."""
    evidence, book = Evidence(), ledger(5)
    book.is_denied = True
    book.apply(BrokerOrder("s1", "sell", Decimal(5), submitted_at=NOW - 7200 * SECOND).report("new"))
    assert [weigh(evidence, book, 0, after) for after in (0, 60, 600)] == ["doubt"] * 3


def test_what_is_listed_again_is_believed_after_a_minute() -> None:
    evidence, book = Evidence(), ledger(0)
    book.claim(Decimal(5), Decimal(90), NOW)
    for side in ("buy", "sell"):
        later = NOW + SECOND
        book.apply(BrokerOrder(side, side, Decimal(1), submitted_at=later).report("fill", 1, 100, at=later))
    book.claim(Decimal(-5), None, NOW)
    assert [weigh(evidence, book, 5, after) for after in (1, 60, 61)] == ["doubt", "doubt", "surplus"]


def test_of_a_surplus_that_grows_the_least_has_stood() -> None:
    evidence, book = Evidence(), ledger(5)
    assert [weigh(evidence, book, listed, after) for listed, after in ((9, 0), (8, 20), (12, 40))] == ["doubt"] * 3
    assert weigh(evidence, book, 15, 60) == "surplus"
    assert evidence.surplus == 3


def test_execution_of_before_adopted_position_may_be_in_it() -> None:
    """The order was listed without it, the position with it; only one of the two can have been of that moment."""
    evidence, book = Evidence(), Ledger("AAPL")
    buy = BrokerOrder("b1", submitted_at=NOW - 100 * SECOND)
    book.apply(buy.report())
    book.adopt_position(Decimal(10), Decimal(100), NOW)
    book.apply(buy.report("fill", 10, 100, at=NOW - SECOND))
    assert book.position == 20  # growth of an order that is followed is always news
    assert [weigh(evidence, book, 10, after) for after in (0, 5)] == ["doubt", "explained"]
    # But never more than was adopted.
    book = Ledger("AAPL")
    book.apply(BrokerOrder("b1", submitted_at=NOW - 100 * SECOND).report())
    book.adopt_position(Decimal(0), None, NOW)
    book.apply(BrokerOrder("b1", submitted_at=NOW - 100 * SECOND).report("fill", 10, 100, at=NOW - SECOND))
    assert [weigh(evidence, book, 0, after) for after in (0, 5, 600)] == ["doubt"] * 3


def test_what_the_first_listing_held_may_show_on_top_later() -> None:
    desk = Desk()
    buy = BrokerOrder("b1", submitted_at=desk.now - 2 * SECOND).report("fill", 4, 100, at=desk.now - SECOND)
    desk.algo.on_snapshot([], PositionReport(AAPL, Decimal(24), Decimal(100)), desk.now, desk.now, [buy], 1)
    evidence = Evidence()
    assert [weigh(evidence, desk.algo.ledger, 28, after) for after in (0, 59, 60)] == ["doubt", "doubt", "explained"]
    # Once something was executed since, such a listing may be one of before that.
    desk.algo.ledger.apply(BrokerOrder("s1", "sell", Decimal(24)).report("fill", 4, 100, at=desk.now + SECOND))
    assert [weigh(evidence, desk.algo.ledger, 24, after) for after in (70, 100, 140)] == ["doubt"] * 3


def test_what_was_counted_on_top_may_have_been_in_the_listing() -> None:
    desk = Desk()
    sell = BrokerOrder("s1", "sell", submitted_at=desk.now - 2 * SECOND).report("fill", 8, 100, at=desk.now - SECOND)
    desk.algo.on_snapshot([], PositionReport(AAPL, Decimal(10), Decimal(100)), desk.now, desk.now, [sell], 0)
    evidence, book = Evidence(), desk.algo.ledger
    assert book.position == 2
    assert [weigh(evidence, book, 10, after) for after in (0, 59, 60)] == ["doubt", "doubt", "explained"]


def test_a_foreign_buy_of_the_second_after_is_taken_back() -> None:
    evidence, book = Evidence(), Ledger("AAPL")
    book.adopt_position(Decimal(10), Decimal(100), NOW)
    book.apply(BrokerOrder("b1", submitted_at=NOW).report("fill", 10, 100, at=NOW + SECOND // 2))
    assert book.position == 20
    assert [weigh(evidence, book, 10, after) for after in (1, 6, 60, 61)] == ["doubt", "doubt", "doubt", "explained"]


@pytest.mark.parametrize(("sold", "verdict"), [(3, "surplus"), (5, "doubt")])
def test_surplus_goes_on_through_sell_that_does_not_explain_it(sold: int, verdict: str) -> None:
    """Five more are listed before and after the sell: a listing that lags would show as many as were sold."""
    evidence, book = Evidence(), ledger(12)
    sell = BrokerOrder("s1", "sell", Decimal(12), Decimal(101), submitted_at=NOW)
    book.apply(sell.report("new"))
    assert weigh(evidence, book, 17, 0) == "doubt"
    book.apply(sell.report("fill", sold, 101, at=NOW + 20 * SECOND))
    assert [weigh(evidence, book, 17 - sold, after) for after in (30, 60)] == ["doubt", verdict]


def executions(*signed: int | tuple[int, int]) -> list[OrderReport]:
    """One a number: shares bought, or sold with a minus; in a pair the second is what its order still had to do."""
    reports = []
    for number, what in enumerate(signed):
        shares, leaves = what if isinstance(what, tuple) else (what, 0)
        side = "buy" if shares > 0 else "sell"
        order = BrokerOrder(f"o{number}", side, Decimal(abs(shares) + leaves), Decimal(100))
        reports.append(order.report("partial_fill" if leaves else "fill", abs(shares)))
    return reports


@pytest.mark.parametrize(
    ("listed", "recent", "on_offer", "count"),
    [
        (0, [], 0, 0),
        (7, [], 0, 0),
        (10, [10], 0, 1),  # bought just now, and listed
        (0, [10], 0, 0),  # not listed yet
        (3, [10], 0, 0),  # 3 of before
        (13, [10], 0, 1),
        (10, [-10], 0, 0),  # sold just now, not listed yet
        (0, [-10], 0, 1),
        (0, [10, -10], 0, 2),
        (10, [10, -10], 0, 1),
        (0, [6, -10, -13, -2], 0, 4),  # the most of them was bought before
        (4, [5, 5], 0, 0),  # 4 of before
        (5, [5, 5], 0, 1),
        (-5, [], 0, 0),
        (18, [(-4, 22), (-4, 18)], 18, 2),  # the sell that works holds 18, and held 26 before
        (26, [(-4, 22), (-4, 18)], 18, 0),  # not listed yet
        (22, [(-4, 22), (-4, 18)], 18, 1),
        (18, [-4, -4], 18, 2),  # by the listed order alone
        (6, [(-4, 6)], 0, 1),  # by what its order had still to sell then, though it is gone
        (6, [(4, 6)], 0, 1),
        (18, [-4, -4], 0, 0),  # nobody knows: no share is offered twice
    ],
)
def test_how_many_of_newest_executions_first_listing_holds(
    listed: int, recent: list[int | tuple[int, int]], on_offer: int, count: int
) -> None:
    assert held_already(Decimal(listed), executions(*recent), Decimal(on_offer)) == count


def test_what_was_executed_a_minute_before_the_listing_is_in_it() -> None:
    (sold,) = executions(-8)
    for ago, count in ((59, 0), (61, 1)):
        report = msgspec.structs.replace(sold, at=NOW - ago * SECOND)
        assert held_already(Decimal(14), [report], as_of=NOW) == count


def test_both_legs_sold_and_a_cover_bought_leaves_nothing() -> None:
    *sold, bought = executions(-28, -28, 28)
    cover = msgspec.structs.replace(bought, closes=True)
    assert held_already(Decimal(0), [*sold, cover]) == 3
    assert held_already(Decimal(-28), [*sold, cover]) == 2  # the listing is behind
    assert held_already(Decimal(5), [*sold, cover]) == 3
    assert held_already(Decimal("-0.5"), [*sold, cover]) == 3  # of 27.5, half a share more than a cover buys
    assert held_already(Decimal("-28.5"), [*sold, cover]) == 2


def test_an_order_of_unknown_size_has_nothing_known_on_offer() -> None:
    (sold,) = executions((-4, 6))
    assert held_already(Decimal(6), [msgspec.structs.replace(sold, qty=None)]) == 0


@pytest.mark.parametrize(("gaps", "given_up"), [((5, 5, 5), True), ((5, 5), False), ((1, 1, 1, 1, 1), False)])
def test_an_order_absent_look_after_look_is_given_up(gaps: tuple[float, ...], given_up: bool) -> None:
    evidence, at, said = Evidence(), float(NOW), []
    for gap in gaps:
        said.append(evidence.is_absent("o1", False, round(at)))
        at += gap * SECOND
    assert any(said) is given_up


def test_an_order_found_anywhere_is_not_absent() -> None:
    evidence = Evidence()
    looks = [(False, 0), (False, 5), (True, 10), (False, 15), (False, 20), (False, 25)]
    said = [evidence.is_absent("o1", found, NOW + after * SECOND) for found, after in looks]
    assert said == [False] * 5 + [True]
