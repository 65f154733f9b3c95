"""The account: cash and positions, changed by executions, and at the close of a day by its fees."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from scalp.core.decimals import ZERO


class Position(Struct):
    """Shares held; `qty` is negative when short, `avg_entry_price` is the average over all entries, in dollars."""

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal

    @property
    def cost(self) -> Decimal:
        """Dollars paid for the position, negative when short."""
        return self.qty * self.avg_entry_price


class Account:
    """Cash in dollars and the open positions by symbol, in the order they were opened."""

    def __init__(self, cash: Decimal, multiplier: int) -> None:
        self.cash = cash
        self.multiplier = multiplier
        self.last_equity = cash
        self.positions: dict[str, Position] = {}

    def held(self, symbol: str) -> Decimal:
        """The signed number of shares held."""
        position = self.positions.get(symbol)
        return position.qty if position else ZERO

    def buying_power(self, reserved: Decimal) -> Decimal:
        """Dollars left for new orders when open orders have `reserved` so many.

        Computed at cost: positions count with what was paid for them, so quotes never move it between two orders.
        """
        costs = [position.cost for position in self.positions.values()]
        invested = sum(map(abs, costs), ZERO)
        equity = self.cash + sum(costs, ZERO)
        return max(ZERO, self.multiplier * equity - invested - reserved)

    def apply(self, symbol: str, side: str, qty: Decimal, price: Decimal) -> Decimal:
        """Book an execution; returns the signed position after it."""
        signed = qty if side == "buy" else -qty
        self.cash -= signed * price
        position = self.positions.get(symbol)
        if position is None:
            self.positions[symbol] = Position(symbol, signed, price)
            return signed
        before = position.qty
        position.qty += signed
        if position.qty == 0:
            del self.positions[symbol]
        elif (before > 0) == (signed > 0):
            position.avg_entry_price = (before * position.avg_entry_price + signed * price) / position.qty
        elif (before > 0) != (position.qty > 0):
            position.avg_entry_price = price  # crossed zero: a new position on the other side
        return position.qty
