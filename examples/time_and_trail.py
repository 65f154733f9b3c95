"""Leave at market after so many minutes, or when the price falls so far below the highest since the entry.

python -m scalp.backtest --seed 1 --from 2026-11-16 --to 2026-11-20 --algo examples/time_and_trail.py:TimeAndTrail TSLA
"""

import pandas as pd

from scalp import ScalpAlgo


class TimeAndTrail(ScalpAlgo):
    """The built-in signal. The sell stands at twice the trail, and rarely fills: the exit signal is what sells."""

    exit_on_trades = True  # the trail is looked at with each trade
    minutes = 30
    trail = 0.003
    highest = 0.0  # trade since the entry

    def _calculate_exit_price(self) -> float | None:
        self.highest = self.entry_price or 0.0  # asked as the buy fills
        return self.highest * (1 + 2 * self.trail) or None

    def _calculate_exit_signal(self) -> bool:
        self.highest = max(self.highest, self.last_trade or 0.0)
        if self.last_trade is None or self.entry_time is None:
            return False
        is_late = self._bars.index[-1] + pd.Timedelta(minutes=1) >= self.entry_time + pd.Timedelta(minutes=self.minutes)
        return bool(is_late or self.last_trade <= self.highest * (1 - self.trail))
