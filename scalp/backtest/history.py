"""The days to play, and where their bars come from."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scalp.backtest.settings import BacktestSettings
from scalp.cli.progress import Tell, unseen
from scalp.core.clock import Session
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.exchange.calendar import SessionDay, session_day, trading_days
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.market import synthetic_day
from scalp.exchange.replay import COLUMNS, Days, load

PLAYING = "playing"

Market = Mapping[str, Sequence[Bar]]


def days(settings: BacktestSettings, tell: Tell = unseen) -> Iterator[tuple[Session, Market]]:
    """The trading days, oldest first, with the bars of each symbol that has any; `tell` gets the progress.

    Raises UserError for files or dates that cannot be played, before the first day.
    """
    if settings.bars:
        return _recorded(settings, tell)
    return _downloaded(settings, tell) if settings.endpoints is not None else _synthetic(settings, tell)


def source(settings: BacktestSettings) -> str:
    """Where the bars come from, in words."""
    if settings.bars:
        return "recorded minute bars: " + ", ".join(str(path) for path in settings.bars)
    if settings.endpoints is not None:
        last = settings.last or "the last day that is over"
        return f"minute bars of {settings.endpoints.feed}, {settings.first} to {last}, raw prices"
    return f"the synthetic market of seed {settings.seed}; each further day takes the next seed"


def _recorded(settings: BacktestSettings, tell: Tell) -> Iterator[tuple[Session, Market]]:
    found: Days = load(settings.bars, settings.symbols or None)
    first, last = settings.first or dt.date.min, settings.last or dt.date.max
    wanted = [date for date in found if first <= date <= last]
    if not wanted:
        dates = ", ".join(str(date) for date in found)
        raise UserError(f"no bars in the days asked for: there are {dates}")
    # All at once: a date that was no trading day is reported before anything is played.
    sessions = [_session(date) for date in wanted]
    for number, session in enumerate(sessions):
        tell(PLAYING, number, len(sessions))
        market = found.pop(session.date)
        yield session, {symbol: market[symbol] for symbol in settings.symbols or sorted(market) if symbol in market}


def _downloaded(settings: BacktestSettings, tell: Tell) -> Iterator[tuple[Session, Market]]:
    # Imported here: whoever plays files or the synthetic market needs no network.
    from scalp.backtest.download import cache_folder, download, file_of

    endpoints, wanted, folder = settings.endpoints, days_that_are_over(settings), cache_folder()
    assert endpoints is not None

    def asked(done: int, total: int, requests: int) -> None:
        tell(f"history, {requests} requests", done, total)

    asyncio.run(download(endpoints, settings.symbols, wanted, folder, asked, per_minute=settings.requests))
    has_bars = False
    for number, day in enumerate(wanted):
        tell(PLAYING, number, len(wanted))
        kept = {s: kept_bars(file_of(folder, endpoints.feed, s, day), s, day.date) for s in settings.symbols}
        if market := {symbol: bars for symbol, bars in kept.items() if bars}:
            has_bars = True
            yield Session(day.date, day.open, day.close), market
    if not has_bars:
        raise no_bars(settings)


def days_that_are_over(settings: BacktestSettings) -> list[SessionDay]:
    """The trading days whose history is available. Raises UserError where there is none."""
    from scalp.backtest.download import is_over

    assert settings.first is not None
    wanted = [day for day in trading_days(settings.first, settings.last or dt.date.max) if is_over(day)]
    if not wanted:
        raise UserError(f"no trading day from {settings.first} to {settings.last or 'now'} is over yet")
    return wanted


def kept_bars(file: Path, symbol: str, date: dt.date) -> list[Bar]:
    """The bars of a file of the cache; none for a header alone: a day without trades. Raises UserError."""
    try:
        if file.read_bytes().split() == [",".join(COLUMNS).encode()]:
            return []
        found = load([file])
    except (OSError, UserError):
        found = {}
    bars = found.get(date, {}).get(symbol)
    if not bars or len(found) > 1:
        raise UserError(f"{file} is damaged: delete it, it is downloaded again")
    return bars


def no_bars(settings: BacktestSettings) -> UserError:
    """Days without a single bar cannot be played."""
    span = f"{settings.first} to {settings.last or 'now'}"
    return UserError(f"no bars of {', '.join(settings.symbols)} from {span}: check the symbols, or try other days")


def _synthetic(settings: BacktestSettings, tell: Tell) -> Iterator[tuple[Session, Market]]:
    if settings.first is None and settings.last is None:
        wanted = [session_day(DEFAULT_DAY)]
    else:
        first, last = settings.first or settings.last, settings.last or settings.first
        assert first is not None and last is not None
        wanted = trading_days(first, last)
        if not wanted:
            session_day(first)  # raises, and names the nearest trading days
    for number, day in enumerate(wanted):
        tell(PLAYING, number, len(wanted))
        yield Session(day.date, day.open, day.close), synthetic_day(settings.symbols, day, settings.seed + number)


def _session(date: dt.date) -> Session:
    day = session_day(date)
    return Session(day.date, day.open, day.close)
