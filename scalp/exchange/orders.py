"""What the simulated exchange trades in: assets, order requests, orders, executions, order updates and refusals.

Prices and quantities are exact decimals; times are exchange time in integer nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

import hashlib
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from scalp.core.decimals import ZERO
from scalp.core.errors import Rejected
from scalp.core.orders import FINAL_STATUSES

if TYPE_CHECKING:
    from scalp.exchange.groups import Group

_NAMESPACE = uuid.UUID("6d0f3a52-8f0e-5c55-9a35-1c1c0d9a7e11").bytes

_NAMES = {
    "AAPL": "Apple Inc. Common Stock",
    "FB": "ProShares S&P 500 Dynamic Buffer ETF",
    "META": "Meta Platforms, Inc. Class A Common Stock",
    "TSLA": "Tesla, Inc. Common Stock",
}


def make_id(*parts: object) -> str:
    """A uuid (of version 5) that depends on `parts` only: the same run gives the same ids."""
    digest = hashlib.sha1(_NAMESPACE + ":".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
    # As the package `uuid` makes it, which takes twice as long, and a backtest makes eight of them a trade.
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


class Asset(Struct, frozen=True):
    """One instrument and what may be done with it."""

    id: str
    symbol: str
    name: str
    exchange: str = "NASDAQ"
    status: str = "active"
    tradable: bool = True
    fractionable: bool = True
    shortable: bool = True


def make_asset(symbol: str) -> Asset:
    """The asset the simulator lists for `symbol`."""
    return Asset(make_id("asset", symbol), symbol, _NAMES.get(symbol, f"{symbol} Common Stock (simulated)"))


class OrderRequest(Struct, frozen=True):
    """What a client asks for, words as on Alpaca's wire. An empty `client_order_id` makes the exchange choose one.

    `take_profit` is take_profit.limit_price, `stop_loss` and `stop_loss_limit` are the stop and the limit price in
    stop_loss, all three in dollars and for the classes bracket, oco and oto only.
    """

    symbol: str
    side: str
    type: str = "market"
    time_in_force: str = "day"
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    client_order_id: str = ""
    extended_hours: bool = False
    order_class: str = ""
    position_intent: str = ""
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    stop_loss_limit: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None


class Order(Struct):
    """An order and its state. `filled_value` is dollars: the sum of price times quantity over all executions.

    `elected` is whether the stop of a stop order was reached; `hwm` the best print that a trailing stop has seen.
    """

    id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    extended_hours: bool
    position_intent: str
    status: str
    submitted_at: int
    updated_at: int
    expires_at: int
    number: int
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO
    filled_at: int | None = None
    canceled_at: int | None = None
    expired_at: int | None = None
    failed_at: int | None = None
    replaced_at: int | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    cancel_requested_at: int | None = None
    elected: bool = False
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    order_class: str = ""
    group: Group | None = None
    group_role: str = ""

    @property
    def open(self) -> bool:
        """Whether anything can still happen to this order."""
        return self.status not in FINAL_STATUSES

    @property
    def leaves(self) -> Decimal:
        """Shares not filled yet; 0 for an order in dollars, whose shares are known only once it fills."""
        return self.qty - self.filled_qty if self.qty is not None else ZERO

    @property
    def filled_avg_price(self) -> Decimal | None:
        """Dollars a share over all executions."""
        return self.filled_value / self.filled_qty if self.filled_qty else None


class Execution(Struct, frozen=True):
    """One trade of this account. `price` and `qty` are of this execution, `cum_qty` and `leaves_qty` after it."""

    id: str
    order_id: str
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    order_status: str
    at: int


class Update(Struct, frozen=True):
    """One event of an order's life. `order` is a copy as of then; the last three belong to executions only."""

    event: str
    at: int
    order: Order
    execution_id: str | None = None
    price: Decimal | None = None
    qty: Decimal | None = None
    position_qty: Decimal | None = None


class Rejection(Rejected):
    """The exchange says no: HTTP `status`, Alpaca's `code` and `message`, and the `extra` keys of its body."""

    def __init__(self, status: int, code: int, message: str, extra: dict[str, object] | None = None) -> None:
        super().__init__(status, code, message)
        self.extra = extra or {}
