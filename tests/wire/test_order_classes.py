"""Groups, stops and trailing stops with both of Alpaca's Python clients, against the exchange."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("alpaca")

from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, OrderStatus, OrderType, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)
from alpaca_trade_api.rest import REST

from tests.wire.exchange_process import exchange

KEYS = ("KEY", "SECRET")
SYMBOL = "AAPL"
SELL = {"symbol": SYMBOL, "qty": 4, "side": OrderSide.SELL, "time_in_force": TimeInForce.DAY}
BUY = SELL | {"side": OrderSide.BUY}


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with exchange("--speed", "60", "--session", "2026-11-20", "--from", "10:00", SYMBOL) as env:
        yield env


@pytest.fixture
def trading(env: dict[str, str]) -> Iterator[Any]:
    client = TradingClient(*KEYS, url_override=env["APCA_API_BASE_URL"])
    yield client
    client.close_all_positions(cancel_orders=True)
    until(client.get_all_positions, lambda positions: positions == [])
    client._session.close()


def until(ask: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """Ask until the answer is good: an order takes a moment to arrive."""
    for _ in range(400):
        answer = ask()
        if enough(answer):
            return answer
        time.sleep(0.02)
    raise AssertionError(answer)


def status_of(trading: Any, order: Any, wanted: OrderStatus) -> Any:
    return until(lambda: trading.get_order_by_id(order.id), lambda told: told.status == wanted)


def bought(trading: Any) -> float:
    """Buy four shares; what was paid."""
    order = trading.submit_order(MarketOrderRequest(**BUY))
    return float(status_of(trading, order, OrderStatus.FILLED).filled_avg_price)


def nested(trading: Any) -> Any:
    return trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True))


def test_an_oco_with_alpaca_py(trading: Any) -> None:
    paid = bought(trading)
    order = trading.submit_order(
        LimitOrderRequest(
            **SELL,
            order_class=OrderClass.OCO,
            take_profit=TakeProfitRequest(limit_price=round(paid * 1.2, 2)),
            stop_loss=StopLossRequest(stop_price=round(paid * 0.8, 2)),
        )
    )
    (stop,) = order.legs
    assert (order.order_class, order.type, stop.type, stop.status) == (
        OrderClass.OCO, OrderType.LIMIT, OrderType.STOP, OrderStatus.HELD,
    )  # fmt: skip
    status_of(trading, order, OrderStatus.NEW)
    assert [listed.id for listed in trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))] == [order.id]
    assert [[leg.id for leg in listed.legs] for listed in nested(trading)] == [[stop.id]]
    assert trading.get_open_position(SYMBOL).qty_available == "0"

    moved = trading.replace_order_by_id(stop.id, ReplaceOrderRequest(stop_price=round(paid * 0.85, 2)))
    assert moved.replaces == stop.id
    status_of(trading, moved, OrderStatus.HELD)
    dearer = trading.replace_order_by_id(order.id, ReplaceOrderRequest(limit_price=round(paid * 1.3, 2)))
    status_of(trading, dearer, OrderStatus.NEW)
    (parent,) = nested(trading)
    assert (parent.id, [leg.id for leg in parent.legs]) == (dearer.id, [moved.id])
    by_id = trading.get_order_by_id(dearer.id, GetOrderByIdRequest(nested=True))
    assert by_id.legs[0].stop_price == str(round(paid * 0.85, 2))

    trading.cancel_order_by_id(moved.id)
    status_of(trading, dearer, OrderStatus.CANCELED)
    assert nested(trading) == []


def test_a_bracket_and_an_oto_with_alpaca_py(trading: Any) -> None:
    paid = bought(trading)
    with pytest.raises(APIError, match="bracket orders must be entry orders"):
        trading.submit_order(
            MarketOrderRequest(
                **BUY,
                order_class=OrderClass.BRACKET,
                take_profit=TakeProfitRequest(limit_price=round(paid * 1.2, 2)),
                stop_loss=StopLossRequest(stop_price=round(paid * 0.8, 2)),
            )
        )
    trading.close_position(SYMBOL)
    until(trading.get_all_positions, lambda positions: positions == [])
    bracket = trading.submit_order(
        LimitOrderRequest(
            **BUY,
            order_class=OrderClass.BRACKET,
            limit_price=round(paid * 1.05, 2),
            take_profit=TakeProfitRequest(limit_price=round(paid * 1.2, 2)),
            stop_loss=StopLossRequest(stop_price=round(paid * 0.8, 2), limit_price=round(paid * 0.79, 2)),
        )
    )
    profit, stop = bracket.legs
    assert (profit.status, stop.status, stop.type) == (OrderStatus.HELD, OrderStatus.HELD, OrderType.STOP_LIMIT)
    status_of(trading, bracket, OrderStatus.FILLED)
    status_of(trading, profit, OrderStatus.NEW)
    assert trading.get_order_by_id(stop.id).status == OrderStatus.HELD
    trading.cancel_order_by_id(profit.id)
    status_of(trading, stop, OrderStatus.CANCELED)
    trading.close_position(SYMBOL)
    until(trading.get_all_positions, lambda positions: positions == [])

    oto = trading.submit_order(
        MarketOrderRequest(
            **BUY, order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=round(paid * 0.8, 2))
        )
    )
    status_of(trading, oto.legs[0], OrderStatus.NEW)


def test_stops_with_alpaca_py(trading: Any) -> None:
    paid = bought(trading)
    sell = SELL | {"qty": 1}
    stop = trading.submit_order(StopOrderRequest(**sell, stop_price=round(paid * 0.8, 2)))
    limit = trading.submit_order(
        StopLimitOrderRequest(**sell, stop_price=round(paid * 0.8, 2), limit_price=round(paid * 0.7, 2))
    )
    trailing = trading.submit_order(TrailingStopOrderRequest(**sell, trail_percent=20))
    for order in (stop, limit, trailing):
        status_of(trading, order, OrderStatus.NEW)
    assert (trailing.trail_percent, float(trailing.hwm) > float(trailing.stop_price)) == ("20", True)
    closer = trading.replace_order_by_id(trailing.id, ReplaceOrderRequest(trail=10))
    assert (closer.trail_percent, float(closer.stop_price) > float(trailing.stop_price)) == ("10", True)
    with pytest.raises(APIError, match="stop price must be less than current price"):
        trading.submit_order(StopOrderRequest(**sell, stop_price=round(paid * 1.2, 2)))


def test_an_oco_with_alpaca_trade_api(trading: Any, env: dict[str, str]) -> None:
    paid = bought(trading)
    api = REST(*KEYS, base_url=env["APCA_API_BASE_URL"])
    prices: dict[str, Any] = {
        "take_profit": {"limit_price": round(paid * 1.2, 2)}, "stop_loss": {"stop_price": round(paid * 0.8, 2)},
    }  # fmt: skip
    order = api.submit_order(SYMBOL, 4, "sell", "limit", order_class="oco", **prices)
    assert (order.order_class, order.legs[0].status) == ("oco", "held")
    until(lambda: api.get_order(order.id), lambda told: told.status == "new")
    assert [len(listed.legs) for listed in api.list_orders(nested=True)] == [1]
    moved = api.replace_order(order.legs[0].id, stop_price=round(paid * 0.9, 2))
    until(lambda: api.get_order(moved.id), lambda told: told.status == "held")
    api.cancel_order(order.id)
    until(lambda: api.get_order(moved.id), lambda told: told.status == "canceled")
    api._session.close()
