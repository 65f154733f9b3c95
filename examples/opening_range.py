"""Buy when a minute closes above the high of the day's first 15 minutes, and the minute before did not.

python -m scalp.backtest --seed 1 --from 2026-11-16 --to 2026-11-20 --algo examples/opening_range.py:OpeningRange TSLA
"""

from scalp import ScalpAlgo


class OpeningRange(ScalpAlgo):
    """The breakout of the opening range. The index of the bars is New York time, whatever the time zone here is."""

    warmup_bars = 2  # and nothing before 09:45: no close is above the high of a range that it belongs to

    def _calculate_buy_signal(self) -> bool:
        bars = self._bars
        high = bars.between_time("09:30", "09:44")["high"].max()  # NaN without a bar: nothing is above that
        before, now = bars["close"].iloc[-2:]
        return bool(before <= high < now)
