"""Signals known ahead: minutes are skipped, and every trade is the same; no signal sees what follows it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from scalp import Bar, ScalpAlgo
from scalp.backtest.days import Slippage
from scalp.backtest.run import Day, play
from scalp.backtest.settings import FILLS, BacktestSettings
from scalp.backtest.signals import Ahead, known
from scalp.core.clock import Session
from scalp.core.commands import Action
from scalp.core.errors import UserError
from scalp.core.risk_limits import RiskLimits
from scalp.core.units import MINUTE
from scalp.exchange.calendar import session_day, trading_days
from scalp.exchange.market import synthetic_day
from scalp.exchange.replay import load
from scalp.results.symbol_day import SymbolDay, regular
from tests.backtest.recorded import REAL_BARS

LOT = Decimal(2000)
D = Decimal


def settings(fills: str, **others: Any) -> BacktestSettings:
    return replace(BacktestSettings(symbols=(), lot=LOT, fills=fills), **others)


def synthetic() -> list[Day]:
    """Two days, one of them short; one symbol trades seldom."""
    found = []
    for number, day in enumerate(trading_days(dt.date(2026, 11, 25), dt.date(2026, 11, 27))):
        session = Session(day.date, day.open, day.close)
        market = synthetic_day(("AAPL", "THIN", "F"), day, 5 + number)
        found.append(Day(session, {symbol: regular(bars, session) for symbol, bars in market.items()}))
    return found


def recorded() -> list[Day]:
    found = []
    for date, market in load([REAL_BARS]).items():
        day = session_day(date)
        session = Session(day.date, day.open, day.close)
        found.append(Day(session, {symbol: regular(bars, session) for symbol, bars in market.items()}))
    return found


def told(day: SymbolDay) -> tuple[object, ...]:
    """All that is known of a day, the ids and times of orders too."""
    orders = [
        (o.client_order_id, o.side, o.type, o.qty, o.limit_price, o.stop_price, o.status, o.filled_qty, o.submitted_at,
         o.cancel_sent_at)
        for o in day.orders
    ]  # fmt: skip
    return day.symbol, day.minutes, orders, day.fills, day.path, day.last_price


def both(
    kept: Sequence[Day], chosen: BacktestSettings, algo: type[ScalpAlgo], slow: type[ScalpAlgo] | None = None
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Played with what is known ahead, and bar by bar, each signal asked."""
    leapt = [told(one) for day in kept for one in play(chosen, algo, day.session, day.market)]
    walked = [told(one) for day in kept for one in play(chosen, slow or algo, day.session, day.market, {})]
    return leapt, walked


class Hooked(ScalpAlgo):
    """Built-in entries; an exit, an exit signal and a size of its own, which note what they saw."""

    seen: ClassVar[list[object]] = []
    exit_on_trades = True

    def see(self, what: str) -> float:
        bars = self._bars
        row = (self.symbol, what, len(bars), bars.index[-1], self.position, self.entry_price, self.last_trade)
        self.seen.append(row)
        return float(bars["close"].iloc[-1])

    def _calculate_exit_price(self) -> float:
        return self.see("price") * 1.001

    def _calculate_quantity(self, price: Decimal) -> int:
        return 3 + round(self.see("quantity") * 100) % 5

    def _calculate_exit_signal(self) -> bool:
        return self.see("signal") < (self.entry_price or 0) * 0.998


class Priced(ScalpAlgo):
    """Its exit lies a bit higher, so that sells wait for long."""

    window = 5

    def _calculate_exit_price(self) -> float:
        return float(self._bars["high"].max())


LIMITS = {
    "none": RiskLimits(),
    "stop": RiskLimits(stop_loss=D("0.002")),
    "trail": RiskLimits(trail=D("0.002")),
}
FULL = {
    "bot": RiskLimits(stop_loss=D("0.002"), stop_at="bot"),
    "all": RiskLimits(max_hold=15 * MINUTE, cooldown=10 * MINUTE, max_positions=2, no_buy_after=dt.time(12)),
    "loss": RiskLimits(max_loss=D(5)),
}


@pytest.mark.parametrize("limits", [*LIMITS, *FULL])
@pytest.mark.parametrize("algo", [ScalpAlgo, Priced, Hooked])
@pytest.mark.parametrize("fills", FILLS)
def test_every_trade_of_synthetic_days_is_the_same(fills: str, algo: type[ScalpAlgo], limits: str) -> None:
    if fills == "bar" and limits in FULL:
        pytest.skip("--fills bar knows no such limit")
    chosen = settings(fills, risk_limits={**LIMITS, **FULL}[limits], slippage=Slippage(dollars=D("0.01")))
    days = synthetic()
    Hooked.seen.clear()
    leapt = [told(one) for day in days for one in play(chosen, algo, day.session, day.market)]
    seen = [*Hooked.seen]
    Hooked.seen.clear()
    walked = [told(one) for day in days for one in play(chosen, algo, day.session, day.market, {})]
    assert leapt == walked
    assert seen == Hooked.seen, "and every hook has seen the same"
    assert sum(len(one[3]) for one in leapt) > (3 if limits == "loss" else 20)  # type: ignore[arg-type, misc]


@pytest.mark.skipif(not REAL_BARS.exists(), reason="the recorded bars are not here")
@pytest.mark.parametrize("fills", FILLS)
def test_every_trade_of_recorded_days_is_the_same(fills: str) -> None:
    leapt, walked = both(recorded(), settings(fills, net_exit=True), ScalpAlgo)
    assert leapt == walked
    assert sum(len(one[3]) for one in leapt) > 100  # type: ignore[arg-type, misc]


# -- the optional method ----------------------------------------------------------------------------------------------


class Dips(ScalpAlgo):
    """A close below all of the 10 before, one by one and all at once."""

    asked: ClassVar[list[int]] = []

    def _calculate_buy_signal(self) -> bool:
        self.asked.append(len(self._bars))
        closes = self._bars["close"]
        return bool(closes.iloc[-1] < closes.iloc[-11:-1].min())

    def _calculate_buy_signals(self, bars: pd.DataFrame) -> Any:
        return bars["close"] < bars["close"].rolling(10).min().shift()


class OneByOne(Dips):
    """The same without the other method: what it extends says nothing for it."""

    def _calculate_buy_signal(self) -> bool:
        return super()._calculate_buy_signal()


@pytest.mark.parametrize("fills", FILLS)
def test_a_days_signals_at_once_give_the_same_trades(fills: str) -> None:
    Dips.asked.clear()
    leapt, walked = both(synthetic(), settings(fills), Dips, OneByOne)
    assert leapt == walked and sum(len(one[3]) for one in leapt) > 20  # type: ignore[arg-type, misc]


def market_of(day: Day) -> list[tuple[str, Ahead | None]]:
    return [(symbol, known(Dips, symbol, LOT, day.session, bars)) for symbol, bars in day.market.items()]


def test_it_is_asked_once_a_day_and_looked_at_twice() -> None:
    day = synthetic()[0]
    Dips.asked.clear()
    for symbol, ahead in market_of(day):
        assert ahead is not None, symbol
    assert len(Dips.asked) == 2 * len(day.market), "two rows of each symbol-day are compared with the single method"
    assert known(OneByOne, "F", LOT, day.session, day.market["F"]) is None


class Peeks(Dips):
    """Its day at once knows the next close."""

    def _calculate_buy_signal(self) -> bool:
        return False

    def _calculate_buy_signals(self, bars: pd.DataFrame) -> Any:
        return bars["close"].shift(-1) > bars["close"]


class Centred(Dips):
    """Agrees where it is asked, but for an average around the row."""

    def _calculate_buy_signals(self, bars: pd.DataFrame) -> Any:
        return bars["close"] < bars["close"].rolling(5, center=True, min_periods=1).mean()

    def _calculate_buy_signal(self) -> bool:
        return bool(self._calculate_buy_signals(self._bars).iloc[-1])


class Other(Dips):
    """Its two methods say different things."""

    def _calculate_buy_signal(self) -> bool:
        return False

    def _calculate_buy_signals(self, bars: pd.DataFrame) -> Any:
        return bars["close"] > 0


class Short(Dips):
    def _calculate_buy_signals(self, bars: pd.DataFrame) -> Any:
        return [True]


class Numbers(Dips):
    def _calculate_buy_signals(self, bars: pd.DataFrame) -> Any:
        return np.zeros(len(bars))


class Raises(Dips):
    def _calculate_buy_signals(self, bars: pd.DataFrame) -> Any:
        raise KeyError("vwap")


REFUSED: Mapping[type[ScalpAlgo], str] = {
    Peeks: "it may look at no later row",
    Centred: "without the bars that follow it",
    Other: "it may look at no later row, and must say what _calculate_buy_signal says",
    Short: "must say True or False for each of 390 rows, not bool of shape (1,)",
    Numbers: "must say True or False for each of 390 rows, not float64",
    Raises: "failed (KeyError: 'vwap')",
}


@pytest.mark.parametrize("algo", REFUSED)
def test_signals_that_see_the_future_or_differ_are_refused(algo: type[ScalpAlgo]) -> None:
    day = synthetic()[0]
    with pytest.raises(UserError) as refusal:
        for symbol in day.market:
            list(play(settings("bar"), algo, day.session, {symbol: day.market[symbol]}))
    assert REFUSED[algo] in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_class_cannot_have_the_days_signals_alone() -> None:
    with pytest.raises(TypeError, match="defines _calculate_buy_signals alone: _calculate_buy_signal trades, define"):
        type("Alone", (ScalpAlgo,), {"_calculate_buy_signals": lambda self, bars: bars["close"] > 0})


class Handles(ScalpAlgo):
    """Has a handler of its own: every bar must reach it."""

    bars: ClassVar[list[int]] = []

    def on_bar(self, bar: Bar, at: int) -> list[Action]:
        self.bars.append(bar.start)
        return super().on_bar(bar, at)


def test_a_class_with_handlers_of_its_own_hears_of_every_bar() -> None:
    day = synthetic()[0]
    list(play(settings("bar"), Handles, day.session, {"F": day.market["F"]}))
    assert Handles.bars == [bar.start for bar in day.market["F"]]
