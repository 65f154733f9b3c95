"""A synthetic stock market: minute bars that look like a day of trading, the same for the same symbol and seed.

The price is a random walk whose step size follows the hours (bursts at the open and before the close, a quiet midday)
and slowly wandering nerves, and whose character changes every 15 to 70 minutes: a trend up, a trend down, a pull back
to where the price was, or nothing. Once in a while news makes it jump. Volume follows the hours, the nerves and the
size of the move; a minute in which nobody happens to trade has no bar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp, sqrt
from random import Random

from msgspec import Struct

from scalp.core.market_data import Bar
from scalp.core.units import MINUTE
from scalp.exchange.calendar import SessionDay

PRE_MARKET = 60
"""Minutes before the open in which a few shares trade already."""
AFTER_HOURS = 30
"""Minutes after the close in which a few shares still trade."""
FULL_DAY = 390
"""Minutes of a regular session; a half day has the same trading per minute in fewer of them."""

EXTENDED_ACTIVITY = 0.012
"""Volume outside the regular session, per minute, as a share of an average minute's inside."""
EXTENDED_UNREST = 0.25
"""Step of the price outside the regular session, as a share of an average minute's inside."""
SHARES_PER_TRADE = 100
"""Average size of a trade: with the volume it gives how likely a minute is to pass without one."""
STEPS = 6
"""Steps of the price in a minute, the first of them before the open; high, low and close come from the others."""
NEWS = 1 / 500
"""Chance of news in a minute."""


class Traits(Struct, frozen=True):
    """A symbol's character: last close in dollars, standard deviation of a day's return, shares in a full session."""

    price: float
    unrest: float
    volume: float


KNOWN = {
    "AAPL": Traits(250.0, 0.016, 50e6),
    "AMD": Traits(210.0, 0.031, 45e6),
    "AMZN": Traits(225.0, 0.019, 40e6),
    "BAC": Traits(52.0, 0.014, 35e6),
    "F": Traits(13.0, 0.018, 60e6),
    "FB": Traits(40.0, 0.011, 0.25e6),
    "GOOG": Traits(280.0, 0.018, 22e6),
    "GOOGL": Traits(280.0, 0.018, 33e6),
    "INTC": Traits(36.0, 0.030, 90e6),
    "META": Traits(620.0, 0.020, 15e6),
    "MSFT": Traits(490.0, 0.013, 22e6),
    "NFLX": Traits(110.0, 0.020, 35e6),
    "NVDA": Traits(185.0, 0.024, 180e6),
    "PLTR": Traits(170.0, 0.036, 60e6),
    "QQQ": Traits(600.0, 0.011, 50e6),
    "SPY": Traits(660.0, 0.008, 75e6),
    "TSLA": Traits(400.0, 0.032, 85e6),
}


def synthetic_day(symbols: Sequence[str], day: SessionDay, seed: int) -> dict[str, list[Bar]]:
    """The minute bars of `day` per symbol, oldest first, with a little pre-market and after-hours trading.

    Prices are in whole cents, volumes in whole shares. A symbol's bars follow from its name and `seed` alone, whatever
    else is asked for. `day` only gives the hours: another market takes another seed.
    """
    starts = {minute: day.open + minute * MINUTE for minute in range(-PRE_MARKET, _minutes(day) + AFTER_HOURS)}
    return {symbol: _bars(symbol, day, seed, starts) for symbol in symbols}


def traits(symbol: str) -> Traits:
    """The character of `symbol`: the known one, or one derived from its name."""
    if symbol in KNOWN:
        return KNOWN[symbol]
    rng = Random(f"traits {symbol}")
    # Evenly spread in the logarithm, roughly as real stocks are: $8 to $500, 40,000 to 40 million shares.
    price = 8 * exp(rng.random() * 4.1)
    unrest = 0.010 + 0.025 * rng.random() ** 2
    volume = 40_000 * exp(rng.random() * 6.9)
    return Traits(round(price, 2), unrest, round(volume))


class _Regime(Struct):
    """What the price does for a while; times in minutes, returns as fractions."""

    minutes: int
    drift: float
    pull: float
    anchor: float

    @classmethod
    def draw(cls, rng: Random, price: float, unrest: float) -> _Regime:
        """The next one; `unrest` is the standard deviation of an average minute's return."""
        minutes = rng.randint(15, 70)
        kind = rng.random()
        if kind < 0.45:
            direction = 1 if kind < 0.225 else -1
            return cls(minutes, direction * rng.uniform(0.1, 0.35) * unrest, 0.0, price)
        pull = rng.uniform(0.05, 0.2) if kind < 0.8 else 0.0
        return cls(minutes, 0.0, pull, price)


def _minutes(day: SessionDay) -> int:
    """How many the regular session has."""
    return (day.close - day.open) // MINUTE


def _hour(minute: int, session: int) -> tuple[float, float]:
    """How far the price moves in this minute, and how much is traded, as factors: most at the open and the close."""
    opening, closing = exp(-minute / 18), exp((minute - session + 1) / 14)
    return 0.75 + 1.6 * opening + 0.5 * closing, 0.65 + 3.5 * opening + 2.5 * closing


def _walk(
    gauss: Callable[[float, float], float], price: float, lean: float, step: float
) -> tuple[float, float, float, float]:
    """A minute's steps from `price`: its first, highest, lowest and last."""
    price *= 1 + lean + gauss(0.0, step)
    first = low = high = price
    for _ in range(STEPS - 1):
        price *= 1 + lean + gauss(0.0, step)
        if price > high:
            high = price
        elif price < low:
            low = price
    return first, high, low, price


def _volume(rng: Random, expected: float) -> int:
    """Shares of a minute in which so many are expected; 0: nothing trades."""
    if rng.random() < exp(-expected / SHARES_PER_TRADE):
        return 0
    # Four shares at least: one for each of the four prices.
    return round(expected) if expected > SHARES_PER_TRADE else rng.randint(4, SHARES_PER_TRADE)


def _bars(symbol: str, day: SessionDay, seed: int, starts: Mapping[int, int]) -> list[Bar]:
    """The bars of one symbol; `starts` are the minutes to play, by their distance from the open, and when they begin.

    Equal times and prices are one object: a day of 1,000 symbols has 400,000 bars, and so each takes half the memory.
    """
    character = traits(symbol)
    rng = Random(f"market {seed} {symbol}")
    gauss = rng.gauss
    session = _minutes(day)
    unrest, activity = character.unrest / sqrt(FULL_DAY), character.volume / FULL_DAY
    # The last close differs a little from seed to seed; overnight the price moves about half as much as in a day.
    price = character.price * exp(gauss(0.0, 0.02))
    price *= exp(gauss(0.0, 0.5 * character.unrest))
    nerves = gauss(0.0, 0.3)
    regime = _Regime.draw(rng, price, unrest)
    bars = []
    shared: dict[float, float] = {}
    for minute, start in starts.items():
        regular = 0 <= minute < session
        if minute == 0:
            # The opening auction finds a price of its own.
            price *= exp(gauss(0.0, 0.12 * character.unrest))
        nerves = 0.97 * nerves + gauss(0.0, 0.08)
        mood = exp(nerves)
        more_unrest, more_activity = _hour(minute, session) if regular else (EXTENDED_UNREST, EXTENDED_ACTIVITY)
        size, interest = unrest * mood * more_unrest, activity * mood * more_activity
        if regime.minutes == 0:
            regime = _Regime.draw(rng, price, unrest)
        regime.minutes -= 1
        before = price
        if regular and rng.random() < NEWS:
            price *= exp(gauss(0.0, 0.15 * character.unrest))
            interest *= 4
        lean = (regime.drift + regime.pull * (regime.anchor / price - 1)) * (size / unrest) / STEPS
        open_, high, low, price = _walk(gauss, price, lean, size / sqrt(STEPS))
        surprise = abs(price / before - 1) / size
        expected = interest * (0.7 + 0.4 * surprise) * exp(gauss(-0.1, 0.45))
        if not (volume := _volume(rng, expected)):
            continue
        # Rounding keeps the order of the four.
        cents = (round(open_, 2), round(high, 2), round(low, 2), round(price, 2))
        open_, high, low, close = map(shared.setdefault, cents, cents)
        bars.append(Bar(symbol, start, open_, high, low, close, float(volume)))
    return bars
