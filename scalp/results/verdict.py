"""Whether a result is better than chance, in one sentence: that of a backtest, and the best one of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from scalp.results.selection import deflated_sharpe, spa
from scalp.results.statistics import FEWEST_DAYS

SHOWN = 0.05  # the largest p-value that shows an edge


class Verdict(Struct, frozen=True):
    """`p` over so many random runs; None where it was not tested, and `why_not`."""

    p: float | None = None
    shifts: int = 0
    why_not: str = ""

    def __str__(self) -> str:
        if self.p is None:
            return f"edge: not tested, {self.why_not}"
        is_shown = "shown" if self.p <= SHOWN else "not shown"
        return f"edge: {is_shown} (p = {self.p:.2g} over {self.shifts:,} shifts)"


class BestOfMany(Struct, frozen=True):
    """What the best of so many sets over so many days proves; `p` and `deflated_sharpe` are None for too few days."""

    sets: int
    days: int
    p: float | None = None
    deflated_sharpe: float | None = None

    def __str__(self) -> str:
        if self.p is None:
            days = "1 day is" if self.days == 1 else f"{self.days} days are"
            return f"edge of the best: not tested, {days} too few: it takes {FEWEST_DAYS}"
        deflated = "-" if self.deflated_sharpe is None else f"{self.deflated_sharpe:.2f}"
        return (
            f"edge of the best: {'shown' if self.p <= SHOWN else 'not shown'} (SPA p = {self.p:.2g} over {self.days} "
            f"days and all {self.sets:,} sets ever tried on these bars; deflated Sharpe {deflated})"
        )


def best_of_many(daily: Sequence[Sequence[float]], best: Sequence[float]) -> BestOfMany:
    """`daily` has the net of each set by day, `best` that of the best one."""
    if len(best) < FEWEST_DAYS:
        return BestOfMany(len(daily), len(best))
    matrix = np.array(daily, dtype=np.float64).T
    return BestOfMany(len(daily), len(best), spa(matrix), deflated_sharpe(best, matrix))
