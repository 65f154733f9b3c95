"""Numbers from outside, exact, and bounded before anything is computed with them: an absurd one could take for ever."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

ZERO = Decimal(0)

# Beyond these a number is no price and no quantity.
HIGHEST, MOST_DIGITS, MOST_EXPONENT = Decimal(10) ** 12, 40, 20
PLAIN_LENGTH = 12
LONGEST_NUMBER = 64  # characters, signs, points and zeros included


def decimal_or_none(value: object) -> Decimal | None:
    """A number that may come as text or as a JSON number; None if it is absent, empty, absurd or no number at all."""
    if value is None:
        return None
    if type(value) is str and len(value) <= PLAIN_LENGTH and value.replace(".", "", 1).isdecimal() and value.isascii():
        return Decimal(value)  # what almost every number looks like
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    if isinstance(value, int) and abs(value) >= 10**12:
        return None
    text = value.strip() if isinstance(value, str) else str(value)
    if len(text) > LONGEST_NUMBER or not text.isascii() or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    _, digits, exponent = number.as_tuple()
    # Looked at before anything is computed with it: the size of an absurd one overflows.
    if not isinstance(exponent, int) or not -MOST_DIGITS <= exponent <= MOST_EXPONENT or len(digits) > MOST_DIGITS:
        return None
    return number if abs(number) < HIGHEST else None


def amount_or_none(value: object) -> Decimal | None:
    """The same for what is never negative: an order's quantities and prices."""
    if value is None:
        return None
    number = decimal_or_none(value)
    return None if number is None or number < 0 else number
