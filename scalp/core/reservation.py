"""How many requests the exits and cancels of what is open now may take: they are kept free for them."""

from __future__ import annotations

from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED, TO_BUY, TO_SELL, ScalpAlgo


class Reservation:
    def __init__(self) -> None:
        self.needed = 0  # requests, over all symbols
        self._needs: dict[str, int] = {}  # by symbol
        self._unsent: set[str] = set()  # client order ids of buys that wait for the request limit

    def buy_waits(self, client_order_id: str) -> None:
        """A buy was decided: until it leaves it needs neither cancel nor exit."""
        self._unsent.add(client_order_id)

    def is_out(self, client_order_id: str) -> None:
        """An order leaves, or never will."""
        self._unsent.discard(client_order_id)

    def holds_for(self, algo: ScalpAlgo) -> bool:
        """Whether anything is kept for `algo`."""
        return algo.symbol in self._needs

    def reckon(self, algo: ScalpAlgo) -> None:
        """Note how many requests the exits and cancels of `algo` may take: two for a buy that works."""
        order, needed = algo.order, 0
        if algo.exits.plan.is_at_market and algo.state is not TO_BUY:
            needed = 2
        elif algo.state is TO_SELL or (algo.state is SELL_SUBMITTED and order is not None and not order.id):
            needed = 1
        elif algo.state is BUY_SUBMITTED and order is not None and order.client_order_id not in self._unsent:
            needed = 2
        self.needed += needed - self._needs.get(algo.symbol, 0)
        if needed:
            self._needs[algo.symbol] = needed
        else:
            self._needs.pop(algo.symbol, None)
