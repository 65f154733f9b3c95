"""Market data over REST: Alpaca's bars, latest trades, quotes and snapshots; Polygon's aggregates and last trade.

Only what has been published by now is told: finished bars and prints already made.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scalp.core.messages import MINUTE, SECOND, Bar
from scalp.exchange import wire
from scalp.exchange.orders import Refusal, make_id
from scalp.exchange.simulation import NEW_YORK, Simulation, new_york

_DIGITS = re.compile(r"[0-9]{1,18}")
_TIMEFRAME = re.compile(r"([0-9]{1,9})(Min|T|Hour|H|Day|D)")
_LONGEST = {"Min": 59, "T": 59, "Hour": 23, "H": 23, "Day": 1, "D": 1}
_FEEDS = ("sip", "iex", "boats", "otc")
_LATEST_FEEDS = (*_FEEDS, "delayed_sip", "overnight")
_SPANS = {"Min": MINUTE, "T": MINUTE, "Hour": 60 * MINUTE, "H": 60 * MINUTE, "Day": 1440 * MINUTE, "D": 1440 * MINUTE}
_RECENT = 15 * MINUTE
_MILLISECOND = 1_000_000

Answer = tuple[int, Any]


class DataApi:
    """Answers data requests; `sip` is whether the plan includes recent sip data."""

    def __init__(self, simulation: Simulation, sip: bool) -> None:
        self._simulation = simulation
        self._sip = sip
        self.base_url = ""  # of the server: Polygon's next_url is absolute

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        """HTTP status and JSON value for a GET of `path`. Raises Refusal and wire.BadTime."""
        parts = path.strip("/").split("/")
        match parts[1:]:
            case ["stocks", "bars"]:
                return self._bars(query, _symbols(query), False)
            case ["stocks", symbol, "bars"] if symbol not in ("trades", "quotes"):
                return self._bars(query, [symbol], True)
            case ["stocks", *_]:
                return self._newest(parts[1:], query)
            case ["aggs", "ticker", symbol, "range", count, unit, start, end]:
                return self._aggregates(path, query, symbol, (count, unit), start, end)
            case ["last", "trade", symbol]:
                return self._polygon_trade(symbol)
        return 404, {"message": "Not Found"}

    def _newest(self, parts: Sequence[str], query: Mapping[str, str]) -> Answer:
        feed = query.get("feed") or "iex"
        if feed not in _LATEST_FEEDS:
            raise Refusal(400, 40010001, f"invalid feed: {feed}")
        if feed == "sip" and not self._sip:
            raise _no_recent_sip()
        match parts:
            case ["stocks", ("trades" | "quotes" | "bars") as what, "latest"]:
                found = {symbol: self._latest(what, symbol) for symbol in _symbols(query)}
                return 200, {what: {symbol: value for symbol, value in found.items() if value is not None}}
            case ["stocks", symbol, ("trades" | "quotes" | "bars") as what, "latest"]:
                value = self._latest(what, symbol)
                if value is None:
                    raise Refusal(404, 40410000, f"no {what[:-1]} found for {symbol}")
                return 200, {"symbol": symbol, what[:-1]: value}
            case ["stocks", "snapshots"]:
                return 200, {symbol: self._snapshot(symbol) for symbol in _symbols(query)}
            case ["stocks", symbol, "snapshot"]:
                return 200, {"symbol": symbol} | (self._snapshot(symbol) or {})
        return 404, {"message": "Not Found"}

    def _published(self, symbol: str) -> list[Bar]:
        return self._simulation.tape.published.get(symbol, [])

    def _bars(self, query: Mapping[str, str], symbols: Sequence[str], single: bool) -> Answer:
        now = self._simulation.now
        limit = query.get("limit") or "1000"
        if not _DIGITS.fullmatch(limit) or int(limit) < 1:
            raise Refusal(400, 40010001, f"invalid limit: {limit}")
        if int(limit) > 10_000:
            raise Refusal(400, 40010001, "invalid limit: larger than the allowed maximum of 10000")
        for name, known in (("feed", _FEEDS), ("sort", ("asc", "desc"))):
            if query.get(name) and query[name] not in known:
                raise Refusal(400, 40010001, f"invalid {name}: {query[name]}")
        today = new_york(now).date().isoformat()
        start = wire.parse_time(query.get("start") or today)
        recent = not self._sip and query.get("feed", "sip" if self._sip else "iex") == "sip"
        end = wire.parse_time(query["end"], end_of_day=True) if query.get("end") else now - _RECENT * recent
        if recent and end > now - _RECENT:
            raise _no_recent_sip()
        span = _span(query.get("timeframe", "1Min"))
        rows = [
            (symbol, bar)
            for symbol in sorted(set(symbols))
            for bar in merge(self._published(symbol), span)
            if start <= bar.start <= end
        ]
        if query.get("sort", "asc") == "desc":
            rows.sort(key=lambda row: -row[1].start)
            rows.sort(key=lambda row: row[0])
        first = _unpack_token(query["page_token"]) if query.get("page_token") else 0
        page = rows[first : first + int(limit)]
        token = _pack_token(first + len(page)) if first + len(page) < len(rows) else None
        if single:
            bars: Any = [wire.bar(bar) for _, bar in page]
            return 200, {"bars": bars, "symbol": symbols[0], "next_page_token": token}
        grouped: dict[str, list[wire.Json]] = {}
        for symbol, bar in page:
            grouped.setdefault(symbol, []).append(wire.bar(bar))
        return 200, {"bars": grouped, "next_page_token": token}

    def _latest(self, what: str, symbol: str) -> wire.Json | None:
        if what == "bars":
            bars = self._published(symbol)
            return wire.bar(bars[-1]) if bars else None
        made = self._simulation.tape.last_print.get(symbol)
        if made is None:
            return None
        return wire.trade(made) if what == "trades" else wire.quote(made)

    def _snapshot(self, symbol: str) -> wire.Json | None:
        bars = self._published(symbol)
        if not bars:
            return None
        days = merge(bars, _SPANS["Day"])
        told = {
            "latestTrade": self._latest("trades", symbol),
            "latestQuote": self._latest("quotes", symbol),
            "minuteBar": wire.bar(bars[-1]),
            "dailyBar": wire.bar(days[-1]),
            "prevDailyBar": wire.bar(days[-2]) if len(days) > 1 else None,
        }
        return {name: value for name, value in told.items() if value is not None}

    def _aggregates(
        self, path: str, query: Mapping[str, str], symbol: str, timeframe: tuple[str, str], start: str, end: str
    ) -> Answer:
        request_id = make_id(path, self._simulation.now)[:12]
        names = {"minute": "Min", "hour": "Hour", "day": "Day"}
        count, unit = timeframe
        limit = query.get("limit") or "5000"
        are_numbers = _DIGITS.fullmatch(count) and int(count) > 0 and _DIGITS.fullmatch(limit)
        if unit not in names or not are_numbers or not 0 < int(limit) <= 50_000:
            return 400, {"status": "ERROR", "request_id": request_id, "error": "invalid request"}
        first, last = _polygon_time(start, False), _polygon_time(end, True)
        merged = merge(self._published(symbol), int(count) * _SPANS[names[unit]])
        bars = [bar for bar in merged if first <= bar.start <= last]
        if query.get("sort", "asc") == "desc":
            bars.reverse()
        skip = _unpack_token(query["cursor"]) if query.get("cursor") else 0
        page = bars[skip : skip + int(limit)]
        value: wire.Json = {
            "ticker": symbol,
            "queryCount": len(page),
            "resultsCount": len(page),
            "adjusted": query.get("adjusted", "true") == "true",
            "status": "OK",
            "request_id": request_id,
            "count": len(page),
        }
        if page:
            value["results"] = [_aggregate(bar) for bar in page]
        if skip + len(page) < len(bars):
            rest = f"cursor={_pack_token(skip + len(page))}&limit={limit}&sort={query.get('sort', 'asc')}"
            value["next_url"] = f"{self.base_url}{path}?{rest}"
        return 200, value

    def _polygon_trade(self, symbol: str) -> Answer:
        request_id = make_id("last", symbol, self._simulation.now)[:12]
        made = self._simulation.tape.last_print.get(symbol)
        if made is None:
            return 404, {"status": "NOT_FOUND", "request_id": request_id, "message": "Data not found."}
        when = {"t": made.at, "y": made.at, "f": made.at}
        results = {"T": symbol, "p": made.price, "s": made.size, **when, "i": str(made.at // 1000), "x": 11, "z": 3}
        return 200, {"status": "OK", "request_id": request_id, "results": results}


def merge(bars: Sequence[Bar], span: int) -> list[Bar]:
    """Bars of `span` ns made of minute bars; a day begins at midnight in New York."""
    if span == MINUTE:
        return list(bars)
    merged: list[Bar] = []
    for bar in bars:
        if span % _SPANS["Day"] == 0:
            midnight = datetime.combine(new_york(bar.start).date(), datetime.min.time(), NEW_YORK)
            start = round(midnight.timestamp()) * SECOND
        else:
            start = bar.start // span * span
        if merged and merged[-1].start == start:
            last = merged[-1]
            high, low = max(last.high, bar.high), min(last.low, bar.low)
            merged[-1] = Bar(bar.symbol, start, last.open, high, low, bar.close, last.volume + bar.volume)
        else:
            merged.append(Bar(bar.symbol, start, bar.open, bar.high, bar.low, bar.close, bar.volume))
    return merged


def _aggregate(bar: Bar) -> wire.Json:
    told = wire.bar(bar)
    return {"v": told["v"], "vw": told["vw"], "o": told["o"], "c": told["c"], "h": told["h"], "l": told["l"]} | {
        "t": bar.start // _MILLISECOND,
        "n": told["n"],
    }


def _no_recent_sip() -> Refusal:
    return Refusal(403, 42210000, "subscription does not permit querying recent SIP data")


def _symbols(query: Mapping[str, str]) -> list[str]:
    symbols = [symbol for symbol in query.get("symbols", "").split(",") if symbol]
    if not symbols:
        raise Refusal(400, 40010001, "symbols is required")
    return symbols


def _span(timeframe: str) -> int:
    found = _TIMEFRAME.fullmatch(timeframe)
    if found is None or not 1 <= int(found[1]) <= _LONGEST[found[2]]:
        raise Refusal(400, 40010001, f"invalid timeframe: {timeframe}")
    return int(found[1]) * _SPANS[found[2]]


def _polygon_time(value: str, end_of_day: bool) -> int:
    if _DIGITS.fullmatch(value.removeprefix("-")):
        return int(value) * _MILLISECOND
    return wire.parse_time(value, end_of_day=end_of_day)


def _pack_token(place: int) -> str:
    return base64.urlsafe_b64encode(str(place).encode()).decode()


def _unpack_token(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token))
    except ValueError:
        raise Refusal(400, 40010001, f"invalid page_token: {token}") from None
