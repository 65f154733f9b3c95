"""Bracket, OCO and OTO at the matching engine, told as transcripts."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from scalp.core.units import SECOND
from scalp.exchange.fills import Book, FillModel
from scalp.exchange.matching import Latency
from scalp.exchange.orders import Order, Rejection, Update
from scalp.exchange.rules import on_offer
from tests.exchange.desk import OPEN, Desk


class Table(Desk):
    """A desk whose story names the types, as the orders of a group have sides in common."""

    def hear(self, update: Update) -> None:
        super().hear(update)
        at, event, side, *rest = self.story.pop().split(" ", 3)
        self.story.append(" ".join([at, event, side, update.order.type, *rest]))

    def oco(self, qty: str = "10", profit: str = "101", stop: str = "99", **more: Any) -> Order:
        legs = {"take_profit": Decimal(profit), "stop_loss": Decimal(stop)}
        return self.send("sell", qty, **({"order_class": "oco", "type": "limit"} | legs | more))

    def bracket(self, qty: str = "10", limit: str | None = "99", **more: Any) -> Order:
        legs = {"take_profit": Decimal(102), "stop_loss": Decimal(98)}
        return self.send("buy", qty, limit, **({"order_class": "bracket"} | legs | more))

    def legs(self, order: Order) -> list[Order]:
        assert order.group is not None
        return order.group.legs

    def now(self, order: Order) -> Order:
        return self.engine.order(order.id)

    def states(self) -> list[str]:
        return [f"{order.type} {order.status} {order.qty}" for order in self.engine.orders.values()][1:]


def test_an_oco_takes_its_profit_and_its_stop_is_taken_back() -> None:
    desk = Table().holding()
    order = desk.oco()
    (stop,) = desk.legs(order)
    assert (order.status, stop.status, stop.stop_price, stop.qty) == ("pending_new", "held", Decimal(99), Decimal(10))
    assert (order.group_role, stop.group_role, stop.client_order_id != "") == ("take_profit", "stop_loss", True)
    desk.trade(3, 101.50)
    desk.until(4)
    assert desk.story == [
        "2 pending_new sell limit",
        "2 held sell stop",
        "2.005 new sell limit",
        "3 fill sell limit 10 at 101, filled 10, position 0",
        "3 canceled sell stop",
    ]
    desk.trade(5, 95)
    desk.until(6)
    assert len(desk.story) == 5


def test_print_at_stop_takes_profit_back_and_sells_at_market() -> None:
    desk = Table().holding()
    desk.oco(profit="101", stop="99")
    desk.trade(3, 99.01)
    desk.trade(4, 99.00)
    desk.until(5)
    assert desk.story[3:] == [
        "4 canceled sell limit",
        "4 new sell stop",
        "4 fill sell stop 10 at 98.99, filled 10, position 0",
    ]


def test_after_gap_stop_sells_at_first_print_beyond_it() -> None:
    desk = Table().holding()
    desk.oco(stop="99")
    desk.trade(3, 99.5)
    desk.trade(4, 90.00)
    desk.until(5)
    assert desk.story[-1] == "4 fill sell stop 10 at 89.99, filled 10, position 0"


def test_a_stop_limit_leg_waits_at_its_limit_once_elected() -> None:
    desk = Table().holding()
    desk.oco(stop="99", stop_loss_limit=Decimal("98.50"))
    desk.trade(3, 98.00)
    desk.until(4)
    assert desk.story[3:] == ["3 canceled sell limit", "3 new sell stop_limit"]
    desk.trade(5, 98.60)
    desk.until(6)
    assert desk.story[5:] == ["5 fill sell stop_limit 10 at 98.50, filled 10, position 0"]


def test_the_stop_is_for_what_the_profit_has_left() -> None:
    desk = Table().holding("100")
    order = desk.oco("100")
    desk.trade(3, 101.01, 600)
    assert [desk.now(order).status, desk.legs(order)[0].qty] == ["partially_filled", 40]
    desk.trade(4, 98.00, 5000)
    desk.until(5)
    assert desk.story[3:] == [
        "3 partial_fill sell limit 60 at 101, filled 60, position 40",
        "4 canceled sell limit",
        "4 new sell stop",
        "4 fill sell stop 40 at 97.99, filled 40, position 0",
    ]


@pytest.mark.parametrize("leg", ["parent", "stop"])
def test_a_cancel_of_either_cancels_both(leg: str) -> None:
    desk = Table().holding()
    order = desk.oco()
    desk.until(3)
    asked, other = (order, desk.legs(order)[0]) if leg == "parent" else (desk.legs(order)[0], order)
    desk.engine.cancel(asked.id)
    desk.until(4)
    assert desk.story[3:] == [
        f"3 pending_cancel sell {asked.type}",
        f"3.005 canceled sell {asked.type}",
        f"3.005 canceled sell {other.type}",
    ]
    assert desk.engine.open_orders() == []


def test_a_fill_wins_against_the_cancel_of_the_other_leg() -> None:
    desk = Table(latency=Latency(order=SECOND, update=0)).holding()
    desk.until(5)
    order = desk.oco()
    desk.until(7)
    desk.engine.cancel(order.id)
    desk.trade(7.5, 98)
    desk.until(10)
    assert desk.story[-3:] == [
        "7.5 canceled sell limit",
        "7.5 new sell stop",
        "7.5 fill sell stop 10 at 97.99, filled 10, position 0",
    ]


def test_a_group_expires_as_one_and_gtc_lasts() -> None:
    desk = Table().holding()
    desk.oco("4")
    desk.oco("6", time_in_force="gtc")
    desk.until(1001)
    assert desk.story[-2:] == ["1000 expired sell limit", "1000 expired sell stop"]
    assert desk.states()[-2:] == ["limit new 6", "stop held 6"]


def test_shares_of_a_group_are_on_offer_once() -> None:
    desk = Table().holding()
    desk.oco("6")
    assert desk.refused("sell", "5", "110") == (
        403, 40310000, "insufficient qty available for order (requested: 5, available: 4)",
    )  # fmt: skip
    desk.send("sell", "4", "110")
    assert desk.refused("sell", "1", "110")[2] == "insufficient qty available for order (requested: 1, available: 0)"


@pytest.mark.parametrize("leg", [0, 1])
def test_shares_are_on_offer_once_while_a_leg_is_moved(leg: int) -> None:
    desk = Table().holding()
    order = desk.oco("6")
    desk.until(3)
    moved = (order, desk.legs(order)[0])[leg]
    change: Any = [{"limit_price": Decimal(102)}, {"stop_price": Decimal(98)}][leg]
    desk.engine.replace(moved.id, **change)
    desk.send("sell", "4", "110")


def test_a_rejected_profit_takes_its_stop_along() -> None:
    desk = Table().holding()
    order = desk.oco()
    desk.engine.reject(order.id)
    desk.until(3)
    assert desk.story == [
        "2 pending_new sell limit", "2 held sell stop", "2 rejected sell limit", "2 canceled sell stop",
    ]  # fmt: skip


# --- the price of either leg can be changed ---


def test_the_stop_is_moved() -> None:
    desk = Table().holding()
    order = desk.oco()
    desk.until(3)
    (old,) = desk.legs(order)
    new = desk.engine.replace(old.id, stop_price=Decimal("99.50"))
    assert (new.status, new.replaces, new.qty) == ("pending_new", old.id, Decimal(10))
    with pytest.raises(Exception, match="unable to replace order, order is pending_new"):
        desk.engine.replace(new.id, stop_price=Decimal("99.60"))
    desk.until(4)
    assert desk.story[3:] == ["3 pending_replace sell stop", "3.005 replaced sell stop", "3.005 held sell stop"]
    assert (desk.now(old).replaced_by, [leg.id for leg in desk.legs(order)]) == (new.id, [new.id])
    desk.trade(5, 99.50)
    desk.until(6)
    assert desk.story[6:] == [
        "5 canceled sell limit", "5 new sell stop", "5 fill sell stop 10 at 99.49, filled 10, position 0",
    ]  # fmt: skip


def test_the_profit_is_moved_and_still_belongs_to_its_stop() -> None:
    desk = Table().holding()
    old = desk.oco()
    desk.until(3)
    new = desk.engine.replace(old.id, limit_price=Decimal("100.50"))
    desk.trade(4, 100.60)
    desk.until(5)
    assert desk.story[3:] == [
        "3 pending_replace sell limit",
        "3.005 replaced sell limit",
        "3.005 new sell limit",
        "4 fill sell limit 10 at 100.50, filled 10, position 0",
        "4 canceled sell stop",
    ]
    assert old.group is not None and old.group.parent.id == new.id


def test_stop_that_is_reached_before_its_change_sells_as_it_was() -> None:
    desk = Table(latency=Latency(order=SECOND, update=0)).holding()
    desk.until(5)
    order = desk.oco("10")
    desk.until(7)
    (old,) = desk.legs(order)
    new = desk.engine.replace(old.id, stop_price=Decimal("99.50"))
    desk.trade(7.5, 99.00, 50)
    desk.until(9)
    assert desk.story[-5:] == [
        "7 pending_replace sell stop",
        "7.5 canceled sell limit",
        "7.5 partial_fill sell stop 5 at 98.99, filled 5, position 5",
        "8 order_replace_rejected sell stop",
        "8 rejected sell stop",
    ]
    assert (desk.now(old).status, desk.now(new).status) == ("partially_filled", "rejected")
    desk.trade(9, 98.00)
    desk.until(10)
    assert desk.story[-1] == "9 fill sell stop 5 at 97.99, filled 10, position 0"


def test_a_profit_fill_while_the_stop_moves_cuts_the_new_stop() -> None:
    desk = Table(latency=Latency(order=SECOND, update=0)).holding("100")
    desk.until(5)
    order = desk.oco("100")
    desk.until(7)
    new = desk.engine.replace(desk.legs(order)[0].id, stop_price=Decimal("99.50"))
    desk.trade(7.5, 101.01, 600)
    desk.until(9)
    assert (desk.now(new).status, desk.now(new).qty) == ("held", Decimal(40))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"stop_price": Decimal("100")}, "stop_loss.stop_price must be <= base_price - 0.01"),
        ({"stop_price": Decimal("98.005")},
         "invalid stop_price 98.005. sub-penny increment does not fulfill minimum pricing criteria"),
        ({"limit_price": Decimal("98")}, "stop orders require no limit price"),
        ({"qty": Decimal(5)}, "only the prices of oco orders can be replaced"),
        ({"time_in_force": "gtc"}, "only the prices of oco orders can be replaced"),
        ({"trail": Decimal(1)}, "stop orders must not have trail"),
    ],
)  # fmt: skip
def test_a_leg_can_change_nothing_but_its_price(change: dict[str, Any], why: str) -> None:
    desk = Table().holding()
    order = desk.oco()
    desk.until(3)
    with pytest.raises(Rejection) as refusal:
        desk.engine.replace(desk.legs(order)[0].id, **change)
    assert refusal.value.message == why


# --- halts ---


def test_nothing_is_elected_in_a_halt() -> None:
    desk = Table().holding()
    desk.oco()
    desk.until(3)
    desk.engine.halt("AAPL")
    desk.trade(4, 90)
    desk.until(5)
    assert len(desk.story) == 3
    desk.engine.resume("AAPL")
    desk.trade(6, 91)
    desk.until(7)
    assert desk.story[-1] == "6 fill sell stop 10 at 90.99, filled 10, position 0"


# --- refusals ---


@pytest.mark.parametrize(
    ("more", "code", "why"),
    [
        ({"type": "market"}, 40010001, "oco orders must be limit orders"),
        ({"take_profit": None}, 40010001, "oco orders require take_profit.limit_price"),
        ({"stop_loss": None}, 40010001, "oco orders require stop_loss.stop_price"),
        ({"extended_hours": True}, 42210000, "extended hours orders must be simple orders"),
        ({"time_in_force": "ioc"}, 42210000, "oco orders must be DAY or GTC orders"),
        ({"qty": "1.5"}, 42210000, "fractional orders must be simple orders"),
        ({"qty": "0"}, 40010001, "qty must be > 0"),
        ({"stop": "100"}, 42210000, "stop_loss.stop_price must be <= base_price - 0.01"),
        ({"stop": "99.995"}, 42210000,
         "invalid stop_loss.stop_price 99.995. sub-penny increment does not fulfill minimum pricing criteria"),
        ({"profit": "99.5", "stop": "99.5"}, 42210000, "stop_loss.stop_price must be <= base_price - 0.01"),
        ({"stop_loss_limit": Decimal("-1")}, 42210000, "stop_loss.limit_price must be > 0"),
        ({"position_intent": "sell_to_open"}, 42210000,
         "position intent mismatch, inferred: sell_to_close, specified: sell_to_open"),
        ({"symbol": "TSLA"}, 42210000, "oco orders must be exit orders"),
        ({"qty": "11"}, 40310000, "insufficient qty available for order (requested: 11, available: 10)"),
    ],
)  # fmt: skip
def test_an_oco_that_breaks_a_rule(more: dict[str, Any], code: int, why: str) -> None:
    desk = Table().holding()
    with pytest.raises(Rejection) as refusal:
        desk.oco(**more)
    assert (refusal.value.code, refusal.value.message) == (code, why)
    assert len(desk.engine.orders) == 1


def test_a_stop_a_cent_under_the_market_is_far_enough() -> None:
    desk = Table().holding()
    assert desk.oco("4", profit="100", stop="99.99").status == "pending_new"
    with pytest.raises(Rejection) as refusal:
        desk.oco("6", profit="102", stop="99.995")
    assert "base_price" not in refusal.value.extra
    desk.trade(3, 99.50)
    with pytest.raises(Rejection) as refusal:
        desk.oco("6", profit="102", stop="99.50")
    assert refusal.value.extra == {"base_price": "99.5"}


def test_an_oco_may_go_while_a_buy_still_works() -> None:
    desk = Table().holding()
    desk.send("buy", "5", "99.50")
    order = desk.oco()
    desk.until(3)
    assert desk.now(order).status == "new"
    desk.send("buy", "5", "102")  # nor is a buy a wash trade against a group


# --- bracket and OTO ---


def test_a_bracket_sells_when_its_entry_was_filled_completely() -> None:
    desk = Table()
    desk.trade(1, 100)
    order = desk.bracket("100")
    desk.trade(2, 98.50, 600)
    desk.trade(3, 97.00, 100)  # far under the stop, but the legs don't live yet
    desk.trade(4, 98.90, 900)
    desk.until(5)
    assert desk.story == [
        "1 pending_new buy limit",
        "1 held sell limit",
        "1 held sell stop",
        "1.005 new buy limit",
        "2 partial_fill buy limit 60 at 99, filled 60, position 60",
        "3 partial_fill buy limit 10 at 99, filled 70, position 70",
        "4 fill buy limit 30 at 99, filled 100, position 100",
        "4.005 new sell limit",
    ]
    assert [leg.status for leg in desk.legs(order)] == ["new", "held"]
    assert [leg.position_intent for leg in desk.legs(order)] == ["sell_to_close", "sell_to_close"]
    desk.trade(6, 98)
    desk.until(7)
    assert desk.story[8:] == [
        "6 canceled sell limit", "6 new sell stop", "6 fill sell stop 100 at 97.99, filled 100, position 0",
    ]  # fmt: skip


def test_a_cancelled_entry_cancels_the_group() -> None:
    desk = Table()
    desk.trade(1, 100)
    order = desk.bracket("100")
    desk.trade(2, 98.50, 600)
    desk.engine.cancel(order.id)
    desk.until(3)
    assert desk.story[-3:] == ["2.005 canceled buy limit", "2.005 canceled sell limit", "2.005 canceled sell stop"]
    assert desk.engine.account.held("AAPL") == 60


def test_legs_hold_the_shares_and_no_buying_power() -> None:
    desk = Table(cash=1000, multiplier=1)
    desk.trade(1, 100)
    order = desk.bracket("10")
    assert desk.engine.buying_power() == 10
    desk.trade(2, 98.50, 60)
    assert desk.refused("sell", "1", "110")[2] == "insufficient qty available for order (requested: 1, available: 0)"
    assert [leg.status for leg in desk.legs(order)] == ["held", "held"]


def test_a_bracket_leg_is_moved_before_its_entry_is_filled() -> None:
    desk = Table()
    desk.trade(1, 100)
    order = desk.bracket()
    desk.until(2)
    profit, stop = desk.legs(order)
    desk.engine.replace(profit.id, limit_price=Decimal("101"))
    desk.engine.replace(stop.id, stop_price=Decimal("98.50"))
    desk.until(3)
    assert desk.story[-4:] == [
        "2.005 replaced sell limit", "2.005 held sell limit", "2.005 replaced sell stop", "2.005 held sell stop",
    ]  # fmt: skip
    desk.trade(4, 98.90)
    desk.trade(5, 98.50)
    desk.until(6)
    assert desk.story[-1] == "5 fill sell stop 10 at 98.49, filled 10, position 0"


def test_a_moved_stop_still_waits_for_the_whole_entry() -> None:
    desk = Table()
    desk.trade(1, 100)
    order = desk.bracket("100")
    desk.until(2)
    desk.engine.replace(desk.legs(order)[1].id, stop_price=Decimal("98.50"))
    desk.until(3)
    desk.trade(4, 97, 600)
    desk.until(5)
    assert desk.story[-2:] == ["2.005 held sell stop", "4 partial_fill buy limit 60 at 99, filled 60, position 60"]


def test_a_bracket_profit_is_moved_when_it_works() -> None:
    desk = Table()
    desk.trade(1, 100)
    order = desk.bracket(limit=None, stop_loss=Decimal(95))
    desk.until(2)
    desk.engine.replace(desk.legs(order)[0].id, limit_price=Decimal(101))
    desk.until(3)
    assert desk.story[-2:] == ["2.005 replaced sell limit", "2.005 new sell limit"]


def test_a_bracket_goes_short_too() -> None:
    desk = Table(shorting=True)
    desk.trade(1, 100)
    legs: Any = {"take_profit": Decimal(97), "stop_loss": Decimal(103)}
    desk.send("sell", "10", order_class="bracket", **legs)
    desk.trade(2, 103.00)
    desk.until(3)
    assert desk.story[3:] == [
        "1.005 new sell market",
        "1.005 fill sell market 10 at 99.99, filled 10, position -10",
        "1.01 new buy limit",
        "2 canceled buy limit",
        "2 new buy stop",
        "2 fill buy stop 10 at 103.01, filled 10, position 0",
    ]


@pytest.mark.parametrize(
    ("leg", "told"),
    [
        ({"take_profit": Decimal(102)}, ["1.01 new sell limit", "3 fill sell limit 10 at 102, filled 10, position 0"]),
        ({"stop_loss": Decimal(98)}, ["1.01 new sell stop", "2 fill sell stop 10 at 96.99, filled 10, position 0"]),
    ],
)
def test_an_oto_has_one_leg(leg: dict[str, Any], told: list[str]) -> None:
    desk = Table()
    desk.trade(1, 100)
    desk.send("buy", "10", order_class="oto", **leg)
    desk.trade(2, 97)
    desk.trade(3, 103)
    desk.until(4)
    assert desk.story[4:] == told


@pytest.mark.parametrize(
    ("more", "code", "why"),
    [
        ({"take_profit": None}, 40010001, "bracket orders require take_profit.limit_price"),
        ({"stop_loss": None}, 40010001, "bracket orders require stop_loss.stop_price"),
        ({"order_class": "oto"}, 40010001, "oto orders require either take_profit.limit_price or stop_loss.stop_price"),
        ({"type": "stop", "limit": None, "stop_price": Decimal(101)}, 40010001,
         "bracket orders must be market or limit orders"),
        ({"type": "trailing_stop", "limit": None, "trail_price": Decimal(1)}, 42210000,
         "trailing stop orders must be simple orders"),
        ({"take_profit": Decimal(99)}, 42210000, "take_profit.limit_price must be >= base_price + 0.01"),
        ({"stop_loss": Decimal(99)}, 42210000, "stop_loss.stop_price must be <= base_price - 0.01"),
        ({"limit": None, "take_profit": Decimal(100)}, 42210000,
         "take_profit.limit_price must be >= base_price + 0.01"),
    ],
)  # fmt: skip
def test_a_bracket_that_breaks_a_rule(more: dict[str, Any], code: int, why: str) -> None:
    desk = Table()
    desk.trade(1, 100)
    with pytest.raises(Rejection) as refusal:
        desk.bracket(**more)
    assert (refusal.value.code, refusal.value.message) == (code, why)
    assert desk.engine.orders == {}


def test_a_bracket_opens_a_position_and_adds_to_none() -> None:
    desk = Table().holding()
    with pytest.raises(Rejection) as refusal:
        desk.bracket()
    assert refusal.value.message == "bracket orders must be entry orders"


# --- what always holds ---


def play_at_random(desk: Table, seed: int) -> Iterator[None]:
    """Six hundred prints, and whatever somebody may send meanwhile; a stop after each."""
    chance, price = Random(seed), 100.0
    for step in range(600):
        price = round(max(50.0, price + chance.choice((-0.6, -0.3, 0, 0.3, 0.6))), 2)
        desk.trade(step, price, chance.choice((5, 60, 900)))
        at, qty = Decimal(str(price)), str(chance.randint(1, 40))
        over, under = at + Decimal(chance.choice(("0.3", "0.9"))), at - Decimal(chance.choice(("0.3", "0.9")))
        orders = list(desk.engine.orders)[-12:]
        try:
            match chance.randrange(10):
                case 0 | 1:
                    desk.oco(qty, str(over), str(under), stop_loss_limit=chance.choice((None, under)))
                case 2 | 3:
                    desk.bracket(qty, chance.choice((str(price), None)), take_profit=over, stop_loss=under)
                case 4:
                    desk.send("buy", qty)
                case 5:
                    desk.send("sell", qty, type="trailing_stop", trail_price=Decimal("0.5"))
                case 6 if orders:
                    desk.engine.cancel(chance.choice(orders))
                case 7 | 8 if orders:
                    desk.engine.replace(chance.choice(orders), stop_price=under)
                case 9 if orders:
                    desk.engine.replace(chance.choice(orders), limit_price=over)
        except Rejection:
            pass
        yield


@pytest.mark.parametrize("latency", [0, SECOND // 100, 3 * SECOND // 2])
@pytest.mark.parametrize("seed", range(4))
def test_groups_always_agree_with_the_books(seed: int, latency: int) -> None:
    desk = Table(latency=Latency(order=latency, update=0), cash=30_000)
    engine = desk.engine
    for _ in play_at_random(desk, seed):
        held = engine.account.held("AAPL")
        working = engine.open_orders("AAPL")
        assert held >= 0
        selling = [order for order in on_offer(working, "sell") if order.status != "pending_replace"]
        has_entry = any(order.group_role == "entry" for order in working)
        assert has_entry or sum(order.leaves for order in selling) <= held
        for order in working:
            if order.group is None or order not in order.group:
                continue
            profit, stop = order.group.take_profit, order.group.stop_loss
            if profit is not None and stop is not None and profit.open and stop.open:
                assert profit.leaves == stop.leaves > 0
                assert not stop.elected
            if order.status == "held":
                assert not order.filled_qty and order.group.holds(order)
    desk.until(1001)
    assert engine.open_orders() == []
    book = engine._books["AAPL"]
    assert (book.live, book.stops) == ([], [])
    paid = sum(fill.price * fill.qty * (1 if fill.side == "buy" else -1) for fill in engine.executions)
    assert engine.account.cash == 30_000 - paid
    ended = {order.type for order in engine.orders.values() if order.side == "sell" and order.status == "filled"}
    assert ended == {"limit", "stop", "stop_limit", "trailing_stop"}


# --- where a fault can be put in ---


class DeadTrigger(FillModel, frozen=True):
    """Nobody looks at the stops."""

    def elects(self, order: Order, book: Book) -> bool:
        return False


def test_a_fill_model_may_overlook_a_stop() -> None:
    desk = Table(fills=DeadTrigger()).holding()
    desk.oco()
    desk.trade(3, 90)
    desk.until(4)
    assert len(desk.story) == 3


def test_a_leg_that_is_never_taken_back_sells_too() -> None:
    desk = Table(shorting=True).holding()
    desk.oco()
    desk.engine.end_leg = lambda leg, status: None  # type: ignore[method-assign]
    desk.trade(3, 102)
    desk.trade(4, 98)
    desk.until(5)
    assert [line for line in desk.story if "fill" in line] == [
        "3 fill sell limit 10 at 101, filled 10, position 0",
        "4 fill sell stop 10 at 97.99, filled 10, position -10",
    ]
    assert desk.engine.now == OPEN + 5 * SECOND
