"""Order updates that come before orders and positions were first listed: they wait for that."""

from __future__ import annotations

from scalp.core.orders import OrderReport


class EarlyUpdates:
    def __init__(self) -> None:
        self.are_kept = True  # until they are taken
        self._kept: list[OrderReport] = []

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, report: OrderReport) -> None:
        self._kept.append(report)

    def take(self) -> list[OrderReport]:
        """Those that came so far; from here on updates go to their algos."""
        kept, self._kept, self.are_kept = self._kept, [], False
        return kept
