"""What nonsense may do to trading: nothing. Broken messages go from the wire through Fleet, ledger and ScalpAlgo."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalp import ScalpAlgo
from scalp.alpaca.decode import position_report
from scalp.alpaca.feed import AlpacaFeed
from scalp.alpaca.rest import AlpacaREST
from scalp.alpaca.updates import OrderUpdates
from scalp.core.commands import Action, CancelOrder, SubmitOrder
from scalp.core.fleet import Fleet
from scalp.core.market_data import Halt, Trade, TradeCorrection
from scalp.core.orders import OrderReport
from scalp.core.prices import tick
from scalp.core.units import MINUTE, SECOND
from scalp.polygon.feed import PolygonFeed
from tests.fuzz import messages as real
from tests.fuzz.strategies import bodies, broken, fuzz, values, written
from tests.helpers import SESSION, bars, clock
from tests.wire.fakes import endpoints

POINTS = endpoints("ws://127.0.0.1:1", polygon_key="polygontestkey")
LOT = Decimal(2000)
START = clock("10:31")


@pytest.fixture(autouse=True, scope="module")
def quietly() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Buys(ScalpAlgo):
    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return True


class Bot:
    """Two symbols between fuzzed edges and a broker that writes down what it is asked."""

    def __init__(self) -> None:
        self.now = START
        self.sent: list[Action] = []
        self.algos = {symbol: Buys(symbol, LOT, "R") for symbol in ("AAPL", "TSLA")}
        self.fleet = Fleet(self.algos.values(), lambda: self.now, self.sent.append)
        self.fleet.begin_session(SESSION)
        self.fleet.orders.early_updates.take()
        for what in ("feed", "updates", "reconciled"):
            self.fleet.readiness.update(what, "")
        for symbol, algo in self.algos.items():
            algo.on_history(bars([100.0] * 30, symbol=symbol))
        rng = random.Random(1)
        self.updates = OrderUpdates(POINTS, self, rng)
        self.alpaca = AlpacaFeed(POINTS, ["AAPL"], self, rng, lambda: True, AlpacaREST(POINTS))
        self.polygon = PolygonFeed(POINTS, ["AAPL"], self, rng, lambda: True)

    def on_bar(self, bar: Any) -> None:
        self.fleet.on_bar(bar)

    def on_trade(self, trade: Trade) -> None:
        self.fleet.on_trade(trade)

    def on_gap(self, symbol: str) -> None: ...

    def on_trade_correction(self, correction: TradeCorrection) -> None:
        self.fleet.on_trade_correction(correction)

    def on_halt(self, halt: Halt) -> None:
        self.fleet.on_halt(halt)

    def on_order_update(self, report: OrderReport) -> None:
        self.fleet.orders.on_order_update(report)

    def on_feed_up(self) -> None: ...
    def on_feed_down(self, why: str) -> None: ...
    def on_updates_up(self) -> None: ...
    def on_updates_down(self, why: str) -> None: ...

    # A working order of the bot's, as the broker writes it.

    def own(self, **more: Any) -> real.Json:
        submits = [action for action in self.sent if isinstance(action, SubmitOrder)]
        if not submits:
            return real.order(**more)
        last = submits[-1]
        return real.order(
            f"id-{last.client_order_id}",
            client_order_id=last.client_order_id,
            symbol=last.symbol,
            side=last.side,
            type=last.type,
            qty=str(last.qty),
            limit_price=None if last.limit_price is None else str(last.limit_price),
            **more,
        )

    def check(self) -> None:
        for algo in self.algos.values():
            ledger = algo.ledger
            assert "trouble" not in algo.entry_blocks, algo.entry_blocks.why
            assert ledger.position.is_finite()
            assert abs(ledger.position) < 10**15
            assert ledger.realised.is_finite()
            assert ledger.entry_price is None or 0 <= ledger.entry_price < 10**12
            assert algo.tape.last_price is None or 0 < algo.tape.last_price < 1e9
            for order in ledger:
                assert order.id or order.is_own
                assert order.filled_qty >= 0
                assert order.qty is None or order.filled_qty <= max(order.qty, Decimal(0))
                assert order.side in ("buy", "sell")
        for action in self.sent:
            if isinstance(action, SubmitOrder):
                self.check_order(action)
            elif isinstance(action, CancelOrder):
                assert action.client_order_id or action.id

    @staticmethod
    def check_order(action: SubmitOrder) -> None:
        assert action.qty > 0
        if action.limit_price is not None:
            assert 0 < action.limit_price < math.inf
            assert action.limit_price % tick(action.limit_price) == 0
        if action.side == "buy":
            assert action.limit_price is not None
            assert action.qty * action.limit_price <= LOT


def fills(bot: Bot) -> list[Any]:
    price = "100.00"
    return [
        real.fill(bot.own(status="filled", filled_qty="20", filled_avg_price=price), "20", price, "e1"),
        real.fill(bot.own(status="partially_filled", filled_qty="7", filled_avg_price=price), "7", price, "e2"),
        real.update("canceled", bot.own(status="canceled")),
        real.update("replaced", bot.own(status="replaced", replaced_by="another")),
        real.FILL,
    ]


@fuzz
@given(data=st.data())
def test_no_message_moves_money_wrongly(data: st.DataObject) -> None:
    bot = Bot()
    bot.fleet.on_bar(bars([100.0], start="10:30")[0])
    bot.fleet.on_bar(bars([100.0], start="10:30", symbol="TSLA")[0])
    bot.check()
    assert len(bot.sent) == 2
    for _ in range(data.draw(st.integers(1, 6))):
        bot.now += data.draw(st.sampled_from((0, SECOND, 40 * SECOND, 5 * MINUTE)))
        source = data.draw(st.sampled_from(("update", "update", "update", "alpaca", "polygon", "position", "checkup")))
        if source == "update":
            bot.updates._take(data.draw(bodies(*fills(bot))))
        elif source == "alpaca":
            frames = bodies(real.ALPACA_BAR, real.ALPACA_TRADE, [real.ALPACA_BAR, real.ALPACA_TRADE])
            bot.alpaca._take(data.draw(frames))
        elif source == "polygon":
            bot.polygon._take(data.draw(bodies(real.POLYGON_BAR, [real.POLYGON_BAR, real.POLYGON_TRADE])))
        elif source == "position":
            listed = data.draw(broken(real.POSITION) | st.just(real.POSITION))
            if (position := position_report(listed)) is not None:
                bot.fleet.orders.on_position(position, bot.now)
        else:
            bot.fleet.checkup()
        bot.check()


@fuzz
@given(junk=st.lists(values.map(written) | broken(real.FILL).map(written), max_size=4))
def test_a_real_fill_among_nonsense_is_sold_at_once(junk: list[bytes]) -> None:
    bot = Bot()
    bot.fleet.on_bar(bars([100.0], start="10:30", symbol="TSLA")[0])
    fill = real.fill(bot.own(status="filled", filled_qty="20", filled_avg_price="100"), "20", "100.00", "e1")
    for frame in (*junk, written(fill), *junk, written(fill)):
        bot.updates._take(frame)
    assert bot.algos["TSLA"].ledger.position == 20
    sells = [action for action in bot.sent if isinstance(action, SubmitOrder) and action.symbol == "TSLA"][1:]
    assert [(action.side, action.qty, action.limit_price) for action in sells] == [("sell", 20, Decimal("100.00"))]
