"""Stop orders: stop, stop_limit and trailing_stop, with Alpaca's rules and refusals.

- A stop is elected by a print of the regular session at or beyond it, made after the order arrived; nothing is elected
  in a halt. What is elected goes to the market there and then: after a gap that is the price of the first print made
  beyond the stop, never the stop itself. A stop_limit becomes a limit order.
- A stop price must lie beyond the last trade when it is sent, else it is refused.
- A stop that buys is capped, as Alpaca turns it into a stop-limit: 4 % above the stop, from $50 on 2.5 %. One that
  sells is not.
- A trailing stop follows the best print since it was taken (`hwm`) at a distance in dollars or percent of it, rounded
  away from the market to a tick. It is always a simple order, day or gtc, for whole shares.
"""

from __future__ import annotations

from decimal import Decimal

from scalp.core import prices
from scalp.exchange import rules
from scalp.exchange.orders import Order, OrderRequest, Rejection

TYPES = ("stop", "stop_limit", "trailing_stop")

_CAP, _CAP_FROM_50 = Decimal("1.04"), Decimal("1.025")


def check(request: OrderRequest, last: Decimal | None) -> None:
    """Whether the stop price lies beyond the last trade, in dollars (None before the first)."""
    stop = request.stop_price
    if stop is None or last is None or (stop < last if request.side == "sell" else stop > last):
        return
    bound = "less" if request.side == "sell" else "greater"
    extra: dict[str, object] = {"stop_price": rules.text(stop), "market_price": rules.text(last)}
    raise Rejection(422, rules.UNPROCESSABLE, f"stop price must be {bound} than current price", extra)


def is_reached(order: Order, price: float) -> bool:
    """Whether a print at `price` elects `order`."""
    if order.stop_price is None:
        return False
    stop = float(order.stop_price)
    return price >= stop if order.side == "buy" else price <= stop


def follow(order: Order, price: float) -> None:
    """Let a trailing stop see a print: a better one than all before takes the stop along."""
    made = prices.exact(price)
    best = order.hwm
    if best is not None and (made <= best if order.side == "sell" else made >= best):
        return
    order.hwm = made
    order.stop_price = trailed(order, made)


def trailed(order: Order, best: Decimal) -> Decimal:
    """Where a trailing stop lies when the best print was made at `best`."""
    distance = order.trail_price if order.trail_price is not None else best * (order.trail_percent or 0) / 100
    if order.side == "buy":
        return prices.round_up(best + distance)
    return max(prices.round_down(best - distance), prices.SUB_DOLLAR_TICK)


def cap(order: Order) -> None:
    """Limit what an elected stop that buys pays."""
    stop = order.stop_price
    if order.type == "stop" and order.side == "buy" and stop is not None:
        order.limit_price = prices.round_down(stop * (_CAP if stop < 50 else _CAP_FROM_50))
