"""The data of a report as compact JSON: bars become small differences, which compress to a few bytes each.

Times are New York's wall clock as milliseconds since 1970 ("as if UTC"), so the page needs no time zones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from scalp.core.clock import new_york
from scalp.core.market_data import Bar
from scalp.core.prices import micros
from scalp.core.trades import RoundTrip
from scalp.core.units import HOUR, MILLISECOND, MINUTE
from scalp.net.printable import printable
from scalp.results.columns import dollars
from scalp.results.html.contents import OrderEnd, Report

DAY_MS = 24 * HOUR // MILLISECOND
LONGEST_WORD = 80  # characters
LONGEST_WHY = 300  # characters
MOST_POINTS = 6000  # of the equity curve: more than a screen has columns, for each of three kinds of points

# Units a dollar is divided into: the coarsest that holds all prices of a day exactly, to a millionth.
UNITS = (100, 10_000, 1_000_000)


def payload(report: Report) -> dict[str, Any]:
    """What report.js reads; it says there what each part means."""
    days_of = {symbol: _by_day(bars) for symbol, bars in report.bars.items()}
    days = sorted(
        {day for by_day in days_of.values() for day in by_day} | {wall(at) // DAY_MS for at in _times(report)}
    )
    place = {symbol: number for number, symbol in enumerate(_symbols(report))}
    day_place = {day: number for number, day in enumerate(days)}
    return {
        "symbols": [printable(symbol, LONGEST_WORD) for symbol in place],
        "days": [(dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat() for day in days],
        "bars": [
            [place[symbol], day_place[day], *_columns(bars)]
            for symbol, by_day in days_of.items()
            for day, bars in by_day.items()
        ],
        "trades": [
            [place[trade.symbol], day_place[wall(trade.entry_time) // DAY_MS], *_of_trade(trade)]
            for trade in report.trades
        ],
        "held": [
            [place[held.symbol], day_place[wall(held.entry_time) // DAY_MS], float(held.held),
             wall(held.entry_time), dollars(held.entry_price)]
            for held in report.held
        ],
        "orders": [
            [place[order.symbol], day_place[wall(order.at) // DAY_MS], *_of_order(order)]
            for order in report.orders
        ],
        "average": report.average,
        "lines": [
            [place[line.symbol], day_place[day], printable(line.name, LONGEST_WORD), [wall(at) for at, _ in points],
             [value for _, value in points]]
            for line in report.lines if line.symbol in place
            for day, points in _points_by_day(line.points) if day in day_place
        ],
        "stopped": [
            [place[one.symbol], day_place[wall(one.at) // DAY_MS], one.kind, wall(one.at),
             printable(one.why, LONGEST_WHY)]
            for one in report.stopped
        ],
        "sums": [[day.date.isoformat(), day.net, day.trades] for day in report.days],
        "markouts": [[one.side, one.seconds, one.cents] for one in report.markouts],
        "equity": _curve(report.equity or _steps(report.trades)),
    }  # fmt: skip


def _of_trade(trade: RoundTrip) -> list[Any]:
    return [float(trade.qty), wall(trade.entry_time), dollars(trade.entry_price), wall(trade.exit_time),
            dollars(trade.exit_price), dollars(trade.pnl), printable(trade.reason, LONGEST_WORD),
            dollars(trade.net)]  # fmt: skip


def _of_order(order: OrderEnd) -> list[Any]:
    return [printable(order.side, LONGEST_WORD), printable(order.status, LONGEST_WORD), wall(order.at),
            None if order.price is None else dollars(order.price)]  # fmt: skip


def _symbols(report: Report) -> list[str]:
    """All that it names, those with bars first."""
    rows = (report.trades, report.held, report.orders, report.stopped)
    return list(dict.fromkeys([*report.bars, *(row.symbol for of in rows for row in of)]))


def _times(report: Report) -> Iterator[int]:
    """When anything happened besides bars, ns UTC."""
    yield from (row.entry_time for of in (report.trades, report.held) for row in of)
    yield from (row.at for of in (report.orders, report.stopped) for row in of)
    yield from (at for at, _ in report.equity)


def _points_by_day(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    for day, those in groupby(points, lambda point: wall(point[0]) // DAY_MS):
        yield day, list(those)


def wall(at: int) -> int:
    """`at` (ns UTC) on New York's wall clock, in ms since 1970 there."""
    return at // MILLISECOND + _offset_ms(at // HOUR)


@lru_cache(maxsize=4096)
def _offset_ms(hour: int) -> int:
    # The clocks change on the hour.
    offset = new_york(hour * HOUR).utcoffset()
    assert offset is not None
    return offset // dt.timedelta(milliseconds=1)


def _by_day(bars: Iterable[Bar]) -> dict[int, list[Bar]]:
    return {day: list(those) for day, those in groupby(bars, lambda bar: wall(bar.start) // DAY_MS)}


def _columns(bars: Sequence[Bar]) -> tuple[int, list[int], list[int], list[int], list[int], list[int]]:
    """Unit, minutes, opens, closes, highs and lows.

    Minutes and closes are differences to the bar before, opens to the close before; highs and lows are how far they
    lie beyond open and close.
    """
    prices = [(micros(bar.open), micros(bar.high), micros(bar.low), micros(bar.close)) for bar in bars]
    unit = next(unit for unit in UNITS if unit == UNITS[-1] or _all_fit(prices, UNITS[-1] // unit))
    step = UNITS[-1] // unit
    minutes, opens, closes, highs, lows = [], [], [], [], []
    minute = close = 0
    for bar, row in zip(bars, prices, strict=True):
        new_minute = wall(bar.start) * MILLISECOND // MINUTE
        new_open, high, low, new_close = (price // step for price in row)
        minutes.append(new_minute - minute)
        opens.append(new_open - close)
        closes.append(new_close - close)
        highs.append(high - max(new_open, new_close))
        lows.append(min(new_open, new_close) - low)
        minute, close = new_minute, new_close
    return unit, minutes, opens, closes, highs, lows


def _all_fit(rows: Iterable[Sequence[int]], step: int) -> bool:
    return all(price % step == 0 for row in rows for price in row)


def _steps(trades: Iterable[RoundTrip]) -> list[tuple[int, int]]:
    """The profit after each trade, net."""
    total, points = 0, []
    for trade in sorted(trades, key=lambda trade: trade.exit_time):
        total += micros(float(trade.net))
        points.append((trade.exit_time, total))
    return points


def _curve(points: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Times, profits and drawdowns in millionths of a dollar; of long curves the turning points that a screen shows."""
    peak, rows = 0, []
    for at, total in points:
        peak = max(peak, total)
        rows.append((wall(at), total, total - peak))
    if len(rows) > MOST_POINTS:
        # The highest, the lowest, the deepest in drawdown and the last of each stretch: thinning moves no extreme.
        length = -(-len(rows) * 4 // MOST_POINTS)
        kept: set[int] = set()
        for start in range(0, len(rows), length):
            stretch = range(start, min(start + length, len(rows)))
            kept |= {
                max(stretch, key=lambda n: rows[n][1]),
                min(stretch, key=lambda n: rows[n][1]),
                min(stretch, key=lambda n: rows[n][2]),
                stretch[-1],
            }
        rows = [rows[n] for n in sorted(kept)]
    return [[row[column] for row in rows] for column in range(3)]
