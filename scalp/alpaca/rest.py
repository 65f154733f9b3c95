"""Alpaca's REST interface, without blocking the loop.

The SDK builds paths and parameters and calls `_request`, which is a coroutine here: with `raw_data=True` its methods
return awaitables of plain JSON. Three of its methods must not be used that way: `cancel_order` and `cancel_all_orders`
drop the coroutine and send nothing, `submit_order` turns prices into floats. The bot uses the methods below.

Errors of all methods: `RateLimited` (429, nothing done), `Rejected` (a definite no), `OutcomeUnknown` (an order was
sent, changed or cancelled and the answer is missing), `Unreachable` (a question without an answer; ask again).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import alpaca_trade_api
import msgspec

from scalp.alpaca.decode import (
    format_time_ns,
    order_report,
    order_rows,
    parse_time_ns,
    position_report,
    text_of,
    time_or_none,
)
from scalp.cli.settings import Endpoints
from scalp.core.clock import NEW_YORK
from scalp.core.commands import SubmitOrder
from scalp.core.decimals import decimal_or_none
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.market_data import Trade
from scalp.core.orders import SELL, OrderReport, PositionReport
from scalp.core.ports import Asset, Clock, Listing, OrderPage
from scalp.core.prices import HIGHEST_PRICE
from scalp.core.units import SECOND
from scalp.net.order_connections import OrderConnections
from scalp.net.printable import NO_MASK
from scalp.net.transport import (
    LISTING,
    LONGEST,
    SHORT,
    Answer,
    HttpTransport,
    RateLimited,
    Transport,
    check,
    decode,
    exchange,
)

__all__ = ["AlpacaREST", "Asset", "Clock", "Listing", "OrderPage", "RateLimited"]

PAGE = 500  # orders in one listing, Alpaca's maximum
HIGHEST_LIMIT = 10**7  # requests a minute; beyond it a header holds something else
LONGEST_PATH = 150  # characters in a line of ours
LONGEST_NAME = 100  # characters of an asset's
LONGEST_LIST = 4000  # characters of symbols in one URL, commas counted as the three they are written with

NESTED = {"nested": "true"}  # the legs of an order come with it

RateLimitObserver = Callable[[int, int, float], None]


class AlpacaREST(alpaca_trade_api.REST):  # type: ignore[misc]
    """Coroutines for account, clock, orders, positions and market data of one Alpaca account.

    `transport` sends a request; the default is aiohttp. `on_rate_limit(limit, remaining, reset)` gets what every
    answer of the trading API says of its request limit, `reset` in epoch seconds; the data API counts for itself.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        transport: Transport | None = None,
        on_rate_limit: RateLimitObserver | None = None,
        *,
        order_timeout: float = 5.0,
        sell_timeout: float = 2.5,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(
            endpoints.key_id, endpoints.secret_key, base_url=endpoints.trading_url, api_version="v2", raw_data=True
        )
        self.on_rate_limit = on_rate_limit
        self._data_url = endpoints.data_url
        self._own_transport = HttpTransport() if transport is None else None
        self._transport: Transport = transport or self._own_transport  # type: ignore[assignment]
        self._order_connections: OrderConnections | None = None
        self._order_timeout = order_timeout
        self._sell_timeout = sell_timeout  # shorter: one that got lost may be sent again under its own id
        self._timeout = timeout
        self._mask = endpoints.mask
        self._headers = {
            "APCA-API-KEY-ID": endpoints.key_id,
            "APCA-API-SECRET-KEY": endpoints.secret_key,
            "User-Agent": "scalp",
        }

    def open_order_connections(self) -> OrderConnections:
        """From now on orders have connections of their own; `start` them."""
        self._order_connections = OrderConnections(self._base_url, self._headers)
        return self._order_connections

    async def close(self) -> None:
        """Close the connections of orders and of the default transport."""
        if self._order_connections is not None:
            await self._order_connections.close()
        if self._own_transport is not None:
            await self._own_transport.close()

    # The seam to the SDK: every request of it and of this class goes through here.

    async def _request(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        within: float | None = None,
    ) -> Any:
        what = f"{method} {self._mask.words(path.partition('?')[0], LONGEST_PATH)}"
        body = await self._send(method, path, data, base_url, api_version, within)
        return decode(body, what=what, changes=_changes(method))

    async def _send(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        base_url: str | None = None,
        api_version: str | None = None,
        within: float | None = None,
    ) -> bytes:
        changes = _changes(method)
        what = f"{method} {self._mask.words(path.partition('?')[0], LONGEST_PATH)}"
        in_query = method in ("GET", "DELETE")
        headers, status, body = await exchange(
            self._transport,
            method,
            f"{base_url or self._base_url}/{api_version or self._api_version}{path}",
            self._headers,
            data if in_query else None,
            None if in_query else data,
            within or (self._order_timeout if changes else self._timeout),
            what=what,
            changes=changes,
            most=_most(method, path),
        )
        if base_url is None:
            self._observe(headers)
        check(status, headers, body, what=what, changes=changes, mask=self._mask)
        return body

    def data_get(
        self, path: str, data: Mapping[str, Any] | None = None, feed: str | None = None, api_version: str = "v2"
    ) -> Any:
        """GET from the data host. (The SDK's own reads that host from the environment on each call.)"""
        return self._request("GET", path, _with_feed(data, feed), self._data_url, api_version)

    async def data_bytes(self, path: str, data: Mapping[str, Any] | None = None, feed: str | None = None) -> bytes:
        """The same, undecoded: for large answers with a typed decoder of their own."""
        return await self._send("GET", path, _with_feed(data, feed), self._data_url, "v2")

    def _observe(self, headers: Mapping[str, str]) -> None:
        if self.on_rate_limit is None:
            return
        try:
            limit = int(headers["x-ratelimit-limit"])
            remaining = int(headers["x-ratelimit-remaining"])
            reset = float(headers["x-ratelimit-reset"])
        except (KeyError, ValueError):
            return
        if not math.isfinite(reset) or not 0 < limit < HIGHEST_LIMIT or abs(remaining) > limit:
            return
        self.on_rate_limit(limit, remaining, reset)

    # Account, clock, assets.

    async def account(self) -> dict[str, Any]:
        """The account as Alpaca reports it; only `id` and `status` are promised, numbers are text."""
        return _mapping(await self.get_account(), "account")

    async def clock(self) -> Clock:
        answer = _mapping(await self.get_clock(), "clock")
        if not isinstance(answer.get("is_open"), bool):
            raise Unreachable("GET /clock: the answer is not understood")
        try:
            return Clock(
                parse_time_ns(answer["timestamp"]),
                answer["is_open"],
                parse_time_ns(answer["next_open"]),
                parse_time_ns(answer["next_close"]),
            )
        except (KeyError, TypeError, ValueError, IndexError):
            raise Unreachable("GET /clock: the answer is not understood") from None

    async def calendar(self, start: date, end: date) -> list[tuple[date, int, int]]:
        """(day, open, close) of each trading day from `start` to `end` inclusive, in ns; early closes included."""
        rows = _rows(await self.get_calendar(start.isoformat(), end.isoformat()), "calendar")
        try:
            return [
                (date.fromisoformat(row["date"]), _at(row["date"], row["open"]), _at(row["date"], row["close"]))
                for row in rows
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unreachable("GET /calendar: the answer is not understood") from None

    async def asset(self, symbol: str) -> Asset:
        """Raises Rejected with status 404 for an unknown symbol."""
        return _asset(_mapping(await self.get_asset(_in_path(symbol)), "assets"))

    async def assets(self) -> list[Asset]:
        """All active US equities: more than 10,000 rows."""
        rows = _rows(await self.list_assets(status="active", asset_class="us_equity"), "assets")
        return [_asset(row) for row in rows if isinstance(row, dict)]

    # Orders and positions.

    async def submit(self, order: SubmitOrder) -> OrderReport:
        """Send a day order; the price goes out as the exact decimal."""
        answer = self.submit_now(order)
        if answer is not None:
            return await answer
        within = self._patience(order)
        return _submitted(await self._request("POST", "/orders", _order_body(order), within=within), order)

    def _patience(self, order: SubmitOrder) -> float:
        return self._sell_timeout if order.is_exit else self._order_timeout

    def submit_now(self, order: SubmitOrder) -> Coroutine[Any, Any, OrderReport] | None:
        """Write the order out before this returns; None, and nothing sent, when no connection is ready.

        The coroutine waits for the answer, as `submit` does.
        """
        if self._order_connections is None:
            return None
        pending = self._order_connections.send("POST", "/v2/orders", msgspec.json.encode(_order_body(order)))
        return None if pending is None else self._answer_of(pending, order)

    async def _answer_of(self, pending: asyncio.Future[Answer], order: SubmitOrder) -> OrderReport:
        async def sent(*_: Any) -> Answer:
            async with asyncio.timeout(within):
                return await pending

        what = "POST /orders"
        within = self._patience(order)
        headers, status, body = await exchange(sent, "POST", "", {}, None, None, within, what=what, changes=True)
        self._observe(headers)
        check(status, headers, body, what=what, changes=True, mask=self._mask)
        return _submitted(decode(body, what=what, changes=True), order)

    async def cancel(self, order_id: str) -> None:
        """Ask for a cancel: the order is gone only when an update or a listing says so."""
        await self.delete(f"/orders/{_in_path(order_id)}")

    async def move_stop(self, order_id: str, stop_price: Decimal) -> OrderReport:
        """Change the stop price of a working order: the answer is the order that replaces it, if the broker does so."""
        body = {"stop_price": format(stop_price, "f")}
        answer = await self.patch(f"/orders/{_in_path(order_id)}", body)
        report = order_report(answer) if isinstance(answer, dict) else None
        if report is None or not report.id or not report.symbol:
            raise OutcomeUnknown("PATCH /orders: the answer holds no order")
        return report if report.replaces else msgspec.structs.replace(report, replaces=order_id)

    async def order(self, order_id: str) -> OrderReport:
        """An order with its legs. Raises Rejected with status 404 for an unknown order."""
        return _order(_mapping(await self.get(f"/orders/{_in_path(order_id)}", NESTED), "orders"))

    async def order_by_client_id(self, client_order_id: str) -> OrderReport:
        """Raises Rejected with status 404 for an unknown order."""
        return _order(_mapping(await self.get_order_by_client_order_id(client_order_id), "orders"))

    async def open_orders(self, symbols: Sequence[str] | None = None) -> Listing[OrderReport]:
        """All open orders (of `symbols`), oldest first."""
        found: dict[str, OrderReport] = {}
        unreadable: set[str] = set()
        since: int | None = None
        while True:
            page = await self.orders("open", symbols, since)
            before = len(found)
            found.update((report.id, report) for report in page.rows)
            unreadable |= page.unreadable
            last = page.rows[-1].submitted_at if page.rows else None
            if page.length < PAGE or len(found) == before or last is None:
                return Listing(list(found.values()), frozenset(unreadable))
            # `after` is exclusive, and orders of one instant may lie on both sides of the page's end.
            since = last - 1

    async def orders(
        self, status: str, symbols: Sequence[str] | None = None, after: int | None = None, direction: str = "asc"
    ) -> OrderPage:
        """One page of the listing of "open", "closed" or "all" orders (of `symbols`) submitted after `after` (ns).

        A row without an id is left out: nobody could follow or cancel that order. So are multi-leg orders and the
        like, which have no symbol.
        """
        # More symbols than a URL holds: list all orders and choose here.
        named = list(symbols) if symbols and list_length(symbols) <= LONGEST_LIST else None
        since = None if after is None else format_time_ns(after)
        asked = {"status": status, "limit": PAGE, "after": since, "direction": direction, **NESTED,
                 "symbols": ",".join(named) if named else None}  # fmt: skip
        listed = await self.get("/orders", {name: value for name, value in asked.items() if value is not None})
        rows = _rows(listed, "orders")
        reports = [report for row in rows if isinstance(row, dict) for report in order_rows(row)]
        wanted = [report for report in reports if report.symbol and (symbols is None or report.symbol in symbols)]
        unreadable = frozenset(report.symbol for report in wanted if not report.id)
        return OrderPage([report for report in wanted if report.id], unreadable, len(rows), PAGE)

    async def positions(self) -> Listing[PositionReport]:
        """All positions. A listing that is not understood is Unreachable: it never means that nothing is held."""
        rows = [row for row in _rows(await self.list_positions(), "positions") if isinstance(row, dict)]
        read = [(text_of(row.get("symbol")), position_report(row)) for row in rows]
        unreadable = frozenset(symbol for symbol, report in read if symbol and report is None)
        return Listing([report for _, report in read if report is not None], unreadable)

    # Market data.

    async def latest_trade(self, symbol: str, feed: str | None = None) -> Trade | None:
        """The latest trade that counts as last sale, None if the feed has none."""
        answer = await self.data_get(f"/stocks/{quote(symbol, safe='')}/trades/latest", feed=feed)
        trade = answer.get("trade") if isinstance(answer, dict) else None
        if not isinstance(trade, dict):
            return None
        at, price, size = time_or_none(trade.get("t")), decimal_or_none(trade.get("p")), decimal_or_none(trade.get("s"))
        if at is None or price is None or not 0 < price < HIGHEST_PRICE:
            return None
        return Trade(symbol, at, float(price), float(size or 0))


def _in_path(name: str) -> str:
    """`name` as one step of a path. Raises Rejected for dots, which would be steps to something else: to all orders."""
    if not name.strip("."):
        raise Rejected(404, 0, "nothing has such a name")
    return quote(name, safe="")


def list_length(symbols: Sequence[str]) -> int:
    """Length in a URL of `symbols` joined by commas, which are written as %2C."""
    return sum(len(symbol) + 3 for symbol in symbols)


def _most(method: str, path: str) -> int:
    """How many bytes the answer may need."""
    path = path.partition("?")[0]
    if method != "GET":
        return SHORT
    if path == "/assets":
        return LONGEST
    is_listing = path in ("/orders", "/positions") or path.startswith(("/account/activities", "/stocks/"))
    return LISTING if is_listing else SHORT


def _changes(method: str) -> bool:
    return method != "GET"


def _with_feed(data: Mapping[str, Any] | None, feed: str | None) -> dict[str, Any]:
    return {**(data or {}), **({"feed": feed} if feed else {})}


def _mapping(answer: object, path: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise Unreachable(f"GET /{path}: the answer is not understood")
    return answer


def _rows(answer: object, path: str) -> list[Any]:
    if not isinstance(answer, list):
        raise Unreachable(f"GET /{path}: the answer is not understood")
    return answer


def _order_body(order: SubmitOrder) -> dict[str, Any]:
    body: dict[str, Any] = {
        "symbol": order.symbol,
        "qty": str(order.qty),
        "side": order.side,
        "type": order.type,
        "time_in_force": "day",
        "client_order_id": order.client_order_id,
    }
    if order.side == SELL:
        # The broker's own guard: a sell of shares that somebody else sold meanwhile must not open a short position.
        body["position_intent"] = "sell_to_close"
    elif order.covers:
        body["position_intent"] = "buy_to_close"
    if order.stop_price is not None and order.limit_price is not None:
        body["order_class"] = "oco"
        body["take_profit"] = {"limit_price": format(order.limit_price, "f")}
        body["stop_loss"] = {"stop_price": format(order.stop_price, "f")}
    elif order.limit_price is not None:
        body["limit_price"] = format(order.limit_price, "f")
    return body


def _submitted(answer: object, order: SubmitOrder) -> OrderReport:
    report = order_report(answer) if isinstance(answer, dict) else None
    if report is None or not report.id or not report.symbol:
        raise OutcomeUnknown("POST /orders: the answer holds no order")
    if report.client_order_id not in ("", order.client_order_id):
        raise OutcomeUnknown("POST /orders: the answer is about another order")
    return report


def _order(row: Mapping[str, Any]) -> OrderReport:
    """Raises Unreachable for an order without an id or a symbol: nobody could follow or cancel it."""
    report = order_report(row)
    if not report.id or not report.symbol:
        raise Unreachable("GET /orders: an order without an id or a symbol")
    return report


def _asset(row: Mapping[str, Any]) -> Asset:
    return Asset(
        symbol=text_of(row.get("symbol")),
        name=NO_MASK.words(row.get("name") or "", LONGEST_NAME),
        exchange=text_of(row.get("exchange")),
        active=row.get("status", "active") == "active",
        tradable=bool(row.get("tradable", True)),
    )


def _at(day: str, clock: str) -> int:
    """HH:MM of a New York day in ns since the epoch."""
    at = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M").replace(tzinfo=NEW_YORK)
    return int(at.timestamp()) * SECOND
