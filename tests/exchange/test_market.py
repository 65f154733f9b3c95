"""The synthetic market: reproducible, sound bar by bar, and like a market over a day."""

from datetime import date
from itertools import pairwise
from statistics import mean

import pytest

from scalp.core.market_data import Bar
from scalp.core.prices import micros
from scalp.core.units import MINUTE
from scalp.exchange.calendar import SessionDay, session_day
from scalp.exchange.market import synthetic_day, traits

FULL = session_day(date(2025, 11, 20))
HALF = session_day(date(2025, 11, 28))
# Open, high, low, close, volume: other numbers mean that every user's simulated day has changed.
TESLA = [
    (407.5, 407.54, 406.32, 406.32, 732462.0),
    (406.18, 407.14, 405.87, 407.14, 333128.0),
    (407.97, 408.16, 406.91, 407.16, 448060.0),
]
NAMES = ["TSLA", "FB", "AAPL"]
MANY = [*NAMES, "SPY", "F", "BRK.B", "QUIET", *(f"S{number}" for number in range(20))]


def regular(bars: list[Bar], day: SessionDay) -> list[Bar]:
    return [bar for bar in bars if day.open <= bar.start < day.close]


def crossings(bars: list[Bar]) -> int:
    """How often the close goes from below its average of 20 to above it."""
    closes = [micros(bar.close) for bar in bars]
    sides = [20 * closes[at] - sum(closes[at - 19 : at + 1]) for at in range(19, len(closes))]
    return sum(before < 0 < after for before, after in pairwise(sides))


def test_the_first_minutes_of_tesla_with_seed_1() -> None:
    bars = regular(synthetic_day(["TSLA"], FULL, 1)["TSLA"], FULL)
    assert bars[:3] == synthetic_day(["AAPL", "TSLA"], FULL, 1)["TSLA"][60:63]
    assert [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars[:3]] == TESLA


def test_a_symbol_does_not_depend_on_the_others() -> None:
    together = synthetic_day(MANY, FULL, 7)
    assert list(together) == MANY
    for symbol in MANY[::5]:
        assert synthetic_day([symbol], FULL, 7) == {symbol: together[symbol]}


def test_the_seed_makes_the_market_and_the_day_only_its_hours() -> None:
    first, again = synthetic_day(NAMES, FULL, 1), synthetic_day(NAMES, FULL, 1)
    assert first == again
    assert all(first[name] != bars for name, bars in synthetic_day(NAMES, FULL, 2).items())
    next_day = session_day(date(2025, 11, 21))
    shifted = synthetic_day(["TSLA"], next_day, 1)["TSLA"]
    assert [bar.close for bar in shifted] == [bar.close for bar in first["TSLA"]]
    assert {bar.start - old.start for bar, old in zip(shifted, first["TSLA"], strict=True)} == {
        next_day.open - FULL.open
    }


@pytest.mark.parametrize("seed", range(4))
def test_every_bar_is_sound(seed: int) -> None:
    day = HALF if seed % 2 else FULL
    for symbol, bars in synthetic_day(MANY, day, seed).items():
        assert all(before.start < after.start for before, after in pairwise(bars))
        assert bars[0].start >= day.open - 60 * MINUTE
        assert bars[-1].start < day.close + 30 * MINUTE
        for bar in bars:
            assert bar.symbol == symbol
            assert (bar.start - day.open) % MINUTE == 0
            assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert all(price == round(price, 2) for price in (bar.open, bar.high, bar.low, bar.close))
            assert bar.volume >= 1 and bar.volume.is_integer()


def test_there_is_something_to_trade_for_the_default_demo() -> None:
    for day, at_least in ((FULL, 5), (HALF, 3)):
        for bars in synthetic_day(NAMES, day, 1).values():
            assert crossings(regular(bars, day)) >= at_least


def share_of_the_day(bar: Bar) -> float:
    return bar.volume / traits(bar.symbol).volume


def span(bar: Bar) -> float:
    return (bar.high - bar.low) / bar.open


def test_most_of_volume_and_unrest_is_near_open_and_close() -> None:
    days = [
        regular(bars, FULL)
        for seed in range(10)
        for bars in synthetic_day(["TSLA", "AAPL", "SPY"], FULL, seed).values()
    ]
    hours = (slice(15), slice(150, 240), slice(-15, None))
    for size in (share_of_the_day, span):
        opening, midday, closing = (mean(size(bar) for bars in days for bar in bars[part]) for part in hours)
        assert opening > closing > 1.2 * midday


def test_sizes_are_plausible() -> None:
    for symbol, price in (("TSLA", 400), ("AAPL", 250), ("FB", 40)):
        for seed in range(10):
            bars = regular(synthetic_day([symbol], FULL, seed)[symbol], FULL)
            assert bars[0].open == pytest.approx(price, rel=0.15)
            assert max(bar.high for bar in bars) / min(bar.low for bar in bars) < 1.2
            assert 0.4 < sum(bar.volume for bar in bars) / traits(symbol).volume < 2.5


def test_there_are_gaps_over_night_and_minutes_without_a_bar() -> None:
    opens = {synthetic_day(["TSLA"], FULL, seed)["TSLA"][0].open for seed in range(5)}
    assert len(opens) == 5
    thin = min(MANY, key=lambda symbol: traits(symbol).volume)
    assert len(regular(synthetic_day([thin], FULL, 1)[thin], FULL)) < 380
    assert len(regular(synthetic_day(["SPY"], FULL, 1)["SPY"], FULL)) == 390


def test_before_the_open_and_after_the_close_a_little_trades() -> None:
    bars = synthetic_day(["AAPL"], FULL, 1)["AAPL"]
    inside = sum(bar.volume for bar in regular(bars, FULL))
    early = sum(bar.volume for bar in bars if bar.start < FULL.open)
    late = sum(bar.volume for bar in bars if bar.start >= FULL.close)
    assert 0 < early < 0.02 * inside
    assert 0 < late < 0.02 * inside


def test_an_unknown_symbol_has_a_character_of_its_own() -> None:
    assert traits("QUIET") == traits("QUIET")
    drawn = [traits(f"S{number}") for number in range(100)]
    assert len({one.price for one in drawn}) > 95
    assert all(8 <= one.price <= 500 and 40_000 <= one.volume <= 42e6 for one in drawn)
