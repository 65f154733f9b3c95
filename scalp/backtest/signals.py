"""What the buy signal says after each bar of a day, whether or not it would be asked there: from the past alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np

from scalp.core.algo import ScalpAlgo
from scalp.core.clock import Session
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE


def signal_rows(
    algo_class: type[ScalpAlgo], symbol: str, lot: Decimal, session: Session, bars: Sequence[Bar]
) -> list[int]:
    """The rows of `bars`, those of the regular session, after which the signal says to buy.

    Only where the bot could: with enough bars for it, and before the liquidation.
    """
    first = max(algo_class.warmup_bars, 1) - 1
    end = next((row for row, bar in enumerate(bars) if bar.start + MINUTE >= session.liquidate_at), len(bars))
    says = _built_in(algo_class, bars) or _asked(algo_class, symbol, lot, session, bars)
    return [row for row in range(first, end) if says(row)]


def _built_in(algo_class: type[ScalpAlgo], bars: Sequence[Bar]) -> Callable[[int], Any] | None:
    """The built-in rule for all rows at once, in the integers that it compares; None for any other signal."""
    closes = np.array([bar.close for bar in bars]) * 1e6
    if algo_class._calculate_buy_signal is not ScalpAlgo._calculate_buy_signal or not np.isfinite(closes).all():
        return None
    window = algo_class.window
    sums = np.concatenate(([0], np.cumsum(np.rint(closes).astype(np.int64))))
    says = np.zeros(len(bars), dtype=bool)
    if len(bars) > window:
        # Of row r: the close, and the sum of the last `window` closes.
        close, inner = np.diff(sums)[window - 1 :], sums[window:] - sums[:-window]
        says[window:] = (window * close[1:] > inner[1:]) & (window * close[:-1] < inner[:-1])
    return says.tolist().__getitem__


def _asked(
    algo_class: type[ScalpAlgo], symbol: str, lot: Decimal, session: Session, bars: Sequence[Bar]
) -> Callable[[int], bool]:
    """A flat algo is shown one bar after the other; it must be asked about each row once, in order."""
    algo = algo_class(symbol, lot, "0")
    algo.begin_session(session)
    shown = 0

    def says(row: int) -> bool:
        nonlocal shown
        for bar in bars[shown : row + 1]:
            algo.session_bars.add(bar)
            algo.tape.see_close(bar, bar.start + MINUTE)
        shown = row + 1
        try:
            return algo._is_yes("buy signal", algo._calculate_buy_signal())
        except (Exception, SystemExit):
            return False  # as live

    return says


@contextmanager
def unheard() -> Iterator[None]:
    """What the algos say meanwhile was said before, or is about what never happened."""
    log = logging.getLogger("scalp")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
