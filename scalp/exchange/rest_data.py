"""Alpaca's market data over REST: bars, trades and quotes, the history and the latest; snapshots.

Only what has been published by now is served: finished bars and prints already made.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from scalp.core.units import MINUTE
from scalp.exchange import wire
from scalp.exchange.derived import DAYS, MINUTES, Derived, Span
from scalp.exchange.orders import Rejection
from scalp.exchange.simulation import Simulation, new_york

_DIGITS = re.compile(r"[0-9]{1,18}")
_FEEDS = ("sip", "iex", "boats", "otc")
_LATEST_FEEDS = (*_FEEDS, "delayed_sip", "overnight")
_KINDS = ("bars", "trades", "quotes")
_RECENT = 15 * MINUTE

Answer = tuple[int, Any]


class DataApi:
    """Answers data requests; `sip` is whether the plan includes recent sip data."""

    def __init__(self, simulation: Simulation, sip: bool) -> None:
        self._simulation = simulation
        self._sip = sip
        self._derived = Derived(simulation)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """HTTP status and JSON value for a GET of `path`. Raises Rejection and wire.BadTime."""
        parts = path.strip("/").split("/")
        match parts[1:]:
            case ["stocks", what] if what in _KINDS:
                return self._history(what, query, _symbols(query), False)
            case ["stocks", symbol, what] if what in _KINDS and symbol not in _KINDS:
                return self._history(what, query, [symbol], True)
        return self._newest(parts[1:], query)

    def _newest(self, parts: Sequence[str], query: Mapping[str, str]) -> Answer:
        feed = query.get("feed") or "iex"
        if feed not in _LATEST_FEEDS:
            raise Rejection(400, 40010001, f"invalid feed: {feed}")
        if feed == "sip" and not self._sip:
            raise _no_recent_sip()
        match parts:
            case ["stocks", ("trades" | "quotes" | "bars") as what, "latest"]:
                found = {symbol: self._latest(what, symbol) for symbol in _symbols(query)}
                return 200, {what: {symbol: value for symbol, value in found.items() if value is not None}}
            case ["stocks", symbol, ("trades" | "quotes" | "bars") as what, "latest"]:
                value = self._latest(what, symbol)
                if value is None:
                    raise Rejection(404, 40410000, f"no {what[:-1]} found for {symbol}")
                return 200, {"symbol": symbol, what[:-1]: value}
            case ["stocks", "snapshots"]:
                return 200, {symbol: self._snapshot(symbol) for symbol in _symbols(query)}
            case ["stocks", symbol, "snapshot"]:
                return 200, {"symbol": symbol} | (self._snapshot(symbol) or {})
        return 404, {"message": "Not Found"}

    def _history(self, what: str, query: Mapping[str, str], symbols: Sequence[str], single: bool) -> Answer:
        now = self._simulation.now
        limit = query.get("limit") or "1000"
        if not _DIGITS.fullmatch(limit) or int(limit) < 1:
            raise Rejection(400, 40010001, f"invalid limit: {limit}")
        if int(limit) > 10_000:
            raise Rejection(400, 40010001, "invalid limit: larger than the allowed maximum of 10000")
        for name, known in (("feed", _FEEDS), ("sort", ("asc", "desc"))):
            if query.get(name) and query[name] not in known:
                raise Rejection(400, 40010001, f"invalid {name}: {query[name]}")
        today = new_york(now).date().isoformat()
        start = wire.parse_time(query.get("start") or today)
        recent = not self._sip and query.get("feed", "sip" if self._sip else "iex") == "sip"
        end = wire.parse_time(query["end"], end_of_day=True) if query.get("end") else now - _RECENT * recent
        if recent and end > now - _RECENT:
            raise _no_recent_sip()
        timeframe = query.get("timeframe", "1Min")
        span = Span.of_alpaca(timeframe)
        if what == "bars" and span is None:
            raise Rejection(400, 40010001, f"invalid timeframe: {timeframe}")
        rows = self._rows(what, sorted(set(symbols)), span or MINUTES, (start, end), query)
        page = list(islice(rows, int(limit)))
        # The token says where the page ended, not how many rows came before: there may be more of them by then.
        token = token_of(*page[-1][:2]) if page and next(rows, None) is not None else None
        if single:
            return 200, {what: [told for _, _, told in page], "symbol": symbols[0], "next_page_token": token}
        grouped: dict[str, list[wire.Json]] = {}
        for symbol, _, told in page:
            grouped.setdefault(symbol, []).append(told)
        return 200, {what: grouped, "next_page_token": token}

    def _rows(
        self, what: str, symbols: Sequence[str], span: Span, window: tuple[int, int], query: Mapping[str, str]
    ) -> Iterator[tuple[str, int, wire.Json]]:
        """Symbol, time and value of what comes after the page token, by symbol, then time."""
        tell = wire.trade if what == "trades" else wire.quote
        descending = query.get("sort", "asc") == "desc"
        token = query.get("page_token")
        after, at = place_of(token) if token else ("", 0)
        for symbol in symbols:
            if symbol < after:
                continue
            first, last = window
            if symbol == after:
                first, last = (first, min(last, at - 1)) if descending else (max(first, at + 1), last)
            if what == "bars":
                bars = self._derived.bars(symbol, span)
                rows = [(symbol, of.start, wire.bar(of)) for of in bars if first <= of.start <= last]
            else:
                rows = [(symbol, made.at, tell(made)) for made in self._derived.prints(symbol, first, last)]
            yield from reversed(rows) if descending else rows

    def _latest(self, what: str, symbol: str) -> wire.Json | None:
        if what == "bars":
            bars = self._derived.minutes(symbol)
            return wire.bar(bars[-1]) if bars else None
        made = self._simulation.engine.last_trade(symbol)
        if made is None:
            return None
        return wire.trade(made) if what == "trades" else wire.quote(made)

    def _snapshot(self, symbol: str) -> wire.Json | None:
        bars = self._derived.minutes(symbol)
        if not bars:
            return None
        days = self._derived.bars(symbol, DAYS)
        told = {
            "latestTrade": self._latest("trades", symbol),
            "latestQuote": self._latest("quotes", symbol),
            "minuteBar": wire.bar(bars[-1]),
            "dailyBar": wire.bar(days[-1]) if days else None,
            "prevDailyBar": wire.bar(days[-2]) if len(days) > 1 else None,
        }
        return {name: value for name, value in told.items() if value is not None}


def _no_recent_sip() -> Rejection:
    return Rejection(403, 42210000, "subscription does not permit querying recent SIP data")


def _symbols(query: Mapping[str, str]) -> list[str]:
    symbols = [symbol for symbol in query.get("symbols", "").split(",") if symbol]
    if not symbols:
        raise Rejection(400, 40010001, "symbols is required")
    return symbols


def token_of(symbol: str, at: int) -> str:
    """The token of the page that follows the row of `symbol` at `at` (ns)."""
    return base64.urlsafe_b64encode(f"{symbol}|{at}".encode()).decode()


def place_of(token: str) -> tuple[str, int]:
    """The row that `token` follows. Raises Rejection for one that was never given out."""
    try:
        symbol, _, at = base64.urlsafe_b64decode(token).decode().rpartition("|")
        return symbol, int(at)
    except ValueError:
        raise Rejection(400, 40010001, f"invalid page_token: {token}") from None
