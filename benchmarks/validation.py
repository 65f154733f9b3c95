"""Whether the verdicts can be trusted: `python -m benchmarks.validation`; docs/proof.md quotes what it prints.

Signals without an edge, on random walks of symbols that move together: their p-values should be uniform. Then the same
with an edge planted, three sizes of it: how often is it found? And SPA and deflated Sharpe ratio beside packages that
nobody here wrote (arch; vectorbt, where it is installed). It takes a while, and can be done in parts: `--part 1/4`
prints its p-values, and `--read FILE ...` sums them up.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.table import print_table
from scalp import Bar, ScalpAlgo
from scalp.backtest.luck import verdict
from scalp.backtest.run import Day, play
from scalp.backtest.settings import BacktestSettings
from scalp.core.clock import Session
from scalp.core.units import MINUTE
from scalp.exchange.calendar import trading_days
from scalp.results.selection import Matrix, _spread, deflated_sharpe, spa
from scalp.results.totals import Results

SYMBOLS = ("AAA", "BBB", "CCC")
DAYS = 2
COMMON = 0.5  # the part of a minute's variance that all symbols share
MINUTE_MOVE = 0.0005  # standard deviation of a minute's return
STEPS = 4  # prices a minute, of which its bar is made
SIGNALS = 200
SHIFTS = 199
EDGES = (0.0005, 0.001, 0.002)  # by which the five minutes after a signal rise
PLANTED = 30  # signals with an edge, of each size
LOT = Decimal(2000)
NEVER = 10**9

Array = npt.NDArray[np.float64]


def walks(rng: np.random.Generator, minutes: int) -> Array:
    """Logarithms of prices, symbol by symbol, `STEPS` a minute: nothing before tells of what follows."""
    size = minutes * STEPS
    own, common = rng.normal(size=(len(SYMBOLS), size)), rng.normal(size=size)
    moves = np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * own
    return np.asarray(np.cumsum(moves * MINUTE_MOVE / np.sqrt(STEPS), axis=1))


def day(session: Session, paths: Array) -> Day:
    """The bars of one day, prices from 50 dollars on in whole cents."""
    market: dict[str, list[Bar]] = {}
    for symbol, path in zip(SYMBOLS, paths, strict=True):
        prices = np.round(50 * np.exp(path), 2).reshape(-1, STEPS)
        market[symbol] = [
            Bar(symbol, session.open + row * MINUTE, float(p[0]), float(p.max()), float(p.min()), float(p[-1]), 1e6)
            for row, p in enumerate(prices)
        ]
    return Day(session, market)


class Told(ScalpAlgo):
    """Buys in the minutes that it is told."""

    minutes: dict[tuple[str, int], bool] = {}  # noqa: RUF012

    def _calculate_buy_signal(self) -> bool:
        return self.minutes.get((self.symbol, self.session_bars.last_start), False)

    def _calculate_buy_signals(self, bars: Any) -> Any:
        return np.array([self.minutes.get((self.symbol, int(start.value)), False) for start in bars.index])


def without_edge(rng: np.random.Generator, number: int, days: Sequence[Day]) -> dict[tuple[str, int], bool]:
    """One of four kinds, all of the past alone: crossings, new lows, momentum, and any minute at all."""
    found: dict[tuple[str, int], bool] = {}
    window = int(rng.integers(3, 40))
    for one in days:
        shared = rng.random(390) < 0.05
        for symbol, bars in one.market.items():
            close = np.array([bar.close for bar in bars])
            mean = np.convolve(close, np.ones(window) / window)[: len(close)]
            says = {
                0: np.r_[False, (close[1:] > mean[1:]) & (close[:-1] < mean[:-1])],
                1: np.array([row > window and close[row] < close[row - window : row].min() for row in range(390)]),
                2: np.r_[[False] * 5, close[5:] / close[:-5] > 1 + 2 * MINUTE_MOVE],
                3: shared | (rng.random(390) < 0.02),
            }[number % 4]
            found |= {(symbol, bar.start): True for bar, yes in zip(bars, says, strict=True) if yes}
    return found


def sessions() -> list[Session]:
    start = dt.date(2026, 10, 5)
    return [Session(d.date, d.open, d.close) for d in trading_days(start, start + dt.timedelta(days=9))][:DAYS]


def p_value(days: Sequence[Day], says: dict[tuple[str, int], bool], shifts: int, fills: str) -> float | None:
    settings = BacktestSettings(symbols=SYMBOLS, lot=LOT, fills=fills, luck=shifts)
    Told.minutes = says
    played = (one for d in days for one in play(settings, Told, d.session, d.market))
    results = Results(played, settings.fees, LOT)
    return verdict(days, settings, Told, results, 0.0, clear=NEVER).p


def null_p(seed: int, shifts: int, fills: str) -> float | None:
    """The p-value of a signal without an edge."""
    rng = np.random.default_rng(seed)
    days = [day(session, walks(rng, 390)) for session in sessions()]
    return p_value(days, without_edge(rng, seed, days), shifts, fills)


def planted_p(seed: int, edge: float, shifts: int, fills: str) -> float | None:
    """That of one at random minutes, the same in all symbols, after which prices rise by `edge` in five minutes."""
    rng = np.random.default_rng(seed)
    days: list[Day] = []
    says: dict[tuple[str, int], bool] = {}
    for session in sessions():
        paths = walks(rng, 390)
        rows = np.flatnonzero(rng.random(375) < 0.08)
        lift = np.zeros(390 * STEPS)
        for row in rows:
            lift[(row + 1) * STEPS : (row + 6) * STEPS] += edge / (5 * STEPS)
        days.append(day(session, paths + np.cumsum(lift)))
        says |= {(symbol, session.open + int(row) * MINUTE): True for symbol in SYMBOLS for row in rows}
    return p_value(days, says, shifts, fills)


def part(number: int, of: int, args: argparse.Namespace) -> dict[str, list[float | None]]:
    """Each so many-th of all signals."""
    found: dict[str, list[float | None]] = {"0": []}
    found["0"] = [null_p(seed, args.shifts, args.fills) for seed in range(number - 1, args.signals, of)]
    for edge in EDGES:
        seeds = range(10_000 + number - 1, 10_000 + args.planted, of)
        found[str(edge)] = [planted_p(seed, edge, args.shifts, args.fills) for seed in seeds]
    return found


def tell(found: dict[str, list[float | None]]) -> None:
    from scipy import stats  # type: ignore[import-untyped, unused-ignore]

    null = [p for p in found["0"] if p is not None]
    ks = stats.kstest(null, "uniform")
    print(f"\nwithout an edge: {len(null)} signals ({len(found['0']) - len(null)} had too few trades)")
    print(f"Kolmogorov-Smirnov against the uniform distribution: D = {ks.statistic:.3f}, p = {ks.pvalue:.2f}")
    rows = []
    for edge, values in found.items():
        sound = np.array([p for p in values if p is not None])
        told = "none" if edge == "0" else f"{float(edge) * 1e4:g} bp in 5 minutes"
        rates = [f"{(sound <= level).mean():.0%}" for level in (0.01, 0.05, 0.1, 0.25, 0.5)]
        rows.append([told, len(sound), *rates, f"{np.median(sound):.3f}"])
    print_table("p-values at or below", ["edge", "signals", "0.01", "0.05", "0.10", "0.25", "0.50", "median"], rows)


def compare_selection(seeds: int = 40) -> None:
    """The largest differences between ours and others'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from arch.bootstrap import SPA
    apart, deflated = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        nets: Matrix = rng.normal(size=(60, 1)) + rng.normal(size=(60, 50)) * 2 - np.linspace(0, 2, 50)
        nets[:, 0] += rng.uniform(0, 1)
        theirs = SPA(np.zeros(60), -nets / _spread(nets, 4), block_size=4, reps=2000, bootstrap="stationary", seed=seed)
        theirs.compute()
        apart.append(abs(spa(nets) - theirs.pvalues["consistent"]))
        if (other := _vectorbt(nets)) is not None:
            deflated.append(abs((deflated_sharpe(nets[:, 0].tolist(), nets) or 0.0) - other))
    print(f"\nSPA beside arch, {seeds} markets of 50 sets x 60 days: p-values at most {max(apart):.3f} apart, "
          f"{np.mean(apart):.3f} on average (both draw at random)")  # fmt: skip
    told = f"at most {max(deflated):.1e} apart" if deflated else "skipped, vectorbt is not installed"
    print(f"deflated Sharpe ratio beside vectorbt: {told}")


def _vectorbt(nets: Matrix) -> float | None:
    try:
        import pandas as pd
        import vectorbt  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        return None
    frame = pd.DataFrame(nets, index=pd.date_range("2026-01-01", periods=len(nets), freq="D"))
    return float(frame.vbt.returns(freq="D").deflated_sharpe_ratio(ddof=1).iloc[0])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation", description=__doc__)
    parser.add_argument("--signals", type=int, default=SIGNALS, help=f"without an edge (default {SIGNALS})")
    parser.add_argument("--planted", type=int, default=PLANTED, help=f"with each edge (default {PLANTED})")
    parser.add_argument("--shifts", type=int, default=SHIFTS, help=f"random runs of each signal (default {SHIFTS})")
    parser.add_argument("--fills", default="bar", help="as in a backtest (default bar)")
    parser.add_argument("--part", default="1/1", help="do this part and print its p-values as JSON")
    parser.add_argument("--read", nargs="+", type=Path, help="sum up parts that were done")
    parser.add_argument("--selection", action="store_true", help="compare SPA and deflated Sharpe ratio alone")
    args = parser.parse_args(argv)
    if args.selection:
        compare_selection()
        return 0
    started = time.perf_counter()
    number, of = map(int, args.part.split("/"))
    if args.read:
        parts = [json.loads(path.read_text()) for path in args.read]
        found = {edge: [p for one in parts for p in one[edge]] for edge in parts[0]}
    else:
        found = part(number, of, args)
        if of > 1:
            print(json.dumps(found))
            return 0
    tell(found)
    if not args.read:
        compare_selection()
        print(f"\n{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    logging.getLogger("scalp").setLevel(logging.CRITICAL)
    sys.exit(main())
