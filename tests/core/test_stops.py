"""A stop that rests at the broker: the exit as a group of two orders, told in transcripts."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest

from scalp.core.algo import SELL_SUBMITTED, TO_BUY, TO_SELL
from scalp.core.events import Oversold
from scalp.core.exits import Plan
from scalp.core.stops import StopRule
from scalp.core.units import SECOND
from tests.helpers import BrokerOrder, Desk, buying, flat, position

HALF_A_PERCENT = StopRule(Decimal("0.005"))
TRAIL = StopRule(None, Decimal("0.01"))


def holding(rule: StopRule = HALF_A_PERCENT, price: str = "101", **more: object) -> Desk:
    """#1 has bought 19, #2 offers them at 101 with its stop #2s; the broker has answered. It is 09:52:05."""
    desk = buying(**more)
    desk.algo.stop.rule = rule
    [sent] = desk.later(0.5).tells(1, "fill", 0, price)
    assert sent.startswith("sell 19 @ 101.00 stop ")
    assert desk.later(0.1).answers(2) == []
    assert desk.tells(2, "new") == []
    return desk


def test_the_exit_takes_its_stop_along() -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    assert desk.tells(1, "fill") == ["sell 19 @ 101.00 stop 100.49 #2"]  # 100.495, down to a tick
    assert desk.answers(2) == []
    assert (desk.state, desk.algo.order, int(desk.held)) == (SELL_SUBMITTED, desk.algo.ledger.find("id2"), 19)


def test_the_profit_is_taken() -> None:
    desk = holding()
    assert desk.tells(2, "fill") == []
    assert desk.tells("2s", "canceled") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


def test_the_stop_sells() -> None:
    desk = holding()
    assert desk.tells(2, "canceled") == []  # no sell is repeated: its stop is at work
    assert (desk.state, desk.algo.order) == (SELL_SUBMITTED, desk.algo.ledger.find("id2s"))
    assert desk.tells("2s", "new") == []
    assert desk.tells("2s", "fill", 19, "100.4") == []
    assert (desk.state, int(desk.held), desk.algo.ledger.realised) == (TO_BUY, 0, Decimal("-11.4"))


# Whatever is told when: the stop's end and the take-profit's, by the words that brokers were seen to use.
SOLD_BY_STOP = [("2s", "new"), ("2s", "partial_fill"), ("2s", "fill"), (2, "canceled")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("word", ["canceled", "replaced"])
def test_the_stop_sells_told_in_any_order(order: tuple[int, ...], word: str) -> None:
    desk = holding()
    stop, profit = desk.orders["2s"], desk.orders[2]
    told = [
        stop.report("new", at=desk.now),
        stop.report("partial_fill", 9, "100.4", at=desk.now),
        stop.report("fill", 10, "100.4", at=desk.now),
        profit.report(word, at=desk.now),
    ]
    for number in order:
        assert desk.hears(told[number]) == []
    assert (desk.state, int(desk.held), desk.algo.ledger.realised) == (TO_BUY, 0, Decimal("-11.4"))


def test_the_leg_is_told_before_the_answer_says_whose_it_is() -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.tells(1, "fill")
    assert desk.tells("2s", "held") == []
    assert desk.tells(2, "new") == []
    assert desk.checkup() == []  # 19 are on offer, not 38
    assert desk.tells("2s", "fill", 19, "100") == []
    assert desk.tells(2, "canceled") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


def test_the_group_offers_its_shares_once() -> None:
    desk = holding()
    assert desk.tells("2s", "new") == []  # some brokers say that of a leg that waits
    assert desk.tells(2, "partial_fill", 4) == []
    assert desk.later(30).checkup() == []
    assert (desk.state, int(desk.held)) == (SELL_SUBMITTED, 15)
    desk.orders["2s"].qty = Decimal(15)
    assert desk.tells(2, "canceled") == desk.tells("2s", "fill", 15, "100") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


def test_the_passive_leg_whose_end_is_not_told_is_cancelled() -> None:
    desk = holding()
    assert desk.tells(2, "fill") == []
    assert (desk.state, int(desk.held)) == (SELL_SUBMITTED, 0)  # nothing is bought while it may sell
    assert desk.algo.due_at(desk.now) == desk.now + 1_000_000_000
    assert desk.later(1).drive() == ["cancel #2s"]
    assert desk.tells("2s", "canceled") == []
    assert (desk.state, desk.algo.due_at(desk.now)) == (TO_BUY, 0)


def test_the_take_profit_whose_end_is_not_told_is_cancelled() -> None:
    desk = holding()
    assert desk.tells("2s", "fill", 19, "100") == []
    assert desk.state is SELL_SUBMITTED
    assert desk.later(1).drive() == ["cancel #2"]
    assert desk.tells(2, "replaced") == []
    assert desk.state is TO_BUY


def test_group_is_cancelled_whole_and_both_ends_are_waited_for() -> None:
    desk = holding()
    assert desk.algo.close_position(Plan.FLATTEN, "told to", desk.now) != []
    assert desk.tells(2, "canceled") == []  # the stop still holds the shares
    assert desk.tells("2s", "canceled") == ["sell 19 market #3"]


def test_a_leg_that_outlives_the_cancel_is_cancelled_itself() -> None:
    desk = holding()
    assert desk.flatten() == ["cancel #2"]
    assert desk.tells(2, "canceled") == []
    assert desk.later(5).drive() == ["cancel #2s"]
    assert desk.tells("2s", "fill", 19, "100") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


def test_a_halt_takes_the_stop_and_leaves_the_take_profit() -> None:
    desk = holding()
    assert desk.tells("2s", "canceled") == []
    assert (desk.state, desk.algo.order) == (SELL_SUBMITTED, desk.algo.ledger.find("id2"))
    assert desk.prints(100.4) == []
    assert desk.algo.stop.why_close(desk.now) == "stop loss, the last trade is 100.4, the entry was 101.00"


# -- refusals ---------------------------------------------------------------------------------------------------------

REFUSALS = [
    "422 oco orders must be exit orders",
    "422 position intent mismatch, inferred: sell_to_open, specified: sell_to_close",
    '422 stop_loss.stop_price must be <= base_price - 0.01',
    "422 invalid order_class",
]  # fmt: skip


@pytest.mark.parametrize("why", REFUSALS)
def test_refused_the_plain_exit_goes_at_once(why: str) -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.tells(1, "fill")
    assert desk.refuses(2, why) == ["sell 19 @ 101.00 #3"]
    assert desk.later(1).prints(100.5) == [] and not desk.algo.stop.why_close(desk.now)
    assert desk.later(1).prints(100.49) == [] and desk.algo.stop.why_close(desk.now)  # the bot's own, at once


def test_a_group_rejected_later_is_followed_by_the_plain_exit() -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.tells(1, "fill")
    desk.answers(2)
    assert desk.tells("2s", "rejected") == []
    assert desk.tells(2, "rejected") == ["sell 19 @ 101.00 #3"]


@pytest.mark.parametrize(
    "why",
    [
        "403 insufficient qty available for order (requested: 19, available: 0)",
        "the market may be closed",  # says this side, and has sent nothing
    ],
)
def test_what_is_no_matter_of_the_class_leaves_the_stop(why: str) -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.tells(1, "fill")
    assert desk.refuses(2, why) == []
    assert desk.later(0.25).drive() == ["sell 19 @ 101.00 stop 100.49 #3"]


def test_the_next_position_asks_for_a_stop_again() -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.tells(1, "fill")
    desk.refuses(2, "422 invalid order_class")
    desk.tells(3, "fill")
    desk.at("09:53:04").bar(99.0)
    assert desk.at("09:54:04").bar(101.0) == ["buy 19 @ 101.00 #4"]
    assert desk.tells(4, "fill") == ["sell 19 @ 101.00 stop 100.49 #5"]


def test_a_fraction_is_no_position_to_remember_a_refusal_for() -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.lists_position("0.25", 101)
    desk.tells(1, "fill")
    assert desk.refuses(2, "422 invalid order_class") == ["sell 19 @ 101.00 #3"]
    desk.tells(3, "fill")
    desk.at("09:53:04").bar(99.0)
    assert desk.at("09:54:04").bar(101.0) == ["buy 19 @ 101.00 #4"]
    assert desk.tells(4, "fill") == ["sell 19 @ 101.00 stop 100.49 #5"]


def test_a_print_under_the_stop_after_the_fill_sells_at_market() -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    filled = desk.orders[1].report("fill", 19, at=desk.now)
    desk.later(0.2).prints(100.2)
    assert desk.later(0.1).hears(filled) == ["sell 19 market #2"]
    assert desk.algo.exits.plan is Plan.RISK_RULE


def test_given_up_it_goes_again_with_its_stop_under_its_own_id() -> None:
    desk = holding()
    [sent] = desk.algo.on_order_gone("id2", desk.now) if desk.tells("2s", "canceled") == [] else []
    assert desk.words([sent]) == ["sell 19 @ 101.00 stop 100.49 #2"]


# -- the bot behind it ------------------------------------------------------------------------------------------------


def test_the_bot_strikes_where_the_broker_does_not_for_3_s() -> None:
    desk = holding()
    stop = desk.algo.stop
    desk.prints(100.49)
    assert not stop.why_close(desk.now) and stop.due_at == desk.now + 3_000_000_000
    assert not stop.why_close(desk.later(2.9).now)
    assert stop.why_close(desk.later(0.1).now) == "stop loss, the last trade is 100.49, the entry was 101.00"
    assert desk.words(desk.algo.close_position(Plan.RISK_RULE, "stop loss", desk.now)) == ["ask", "cancel #2"]


def test_a_price_that_comes_back_calls_for_nothing() -> None:
    desk = holding()
    desk.prints(100.4)
    assert not desk.algo.stop.why_close(desk.now)
    desk.later(2).prints(100.6)
    assert not desk.algo.stop.why_close(desk.later(10).now) and not desk.algo.stop.due_at


def test_a_stop_that_fills_bit_by_bit_is_given_time() -> None:
    desk = holding()
    desk.prints(100.4)
    assert not desk.algo.stop.why_close(desk.now)
    assert desk.later(2).tells("2s", "partial_fill", 5, "100.4") == []
    assert not desk.algo.stop.why_close(desk.later(2.9).now)
    assert desk.algo.stop.why_close(desk.later(0.1).now)


# -- the trail --------------------------------------------------------------------------------------------------------


def test_the_stop_follows_the_last_trade_up_and_never_down() -> None:
    desk = holding(TRAIL)
    assert desk.orders["2s"].stop_price == Decimal("99.99")
    assert desk.later(1).prints(100.9) == []  # under the entry
    desk.orders[2].limit_price = Decimal(110)
    desk.algo.ledger.find("id2").limit_price = Decimal(110)  # type: ignore[union-attr]
    assert desk.later(1).prints(102.0) == ["move id2s to 100.98"]
    assert desk.later(5).prints(104.0) == []  # one at a time
    moved = desk.orders["2t"] = desk.orders["2s"]
    desk.hears(moved.report("replaced", at=desk.now, replaced_by="id2t"))
    moved.id, moved.status, moved.stop_price, moved.replaces = "id2t", "held", Decimal("100.98"), "id2s"
    assert desk.hears(moved.report()) == ["move id2t to 102.96"]
    assert desk.later(1).prints(103.9) == desk.prints(103.0) == []


def test_what_is_printed_before_the_leg_is_known_moves_it() -> None:
    desk = buying()
    desk.algo.stop.rule = TRAIL
    assert desk.later(0.5).tells(1, "fill") == ["sell 19 @ 101.00 stop 99.99 #2"]
    assert desk.later(6).prints(101.5) == []
    assert desk.answers(2) == ["move id2s to 100.48"]


def test_trail_begins_with_purchase_though_clock_is_far_behind() -> None:
    desk = buying()
    desk.algo.stop.rule = TRAIL
    bought = desk.orders[1].report("fill", 19, at=desk.now + 25 * SECOND)
    assert desk.hears(bought) == ["sell 19 @ 101.00 stop 99.99 #2"]
    assert desk.answers(2) == []
    desk.algo.ledger.find("id2").limit_price = Decimal(110)  # type: ignore[union-attr]
    assert desk.later(2).prints(104.0) == ["move id2s to 102.96"]


def test_stop_that_could_not_be_moved_is_moved_at_next_checkup() -> None:
    desk = holding(TRAIL)
    leg = desk.algo.ledger.find("id2s")
    assert leg is not None
    desk.algo.ledger.find("id2").limit_price = Decimal(110)  # type: ignore[union-attr]
    assert desk.later(1).prints(102.0) == ["move id2s to 100.98"]
    leg.move_sent_at = 0  # too many requests
    assert desk.later(1).prints(104.0) == []
    assert desk.later(20).checkup() == ["move id2s to 102.96"]


def test_nothing_is_moved_once_the_group_filled_or_near_the_end() -> None:
    desk = holding(TRAIL)
    desk.algo.ledger.find("id2").limit_price = Decimal(110)  # type: ignore[union-attr]
    assert desk.at("15:54:00").prints(104.0) == []
    assert desk.at("15:53:59").prints(104.0) == ["move id2s to 102.96"]
    desk = holding(TRAIL)
    desk.algo.ledger.find("id2").limit_price = Decimal(110)  # type: ignore[union-attr]
    assert desk.tells(2, "partial_fill", 1) == []
    assert desk.later(5).prints(104.0) == []


# -- both legs fill ---------------------------------------------------------------------------------------------------


def test_what_both_legs_sold_is_bought_back_once() -> None:
    desk = holding()
    assert desk.tells(2, "fill") == []
    assert desk.tells("2s", "fill", 19, "100") == ["buy 19 market #3 to close"]
    assert (desk.state, int(desk.held)) == (TO_BUY, -19)
    assert desk.later(30).checkup() == []
    assert desk.at("09:54:04").bar(99.0) == desk.at("09:55:04").bar(101.0) == []  # nothing is bought beside it
    assert desk.tells(3, "fill", 19, "100.1") == []
    assert (desk.state, int(desk.held), desk.algo.ledger.realised) == (TO_BUY, 0, Decimal("-1.9"))


def test_stop_nobody_told_of_is_asked_for_before_another_sell() -> None:
    """The answer to the exit has no legs, no update comes; its end alone is told, and then the stop's execution."""
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    assert desk.tells(1, "fill") == ["sell 19 @ 101.00 stop 100.49 #2"]
    assert desk.hears(desk.orders[2].report()) == []
    assert desk.tells(2, "canceled") == []
    assert desk.algo.ledger.question == "what the stop has sold that went with an exit"
    assert desk.later(5).checkup() == []
    assert desk.tells("2s", "fill", 19, "100.4") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


@pytest.mark.parametrize("is_listed", [True, False])
def test_an_exit_without_a_stop_nobody_can_find_is_sent_again(is_listed: bool) -> None:
    desk = buying()
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.tells(1, "fill")
    desk.hears(desk.orders[2].report())
    assert desk.tells(2, "canceled") == []
    assert desk.checkup() == []
    assert desk.algo.due_at(desk.now) == desk.now + SECOND
    if is_listed:
        desk.algo.ledger.confirm(Decimal(101))
    assert desk.later(2 if is_listed else 12).drive() == ["sell 19 @ 101.00 stop 100.49 #3"]


def test_legs_of_own_groups_count_by_a_clock_that_was_ahead() -> None:
    """What was held is dated a minute ahead of all that follows, as the clock was at the start."""
    desk = flat()
    desk.algo.on_position(position(0), desk.now + 60 * SECOND, desk.now)
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.bar(101.0)
    assert desk.tells(1, "fill") == ["sell 19 @ 101.00 stop 100.49 #2"]
    assert desk.tells(2, "fill") == []
    assert desk.tells("2s", "fill", 19, "100") == ["buy 19 market #3 to close"]
    assert int(desk.held) == -19


def test_a_part_sold_twice_is_bought_back() -> None:
    desk = holding()
    assert desk.tells(2, "partial_fill", 10) == []
    assert desk.tells("2s", "fill", 19, "100") == ["cancel #2", "buy 10 market #3 to close"]


def test_what_the_second_leg_sells_is_bought_back_bit_by_bit() -> None:
    desk = holding()
    assert desk.tells(2, "fill") == []
    assert desk.tells("2s", "partial_fill", 4, "100") == ["cancel #2s", "buy 4 market #3 to close"]
    assert desk.tells("2s", "partial_fill", 5, "100") == ["buy 5 market #4 to close"]  # beside what is under way
    assert desk.tells(3, "fill", 4, "100.1") == desk.tells(4, "fill", 5, "100.1") == []
    assert desk.tells("2s", "fill", 10, "100") == ["buy 10 market #5 to close"]
    assert desk.tells(5, "fill", 10, "100.1") == desk.later(30).checkup() == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


def test_a_leg_that_goes_on_selling_is_cancelled_until_known() -> None:
    desk = holding()
    assert desk.tells("2s", "fill", 19, "100") == []
    assert desk.tells(2, "partial_fill", 6) == ["cancel #2", "buy 6 market #3 to close"]
    assert desk.algo.due_at(desk.now) == desk.now + 1_000_000_000
    assert desk.later(4.9).drive() == []
    assert desk.later(0.1).drive() == ["cancel #2"]
    assert desk.tells(2, "canceled") == desk.tells(3, "fill", 6, "100.1") == []
    assert (desk.state, int(desk.held), desk.algo.due_at(desk.now)) == (TO_BUY, 0, 0)


def test_cover_that_market_turns_down_is_tried_again_later() -> None:
    desk = holding()
    desk.tells(2, "fill")
    assert desk.tells("2s", "fill", 19, "100") == ["buy 19 market #3 to close"]
    assert desk.answers(3) == []
    assert desk.tells(3, "partial_fill", 7, "100.1") == []
    assert desk.tells(3, "rejected") == desk.later(1.9).drive() == []
    assert desk.later(0.1).drive() == ["buy 12 market #4 to close"]


def test_a_cover_refused_again_and_again_waits_longer_and_is_said_once() -> None:
    desk = holding()
    said: list[object] = []
    desk.algo.telling.tell = said.append
    desk.tells(2, "fill")
    told, waits = [desk.tells("2s", "fill", 19, "100")], []
    for number in range(3, 9):
        assert desk.refuses(number, "insufficient qty available for order") == []
        waits.append((desk.algo.due_at(desk.now) - desk.now) // SECOND)
        told.append(desk.later(waits[-1]).drive())
    assert waits == [2, 2, 2, 4, 8, 15]
    assert told == [[f"buy 19 market #{number} to close"] for number in range(3, 10)]
    assert [event.qty for event in said if isinstance(event, Oversold)] == [19]


def test_a_leg_that_was_cut_sells_the_rest_and_no_more() -> None:
    desk = holding()
    assert desk.tells(2, "partial_fill", 7) == desk.tells(2, "canceled") == []
    desk.orders["2s"].qty = Decimal(12)  # of 19
    assert desk.tells("2s", "partial_fill", 5, "100") == desk.tells("2s", "fill", 7, "100") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


def test_a_refused_or_lost_cover_is_tried_again() -> None:
    desk = holding()
    desk.tells(2, "fill")
    assert desk.tells("2s", "fill", 19, "100") == ["buy 19 market #3 to close"]
    assert desk.refuses(3, "insufficient buying power") == []
    due = desk.algo.due_at(desk.now)
    assert due > desk.now
    desk.now = due
    assert desk.drive() == ["buy 19 market #4 to close"]
    assert desk.loses(4) == ["buy 19 market #5 to close"]


def test_a_clock_put_back_holds_up_no_cover() -> None:
    desk = holding()
    desk.tells(2, "fill")
    assert desk.tells("2s", "fill", 19, "100") == ["buy 19 market #3 to close"]
    assert desk.refuses(3, "insufficient buying power") == []
    assert desk.later(-400).drive() == ["buy 19 market #4 to close"]


def test_any_other_short_position_is_somebody_elses() -> None:
    desk = holding()
    desk.by_hand("h", "sell", 30, None)
    assert desk.tells("h", "fill", 30, "100") == []
    assert desk.later(30).checkup() == []
    desk = holding()
    desk.tells(2, "fill")
    desk.tells("2s", "canceled")
    desk.by_hand("h", "sell", 5, None)
    assert desk.tells("h", "fill", 5, "100") == desk.later(30).checkup() == []


def test_nothing_is_bought_back_in_the_last_seconds() -> None:
    desk = holding()
    desk.at("15:59:58.5")
    desk.tells(2, "fill")
    assert desk.tells("2s", "fill", 19, "100") == []


# -- a restart --------------------------------------------------------------------------------------------------------


def test_a_restart_finds_the_group_as_one_exit() -> None:
    before = holding()
    desk = buying(run="S")
    desk = Desk(run="S")
    profit, stop = before.orders[2], before.orders["2s"]
    desk.algo.stop.rule = HALF_A_PERCENT
    desk.orders = {2: profit, "2s": stop}
    assert desk.at("10:00").snapshot([profit, stop], 19, "101") == []
    assert (desk.state, desk.algo.order) == (SELL_SUBMITTED, desk.algo.ledger.find("id2"))
    assert desk.checkup() == []
    assert desk.tells(2, "canceled") == desk.tells("2s", "fill", 19, "100.4") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


def test_sold_out_by_hand_shares_left_wait_for_next_event() -> None:
    desk = holding()
    assert desk.tells("2s", "canceled") == desk.tells(2, "canceled") == []
    assert desk.state is TO_SELL
    assert desk.later(30).checkup() == ["sell 19 @ 101.00 stop 100.49 #3"]


def test_shares_after_a_sold_out_group_wait_for_no_checkup() -> None:
    """Bought by hand as the profit was taken: the leg that is left offers none of them."""
    desk = holding()
    assert desk.tells(2, "fill") == []
    by_hand = desk.orders["h"] = BrokerOrder("h", "buy", Decimal(1), None, submitted_at=desk.now)
    assert desk.hears(by_hand.report("fill", 1, "101", at=desk.now)) == []
    assert not desk.algo.exits.is_in_order
    assert desk.algo.due_at(desk.now) == desk.now + SECOND
    assert desk.later(1).drive() == ["cancel #2s"]
    assert desk.tells("2s", "canceled") == ["sell 1 @ 101.00 stop 100.49 #3"]


def test_nor_for_a_cancel_where_the_leg_is_gone_by_itself() -> None:
    desk = holding()
    desk.tells(2, "fill")
    by_hand = desk.orders["h"] = BrokerOrder("h", "buy", Decimal(1), None, submitted_at=desk.now)
    assert desk.hears(by_hand.report("fill", 1, "101", at=desk.now)) == []
    assert desk.tells("2s", "canceled") == ["sell 1 @ 101.00 stop 100.49 #3"]
