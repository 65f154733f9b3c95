"""Take a profit: offer the shares a fixed share above what they cost, and buy for no more than can be lost.

python -m scalp.backtest --seed 1 --from 2026-11-16 --to 2026-11-20 --algo examples/take_profit.py:TakeProfit TSLA
"""

from decimal import Decimal

from scalp import ScalpAlgo


class TakeProfit(ScalpAlgo):
    """The built-in signal. The profit is `target` of the entry; `--stop-loss 0.5%` puts a stop beside it."""

    target = 0.002
    risk = 500.0  # dollars that a fall to the day's low so far may cost

    def _calculate_exit_price(self) -> float | None:
        return None if self.entry_price is None else self.entry_price * (1 + self.target)

    def _calculate_quantity(self, price: Decimal) -> float | None:
        at_risk = float(price) - self._bars["low"].min()
        return self.risk / at_risk if at_risk > 0 else None  # None: all that the lot buys
