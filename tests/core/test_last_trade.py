"""Which price is the last trade once a print turns out to be wrong: told by its identity, not by its price."""

from __future__ import annotations

import pytest

from scalp.core.market_data import Trade, TradeCorrection
from tests.helpers import AAPL, Desk, bar, clock


class Tape:
    """An algo that hears prints, closes and corrections; each answers with the last trade."""

    def __init__(self, *closes: float) -> None:
        self.desk = Desk()
        self.algo = self.desk.algo
        self.desk.warm(closes)

    def print(self, number: int | str, price: float, at: str) -> float | None:
        self.algo.on_trade(Trade(AAPL, clock(at), price, 100, number))
        return self.algo.tape.last_price

    def close(self, price: float, start: str) -> float | None:
        self.algo.on_bar(bar(price, start), clock(start) + 61_000_000_000)
        return self.algo.tape.last_price

    def cancel(self, number: int | str, price: float, at: str = "") -> float | None:
        self.algo.tape.strike(
            TradeCorrection(AAPL, price, None, number, "", clock(at) if at else 0), self.algo.session_bars
        )
        return self.algo.tape.last_price

    def correct(self, number: int | str, price: float, instead: float, new: int | str = "") -> float | None:
        self.algo.tape.strike(TradeCorrection(AAPL, price, instead, number, new), self.algo.session_bars)
        return self.algo.tape.last_price


def test_an_older_print_at_the_same_price_is_not_the_last_trade() -> None:
    tape = Tape(100.0)
    tape.print(1, 101.0, "09:31:01")
    tape.print(2, 101.0, "09:31:02")
    assert tape.correct(1, 101.0, 104.0) == 101.0
    assert tape.cancel(1, 104.0) == 101.0
    assert tape.cancel(7, 101.0) == 101.0  # nobody knows it
    assert tape.cancel(2, 102.0) == 101.0  # another exchange's, with the same number
    assert tape.correct(2, 101.0, 100.5) == 100.5


def test_cancelled_print_leaves_one_before_it_that_still_stands() -> None:
    tape = Tape(100.0)
    for number, price in enumerate((100.1, 100.2, 150.0, 151.0)):
        tape.print(number, price, f"09:31:0{number}")
    assert tape.cancel(2, 150.0) == 151.0
    assert tape.cancel(3, 151.0) == 100.2
    assert tape.cancel(1, 100.2) == 100.1
    assert tape.cancel(0, 100.1) == 100.0  # the last close
    assert tape.print(4, 100.3, "09:31:00.5") == 100.3


def test_without_prints_and_bars_there_is_no_last_trade() -> None:
    tape = Tape()
    tape.print("a", 150.0, "09:31:01")
    assert tape.cancel("a", 150.0) is None


def test_what_is_put_right_may_be_so_again_under_its_new_id() -> None:
    tape = Tape(100.0)
    tape.print(1, 150.0, "09:31:01")
    assert tape.correct(1, 150.0, 101.0, new=2) == 101.0
    assert tape.correct(1, 150.0, 99.0) == 101.0
    assert tape.correct(2, 101.0, 101.0, new=3) == 101.0  # of fewer shares
    assert tape.correct(3, 101.0, 100.9) == 100.9
    assert tape.correct(3, 100.9, float("nan")) == 100.0


def test_a_close_that_the_wrong_print_made_goes_with_it() -> None:
    tape = Tape(100.0)
    tape.print(1, 100.4, "09:31:01")
    tape.print(2, 150.0, "09:31:59")
    assert tape.close(150.0, "09:31") == 150.0
    assert tape.cancel(2, 150.0) == 100.4
    assert tape.close(100.4, "09:31") == 100.4  # the minute, corrected


def test_a_close_that_another_print_made_stays() -> None:
    tape = Tape(100.0)
    tape.print(1, 101.0, "09:31:01")
    tape.print(2, 101.0, "09:31:59")
    tape.close(101.0, "09:31")
    assert tape.cancel(1, 101.0) == 101.0
    assert tape.print(3, 99.0, "09:31:59.5") == 101.0  # from before the minute's end
    tape.close(102.0, "09:32")
    assert tape.cancel(2, 101.0) == 102.0


def test_a_print_that_is_told_twice_goes_once_and_for_all() -> None:
    tape = Tape(100.0)
    tape.print(1, 150.0, "09:31:01")
    tape.print(1, 150.0, "09:31:01")
    assert tape.cancel(1, 150.0) == 100.0


def test_prints_count_by_their_time_in_whatever_order_they_come() -> None:
    tape = Tape(100.0)
    tape.print(3, 150.0, "09:31:03")
    assert tape.print(2, 100.4, "09:31:02") == 150.0
    assert tape.print(1, 100.2, "09:31:01") == 150.0
    assert tape.cancel(3, 150.0) == 100.4


@pytest.mark.parametrize(("price", "at", "left"), [(101.0, "09:31:02", 100.9), (101.0, "09:31:01", 101.0)])
def test_where_prints_have_no_ids_price_and_time_of_newest_tell(price: float, at: str, left: float) -> None:
    tape = Tape(100.0)
    tape.print("", 100.9, "09:31:01")
    tape.print("", 101.0, "09:31:02")
    assert tape.cancel("", price, at) == left
    assert tape.cancel("", 100.0, "09:31:02") == left


def test_after_many_newer_prints_nothing_has_to_be_remembered() -> None:
    tape = Tape(100.0)
    for number in range(1000):
        tape.print(number, 100 + number / 1000, f"09:31:{number * 0.05:.3f}")
    assert tape.cancel(500, 100.5) == 100.999
    assert len(tape.algo.tape._kept) < 20
