"""Stories of one symbol, told as transcripts: what arrives, and what goes out because of it."""

# mypy: disable-error-code="comparison-overlap"
# A Decimal equals an int here, as it does when the tests run.

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from decimal import Decimal

import pytest

from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED, TO_BUY, TO_SELL, State
from scalp.core.commands import SubmitOrder
from scalp.core.fees import ALPACA
from scalp.core.fleet import Fleet
from scalp.core.market_data import Trade
from scalp.core.orders import PositionReport
from scalp.core.units import MINUTE
from tests.helpers import (
    AAPL,
    BOUGHT,
    IN_STATE,
    SOLD,
    BrokerOrder,
    Desk,
    bar,
    buying,
    flat,
    in_sell_submitted,
    in_to_buy,
    in_to_sell,
    trade,
)

# -- a round trip ------------------------------------------------------------------------------------------------------


def test_signal_buy_fill_sell_fill() -> None:
    desk = flat()
    assert (desk.bar(101.0), desk.state) == (["buy 19 @ 101.00 #1"], BUY_SUBMITTED)
    assert desk.tells(1, "new") == []
    assert (desk.tells(1, "fill"), desk.state) == (["sell 19 @ 101.00 #2"], SELL_SUBMITTED)
    assert (desk.tells(2, "fill"), desk.state) == ([], TO_BUY)
    assert (desk.held, desk.algo.ledger.done.round_trips) == (0, 1)


def test_client_order_ids_name_the_symbol_the_run_and_a_number() -> None:
    desk = flat(run="1795188600000")
    (action,) = desk.algo.on_bar(bar(101.0, "09:51"), desk.now)
    assert isinstance(action, SubmitOrder)
    assert action.client_order_id == "scalp-AAPL-1795188600000-1"
    assert (action.type, action.limit_price, action.qty) == ("limit", Decimal("101.00"), 19)


def test_the_fill_may_come_before_the_answer_to_the_post() -> None:
    desk = flat()
    assert desk.bar(101.0) == BOUGHT
    assert desk.tells(1, "fill") == SOLD
    answer = BrokerOrder("id1", "buy", Decimal(19), Decimal(101), desk.orders[1].client_order_id, status="pending_new")
    assert (desk.hears(answer.report()), desk.state) == ([], SELL_SUBMITTED)


def test_a_missed_buy_is_cancelled_until_that_succeeds() -> None:
    desk = buying()
    assert desk.at("09:54:03.9").checkup() == []
    assert desk.at("09:54:04").checkup() == ["cancel #1"]
    assert desk.tells(1, "pending_cancel") == []
    assert desk.tells(1, "order_cancel_rejected") == []
    assert desk.later(30).checkup() == ["cancel #1"]
    assert (desk.tells(1, "canceled"), desk.state) == ([], TO_BUY)
    assert desk.later(30).checkup() == []


def test_a_partly_filled_buy_is_sold_once_it_ends() -> None:
    desk = buying()
    assert (desk.tells(1, "partial_fill", 5), desk.state, desk.held) == ([], BUY_SUBMITTED, 5)
    assert desk.at("09:54:34").checkup() == ["cancel #1"]
    assert desk.tells(1, "partial_fill", 2) == []
    assert desk.tells(1, "canceled") == ["sell 7 @ 101.00 #2"]
    assert desk.state is SELL_SUBMITTED


# -- late, repeated, out of order --------------------------------------------------------------------------------------


def test_updates_repeated_late_and_in_any_order_make_one_sell() -> None:
    desk = buying()
    order = desk.orders[1]
    new, first, last = order.report("new"), order.report("partial_fill", 5), order.report("fill", 14)
    assert desk.hears(last) == SOLD
    for late in (new, first, last, first, new):
        assert (desk.hears(late), desk.state, desk.held) == ([], SELL_SUBMITTED, 19)


# A fill that lost the race against its cancel is still a fill, in every state.


def test_a_fill_after_the_cancel_while_flat_is_sold_at_once() -> None:
    desk = in_to_buy()
    assert (desk.tells(1, "partial_fill", 5), desk.state) == (["sell 5 @ 101.00 #2"], SELL_SUBMITTED)


def test_a_late_fill_is_sold_with_another_buys_shares() -> None:
    desk = in_to_buy().at("09:54:04")
    assert desk.bar(101.0) == ["buy 19 @ 101.00 #2"]
    # The buy is in the way of their exit: cancelled first, then all is sold.
    assert (desk.tells(1, "partial_fill", 5), desk.state, desk.held) == (["cancel #2"], BUY_SUBMITTED, 5)
    assert (desk.tells(2, "canceled"), desk.state) == (["sell 5 @ 101.00 #3"], SELL_SUBMITTED)


def test_a_late_fill_while_a_sell_works_has_all_sold() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    assert desk.tells(1, "canceled") == ["sell 5 @ 101.00 #2"]
    assert (desk.tells(1, "partial_fill", 14), desk.state) == (["cancel #2"], SELL_SUBMITTED)
    assert desk.later(1).checkup() == []  # not again while that is under way
    assert (desk.tells(2, "canceled"), desk.state) == (["sell 19 @ 101.00 #3"], SELL_SUBMITTED)


def test_sell_filled_before_its_cancel_leaves_rest_to_sell() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    desk.tells(1, "canceled")
    assert desk.tells(1, "partial_fill", 14) == ["cancel #2"]
    assert (desk.tells(2, "fill"), desk.state) == (["sell 14 @ 101.00 #3"], SELL_SUBMITTED)


def test_a_fill_after_the_cancel_while_shares_wait_to_be_sold() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    desk.tells(1, "canceled")
    desk.tells(2, "canceled")
    assert desk.state is TO_SELL
    assert (desk.tells(1, "partial_fill", 14), desk.state) == (["sell 19 @ 101.00 #3"], SELL_SUBMITTED)


def test_a_fill_of_a_cancelled_sell_is_believed_in_every_state() -> None:
    desk = in_to_sell()
    assert (desk.tells(2, "fill"), desk.state, desk.held) == ([], TO_BUY, 0)
    desk = in_to_sell()
    assert desk.checkup() == ["sell 19 @ 101.00 #3"]
    assert desk.tells(2, "partial_fill", 4) == ["cancel #3"]  # 15 held, 19 on offer
    assert desk.tells(3, "canceled") == ["sell 15 @ 101.00 #4"]


def test_a_cancel_of_ours_is_forgotten_with_its_order() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    desk.tells(1, "canceled")
    assert desk.tells(1, "partial_fill", 14) == ["cancel #2"]
    assert desk.refuses(2) == []  # that sell never came to be
    assert desk.later(30).checkup() == ["sell 19 @ 101.00 #3"]
    desk.tells(3, "new")
    assert (desk.tells(3, "canceled"), desk.state) == ([], TO_SELL)  # by hand: waits for the next event


# -- refusals and lost orders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "waits"),
    [
        # Just after the fill, and what tells of shares the broker does not see yet, may pass soon.
        ("403 insufficient buying power", (0.25, 0.5, 1, 2, 4, 8, 30, 60, 120, 240, 480, 960, 960)),
        ("422 position intent mismatch, inferred: sell_to_open", (0.25, 0.5, 1, 2, 4, 8, 30, 60)),
        ("422 asset AAPL is not tradable", (30, 60, 120, 240)),
    ],
)
def test_a_refused_sell_waits_longer_each_time(why: str, waits: Sequence[float]) -> None:
    desk = buying()
    assert desk.at("10:00").tells(1, "fill") == SOLD
    number = 2
    for wait in waits:
        assert (desk.refuses(number, why), desk.state) == ([], TO_SELL)
        assert desk.later(wait / 2).bar(99.0) == []
        assert desk.later(wait / 2 - 0.1).checkup() == []
        assert desk.lists_position(19, "101") == []
        number += 1
        assert desk.later(0.1).checkup() == [f"sell 19 @ 101.00 #{number}"]


def test_a_sell_that_is_rejected_after_it_was_taken_waits_too() -> None:
    desk = in_sell_submitted()
    assert (desk.tells(2, "rejected"), desk.state) == ([], TO_SELL)
    assert desk.later(29).checkup() == []
    assert desk.later(1).bar(99.0) == ["sell 19 @ 101.00 #3"]


def test_a_sell_that_works_again_ends_the_waiting() -> None:
    desk = in_sell_submitted()
    for number, wait in ((2, 30), (3, 60)):
        desk.tells(number, "rejected")
        desk.later(wait).checkup()
    desk.tells(4, "partial_fill", 3)
    desk.tells(4, "rejected")
    assert desk.later(30).checkup() == ["sell 16 @ 101.00 #5"]


def test_once_flat_old_refusals_hold_nothing_back() -> None:
    desk = in_sell_submitted()
    for number, wait in ((2, 30), (3, 60)):
        desk.tells(number, "rejected")
        desk.later(wait).checkup()
    desk.tells(4, "rejected")  # 120 s to wait; meanwhile somebody sells them by hand, and buys others
    assert (desk.lists_position(0), desk.state) == ([], TO_BUY)
    desk.by_hand("mine", "buy", 7, "102.00")
    assert desk.later(1).tells("mine", "fill") == ["sell 7 @ 102.00 #5"]


def test_a_refused_buy_is_over() -> None:
    desk = flat()
    assert desk.bar(101.0) == BOUGHT
    assert (desk.refuses(1), desk.state) == ([], TO_BUY)


def test_a_refused_second_try_does_not_end_a_known_order() -> None:
    desk = in_sell_submitted()
    assert (desk.refuses(2, "403 insufficient qty available"), desk.state) == ([], SELL_SUBMITTED)
    assert desk.later(60).checkup() == []


def test_a_refusal_long_after_the_fill_waits_30_seconds() -> None:
    desk = in_to_sell()
    assert desk.at("10:10").checkup() == ["sell 19 @ 101.00 #3"]
    assert desk.refuses(3, "403 insufficient buying power") == []
    assert desk.later(29.9).checkup() == []
    assert desk.later(0.1).checkup() == ["sell 19 @ 101.00 #4"]


def test_a_lost_buy_is_dropped_and_a_lost_sell_offered_anew() -> None:
    desk = flat()
    assert desk.bar(101.0) == BOUGHT
    assert (desk.loses(1), desk.state) == ([], TO_BUY)
    desk = buying()
    assert desk.tells(1, "fill") == SOLD
    assert (desk.loses(2), desk.state) == (["sell 19 @ 101.00 #3"], SELL_SUBMITTED)


def test_lost_sell_of_too_few_shares_is_replaced_by_one_of_all() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    assert desk.tells(1, "canceled") == ["sell 5 @ 101.00 #2"]
    desk.tells(1, "partial_fill", 14)
    assert (desk.loses(2), desk.state) == (["sell 19 @ 101.00 #3"], SELL_SUBMITTED)


def test_lost_limit_sell_is_market_sell_once_close_is_near() -> None:
    desk = buying()
    assert desk.at("15:54:58").tells(1, "fill") == SOLD
    assert desk.at("15:55:03").loses(2) == ["sell 19 market #3"]
    assert desk.at("15:55:08").loses(3) == ["sell 19 market #4"]
    assert (desk.at("15:59:58").loses(4), desk.state) == ([], TO_SELL)  # nothing is sent in the last 2 seconds


def test_a_sell_thought_lost_that_turns_up_is_found_again() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    desk.tells(1, "canceled")
    desk.tells(1, "partial_fill", 14)
    assert desk.loses(2) == ["sell 19 @ 101.00 #3"]
    assert desk.tells(2, "new") == ["cancel #3"]  # 24 on offer, 19 held
    assert desk.tells(2, "fill") == []
    assert desk.tells(3, "canceled") == ["sell 14 @ 101.00 #4"]


# -- restart in every state --------------------------------------------------------------------------------------------


def started() -> Desk:
    return Desk(run="S", starts="12:00")


def test_restart_flat() -> None:
    desk = started()
    assert (desk.snapshot([]), desk.state) == ([], TO_BUY)


def test_restart_while_buying() -> None:
    desk = started()
    order = desk.by_hand("b", "buy", 19, "101.00", at="11:59")
    assert (desk.snapshot([order]), desk.state) == ([], BUY_SUBMITTED)
    assert desk.at("12:01").checkup() == ["cancel #b"]
    assert (desk.tells("b", "canceled"), desk.state) == ([], TO_BUY)


def test_restart_while_buying_with_some_bought() -> None:
    desk = started()
    order = desk.by_hand("b", "buy", 19, "101.00", at="11:59")
    order.report("partial_fill", 5)
    assert (desk.snapshot([order], 5, "101"), desk.state) == ([], BUY_SUBMITTED)
    assert desk.tells("b", "partial_fill", 4) == []
    assert desk.at("12:01").checkup() == ["cancel #b"]
    assert (desk.tells("b", "canceled"), desk.held) == (["sell 9 @ 101.00 #1"], 9)


def test_restart_holding_shares_offers_them_at_once() -> None:
    desk = started()
    desk.warm([100.0])
    assert (desk.snapshot([], 19, "101.005"), desk.state) == (["sell 19 @ 101.01 #1"], SELL_SUBMITTED)


def test_restart_holding_shares_beside_an_unrelated_buy() -> None:
    desk = started()
    order = desk.by_hand("b", "buy", 5, "90.00", at="11:59")
    assert (desk.snapshot([order], 19, "101"), desk.state) == (["sell 19 @ 101.00 #1"], SELL_SUBMITTED)
    assert (desk.tells(1, "fill"), desk.state) == ([], BUY_SUBMITTED)  # the buy is followed after that


def test_restart_while_selling() -> None:
    desk = started()
    order = desk.by_hand("s", "sell", 19, "101.00")
    order.report("partial_fill", 4)
    assert (desk.snapshot([order], 15, "101"), desk.state) == ([], SELL_SUBMITTED)
    assert desk.later(600).checkup() == []  # a sell is left working
    assert (desk.tells("s", "fill"), desk.state, desk.held) == ([], TO_BUY, 0)


def test_restart_with_more_held_than_on_offer() -> None:
    desk = started()
    order = desk.by_hand("s", "sell", 10, "101.00")
    assert desk.snapshot([order], 19, "101") == ["cancel #s"]
    assert desk.tells("s", "canceled") == ["sell 19 @ 101.00 #1"]


def test_an_old_buy_that_fills_in_part_is_cancelled_at_once() -> None:
    """It worked beside a short position, where it was nobody's here."""
    desk = flat()
    desk.lists_position(-2, 100)
    desk.by_hand("mine", "buy", 14, "101.00", at="09:53")
    assert desk.at("09:53:01").tells("mine", "new") == desk.at("09:56").checkup() == []
    assert desk.tells("mine", "partial_fill", 7) == ["cancel #mine"]
    assert int(desk.held) == 5


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_shares_bought_by_hand_are_sold() -> None:
    desk = flat()
    desk.by_hand("mine", "buy", 30, "102.00")
    assert desk.tells("mine", "new") == []
    assert desk.state is BUY_SUBMITTED  # followed: no buy of the bot's beside it
    assert desk.bar(101.0) == []
    assert desk.tells("mine", "fill") == ["sell 30 @ 102.00 #1"]


def test_the_oldest_sell_is_followed_and_nothing_is_bought() -> None:
    desk = started()
    buy = desk.by_hand("b", "buy", 5, "90.00", at="11:58:30")
    second = desk.by_hand("s2", "sell", 9, "103.00", at="11:57")
    first = desk.by_hand("s1", "sell", 10, "102.00", at="11:56")
    assert (desk.snapshot([buy, second, first], 19, "101"), desk.state) == ([], SELL_SUBMITTED)
    assert desk.algo.order is not None and desk.algo.order.id == "s1"
    assert (desk.tells("s1", "fill"), desk.state) == ([], SELL_SUBMITTED)
    assert (desk.tells("s2", "fill"), desk.state) == ([], BUY_SUBMITTED)
    assert desk.at("12:00:29").checkup() == []
    assert desk.at("12:00:30").checkup() == ["cancel #b"]


def test_everything_open_is_cancelled_for_liquidation() -> None:
    desk = started()
    orders = [
        desk.by_hand("s1", "sell", 10, "102.00"),
        desk.by_hand("s2", "sell", 9, "103.00"),
        desk.by_hand("b", "buy", 5, "90.00"),
    ]
    desk.snapshot(orders, 19, "101")
    assert sorted(desk.at("15:55").checkup()) == ["cancel #b", "cancel #s1", "cancel #s2"]
    assert desk.tells("s1", "canceled") == []
    assert desk.tells("b", "canceled") == []
    assert desk.tells("s2", "canceled") == ["sell 19 market #1"]


@pytest.mark.parametrize("replacement_first", [False, True])
def test_an_edited_order_is_followed(replacement_first: bool) -> None:
    desk = in_sell_submitted()
    old = desk.orders[2].report("replaced", replaced_by="new")
    desk.orders["new"] = BrokerOrder("new", "sell", Decimal(19), Decimal(105), "edited")
    new = desk.orders["new"].report("new")
    for report in (new, old) if replacement_first else (old, new):
        desk.hears(report)
    assert desk.algo.order is not None and desk.algo.order.id == "new"
    assert desk.state is SELL_SUBMITTED
    assert (desk.tells("new", "fill"), desk.state) == ([], TO_BUY)


def test_an_edited_buy_still_ends_after_2_minutes() -> None:
    desk = buying()
    desk.hears(desk.orders[1].report("replaced", replaced_by="new"))
    desk.orders["new"] = BrokerOrder("new", "buy", Decimal(19), Decimal(102))
    assert (desk.tells("new", "new"), desk.state) == ([], BUY_SUBMITTED)
    assert desk.at("09:54:04").checkup() == ["cancel #new"]


def test_what_edited_buy_had_bought_before_is_sold_with_rest() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    desk.hears(desk.orders[1].report("replaced", replaced_by="new"))
    desk.orders["new"] = BrokerOrder("new", "buy", Decimal(14), Decimal(102))
    assert desk.tells("new", "partial_fill", 2) == []
    assert (desk.tells("new", "canceled"), desk.state) == (["sell 7 @ 101.29 #2"], SELL_SUBMITTED)


@pytest.mark.parametrize(("told", "price"), [("104.5", "104.50"), ("99", "101.00"), (None, "101.00")])
def test_listing_tells_last_trade_until_somebody_else_does(told: str | None, price: str) -> None:
    def listed(desk: Desk) -> list[str]:
        report = PositionReport(AAPL, Decimal(5), Decimal(101), None if told is None else Decimal(told))
        return desk.words(desk.algo.on_snapshot([], report, desk.now, desk.now))

    assert listed(Desk()) == [f"sell 5 @ {price} #1"]
    desk = Desk(starts="09:31:04")
    desk.bar(102.0)
    assert listed(desk) == ["sell 5 @ 102.00 #1"]


@pytest.mark.parametrize("replacement_first", [False, True])
def test_an_edited_buy_that_had_bought_goes_on(replacement_first: bool) -> None:
    """Its shares are not from elsewhere: they wait for the rest of their buy, as ever."""
    desk = buying()
    desk.tells(1, "partial_fill", 6)
    old = desk.orders[1].report("replaced", replaced_by="new")
    desk.orders["new"] = BrokerOrder("new", "buy", Decimal(13), Decimal("101.50"), "edited", submitted_at=desk.now)
    new = desk.orders["new"].report("new")
    for report in (new, old) if replacement_first else (old, new):
        assert desk.hears(report) == []
    assert desk.at("09:53:04").bar(101.0) == []
    assert desk.checkup() == []
    assert (desk.tells("new", "fill"), desk.state) == (["sell 19 @ 101.35 #2"], SELL_SUBMITTED)


def test_an_exit_of_two_legs_made_by_hand_is_left_as_it_is() -> None:
    """Of a bracket or an OCO one leg works and the other is held: they offer the same shares."""
    desk = Desk()
    stop, limit = desk.by_hand("a-stop", "sell", 5, "90"), desk.by_hand("b-limit", "sell", 5, "110")
    stop.status = "held"
    assert desk.snapshot([stop, limit], 5, "100") == []
    assert desk.algo.order is not None and desk.algo.order.id == "b-limit"
    assert desk.later(60).checkup() == []
    assert desk.state is SELL_SUBMITTED


def test_a_bracket_made_by_hand_is_followed_by_its_buy() -> None:
    desk = Desk()
    leg, buy = desk.by_hand("a-leg", "sell", 5, "110"), desk.by_hand("b-buy", "buy", 5, "99")
    leg.status = "held"
    assert (desk.snapshot([leg, buy]), desk.state) == ([], BUY_SUBMITTED)
    assert desk.later(60).checkup() == []
    assert desk.later(120).checkup() == ["cancel #b-buy"]


def test_gone_flat_by_hand_is_said(caplog: pytest.LogCaptureFixture) -> None:
    desk = in_to_sell()
    assert (desk.lists_position(0), desk.state) == ([], TO_BUY)
    assert "position is 0" in caplog.text and "sold elsewhere" in caplog.text


def test_gone_flat_by_hand_while_a_sell_works() -> None:
    desk = in_sell_submitted()
    assert (desk.lists_position(0), desk.state) == (["cancel #2"], SELL_SUBMITTED)
    assert (desk.tells(2, "canceled"), desk.state) == ([], TO_BUY)


def test_hands_off_a_short_position(caplog: pytest.LogCaptureFixture) -> None:
    desk = flat()
    cover = desk.by_hand("cover", "buy", 5, "90.00")
    assert desk.snapshot([cover], -5, "110") == []
    assert desk.bar(101.0) == []
    assert desk.at("10:30").checkup() == []  # nor is the buy that covers it cancelled, ever
    assert desk.at("15:55").checkup() == []
    assert desk.words(desk.algo.working_buys.cancel(desk.now)) == []
    assert caplog.text.count("hands off") == 1


@pytest.mark.parametrize("asks", [False, True])
def test_no_buy_beside_a_short_position(asks: bool) -> None:
    desk = flat()
    desk.algo.asks_last_trade = asks
    assert desk.lists_position(-5, "110") == []
    assert desk.bar(101.0) == []
    assert desk.words(desk.algo.on_last_trade(trade(101.0, desk.now), desk.now)) == []
    assert desk.state is TO_BUY


# -- what is said ------------------------------------------------------------------------------------------------------


def test_every_transition_is_one_line_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="scalp.AAPL"):
        desk = flat()
        desk.bar(101.0)
        desk.tells(1, "fill")
        desk.tells(2, "canceled")
    lines = [record.message for record in caplog.records if " -> " in record.message]
    assert lines == [
        "TO_BUY -> BUY_SUBMITTED: buy 19 limit 101.00",
        "BUY_SUBMITTED -> TO_SELL: buy filled",
        "TO_SELL -> SELL_SUBMITTED: sell 19 limit 101.00",
        "SELL_SUBMITTED -> TO_SELL: sell canceled",
    ]
    assert {record.name for record in caplog.records} == {"scalp.AAPL"}


@pytest.mark.parametrize("state", list(State))
def test_the_same_events_give_the_same_actions(state: State) -> None:
    def play() -> list[str]:
        desk = IN_STATE[state]()
        said: list[str] = []
        for seconds in range(0, 600, 20):
            start = desk.now // MINUTE * MINUTE - MINUTE
            said += desk.words(desk.algo.on_bar(bar(98.0 + seconds % 7, start), desk.now))
            said += desk.later(20).checkup()
        return said

    assert play() == play()


def test_a_buy_given_up_as_lost_that_turns_up_is_cancelled() -> None:
    desk = flat()
    assert desk.bar(101.0) == ["buy 19 @ 101.00 #1"]
    assert (desk.loses(1), desk.state) == ([], TO_BUY)
    assert desk.at("09:54:04").bar(99.0) + desk.at("09:55:04").bar(101.0) == ["buy 19 @ 101.00 #2"]
    assert (desk.tells(1, "new"), desk.state) == (["cancel #1"], BUY_SUBMITTED)


# -- what holds a sell back, and what does not -------------------------------------------------------------------------


def test_a_sell_refused_for_a_buy_goes_when_that_buy_ends() -> None:
    desk = in_to_sell().at("10:10")
    desk.by_hand("mine", "buy", 5, "90.00")
    desk.tells("mine", "new")
    assert desk.checkup() == ["sell 19 @ 101.00 #3"]
    for number, wait in ((3, 0.25), (4, 0.5), (5, 1), (6, 2), (7, 4)):
        desk.refuses(number, "403 potential wash trade detected")
        assert desk.later(wait).checkup() == [f"sell 19 @ 101.00 #{number + 1}"]
    desk.refuses(8, "403 potential wash trade detected")  # 8 s to wait
    assert desk.later(1).checkup() == []
    assert (desk.tells("mine", "canceled"), desk.state) == (["sell 19 @ 101.00 #9"], SELL_SUBMITTED)


def test_once_flat_the_next_refusal_is_a_first_one() -> None:
    desk = in_sell_submitted()
    for number, wait in ((2, 30), (3, 60)):
        desk.tells(number, "rejected")
        desk.later(wait).checkup()
    desk.tells(4, "rejected")
    assert (desk.lists_position(0), desk.state) == ([], TO_BUY)
    assert desk.later(60).lists_position(7, "102") == ["sell 7 @ 102.00 #5"]
    desk.tells(5, "rejected")
    assert desk.later(30).checkup() == ["sell 7 @ 102.00 #6"]


def test_that_a_sell_was_taken_does_not_end_the_waiting() -> None:
    desk = in_sell_submitted()
    desk.tells(2, "rejected")
    assert desk.later(30).checkup() == ["sell 19 @ 101.00 #3"]
    desk.tells(3, "new")
    desk.tells(3, "rejected")
    assert desk.later(59).checkup() == []
    assert desk.later(1).checkup() == ["sell 19 @ 101.00 #4"]


def test_the_end_of_another_sell_holds_nothing_back() -> None:
    desk = started()
    first, second = desk.by_hand("s1", "sell", 10, "102.00"), desk.by_hand("s2", "sell", 9, "103.00", at="09:32")
    assert desk.snapshot([first, second], 19, "101") == []
    assert desk.tells("s2", "rejected") == ["cancel #s1"]  # 9 are not on offer any more
    assert desk.tells("s1", "canceled") == ["sell 19 @ 101.00 #1"]


def test_a_filling_buy_does_not_come_before_the_shares() -> None:
    """At a restart it does; here the shares are of the buy that just ended."""
    desk = buying()
    desk.by_hand("mine", "buy", 9, "90.00")
    desk.tells("mine", "partial_fill", 1, "90.00")
    assert (desk.tells(1, "canceled"), desk.held) == (["sell 1 @ 101.00 #2"], 1)
    assert desk.state is SELL_SUBMITTED


def test_foreign_shares_are_offered_when_the_buy_is_refused() -> None:
    desk = flat()
    assert desk.bar(101.0) == BOUGHT
    assert desk.lists_position(5, "101") == ["cancel #1"]
    assert (desk.refuses(1), desk.state) == (["sell 5 @ 101.00 #2"], SELL_SUBMITTED)


def test_without_a_calendar_holdings_are_offered_not_liquidated() -> None:
    desk = Desk(session=None)
    assert desk.snapshot([], 5, "100") == ["sell 5 @ 100.00 #1"]
    desk = Desk(session=None)
    assert desk.flatten() == []
    assert desk.snapshot([], 5, "100") == []


def test_only_an_own_sell_goes_again_where_no_other_works() -> None:
    desk = started()
    order = desk.by_hand("s", "sell", 19, "101.00")
    assert (desk.snapshot([order], 19, "101"), desk.state) == ([], SELL_SUBMITTED)
    assert (desk.words(desk.algo.on_order_gone("s", desk.now)), desk.state) == ([], TO_SELL)
    desk = in_sell_submitted()
    desk.by_hand("other", "sell", 19, "105.00")
    desk.tells("other", "new")
    assert (desk.words(desk.algo.on_order_gone("id2", desk.now)), desk.state) == ([], SELL_SUBMITTED)
    desk = buying()
    desk.tells(1, "new")
    assert (desk.words(desk.algo.on_order_gone("id1", desk.now)), desk.state) == ([], TO_BUY)


def test_an_exit_that_is_stuck_near_the_close_is_left_alone() -> None:
    desk = in_to_sell()
    assert desk.at("15:59:25").flatten() == ["sell 19 market #3"]
    desk.tells(3, "new")
    desk.algo.on_trade(trade(100.0, "15:59:39"))
    assert desk.at("15:59:40").checkup() == []
    desk = in_to_sell()
    assert desk.at("15:58:25").flatten() == ["sell 19 market #3"]
    desk.tells(3, "new")
    desk.algo.on_trade(trade(100.0, "15:58:39"))
    assert desk.at("15:58:40").checkup() == ["ask"]  # for the order, by its id
    assert desk.at("15:58:41").checkup() == ["cancel #3"]


def test_one_single_share_that_fills_late_is_sold_at_once() -> None:
    assert in_to_buy().tells(1, "partial_fill", 1) == ["sell 1 @ 101.00 #2"]


def test_a_market_exit_filling_bit_by_bit_is_waited_for() -> None:
    desk = in_to_sell().at("10:00")
    assert desk.flatten() == ["sell 19 market #3"]
    assert desk.tells(3, "new") == []
    assert desk.later(8).tells(3, "partial_fill", 4, "100") == []
    desk.algo.on_trade(trade(100.0, "10:00:30"))
    assert desk.at("10:00:28").checkup() == ["ask"]
    assert desk.at("10:00:47.9").checkup() == []
    assert desk.at("10:00:48").checkup() == ["cancel #3"]


def test_no_sell_goes_under_the_id_of_a_buy_that_is_gone() -> None:
    desk = buying()
    assert desk.lists_position(19, "101") == ["cancel #1"]
    assert (desk.words(desk.algo.on_order_gone("id1", desk.now)), desk.state) == ([], TO_SELL)
    assert desk.later(30).checkup() == ["sell 19 @ 101.00 #2"]


def test_what_is_said_of_an_order_nobody_knows_changes_nothing() -> None:
    desk = in_sell_submitted()
    assert desk.algo.on_submit_rejected("nobody's", "no", desk.now) == []
    assert desk.algo.on_submit_lost("nobody's", desk.now) == []
    assert desk.state is SELL_SUBMITTED


def test_on_way_out_buy_is_cancelled_again_after_5_seconds() -> None:
    desk = buying()
    said = [desk.later(wait).words(desk.algo.working_buys.cancel(desk.now)) for wait in (0, 4.9, 0.1)]
    assert said == [["cancel #1"], [], ["cancel #1"]]


def test_unexplained_shares_are_offered_when_the_sell_has_ended() -> None:
    desk = in_sell_submitted()
    listed = PositionReport(AAPL, Decimal(21), Decimal(101))
    assert desk.words(desk.algo.on_surplus(listed, desk.now, desk.now)) == []
    assert (desk.held, desk.later(30).checkup()) == (21, [])
    assert desk.tells(2, "fill") == ["sell 2 @ 101.00 #3"]


@pytest.mark.parametrize(
    ("why", "refutable"),
    [("403 insufficient qty available for order (requested: 19, available: 0)", 19), ("422 not tradable", 0)],
)
def test_a_refusal_for_lack_of_shares_makes_a_position_a_claim(why: str, refutable: int) -> None:
    desk = started()
    assert desk.snapshot([], 19, "101") == ["sell 19 @ 101.00 #1"]
    assert desk.refuses(1, why) == []
    assert desk.algo.ledger.refutable == refutable
    desk.later(60).checkup()
    desk.tells(2, "new")
    assert desk.algo.ledger.refutable == 0  # the broker took one


def test_restart_holding_shares_beside_an_older_unrelated_buy() -> None:
    """One order at work, never two: the buy goes first."""
    desk = started()
    order = desk.by_hand("b", "buy", 5, "90.00", at="11:59")
    order.client_order_id = "scalp-AAPL-Q-1"
    assert (desk.snapshot([order], 19, "101"), desk.state) == (["cancel #b"], BUY_SUBMITTED)
    assert (desk.tells("b", "canceled"), desk.state) == (["sell 19 @ 101.00 #1"], SELL_SUBMITTED)


def test_a_lost_buy_that_turns_up_ended_needs_no_cancel() -> None:
    desk = flat()
    assert desk.bar(101.0) == BOUGHT
    assert desk.loses(1) == []
    assert (desk.tells(1, "canceled"), desk.state) == ([], TO_BUY)


@pytest.mark.parametrize("is_near_the_close", [False, True])
def test_where_the_broker_has_fewer_shares_those_are_sold(is_near_the_close: bool) -> None:
    """It says so four times: fewer are offered, with one order that is left alone, and the rest is tried later."""
    desk = in_to_sell()
    why = "403 insufficient qty available for order (requested: 19, available: 12)"
    if is_near_the_close:
        desk.at("15:55:01")
    terms = "market" if is_near_the_close else "@ 101.00"
    assert desk.checkup() == [f"sell 19 {terms} #3"]
    for number, wait in ((3, 0.25), (4, 0.5), (5, 1.0)):
        assert desk.refuses(number, why) == []
        assert desk.later(wait).drive() == [f"sell 19 {terms} #{number + 1}"]
    assert desk.refuses(6, why) == [f"sell 12 {terms} #7"]
    assert desk.tells(7, "new") == desk.later(1).checkup() == []
    assert (desk.tells(7, "partial_fill", 5), desk.later(1).checkup()) == ([], [])  # 7 of 14 are on offer
    assert desk.tells(7, "fill") == [f"sell 7 {terms} #8"]  # who knows: what was missing may have come


def test_once_a_listing_has_all_shares_all_are_offered_again() -> None:
    desk = in_to_sell()
    assert desk.checkup() == ["sell 19 @ 101.00 #3"]
    for number, wait in ((3, 0.25), (4, 0.5), (5, 1.0), (6, 0)):
        desk.refuses(number, "403 insufficient qty available for order (requested: 19, available: 12)")
        desk.later(wait).drive()
    assert desk.tells(7, "new") == []
    desk.algo.exits.on_listed_whole(desk.later(29.9).now)
    assert desk.drive() == []  # it may have been older than the refusal
    desk.algo.exits.on_listed_whole(desk.later(0.1).now)
    assert desk.drive() == ["cancel #7"]
    assert desk.tells(7, "canceled") == ["sell 19 @ 101.00 #8"]


@pytest.mark.parametrize(("key", "steps"), [("scalp-AAPL-1-7", [["ask"], ["cancel #out"]]), ("by-hand", [[], []])])
def test_an_older_unfilled_market_exit_gives_way_to_an_offer(key: str, steps: list[list[str]]) -> None:
    desk = Desk(starts="10:00:00")
    desk.orders["out"] = BrokerOrder("out", "sell", Decimal(7), None, key, "market", submitted_at=desk.now - 10**9)
    assert desk.snapshot([desk.orders["out"]], 7, 100) == []
    desk.algo.on_trade(trade(100.5, "10:00:09"))
    assert [desk.at("10:00:10").checkup(), desk.at("10:00:40").checkup()] == steps
    if steps[1]:
        assert desk.tells("out", "canceled") == ["sell 7 @ 100.50 #1"]


def test_old_buy_that_is_found_with_shares_is_cancelled_at_once() -> None:
    desk = Desk(starts="10:00:00")
    desk.by_hand("mine", "buy", 30, "102.00", at="09:57:59")
    assert desk.tells("mine", "partial_fill", 7) == ["cancel #mine"]
    assert desk.tells("mine", "canceled") == ["sell 7 @ 102.00 #1"]


def test_a_foreign_market_sell_cancelled_is_no_refusal() -> None:
    desk = in_to_sell()
    desk.by_hand("mine", "sell", 19, None)
    desk.tells("mine", "new")
    assert desk.tells("mine", "canceled") == []
    assert desk.later(1).bar(99.0) == ["sell 19 @ 101.00 #3"]


def test_a_net_exit_pays_for_the_fees_of_both_sides() -> None:
    """The seed's rule unless asked for: the entry, or the last trade where that is higher."""
    for net_exit, price in ((False, "101.00"), (True, "101.01")):
        desk = IN_STATE[BUY_SUBMITTED]()
        Fleet([desk.algo], lambda: 0, lambda action: None).charge(ALPACA.on(dt.date(2026, 11, 20)), net_exit)
        desk.algo.on_trade(Trade("AAPL", desk.now, 100.0))
        assert desk.tells(1, "fill") == [f"sell 19 @ {price} #2"]
