"""What the tests of `--fills bar` compare: bars of real and synthetic days, and trades as plain rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from scalp import Bar, ScalpAlgo
from scalp.backtest import bar_rules
from scalp.backtest.days import NO_SLIPPAGE
from scalp.core.clock import Session
from scalp.core.trades import round_trips
from scalp.exchange.calendar import SessionDay, session_day
from scalp.exchange.market import synthetic_day
from scalp.exchange.replay import load
from scalp.results.symbol_day import regular

REAL_BARS = Path(__file__).parents[2] / "../shared/data/real-minute-bars"
LOT = 2000

SymbolBars = tuple[str, Session, list[Bar]]


class Row(NamedTuple):
    """One trade; times are starts of bars (ns), prices millionths of a dollar."""

    qty: int
    entered: int
    entry: int
    left: int
    exit: int
    reason: str


def session(day: SessionDay) -> Session:
    return Session(day.date, day.open, day.close)


def real_days() -> Iterator[SymbolBars]:
    for date, market in load([REAL_BARS]).items():
        day = session(session_day(date))
        for symbol, bars in market.items():
            yield symbol, day, regular(bars, day)


def synthetic_days(seeds: range = range(1, 9)) -> Iterator[SymbolBars]:
    """Full days and half days, of stocks that trade every minute and of some that often don't."""
    for seed in seeds:
        day = session_day(dt.date(2026, 11, 27) if seed % 4 == 0 else dt.date(2026, 11, 20))
        symbols = ("AAPL", "FB", "THIN", "QZ", "WQ", "F")
        for symbol, bars in synthetic_day(symbols, day, seed).items():
            yield symbol, session(day), regular(bars, session(day))


def ours(symbol: str, day: Session, bars: list[Bar], algo: type[ScalpAlgo] = ScalpAlgo) -> list[Row]:
    """The trades of the backtest under `--fills bar`."""
    done = bar_rules.play(algo, symbol, Decimal(LOT), day, bars, NO_SLIPPAGE)
    return [
        Row(int(t.qty), t.entry_time, int(t.entry_price * 10**6), t.exit_time, int(t.exit_price * 10**6), t.reason)
        for t in round_trips(done.fills).trades
    ]
