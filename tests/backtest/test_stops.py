"""Exits with a stop loss beside them, in every way to fill."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec import structs

from scalp import Bar
from scalp.backtest import bar_rules, engine_rules
from scalp.backtest.days import NO_SLIPPAGE, Slippage
from scalp.core.commands import SubmitOrder
from scalp.core.orders import OrderType
from scalp.core.units import MINUTE
from scalp.exchange.matching import Latency
from scalp.results.symbol_day import SymbolDay
from tests.backtest.test_fill_modes import DAY, BuysOnce, D, flat


class Protected(BuysOnce):
    """Its exit has a stop loss at 99."""

    def _sell(self, order_type: OrderType, at: int) -> SubmitOrder:
        action = super()._sell(order_type, at)
        return structs.replace(action, stop_price=D(99)) if action.limit_price is not None else action


class Gapped(Protected):
    """Its exit takes no profit before the fall."""

    def _sell(self, order_type: OrderType, at: int) -> SubmitOrder:
        return structs.replace(super()._sell(order_type, at), limit_price=Decimal(101))


def after(*prices: tuple[float, float, float, float]) -> list[Bar]:
    """Four flat minutes at 100, in which is bought what is offered at 100; then a minute of these prices each."""
    bars = [Bar("AAPL", DAY.open + n * MINUTE, *four, 1000) for n, four in enumerate(prices, start=4)]
    return [*flat(3), Bar("AAPL", DAY.open + 3 * MINUTE, 99.99, 99.99, 99.99, 99.99, 1000), *bars]


def by_bar(bars: list[Bar], slippage: Slippage = NO_SLIPPAGE) -> SymbolDay:
    return bar_rules.play(Protected, "AAPL", D(1000), DAY, bars, slippage)


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ((99.5, 99.8, 99.2, 99.5), None),
        ((99.5, 99.8, 99.0, 99.5), "99"),  # touched is reached
        ((98.5, 99.8, 98.4, 99.5), "98.5"),  # a gap is paid
        ((99.5, 100.0, 99.5, 99.5), "100"),
        ((99.5, 100.4, 98.0, 99.5), "99"),  # both: nobody knows which came first
        ((100.3, 100.4, 98.0, 99.5), "100.3"),  # unless the open says so
        ((98.5, 100.4, 98.0, 99.5), "98.5"),
    ],
)
def test_what_a_bar_does_to_a_protected_exit(bar: tuple[float, float, float, float], price: str | None) -> None:
    day = by_bar(after(bar))
    sold = [(f.price, f.order_type, (f.at - DAY.open) // MINUTE) for f in day.fills if f.side == "sell"]
    kind = "limit" if price is not None and D(price) >= 100 else "stop"
    assert sold == ([] if price is None else [(D(price), kind, 4)])


def test_slippage_is_paid_on_a_stop_and_not_beyond_a_limit() -> None:
    slippage = Slippage(dollars=D("0.05"))
    assert by_bar(after((99.5, 99.8, 99.0, 99.5)), slippage).fills[-1].price == D("98.95")
    assert by_bar(after((99.5, 100.0, 99.5, 99.5)), slippage).fills[-1].price == D(100)


@pytest.mark.parametrize("fills", ["pessimistic", "touch", "optimistic"])
def test_the_engine_sells_at_a_stop_too(fills: str) -> None:
    """Bought by the touch of a flat minute; then the price falls through the stop by a gap."""
    bars = [*flat(4), *(Bar("AAPL", DAY.open + n * MINUTE, 98.0, 98.0, 98.0, 98.0, 1000) for n in range(4, 8))]
    model = structs.replace(engine_rules.fill_model(fills, NO_SLIPPAGE), turns_in_a_bar=False)
    (day,) = engine_rules.play(Gapped, D(1000), DAY, {"AAPL": bars}, model, Latency())
    sold = [fill for fill in day.fills if fill.side == "sell"]
    assert {fill.order_type for fill in sold} == {"stop"}
    assert sum(fill.qty for fill in sold) == sum(fill.qty for fill in day.fills if fill.side == "buy") > 0
    assert {fill.price for fill in sold} == {D(98) if fills == "optimistic" else D("97.99")}
