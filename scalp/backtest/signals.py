"""What the buy signal says after each bar of a day, whether or not it would be asked there: from the past alone."""

from __future__ import annotations

import inspect
import logging
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np
from msgspec import Struct

from scalp.core.algo import ScalpAlgo
from scalp.core.bars import BarColumns, SessionBars
from scalp.core.clock import Session
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.core.subclass_checks import ALL_SIGNALS
from scalp.core.units import MINUTE

SIGNAL = "_calculate_buy_signal"
# What a class may have of its own while an idle minute still does nothing but grow its bars.
_OWN = frozenset((SIGNAL, ALL_SIGNALS, "_calculate_exit_price", "_calculate_quantity", "_calculate_exit_signal",
                  "__init__", "__init_subclass__"))  # fmt: skip


class Ahead(Struct, frozen=True):
    """What is known of a symbol's day before it is played: its bars, and the rows after which the signal may say yes.

    No other row's signal is asked.
    """

    columns: BarColumns
    rows: list[int]


def known(
    algo_class: type[ScalpAlgo], symbol: str, lot: Decimal, session: Session, bars: Sequence[Bar]
) -> Ahead | None:
    """The signals of a day, where they are known without asking after each bar; None where not.

    Raises UserError for a class whose signals of a day are not those that it gives one by one.
    """
    columns = columns_of(algo_class, bars)
    if columns is None:
        return None
    if algo_class._calculate_buy_signal is ScalpAlgo._calculate_buy_signal:
        says: Any = _built_in(algo_class.window, columns)
    elif _says_all(algo_class):
        says = _all_signals(algo_class, symbol, lot, session, bars, columns)
    else:
        return None
    first, end = max(algo_class.warmup_bars, 1) - 1, bisect_left(columns.starts, session.liquidate_at - MINUTE)
    return Ahead(columns, [row for row in np.flatnonzero(says[:end]).tolist() if row >= first])


def known_of_all(
    algo_class: type[ScalpAlgo], lot: Decimal, session: Session, market: Mapping[str, Sequence[Bar]]
) -> dict[str, Ahead]:
    """The same by symbol, where they are known."""
    found = {symbol: known(algo_class, symbol, lot, session, bars) for symbol, bars in market.items()}
    return {symbol: ahead for symbol, ahead in found.items() if ahead is not None}


def columns_of(algo_class: type[ScalpAlgo], bars: Sequence[Bar]) -> BarColumns | None:
    """The bars of a day whose idle minutes can be skipped; None where its class or its bars are too odd for that."""
    own = {name for one in algo_class.__mro__ if one not in ScalpAlgo.__mro__ for name in vars(one)} - _OWN
    if any(hasattr(inspect.getattr_static(ScalpAlgo, name, None), "__get__") for name in own):
        return None
    try:
        columns = BarColumns(bars)
    except (ValueError, OverflowError, TypeError):
        return None
    prices = np.array((columns.opens, columns.highs, columns.lows, columns.closes))
    is_sound = bool((np.diff(columns.starts) > 0).all() and ((prices > 0) & (prices < np.inf)).all())
    return columns if is_sound else None


def signal_rows(
    algo_class: type[ScalpAlgo], symbol: str, lot: Decimal, session: Session, bars: Sequence[Bar]
) -> list[int]:
    """The rows of `bars`, those of the regular session, after which the signal says to buy.

    Only where the bot could: with enough bars for it, and before the liquidation.
    """
    if (ahead := known(algo_class, symbol, lot, session, bars)) is not None:
        return ahead.rows
    first = max(algo_class.warmup_bars, 1) - 1
    end = next((row for row, bar in enumerate(bars) if bar.start + MINUTE >= session.liquidate_at), len(bars))
    says = _asked(algo_class, symbol, lot, session, bars)
    return [row for row in range(first, end) if says(row)]


def _built_in(window: int, columns: BarColumns) -> Any:
    """The built-in rule for all rows at once, in the integers that it compares."""
    sums, says = np.asarray(columns.sums), np.zeros(len(columns), dtype=bool)
    if len(columns) > window:
        # Of row r: the close, and the sum of the last `window` closes.
        close, inner = np.diff(sums)[window - 1 :], sums[window:] - sums[:-window]
        says[window:] = (window * close[1:] > inner[1:]) & (window * close[:-1] < inner[:-1])
    return says


def _says_all(algo_class: type[ScalpAlgo]) -> bool:
    """Whether the class gives a day's signals at once; one that overrides the single signal alone does not."""
    for one in algo_class.__mro__:
        if ALL_SIGNALS in vars(one):
            return True
        if SIGNAL in vars(one):
            return False
    return False


def _all_signals(
    algo_class: type[ScalpAlgo],
    symbol: str,
    lot: Decimal,
    session: Session,
    bars: Sequence[Bar],
    columns: BarColumns,
) -> Any:
    """What the class's own method says of all rows, checked twice: with the future cut off, and asked one by one."""
    told = _ask_all(algo_class, symbol, lot, columns, len(bars))
    # A row that signals and any other, not the same ones in each symbol and on each day.
    rng, first = random.Random(f"{symbol} {session.date}"), max(algo_class.warmup_bars, 1) - 1
    for rows in (np.flatnonzero(told[first:]).tolist(), range(len(bars) - first)):
        if rows:
            row = first + rng.choice(rows)
            seen, single = bool(told[row]), _asked(algo_class, symbol, lot, session, bars)(row)
            alone = bool(_ask_all(algo_class, symbol, lot, columns, row + 1)[row])
            if alone is not seen or single is not seen:
                other = "without the bars that follow it" if alone is not seen else SIGNAL
                where = f"{symbol}, row {row} of {session.date}"
                raise UserError(
                    f"{algo_class.__name__}.{ALL_SIGNALS} says {seen} of {where}, {other} {not seen}: it may look at "
                    f"no later row, and must say what {SIGNAL} says"
                )
    return told


def _ask_all(algo_class: type[ScalpAlgo], symbol: str, lot: Decimal, columns: BarColumns, to: int) -> Any:
    """The answer to the first rows, an array of truth values. Raises UserError where it is none, or too short."""
    shown = SessionBars()
    shown.extend(columns, to)
    name = f"{algo_class.__name__}.{ALL_SIGNALS}"
    try:
        told = np.asarray(getattr(algo_class(symbol, lot, "0"), ALL_SIGNALS)(shown.frame))
    except Exception as error:  # a user's class may do anything
        raise UserError(f"{name} failed ({type(error).__name__}: {' '.join(str(error).split())})") from None
    if told.dtype != bool or told.shape != (to,):
        raise UserError(f"{name} must say True or False for each of {to} rows, not {told.dtype} of shape {told.shape}")
    return told


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
    """Silence the algos: what they say meanwhile was said before, or is about what never happened."""
    log = logging.getLogger("scalp")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
