"""Buys that are at work: an old one is cancelled, as its signal no longer holds."""

from __future__ import annotations

from scalp.core.cancels import CANCEL_AGAIN, cancel, cancel_due
from scalp.core.commands import Action
from scalp.core.exits import ExitPlan, Plan
from scalp.core.ledger import Ledger
from scalp.core.order_state import Order
from scalp.core.orders import BUY
from scalp.core.telling import Telling
from scalp.core.units import SECOND

BUY_LIFETIME = 120 * SECOND  # an unfilled buy is cancelled after 2 minutes


class WorkingBuys:
    """Those of one symbol. No order of a symbol that is short is touched."""

    def __init__(self, ledger: Ledger, exits: ExitPlan, telling: Telling) -> None:
        self._ledger = ledger
        self._exits = exits
        self._telling = telling

    def cancel(self, at: int) -> list[Action]:
        """Cancel every one, and again while no fact shows its end: nobody would sell what it fills."""
        if self._ledger.position < 0:
            return []
        buys = [order for order in self._ledger.open_orders if order.side == BUY]
        return [*cancel_due(buys, at)]

    def cancel_old(self, followed: Order | None, at: int) -> list[Action]:
        """Cancel what has not filled in 2 minutes, and again where that failed."""
        actions: list[Action] = []
        if self._exits.plan is not Plan.OFFER or self._ledger.position < 0:
            return actions
        for order in self._ledger.open_orders:
            is_ours = order is followed or order.is_bots  # also a buy of an earlier run beside shares that are held
            is_old = order.side == BUY and at - order.submitted_at >= BUY_LIFETIME
            if is_ours and is_old and at - order.cancel_sent_at >= CANCEL_AGAIN:
                self._telling.info("buy unfilled after %d s: cancelling", (at - order.submitted_at) // SECOND)
                actions.append(cancel(order, at))
        return actions
