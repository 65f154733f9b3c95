"""`--fills bar` against backtesting.py, an engine that nobody here wrote: trade by trade, to the cent and beyond.

Its own rules for limit and market orders are those of `--fills bar`: a limit fills at the open if that is as good, else
at the limit if the bar reaches it; a market order at the next open. What had to be aligned, all in the strategy below:

- the 20-bar average is reckoned in integers (millionths of a dollar), not by pandas in floats;
- limits lie on a valid tick, a buy's rounded down, a sell's up, and shares are whole: floor(lot / limit);
- it has no time limit for orders: the strategy counts the bars a buy has met;
- it sees bars, not a clock: liquidation is at the last bar that ends by 5 minutes before the close;
- each symbol's day is a run of its own, with money enough never to refuse an order, and open trades are not closed at
  its last bar.
"""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
import pytest

from scalp import Bar
from scalp.core.clock import Session
from scalp.core.units import MINUTE
from tests.backtest.recorded import LOT, REAL_BARS, Row, SymbolBars, ours, real_days, synthetic_days

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what a package says while it is imported is its own affair
    outside: Any = pytest.importorskip("backtesting", reason="backtesting.py is not installed: a check from outside")

pytestmark = pytest.mark.filterwarnings("ignore")


def micros(price: float) -> int:
    return round(float(price) * 1_000_000)


class Crossover(outside.Strategy):  # type: ignore[misc]
    """The scalper in the terms of backtesting.py."""

    last_bar = 0  # index of the bar at whose close everything is liquidated

    def init(self) -> None:
        self.met = 0
        self.was_held = False

    def next(self) -> None:
        closes = [micros(close) for close in self.data.Close[-21:]]
        close = float(self.data.Close[-1])
        is_entered = bool(self.position) and not self.was_held
        self.was_held = bool(self.position)
        if len(self.data) - 1 >= self.last_bar:
            for order in self.orders:
                if order.limit:
                    order.cancel()
            if self.position and not self.orders:
                self.position.close()
            return
        for order in self.orders:
            if order.is_long:
                self.met += 1
                if self.met == 2:
                    order.cancel()
        if is_entered:
            price = max(micros(close), micros(self.trades[-1].entry_price))
            self.sell(size=self.position.size, limit=-(-price // self.step(price)) * self.step(price) / 1_000_000)
        elif not self.position and not self.orders and len(closes) == 21:
            is_signal = 20 * closes[-2] < sum(closes[:20]) and 20 * closes[-1] > sum(closes[1:])
            limit = closes[-1] // self.step(closes[-1]) * self.step(closes[-1])
            if is_signal and LOT * 1_000_000 // limit:
                self.met = 0
                self.buy(size=LOT * 1_000_000 // limit, limit=limit / 1_000_000)

    @staticmethod
    def step(price: int) -> int:
        return 10_000 if price >= 1_000_000 else 100


def theirs(day: Session, bars: list[Bar]) -> list[Row]:
    columns = ("open", "high", "low", "close", "volume")
    data = pd.DataFrame(
        [[getattr(bar, column) for column in columns] for bar in bars],
        index=pd.DatetimeIndex([bar.start for bar in bars]),
        columns=[column.capitalize() for column in columns],
    )
    ends = [index for index, bar in enumerate(bars) if bar.start + MINUTE <= day.close - 5 * MINUTE]
    run = outside.Backtest(data, Crossover, cash=1e9, finalize_trades=False)
    trades = run.run(last_bar=ends[-1] if ends else 0)._trades
    rows = [
        Row(
            int(trade.Size),
            bars[trade.EntryBar].start,
            micros(trade.EntryPrice),
            bars[trade.ExitBar].start,
            micros(trade.ExitPrice),
            "liquidation" if ends and trade.ExitBar > ends[-1] else "sell",
        )
        for trade in trades.itertuples()
    ]
    return sorted(rows, key=lambda row: row.entered)


@pytest.mark.skipif(not REAL_BARS.is_dir(), reason="the recorded bars are not in ../shared/data/real-minute-bars")
def test_the_same_trades_on_the_recorded_days() -> None:
    compared = 0
    for symbol, day, bars in real_days():
        expected = theirs(day, bars)
        assert ours(symbol, day, bars) == expected, f"{symbol} {day.date}"
        compared += len(expected)
    assert compared == 431


@pytest.mark.parametrize("which", list(synthetic_days(range(3, 5))), ids=lambda which: f"{which[0]}-{which[1].date}")
def test_the_same_trades_on_synthetic_days(which: SymbolBars) -> None:
    symbol, day, bars = which
    assert ours(symbol, day, bars) == theirs(day, bars)
