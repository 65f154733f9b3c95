"""What is bought and when, and at which prices it is bought and offered."""

# mypy: disable-error-code="comparison-overlap"
# A Decimal equals an int here, as it does when the tests run.

from __future__ import annotations

from decimal import Decimal

import pytest

from scalp.core.algo import TO_BUY
from scalp.core.clock import Session
from scalp.core.commands import AskLastTrade
from scalp.core.market_data import Trade, TradeCorrection
from tests.helpers import AAPL, BOUGHT, DAY, SESSION, SOLD, Desk, bar, buying, clock, flat, in_sell_submitted, trade

# -- quantities and prices ---------------------------------------------------------------------------------------------


def test_the_lot_buys_whole_shares_only() -> None:
    assert flat(lot="202").bar(101.0) == ["buy 2 @ 101.00 #1"]
    assert flat(lot="201.99").bar(101.0) == ["buy 1 @ 101.00 #1"]


def test_a_lot_below_the_price_buys_nothing_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = flat(lot="100")
    assert desk.bar(101.0) == []
    assert desk.at("09:53:04").bar(99.0) == []
    assert desk.at("09:54:04").bar(101.0) == []
    assert caplog.text.count("buys no share") == 1


def test_a_fraction_counts_as_flat_and_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    assert desk.snapshot([], "7.25", "100") == ["sell 7 @ 100.00 #1"]
    assert (desk.tells(1, "fill"), desk.state, desk.held) == ([], TO_BUY, Decimal("0.25"))
    assert desk.checkup() == []
    assert caplog.text.count("0.25 of a share stays") == 1


def test_prices_below_a_dollar_have_4_decimals() -> None:
    desk = Desk()
    desk.warm([0.9] * 20 + [0.8999])
    assert desk.at("09:52:04").bar(0.91237) == ["buy 2192 @ 0.9123 #1"]
    assert desk.tells(1, "fill") == ["sell 2192 @ 0.9124 #2"]


def test_sell_asks_last_trade_or_entry_whichever_is_higher() -> None:
    desk = buying()
    desk.algo.on_trade(trade(101.371, "09:52:05"))
    assert desk.tells(1, "fill", price="100.90") == ["sell 19 @ 101.38 #2"]
    desk = buying()
    desk.algo.on_trade(trade(99.0, "09:52:05"))
    assert desk.tells(1, "partial_fill", 10, "100.90") == []
    assert desk.tells(1, "fill", 9, "100.91") == ["sell 19 @ 100.91 #2"]


def test_a_buy_bids_the_last_trade_rounded_down() -> None:
    desk = flat()
    desk.algo.on_trade(trade(101.2399, "09:52:03"))
    assert desk.bar(101.0) == ["buy 19 @ 101.23 #1"]


def test_the_last_trade_is_the_newest_by_exchange_time() -> None:
    algo = flat().algo
    algo.on_trade(trade(102.0, "09:52:03"))
    algo.on_trade(trade(50.0, "09:52:02.9"))  # arrives later, was made earlier
    algo.on_bar(bar(60.0, "09:51"), clock("09:52:04"))  # the close of a minute that ended before
    assert algo.tape.last_price == 102.0
    algo.on_trade(trade(103.0, "09:52:03"))
    assert algo.tape.last_price == 103.0
    algo.on_bar(bar(104.0, "09:52"), clock("09:53:04"))
    assert algo.tape.last_price == 104.0
    algo.on_trade(trade(105.0, "09:54"))
    algo.on_bar(bar(70.0, "09:53"), clock("09:54:04"))  # a print at the turn of the minute is of the next one
    assert algo.tape.last_price == 105.0


def test_a_print_that_was_wrong_prices_no_sell() -> None:
    desk = buying()  # at 101, which is the last close
    desk.algo.on_trade(Trade(AAPL, clock("09:52:07"), 150.0, 100, 7))
    desk.algo.tape.strike(TradeCorrection(AAPL, 150.0, float("nan"), 7), desk.algo.session_bars)
    assert desk.tells(1, "fill") == SOLD


@pytest.mark.parametrize("nonsense", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_price_does_not_keep_shares_from_being_sold(nonsense: float) -> None:
    desk = buying()
    desk.algo.on_trade(trade(nonsense, "09:52:06"))
    assert desk.tells(1, "fill") == SOLD


# -- where trades do not stream in -------------------------------------------------------------------------------------


def asking() -> Desk:
    desk = flat()
    desk.algo.asks_last_trade = True
    assert desk.algo.on_bar(bar(101.0, "09:51"), desk.now) == [AskLastTrade(AAPL)]
    assert desk.state is TO_BUY
    return desk


def answer(desk: Desk, price: float | None) -> list[str]:
    last = None if price is None else trade(price, desk.now)
    return desk.words(desk.algo.on_last_trade(last, desk.now))


def test_the_last_trade_is_asked_for_before_buys_never_sells() -> None:
    desk = asking().later(0.3)
    assert answer(desk, 101.5) == ["buy 19 @ 101.50 #1"]
    assert answer(desk, 101.5) == []  # an answer counts once
    assert desk.tells(1, "fill") == ["sell 19 @ 101.50 #2"]


def test_without_answer_close_serves_and_slow_one_is_late() -> None:
    assert answer(asking().later(10), None) == BOUGHT
    assert answer(asking().later(10.1), 101.5) == []


def test_an_answer_buys_nothing_once_buying_is_over() -> None:
    desk = asking()
    desk.algo.entry_blocks.block("halt", "trading is halted")
    assert answer(desk, 101.5) == []
    desk = asking()
    desk.algo.begin_session(Session(DAY, SESSION.open, clock("09:57:05")))
    assert answer(desk.later(1), 101.5) == []  # liquidation began in between


def test_shares_of_unknown_price_are_offered_at_the_last_trade() -> None:
    desk = Desk()
    assert desk.snapshot([], 7) == ["ask"]
    assert desk.later(1).drive() == [] and answer(desk, None) == []
    assert desk.later(5).checkup() == ["ask"]
    assert answer(desk, 101.501) == ["sell 7 @ 101.51 #1"]


# -- bars and time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "expected"), [(90, BOUGHT), (90.001, [])])
def test_a_bar_later_than_90_seconds_buys_nothing(seconds: float, expected: list[str]) -> None:
    assert flat().at("09:52").later(seconds).bar(101.0, "09:51") == expected


def test_a_delayed_feed_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = flat().at("10:07")
    assert desk.bar(101.0, "09:51") + desk.bar(99.0, "09:52") + desk.bar(101.0, "09:53") == []
    assert caplog.text.count("late: no buying on a delayed feed") == 1


def test_nothing_is_bought_before_21_bars() -> None:
    desk = Desk()
    desk.warm([100.0] * 18 + [99.0])
    assert desk.at("09:50:04").bar(101.0) == []  # the 20th
    desk = Desk()
    desk.warm([100.0] * 19 + [99.0])
    assert desk.at("09:51:04").bar(101.0) == ["buy 19 @ 101.00 #1"]  # the 21st


def test_a_bar_sent_again_or_filled_in_changes_history_only() -> None:
    desk = flat()
    assert desk.bar(99.5) == []
    assert desk.later(30).bar(101.0) == []  # the same minute, now a crossing: not asked again
    assert len(desk.algo.session_bars) == 22
    desk = flat()
    assert desk.bar(99.0, "09:51") == []
    assert desk.at("09:54:04").bar(99.0, "09:53") == []
    assert desk.later(1).bar(101.0, "09:52") == []  # an older minute
    assert desk.algo._bars["close"].tolist()[-3:] == [99.0, 101.0, 99.0]


def test_a_minute_that_history_brought_first_is_not_asked_again() -> None:
    desk = flat()
    desk.warm([101.0], start="09:51")
    assert desk.bar(101.0) == []


def test_bars_outside_the_session_do_not_count() -> None:
    desk = Desk()
    desk.warm([100.0] * 40, start="08:50")
    assert len(desk.algo.session_bars) == 0
    desk = flat(session=Session(DAY, clock("09:30"), clock("09:51")))
    assert len(desk.algo.session_bars) == 21
    assert desk.bar(101.0) == []
    assert len(desk.algo.session_bars) == 21


def test_nothing_is_bought_before_the_calendar_is_known() -> None:
    desk = flat(session=None)
    assert desk.bar(101.0) == []


def test_reasons_not_to_buy_add_up_and_exits_go_on() -> None:
    desk = flat()
    desk.algo.entry_blocks.block("blind", "no order updates")
    desk.algo.entry_blocks.block("halt", "trading is halted")
    assert desk.algo.entry_blocks.why == "no order updates, trading is halted"
    assert desk.bar(101.0) == []
    assert desk.lists_position(5, "101") == ["sell 5 @ 101.00 #1"]
    desk.tells(1, "fill")
    desk.algo.entry_blocks.unblock("blind")
    assert desk.at("09:53:04").bar(99.0) + desk.at("09:54:04").bar(101.0) == []
    desk.algo.entry_blocks.unblock("halt")
    assert desk.at("09:55:04").bar(99.0) + desk.at("09:56:04").bar(101.0) == ["buy 19 @ 101.00 #2"]


def test_on_way_out_working_buys_are_cancelled_and_sells_stay() -> None:
    desk = buying()
    assert desk.words(desk.algo.working_buys.cancel(desk.now)) == ["cancel #1"]
    desk = in_sell_submitted()
    assert desk.words(desk.algo.working_buys.cancel(desk.now)) == []
