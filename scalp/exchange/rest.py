"""The REST side of the simulated exchange, without any transport: one request in, one response out.

Trading calls are answered here; data calls in `rest_data` (Alpaca's) and `rest_polygon`. Nothing here waits or reads a
clock: exchange time is the engine's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from scalp.core.decimals import decimal_or_none
from scalp.core.units import MINUTE
from scalp.exchange import rules, wire
from scalp.exchange.calendar import LAST_DAY
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Order, OrderRequest, Rejection
from scalp.exchange.portfolio import portfolio_history
from scalp.exchange.rest_data import DataApi
from scalp.exchange.rest_polygon import PolygonApi
from scalp.exchange.simulation import Simulation, new_york
from scalp.net.printable import LONGEST_REASON, printable

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DIGITS = re.compile(r"[0-9]{1,18}")
_TOO_MUCH = Decimal(10) ** 9
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_CHANGEABLE = ("qty", "limit_price", "stop_price", "trail", "time_in_force", "client_order_id")
_DATA = re.compile(r"/v2/stocks/")
_POLYGON = re.compile(
    r"/v2/(aggs|last|snapshot|reference)/|/v1/(open-close|marketstatus|indicators)/|/v3/(?!clock|calendar)|/vX/"
)


class Response(Struct, frozen=True):
    """An HTTP response; `body` is empty for 204."""

    status: int
    headers: dict[str, str]
    body: bytes


class Access(Struct, frozen=True):
    """Who may do what. `keys` maps key ids to secrets; None lets any non-empty pair in, and any Polygon key.

    Limits are requests per minute of exchange time. `sip` is whether the plan includes the sip feed; `symbol_limit`
    is how many symbols a data stream may subscribe to, None for any number.
    """

    keys: Mapping[str, str] | None = None
    polygon_key: str | None = None
    trading_limit: int = 200
    data_limit: int = 200
    polygon_limit: int = 10_000
    sip: bool = True
    symbol_limit: int | None = None

    def admits(self, key_id: str, secret: str) -> bool:
        """Whether this pair of Alpaca keys is good."""
        if self.keys is None:
            return bool(key_id and secret)
        return self.keys.get(key_id) == secret

    def admits_polygon(self, key: str) -> bool:
        """Whether this Polygon key is good."""
        return bool(key) if self.polygon_key is None else key == self.polygon_key


class _Window:
    """Requests counted in one minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = -1
        self._used = 0

    def take(self, now: int) -> tuple[bool, dict[str, str]]:
        """Count a request; returns whether it is within the limit, and the headers that say what is left."""
        minute = now // MINUTE
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        headers = {
            "X-Ratelimit-Limit": str(self.limit),
            "X-Ratelimit-Remaining": str(max(0, self.limit - self._used)),
            "X-Ratelimit-Reset": str((minute + 1) * 60),
        }
        return self._used <= self.limit, headers


class Rest:
    """Answers requests. `handle` never raises for anything a client can send."""

    def __init__(self, simulation: Simulation, access: Access | None = None) -> None:
        self.access = access or Access()
        self._simulation = simulation
        self._engine = simulation.engine
        self._data = DataApi(simulation, self.access.sip)
        self._polygon = PolygonApi(simulation)
        self._windows = {
            "trading": _Window(self.access.trading_limit),
            "data": _Window(self.access.data_limit),
            "polygon": _Window(self.access.polygon_limit),
        }
        self._requests = 0
        order, position = r"/v2/orders/([^/]+)", r"/v2/positions/([^/]+)"
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Response]]] = [
            (method, re.compile(pattern), answer)
            for method, pattern, answer in (
                ("GET", r"/v2/account", self._account),
                ("GET", r"/v2/account/configurations", self._configurations),
                ("GET", r"/v2/account/portfolio/history", self._portfolio),
                ("GET", r"/v2/account/activities", self._activities),
                ("GET", r"/v2/account/activities/([A-Z]+)", self._activities_of),
                ("GET", r"/v2/clock", self._clock),
                ("GET", r"/v2/calendar", self._calendar),
                ("GET", r"/v2/assets", self._assets),
                ("GET", r"/v2/assets/([^/]+)", self._asset),
                ("GET", r"/v2/orders", self._list_orders),
                ("POST", r"/v2/orders", self._submit),
                ("DELETE", r"/v2/orders", self._cancel_all),
                ("GET", r"/v2/orders:by_client_order_id", self._order_by_client_id),
                ("GET", order, self._order),
                ("PATCH", order, self._replace),
                ("DELETE", order, self._cancel),
                ("GET", r"/v2/positions", self._positions),
                ("DELETE", r"/v2/positions", self._close_all),
                ("GET", position, self._position),
                ("DELETE", position, self._close),
            )
        ]

    def set_base_url(self, url: str) -> None:
        """Where this server is reached: some answers contain absolute addresses."""
        self._polygon.base_url = url

    def handle(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes = b""
    ) -> Response:
        """Answer one request. `path` has no query; names in `headers` are compared without case."""
        self._requests += 1
        given = {name.lower(): value for name, value in headers.items()}
        kind = "data" if _DATA.match(path) else "polygon" if _POLYGON.match(path) else "trading"
        refused = self._authenticate(kind, query, given)
        if refused is not None:
            return refused
        allowed, limits = self._windows[kind].take(self._simulation.now)
        more = {"X-Request-ID": self._request_id()} | limits
        if not allowed:
            answer = self._too_many(kind)
        else:
            try:
                _check_text(path, query)
                answer = self._answer(kind, method, path, query, body)
            except Rejection as refusal:
                words = printable(refusal.message, LONGEST_REASON)  # with words of the request among them
                answer = reply({"code": refusal.code, "message": words} | refusal.extra, refusal.status)
            except wire.BadTime as bad:
                words = printable(str(bad), LONGEST_REASON)
                if kind == "polygon":
                    answer = reply({"status": "ERROR", "request_id": self._request_id(), "error": words}, 400)
                else:
                    answer = reply({"code": 40010001, "message": words}, 400 if kind == "data" else 422)
        return Response(answer.status, answer.headers | more, answer.body)

    def _answer(self, kind: str, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        if kind != "trading":
            if method != "GET":
                return reply({"message": "method not allowed"}, 405)
            status, value = (self._data if kind == "data" else self._polygon).answer(path, query)
            return reply(value, status)
        matched = False
        for wanted, pattern, answer in self._routes:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            matched = True
            if wanted != method:
                continue
            if method in ("POST", "PATCH"):
                return answer(*found.groups(), body)
            return answer(*found.groups(), query)
        return reply({"message": "method not allowed"}, 405) if matched else reply({"message": "Not Found"}, 404)

    def _authenticate(self, kind: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Response | None:
        bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if kind == "polygon":
            if self.access.admits_polygon(query.get("apiKey", "") or bearer):
                return None
            return reply({"status": "ERROR", "request_id": self._request_id(), "error": "Unknown API Key"}, 401)
        key_id, secret = headers.get("apca-api-key-id", ""), headers.get("apca-api-secret-key", "")
        if not key_id and not secret and not bearer:
            page = b"<html><head><title>401 Authorization Required</title></head></html>"
            return Response(401, {"Content-Type": "text/html"}, page)
        if self.access.admits(key_id, secret) or (bearer and self.access.keys is None):
            return None
        return reply({"message": "unauthorized."} if kind == "trading" else {"message": "forbidden."}, 401)

    def _too_many(self, kind: str) -> Response:
        if kind == "polygon":
            error = "You've exceeded the maximum requests per minute, please wait or upgrade your subscription."
            return reply({"status": "ERROR", "request_id": self._request_id(), "error": error}, 429)
        return reply({"code": 42910000, "message": "rate limit exceeded"}, 429)

    def _request_id(self) -> str:
        return f"{self._requests:032x}"

    # --- account, clock, calendar, assets ---

    def _account(self, query: Mapping[str, str]) -> Response:
        return reply(wire.account(self._engine))

    def _configurations(self, query: Mapping[str, str]) -> Response:
        return reply(
            {
                "disable_overnight_trading": True,
                "fractional_trading": True,
                "max_margin_multiplier": str(self._engine.account.multiplier),
                "max_options_trading_level": None,
                "no_shorting": not self._engine.shorting,
                "ptp_no_exception_entry": False,
                "suspend_trade": False,
                "trade_confirm_email": "none",
            }
        )

    def _portfolio(self, query: Mapping[str, str]) -> Response:
        return reply(portfolio_history(self._simulation, query))

    def _activities(self, query: Mapping[str, str]) -> Response:
        return self._activities_of("", query)

    def _activities_of(self, kind: str, query: Mapping[str, str]) -> Response:
        """Executions, as rows of kind FILL, and the fees of a day, of kind FEE, which come after its close."""
        if kind and query.get("activity_types"):
            raise rules.unprocessable("activity_types is for /v2/account/activities alone")
        kinds = (kind or query.get("activity_types") or "FILL,FEE").split(",")
        size = _integer(query, "page_size", 100, 100)
        after = wire.parse_time(query["after"]) if query.get("after") else None
        until = wire.parse_time(query["until"]) if query.get("until") else None
        rows = []
        for fill in self._engine.executions if "FILL" in kinds else []:
            at = fill.at // 1000 * 1000  # as the rows show it: to the microsecond
            is_wanted = query.get("order_id", fill.order_id) == fill.order_id
            if is_wanted and (after is None or at > after) and (until is None or at <= until):
                rows.append(wire.activity(fill, "partial_fill" if fill.leaves_qty else "fill"))
        for fee in self._engine.charger.fees if "FEE" in kinds and "order_id" not in query else []:
            if (after is None or fee.at > after) and (until is None or fee.at <= until):
                rows.append(wire.fee(fee))
        rows.sort(key=lambda row: str(row["id"]).partition("::")[0])  # in an instant they keep their order
        if _direction(query) == "desc":
            rows.reverse()
        if token := query.get("page_token"):
            ids = [row["id"] for row in rows]
            rows = rows[ids.index(token) + 1 :] if token in ids else []
        return reply(rows[:size])

    def _clock(self, query: Mapping[str, str]) -> Response:
        is_open, opens, closes = self._simulation.clock()
        return reply(
            {
                "timestamp": wire.local(self._simulation.now),
                "is_open": is_open,
                "next_open": wire.local(opens),
                "next_close": wire.local(closes),
            }
        )

    def _calendar(self, query: Mapping[str, str]) -> Response:
        try:
            start = date.fromisoformat(query.get("start", "1970-01-01")[:10])
            end = min(date.fromisoformat(query.get("end", "2029-12-31")[:10]), LAST_DAY)
        except ValueError:
            raise rules.unprocessable("invalid date") from None
        days = self._simulation.days(start, end + timedelta(days=10))
        rows = [
            {
                "date": day.date.isoformat(),
                "open": new_york(day.open).strftime("%H:%M"),
                "close": new_york(day.close).strftime("%H:%M"),
                "session_open": "0400",
                "session_close": "2000",
                "settlement_date": after.date.isoformat(),
            }
            for day, after in zip(days, [*days[1:], *days[-1:]], strict=True)
            if day.date <= end
        ]
        return reply(rows)

    def _assets(self, query: Mapping[str, str]) -> Response:
        status, kind = query.get("status", "active"), query.get("asset_class", "us_equity")
        listed = [of for of in self._engine.assets.values() if of.status == status and kind == "us_equity"]
        return reply([wire.asset(of) for of in listed])

    def _asset(self, name: str, query: Mapping[str, str]) -> Response:
        for of in self._engine.assets.values():
            if name in (of.symbol, of.id):
                return reply(wire.asset(of))
        raise rules.not_found(f"asset not found for {name}")

    # --- orders ---

    def _submit(self, body: bytes) -> Response:
        fields = _fields(body)
        symbol = _word(fields, "symbol")
        by_id = next((of.symbol for of in self._engine.assets.values() if of.id == symbol), symbol)
        if fields.get("legs") is not None:
            raise rules.parameter("legs belongs to order_class mleg, which is not simulated")
        request = OrderRequest(
            symbol=by_id,
            side=_word(fields, "side"),
            type=_word(fields, "type") or "market",
            time_in_force=_word(fields, "time_in_force") or "day",
            qty=_decimal(fields, "qty"),
            notional=_decimal(fields, "notional"),
            limit_price=_decimal(fields, "limit_price"),
            stop_price=_decimal(fields, "stop_price"),
            client_order_id=_word(fields, "client_order_id"),
            extended_hours=fields.get("extended_hours") is True,
            order_class=_word(fields, "order_class"),
            position_intent=_word(fields, "position_intent"),
            take_profit=_leg_price(fields, "take_profit", "limit_price"),
            stop_loss=_leg_price(fields, "stop_loss", "stop_price"),
            stop_loss_limit=_leg_price(fields, "stop_loss", "limit_price"),
            trail_price=_decimal(fields, "trail_price"),
            trail_percent=_decimal(fields, "trail_percent"),
        )
        return reply(self._told(self._engine.submit(request), nested=True))

    def _list_orders(self, query: Mapping[str, str]) -> Response:
        wanted = query.get("status", "open")
        if wanted not in ("open", "closed", "all"):
            raise rules.unprocessable(f"invalid status: {wanted}")
        symbols = set(query["symbols"].split(",")) if query.get("symbols") else None
        after = wire.parse_time(query["after"]) if query.get("after") else None
        until = wire.parse_time(query["until"]) if query.get("until") else None
        later = self._engine.order(query["after_order_id"]).number if query.get("after_order_id") else None
        earlier = self._engine.order(query["before_order_id"]).number if query.get("before_order_id") else None
        nested = _flag(query, "nested")
        orders = self._engine.open_orders() if wanted == "open" else list(self._engine.orders.values())
        if wanted == "open" and not nested:
            orders = [of for of in orders if of.group is None or not of.group.holds(of)]
        found = [
            of
            for of in orders
            if not (wanted == "closed" and of.open)
            and (symbols is None or of.symbol in symbols)
            and query.get("side", of.side) == of.side
            and (after is None or of.submitted_at > after)
            and (until is None or of.submitted_at < until)
            and (later is None or of.number > later)
            and (earlier is None or of.number < earlier)
        ]
        if nested:  # a leg comes inside its parent
            ids = {of.id for of in found}
            found = [of for of in found if of.group is None or of not in of.group.legs or of.group.parent.id not in ids]
        if _direction(query) == "desc":
            found.reverse()
        return reply([self._told(of, nested) for of in found[: _integer(query, "limit", 50, 500)]])

    def _order(self, order_id: str, query: Mapping[str, str]) -> Response:
        return reply(self._told(self._engine.order(_uuid(order_id)), _flag(query, "nested")))

    def _order_by_client_id(self, query: Mapping[str, str]) -> Response:
        client_id = query.get("client_order_id", "")
        return reply(self._told(self._engine.order_by_client_id(client_id), _flag(query, "nested")))

    def _replace(self, order_id: str, body: bytes) -> Response:
        fields = _fields(body)
        qty = _decimal(fields, "qty")
        if qty is not None and qty % 1 != 0:
            raise rules.unprocessable("qty must be a whole number")
        if not any(fields.get(name) is not None for name in _CHANGEABLE):
            raise rules.unprocessable("order parameters are not changed")
        new = self._engine.replace(
            _uuid(order_id),
            qty=qty,
            limit_price=_decimal(fields, "limit_price"),
            stop_price=_decimal(fields, "stop_price"),
            trail=_decimal(fields, "trail"),
            time_in_force=_word(fields, "time_in_force") or None,
            client_order_id=_word(fields, "client_order_id"),
        )
        return reply(self._told(new))

    def _cancel(self, order_id: str, query: Mapping[str, str]) -> Response:
        self._engine.cancel(_uuid(order_id))
        return Response(204, {}, b"")

    def _cancel_all(self, query: Mapping[str, str]) -> Response:
        listed = [of for of in self._engine.open_orders() if of.group is None or not of.group.holds(of)]
        return reply([{"id": of.id, "status": _try_cancel(self._engine, of)} for of in listed], 207)

    def _told(self, of: Order, nested: bool = False) -> wire.Json:
        """The order as clients get it; a parent with its legs in it, if `nested`."""
        legs = of.group.legs if nested and of.group is not None and of.id == of.group.parent.id else None
        return wire.order(of, self._engine.assets, legs)

    # --- positions ---

    def _positions(self, query: Mapping[str, str]) -> Response:
        return reply([wire.position(self._engine, symbol) for symbol in self._engine.account.positions])

    def _held(self, name: str) -> str:
        for symbol in self._engine.account.positions:
            if name in (symbol, self._engine.assets[symbol].id):
                return symbol
        raise rules.not_found("position does not exist")

    def _position(self, name: str, query: Mapping[str, str]) -> Response:
        return reply(wire.position(self._engine, self._held(name)))

    def _close(self, name: str, query: Mapping[str, str]) -> Response:
        symbol = self._held(name)
        held = abs(self._engine.account.held(symbol))
        qty = _decimal(query, "qty")
        percentage = _decimal(query, "percentage")
        if percentage is not None:
            qty = round(held * percentage / 100, 9)
        return reply(self._told(self._liquidate(symbol, held if qty is None else qty)))

    def _close_all(self, query: Mapping[str, str]) -> Response:
        if _flag(query, "cancel_orders"):
            for of in self._engine.open_orders():
                _try_cancel(self._engine, of)
            # As at Alpaca the shares are free once the cancels are through, which here takes no time.
            self._engine.settle_cancels()
        rows: list[wire.Json] = []
        for symbol in list(self._engine.account.positions):
            try:
                body = self._told(self._liquidate(symbol, abs(self._engine.account.held(symbol))))
                rows.append({"symbol": symbol, "status": 200, "body": body})
            except Rejection as refusal:
                error = {"code": refusal.code, "message": refusal.message} | refusal.extra
                rows.append({"symbol": symbol, "status": refusal.status, "body": error})
        return reply(rows, 207)

    def _liquidate(self, symbol: str, qty: Decimal) -> Order:
        side = "sell" if self._engine.account.held(symbol) > 0 else "buy"
        return self._engine.submit(OrderRequest(symbol, side, "market", "day", qty))


def _try_cancel(engine: Engine, of: Order) -> int:
    """Ask for a cancel; returns the HTTP status that reports the outcome."""
    try:
        engine.cancel(of.id)
    except Rejection:
        return 500
    return 200


def reply(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(status, {"Content-Type": "application/json; charset=UTF-8"}, msgspec.json.encode(value))


def _check_text(path: str, query: Mapping[str, str]) -> None:
    """Raises Rejection for half a character: it can't be sent back, nor found anywhere."""
    try:
        "".join((path, *query, *query.values())).encode()
    except UnicodeEncodeError:
        raise Rejection(400, 40010000, "the address is no text") from None


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError):
        raise Rejection(400, 40010000, "request body format is invalid") from None
    if not isinstance(fields, dict):
        raise Rejection(400, 40010000, "request body format is invalid")
    return fields


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _leg_price(fields: Mapping[str, Any], leg: str, name: str) -> Decimal | None:
    """A price inside take_profit or stop_loss, None where it isn't given."""
    inside = fields.get(leg)
    if inside is None:
        return None
    if not isinstance(inside, dict):
        raise rules.parameter(f"{leg} must be an object with {name}")
    return _decimal({f"{leg}.{name}": inside.get(name)}, f"{leg}.{name}")


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() == "true"


def _decimal(fields: Mapping[str, Any], name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    number = decimal_or_none(value)
    if number is None:
        raise rules.parameter(f"{name} is not a number, or no possible one")
    if abs(number) >= _TOO_MUCH:
        raise rules.parameter(f"{name} is out of range")
    return number


def _integer(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    value = query.get(name) or str(default)
    if not _DIGITS.fullmatch(value) or not 0 < int(value) <= most:
        raise rules.unprocessable(f"invalid {name}: {value}")
    return int(value)


def _direction(query: Mapping[str, str]) -> str:
    value = query.get("direction") or "desc"
    if value not in ("asc", "desc"):
        raise rules.unprocessable(f"invalid direction: {value}")
    return value


def _uuid(order_id: str) -> str:
    if not _UUID.fullmatch(order_id):
        raise rules.parameter("order_id is missing")
    return order_id.lower()
