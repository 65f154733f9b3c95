"""Ticks and rounding, exact.

Alpaca's rule: a price at or above $1.00 has at most 2 decimals, one below at most 4.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

CENT = Decimal("0.01")
SUB_DOLLAR_TICK = Decimal("0.0001")
ONE_DOLLAR = Decimal(1)
NOISE = Decimal("1e-9")
HIGHEST_PRICE = 1e9  # dollars; from there on it is no price


def tick(price: Decimal) -> Decimal:
    """The price step at `price`, in dollars."""
    return CENT if price >= ONE_DOLLAR else SUB_DOLLAR_TICK


def round_down(price: Decimal) -> Decimal:
    """The highest valid order price at or below `price`."""
    return price.quantize(tick(price), ROUND_FLOOR)


def round_up(price: Decimal) -> Decimal:
    """The lowest valid order price at or above `price`.

    `price` counts to 9 decimals: an average is a quotient, and its last digit's error must not cost a tick.
    """
    rounded = price.quantize(NOISE).quantize(tick(price), ROUND_CEILING)
    # 0.99995 rounds up to 1.0000: from there on the step is a cent, and the number is the same.
    return rounded.quantize(CENT) if rounded >= ONE_DOLLAR else rounded


class Written:
    """`price` as people write it, with two to four decimals; formatted only when somebody reads it."""

    __slots__ = ("_price",)

    def __init__(self, price: Decimal) -> None:
        self._price = price

    def __str__(self) -> str:
        price = round(self._price, 4).normalize()
        exponent = price.as_tuple().exponent
        return f"{price:.2f}" if isinstance(exponent, int) and exponent > -2 else f"{price:f}"


def exact(price: float) -> Decimal:
    """The decimal number that was written on the wire: the shortest one that reads back as `price`."""
    return Decimal(repr(price))


def micros(price: float) -> int:
    """`price` in millionths of a dollar, for exact comparisons."""
    return round(price * 1_000_000)
