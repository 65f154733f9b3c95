"""What comes out of the core: commands to the broker, and questions to it and to the feed."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from scalp.core.orders import SELL, OrderType, Side


class SubmitOrder(Struct, frozen=True):
    """Send this day order. `limit_price` is None for a market order.

    With a `stop_price` it is an exit of two legs, of which one cancels the other: a limit to take the profit, and a
    stop that sells at market. A buy that `covers` closes a short position, and never opens a long one.
    """

    symbol: str
    client_order_id: str
    side: Side
    qty: int
    type: OrderType
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    covers: bool = False

    @property
    def is_exit(self) -> bool:
        """Whether it closes what is held or short: sent twice under its id, it is taken once, and opens nothing."""
        return self.covers or self.side == SELL


class CancelOrder(Struct, frozen=True):
    """Cancel this order; `id` is the broker's, "" while only our own id is known."""

    symbol: str
    client_order_id: str
    id: str = ""


class AskLastTrade(Struct, frozen=True):
    """Fetch the latest trade and hand it to `on_last_trade`: asked before a buy where no trades stream in."""

    symbol: str


class AskOrder(Struct, frozen=True):
    """Ask for this order by the broker's id: it should have moved by now."""

    symbol: str
    id: str


class MoveStop(Struct, frozen=True):
    """Change the stop of this working order to `stop_price`; `id` is the broker's."""

    symbol: str
    id: str
    stop_price: Decimal


Action = SubmitOrder | CancelOrder | AskLastTrade | AskOrder | MoveStop
