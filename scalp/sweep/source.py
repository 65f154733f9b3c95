"""The days to play as small specifications, and the bars of such a day: a task carries the one and reads the other."""

from __future__ import annotations

import asyncio
import datetime as dt
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from scalp.backtest.history import Market, days_that_are_over, kept_bars, no_bars
from scalp.backtest.settings import BacktestSettings
from scalp.cli.progress import Tell
from scalp.core.clock import Session
from scalp.core.errors import UserError
from scalp.exchange.calendar import SessionDay, session_day, trading_days
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.market import synthetic_day
from scalp.exchange.replay import Days, files_in, load
from scalp.results.symbol_day import regular
from scalp.results.trials import fingerprint

# Tasks come in the order of the days. So many loads are kept in a process: its memory is bounded by them.
KEPT = 2


class DaySpec(Struct, frozen=True):
    """One trading day of some symbols: bars from `files`, or without any the synthetic market of `seed`."""

    session: Session
    symbols: tuple[str, ...]
    files: tuple[Path, ...] = ()  # absolute, a cluster's workers look for them by the same name
    seed: int = 0


def specify(settings: BacktestSettings, progress: Tell) -> list[DaySpec]:
    """The days that a backtest of `settings` plays, oldest first; one file at a time is in memory.

    Raises UserError for files or dates that cannot be played.
    """
    if settings.bars:
        return _recorded(settings, progress)
    return _downloaded(settings, progress) if settings.endpoints is not None else _synthetic(settings)


def bars_of(spec: DaySpec) -> Market:
    """The bars of a day by symbol, all hours. Raises UserError for files that cannot be read any more."""
    if not spec.files:
        return _made(spec.symbols, spec.session, spec.seed)
    market = _loaded(spec.files, spec.symbols).get(spec.session.date, {})
    if missing := [symbol for symbol in spec.symbols if symbol not in market]:
        files = ", ".join(map(str, spec.files))
        raise UserError(f"no bars of {', '.join(missing)} on {spec.session.date} in {files} any more: sweep again")
    return {symbol: market[symbol] for symbol in spec.symbols}


@lru_cache(KEPT)
def fingerprint_of(spec: DaySpec) -> str:
    """The fingerprint of what `bars_of` gives, as a backtest of that day has it."""
    return fingerprint({symbol: regular(bars, spec.session) for symbol, bars in bars_of(spec).items()})


@lru_cache(KEPT)
def _loaded(files: tuple[Path, ...], symbols: tuple[str, ...]) -> Days:
    return load(files, symbols)


@lru_cache(KEPT)
def _made(symbols: tuple[str, ...], session: Session, seed: int) -> Market:
    return synthetic_day(symbols, SessionDay(session.date, session.open, session.close), seed)


def _recorded(settings: BacktestSettings, progress: Tell) -> list[DaySpec]:
    found: dict[dt.date, dict[str, Path]] = {}
    files = files_in(settings.bars)
    for number, file in enumerate(files):
        progress("reading", number, len(files))
        for date, market in load([file]).items():
            of_day = found.setdefault(date, {})
            for symbol in market:
                if symbol in of_day:
                    raise UserError(
                        f"{file}: {symbol} on {date} is in {of_day[symbol]} as well: give each day of a symbol once"
                    )
                of_day[symbol] = file
    symbols = {symbol for of_day in found.values() for symbol in of_day}
    for symbol in settings.symbols:
        if symbol not in symbols:
            near = get_close_matches(symbol, symbols) or sorted(symbols)[:10]
            raise UserError(f"--bars: no minute bars of {symbol}: there is {', '.join(near)}")
    first, last = settings.first or dt.date.min, settings.last or dt.date.max
    specs = []
    for date in sorted(found):
        of_day = found[date]
        wanted = tuple(symbol for symbol in settings.symbols or sorted(of_day) if symbol in of_day)
        if wanted and first <= date <= last:
            specs.append(_of_files(session_day(date), {symbol: of_day[symbol] for symbol in wanted}))
    if not specs:
        raise UserError(f"no bars in the days asked for: there are {', '.join(str(date) for date in sorted(found))}")
    return specs


def _downloaded(settings: BacktestSettings, progress: Tell) -> list[DaySpec]:
    # Imported here: whoever plays files or the synthetic market needs no network.
    from scalp.backtest.download import cache_folder, download, file_of

    endpoints, wanted, folder = settings.endpoints, days_that_are_over(settings), cache_folder()
    assert endpoints is not None

    def tell(done: int, total: int, requests: int) -> None:
        progress(f"history, {requests} requests", done, total)

    asyncio.run(download(endpoints, settings.symbols, wanted, folder, tell, per_minute=settings.requests))
    specs = []
    for day in wanted:
        files = {symbol: file_of(folder, endpoints.feed, symbol, day) for symbol in settings.symbols}
        with_bars = {symbol: file for symbol, file in files.items() if kept_bars(file, symbol, day.date)}
        if with_bars:
            specs.append(_of_files(day, with_bars))
    if not specs:
        raise no_bars(settings)
    return specs


def _synthetic(settings: BacktestSettings) -> list[DaySpec]:
    first = settings.first or settings.last or DEFAULT_DAY
    last = settings.last or settings.first or DEFAULT_DAY
    wanted = trading_days(first, last) or [session_day(first)]  # which raises, and names the nearest trading days
    return [DaySpec(_session(day), settings.symbols, seed=settings.seed + number) for number, day in enumerate(wanted)]


def _of_files(day: SessionDay, files: dict[str, Path]) -> DaySpec:
    return DaySpec(_session(day), tuple(files), tuple(dict.fromkeys(file.resolve() for file in files.values())))


def _session(day: SessionDay) -> Session:
    return Session(day.date, day.open, day.close)
