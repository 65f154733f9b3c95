"""One day of several sets of parameters, played in whatever process it lands in; what goes back is small."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache

from msgspec import Struct, structs

from scalp.backtest.run import play
from scalp.backtest.settings import BacktestSettings
from scalp.cli.algo_loader import load_algo
from scalp.cli.parameters import LOT, Values, tuned
from scalp.core.algo import ScalpAlgo
from scalp.core.decimals import ZERO
from scalp.core.events import RiskRuleStruck
from scalp.results.totals import Results
from scalp.sweep.source import DaySpec, bars_of, fingerprint_of


class PartialStatistics(Struct, frozen=True):
    """What some days come to; `a + b` is what `a` and then `b` come to.

    `pnl` is gross, in dollars, what is held at the end of a day at its last close, and `fees` comes off it. `total`,
    `high`, `low` and `fall` show how the profit after fees moved, in millionths of a dollar: where it ended, its
    highest and lowest point (from 0) and its deepest fall.
    """

    trades: int = 0
    wins: int = 0
    pnl: Decimal = ZERO
    fees: Decimal = ZERO
    buys: int = 0
    held: int = 0
    bars: int = 0
    total: int = 0
    high: int = 0
    low: int = 0
    fall: int = 0

    def __add__(self, later: PartialStatistics) -> PartialStatistics:
        return PartialStatistics(
            trades=self.trades + later.trades,
            wins=self.wins + later.wins,
            pnl=self.pnl + later.pnl,
            fees=self.fees + later.fees,
            buys=self.buys + later.buys,
            held=self.held + later.held,
            bars=self.bars + later.bars,
            total=self.total + later.total,
            high=max(self.high, self.total + later.high),
            low=min(self.low, self.total + later.low),
            fall=max(self.fall, later.fall, self.high - self.total - later.low),
        )

    @property
    def net(self) -> Decimal:
        return self.pnl - self.fees

    @property
    def win_rate(self) -> float | None:
        """The part of the trades that gained after fees; None without trades."""
        return self.wins / self.trades if self.trades else None

    @property
    def drawdown(self) -> Decimal:
        """The deepest fall of the profit, in dollars, looked at each minute's end."""
        return Decimal(self.fall) / 1_000_000


class Job(Struct, frozen=True):
    """What all tasks of a sweep share. No key is in it: `settings` has no endpoints."""

    settings: BacktestSettings
    names: tuple[str, ...]  # of the parameters


class Batch(Struct, frozen=True):
    """One task: a day (the `place`-th) of some sets, by their number."""

    place: int
    day: DaySpec
    sets: tuple[tuple[int, Values], ...]


class Outcome(Struct, frozen=True):
    """What one day of one set came to; `problem` says in one line what is wrong with the set, "" if nothing.

    `bars` is the fingerprint of the day's bars.
    """

    place: int
    number: int
    part: PartialStatistics = PartialStatistics()
    by_symbol: tuple[tuple[str, PartialStatistics], ...] = ()
    problem: str = ""
    bars: str = ""


def algo_class_of(spec: str) -> type[ScalpAlgo]:
    """What --algo names; the built-in class for ""."""
    return _loaded_class(spec) if spec else ScalpAlgo


@lru_cache(1)
def _loaded_class(spec: str) -> type[ScalpAlgo]:
    return load_algo(spec)


def run(job: Job, batch: Batch) -> list[Outcome]:
    """Play a task. What a set does wrong is reported in its outcome and touches no other set.

    Raises UserError when the algo or the bars cannot be loaded here.
    """
    algo_class = algo_class_of(job.settings.algo)
    bars = fingerprint_of(batch.day)
    return [structs.replace(_play(job, algo_class, batch, number, values), bars=bars) for number, values in batch.sets]


def _play(job: Job, algo_class: type[ScalpAlgo], batch: Batch, number: int, values: Values) -> Outcome:
    attributes = dict(zip(job.names, values, strict=True))
    settings = replace(job.settings, lot=attributes.pop(LOT, job.settings.lot))
    day = batch.day
    with _Complaints() as complaints:
        try:
            played = list(play(settings, tuned(algo_class, attributes), day.session, bars_of(day)))
        except Exception as error:  # a user's class may do anything; the other sets go on
            return Outcome(batch.place, number, problem=_told(error))
    alone = [(one.symbol, part_of(Results([one], settings.fees), one.symbol)) for one in played]
    whole = part_of(Results(played, settings.fees))
    return Outcome(batch.place, number, whole, tuple(alone), complaints.first)


def part_of(results: Results, symbol: str = "") -> PartialStatistics:
    """The numbers of one day's symbols together, or of the one symbol that it has, before the day's rounding."""
    numbers = results.by_symbol()[symbol] if symbol else results.total()
    points = [total for _, total in results.equity()]
    return PartialStatistics(
        trades=numbers.trades,
        wins=sum(trade.net > 0 for trade in results.trades),
        pnl=numbers.pnl,
        fees=numbers.fees,
        buys=numbers.buys,
        held=numbers.held,
        bars=numbers.bars,
        total=points[-1] if points else 0,
        high=max(points, default=0) if points and max(points) > 0 else 0,
        low=min(points, default=0) if points and min(points) < 0 else 0,
        fall=int(numbers.drawdown * 1_000_000),
    )


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


class _Complaints(logging.Handler):
    """Keeps the algos' first warning while a set plays: a signal that raises, a lot that buys no share."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""
        self._thread = threading.get_ident()  # a cluster's worker may play several tasks at once

    def emit(self, record: logging.LogRecord) -> None:
        if self.first or record.thread != self._thread or type(getattr(record, "event", None)) is RiskRuleStruck:
            return  # that a risk rule sold is no fault of the set
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage() if error is None else _told(error)
        self.first = f"{record.name.removeprefix('scalp.')}: {text}"

    def __enter__(self) -> _Complaints:
        logging.getLogger("scalp").addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("scalp").removeHandler(self)
