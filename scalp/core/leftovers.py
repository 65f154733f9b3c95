"""What is left to do or to hold, over all symbols."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from scalp.core.algo import ScalpAlgo
from scalp.core.order_state import Order

Algos = Mapping[str, ScalpAlgo]  # by symbol


def leftovers(algos: Algos) -> dict[str, tuple[Decimal, list[Order]]]:
    """Symbol -> (shares held, orders working) of every symbol that has any; less than one share counts as flat."""
    left = {}
    for symbol, algo in algos.items():
        open_orders = algo.ledger.open_orders
        if abs(algo.ledger.position) >= 1 or open_orders:
            left[symbol] = (algo.ledger.position, open_orders)
    return left


def held(algos: Algos) -> dict[str, Decimal]:
    """Symbol -> shares held; less than one share counts as flat."""
    return {symbol: position for symbol, (position, _) in leftovers(algos).items() if abs(position) >= 1}


def has_open_orders(algos: Algos) -> bool:
    return any(algo.ledger.open_orders for algo in algos.values())


def exits_under_way(algos: Algos) -> list[str]:
    """Symbols whose exit plan is not done."""
    return [symbol for symbol, algo in algos.items() if algo.exits.is_under_way]
