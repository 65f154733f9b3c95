"""The table at the end."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from scalp import ScalpAlgo
from scalp.core.fees import ALPACA
from scalp.core.fleet import Fleet
from scalp.results.session_table import Total, summary


def fleet_of(count: int) -> Fleet:
    return Fleet(
        [ScalpAlgo(f"S{number}", Decimal(1000), "1") for number in range(count)], lambda: 0, lambda action: None
    )


def test_each_symbol_has_a_row_and_all_together_too() -> None:
    fleet = fleet_of(2)
    ledger = fleet.algos["S0"].ledger
    ledger.done.round_trips, ledger.shares_sold, ledger.realised = 3, Decimal("100"), Decimal("-12.345")
    fleet.algos["S1"].ledger.position = Decimal("7")
    fleet.orders.fill_to_exit["S0"] = [0.001, 0.003, 0.002]
    assert list(summary(fleet)) == [
        "symbol   trades shares   gross $  fees $      net $  held exit ms    p99  worst",
        "S0            3    100    -12.34  0.0000   -12.3450     0    2.00   3.00   3.00",
        "S1            0      0     +0.00  0.0000    +0.0000     7       -      -      -",
        "total         3    100    -12.34  0.0000   -12.3450     7    2.00   3.00   3.00",
    ]


def test_fees_come_off_each_symbol_and_rounding_is_a_row() -> None:
    fleet = fleet_of(2)
    fleet.charge(ALPACA.on(dt.date(2026, 11, 20)))
    for symbol, shares, price in (("S0", "100", "50"), ("S1", "8", "401.62")):
        ledger = fleet.algos[symbol].ledger
        ledger.done.round_trips, ledger.shares_sold, ledger.realised = 1, Decimal(shares), Decimal(1)
        ledger.done.executed += [(side, Decimal(shares), Decimal(price)) for side in ("buy", "sell")]
    assert list(summary(fleet)) == [
        "symbol   trades shares   gross $  fees $      net $  held exit ms    p99  worst",
        "S0            1    100     +1.00  0.1231    +0.8769     0       -      -      -",
        "S1            1      8     +1.00  0.0678    +0.9322     0       -      -      -",
        "rounding                          0.0191    -0.0191",
        "total         2    108     +2.00  0.2100    +1.7900     0       -      -      -",
    ]
    assert max(map(len, summary(fleet))) <= 80
    total = Total()
    total.add(fleet)
    assert str(total) == "2 trades, 108 shares, gross $ +2.00, fees $ 0.21, net $ +1.79"


def test_of_many_symbols_only_the_traded_or_held_have_a_row() -> None:
    fleet = fleet_of(60)
    fleet.algos["S7"].ledger.shares_sold = Decimal(5)
    fleet.algos["S9"].ledger.position = Decimal(5)
    assert [line.split()[0] for line in summary(fleet)] == ["symbol", "S7", "S9", "total"]
