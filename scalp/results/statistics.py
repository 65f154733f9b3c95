"""How good some trades and some days were: the ratios that this field compares results by, all after fees.

Each is None where it is undefined: no trades, no spread between them, too few days.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal

from scalp.core.clock import Session
from scalp.core.decimals import ZERO
from scalp.core.trades import RoundTrip

DAYS_A_YEAR = 252  # trading days
FEWEST_DAYS = 20  # for the ratios of days: fewer say nothing


def profit_factor(trades: Sequence[RoundTrip]) -> float | None:
    """What the winners gained, divided by what the losers lost; None without losers."""
    lost = -sum((trade.net for trade in trades if trade.net < 0), ZERO)
    return float(sum((trade.net for trade in trades if trade.net > 0), ZERO) / lost) if lost else None


def expectancy(trades: Sequence[RoundTrip]) -> float | None:
    """What a trade gains on average, as a part of the dollars it was entered with."""
    parts = [float(trade.net / (abs(trade.qty) * trade.entry_price)) for trade in trades if trade.entry_price]
    return statistics.fmean(parts) if parts else None


def sqn(trades: Sequence[RoundTrip]) -> float | None:
    """Van Tharp's System Quality Number: average over standard deviation of the trades, times the root of their count.

    It is the t statistic of the average trade.
    """
    spread = statistics.stdev(gains) if len(gains := [float(trade.net) for trade in trades]) > 1 else 0.0
    return math.sqrt(len(gains)) * statistics.fmean(gains) / spread if spread else None


def cost_share(gross: Decimal, fees: Decimal) -> float | None:
    """The part of the gross profit that fees took; above 1 they took more than there was, None without a profit."""
    return float(fees / gross) if gross > 0 else None


def sharpe(daily: Sequence[float]) -> float | None:
    """Average over standard deviation of the days, times the root of the days of a year; no interest is taken off."""
    spread = statistics.stdev(daily) if len(daily) >= FEWEST_DAYS else 0.0
    return math.sqrt(DAYS_A_YEAR) * statistics.fmean(daily) / spread if spread else None


def sortino(daily: Sequence[float]) -> float | None:
    """As `sharpe`, but only days that lost spread: the root of the average of their squares, over all days."""
    spread = math.sqrt(statistics.fmean(min(day, 0.0) ** 2 for day in daily)) if len(daily) >= FEWEST_DAYS else 0.0
    return math.sqrt(DAYS_A_YEAR) * statistics.fmean(daily) / spread if spread else None


def calmar(daily: Sequence[float]) -> float | None:
    """What a year of such days gains, divided by the deepest fall from one day's end to a later one's."""
    total = peak = deepest = 0.0
    for day in daily:
        total += day
        peak = max(peak, total)
        deepest = max(deepest, peak - total)
    return DAYS_A_YEAR * statistics.fmean(daily) / deepest if len(daily) >= FEWEST_DAYS and deepest else None


def under_water(points: Sequence[tuple[int, int]], sessions: Sequence[Session]) -> tuple[float, float]:
    """For how many trading days the profit was below its highest so far: at the longest in a row, and as part of all.

    `points` are (ns, profit since the beginning), oldest first, `sessions` are all that were traded; only their time
    counts, each of them as one day.
    """
    opens = [session.open for session in sessions]
    longest = total = 0.0
    peak, since = 0, -1.0  # where it went under; below 0: it did not
    for at, profit in points:
        if (profit < peak) is (since >= 0):
            peak = max(peak, profit)
            continue
        day = max(bisect_right(opens, at) - 1, 0)
        session = sessions[day]
        now = day + min(max((at - session.open) / (session.close - session.open), 0.0), 1.0)
        if profit < peak:
            since = now
        else:
            longest, total, since, peak = max(longest, now - since), total + now - since, -1.0, profit
    if since >= 0:
        longest, total = max(longest, len(sessions) - since), total + len(sessions) - since
    return longest, total / len(sessions) if sessions else 0.0
