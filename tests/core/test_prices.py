"""Ticks and rounding."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import pytest

from scalp.core.prices import exact, micros, round_down, round_up, tick


@pytest.mark.parametrize(
    ("price", "down", "up"),
    [
        ("178.42", "178.42", "178.42"),
        ("178.421", "178.42", "178.43"),
        ("178.42000000000002", "178.42", "178.42"),  # noise of a float, not a price
        ("1", "1.00", "1.00"),
        ("1.0001", "1.00", "1.01"),
        ("0.99999", "0.9999", "1.00"),
        ("0.9999", "0.9999", "0.9999"),
        ("0.12345", "0.1234", "0.1235"),
        ("0.00001", "0.0000", "0.0001"),
    ],
)
def test_rounding_to_valid_ticks(price: str, down: str, up: str) -> None:
    assert str(round_down(Decimal(price))) == down
    assert str(round_up(Decimal(price))) == up


def test_tick_is_a_cent_from_a_dollar_on() -> None:
    assert [str(tick(Decimal(p))) for p in ("0.9999", "1", "500")] == ["0.0001", "0.01", "0.01"]


@pytest.mark.parametrize(("price", "written"), [(178.42, "178.42"), (0.1, "0.1"), (1e-05, "0.00001"), (645.0, "645.0")])
def test_a_float_is_the_number_that_was_written(price: float, written: str) -> None:
    assert exact(price) == Decimal(written)


def test_micros_are_exact() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        millionths = rng.randrange(1, 10**12)
        assert micros(millionths / 1_000_000) == millionths


def test_the_rounding_error_of_an_average_does_not_cost_a_tick() -> None:
    # 3 shares at an average of 10.02333..., then 6 more: 90.27 for 9 is 10.03, and not a cent above it.
    rng = random.Random(2)
    for _ in range(3000):
        average, cost, held = Decimal(0), Fraction(0), 0
        for _ in range(rng.randint(2, 6)):
            qty, cents = rng.randint(1, 9), rng.randint(1000, 1003)
            average = (held * average + qty * Decimal(cents) / 100) / (held + qty)
            held, cost = held + qty, cost + Fraction(qty * cents, 100)
        exactly = -(-cost / held * 100 // 1)  # to the next whole cent
        assert round_up(average) * 100 == exactly
