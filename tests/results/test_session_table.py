"""The table at the end."""

from __future__ import annotations

from decimal import Decimal

from scalp import ScalpAlgo
from scalp.core.fleet import Fleet
from scalp.results.session_table import summary


def fleet_of(count: int) -> Fleet:
    return Fleet(
        [ScalpAlgo(f"S{number}", Decimal(1000), "1") for number in range(count)], lambda: 0, lambda action: None
    )


def test_each_symbol_has_a_row_and_all_together_too() -> None:
    fleet = fleet_of(2)
    ledger = fleet.algos["S0"].ledger
    ledger.round_trips, ledger.shares_sold, ledger.realised = 3, Decimal("100"), Decimal("-12.345")
    fleet.algos["S1"].ledger.position = Decimal("7")
    fleet.reactions["S0"] = [0.001, 0.003, 0.002]
    assert list(summary(fleet)) == [
        "symbol   trades   shares  gross P/L $     held reaction median        p99      worst",
        "S0            3      100       -12.34        0         2.00 ms    3.00 ms    3.00 ms",
        "S1            0        0        +0.00        7               -          -          -",
        "total         3      100       -12.34        7         2.00 ms    3.00 ms    3.00 ms",
    ]


def test_of_very_many_symbols_only_those_that_traded_or_are_held_have_a_row() -> None:
    fleet = fleet_of(60)
    fleet.algos["S7"].ledger.shares_sold = Decimal(5)
    fleet.algos["S9"].ledger.position = Decimal(5)
    assert [line.split()[0] for line in summary(fleet)] == ["symbol", "S7", "S9", "total"]
