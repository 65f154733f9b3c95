"""Buy when the 14-minute RSI comes back above 30: `python main.py --algo examples/rsi.py:RsiAlgo TSLA`."""

from scalp import ScalpAlgo


class RsiAlgo(ScalpAlgo):
    """Relative strength index of Wilder, with plain averages; oversold below 30."""

    warmup_bars = 16  # 14 changes for this minute's value, one more for the minute before

    def _calculate_buy_signal(self) -> bool:
        changes = self._bars["close"].diff()
        gains = changes.clip(lower=0).rolling(14).mean()
        losses = -changes.clip(upper=0).rolling(14).mean()
        rsi = 100 * gains / (gains + losses)
        return bool(rsi.iloc[-2] < 30 <= rsi.iloc[-1])
