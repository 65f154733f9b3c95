"""What all symbols share: routing, blindness, the requests that exits may need."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from decimal import Decimal
from types import FrameType
from typing import Any

import pytest

from scalp import ScalpAlgo
from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED
from scalp.core.clock import Session
from scalp.core.commands import Action, CancelOrder, SubmitOrder
from scalp.core.exit_times import ExitTimes
from scalp.core.fleet import Fleet
from scalp.core.leftovers import exits_under_way, has_open_orders, leftovers
from scalp.core.market_data import Bar, Halt, Trade
from scalp.core.orders import BUY, OrderReport, PositionReport
from scalp.core.risk_limits import RiskLimits
from scalp.core.risk_rules import RiskRules
from scalp.core.units import MINUTE, SECOND

OPEN = 1_795_185_000 * SECOND
SESSION = Session(dt.date(2026, 11, 20), OPEN, OPEN + 390 * MINUTE)


class Eager(ScalpAlgo):
    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return True


class Faulty(ScalpAlgo):
    def on_bar(self, bar: Bar, at: int) -> list[Action]:
        raise ValueError("a bug")


class World:
    def __init__(self, *symbols: str, algo: type[ScalpAlgo] = Eager) -> None:
        self.now = OPEN + MINUTE
        self.sent: list[Action] = []
        self.wanted: list[str] = []
        self.fleet = Fleet([algo(symbol, Decimal(1000), "1") for symbol in symbols], lambda: self.now, self.sent.append)
        self.fleet.connect(self.wanted.append, self.wanted.append)
        self.fleet.begin_session(SESSION)

    def see_all(self) -> None:
        flat = [PositionReport(symbol, Decimal(0), Decimal(0)) for symbol in self.fleet.algos]
        self.fleet.on_feed_up()
        self.fleet.orders.on_updates_up()
        for position in flat:
            self.fleet.orders.on_snapshot(position.symbol, [], position, self.now)
        self.fleet.orders.early_updates.take()
        self.fleet.readiness.update("reconciled", "")

    def bar(self, symbol: str, price: float = 100.0) -> None:
        self.fleet.on_bar(Bar(symbol, self.now - MINUTE, price, price, price, price, 1e4))
        self.now += MINUTE

    def report(self, action: SubmitOrder, status: str, filled: int = 0) -> None:
        self.fleet.orders.on_order_update(
            OrderReport(action.symbol, f"id-{action.client_order_id}", action.client_order_id, action.side, action.type,
                        status, Decimal(action.qty), Decimal(filled), action.limit_price, action.limit_price)
        )  # fmt: skip

    def buy(self, symbol: str) -> SubmitOrder:
        self.bar(symbol)
        action = self.sent[-1]
        assert isinstance(action, SubmitOrder)
        return action


def test_a_print_a_little_ahead_of_the_clock_is_kept_none_later() -> None:
    world = World("TSLA")
    tape = world.fleet.algos["TSLA"].tape
    for ahead, counts_as in ((0, 0), (SECOND, SECOND), (2 * SECOND, 0)):
        world.now += 5 * SECOND
        world.fleet.on_trade(Trade("TSLA", world.now + ahead, 100.0))
        assert tape.last_at == world.now + counts_as


def test_a_bar_that_is_far_too_early_is_ignored_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World("TSLA", "FB")
    world.see_all()
    for symbol, seconds in (("TSLA", 3600), ("TSLA", 3660), ("FB", 91)):
        world.fleet.on_bar(Bar(symbol, world.now + seconds * SECOND, 100.0, 100.0, 100.0, 100.0, 1e4))
    assert world.sent == []
    early = [record.message for record in caplog.records if "before its time" in record.message]
    assert early == [
        "TSLA: a bar of 10:31 came before its time: ignored",
        "FB: a bar of 09:32 came before its time: ignored",
    ]
    world.bar("TSLA")
    assert len(world.sent) == 1


def test_bars_may_run_ahead_of_the_clock_one_after_the_other() -> None:
    """The clock is asked now and then; a feed that plays faster tells the time better."""
    world = World("TSLA")
    world.see_all()
    algo = world.fleet.algos["TSLA"]
    for minute in range(1, 20):
        world.fleet.on_bar(Bar("TSLA", OPEN + minute * MINUTE, 100.0, 100.0, 100.0, 100.0, 1e4))
        assert len(algo.session_bars) == minute


def test_no_buy_goes_out_while_anything_is_not_seen() -> None:
    world = World("TSLA")
    for what in ("feed", "updates", "reconciled"):
        world.see_all()
        world.fleet.readiness.update(what, "lost")
        world.bar("TSLA")
        assert world.sent == []
    world.see_all()
    world.bar("TSLA")
    assert len(world.sent) == 1


def test_order_updates_up_are_reconciled_before_buying() -> None:
    world = World("TSLA")
    world.see_all()
    world.fleet.orders.on_updates_up()
    assert not world.fleet.readiness.is_ready
    assert world.wanted == ["order updates are up"] * 2
    world.fleet.readiness.update("reconciled", "")
    assert world.fleet.readiness.is_ready


def test_what_concerns_no_watched_symbol_is_left_alone() -> None:
    world = World("TSLA")
    world.see_all()
    world.bar("FB")
    world.fleet.on_halt(Halt("FB", OPEN, True))
    world.report(SubmitOrder("FB", "x", BUY, 1, "market"), "filled", 1)
    assert world.sent == []
    assert world.fleet.orders.why_no_entry("FB") == "not watched"
    assert world.fleet.orders.find_order("FB", "x") is None


def test_a_bug_in_one_symbol_stops_its_buying_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    world = World("TSLA", "FB", algo=Faulty)
    world.fleet.algos["FB"] = Eager("FB", Decimal(1000), "1")
    world.fleet.algos["FB"].begin_session(SESSION)
    world.see_all()
    world.bar("TSLA")
    world.bar("FB")
    assert [action.symbol for action in world.sent] == ["FB"]
    assert world.fleet.orders.why_no_entry("TSLA")
    assert "an event could not be handled" in caplog.text


def test_a_halted_symbol_is_not_bought_until_trading_goes_on() -> None:
    world = World("TSLA")
    world.see_all()
    world.fleet.on_halt(Halt("TSLA", OPEN, True, "news"))
    world.bar("TSLA")
    assert world.sent == []
    world.fleet.on_halt(Halt("TSLA", OPEN, False))
    world.bar("TSLA")
    assert len(world.sent) == 1


def test_how_many_requests_exits_and_cancels_may_need() -> None:
    world = World("TSLA", "FB")
    world.see_all()
    needed = [world.fleet.reservation.needed]
    buy = world.buy("TSLA")
    needed.append(world.fleet.reservation.needed)  # it waits for the limit: nothing is open
    world.fleet.orders.on_sent(buy)
    needed.append(world.fleet.reservation.needed)  # its cancel, its exit
    other = world.buy("FB")
    world.fleet.orders.on_sent(other)
    needed.append(world.fleet.reservation.needed)
    world.fleet.orders.on_submit_rejected("FB", other.client_order_id, "no")
    needed.append(world.fleet.reservation.needed)
    world.report(buy, "filled", 10)
    needed.append(world.fleet.reservation.needed)  # the sell that is on its way
    sell = world.sent[-1]
    assert isinstance(sell, SubmitOrder)
    world.report(sell, "new")
    needed.append(world.fleet.reservation.needed)
    world.report(sell, "canceled")
    needed.append(world.fleet.reservation.needed)  # the next sell
    assert needed == [0, 0, 2, 4, 2, 1, 0, 1]


def test_a_thousand_symbols_cost_an_entry_nothing() -> None:
    def steps(symbols: int) -> int:
        """Lines of code that are run to know what is needed."""
        world = World(*[f"S{number}" for number in range(symbols)])
        done: list[str] = []

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            done.append(event)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            needed = world.fleet.reservation.needed
        finally:
            sys.settrace(before)
        assert needed == 0
        return len(done)

    assert steps(1000) == steps(1)


def test_reaction_is_measured_from_fill_to_sending_of_its_sell() -> None:
    world = World("TSLA")
    world.see_all()
    buy = world.buy("TSLA")
    world.fleet.orders.on_sent(buy)
    world.report(buy, "filled", 10)
    sell = world.sent[-1]
    assert isinstance(sell, SubmitOrder)
    assert sell.side == "sell"
    world.fleet.orders.on_sent(sell)
    world.fleet.orders.on_sent(sell)  # once more, after a 429
    (latency,) = world.fleet.orders.fill_to_exit["TSLA"]
    assert 0 < latency < 1


def test_no_entry_in_the_last_minutes_no_order_in_the_last_2_s() -> None:
    world = World("TSLA")
    world.see_all()
    world.now = SESSION.liquidate_at - 1
    assert (world.fleet.orders.why_no_entry("TSLA"), world.fleet.orders.no_orders()) == ("", "")
    world.now = SESSION.liquidate_at
    assert (world.fleet.orders.why_no_entry("TSLA"), world.fleet.orders.no_orders()) == (
        "the session is about to end",
        "",
    )
    world.now = SESSION.quiet_at
    assert world.fleet.orders.no_orders() == "too close to the close"


def test_cancelling_the_buys_leaves_the_sells() -> None:
    world = World("TSLA", "FB")
    world.see_all()
    buy = world.buy("TSLA")
    world.report(buy, "filled", 10)
    other = world.buy("FB")
    world.report(other, "new")
    states = {symbol: algo.state for symbol, algo in world.fleet.algos.items()}
    assert states == {"TSLA": SELL_SUBMITTED, "FB": BUY_SUBMITTED}
    world.sent.clear()
    world.fleet.cancel_buys()
    assert world.sent == [CancelOrder("FB", other.client_order_id, f"id-{other.client_order_id}")]


@pytest.mark.parametrize(("count", "shown"), [(50, True), (51, False)])
def test_bars_are_shown_up_to_50_symbols(count: int, shown: bool, caplog: pytest.LogCaptureFixture) -> None:
    world = World(*[f"S{number}" for number in range(count)])
    with caplog.at_level(logging.INFO, "scalp"):
        world.bar("S0")
    assert any(record.message.startswith("bar ") for record in caplog.records if record.name == "scalp.S0") == shown


def test_flatten_reaches_every_symbol() -> None:
    world = World("AAA", "BBB")
    world.see_all()
    for symbol in world.fleet.algos:
        world.bar(symbol)
    bought = [action for action in world.sent if isinstance(action, SubmitOrder)]
    for action in bought:
        world.report(action, "new")
    world.sent.clear()
    world.fleet.flatten()
    assert [action.symbol for action in world.sent if isinstance(action, CancelOrder)] == ["AAA", "BBB"]
    assert exits_under_way(world.fleet.algos) == ["AAA", "BBB"]
    assert has_open_orders(world.fleet.algos)
    for action in bought:
        world.fleet.orders.on_order_gone(action.symbol, f"id-{action.client_order_id}")
    assert not has_open_orders(world.fleet.algos)
    assert leftovers(world.fleet.algos) == {}


def test_where_nothing_is_bought_yet_is_said_with_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World("TSLA", "FB")
    world.fleet.algos["FB"].entry_blocks.block("history", "today's bars are not here yet")
    world.see_all()
    told = "streams are up, orders and positions reconciled: buying is on"
    assert caplog.messages[-1] == f"{told}, except in FB: today's bars are not here yet"
    world.fleet.algos["FB"].entry_blocks.unblock("history")
    world.fleet.readiness.update("feed", "lost")
    world.fleet.on_feed_up()
    assert caplog.messages[-1] == told


def test_what_was_sold_twice_is_bought_back_after_a_refusal() -> None:
    world = World("TSLA")
    world.see_all()
    world.fleet.risk.rules = RiskRules(RiskLimits(stop_loss=Decimal("0.01")))
    bought = world.buy("TSLA")
    world.report(bought, "filled", bought.qty)
    exit_ = world.sent[-1]
    assert isinstance(exit_, SubmitOrder) and exit_.stop_price is not None
    world.report(exit_, "filled", exit_.qty)
    leg = OrderReport("TSLA", "leg", "theirs", "sell", "stop", "filled", Decimal(exit_.qty), Decimal(exit_.qty),
                      Decimal(99), submitted_at=world.now, stop_price=exit_.stop_price,
                      parent_id=f"id-{exit_.client_order_id}")  # fmt: skip
    world.fleet.orders.on_order_update(leg)
    cover = world.sent[-1]
    assert isinstance(cover, SubmitOrder) and (cover.side, cover.covers) == ("buy", True)
    world.fleet.orders.on_submit_rejected("TSLA", cover.client_order_id, "insufficient buying power")
    assert world.sent[-1] is cover
    assert world.fleet.exit_times.next_at == world.now + 2 * SECOND
    world.now += 2 * SECOND
    world.fleet.drive_exits()
    again = world.sent[-1]
    assert isinstance(again, SubmitOrder) and (again.covers, again.qty) == (True, cover.qty) and again is not cover


def test_an_exit_that_is_due_is_not_lost_to_what_comes_first() -> None:
    world = World("TSLA")
    world.see_all()
    world.report(world.buy("TSLA"), "filled", 10)
    sell = world.sent[-1]
    assert isinstance(sell, SubmitOrder)
    world.fleet.orders.on_submit_rejected("TSLA", sell.client_order_id, "insufficient qty available for order")
    world.now = world.fleet.exit_times.next_at
    world.fleet.cancel_buys()  # the loop has other work first, at the very moment
    world.fleet.drive_exits()
    again = world.sent[-1]
    assert isinstance(again, SubmitOrder)
    assert (again.side, again.qty, again.client_order_id == sell.client_order_id) == ("sell", sell.qty, False)


def test_what_hastens_an_exit_plan_never_puts_it_off() -> None:
    times, told = ExitTimes(), list[int]()
    times.on_sooner = lambda: told.append(times.next_at)
    for due in (8, 5, 9, 5):
        times.hasten("AAPL", due)
    times.hasten("TSLA", 6)
    assert (told, times.due(5), times.due(6)) == ([8, 5], ["AAPL"], ["AAPL", "TSLA"])
