"""Parameters to sweep: over how many bars the average goes, and how far above it the close must be.

python -m scalp.sweep --seed 1 --algo examples/sma_window.py:SmaWindow --set window=10,20,30 TSLA
"""

from scalp import ScalpAlgo


class SmaWindow(ScalpAlgo):
    """The close crosses the average of `window` bars upwards, and ends `margin` of the average above it or more."""

    window = 20  # warmup_bars follows it: one bar more
    margin = 0.0005

    def _calculate_buy_signal(self) -> bool:
        closes = self._bars["close"]
        average = closes.rolling(self.window).mean()
        was_below = closes.iloc[-2] < average.iloc[-2]
        return bool(was_below and closes.iloc[-1] >= average.iloc[-1] * (1 + self.margin))
