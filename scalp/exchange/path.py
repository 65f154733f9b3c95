"""From a minute bar to the prints that could have made it."""

from __future__ import annotations

from itertools import pairwise

from msgspec import Struct

from scalp.core.market_data import Bar
from scalp.core.prices import micros
from scalp.core.units import MINUTE, SECOND

FIRST_PRINT = SECOND // 10
"""How long after the start of the minute the first print comes (ns); the last comes as long before its end."""

ROUND_LOT = 100


class Print(Struct, frozen=True, gc=False):
    """One trade: `at` in ns UTC, `price` in dollars, `size` in shares."""

    at: int
    price: float
    size: float


def trade_path(bar: Bar) -> list[Print]:
    """The prints inside the minute of `bar`, in time order.

    The price goes from the open to the extreme nearer to it, then to the other extreme, then to the close. When both
    are equally far the high comes first: the worse guess for someone who buys and then sells higher, since the low
    that fills the buy then comes too late for the high to fill the sell. A minute of a round lot or more also trades
    once halfway along each of the three ways, on a valid tick strictly between its ends.

    The prints are evenly spread over the minute and share its volume evenly: whole shares if the volume is whole, the
    odd ones to the earliest prints. A minute of fewer shares than prints has equal prices in a row once, and if that
    is still too many (no real minute is like that) shares out fractions. No volume, no prints. Nothing but the bar
    is used: the same bar always gives the same prints.
    """
    volume = bar.volume
    if volume <= 0:
        return []
    prices = _prices(bar)
    count = len(prices)
    whole = volume >= count and volume == int(volume)
    share, odd = divmod(int(volume), count) if whole else (volume / count, 0)
    first = bar.start + FIRST_PRINT
    span = MINUTE - 2 * FIRST_PRINT
    steps = max(count - 1, 1)
    return [
        Print(first + span * index // steps, price, float(share + 1 if index < odd else share))
        for index, price in enumerate(prices)
    ]


def _prices(bar: Bar) -> list[float]:
    if micros(bar.high) + micros(bar.low) <= 2 * micros(bar.open):
        corners = [bar.open, bar.high, bar.low, bar.close]
    else:
        corners = [bar.open, bar.low, bar.high, bar.close]
    prices = corners[:1]
    for before, after in pairwise(corners):
        if bar.volume >= ROUND_LOT:
            halfway = round((before + after) / 2, 2 if before >= 1 else 4)
            if before < halfway < after or before > halfway > after:
                prices.append(halfway)
        if bar.volume >= len(corners) or after != before:
            prices.append(after)
    return prices
