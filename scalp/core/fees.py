"""What selling and buying stocks costs at Alpaca beside the price: three regulatory fees, by date.

    REG  SEC section 31: a part of the dollars sold
    TAF  FINRA's trading activity fee: so much a share sold, up to a maximum for each execution
    CAT  the consolidated audit trail: so much a share, bought or sold

The broker sums each kind per account and day and rounds the sum up to a cent. Here the fees of one execution, trade or
symbol are exact, and what the rounding adds is a line of its own. FINRA charges brokers no TAF from October to December
2026; whether Alpaca passes that on is not known (its schedule still lists the rate), so it is counted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

from msgspec import Struct

from scalp.core.decimals import ZERO
from scalp.core.orders import BUY
from scalp.core.prices import CENT

MILLION = 1_000_000


class Charges(Struct, frozen=True):
    """Dollars of each kind, exact; `a + b` is both."""

    reg: Decimal = ZERO
    taf: Decimal = ZERO
    cat: Decimal = ZERO

    def __add__(self, other: Charges) -> Charges:
        return Charges(self.reg + other.reg, self.taf + other.taf, self.cat + other.cat)

    @property
    def total(self) -> Decimal:
        return self.reg + self.taf + self.cat

    @property
    def billed(self) -> Charges:
        """What a day with these fees is charged: each kind rounded up to a cent."""
        return Charges(*(amount.quantize(CENT, ROUND_CEILING) for amount in (self.reg, self.taf, self.cat)))

    @property
    def rounding(self) -> Decimal:
        """What that rounding adds."""
        return self.billed.total - self.total


NO_CHARGES = Charges()


class Rates(Struct, frozen=True):
    """The fees of a day: `reg` dollars a dollar sold, `taf` and `cat` dollars a share, `taf_most` an execution."""

    reg: Decimal = ZERO
    taf: Decimal = ZERO
    taf_most: Decimal = ZERO
    cat: Decimal = ZERO

    def of(self, side: str, qty: Decimal, price: Decimal) -> Charges:
        """What an execution of `qty` shares (above 0) at `price` dollars costs."""
        if side == BUY:
            return Charges(cat=qty * self.cat)
        return self.of_sold(qty, qty * price)

    def of_sold(self, qty: Decimal, dollars: Decimal) -> Charges:
        """What selling `qty` shares for `dollars` in all costs, as one execution."""
        return Charges(dollars * self.reg, min(qty * self.taf, self.taf_most), qty * self.cat)

    def of_trip(self, qty: Decimal, price: Decimal) -> Decimal:
        """What buying `qty` shares and selling them at `price` costs."""
        return self.of_sold(qty, qty * price).total + qty * self.cat

    def break_even(self) -> BreakEven:
        """The price at which a sell pays for the fees of both sides."""
        kept = 1 - self.reg
        return BreakEven(float(1 / kept), float((self.taf + 2 * self.cat) / kept))


class BreakEven(Struct, frozen=True, gc=False):
    """`growth` times the entry price, and `a_share` dollars more. Floats: this is asked between a fill and its exit."""

    growth: float
    a_share: float

    def of(self, entry: float) -> float:
        """The least price, in dollars, not rounded to a tick; the day's rounding to a cent is not in it."""
        return entry * self.growth + self.a_share


FREE = Rates()


class FeeSchedule(Struct, frozen=True):
    """Rates by the first day on which they hold, oldest first; `name` is what `--fees` calls it."""

    name: str
    rows: tuple[tuple[dt.date, Rates], ...]

    def on(self, day: dt.date) -> Rates:
        """The rates of `day` (New York); before the first row the earliest ones."""
        found = FREE if not self.rows else self.rows[0][1]
        for first, rates in self.rows:
            if first <= day:
                found = rates
        return found

    def is_before(self, day: dt.date) -> bool:
        """Whether `day` is older than all that is known: the earliest rates stand in."""
        return bool(self.rows) and day < self.rows[0][0]

    def told(self, days: Iterable[dt.date]) -> str:
        """The fees that are used for these days, in words."""
        if not self.rows:
            return "no fees: net is gross"
        words = f"fees: {self.name} (SEC section 31, FINRA TAF, CAT), each kind summed a day and rounded up to a cent"
        if any(map(self.is_before, days)):
            words += f"; days before {self.rows[0][0]} take the earliest rates, those of that day"
        return words


def _rates(reg_a_million: str, taf: str, taf_most: str, cat: str) -> Rates:
    return Rates(Decimal(reg_a_million) / MILLION, Decimal(taf), Decimal(taf_most), Decimal(cat))


# Section 31: the SEC's fee rate advisories. TAF: schedule A to FINRA's by-laws, section 1. CAT and which of them are
# passed on: Alpaca's brokerage fee schedule, revision of 2026-09-17; its CAT rate stands in for earlier ones.
ALPACA = FeeSchedule(
    "alpaca",
    (
        (dt.date(2024, 5, 22), _rates("27.80", "0.000166", "8.30", "0.000003")),
        (dt.date(2025, 5, 14), _rates("0", "0.000166", "8.30", "0.000003")),
        (dt.date(2026, 1, 1), _rates("0", "0.000195", "9.79", "0.000003")),
        (dt.date(2026, 4, 4), _rates("20.60", "0.000195", "9.79", "0.000003")),
    ),
)

NO_FEES = FeeSchedule("none", ())
