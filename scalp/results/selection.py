"""Whether the best of many sets is better than chance, when so many were tried: by what each came to by day.

Columns are sets, rows are days. Sources: Hansen (2005), "A test for superior predictive ability"; Politis and Romano
(1994) for its bootstrap; Bailey and López de Prado (2014), "The deflated Sharpe ratio".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

REPETITIONS = 5000
_EULER = 0.5772156649015329
_NORMAL = NormalDist()


def spa(daily: Matrix, seed: int = 1, repetitions: int = REPETITIONS) -> float:
    """Hansen's consistent p-value that no set gains more than not trading at all does.

    Its statistic is the largest t value of any set. Days are redrawn in blocks, the same ones for all sets, so that
    what sets have in common stays. Sets that are hopeless do not count against the others.
    """
    days, _ = daily.shape
    block = max(round(days ** (1 / 3)), 1)
    spread = _spread(daily, block)
    daily, spread = daily[:, spread > 0], spread[spread > 0]
    if not daily.shape[1]:
        return 1.0
    mean = daily.mean(axis=0)
    best = (math.sqrt(days) * mean / spread).max()
    if best <= 0:
        return 1.0
    hope = mean >= -spread * math.sqrt(2 * math.log(math.log(days)) / days)
    drawn = _drawn(days, block, repetitions, seed) @ daily / days
    largest = (math.sqrt(days) * (drawn - np.where(hope, mean, 0.0)) / spread).max(axis=1)
    return float((1 + (largest >= best).sum()) / (1 + repetitions))


def _spread(daily: Matrix, block: int) -> Matrix:
    """Of each set, the standard deviation of a day, with what days that follow each other have in common."""
    days, centred = len(daily), daily - daily.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    stays = 1 - 1 / block
    for lag in range(1, days):
        weight = (1 - lag / days) * stays**lag + lag / days * stays ** (days - lag)
        variance = variance + 2 * weight * (centred[:-lag] * centred[lag:]).sum(axis=0) / days
    spread: Matrix = np.sqrt(np.maximum(variance, 0.0))
    return spread


def _drawn(days: int, block: int, repetitions: int, seed: int) -> Matrix:
    """How often each day was drawn, a row a repetition: blocks of random length from random days on, around the end."""
    rng = np.random.default_rng(seed)
    place = rng.integers(days, size=repetitions)
    counts, rows = np.zeros((repetitions, days)), np.arange(repetitions)
    for _ in range(days):
        counts[rows, place] += 1
        begins = rng.random(repetitions) < 1 / block
        place = np.where(begins, rng.integers(days, size=repetitions), (place + 1) % days)
    return counts


def deflated_sharpe(best: Sequence[float], daily: Matrix) -> float | None:
    """The probability that the set which came to `best` has a Sharpe ratio above that which luck alone gives the best.

    All sets that were tried are in `daily`. None where `best` does not vary or there is nothing to choose from.
    """
    gains = np.asarray(best, dtype=np.float64)
    tried = [ratio for column in daily.T if (ratio := _ratio(column)) is not None]
    ratio, sets = _ratio(gains), len(tried)
    if ratio is None or sets < 2:
        return None
    centred = gains - gains.mean()
    deviation = math.sqrt((centred**2).mean())
    skew, kurtosis = ((centred / deviation) ** 3).mean(), ((centred / deviation) ** 4).mean()
    expected = (1 - _EULER) * _NORMAL.inv_cdf(1 - 1 / sets) + _EULER * _NORMAL.inv_cdf(1 - 1 / (sets * math.e))
    by_luck = math.sqrt(np.var(tried, ddof=1)) * expected
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    return _NORMAL.cdf((ratio - by_luck) * math.sqrt(len(gains) - 1) / math.sqrt(spread)) if spread > 0 else None


def _ratio(gains: Any) -> float | None:
    """The Sharpe ratio of a day."""
    spread = gains.std(ddof=1)
    return float(gains.mean() / spread) if spread > 0 else None
