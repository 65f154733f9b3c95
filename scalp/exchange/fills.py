"""The fill model: when an order trades, at which price, and for how many shares."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from scalp.core import prices
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE
from scalp.exchange import stops
from scalp.exchange.orders import Order

Offer = tuple[Decimal, int]
"""A price, and how many shares are available at it."""


class Book(Struct):
    """What the engine knows of one symbol: the last print, and the orders.

    `available` is how much of the last print is left, None if that wasn't asked yet. `open` are all orders with
    which something can still happen, by id; `live` those that have arrived and may trade, in this order; `stops` those
    that wait for their stop. `bar` is a loaded minute whose prints weren't needed yet, `before` the one before it, if
    that wasn't needed either. `filled_at` is when an order was filled last.
    """

    symbol: str
    last: float = 0.0
    last_at: int = 0
    size: float = 0.0
    available: int | None = None
    halted: bool = False
    open: dict[str, Order] = {}
    live: list[Order] = []
    stops: list[Order] = []
    bar: Bar | None = None
    before: Bar | None = None
    filled_at: int = 0


class FillModel(Struct, frozen=True):
    """When and for how much an order fills: pessimistic, and nothing but prints decides.

    - A print at price p implies a quote of p minus and plus half a spread, rounded away from p to a tick. At either
      price `share` of the print's size is available (at least one share), once for all orders together.
    - A market order, on arrival and then on each later print, fills at that quote: always worse than the last print.
    - A limit order whose limit reaches the quote when it arrives fills there too, at the quote and never beyond its
      limit. One that lies inside the spread, such as a limit at the last print, rests.
    - A resting limit order is filled only by prints made after it arrived: by a print beyond its limit, up to `share`
      of its size; by a print exactly at its limit, up to `touch_share` of it (others were first in the queue), which
      may be nothing. It fills at its limit, never better.
    - Unless `turns_in_a_bar`, a limit order sent after a fill of the same minute waits for the next one: which prices
      of a bar came first is a guess, and a buy and its sell in one bar would be made of nothing else.
    - What doesn't fit is left for the following prints: that is how partial fills come about.
    - Day and gtc orders fill from the open to the close, those marked extended_hours on every print. Nothing fills
      in a halt. A stop order that was elected is a market order, or a limit order, from then on.
    """

    share: float = 0.1
    touch_share: float = 0.02
    half_spread: float = 0.00005  # of the price; a tick at least
    turns_in_a_bar: bool = True

    def available(self, book: Book) -> int:
        """Shares of the last print that are still available."""
        if book.available is None:
            book.available = max(1, int(book.size * self.share))
        return book.available

    def quote(self, side: str, last: float) -> Decimal:
        """Where a buyer or a seller who can't wait trades when the last print was made at `last`."""
        half = last * self.half_spread
        if side == "buy":
            return prices.round_up(prices.exact(last + half))
        return max(prices.round_down(prices.exact(last - half)), prices.SUB_DOLLAR_TICK)

    def may_trade(self, order: Order, book: Book, now: int) -> bool:
        """Whether the bar of this minute can be trusted with this order."""
        if self.turns_in_a_bar or order.limit_price is None or order.submitted_at < book.filled_at:
            return True
        return now // MINUTE > book.filled_at // MINUTE

    def elects(self, order: Order, book: Book) -> bool:
        """Whether the print that was just made (`book.last`) elects a stop order that waits."""
        return stops.is_reached(order, book.last)

    def on_arrival(self, order: Order, book: Book) -> Offer | None:
        """What an order gets when it reaches the market, if anything: a price and a number of shares."""
        if not book.last:
            return None
        quote = self.quote(order.side, book.last)
        limit = order.limit_price
        if limit is not None and (quote > limit if order.side == "buy" else quote < limit):
            return None
        return quote, self.available(book)

    def on_print(self, order: Order, book: Book) -> Offer | None:
        """What a working order gets of the print that was just made (`book.last`), if anything."""
        price = book.last
        limit = order.limit_price
        if limit is None:
            return self.on_arrival(order, book)
        edge = float(limit)
        if price < edge if order.side == "buy" else price > edge:
            return limit, self.available(book)
        if price == edge:
            return limit, min(self.available(book), int(book.size * self.touch_share))
        return None


PESSIMISTIC = FillModel(turns_in_a_bar=False)
"""What the demo and a backtest use."""
