"""What the ways to fill mean, on markets where every number can be reckoned by hand."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from scalp import Bar, ScalpAlgo
from scalp.backtest import engine_rules
from scalp.backtest.days import NO_SLIPPAGE, Slippage
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day
from scalp.exchange.fills import Book
from scalp.exchange.matching import Latency
from scalp.exchange.orders import Order
from scalp.results.symbol_day import SymbolDay
from tests.backtest.recorded import session

DAY = session(session_day(dt.date(2026, 11, 20)))
D = Decimal


class BuysOnce(ScalpAlgo):
    """One signal: at the second bar. It is known 2 minutes and 0.3 s after the open."""

    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return len(self.session_bars) == 2


def flat(minutes: int, price: float = 100.0) -> list[Bar]:
    """Four prints of 250 shares a minute, 0.1, 20, 40 and 59.9 s after it began, all at one price."""
    return [Bar("AAPL", DAY.open + n * MINUTE, price, price, price, price, 1000) for n in range(minutes)]


def play(bars: list[Bar], fills: str, slippage: Slippage = NO_SLIPPAGE, latency: Latency | None = None) -> SymbolDay:
    model = engine_rules.fill_model(fills, slippage)
    (day,) = engine_rules.play(BuysOnce, D(1000), DAY, {"AAPL": bars}, model, latency or Latency())
    return day


def told(day: SymbolDay) -> list[tuple[str, int, Decimal, int]]:
    """Side, shares, price, whole seconds since the open."""
    return [(f.side, int(f.qty), f.price, (f.at - DAY.open) // SECOND) for f in day.fills]


def test_a_touched_limit_gets_a_fiftieth() -> None:
    day = play(flat(10), "pessimistic")
    assert told(day) == [("buy", 5, D(100), 140), ("buy", 5, D(100), 159), ("sell", 5, D(100), 180),
                         ("sell", 5, D(100), 200)]  # fmt: skip


def test_touch_gives_the_same_share_as_a_price_beyond_the_limit() -> None:
    assert told(play(flat(10), "touch")) == [("buy", 10, D(100), 140), ("sell", 10, D(100), 180)]


def test_through_gives_nothing_for_a_touch() -> None:
    day = play(flat(10), "through")
    assert told(day) == []
    assert day.unfilled_buys == 1
    (order,) = day.orders
    assert order.status == "canceled" and order.cancel_sent_at - order.submitted_at >= 120 * SECOND


def test_optimistic_fills_at_the_last_trade_at_once() -> None:
    assert told(play(flat(10), "optimistic")) == [("buy", 10, D(100), 120), ("sell", 10, D(100), 120)]


def test_latency_lets_the_market_pass() -> None:
    slow = play(flat(10), "touch", latency=Latency(order=30 * SECOND))
    assert told(slow)[0] == ("buy", 10, D(100), 159)  # the print after 20 s came too early for it


def fallen(fills: str, slippage: Slippage) -> list[tuple[str, int, Decimal, int]]:
    return told(play(flat(3) + [bar for bar in flat(390, 90.0) if bar.start > DAY.open + 2 * MINUTE], fills, slippage))


@pytest.mark.parametrize(
    ("slippage", "price"),
    [(NO_SLIPPAGE, "89.99"), (Slippage(dollars=D("0.05")), "89.94"), (Slippage(share=D("0.001")), "89.9")],
)
def test_a_market_exit_pays_the_spread_and_the_slippage(slippage: Slippage, price: str) -> None:
    buy, *exits = fallen("touch", slippage)
    assert buy == ("buy", 10, D(100), 140)
    assert exits == [("sell", 10, D(price), 385 * 60)]


def test_what_a_market_order_gets_of_later_prints_slips_once() -> None:
    book = Book("AAPL", last=100.0, size=1000.0)
    model = engine_rules.fill_model("touch", Slippage(dollars=D("0.05")))
    order = Order("1", "1", "AAPL", "sell", "market", "day", D(5), None, None, None, False, "", "new", 0, 0, 0, 1)
    assert model.on_print(order, book) == model.on_arrival(order, book) == (D("99.94"), 100)


def test_slippage_never_takes_a_limit_order_beyond_its_limit() -> None:
    slippage = Slippage(dollars=D("0.05"))
    assert slippage.worse("buy", D("9.90"), D(10)) == D("9.95")
    assert slippage.worse("buy", D("9.98"), D(10)) == D(10)
    assert slippage.worse("sell", D("10.02"), D(10)) == D(10)
    assert slippage.worse("sell", D("10.10"), None) == D("10.05")
    assert str(slippage) == "$0.05 a share" and str(Slippage(share=D("0.0005"))) == "5 basis points a share"
