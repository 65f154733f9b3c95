"""Alpaca's rules for a new order: which are refused, with which status, code and words.

Each check raises a `Rejection`. They run from the request alone to the account's state: parameters, asset, prices, then
the client order id, and last what the account may do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache

from scalp.core import prices
from scalp.core.decimals import ZERO
from scalp.exchange.orders import Asset, Order, OrderRequest, Rejection

PARAMETER = 40010001
UNPROCESSABLE = 42210000
FORBIDDEN = 40310000
NOT_FOUND = 40410000

_TYPES = {"market", "limit", "stop", "stop_limit", "trailing_stop"}
_STOPS = {"stop", "stop_limit", "trailing_stop"}
_LIMITS = {"limit", "stop_limit"}
_SHARE_STEP = Decimal("0.000000001")


@lru_cache(maxsize=8192)  # orders and positions are listed again and again
def text(number: Decimal) -> str:
    """`number` as Alpaca writes numbers: no exponent, no trailing zeros."""
    plain = format(number.normalize(), "f")
    return "0" if plain == "-0" else plain


def parameter(message: str) -> Rejection:
    return Rejection(422, PARAMETER, message)


def unprocessable(message: str) -> Rejection:
    return Rejection(422, UNPROCESSABLE, message)


def forbidden(message: str, **extra: object) -> Rejection:
    return Rejection(403, FORBIDDEN, message, extra)


def not_found(message: str) -> Rejection:
    return Rejection(404, NOT_FOUND, message)


def check_parameters(request: OrderRequest) -> None:
    """What is wrong with the request by itself."""
    if request.side not in ("buy", "sell"):
        raise parameter("invalid side")
    if request.type not in _TYPES:
        raise parameter("invalid order type")
    if request.time_in_force not in ("day", "gtc", "ioc", "fok"):
        raise parameter("invalid time_in_force")
    _check_class(request)
    if request.qty is not None and request.notional is not None:
        raise parameter("only one of qty or notional is accepted")
    if request.qty is None and request.notional is None:
        raise parameter("qty or notional is required")
    if request.qty is not None and request.qty <= 0:
        raise parameter("qty must be > 0")
    _check_prices(request)
    if len(request.client_order_id) > 128:
        raise parameter("client_order_id must be no more than 128 characters")
    if request.extended_hours:
        if request.type in _STOPS:
            raise unprocessable("stop orders are not eligible for extended hours trading")
        if request.type != "limit" or request.time_in_force not in ("day", "gtc"):
            raise unprocessable("extended hours order must be DAY or GTC limit orders")
    check_price("limit_price", request.limit_price)
    check_price("stop_price", request.stop_price)


def _check_class(request: OrderRequest) -> None:
    """Whether the class is one that is simulated; what belongs to a class must not be lost in a simple order."""
    if request.order_class in ("bracket", "oco", "oto"):
        return
    if request.order_class not in ("", "simple"):
        raise parameter(f"order_class {request.order_class} is not simulated")
    for name, price in (("take_profit", request.take_profit), ("stop_loss", request.stop_loss),
                        ("stop_loss", request.stop_loss_limit)):  # fmt: skip
        if price is not None:
            raise parameter(f"{name} requires order_class bracket, oco or oto")


def _check_prices(request: OrderRequest) -> None:
    """Whether the type has the prices it needs, and no others."""
    if request.type == "market" and (request.limit_price is not None or request.stop_price is not None):
        raise parameter("market orders require no stop or limit price")
    if request.type == "limit" and request.limit_price is None:
        raise parameter("limit orders require a limit price")
    if request.type == "limit" and request.stop_price is not None:
        raise parameter("limit orders require no stop price")
    if request.type == "stop" and request.stop_price is None:
        raise parameter("stop orders require a stop price")
    if request.type == "stop" and request.limit_price is not None:
        raise parameter("stop orders require no limit price")
    if request.type == "stop_limit" and (request.stop_price is None or request.limit_price is None):
        raise parameter("stop limit orders require both stop and limit price")
    _check_trail(request)


def _check_trail(request: OrderRequest) -> None:
    """Whether a trailing stop has the one trail it needs, and no other type has any."""
    trails = {"trail_price": request.trail_price, "trail_percent": request.trail_percent}
    given = {name: trail for name, trail in trails.items() if trail is not None}
    if request.type != "trailing_stop":
        for name in given:
            raise parameter(f"{request.type} orders must not have {name}")
        return
    if len(given) != 1:
        raise parameter("trailing stop orders must specify one of trail_price or trail_percent")
    for name, trail in given.items():
        if trail <= 0 or (name == "trail_percent" and trail >= 100):
            raise parameter(f"{name} must be > 0" + (" and < 100" if name == "trail_percent" else ""))
    if request.limit_price is not None or request.stop_price is not None:
        raise parameter("trailing stop orders require no stop or limit price")
    if request.time_in_force not in ("day", "gtc"):
        raise unprocessable("trailing stop orders must be DAY or GTC orders")


def check_price(name: str, price: Decimal | None) -> None:
    """Whether `price` lies on a tick."""
    if price is None:
        return
    if price <= 0:
        raise unprocessable(f"{name} must be > 0")
    if price % prices.tick(price) != 0:
        raise unprocessable(
            f"invalid {name} {text(price)}. sub-penny increment does not fulfill minimum pricing criteria"
        )


def check_asset(request: OrderRequest, assets: Mapping[str, Asset]) -> None:
    """Whether this instrument can be traded in this way."""
    asset = assets.get(request.symbol)
    if asset is None:
        raise unprocessable(f'asset "{request.symbol}" not found')
    if asset.status != "active":
        raise unprocessable(f"asset {asset.symbol} is not active")
    if not asset.tradable:
        raise unprocessable(f"asset {asset.symbol} is not tradable")
    if request.notional is not None or (request.qty is not None and request.qty % 1 != 0):
        _check_fraction(request, asset)


def _check_fraction(request: OrderRequest, asset: Asset) -> None:
    """Whether parts of shares, or dollars' worth of them, can be traded in this way."""
    if not asset.fractionable:
        raise forbidden(f'asset "{asset.symbol}" is not fractionable')
    if request.time_in_force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if request.type == "trailing_stop":
        raise unprocessable("trailing stop orders require whole shares")
    if request.qty is not None and request.qty % _SHARE_STEP != 0:
        raise parameter("qty must have no more than 9 decimals")
    if request.notional is not None:
        if request.type != "market":
            raise parameter("notional orders must be market orders")
        if request.notional % prices.CENT != 0:
            raise parameter("notional must have no more than 2 decimals")
        if request.notional < 1:
            raise forbidden("cost basis must be >= minimal amount of order 1")


def position_intent(side: str, held: Decimal) -> str:
    """What an order of `side` does to a position of `held` shares."""
    if side == "buy":
        return "buy_to_close" if held < 0 else "buy_to_open"
    return "sell_to_close" if held > 0 else "sell_to_open"


def check_intent(request: OrderRequest, held: Decimal) -> None:
    """Whether the stated intent is what the order would do."""
    inferred = position_intent(request.side, held)
    if request.position_intent and request.position_intent != inferred:
        raise unprocessable(f"position intent mismatch, inferred: {inferred}, specified: {request.position_intent}")


def check_wash_trade(request: OrderRequest, open_orders: Iterable[Order]) -> None:
    """Whether the order could trade with an open one of the same account on the other side.

    Bracket, OCO, OTO and trailing orders are exempt, on either side.
    """
    if request.order_class not in ("", "simple") or request.type == "trailing_stop":
        return
    for order in open_orders:
        if order.side == request.side or order.group is not None or order.type == "trailing_stop":
            continue
        existing_at_any_price = order.type not in _LIMITS
        if not existing_at_any_price and request.type in _LIMITS:
            buy, sell = (order, request) if order.side == "buy" else (request, order)
            assert buy.limit_price is not None and sell.limit_price is not None
            if buy.limit_price < sell.limit_price:
                continue
        kind = "market/stop" if existing_at_any_price else "limit"
        raise forbidden(
            "potential wash trade detected. use complex orders",
            existing_order_id=order.id,
            reject_reason=f"opposite side {kind} order exists",
        )


def on_offer(open_orders: Iterable[Order], side: str) -> list[Order]:
    """The orders of `side` that hold shares, those of a group once."""
    return [order for order in open_orders if order.side == side and (order.group is None or order.group.offers(order))]


def check_shares(
    request: OrderRequest, qty: Decimal, held: Decimal, open_orders: Iterable[Order], asset: Asset, shorting: bool
) -> None:
    """Whether the shares to close are there and free, and whether a short may be opened.

    `qty` is the number of shares asked for. Orders that close a position hold its shares until they end.
    """
    closes = held > 0 if request.side == "sell" else held < 0
    if not closes:
        if request.side == "buy":
            return
        if not (shorting and asset.shortable):
            raise forbidden("account is not allowed to short")
        if qty % 1 != 0:
            raise forbidden("fractional orders cannot be sold short")
        return
    holding = on_offer(open_orders, request.side)
    held_for_orders = sum((order.leaves for order in holding), ZERO)
    available = max(ZERO, abs(held) - held_for_orders)
    if qty > available:
        raise forbidden(
            f"insufficient qty available for order (requested: {text(qty)}, available: {text(available)})",
            symbol=request.symbol,
            available=text(available),
            existing_qty=text(abs(held)),
            held_for_orders=text(held_for_orders),
            related_orders=[order.id for order in holding],
        )


def check_buying_power(cost: Decimal, buying_power: Decimal) -> None:
    """Whether the account can pay for an order that costs `cost` dollars."""
    if cost > buying_power:
        raise forbidden(
            "insufficient buying power",
            buying_power=text(buying_power.quantize(prices.CENT)),
            cost_basis=text(cost.quantize(prices.CENT)),
        )
