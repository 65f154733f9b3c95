"""Buying back what two orders of one group sold too many: both legs of an exit with a stop have filled."""

from __future__ import annotations

from scalp.core.cancels import cancel_due
from scalp.core.commands import CancelOrder
from scalp.core.decimals import ZERO
from scalp.core.ledger import Ledger
from scalp.core.units import SECOND

RETRY_AFTER = tuple(wait * SECOND for wait in (2, 2, 2, 4, 8, 15))  # after such a buy was refused so often


class Cover:
    """Of one symbol. Times are exchange time in ns."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.retry_at = 0  # no such buy before this time: it was refused
        self.rejections = 0  # in a row

    @property
    def over_sold(self) -> int:
        """Shares that are short because more than one order of a group of ours has filled, and not being bought back.

        Only executions of the group prove it: any other short position is somebody else's affair. Each share is bought
        back once: what a buy has done, or may still do, is not asked for again.
        """
        short = -self._ledger.position
        if short < 1:
            return 0
        covers = [order for order in self._ledger.open_orders if order.is_cover]
        working = sum((order.remaining or ZERO for order in covers), ZERO)
        return max(int(min(self._ledger.sold_twice, short) - working), 0)

    def stop_selling(self, at: int) -> list[CancelOrder]:
        """Cancel at once every order that still sells although its group has sold all."""
        return cancel_due([order for order in self._ledger.open_orders if order.is_spent], at)

    def withdraw(self, at: int) -> list[CancelOrder]:
        """Cancel the buys that work: the session ends."""
        return cancel_due([order for order in self._ledger.open_orders if order.is_cover], at)

    def quantity(self, at: int) -> int:
        """Shares to buy back now."""
        return self.over_sold if at >= self.retry_at else 0

    def on_rejected(self, at: int) -> None:
        self.retry_at = at + RETRY_AFTER[min(self.rejections, len(RETRY_AFTER) - 1)]
        self.rejections += 1
