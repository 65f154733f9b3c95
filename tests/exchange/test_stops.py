"""Stop orders at the matching engine, told as transcripts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from scalp.core.units import SECOND
from scalp.exchange.orders import Order
from tests.exchange.desk import OPEN, Desk


def stop(desk: Desk, side: str, kind: str = "stop", qty: str = "10", limit: str | None = None, **prices: Any) -> Order:
    exact = {name: Decimal(price) for name, price in prices.items() if name != "time_in_force"}
    others = {name: price for name, price in prices.items() if name == "time_in_force"}
    return desk.send(side, qty, limit, type=kind, **exact, **others)


def test_a_stop_that_buys_pays_its_cap_at_most() -> None:
    desk = Desk()
    desk.trade(1, 100)
    order = stop(desk, "buy", stop_price="104")
    desk.trade(2, 110)
    desk.until(3)
    assert desk.story == ["1 pending_new buy", "1.005 new buy"]
    assert desk.engine.order(order.id).limit_price == Decimal("106.60")  # 2.5 % over the stop
    desk.trade(4, 106)
    desk.until(5)
    assert desk.story[2:] == ["4 fill buy 10 at 106.60, filled 10, position 10"]


def test_stop_limit_is_limit_order_once_its_stop_was_reached() -> None:
    desk = Desk()
    desk.trade(1, 100)
    stop(desk, "buy", "stop_limit", limit="101.10", stop_price="101")
    desk.trade(2, 99)
    desk.trade(3, 101.20)
    desk.until(4)
    assert len(desk.story) == 2
    desk.trade(5, 101.00)
    desk.until(6)
    assert desk.story[2:] == ["5 fill buy 10 at 101.10, filled 10, position 10"]


def test_only_prints_of_the_session_elect_a_stop() -> None:
    desk = Desk().holding()
    stop(desk, "sell", stop_price="95", time_in_force="gtc")
    desk.trade(1001, 90)
    desk.engine.begin_session(OPEN + 1100 * SECOND, OPEN + 2100 * SECOND)
    desk.trade(1101, 96)
    assert desk.story == ["2 pending_new sell", "2.005 new sell"]
    desk.trade(1102, 95)
    desk.until(1103)
    assert desk.story[2:] == ["1102 fill sell 10 at 94.99, filled 10, position 0"]


@pytest.mark.parametrize(
    ("side", "price", "why"),
    [("sell", "100", "stop price must be less than current price"),
     ("buy", "100", "stop price must be greater than current price")],
)  # fmt: skip
def test_a_stop_beyond_the_market_is_refused(side: str, price: str, why: str) -> None:
    desk = Desk().holding()
    assert desk.refused(side, type="stop", stop_price=Decimal(price)) == (422, 42210000, why)


@pytest.mark.parametrize(
    ("trail", "stops"), [({"trail_price": "2"}, ["98", "99", "99"]), ({"trail_percent": "1"}, ["99", "99.99", "99.99"])]
)
def test_a_trailing_stop_follows_the_best_print(trail: dict[str, str], stops: list[str]) -> None:
    desk = Desk().holding()
    order = desk.engine.order(stop(desk, "sell", "trailing_stop", **trail).id)
    seen = [(order.hwm, order.stop_price)]
    for at, price in ((3, 101.00), (4, 100.00)):
        desk.trade(at, price)
        seen.append((order.hwm, order.stop_price))
    assert [best for best, _ in seen] == [100, 101, 101]
    assert [price for _, price in seen] == [Decimal(price) for price in stops]
    desk.trade(5, float(stops[-1]))
    desk.until(6)
    assert desk.story[-1].startswith("5 fill sell 10 at 98.9" if "trail_price" in trail else "5 fill sell 10 at 99.9")


def test_a_trailing_stop_that_buys_follows_downwards() -> None:
    desk = Desk()
    desk.trade(1, 100)
    order = desk.engine.order(stop(desk, "buy", "trailing_stop", trail_price="1").id)
    desk.trade(2, 99)
    assert (order.hwm, order.stop_price) == (Decimal(99), Decimal(100))
    desk.trade(3, 100)
    desk.until(4)
    assert desk.story[-1] == "3 fill buy 10 at 100.01, filled 10, position 10"


def test_the_distance_of_a_trailing_stop_is_changed() -> None:
    desk = Desk().holding()
    old = stop(desk, "sell", "trailing_stop", trail_price="5")
    desk.trade(3, 104)
    desk.trade(4, 103)
    new = desk.engine.replace(old.id, trail=Decimal(2))
    desk.until(5)
    assert (new.trail_price, new.hwm, new.stop_price) == (Decimal(2), Decimal(104), Decimal(102))
    desk.trade(6, 102)
    desk.until(7)
    assert desk.story[2:] == [
        "4 pending_replace sell",
        "4.005 replaced sell",
        "4.005 new sell",
        "6 fill sell 10 at 101.99, filled 10, position 0",
    ]


def test_a_trailing_stop_is_no_wash_trade() -> None:
    desk = Desk().holding()
    desk.send("buy", limit="99")
    stop(desk, "sell", "trailing_stop", trail_price="5")
    desk.send("buy", limit="98")


@pytest.mark.parametrize(
    ("more", "code", "why"),
    [
        ({}, 40010001, "trailing stop orders must specify one of trail_price or trail_percent"),
        ({"trail_price": Decimal(1), "trail_percent": Decimal(1)}, 40010001,
         "trailing stop orders must specify one of trail_price or trail_percent"),
        ({"trail_price": Decimal(0)}, 40010001, "trail_price must be > 0"),
        ({"trail_percent": Decimal(100)}, 40010001, "trail_percent must be > 0 and < 100"),
        ({"trail_price": Decimal(1), "stop_price": Decimal(99)}, 40010001,
         "trailing stop orders require no stop or limit price"),
        ({"trail_price": Decimal(1), "time_in_force": "ioc"}, 42210000,
         "trailing stop orders must be DAY or GTC orders"),
        ({"trail_price": Decimal(1), "extended_hours": True}, 42210000,
         "stop orders are not eligible for extended hours trading"),
        ({"trail_price": Decimal(1), "qty": "0.5"}, 42210000, "trailing stop orders require whole shares"),
    ],
)  # fmt: skip
def test_a_trailing_stop_that_breaks_a_rule(more: dict[str, Any], code: int, why: str) -> None:
    desk = Desk().holding()
    assert desk.refused("sell", type="trailing_stop", **more) == (422, code, why)
