"""Three classes with exits of their own, which some seeds trade: nothing that is promised is weaker with them."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from scalp.core.algo import ScalpAlgo
from scalp.core.prices import round_up

SHARE = 0.1  # of the seeds
PROFIT = Decimal("1.001")


class Takes(ScalpAlgo):
    """A profit of a tenth of a percent, and a size of its own."""

    def _calculate_exit_price(self) -> float | None:
        return self.entry_price * float(PROFIT) if self.entry_price else None

    def _calculate_quantity(self, price: Any) -> float:
        return 700 / float(price)


class Trails(ScalpAlgo):
    """Leaves a tenth of a percent below the highest trade since it left last."""

    exit_on_trades = True
    highest = 0.0

    def _calculate_exit_signal(self) -> bool:
        last = self.last_trade or 0.0
        self.highest = max(self.highest, last)
        if last >= self.highest * 0.999:
            return False
        self.highest = 0.0
        return True


class Nonsense(ScalpAlgo):
    """Answers now this, now that, and fails."""

    exit_on_trades = True
    asked = 0

    def _odd(self) -> Any:
        self.asked += 1
        return [float("nan"), -1, "x", None, 10**400, True, 0 // (self.asked % 2)][self.asked % 7]

    def _calculate_exit_price(self) -> Any:
        return self._odd()

    def _calculate_quantity(self, price: Any) -> Any:
        return self._odd()

    def _calculate_exit_signal(self) -> Any:
        return self._odd()


def draw(seed: int, eager: type[ScalpAlgo]) -> type[ScalpAlgo] | None:
    """The class that `seed` trades in place of `eager`, whose signal it has; None: none of these."""
    rng = random.Random(f"own exits {seed}")
    if rng.random() >= SHARE:
        return None
    own = rng.choice((Takes, Trails, Nonsense))
    return type(own.__name__, (own, eager), {})


def takes(algo: type[ScalpAlgo], entry: Decimal) -> Decimal | None:
    """Where `algo` offers what was bought at `entry`, unless its price was refused; None: where every algo does."""
    return round_up(entry * PROFIT) if issubclass(algo, Takes) else None
