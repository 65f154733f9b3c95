"""The future does not reach into the past, and the bar that is still open cannot be seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

import pandas as pd
import pytest

from scalp import Bar, ScalpAlgo
from scalp.backtest import bar_rules, engine_rules
from scalp.backtest.days import NO_SLIPPAGE
from scalp.backtest.settings import FILLS
from scalp.core.commands import Action
from scalp.core.units import MINUTE
from scalp.exchange.calendar import session_day
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Latency
from scalp.results.symbol_day import SymbolDay, regular
from tests.backtest.recorded import session

DAY = session(session_day(dt.date(2026, 11, 20)))
MARKET = {
    symbol: regular(bars, DAY)
    for symbol, bars in synthetic_day(("AAPL", "THIN", "F"), session_day(DAY.date), 3).items()
}


def play(fills: str, market: dict[str, list[Bar]], algo: type[ScalpAlgo] = ScalpAlgo) -> list[SymbolDay]:
    if fills == "bar":
        return [bar_rules.play(algo, symbol, Decimal(2000), DAY, bars, NO_SLIPPAGE) for symbol, bars in market.items()]
    return engine_rules.play(algo, Decimal(2000), DAY, market, engine_rules.MODELS[fills], Latency())


def before(day: SymbolDay, at: int) -> tuple[object, ...]:
    orders = [(o.side, o.qty, o.limit_price, o.submitted_at) for o in day.orders if o.submitted_at < at]
    return day.symbol, orders, [fill for fill in day.fills if fill.at < at]


@pytest.mark.parametrize("fills", FILLS)
@pytest.mark.parametrize("minutes", [60, 61, 200, 386])
def test_without_the_future_the_past_is_the_same(fills: str, minutes: int) -> None:
    cut = DAY.open + minutes * MINUTE
    known = {symbol: [bar for bar in bars if bar.start < cut] for symbol, bars in MARKET.items()}
    whole, part = play(fills, MARKET), play(fills, known)
    assert [before(day, cut) for day in part] == [before(day, cut) for day in whole]
    assert minutes < 386 or sum(len(day.fills) for day in part) > 20


class Watches(ScalpAlgo):
    """Notes what it sees, and when it is asked."""

    warmup_bars = 1
    seen: ClassVar[list[tuple[int, pd.DataFrame]]] = []
    now = 0

    def on_bar(self, bar: Bar, at: int) -> list[object]:  # type: ignore[override]
        self.now = at
        return super().on_bar(bar, at)  # type: ignore[return-value]

    def _calculate_buy_signal(self) -> bool:
        self.seen.append((self.now, self._bars))
        return False


class Peeks(Watches):
    """Buys when the newest bar it can get at rose."""

    def _calculate_buy_signal(self) -> bool:
        super()._calculate_buy_signal()
        return bool(self._bars["close"].iloc[-1] > self._bars["open"].iloc[-1])


class Exits(ScalpAlgo):
    """Has an exit price, a quantity and an exit signal of its own, and notes what each sees."""

    exit_on_trades = True
    seen: ClassVar[list[tuple[str, int, object]]] = []
    at = 0

    def on_bar(self, bar: Bar, at: int) -> list[object]:  # type: ignore[override]
        self.at = at
        return super().on_bar(bar, at)  # type: ignore[return-value]

    def after_trade(self, at: int) -> Sequence[Action]:
        self.at = at
        return super().after_trade(at)

    def see(self, hook: str) -> float:
        bars = self._bars
        self.seen.append((hook, self.at, (len(bars), bars.index[-1], self.position, self.entry_price, self.last_trade)))
        assert bars.index[-1].value + MINUTE <= self.at
        assert self.entry_time is None or self.entry_time.timestamp() * 1e9 <= self.at + MINUTE
        return float(bars["close"].iloc[-1])

    def _calculate_exit_price(self) -> float:
        return self.see("price") * 1.002

    def _calculate_quantity(self, price: Decimal) -> int:
        return 3 + round(self.see("quantity") * 100) % 5

    def _calculate_exit_signal(self) -> bool:
        return self.see("signal") < (self.entry_price or 0) * 0.999


@pytest.mark.parametrize("fills", FILLS)
@pytest.mark.parametrize("minutes", [61, 200])
def test_without_the_future_own_exits_are_the_same(fills: str, minutes: int) -> None:
    cut = DAY.open + minutes * MINUTE
    known = {symbol: [bar for bar in bars if bar.start < cut] for symbol, bars in MARKET.items()}
    told = []
    for market in (MARKET, known):
        Exits.seen.clear()
        days = play(fills, market, Exits)
        told.append(([before(day, cut) for day in days], [one for one in Exits.seen if one[1] < cut]))
    assert told[0] == told[1]
    assert {hook for hook, *_ in told[0][1]} == {"price", "quantity", "signal"}


@pytest.mark.parametrize("fills", FILLS)
def test_a_signal_sees_finished_minutes_only(fills: str) -> None:
    """Every row `_bars` holds when the signal is asked is a minute that has ended: the open one cannot be peeked at."""
    Watches.seen.clear()
    play(fills, {"AAPL": MARKET["AAPL"]}, Watches)
    assert len(Watches.seen) > 300
    bars = {bar.start: bar for bar in MARKET["AAPL"]}
    for at, frame in Watches.seen:
        starts = [int(start.value) for start in frame.index]
        assert starts[-1] + MINUTE <= at
        assert starts == [start for start in bars if start + MINUTE <= at]
        assert frame["close"].iloc[-1] == bars[starts[-1]].close


@pytest.mark.parametrize("fills", FILLS)
def test_what_a_peeking_signal_would_need_is_not_there(fills: str) -> None:
    """Two futures that differ only in the bar after the cut: the signal at the cut cannot tell them apart."""
    cut = DAY.open + 100 * MINUTE

    def world(rise: float) -> dict[str, list[Bar]]:
        bars = [bar for bar in MARKET["AAPL"] if bar.start < cut]
        last = bars[-1].close
        low, high = sorted((last, last + rise))
        return {"AAPL": [*bars, Bar("AAPL", cut, last, high, low, last + rise, 1e5)]}

    seen = []
    for rise in (5.0, -5.0):
        Peeks.seen.clear()
        play(fills, world(rise), Peeks)
        seen.append([(at, frame.to_csv()) for at, frame in Peeks.seen if at < cut + MINUTE])
    assert seen[0] == seen[1]


def test_a_day_ends_flat_or_says_what_is_held() -> None:
    """No bar after the liquidation began: the shares are held, at the last close."""
    rising = [Bar("UP", DAY.open + n * MINUTE, 10 - n / 100, 10, 9, 10 - n / 100, 1000) for n in range(22)]
    last = rising[-1].start
    rising.append(Bar("UP", last + MINUTE, 11, 11, 10.9, 11, 1000))
    rising.append(Bar("UP", last + 2 * MINUTE, 10.5, 10.9, 10, 10.2, 1000))
    done = bar_rules.play(ScalpAlgo, "UP", Decimal(2000), DAY, rising, NO_SLIPPAGE)
    assert [(fill.side, fill.price) for fill in done.fills] == [("buy", Decimal("10.5"))]
    assert [order.status for order in done.orders] == ["filled", "canceled", "expired"]
    assert done.path[-1] == (last + 3 * MINUTE, round(181 * (10.2 - 10.5) * 1e6))
