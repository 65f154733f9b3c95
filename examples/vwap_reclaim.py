"""Buy when the price takes back today's VWAP after five minutes or more below it.

python -m scalp.backtest --seed 1 --from 2026-11-16 --to 2026-11-20 --algo examples/vwap_reclaim.py:VwapReclaim TSLA
"""

from scalp import ScalpAlgo


class VwapReclaim(ScalpAlgo):
    """The last close is above the volume-weighted average price of the session so far, the five before were not."""

    minutes_below = 5
    warmup_bars = 15  # the average of fewer says little

    def _calculate_buy_signal(self) -> bool:
        bars = self._bars
        typical = (bars["high"] + bars["low"] + bars["close"]) / 3
        vwap = (typical * bars["volume"]).cumsum() / bars["volume"].cumsum()
        is_above = bars["close"] > vwap
        return bool(is_above.iloc[-1] and not is_above.iloc[-1 - self.minutes_below : -1].any())
