"""The matching engine, told as transcripts: what was sent, what traded, what the updates said."""

from __future__ import annotations

import uuid
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.matching import Engine, Latency
from scalp.exchange.orders import Asset, Order, OrderRequest, Rejection, make_id
from tests.exchange.desk import CLOSE, OPEN, Desk


def status(desk: Desk, order: Order) -> str:
    return desk.engine.order(order.id).status


# --- filling ---


def test_a_resting_limit_fills_when_the_price_trades_through_it() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    desk.send("buy", limit="99.90")
    desk.trade(2, 99.95)
    desk.trade(3, 99.80)
    desk.until(10)
    assert desk.story == [
        "1 pending_new buy",
        "1.005 new buy",
        "3 fill buy 10 at 99.90, filled 10, position 10",  # at its limit, not at the better print
    ]


def test_touching_limit_fills_only_small_share_of_print() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    desk.send("buy", "50", limit="100")
    desk.trade(2, 100.00, 40)  # 2 % of 40 shares are none
    desk.trade(3, 100.00, 1000)
    desk.trade(4, 99.99, 200)
    desk.trade(5, 99.99, 200)
    desk.until(10)
    assert desk.story[2:] == [
        "3 partial_fill buy 20 at 100, filled 20, position 20",
        "4 partial_fill buy 20 at 100, filled 40, position 40",
        "5 fill buy 10 at 100, filled 50, position 50",
    ]


def test_a_limit_at_the_last_print_rests() -> None:
    desk = Desk()
    desk.trade(1, 100.00, 100_000)
    order = desk.send("buy", limit="100")
    desk.until(10)
    assert status(desk, order) == "new"


def test_a_marketable_limit_takes_its_share_of_the_quote() -> None:
    desk = Desk()
    desk.trade(1, 100.00, 300)
    desk.send("buy", "40", limit="100.50")
    desk.until(2)
    desk.trade(3, 100.20, 300)
    desk.until(10)
    assert desk.story[2:] == [
        "1.005 partial_fill buy 30 at 100.01, filled 30, position 30",
        "3 fill buy 10 at 100.50, filled 40, position 40",
    ]


def test_market_orders_pay_half_a_spread() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    desk.send("buy")
    desk.until(2)
    desk.send("sell")
    desk.until(3)
    fills = [line for line in desk.story if "fill" in line]
    assert fills == [
        "1.005 fill buy 10 at 100.01, filled 10, position 10",
        "2.005 fill sell 10 at 99.99, filled 10, position 0",
    ]
    assert desk.engine.account.cash == Decimal("99999.80")


def test_nothing_fills_on_a_print_made_before_the_order_arrived() -> None:
    desk = Desk(latency=Latency(order=SECOND, update=0))
    desk.trade(1, 100.00)
    order = desk.send("buy", limit="99.90")
    desk.trade(1.5, 99.00)  # the order is on its way
    desk.trade(1.8, 100.00)
    desk.until(10)
    assert status(desk, order) == "new"
    desk.trade(9, 99.00)  # told late: the tape already stands at 10
    assert status(desk, order) == "new"


def test_two_orders_share_one_print() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    desk.send("buy", "80", limit="99.90")
    desk.send("buy", "80", limit="99.90")
    desk.trade(2, 99.80, 1000)
    desk.until(3)
    assert [line for line in desk.story if "fill" in line] == [
        "2 fill buy 80 at 99.90, filled 80, position 80",
        "2 partial_fill buy 20 at 99.90, filled 20, position 100",
    ]


def test_a_fill_may_follow_a_cancel_request() -> None:
    desk = Desk(latency=Latency(order=SECOND, update=0))
    desk.trade(1, 100.00)
    order = desk.send("buy", limit="99.90")
    desk.until(3)
    desk.engine.cancel(order.id)
    assert status(desk, order) == "pending_cancel"
    desk.trade(3.5, 99.00)
    desk.until(10)
    assert [line.split(" at ")[0] for line in desk.story] == [
        "1 pending_new buy",
        "2 new buy",
        "3 pending_cancel buy",
        "3.5 fill buy 10",
    ]
    with pytest.raises(Rejection, match='order is already in "filled" state'):
        desk.engine.cancel(order.id)


def test_a_partly_filled_order_keeps_its_shares_when_cancelled() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    order = desk.send("buy", "150", limit="99.90")
    desk.trade(2, 99.80)
    desk.engine.cancel(order.id)
    desk.engine.cancel(order.id)  # twice does no harm
    desk.trade(3, 99.80)
    desk.until(10)
    assert desk.story[2:] == [
        "2 partial_fill buy 100 at 99.90, filled 100, position 100",
        "2 pending_cancel buy",
        "2.005 canceled buy",
    ]
    desk.engine.cancel(order.id)  # and an order already cancelled takes it too


def test_updates_come_late_and_executions_have_their_own_ids() -> None:
    desk = Desk(latency=Latency(order=0, update=3 * SECOND))
    desk.trade(1, 100.00)
    desk.send("buy", "150", limit="99.90")
    desk.trade(2, 99.80)
    desk.trade(2.5, 99.80)
    desk.until(3.9)
    assert desk.story == []
    desk.until(9)
    ids = [update.execution_id for update in desk.updates if update.execution_id]
    assert len(ids) == len(set(ids)) == 3
    assert [update.order.filled_qty for update in desk.updates] == [0, 0, 100, 150]  # as of then


def test_the_same_run_gives_the_same_ids() -> None:
    runs = []
    for _ in range(2):
        desk = Desk(seed=7).holding()
        runs.append([(update.order.id, update.execution_id) for update in desk.updates])
    assert runs[0] == runs[1]
    assert Desk(seed=8).holding().updates[0].order.id != runs[0][0][0]


# --- the day ---


def test_day_orders_expire_at_the_close() -> None:
    desk = Desk(now=990)
    desk.trade(991, 100.00)
    desk.send("buy", "10", limit="99")
    desk.send("buy", "10", limit="98", time_in_force="gtc")
    desk.until(1001)
    assert desk.story[4:] == ["1000 expired buy"]
    assert not desk.engine.is_open


def test_orders_sent_while_closed_wait_for_the_open() -> None:
    desk = Desk(now=-60)
    desk.trade(-60, 99.00)
    order = desk.send("buy")
    assert order.status == "accepted"
    desk.trade(-30, 99.50)
    desk.until(0.01)
    assert status(desk, order) == "new"  # no print of this session yet
    desk.trade(1, 100.00)
    desk.until(2)
    assert desk.story == ["-60 accepted buy", "0 new buy", "1 fill buy 10 at 100.01, filled 10, position 10"]


def test_order_sent_after_close_waits_for_next_session() -> None:
    desk = Desk(now=990)
    desk.trade(995, 100.00)
    desk.until(1001)
    order = desk.send("buy")
    desk.engine.begin_session(CLOSE + 500 * SECOND, CLOSE + 1000 * SECOND)
    desk.trade(1501, 100.00)
    desk.until(1502)
    assert (order.status, status(desk, order)) == ("accepted", "filled")


def test_in_a_halt_orders_wait() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    desk.engine.halt("AAPL")
    order = desk.send("buy")
    desk.until(10)
    assert status(desk, order) == "new"
    desk.engine.resume("AAPL")
    desk.trade(11, 101.00)
    assert status(desk, order) == "filled"


def test_bars_give_the_same_fills_as_their_prints() -> None:
    def play(load_minutes: bool) -> list[str]:
        desk = Desk(now=-40)
        minutes = [Bar("AAPL", OPEN + n * MINUTE - 40 * SECOND, 100, 100.4, 99.6, 100 + n % 2, 7000) for n in range(5)]
        minutes += [Bar("TSLA", bar.start, 300, 301, 299, 300, 900) for bar in minutes]
        if not load_minutes:
            from scalp.exchange.simulation import Simulation

            simulation = Simulation({s: [b for b in minutes if b.symbol == s] for s in ("AAPL", "TSLA")}, desk.engine)
            simulation.listener.on_update = desk.hear  # type: ignore[method-assign]
        for n in range(5):
            start = OPEN + n * MINUTE - 40 * SECOND
            if load_minutes:
                desk.engine.on_bars([bar for bar in minutes if bar.start == start])
                desk.engine.advance(start + SECOND // 3)
            else:
                simulation.advance(start + SECOND // 3)
            if n == 1:
                desk.send("buy", "300", limit="100")
            if n == 2:
                desk.send("buy", "5", symbol="TSLA")
        (desk.engine if load_minutes else simulation).advance(CLOSE)
        return desk.story

    assert play(True) == play(False)
    assert any("fill" in line for line in play(True))


# --- refusals ---


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        (dict(qty="0"), (422, 40010001, "qty must be > 0")),
        (dict(qty=None), (422, 40010001, "qty or notional is required")),
        (dict(notional=Decimal(5)), (422, 40010001, "only one of qty or notional is accepted")),
        (dict(type="limit"), (422, 40010001, "limit orders require a limit price")),
        (dict(type="stop"), (422, 40010001, "stop orders require a stop price")),
        (dict(type="stop_limit", limit="9"), (422, 40010001, "stop limit orders require both stop and limit price")),
        (dict(type="market", limit="9"), (422, 40010001, "market orders require no stop or limit price")),
        (dict(time_in_force="never"), (422, 40010001, "invalid time_in_force")),
        (dict(symbol="NOPE"), (422, 42210000, 'asset "NOPE" not found')),
        (dict(client_order_id="x" * 129), (422, 40010001, "client_order_id must be no more than 128 characters")),
        (dict(qty="0.5", time_in_force="gtc"), (422, 42210000, "fractional orders must be DAY orders")),
        (
            dict(extended_hours=True),
            (422, 42210000, "extended hours order must be DAY or GTC limit orders"),
        ),
        (
            dict(position_intent="buy_to_close"),
            (422, 42210000, "position intent mismatch, inferred: buy_to_open, specified: buy_to_close"),
        ),
        (
            dict(limit="290.123"),
            (
                422,
                42210000,
                "invalid limit_price 290.123. sub-penny increment does not fulfill minimum pricing criteria",
            ),
        ),
        (dict(qty=None, notional=Decimal("0.5")), (403, 40310000, "cost basis must be >= minimal amount of order 1")),
    ],
)
def test_what_is_wrong_with_the_order_itself(order: dict[str, Any], answer: tuple[int, int, str]) -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    assert desk.refused("buy", **order) == answer
    assert desk.engine.orders == {}


def test_ticks_are_finer_below_a_dollar() -> None:
    desk = Desk()
    desk.send("buy", limit="0.1234")
    assert desk.refused("buy", limit="0.12345")[1] == 42210000


def test_a_client_order_id_is_used_once_and_for_all() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    order = desk.send("buy", client_order_id="mine")
    desk.until(2)
    assert status(desk, order) == "filled"
    assert desk.refused("buy", client_order_id="mine") == (422, 40010001, "client_order_id must be unique")


def test_buying_power_is_reserved_by_open_buys_and_given_back() -> None:
    desk = Desk(cash=1000, multiplier=2)
    desk.trade(1, 100.00)
    order = desk.send("buy", "15", limit="100")
    assert desk.engine.buying_power() == 500
    with pytest.raises(Rejection, match="insufficient buying power") as refusal:
        desk.send("buy", "6", limit="100")
    assert refusal.value.extra == {"buying_power": "500", "cost_basis": "600"}
    desk.engine.cancel(order.id)
    desk.until(2)
    assert desk.engine.buying_power() == 2000


def test_shares_held_by_an_open_sell_cannot_be_sold_again() -> None:
    desk = Desk().holding("10")
    working = desk.send("sell", "7", limit="120")
    with pytest.raises(Rejection) as refusal:
        desk.send("sell", "10", limit="120")
    assert refusal.value.message == "insufficient qty available for order (requested: 10, available: 3)"
    assert refusal.value.extra == {
        "symbol": "AAPL",
        "available": "3",
        "existing_qty": "10",
        "held_for_orders": "7",
        "related_orders": [working.id],
    }
    desk.send("sell", "3", limit="120")


def test_shorts_are_refused_unless_allowed() -> None:
    desk = Desk()
    desk.trade(1, 100.00)
    assert desk.refused("sell") == (403, 40310000, "account is not allowed to short")
    daring = Desk(shorting=True)
    daring.trade(1, 100.00)
    daring.send("sell")
    daring.until(2)
    assert daring.engine.account.held("AAPL") == -10
    daring.send("buy", position_intent="buy_to_close")
    daring.until(3)
    assert daring.engine.account.positions == {}


@pytest.mark.parametrize(
    ("working", "incoming", "reason"),
    [
        (("buy", "10", "99"), ("sell", "5", None), "opposite side limit order exists"),
        (("buy", "10", "99"), ("sell", "5", "99"), "opposite side limit order exists"),
        (("buy", "10", "99"), ("sell", "5", "98"), "opposite side limit order exists"),
        (("buy", "10", "99"), ("sell", "5", "99.01"), None),
        (("sell", "5", "120"), ("buy", "5", None), "opposite side limit order exists"),
        (("sell", "5", "120"), ("buy", "5", "120"), "opposite side limit order exists"),
        (("sell", "5", "120"), ("buy", "5", "119.99"), None),
    ],
)
def test_wash_trades(working: tuple[Any, ...], incoming: tuple[Any, ...], reason: str | None) -> None:
    desk = Desk().holding()
    first = desk.send(*working)
    if reason is None:
        desk.send(*incoming)
        return
    with pytest.raises(Rejection, match="potential wash trade detected") as refusal:
        desk.send(*incoming)
    assert refusal.value.extra == {"existing_order_id": first.id, "reject_reason": reason}


def test_a_waiting_market_order_makes_any_opposite_a_wash_trade() -> None:
    desk = Desk().holding()
    desk.engine.halt("AAPL")
    desk.send("sell", "5")
    with pytest.raises(Rejection) as refusal:
        desk.send("buy", "5", limit="1")
    assert refusal.value.extra["reject_reason"] == "opposite side market/stop order exists"


def test_assets_that_cannot_be_traded() -> None:
    assets = [
        Asset("1", "OLD", "Old", status="inactive"),
        Asset("2", "SHUT", "Shut", tradable=False),
        Asset("3", "WHOLE", "Whole", fractionable=False),
    ]
    engine = Engine(OPEN, CLOSE, assets)
    for symbol, qty, words in (
        ("OLD", "1", "asset OLD is not active"),
        ("SHUT", "1", "asset SHUT is not tradable"),
        ("WHOLE", "0.5", 'asset "WHOLE" is not fractionable'),
    ):
        with pytest.raises(Rejection, match=words):
            engine.submit(OrderRequest(symbol, "buy", qty=Decimal(qty)))


# --- replacing, and the rarer kinds of order ---


def test_a_replaced_order_lives_on_under_a_new_id() -> None:
    desk = Desk().holding()
    old = desk.send("sell", limit="120")
    desk.until(3)
    new = desk.engine.replace(old.id, limit_price=Decimal("110"))
    desk.trade(4, 111)
    desk.until(5)
    assert desk.story == [
        "2 pending_new sell",
        "2.005 new sell",
        "3 pending_replace sell",
        "3.005 replaced sell",
        "3.005 new sell",
        "4 fill sell 10 at 110, filled 10, position 0",
    ]
    assert desk.engine.order(old.id).replaced_by == new.id
    with pytest.raises(Rejection, match="unable to replace order, order is not open"):
        desk.engine.replace(old.id, limit_price=Decimal("100"))


def test_a_fill_may_win_against_a_replacement() -> None:
    desk = Desk(latency=Latency(order=SECOND, update=0))
    desk.trade(1, 100.00, 100_000)
    old = desk.send("buy", limit="99")
    desk.until(3)
    new = desk.engine.replace(old.id, limit_price=Decimal("98"))
    desk.trade(3.5, 90)
    desk.until(9)
    assert (status(desk, old), status(desk, new)) == ("filled", "rejected")
    assert "order_replace_rejected" in desk.story[-2]


def test_what_fills_during_a_replacement_is_not_filled_again() -> None:
    desk = Desk(latency=Latency(order=SECOND, update=0))
    desk.trade(1, 100.00)
    old = desk.send("buy", "150", limit="99")
    desk.until(3)
    new = desk.engine.replace(old.id, limit_price=Decimal("98"))
    desk.trade(3.5, 98.50)
    desk.until(9)
    assert desk.engine.order(new.id).qty == 50


def test_ioc_and_fok() -> None:
    desk = Desk()
    desk.trade(1, 100.00, 50)
    at_once = desk.send("buy", "8", limit="101", time_in_force="ioc")
    desk.until(2)
    all_or_none = desk.send("buy", "8", limit="101", time_in_force="fok")
    desk.until(3)
    assert (status(desk, at_once), desk.engine.order(at_once.id).filled_qty) == ("canceled", Decimal(5))
    assert (status(desk, all_or_none), desk.engine.order(all_or_none.id).filled_qty) == ("canceled", Decimal(0))


def test_a_stop_waits_for_its_price() -> None:
    desk = Desk().holding()
    desk.send("sell", type="stop", stop_price=Decimal("95"))
    desk.trade(3, 96)
    desk.trade(4, 95)
    desk.until(5)
    assert desk.story[2:] == ["4 fill sell 10 at 94.99, filled 10, position 0"]


def test_an_order_in_dollars_buys_fractions() -> None:
    desk = Desk()
    desk.trade(1, 99.99)
    desk.send("buy", None, notional=Decimal("250"))
    desk.until(2)
    assert desk.engine.account.held("AAPL") == Decimal("2.5")


def test_a_fault_can_reject_an_order_that_was_taken() -> None:
    desk = Desk()
    order = desk.send("buy", limit="99")
    desk.engine.reject(order.id)
    desk.until(1)
    assert desk.story == ["0 pending_new buy", "0 rejected buy"]


# --- what always holds ---


@pytest.mark.parametrize("seed", range(5))
def test_the_books_always_balance(seed: int) -> None:
    chance = Random(seed)
    desk = Desk(cash=20_000, multiplier=2)
    engine, price = desk.engine, 100.0
    for step in range(600):
        price = round(max(1.5, price + chance.choice((-0.05, 0, 0.05))), 2)
        desk.trade(step, price, chance.choice((5, 60, 900)), chance.choice(("AAPL", "TSLA")))
        try:
            match chance.randrange(4):
                case 0:
                    limit = str(round(price + chance.choice((-0.1, 0, 0.1)), 2))
                    desk.send(chance.choice(("buy", "sell")), str(chance.randint(1, 40)), chance.choice((limit, None)))
                case 1 if engine.orders:
                    engine.cancel(chance.choice(list(engine.orders)))
                case 2 if engine.orders:
                    order_id = chance.choice(list(engine.orders))
                    engine.replace(order_id, limit_price=Decimal(str(round(price, 2))))
        except Rejection:
            pass
        for symbol in engine.assets:
            signed = sum(
                fill.qty if fill.side == "buy" else -fill.qty for fill in engine.executions if fill.symbol == symbol
            )
            held = engine.account.held(symbol)
            assert held == signed >= 0
            selling = [order for order in engine.open_orders(symbol) if order.side == "sell"]
            assert held >= sum(order.leaves for order in selling if order.status != "pending_replace")
        assert engine.buying_power() >= 0
        assert all(order.filled_qty <= (order.qty or 0) for order in engine.orders.values())
        assert all(order.open for order in engine.open_orders())
    desk.until(1001)
    assert engine.open_orders() == []
    paid = sum(fill.price * fill.qty * (1 if fill.side == "buy" else -1) for fill in engine.executions)
    assert engine.account.cash == 20_000 - paid
    assert len(engine.executions) > 20
    told: dict[str, Decimal] = {}
    for update in desk.updates:
        assert update.order.filled_qty >= told.get(update.order.id, 0)  # totals only grow
        told[update.order.id] = update.order.filled_qty
    assert told == {order.id: order.filled_qty for order in engine.orders.values()}


def test_an_id_is_the_uuid_that_its_name_gives() -> None:
    namespace = uuid.UUID("6d0f3a52-8f0e-5c55-9a35-1c1c0d9a7e11")
    for number in range(300):
        assert make_id(7, "order", number) == str(uuid.uuid5(namespace, f"7:order:{number}"))
