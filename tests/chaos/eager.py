"""A signal that comes often: about one minute in two, from the second minute on."""

import zlib

from scalp import ScalpAlgo


class Eager(ScalpAlgo):
    warmup_bars = 2

    def _calculate_buy_signal(self) -> bool:
        return zlib.crc32(f"{self.symbol}{len(self.session_bars)}".encode()) % 2 == 0
