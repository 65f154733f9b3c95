"""What executions cost, by date: the sums are those of the broker's schedule, done by hand."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from scalp.core import events
from scalp.core.fees import ALPACA, NO_FEES, Charges
from scalp.core.log import line_of
from scalp.core.trades import Fill, RoundTrip, round_trips

D = Decimal
DAY = dt.date(2026, 11, 20)
RATES = ALPACA.on(DAY)


def test_a_sell_pays_three_fees_and_a_buy_one() -> None:
    # 4 at 401.62 are $1,606.48: 20.60 a million of it, 195 millionths a share, 3 millionths a share.
    assert RATES.of("sell", D(4), D("401.62")) == Charges(D("0.033093488"), D("0.00078"), D("0.000012"))
    assert RATES.of("buy", D(4), D("401.62")) == Charges(cat=D("0.000012"))
    assert RATES.of_trip(D(4), D("401.62")) == D("0.033897488")


def test_finra_takes_no_more_than_its_most_of_an_execution() -> None:
    assert RATES.of("sell", D(50_205), D(1)).taf == D("9.789975")
    assert RATES.of("sell", D(50_206), D(1)).taf == D("9.79")
    assert RATES.of("sell", D(10**6), D(1)).taf == D("9.79")


def test_each_kind_of_a_day_is_rounded_up_to_a_cent_once() -> None:
    day = sum((RATES.of(side, D(4), D("401.62")) for side in ("buy", "sell") * 2), Charges())
    assert day == Charges(D("0.066186976"), D("0.00156"), D("0.000048"))
    assert day.billed == Charges(D("0.07"), D("0.01"), D("0.01"))
    assert day.rounding == D("0.09") - D("0.067794976")
    assert Charges(D("0.07")).rounding == 0 == Charges().rounding


def test_a_day_has_the_rates_that_held_then() -> None:
    rows = {
        "2024-05-21": ("27.80", "166"),  # before the table: its earliest
        "2024-05-22": ("27.80", "166"),
        "2025-05-14": ("0", "166"),
        "2025-12-31": ("0", "166"),
        "2026-04-03": ("0", "195"),
        "2026-04-04": ("20.60", "195"),
        "2026-11-20": ("20.60", "195"),  # FINRA's holiday: reckoned with all the same
    }
    found = {day: ALPACA.on(dt.date.fromisoformat(day)) for day in rows}
    assert {day: (f"{r.reg * 10**6:.2f}".replace("0.00", "0"), f"{r.taf * 10**6:f}".split(".")[0])
            for day, r in found.items()} == rows  # fmt: skip
    assert (ALPACA.is_before(dt.date(2024, 5, 21)), ALPACA.is_before(dt.date(2024, 5, 22))) == (True, False)
    assert "days before 2024-05-22 take the earliest rates" in ALPACA.told([DAY, dt.date(2014, 6, 5)])
    assert "before" not in ALPACA.told([DAY])
    assert NO_FEES.on(DAY).of("sell", D(4), D(400)) == Charges()
    assert NO_FEES.told([DAY]) == "no fees: net is gross"


def test_a_sell_at_the_break_even_price_pays_for_both_sides() -> None:
    for entry, least in ((D("401.62"), "401.63"), (D("39.83"), "39.84"), (D("0.5"), "0.5003"), (D(1000), "1000.03")):
        price = RATES.break_even().of(float(entry))
        assert abs(D(price) - entry - RATES.of_trip(D(1), D(price))) < D("1e-9"), "no more, no less"
        assert D(least) - (D("0.01") if entry > 1 else D("0.0001")) < D(price) <= D(least)


def fill(side: str, qty: int, price: str, at: int) -> Fill:
    return Fill("TSLA", side, D(qty), D(price), at)


def test_a_trade_carries_the_fees_of_all_its_executions() -> None:
    fills = [fill("buy", 4, "401.62", 1), fill("sell", 1, "401.62", 2), fill("sell", 3, "401.62", 3),
             fill("buy", 2, "400", 4)]  # fmt: skip
    trips = round_trips(fills, RATES)
    (trade,) = trips.trades
    assert trade == RoundTrip("TSLA", D(4), 1, D("401.62"), 3, D("401.62"), D(0), "sell", D("0.033897488"))
    assert trade.net == D("-0.033897488")
    assert trips.held["TSLA"].fees == D("0.000006")
    assert trips.charges.total == trade.fees + D("0.000006")


def test_the_log_and_whoever_reads_it_tell_the_net_of_a_sell() -> None:
    for rates, told in ((RATES, "sold 4 at 401.62, profit +0.00, net -0.03"),
                        (NO_FEES.on(DAY), "sold 4 at 401.62, profit +0.00, net +0.00")):  # fmt: skip
        sold = events.Fill("TSLA", 1, "sell", D(4), D("401.62"), D(0), rates)
        assert str(line_of(sold)) == told
    assert str(line_of(events.Fill("TSLA", 1, "buy", D(4), D("401.62"), D(0), RATES))) == "bought 4 at 401.62"
