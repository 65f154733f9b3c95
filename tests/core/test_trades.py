"""Round trips out of fills."""

from __future__ import annotations

from decimal import Decimal

from scalp.core.trades import Fill, RoundTrip, round_trips


def fill(side: str, qty: str, price: str, at: int, order_type: str = "limit", symbol: str = "AAPL") -> Fill:
    return Fill(symbol, side, Decimal(qty), Decimal(price), at, order_type)


def test_a_buy_and_its_sell_are_one_trade() -> None:
    trips = round_trips([fill("buy", "10", "99.50", 1), fill("sell", "10", "99.75", 4)])
    assert trips.trades == [
        RoundTrip("AAPL", Decimal(10), 1, Decimal("99.50"), 4, Decimal("99.75"), Decimal("2.50"), "sell")
    ]
    assert not trips.held


def test_partial_fills_make_one_trade_at_their_averages() -> None:
    bought = [fill("buy", "4", "10", 1), fill("buy", "6", "11", 2)]
    sold = [fill("sell", "5", "12", 3), fill("sell", "5", "9", 5)]
    (trade,) = round_trips(bought + sold).trades
    assert (int(trade.qty), trade.entry_time, trade.exit_time) == (10, 1, 5)
    assert (trade.entry_price, trade.exit_price, trade.pnl) == (Decimal("10.6"), Decimal("10.5"), Decimal(-1))


def test_the_last_share_decides_the_reason() -> None:
    fills = [fill("buy", "10", "5", 1), fill("sell", "5", "5", 2), fill("sell", "5", "4", 3, "market")]
    assert round_trips(fills).trades[0].reason == "liquidation"


def test_what_is_still_held_is_no_trade_yet() -> None:
    trips = round_trips([fill("buy", "10", "5", 1), fill("sell", "4", "6", 2)])
    assert trips.trades == []
    assert trips.held["AAPL"].held == 6
    assert trips.held["AAPL"].profit_at(Decimal(7)) == 16


def test_symbols_do_not_mix() -> None:
    fills = [fill("buy", "1", "5", 1), fill("buy", "1", "8", 2, symbol="F"), fill("sell", "1", "9", 3, symbol="F")]
    trips = round_trips(fills)
    assert [trade.symbol for trade in trips.trades] == ["F"]
    assert list(trips.held) == ["AAPL"]


def test_sell_through_zero_closes_one_position_and_opens_other() -> None:
    trips = round_trips([fill("buy", "2", "5", 1), fill("sell", "5", "6", 2), fill("buy", "3", "4", 3)])
    assert [(int(trade.qty), int(trade.pnl)) for trade in trips.trades] == [(2, 2), (-3, 6)]
