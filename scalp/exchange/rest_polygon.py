"""Polygon's market data over REST: aggregates, grouped and single days, the previous close, the last trade, snapshots.

All else that Polygon has is not in this key's plan: 403, in Polygon's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from itertools import islice

from scalp.core.market_data import Bar
from scalp.core.units import MILLISECOND
from scalp.exchange import wire
from scalp.exchange.derived import DAYS, Derived, Span
from scalp.exchange.orders import Rejection, make_id
from scalp.exchange.path import Print
from scalp.exchange.rest_data import Answer, place_of, token_of
from scalp.exchange.simulation import Simulation, new_york

_DIGITS = re.compile(r"[0-9]{1,18}")
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_SUNDAY = 6


class PolygonApi:
    """Answers Polygon's requests, as a plan in real time does: the running day counts."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._derived = Derived(simulation)
        self.base_url = ""  # of the server: next_url is absolute

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """HTTP status and JSON value for a GET of `path`. Raises wire.BadTime."""
        told = {"request_id": make_id(path, self._simulation.now)[:12]}
        match path.strip("/").split("/"):
            case ["v2", "aggs", "ticker", symbol, "range", count, unit, start, end]:
                return self._aggregates(path, query, told, symbol, (count, unit), start, end)
            case ["v2", "aggs", "ticker", symbol, "prev"]:
                return 200, {"ticker": symbol} | _results(told, query, [self._day_before(symbol)])
            case ["v2", "aggs", "grouped", "locale", "us", "market", "stocks", day]:
                bars = (self._derived.day(symbol, _date(day)) for symbol in self._simulation.tape.symbols)
                return 200, _results(told, query, [self._whole_day(bar) for bar in bars])
            case ["v1", "open-close", symbol, day]:
                return self._open_close(told, symbol, _date(day))
            case ["v2", "last", "trade", symbol]:
                return self._last_trade(told, symbol)
            case ["v2", "snapshot", "locale", "us", "markets", "stocks", "tickers", *symbols] if len(symbols) < 2:
                return self._snapshots(told, query, symbols)
        message = "You are not entitled to this data. The simulated exchange does not have it."
        return 403, {"status": "NOT_AUTHORIZED"} | told | {"message": message}

    def _aggregates(
        self,
        path: str,
        query: Mapping[str, str],
        told: wire.Json,
        symbol: str,
        timeframe: tuple[str, str],
        start: str,
        end: str,
    ) -> Answer:
        span = _span(*timeframe)
        limit = query.get("limit") or "5000"
        if span is None or not _DIGITS.fullmatch(limit) or not 0 < int(limit) <= 50_000:
            return 400, {"status": "ERROR"} | told | {"error": "invalid request"}
        first, last = _time(start, False), _time(end, True)
        descending = query.get("sort", "asc") == "desc"
        if query.get("cursor"):
            try:
                _, at = place_of(query["cursor"])
            except Rejection:
                return 400, {"status": "ERROR"} | told | {"error": "invalid cursor"}
            first, last = (first, min(last, at - 1)) if descending else (max(first, at + 1), last)
        bars = [bar for bar in self._derived.bars(symbol, span) if first <= bar.start <= last]
        if descending:
            bars.reverse()
        rows = iter(bars)
        page = list(islice(rows, int(limit)))
        value = {"ticker": symbol} | _results(told, query, [_aggregate(bar) for bar in page])
        if next(rows, None) is not None:
            rest = f"cursor={token_of(symbol, page[-1].start)}&limit={limit}&sort={query.get('sort', 'asc')}"
            value["next_url"] = f"{self.base_url}{path}?{rest}"
        return 200, value

    def _whole_day(self, bar: Bar | None) -> wire.Json | None:
        """A day's aggregate with its ticker, dated by the session's close."""
        if bar is None:
            return None
        _, closes = self._derived.session(new_york(bar.start).date())
        return {"T": bar.symbol} | _aggregate(bar) | {"t": closes // MILLISECOND}

    def _day_before(self, symbol: str) -> wire.Json | None:
        days = self._days_before(symbol)
        return self._whole_day(days[-1]) if days else None

    def _days_before(self, symbol: str) -> list[Bar]:
        today = new_york(self._simulation.now).date()
        return [bar for bar in self._derived.bars(symbol, DAYS) if new_york(bar.start).date() < today]

    def _open_close(self, told: wire.Json, symbol: str, day: date) -> Answer:
        bar = self._derived.day(symbol, day)
        if bar is None:
            return _not_found(told)
        opens, closes = self._derived.session(day)
        minutes = [of for of in self._derived.minutes(symbol) if new_york(of.start).date() == day]
        value: wire.Json = {"status": "OK", "from": day.isoformat(), "symbol": symbol, "open": bar.open}
        value |= {"high": bar.high, "low": bar.low, "close": bar.close, "volume": bar.volume}
        # The first trade before the session, the last one after it.
        for of in minutes:
            if of.start < opens:
                value.setdefault("preMarket", of.open)
            elif of.start >= closes:
                value["afterHours"] = of.close
        return 200, value

    def _last_trade(self, told: wire.Json, symbol: str) -> Answer:
        made = self._simulation.engine.last_trade(symbol)
        if made is None:
            return _not_found(told)
        when = {"t": made.at, "y": made.at, "f": made.at}
        results = {"T": symbol, "p": made.price, "s": made.size, **when, "i": str(made.at // 1000), "x": 11, "z": 3}
        return 200, {"status": "OK"} | told | {"results": results}

    def _snapshots(self, told: wire.Json, query: Mapping[str, str], symbols: list[str]) -> Answer:
        if symbols:
            snapshot = self._snapshot(symbols[0])
            return (200, {"status": "OK"} | told | {"ticker": snapshot}) if snapshot else _not_found(told)
        wanted = query["tickers"].split(",") if query.get("tickers") else self._simulation.tape.symbols
        found = [snapshot for symbol in wanted if (snapshot := self._snapshot(symbol))]
        return 200, {"status": "OK"} | told | {"count": len(found), "tickers": found}

    def _snapshot(self, symbol: str) -> wire.Json | None:
        made = self._simulation.engine.last_trade(symbol)
        minutes = self._derived.minutes(symbol)
        if made is None or not minutes:
            return None
        today = new_york(self._simulation.now).date()
        day, before = self._derived.day(symbol, today), self._days_before(symbol)
        volume = sum(of.volume for of in minutes if new_york(of.start).date() == today)
        change = made.price - before[-1].close if before else 0.0
        return {
            "ticker": symbol,
            "todaysChange": round(change, 6),
            "todaysChangePerc": round(100 * change / before[-1].close, 6) if before else 0.0,
            "updated": made.at,
            "day": _prices(day),
            "lastQuote": _quote(made),
            "lastTrade": {"c": [], "i": str(made.at // 1000), "p": made.price, "s": made.size, "t": made.at, "x": 11},
            "min": {"av": volume} | _aggregate(minutes[-1]),
            "prevDay": _prices(before[-1] if before else None),
        }


def _results(told: wire.Json, query: Mapping[str, str], rows: list[wire.Json | None]) -> wire.Json:
    """An answer with a list of results, which is absent when there are none."""
    found = [row for row in rows if row is not None]
    value: wire.Json = {
        "queryCount": len(found),
        "resultsCount": len(found),
        "adjusted": query.get("adjusted", "true") == "true",
        "status": "OK",
        "request_id": told["request_id"],
        "count": len(found),
    }
    return value | {"results": found} if found else value


def _not_found(told: wire.Json) -> Answer:
    return 404, {"status": "NOT_FOUND"} | told | {"message": "Data not found."}


def _aggregate(bar: Bar) -> wire.Json:
    told = wire.bar(bar)
    return {name: told[name] for name in ("v", "vw", "o", "c", "h", "l")} | {
        "t": bar.start // MILLISECOND,
        "n": told["n"],
    }


def _prices(bar: Bar | None) -> wire.Json:
    """A day of a snapshot; all zeros where there is none, as at Polygon."""
    told = wire.bar(bar) if bar else {}
    return {name: told.get(name, 0) for name in ("o", "h", "l", "c", "v", "vw")}


def _quote(made: Print) -> wire.Json:
    told = wire.quote(made)
    return {"P": told["ap"], "S": told["as"], "p": told["bp"], "s": told["bs"], "t": made.at}


def _span(count: str, unit: str) -> Span | None:
    if not _DIGITS.fullmatch(count) or not 0 < int(count) <= 10_000:
        return None
    if unit in _MONTHS:
        return Span(int(count) * _MONTHS[unit], "month")
    if unit in ("minute", "hour", "day", "week"):
        return Span(int(count), unit, _SUNDAY)
    return None


def _date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise wire.BadTime(f"invalid date: {value}") from None


def _time(value: str, end_of_day: bool) -> int:
    if _DIGITS.fullmatch(value.removeprefix("-")):
        return int(value) * MILLISECOND
    return wire.parse_time(value, end_of_day=end_of_day)
