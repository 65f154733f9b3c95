"""What the days of each set come to, which set is best, and walk-forward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec import Struct

from scalp.cli.parameters import Values
from scalp.results.trials import fingerprint_of_days
from scalp.sweep.source import DaySpec
from scalp.sweep.tasks import Outcome, PartialStatistics


class SetResult(Struct, frozen=True):
    """One set of parameters. `problem` says what is wrong with it, "" if nothing; its numbers are then incomplete."""

    values: Values
    whole: PartialStatistics
    by_symbol: dict[str, PartialStatistics]
    problem: str


class Window(Struct, frozen=True):
    """Some days in a row, by their place; `last` is included."""

    first: int
    last: int


class Step(Struct, frozen=True):
    """One step of a walk-forward: the set that was best in `train`, and what it came to there and in `test`.

    `chosen` is None when each set had a problem in `train`.
    """

    train: Window
    test: Window
    chosen: Values | None
    inside: PartialStatistics
    outside: PartialStatistics
    problem: str  # of the chosen set, in `test`


class SweepResults:
    """The outcomes of all tasks, whatever the order they came in: additions are made in the order of the days."""

    def __init__(self, sets: Sequence[Values], days: Sequence[DaySpec]) -> None:
        self.sets = list(sets)
        self.days = list(days)
        self._outcomes: list[list[Outcome | None]] = [[None] * len(days) for _ in sets]

    def take(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self._outcomes[outcome.number][outcome.place] = outcome

    def ranked(self) -> list[SetResult]:
        """Best first; those with a problem come last, in the order of the sets."""
        results = [self._result(number) for number in range(len(self.sets))]
        # Sorting keeps the order of the sets where all else is equal.
        return sorted(results, key=lambda one: (bool(one.problem), *(() if one.problem else objective(one.whole))))

    def _result(self, number: int) -> SetResult:
        whole, problem = self._sum(number, Window(0, len(self.days) - 1))
        by_symbol: dict[str, PartialStatistics] = {}
        for outcome in self._outcomes[number]:
            for symbol, part in outcome.by_symbol if outcome is not None else ():
                by_symbol[symbol] = by_symbol.get(symbol, PartialStatistics()) + part
        return SetResult(self.sets[number], whole, by_symbol, problem)

    def daily(self) -> dict[Values, list[Decimal]]:
        """The net of each day, in dollars, of all sets that have no problem."""
        found = {}
        for values, outcomes in zip(self.sets, self._outcomes, strict=True):
            if all(outcome is not None and not outcome.problem for outcome in outcomes):
                found[values] = [outcome.part.net for outcome in outcomes if outcome is not None]
        return found

    def bars(self) -> str:
        """The fingerprint of all bars that were played."""
        of_days = []
        for place, day in enumerate(self.days):
            heard = (outcomes[place] for outcomes in self._outcomes)
            of_days.append((day.session.date, next((one.bars for one in heard if one is not None and one.bars), "")))
        return fingerprint_of_days(of_days)

    def walk_forward(self, train: int, test: int) -> list[Step]:
        """Steps of `train` days to choose in and up to `test` following days to try in; the next begins `test` later.

        A choice is made from the days of its `train` alone.
        """
        steps = []
        for first in range(0, len(self.days) - train, test):
            inside = Window(first, first + train - 1)
            outside = Window(inside.last + 1, min(inside.last + test, len(self.days) - 1))
            steps.append(self._step(inside, outside))
        return steps

    def _step(self, inside: Window, outside: Window) -> Step:
        sums = [(number, *self._sum(number, inside)) for number in range(len(self.sets))]
        sound = [(number, part) for number, part, problem in sums if not problem]
        if not sound:
            return Step(inside, outside, None, PartialStatistics(), PartialStatistics(), "each set had a problem")
        best, part = min(sound, key=lambda one: objective(one[1]))
        tried, problem = self._sum(best, outside)
        return Step(inside, outside, self.sets[best], part, tried, problem)

    def _sum(self, number: int, window: Window) -> tuple[PartialStatistics, str]:
        """What the days of `window` come to, and the first problem in them."""
        whole, problem = PartialStatistics(), ""
        for outcome in self._outcomes[number][window.first : window.last + 1]:
            assert outcome is not None, "every task was played"
            whole += outcome.part
            if outcome.problem and not problem:
                problem = f"{self.days[outcome.place].session.date}: {outcome.problem}"
        return whole, problem


def objective(part: PartialStatistics) -> tuple[Decimal, int, int]:
    """Less is better: the most profit after fees, then the smallest drawdown, then the fewest trades."""
    return (-part.net, part.fall, part.trades)
