"""Which of a symbol's orders the algo follows."""

from __future__ import annotations

from scalp.core.ledger import Ledger
from scalp.core.order_state import Order
from scalp.core.orders import HELD, SELL


def successor(order: Order, ledger: Ledger) -> Order | None:
    """The order that works in place of `order`: itself, what replaced it, or another of its group; None: all ended."""
    current: Order | None = order
    while current is not None and current.has_ended:
        if current.replaced_by and current.on_offer != 0:
            current = ledger.add_replacement(current.replaced_by, current)
        else:
            current = next((other for other in current.group if not other.has_ended), None)
    return current


def order_to_follow(ledger: Ledger, may_be_filling: bool) -> Order | None:
    """The oldest sell, or else the oldest buy; a leg that waits for another order only where there is nothing else.

    Held shares come before a buy, unless that buy `may_be_filling` them: it bought them and is still working (a restart
    in mid-buy), or the bot sent it in an earlier run: it has one order at work, never two.
    """
    held = ledger.whole_shares
    buy: Order | None = None
    waiting: Order | None = None
    for order in ledger.open_orders:
        if order.side == SELL:
            if order.status != HELD and not order.is_spare:
                return order
            waiting = waiting or order
        elif order.is_cover:
            continue
        elif buy is None and (not held or (may_be_filling and (order.filled_qty > 0 or order.is_bots))):
            buy = order
    return buy or waiting
