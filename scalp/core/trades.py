"""Round trips: from fills to trades, as people count them.

A round trip begins with the first share of a position and ends with its last. The same code serves a backtest and
a live session; all of it is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from scalp.core.decimals import ZERO
from scalp.core.fees import FREE, NO_CHARGES, Rates
from scalp.core.orders import BUY


class Fill(Struct, frozen=True):
    """One execution: `qty` shares (above 0) at `price` dollars, at `at` (ns UTC), of a limit or market order.

    `reason` is what a market exit was for, "" where nobody knows.
    """

    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    at: int
    order_type: str = "limit"
    reason: str = ""


class RoundTrip(Struct, frozen=True):
    """One closed position. Prices are averages over its executions; `qty` is negative for a short one.

    `entry_time` is the first execution, `exit_time` the last (ns UTC); `pnl` is gross, in dollars, and `fees` what its
    executions cost, not rounded. `reason` tells how its last share left: "sell" by a limit order, "stop" by one that
    rested at the broker, and by a market order what that was for, "liquidation" where nobody knows.
    """

    symbol: str
    qty: Decimal
    entry_time: int
    entry_price: Decimal
    exit_time: int
    exit_price: Decimal
    pnl: Decimal
    reason: str
    fees: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        """Profit after fees, in dollars; a day's rounding of them belongs to no trade."""
        return self.pnl - self.fees


class Holding(Struct):
    """An open position: `held` of the `qty` shares that entered; `cost` and `proceeds` in dollars, never negative."""

    symbol: str
    entry_time: int
    qty: Decimal = ZERO  # all that entered, negative when short
    held: Decimal = ZERO
    cost: Decimal = ZERO  # of all that entered
    proceeds: Decimal = ZERO  # of what has left
    fees: Decimal = ZERO  # of its executions so far, dollars

    @property
    def entry_price(self) -> Decimal:
        return self.cost / abs(self.qty)

    def profit_at(self, price: Decimal) -> Decimal:
        """Gross profit so far, what is still held valued at `price`."""
        long = 1 if self.qty > 0 else -1
        return long * (self.proceeds - self.cost) + self.held * price


class RoundTrips:
    """Fills in, in time order for each symbol; `trades` out, in the order they closed, and what is still `held`.

    `charges` are the fees of all fills, by `rates`.
    """

    def __init__(self, rates: Rates = FREE) -> None:
        self.charges = NO_CHARGES
        self._rates = rates
        self.trades: list[RoundTrip] = []
        self.held: dict[str, Holding] = {}

    def add(self, fill: Fill) -> None:
        qty = fill.qty if fill.side == BUY else -fill.qty
        holding = self.held.get(fill.symbol)
        if holding is not None and holding.held * qty < 0:
            left = abs(qty) - abs(holding.held)
            self._close(holding, min(abs(qty), abs(holding.held)), fill)
            if left <= 0:
                return
            qty, holding = left if qty > 0 else -left, None  # through zero: the rest opens a position on the other side
        if holding is None:
            holding = self.held[fill.symbol] = Holding(fill.symbol, fill.at)
        holding.qty += qty
        holding.held += qty
        holding.cost += abs(qty) * fill.price
        self._charge(holding, abs(qty), fill)

    def _charge(self, holding: Holding, qty: Decimal, fill: Fill) -> None:
        charged = self._rates.of(fill.side, qty, fill.price)
        self.charges += charged
        holding.fees += charged.total

    def _close(self, holding: Holding, qty: Decimal, fill: Fill) -> None:
        holding.proceeds += qty * fill.price
        holding.held += qty if holding.held < 0 else -qty
        self._charge(holding, qty, fill)
        if holding.held:
            return
        del self.held[holding.symbol]
        self.trades.append(
            RoundTrip(
                symbol=holding.symbol,
                qty=holding.qty,
                entry_time=holding.entry_time,
                entry_price=holding.entry_price,
                exit_time=fill.at,
                exit_price=holding.proceeds / abs(holding.qty),
                pnl=holding.profit_at(fill.price),
                reason=fill.reason or _reason(fill.order_type),
                fees=holding.fees,
            )
        )


def _reason(order_type: str) -> str:
    if order_type == "market":
        return "liquidation"
    return "stop" if "stop" in order_type else "sell"


def round_trips(fills: Iterable[Fill], rates: Rates = FREE) -> RoundTrips:
    """All of `fills` at once."""
    trips = RoundTrips(rates)
    for fill in fills:
        trips.add(fill)
    return trips
