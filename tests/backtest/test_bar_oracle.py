"""`--fills bar` against plain loops: the rules written down once more, without the algo, the ledger or the fleet."""

from __future__ import annotations

import pytest

from scalp import Bar
from scalp.core.clock import Session
from scalp.core.units import MINUTE
from tests.backtest.recorded import LOT, REAL_BARS, Row, SymbolBars, ours, real_days, synthetic_days

MICRO = 10**6


def micros(price: float) -> int:
    return round(price * MICRO)


def crosses_up(closes: list[int]) -> bool:
    """The close crosses its 20-bar average, in integers."""
    if len(closes) < 21:
        return False
    return 20 * closes[-2] < sum(closes[-21:-1]) and 20 * closes[-1] > sum(closes[-20:])


def tick(price: int) -> int:
    return MICRO // 100 if price >= MICRO else MICRO // 10_000


def plain_loop(day: Session, bars: list[Bar]) -> list[Row]:
    rows: list[Row] = []
    closes: list[int] = []
    buy = sell = None  # the limit of an order
    met = held = qty = entry = entered = 0
    is_closing = False  # a market sell waits for the next open
    last_call = day.close - 5 * MINUTE  # the close of the bar that starts 15:54, on a full day
    for bar in bars:
        opened, low, high, close = map(micros, (bar.open, bar.low, bar.high, bar.close))
        if bar.start >= last_call and not is_closing:  # nothing traded in the minute before
            buy, sell, is_closing = None, None, held > 0
        filled_now = False
        if is_closing and held:
            rows.append(Row(held, entered, entry, bar.start, opened, "liquidation"))
            held = 0
        if buy is not None and low <= buy:
            entry, entered, filled_now = min(opened, buy), bar.start, True
            held, buy = qty, None
        elif buy is not None:
            met += 1
            if met == 2:
                buy = None
        elif sell is not None and high >= sell:
            rows.append(Row(held, entered, entry, bar.start, max(opened, sell), "sell"))
            held, sell = 0, None
        closes.append(close)
        if bar.start + MINUTE >= last_call:
            buy, sell, is_closing = None, None, True
        elif filled_now:
            sell = -(-max(close, entry) // tick(max(close, entry))) * tick(max(close, entry))
        elif not held and buy is None and crosses_up(closes):
            limit = close // tick(close) * tick(close)
            qty = LOT * MICRO // limit
            if qty:
                buy, met = limit, 0
    return rows


@pytest.mark.skipif(not REAL_BARS.is_dir(), reason="the recorded bars are not in ../shared/data/real-minute-bars")
def test_the_same_trades_on_the_recorded_days() -> None:
    compared = 0
    for symbol, day, bars in real_days():
        expected = plain_loop(day, bars)
        assert ours(symbol, day, bars) == expected, f"{symbol} {day.date}"
        compared += len(expected)
    assert compared == 431


@pytest.mark.parametrize("which", list(synthetic_days()), ids=lambda which: f"{which[0]}-{which[1].date}")
def test_the_same_trades_on_synthetic_days(which: SymbolBars) -> None:
    symbol, day, bars = which
    assert ours(symbol, day, bars) == plain_loop(day, bars)


def test_synthetic_days_have_what_is_rare_in_the_recorded_ones() -> None:
    """Minutes without a bar, also the one before the liquidation, liquidations, and half days."""
    seen = list(synthetic_days())
    rows = [row for symbol, day, bars in seen for row in plain_loop(day, bars)]
    assert any(row.reason == "liquidation" for row in rows)
    assert any(day.close - 6 * MINUTE not in {bar.start for bar in bars} for _, day, bars in seen)
    assert len({day.date for _, day, _ in seen}) == 2
    assert len(rows) > 300
