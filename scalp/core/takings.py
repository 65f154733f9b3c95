"""What the fleet took today, after fees: by symbol, restarts included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from scalp.core.decimals import ZERO
from scalp.core.fees import FREE, NO_CHARGES, Charges, Rates
from scalp.core.ledger import Ledger
from scalp.core.orders import BUY, SELL
from scalp.core.trades import Fill

A_LOSS = Decimal("-0.005")  # dollars; anything smaller is the rounding of an average price


class Taken(Struct, frozen=True):
    """Round trips, shares sold, gross profit in dollars, fees (exact), and shares held. `a + b` is both."""

    trades: int = 0
    shares: Decimal = ZERO
    profit: Decimal = ZERO
    charges: Charges = NO_CHARGES
    held: Decimal = ZERO

    def __add__(self, other: Taken) -> Taken:
        return Taken(
            self.trades + other.trades,
            self.shares + other.shares,
            self.profit + other.profit,
            self.charges + other.charges,
            self.held + other.held,
        )

    @property
    def net(self) -> Decimal:
        """Dollars after fees, not rounded."""
        return self.profit - self.charges.total


class Past(Struct):
    """One symbol's fills of today from before the process. Shares held since before today count for nothing when sold.

    `realised` is gross, in dollars; `base` is the part of `net` from before the position held at the end.
    """

    held: Decimal = ZERO  # negative when short
    cost: Decimal = ZERO  # of these shares; when short, what they brought
    carried: Decimal = ZERO  # shares from the night before, not sold yet: their cost is not known
    held_since: int = 0
    realised: Decimal = ZERO
    base: Decimal = ZERO
    lost_at: int = 0  # when a position was last closed at a loss, after fees
    trades: int = 0
    shares: Decimal = ZERO
    charges: Charges = NO_CHARGES
    cash: Decimal = ZERO  # dollars received, less those spent

    @property
    def net(self) -> Decimal:
        return self.realised - self.charges.total

    @property
    def taken(self) -> Taken:
        return Taken(self.trades, self.shares, self.realised, self.charges)

    def add(self, fill: Fill, rates: Rates) -> None:
        """Take in `fill`, which came next."""
        before, sign = self.net, 1 if fill.side == BUY else -1
        self.charges += rates.of(fill.side, fill.qty, fill.price)
        self.cash -= sign * fill.qty * fill.price
        self.shares += fill.qty if sign < 0 else ZERO
        left = fill.qty
        if self.held * sign < 0:
            left -= (closed := min(left, abs(self.held)))
            self._close(closed, fill)
            before = self.net
        if sign < 0:
            left -= (carried := min(left, self.carried))
            self.carried -= carried
        if left:
            if not self.held:
                self.held_since, self.base = fill.at, before
            self.held += sign * left
            self.cost += left * fill.price

    def _close(self, qty: Decimal, fill: Fill) -> None:
        sign = 1 if self.held > 0 else -1
        cost = self.cost * qty / abs(self.held)
        self.realised += sign * (qty * fill.price - cost)
        self.held -= sign * qty
        self.cost -= cost
        if not self.held:
            self.trades += 1
            if self.net - self.base < A_LOSS:
                self.lost_at = fill.at


class _Own(Struct):
    """What this process has executed in one symbol."""

    charges: Charges = NO_CHARGES
    cash: Decimal = ZERO  # dollars received, less those spent


class Takings:
    """`rates` are today's fees. Nothing here is asked between a fill and its exit."""

    def __init__(self, rates: Rates = FREE) -> None:
        self.rates = rates
        self.past: dict[str, Past] = {}  # by symbol: what was traded today before this process
        self.are_whole = False  # whether `past` is known
        self._own: dict[str, _Own] = {}

    def look(self, ledger: Ledger) -> Charges:
        """Take in what was executed since the last look; the fees of this process so far."""
        own = self._own.get(ledger.symbol)
        if own is None:
            own = self._own[ledger.symbol] = _Own()
        for side, qty, price in ledger.done.executed:
            dollars = qty * price if qty else price
            if side == SELL:
                own.charges += self.rates.of_sold(qty, dollars)
            else:
                own.charges += self.rates.of(side, qty, price)
            own.cash += dollars if side == SELL else -dollars
        ledger.done.executed.clear()
        return own.charges

    def of(self, ledger: Ledger) -> Taken:
        """The day so far in one symbol, this process and those before it."""
        past = self.past.get(ledger.symbol)
        own = Taken(ledger.done.round_trips, ledger.shares_sold, ledger.realised, self.look(ledger), ledger.position)
        return own if past is None else past.taken + own

    def cash(self, ledger: Ledger) -> Decimal:
        """Dollars received today for shares of one symbol, less those spent, by this process and those before it."""
        self.look(ledger)
        past = self.past.get(ledger.symbol)
        return self._own[ledger.symbol].cash + (ZERO if past is None else past.cash)

    def recall(self, fills: Iterable[Fill], carried: Mapping[str, Decimal]) -> Mapping[str, Past]:
        """What was executed in watched symbols today before the positions were listed, in time order; by symbol.

        `carried`: shares held since the night before.
        """
        self.past.clear()
        self.past.update((symbol, Past(carried=qty)) for symbol, qty in carried.items())
        self.are_whole = True
        for fill in fills:
            self.past.setdefault(fill.symbol, Past()).add(fill, self.rates)
        return self.past
