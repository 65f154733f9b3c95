"""Buy when the 14-minute relative strength index comes back above 30, which is to say: when a fall has lost its force.

python -m scalp.backtest --seed 1 --from 2026-11-16 --to 2026-11-20 --algo examples/rsi.py:RsiAlgo TSLA
"""

from scalp import ScalpAlgo


class RsiAlgo(ScalpAlgo):
    """The index with plain averages: of all the changes in 14 minutes, how much were gains, in percent."""

    minutes_back = 14
    oversold = 30
    warmup_bars = minutes_back + 2  # so many changes for this minute's value, one more for the minute before

    def _calculate_buy_signal(self) -> bool:
        changes = self._bars["close"].tail(self.minutes_back + 2).diff()
        gains = changes.clip(lower=0).rolling(self.minutes_back).sum()
        moves = changes.abs().rolling(self.minutes_back).sum()
        rsi = 100 * gains / moves
        return bool(rsi.iloc[-2] < self.oversold <= rsi.iloc[-1])
