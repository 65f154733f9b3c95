"""Minute bars of past days from Polygon or Alpaca, kept in the user's cache folder.

A file per symbol and day, in the format that `--bars` reads, so a download that was broken off goes on where it was,
and what is there is never asked for again. Only regular sessions are kept. Prices are raw, as they were traded.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalp.cli.paths import default_cache
from scalp.cli.settings import Endpoints
from scalp.cli.venues import FEEDS, open_feed
from scalp.core.clock import new_york
from scalp.core.errors import Rejected, Unreachable, UserError
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.ports import History
from scalp.core.units import MINUTE
from scalp.exchange.calendar import SessionDay
from scalp.exchange.replay import COLUMNS
from scalp.net.transport import Answer, HttpTransport, RateLimited, Transport

SPAN = 20  # trading days in one question: one or two pages of Alpaca's, less than one of Polygon's
LATE = 16 * MINUTE  # after the close a day is complete for every plan
RETRIES = (2.0, 4.0, 8.0, 15.0, 30.0)  # seconds before asking again
LONGEST_PAUSE = 60.0  # seconds, whatever Retry-After says

Progress = Callable[[int, int, int], None]
"""Called with symbol-days done, symbol-days in all, requests so far."""


def cache_folder() -> Path:
    """Where this user keeps what can be downloaded again. Raises UserError where there is no such folder."""
    folder = default_cache()
    if folder is None:
        raise UserError("there is no home folder to keep history in: set XDG_CACHE_HOME to a full path")
    return folder / "bars"


def file_of(folder: Path, feed: str, symbol: str, day: SessionDay) -> Path:
    """The file of one symbol's day."""
    return folder / feed / symbol / f"{symbol}_{day.date:%Y%m%d}.csv"


def is_over(day: SessionDay) -> bool:
    """Whether the day is in the past, by this machine's clock."""
    return time.time_ns() >= day.close + LATE


async def download(
    endpoints: Endpoints,
    symbols: Sequence[str],
    days: Sequence[SessionDay],
    folder: Path,
    progress: Progress,
    *,
    per_minute: int | None = None,
    transport: Transport | None = None,
) -> None:
    """Have all these days in the cache; asks only for what is missing. Raises UserError with one clear line."""
    todo = {
        symbol: missing
        for symbol in symbols
        if (missing := [day for day in days if not _is_kept(file_of(folder, endpoints.feed, symbol, day))])
    }
    total = len(symbols) * len(days)
    done = total - sum(map(len, todo.values()))
    if not todo:
        return
    own = HttpTransport()  # opens nothing until it is used
    paced = _Paced(transport or own, per_minute or FEEDS[endpoints.feed].per_minute)
    # It is only asked for history, and never connects its stream.
    feed = open_feed(endpoints, list(todo), _Nobody(), random.Random(0), lambda: False, transport=paced,
                     longest_pause=LONGEST_PAUSE)  # fmt: skip
    try:
        for symbol, missing in todo.items():
            for first in range(0, len(missing), SPAN):
                span = missing[first : first + SPAN]
                bars = await _patiently(feed, endpoints.feed, symbol, span)
                for day in span:
                    inside = [bar for bar in bars if day.open <= bar.start < day.close and bar.volume > 0]
                    _write(file_of(folder, endpoints.feed, symbol, day), inside)
                done += len(span)
                progress(done, total, paced.sent)
    finally:
        await feed.close()
        await own.close()


async def _patiently(feed: History, source: str, symbol: str, days: Sequence[SessionDay]) -> list[Bar]:
    """The bars of a span of days; passing trouble is waited out."""
    name = FEEDS[source].owner
    for pause in (*RETRIES, None):
        bars: list[Bar] = []
        try:
            async for _, found in feed.history([symbol], days[0].open, days[-1].close):
                bars += found
            return bars
        except (Rejected, Unreachable) as error:
            if isinstance(error, Rejected) and error.status in (401, 403):
                raise UserError(f"{name} refused the keys, or the plan has no such history: {error}") from None
            if isinstance(error, Rejected):
                raise UserError(f"{name} refused to give history: {error.message}") from None
            if pause is None:
                raise UserError(
                    f"history cannot be had: {error}; what came is kept, the same command goes on from there"
                ) from None
            told = error.retry_after if isinstance(error, RateLimited) else None
            await asyncio.sleep(min(told or pause, LONGEST_PAUSE))
    raise AssertionError("the last try returns or raises")


def _is_kept(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check permissions or set XDG_CACHE_HOME") from None


def _write(path: Path, bars: Sequence[Bar]) -> None:
    """All or nothing: a file that is there is complete. A day without a bar has the header alone."""
    rows = [
        f"{new_york(bar.start).isoformat(' ')},{bar.open!r},{bar.high!r},{bar.low!r},{bar.close!r},{bar.volume!r}"
        for bar in sorted(bars, key=lambda bar: bar.start)
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text("\n".join([",".join(COLUMNS), *rows, ""]))
        unfinished.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): free space or set XDG_CACHE_HOME") from None


class _Paced:
    """A transport with a budget: so many requests a minute, evenly spread."""

    def __init__(self, transport: Transport, per_minute: int) -> None:
        self._transport = transport
        self._interval = 60 / per_minute
        self._free_at = 0.0
        self.sent = 0

    async def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        json: Any,
        within: float,
    ) -> Answer:
        now = asyncio.get_running_loop().time()
        wait = self._free_at - now
        self._free_at = max(self._free_at, now) + self._interval
        if wait > 0:
            await asyncio.sleep(wait)
        self.sent += 1
        return await self._transport(method, url, headers, params, json, within)


class _Nobody:
    """Gets nothing: no stream is opened."""

    def on_bar(self, bar: Bar) -> None: ...
    def on_trade(self, trade: Trade) -> None: ...
    def on_gap(self, symbol: str) -> None: ...
    def on_trade_correction(self, correction: TradeCorrection) -> None: ...
    def on_halt(self, halt: Halt) -> None: ...
    def on_feed_up(self) -> None: ...
    def on_feed_down(self, why: str) -> None: ...
