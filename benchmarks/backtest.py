"""Bars a second of a backtest with the live class: `python -m benchmarks.backtest`.

Seconds are those of the processor, so that a busy machine matters less. Beside it, in turns on the same bars: a bare
class with a two-line broker (the least that could trade the same rule), backtesting.py and vectorbt, where these
packages are installed. Every symbol's day is a backtest of its own, as a scalper trades. vectorbt knows no order that
waits: it buys at the signal's close, and sells where a bar comes back to that. The bot is told once with the signals
asked minute by minute, as live, and once with them known ahead; then under
the default fills, and with a signal that seldom comes.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from benchmarks.bars import quiet
from benchmarks.exchange import symbols
from benchmarks.table import median, print_table, quantile
from scalp import ScalpAlgo
from scalp.backtest.run import play
from scalp.backtest.settings import BacktestSettings
from scalp.backtest.signals import Ahead
from scalp.core.clock import Session
from scalp.core.market_data import Bar
from scalp.exchange.calendar import trading_days
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.market import synthetic_day

SIZE, LONG = (10, 5), (50, 20)  # symbols, days
ROUNDS = 3
LOT = 2000

Days = Sequence[tuple[Session, Mapping[str, Sequence[Bar]]]]
Result = tuple[int, float]  # buys that filled, seconds
Runner = Callable[[Days], Result]


def days(count: int, length: int) -> Days:
    """`length` days of `count` symbols, regular hours only; the same random walks each time."""
    start = DEFAULT_DAY.replace(day=1)
    found = []
    for number, day in enumerate(trading_days(start, start.replace(year=start.year + 1))[:length]):
        session = Session(day.date, day.open, day.close)
        market = {
            symbol: [bar for bar in bars if day.open <= bar.start < day.close]
            for symbol, bars in synthetic_day(symbols(count), day, number).items()
        }
        found.append((session, market))
    return found


class Seldom(ScalpAlgo):
    """The same rule with a long window: a trade in hundreds of bars."""

    window = 180


def ours(fills: str, algo: type[ScalpAlgo] = ScalpAlgo, ahead: Mapping[str, Ahead] | None = None) -> Runner:
    """Fleet, state machine, ledger and fills as ever; `ahead` empty: every signal is asked, and no minute skipped."""
    settings = BacktestSettings(symbols=(), lot=Decimal(LOT), fills=fills)

    def run(market: Days) -> Result:
        started = time.process_time()
        played = [day for session, bars in market for day in play(settings, algo, session, bars, ahead)]
        taken = time.process_time() - started
        return sum(order.side == "buy" and order.filled_qty > 0 for day in played for order in day.orders), taken

    return run


def bare(market: Days) -> Result:
    """Buy at the close on the signal, filled by the next two bars' lows; sell at the entry price or better."""
    started = time.process_time()
    buys = 0
    for _, by_symbol in market:
        for bars in by_symbol.values():
            buys += _bare_day(bars)
    return buys, time.process_time() - started


def _bare_day(bars: Sequence[Bar]) -> int:
    closes: list[float] = []
    buys, wanted, met, offered = 0, 0.0, 0, 0.0
    for bar in bars:
        close = bar.close
        if wanted:
            met += 1
            if bar.low <= wanted:
                buys, offered, wanted = buys + 1, max(min(wanted, bar.open), close), 0.0
            elif met == 2:
                wanted = 0.0
        elif offered and bar.high >= offered:
            offered = 0.0
        closes.append(close)
        if not wanted and not offered and len(closes) > 20:
            inner = sum(closes[-20:-1])
            if 20 * closes[-2] < inner + closes[-21] and 20 * close > inner + close:
                wanted, met = close, 0
    return buys


def backtesting_py(market: Days) -> Result:
    """The same rule and orders in backtesting.py; the data frames are made before the time runs."""
    import pandas as pd
    from backtesting import Backtest, Strategy  # type: ignore[import-not-found, unused-ignore]

    class Crossover(Strategy):  # type: ignore[misc, unused-ignore]
        def init(self) -> None:
            self.average = self.I(lambda close: pd.Series(close).rolling(20).mean(), self.data.Close)
            self.ordered = 0

        def next(self) -> None:
            close, average = self.data.Close, self.average
            if self.position:
                if not any(order.is_short for order in self.orders):
                    price = max(close[-1], self.trades[-1].entry_price)
                    self.sell(size=self.position.size, limit=price)
                return
            for order in self.orders:
                if len(self.data) - self.ordered >= 2:
                    order.cancel()
            if not self.orders and close[-2] < average[-2] and close[-1] > average[-1]:
                self.ordered = len(self.data)
                self.buy(size=max(1, int(LOT / close[-1])), limit=close[-1])

    frames = [
        pd.DataFrame(
            [(b.open, b.high, b.low, b.close, b.volume) for b in bars],
            columns=["Open", "High", "Low", "Close", "Volume"],
            index=pd.to_datetime([b.start for b in bars], utc=True),
        )
        for _, by_symbol in market
        for bars in by_symbol.values()
    ]
    started = time.process_time()
    buys = 0
    for frame in frames:
        buys += int(Backtest(frame, Crossover, cash=10 * LOT).run()["# Trades"])
    return buys, time.process_time() - started


def vectorbt(market: Days) -> Result:
    """Its columns are the symbol-days; frames are made, and its code is compiled, before the time runs."""
    import numpy as np
    import pandas as pd
    import vectorbt as vbt  # type: ignore[import-not-found, unused-ignore]

    rows = [bars for _, by_symbol in market for bars in by_symbol.values() if len(bars) == 390]
    index = pd.date_range("2026-11-02 09:30", periods=390, freq="min")
    opens, highs, lows, closes = (
        pd.DataFrame(np.array([[getattr(bar, name) for bar in bars] for bars in rows]).T, index=index)
        for name in ("open", "high", "low", "close")
    )
    sizes = (LOT // closes).clip(lower=1)

    def run() -> int:
        average = closes.rolling(20).mean()
        entries = (closes > average) & (closes.shift() < average.shift())
        portfolio = vbt.Portfolio.from_signals(
            closes, entries, size=sizes, open=opens, high=highs, low=lows, tp_stop=1e-9, init_cash=10 * LOT, freq="min"
        )
        return int(portfolio.trades.count().sum())

    run()
    started = time.process_time()
    trades = run()
    taken = time.process_time() - started
    return trades, taken * sum(len(bars) for _, by in market for bars in by.values()) / (390 * len(rows))


def report(size: tuple[int, int], rounds: int) -> None:
    market = days(*size)
    count = sum(len(bars) for _, by_symbol in market for bars in by_symbol.values())
    runners: dict[str, Runner] = {
        "backtesting.py": backtesting_py,
        "vectorbt": vectorbt,
        "bot, asked": ours("bar", ahead={}),
        "bot": ours("bar"),
        "bot, seldom": ours("bar", Seldom),
        "bot, default fills, asked": ours("pessimistic", ahead={}),
        "bot, default fills": ours("pessimistic"),
        "bot, default fills, seldom": ours("pessimistic", Seldom),
        "bare class": bare,
    }
    for name, package in (("backtesting.py", "backtesting"), ("vectorbt", "vectorbt")):
        if importlib.util.find_spec(package) is None:
            del runners[name]
            print(f"\n{name}: skipped, the package `{package}` is not installed")
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    buys: dict[str, Any] = {}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(rounds):
            for name, runner in runners.items():
                buys[name], taken = runner(market)
                speeds[name].append(count / taken)
    base = median(speeds[next(iter(runners))])
    print_table(
        f"Backtest of {size[0]} symbols x {size[1]} days, {count:,} bars: bars a second",
        ["what", "rounds", "median", "slowest", f"ratio to {next(iter(runners))}", "buys"],
        [[n, rounds, median(v), quantile(v, 0.01), f"{median(v) / base:.2f}x", buys[n]] for n, v in speeds.items()],
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backtest", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG[0]} symbols x {LONG[1]} days")
    args = parser.parse_args(argv)
    report(LONG if args.long else SIZE, ROUNDS)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    sys.exit(main())
