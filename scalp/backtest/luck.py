"""Whether a result is better than chance: the same signals, at other minutes of their day.

The hypothesis to refute is that the signals know nothing of what follows them. Then they could have come at any other
minute just as well. So each random run moves the signals of a day, those of all symbols by the same random number of
minutes, around the minutes in which the bot could buy: their count, their spacing and what symbols have in common
stay, and whatever they knew is gone. All else is played as ever: exits, fills, fees, risk limits, and that a signal
which meets a position or an order buys nothing.

The p-value is the part of all runs, the real one among them, whose net is at least that of the real one; equal ones are
put in a random order. Without an edge it lies below 0.05 in one of twenty cases, below 0.5 in every other one. A test
whose answer is clear ends early (Besag and Clifford 1991): once `CLEAR` runs were better, the p-value is that many by
the runs so far.

A result of few trades is not judged, so no random run of so few counts: otherwise those that got stuck with a loss
would be left out on one side only. Beyond that the number of entries is left free: where there are few because one got
stuck, the same few elsewhere would lose less just by being few.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from decimal import Decimal

from scalp.backtest.run import Day, play
from scalp.backtest.settings import FEWEST_SHIFTS, BacktestSettings
from scalp.backtest.signals import Ahead, columns_of, signal_rows, unheard
from scalp.cli.progress import Tell, unseen
from scalp.core.algo import ScalpAlgo
from scalp.core.bars import BarColumns
from scalp.core.clock import NEW_YORK
from scalp.core.decimals import ZERO
from scalp.core.units import MINUTE, SECOND
from scalp.core.words import counted
from scalp.results.totals import Results
from scalp.results.verdict import Verdict

MOST = 1000  # random runs
LEAST_SECONDS = 10.0  # it may take so long, or as long as the backtest did
FEWEST_TRADES = 30
CLEAR = 50
DRAWS = 10  # at most so many for each run that counts


def verdict(
    days: Sequence[Day],
    settings: BacktestSettings,
    algo_class: type[ScalpAlgo],
    results: Results,
    backtest_seconds: float,
    clear: int = CLEAR,
    tell: Tell = unseen,
) -> Verdict:
    """On the `results` of a backtest of `days` that took so long; `settings.luck` is the number of random runs."""
    if (trades := len(results.trades)) < FEWEST_TRADES:
        return Verdict(why_not=f"{counted(trades, 'trade is', 'trades are')} too few: it takes {FEWEST_TRADES}")
    most = MOST if settings.luck is None else settings.luck
    ends_at = time.perf_counter() + max(backtest_seconds, LEAST_SECONDS)
    with unheard():
        ours, runs = results.daily(), _Runs(days, settings, algo_class)
        if any(runs.played(place, 0)[0] != ours[day.session.date] for place, day in enumerate(days)):
            return Verdict(why_not="the signal goes by more than the bars of its day so far")
        total = sum(ours.values(), ZERO)
        # The same backtest has the same verdict.
        rng = random.Random(f"{total} {trades} {days[0].session.date}")
        mine, better, made, drawn = (total, rng.random()), 0, 0, 0
        while made < most and better < clear and drawn < most * DRAWS:
            tell("against chance", made, None if settings.luck is None else most)
            if settings.luck is None and time.perf_counter() > ends_at:
                break
            net, trades = runs.shifted(rng)
            drawn += 1
            if trades >= FEWEST_TRADES:
                better += (net, rng.random()) >= mine
                made += 1
    if better >= clear:
        return Verdict(better / made, made)
    if made < FEWEST_SHIFTS and drawn == most * DRAWS:
        return Verdict(why_not=f"only {made} of {drawn:,} shifts make {FEWEST_TRADES} trades: it takes more days")
    if made < FEWEST_SHIFTS:
        return Verdict(why_not=f"there was time for {made} shifts: --luck {MOST} takes as long as it needs")
    return Verdict((1 + better) / (1 + made), made)


class _Runs:
    """Days played with their signals moved; each is played once for each move."""

    def __init__(self, days: Sequence[Day], settings: BacktestSettings, algo_class: type[ScalpAlgo]) -> None:
        self._days = days
        self._settings = settings
        self._known: dict[tuple[int, int], tuple[Decimal, int]] = {}
        self._windows = [_Window(day, settings, algo_class) for day in days]

        class Moved(algo_class):  # type: ignore[misc, valid-type]
            buys_at: Mapping[str, frozenset[int]] = {}

            def _calculate_buy_signal(self) -> bool:
                return self.session_bars.last_start in self.buys_at[self.symbol]

        Moved.__name__ = algo_class.__name__
        self._moved = Moved

    def shifted(self, rng: random.Random) -> tuple[Decimal, int]:
        """Net and number of trades of all days, each moved by a random number of minutes of its own."""
        played = [self.played(place, rng.randrange(window.length)) for place, window in enumerate(self._windows)]
        return sum((net for net, _ in played), ZERO), sum(trades for _, trades in played)

    def played(self, place: int, shift: int) -> tuple[Decimal, int]:
        """Net, in dollars, and trades of the day in this place, its signals moved by `shift` minutes."""
        if (place, shift) not in self._known:
            day, settings = self._days[place], self._settings
            window = self._windows[place]
            self._moved.buys_at = window.moved(shift)
            ahead = window.ahead(self._moved.buys_at)
            results = Results(play(settings, self._moved, day.session, day.market, ahead), settings.fees)
            self._known[place, shift] = results.daily().get(day.session.date, ZERO), len(results.trades)
        return self._known[place, shift]


class _Window:
    """The signals of a day, and the minutes in which they could have come; `length` is how many these are."""

    def __init__(self, day: Day, settings: BacktestSettings, algo_class: type[ScalpAlgo]) -> None:
        session, warmup = day.session, max(algo_class.warmup_bars, 1)
        end = session.liquidate_at
        if (latest := settings.risk_limits.no_buy_after) is not None:
            at = dt.datetime.combine(session.date, latest, NEW_YORK)
            end = min(end, round(at.timestamp()) * SECOND)
        self._starts: dict[str, list[int]] = {}  # of the bars after which each symbol could buy
        self._signals: dict[str, list[int]] = {}  # their bars' starts
        self._columns: dict[str, BarColumns] = {}
        for symbol, bars in day.market.items():
            if (columns := columns_of(algo_class, bars)) is not None:
                self._columns[symbol] = columns
            rows = signal_rows(algo_class, symbol, settings.lot, session, bars)
            self._starts[symbol] = [bar.start for bar in bars[warmup - 1 :] if bar.start + MINUTE < end]
            self._signals[symbol] = [bars[row].start for row in rows if bars[row].start + MINUTE < end]
        self.length = max((_minutes(starts) for starts in self._starts.values()), default=1)

    def moved(self, shift: int) -> dict[str, frozenset[int]]:
        """The starts of the bars that signal now; a minute without a bar signals with the next one."""
        return {symbol: self._move(starts, self._signals[symbol], shift) for symbol, starts in self._starts.items()}

    def ahead(self, buys_at: Mapping[str, frozenset[int]]) -> dict[str, Ahead]:
        """The same for those who play the day, where minutes can be skipped."""
        return {
            symbol: Ahead(columns, sorted(bisect_left(columns.starts, start) for start in buys_at[symbol]))
            for symbol, columns in self._columns.items()
        }

    def _move(self, starts: Sequence[int], signals: Sequence[int], shift: int) -> frozenset[int]:
        if not signals:
            return frozenset()
        first, around = starts[0], _minutes(starts) * MINUTE
        wanted = ((start - first + shift * MINUTE) % around + first for start in signals)
        return frozenset(starts[bisect_left(starts, start)] for start in wanted)


def _minutes(starts: Sequence[int]) -> int:
    return (starts[-1] - starts[0]) // MINUTE + 1 if starts else 1
