"""Buy when the price reclaims today's VWAP: `python main.py --algo examples/vwap_reclaim.py:VwapReclaim AAPL`."""

from scalp import ScalpAlgo


class VwapReclaim(ScalpAlgo):
    """The last close is above the volume-weighted average price of the session, the five before it were below."""

    def _calculate_buy_signal(self) -> bool:
        bars = self._bars
        typical = (bars["high"] + bars["low"] + bars["close"]) / 3
        vwap = (typical * bars["volume"]).cumsum() / bars["volume"].cumsum()
        above = bars["close"] > vwap
        return bool(above.iloc[-1] and not above.iloc[-6:-1].any())
