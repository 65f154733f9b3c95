"""From five minutes before the close on: cancel, sell at market, and be quiet at the end."""

# mypy: disable-error-code="comparison-overlap"
# A Decimal equals an int here, as it does when the tests run.

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scalp.core.algo import SELL_SUBMITTED, TO_BUY, TO_SELL
from tests.helpers import HALF_DAY, SESSION, SOLD, Desk, buying, flat, in_sell_submitted, in_to_sell


def test_liquidation_cancels_waits_for_it_and_sells_at_market() -> None:
    desk = in_sell_submitted()
    assert desk.at("15:54:59.999").checkup() == []
    assert desk.at("15:55").checkup() == ["cancel #2"]
    assert desk.later(1).checkup() == []
    assert desk.later(4).checkup() == ["cancel #2"]  # no word of it for 5 s
    assert desk.tells(2, "partial_fill", 4) == []
    assert desk.tells(2, "canceled") == ["sell 15 market #3"]
    assert desk.later(30).checkup() == []
    assert (desk.tells(3, "fill"), desk.state) == ([], TO_BUY)
    assert desk.bar(101.0) == []


def test_liquidation_of_a_working_buy() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    assert desk.at("15:55").checkup() == ["cancel #1"]
    assert desk.tells(1, "canceled") == ["sell 5 market #2"]


def test_liquidation_of_shares_without_an_order() -> None:
    desk = in_to_sell()
    assert (desk.at("15:55").checkup(), desk.state) == (["sell 19 market #3"], SELL_SUBMITTED)


def test_only_an_own_market_sell_of_everything_is_left_alone() -> None:
    desk = Desk(starts="15:55")
    by_hand = desk.by_hand("mine", "sell", 19, None, at="15:54")
    assert desk.snapshot([by_hand], 19, "101") == ["cancel #mine"]
    assert desk.tells("mine", "canceled") == ["sell 19 market #1"]
    assert desk.later(10).checkup() == []
    assert desk.tells(1, "partial_fill", 4) == []
    assert desk.lists_position(10, "101") == ["cancel #1"]  # 5 of the others were sold elsewhere
    assert desk.tells(1, "canceled") == ["sell 10 market #2"]


def test_the_market_sell_of_an_earlier_run_is_left_alone() -> None:
    desk = Desk(starts="15:56")
    exit_ = desk.by_hand("exit", "sell", 19, None, at="15:55")
    exit_.client_order_id = "scalp-AAPL-E-2"
    assert desk.snapshot([exit_], 19, "101") == []
    assert desk.later(10).checkup() == []
    assert (desk.tells("exit", "fill"), desk.state) == ([], TO_BUY)


def test_any_event_starts_liquidation() -> None:
    assert in_sell_submitted().at("15:55").bar(99.0) == ["cancel #2"]
    desk = buying()
    assert desk.at("15:55").tells(1, "fill") == ["sell 19 market #2"]


def test_no_buy_in_liquidation() -> None:
    desk = flat().at("15:54:04")
    desk.warm([99.0], start="15:52")
    assert desk.bar(101.0) == ["buy 19 @ 101.00 #1"]
    desk = flat().at("15:55")
    desk.warm([99.0], start="15:53")
    assert desk.bar(101.0) == []


@pytest.mark.parametrize(
    ("why", "waits"),
    [
        ("422 asset AAPL is not tradable", (2, 4, 8, 15, 15, 15)),
        ("403 potential wash trade detected", (0.25, 0.5, 1, 2, 4, 8, 2, 4, 8, 15, 15)),  # it may pass soon
    ],
)
def test_a_refused_market_sell_goes_again_within_15_seconds(why: str, waits: Sequence[float]) -> None:
    desk = in_to_sell()
    assert desk.at("15:55").checkup() == ["sell 19 market #3"]
    for number, wait in enumerate(waits, start=3):
        assert (desk.refuses(number, why), desk.state) == ([], TO_SELL)
        assert desk.later(wait - 0.1).checkup() == []
        assert desk.later(0.1).checkup() == [f"sell 19 market #{number + 1}"]


@pytest.mark.parametrize("ending", ["rejected", "canceled", "expired"])
def test_a_market_sell_that_ends_unfilled_is_as_good_as_refused(ending: str) -> None:
    desk = in_to_sell()
    desk.at("15:55").checkup()
    assert desk.tells(3, ending) == []
    assert desk.later(1.9).checkup() == []
    assert desk.later(0.1).checkup() == ["sell 19 market #4"]


def test_a_refusal_before_liquidation_does_not_hold_it_back() -> None:
    desk = in_to_sell()
    desk.at("15:54:30").checkup()
    assert desk.at("15:54:50").refuses(3) == []
    assert desk.at("15:55").checkup() == ["sell 19 market #4"]


def test_shares_during_the_market_sell_go_with_the_next_at_once() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    desk.tells(1, "canceled")
    desk.tells(2, "canceled")
    assert desk.at("15:55").checkup() == ["sell 5 market #3"]
    assert desk.tells(1, "partial_fill", 14) == ["cancel #3"]
    assert desk.tells(3, "canceled") == ["sell 19 market #4"]


def test_nothing_is_sent_in_the_last_2_s_and_all_is_cancelled() -> None:
    desk = in_to_sell()
    assert desk.at("15:59:58").checkup() == []
    desk = in_to_sell()
    assert desk.at("15:59:57.9").checkup() == ["sell 19 market #3"]
    assert desk.at("15:59:58").checkup() == ["cancel #3"]
    assert (desk.tells(3, "canceled"), desk.state) == ([], TO_SELL)
    assert desk.at("16:00").checkup() == []
    assert desk.at("16:05").checkup() == []


def test_after_the_close_nothing_is_sold() -> None:
    desk = in_sell_submitted()
    assert desk.at("16:00").checkup() == ["cancel #2"]
    assert desk.later(1).checkup() == []
    assert (desk.tells(2, "expired"), desk.state) == ([], TO_SELL)
    assert desk.bar(99.0) == []


def test_half_day() -> None:
    desk = flat(session=HALF_DAY)
    desk.warm([99.0], start="12:53")
    assert desk.at("12:55").bar(101.0, "12:54") == []
    assert desk.lists_position(5, "100") == ["sell 5 market #1"]


def test_a_close_moved_to_later_ends_liquidation() -> None:
    desk = flat(session=HALF_DAY)
    assert desk.at("12:55").checkup() == []
    desk.algo.begin_session(SESSION)
    desk.warm([100.0] * 20 + [99.0], start="12:33")
    assert desk.bar(101.0, "12:54") == ["buy 19 @ 101.00 #1"]
    assert desk.at("12:57").checkup() == ["cancel #1"]
    assert desk.tells(1, "fill") == ["sell 19 @ 101.00 #2"]
    assert desk.refuses(2, "asset AAPL is not tradable") == []
    assert desk.later(29).checkup() == []  # and refusals wait as they do all day
    assert desk.later(1).checkup() == ["sell 19 @ 101.00 #3"]
    assert desk.refuses(3) == []
    assert desk.at("15:55").checkup() == ["sell 19 market #4"]


# -- told to flatten, at any time -------------------------------------------------------------------------------------


def test_flatten_is_liquidation_from_now_on() -> None:
    desk = in_sell_submitted()
    assert desk.flatten() == ["cancel #2"]
    assert desk.later(5).checkup() == ["cancel #2"]
    assert desk.tells(2, "canceled") == ["sell 19 market #3"]
    assert desk.refuses(3) == []
    assert desk.later(2).checkup() == ["sell 19 market #4"]
    assert (desk.tells(4, "fill"), desk.state) == ([], TO_BUY)
    assert desk.at("09:54:04").bar(101.0) == []  # a signal, were it not for that


def test_flatten_in_every_other_state() -> None:
    desk = buying()
    desk.tells(1, "partial_fill", 5)
    assert desk.flatten() == ["cancel #1"]
    assert desk.tells(1, "canceled") == ["sell 5 market #2"]
    desk = in_to_sell()
    assert desk.flatten() == ["sell 19 market #3"]
    desk = flat()
    assert desk.flatten() == []
    assert desk.bar(101.0) == []
    assert desk.lists_position(3, "100") == ["sell 3 market #1"]


def test_flatten_sends_nothing_in_the_last_2_seconds() -> None:
    desk = in_to_sell().at("15:59:58")
    assert desk.flatten() == []
    desk = buying()
    assert desk.tells(1, "fill") == ["sell 19 @ 101.00 #2"]
    assert desk.flatten() == ["cancel #2"]
    assert desk.loses(2) == ["sell 19 market #3"]


def test_after_the_close_what_is_open_is_cancelled() -> None:
    desk = in_sell_submitted()
    assert desk.at("16:00:05").checkup() == ["cancel #2"]
    assert desk.later(5).checkup() == ["cancel #2"]  # until facts say that it is gone
    desk = in_to_sell()
    assert desk.at("16:00:05").checkup() == []
    desk = flat()
    desk.snapshot([desk.by_hand("mine", "buy", 9, "90")], -5, "101")
    assert desk.at("16:00:05").checkup() == []  # short: hands off


# -- an order that is gone --------------------------------------------------------------------------------------------


def test_a_sell_that_is_gone_is_sent_again_under_its_own_id() -> None:
    """Were it there after all, the broker would say so."""
    desk = in_sell_submitted()
    assert (desk.words(desk.algo.on_order_gone("id2", desk.now)), desk.state) == (SOLD, SELL_SUBMITTED)
    assert len(desk.algo.ledger.open_orders) == 1
    assert desk.tells(2, "new") == []  # the answer to "must be unique": the old one is found
    assert [order.id for order in desk.algo.ledger.open_orders] == ["id2"]
    assert (desk.tells(2, "fill"), desk.state, desk.held) == ([], TO_BUY, 0)


def test_an_order_that_is_gone_ends_without_a_fill() -> None:
    desk = in_sell_submitted()
    desk.tells(2, "partial_fill", 4)
    assert desk.words(desk.algo.on_order_gone("id2", desk.now)) == []
    assert (desk.state, desk.held) == (TO_SELL, 15)
    assert desk.words(desk.algo.on_order_gone("id2", desk.now)) == []
    assert desk.words(desk.algo.on_order_gone("unknown", desk.now)) == []
    assert desk.later(30).checkup() == ["sell 15 @ 101.00 #3"]
    assert desk.tells(2, "fill") == ["cancel #3"]  # it was there after all: its fill counts
    assert desk.held == 0
    desk = buying()
    assert desk.words(desk.algo.on_order_gone("id1", desk.now)) == []
    assert (desk.state, desk.held) == (TO_BUY, 0)
