"""The regulatory fees of the account: charged at the close of a day, a sum for each kind, as Alpaca does."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from scalp.core.clock import new_york
from scalp.core.fees import FREE, NO_CHARGES, Rates
from scalp.exchange.orders import Execution, make_id

KINDS = ("REG", "TAF", "CAT")


class Fee(Struct, frozen=True):
    """Dollars (above 0) of one kind, taken at `at` (ns) for the executions of the New York day `date`."""

    id: str
    kind: str
    amount: Decimal
    at: int
    date: str


class Charger:
    """`rates` are those of the days that are played."""

    def __init__(self, rates: Rates, seed: int) -> None:
        self.fees: list[Fee] = []
        self._rates = rates
        self._seed = seed
        self._done = 0  # executions that were charged

    def charge(self, executions: Sequence[Execution], day: int, at: int) -> Decimal:
        """Charge, at `at`, `executions` not charged yet, of the session that opened at `day`; returns the dollars."""
        sums = NO_CHARGES
        for one in executions[self._done :] if self._rates != FREE else ():
            sums += self._rates.of(one.side, one.qty, one.price)
        self._done = len(executions)
        billed = sums.billed
        date = new_york(day).date().isoformat()
        for kind, amount in zip(KINDS, (billed.reg, billed.taf, billed.cat), strict=True):
            if amount:
                number = len(self.fees)
                self.fees.append(Fee(make_id(self._seed, "fee", number), kind, amount, at, date))
        return billed.total
