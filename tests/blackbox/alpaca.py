"""A stand-in for Alpaca and Polygon, as a test's script wants it: REST, order updates, market data, on one port.

Written from the protocol's documentation alone and sharing no code with the bot, so that a misreading on one side shows
on the other. It answers as the real thing answers an ordinary day; `on()` replaces single answers, and the tests move
the orders (`fill`, `end`, `tell`) and send the bars. Everything that arrives is in `requests` and `logins`.

Its clock stands still until the bot first asks for it, then runs `speed` times as fast as the time they share.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.blackbox.shared_time import SharedTime
from tests.blackbox.sockets import DATE, KEY, NEW_YORK, POLYGON_KEY, SECRET, Streams, seconds, utc

OPEN_STATUSES = ("pending_new", "accepted", "new", "partially_filled", "pending_cancel", "calculated-in-a-new-way")
INTENT = "position intent mismatch, inferred: sell_to_open, specified: sell_to_close"
HTML = "<html><head><title>504 Gateway Time-out</title></head><body>nginx</body></html>"


@dataclass
class Request:
    """One HTTP request: when it arrived (`at`: seconds of the shared time), what it said, and what it was answered."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    headers: dict[str, str]
    url: str
    time: SharedTime
    when: float  # exchange time, epoch seconds
    at: float
    status: int = 0
    was_answered_at_once: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


Answer = Callable[[Request], Awaitable[web.Response | None]]  # None: let the ordinary answer follow
Rows = list[dict[str, Any]]
EVER = float("inf")


def answer(status: int, body: object = None, **headers: str) -> Answer:
    """Answer with a JSON body, or with HTML where `body` is a string."""

    async def say(request: Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html", headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return say


def slowly(seconds: float) -> Answer:
    """The ordinary answer, late: nothing happens to the request before."""

    async def wait(request: Request) -> None:
        await request.time.sleep(seconds)

    return wait


class BrokenConnection(Exception):
    """Raised by an answer: the connection is closed, the request never arrived."""


async def never_arrives(request: Request) -> None:
    raise BrokenConnection


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other, the last one for ever."""
    left = list(answers)

    async def say(request: Request) -> web.Response | None:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return say


class Alpaca(Streams):
    """`at` is the New York time at which the bot starts; `close` is what the clock tells of the session's end."""

    def __init__(self, at: str = "10:31:02", close: str = "16:00", speed: float = 1.0) -> None:
        super().__init__(at, speed)
        self.close = self.minute(close)
        self.requests: list[Request] = []
        self.account: dict[str, Any] = {"id": "5f0d2a2e-93b1-4f6c-8a0e-0c6a2f6f9d11", "status": "ACTIVE"}
        self.assets = {"AAPL": "Apple Inc. Common Stock", "TSLA": "Tesla, Inc. Common Stock", "FB": "A Buffer ETF",
                       "NVDA": "NVIDIA Corporation", "AMD": "Advanced Micro Devices", "F": "Ford Motor"}  # fmt: skip
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.latest: dict[str, float] = {}
        self.orders: dict[str, dict[str, Any]] = {}  # by id, oldest first
        self.positions: dict[str, tuple[Decimal, Decimal]] = {}  # symbol -> shares, average price
        self.current_prices: dict[str, str] = {}  # of those whose position tells it
        self._wrongs: list[str] = []
        self.activities: Rows = []  # what became of the account, in time order: executions, and what a test adds
        # What listings show is so many seconds old, and then what a test makes of it.
        self.positions_lag = self.orders_lag = self.activities_lag = 0.0
        self.shown_positions: Callable[[Rows], Rows] = list
        self.shown_orders: Callable[[Rows], Rows] = list
        self.shown_activities: Callable[[Rows], Rows] = list
        self.clock_says: dict[str, Any] = {}  # in place of the clock's own fields
        self.calendar_close: float | None = None  # None: the clock's
        self.asset_fields: dict[str, dict[str, Any]] = {}  # in place of an asset's own
        self.order_fields: tuple[str, ...] = ()  # of orders; (): all of them
        self.may_be_short = False  # what two legs of one exit have sold
        self.rate_limit_headers = True
        self.obeys_cancels = True  # False: a cancel is taken note of and nothing follows
        self.tells_updates = True
        self._answers: list[tuple[str, str, Answer, int, float]] = []
        self._positions_past: list[tuple[float, dict[str, tuple[Decimal, Decimal]]]] = []
        self._orders_past: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self.port = 0

    # -- a server -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Alpaca:
        self.time.start()
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close_sockets()
        await self._runner.cleanup()
        self.time.stop()

    @property
    def environment(self) -> dict[str, str]:
        here = f"127.0.0.1:{self.port}"
        return {
            "APCA_API_BASE_URL": f"http://{here}",
            "APCA_API_DATA_URL": f"http://{here}",
            "APCA_API_STREAM_URL": f"ws://{here}",
            "APCA_API_KEY_ID": KEY,
            "APCA_API_SECRET_KEY": SECRET,
            "SCALP_SPEED": str(self.speed),
        }

    @property
    def polygon(self) -> dict[str, str]:
        """The variables that make the bot take its bars from here in Polygon's way."""
        here = f"127.0.0.1:{self.port}"
        return {
            "POLYGON_WS_URL": f"ws://{here}/stocks",
            "POLYGON_BASE_URL": f"http://{here}",
            "POLYGON_API_KEY": POLYGON_KEY,
        }

    # -- what tests ask -----------------------------------------------------------------------------------------------

    def on(self, method: str, path: str, answer: Answer, times: int = 1_000_000, seconds: float = EVER) -> None:
        """Answer the next `times` requests of `method` whose path, or the symbol in whose body, begins like this.

        A path that ends in "$" is meant whole. After `seconds` of the exchange the ordinary answers are back.
        """
        self._answers.append((method, path, answer, times, self.now + seconds))

    def off(self, method: str, path: str) -> None:
        """From now on the ordinary answers."""
        self._answers = [scripted for scripted in self._answers if scripted[:2] != (method, path)]

    def taking(self, then: Answer) -> Answer:
        """Do what is asked, and only then `then`: its answer is what is heard, if it has one."""

        async def take(request: Request) -> web.Response:
            response = self.ordinary(request)
            return await then(request) or response

        return take

    def asked(self, method: str, path: str = "/") -> list[Request]:
        """The requests so far of `method` to paths that begin with `path`, or are it where it ends in "$"."""
        return [r for r in self.requests if r.method == method and _is_like(r.path, path)]

    def order_of(self, request: Request) -> dict[str, Any]:
        """The order that a POST made, or that a DELETE was about."""
        wanted = request.body.get("client_order_id") or request.path.rpartition("/")[2]
        return next(o for o in self.orders.values() if wanted in (o["client_order_id"], o["id"]))

    def posted(self, symbol: str = "", side: str = "") -> list[Request]:
        """The orders the bot tried to send, also those that were refused.

        Not those that it has asked for again, under their id, because this machine kept an answer from it for seconds.
        """
        found = [
            r for r in self.asked("POST", "/v2/orders")
            if symbol in ("", r.body["symbol"]) and side in ("", r.body["side"])
        ]  # fmt: skip
        at_once = {r.body.get("client_order_id") for r in found if r.status == 200 and r.was_answered_at_once}
        return [r for r in found if r.status != 422 or r.body.get("client_order_id") not in at_once]

    def wrongs(self) -> list[str]:
        """What must never be, whatever the story."""
        found = list(self._wrongs)
        for buy in self.posted(side="buy"):
            same = [r for r in self.posted(side="buy") if r.body["client_order_id"] == buy.body["client_order_id"]]
            if len([r for r in same if r.status != 429]) > 1:
                found.append(f"a buy was sent twice: {buy.body}")
        for sell in self.posted(side="sell"):
            if sell.body.get("position_intent") != "sell_to_close":
                found.append(f"a sell that could go short: {sell.body}")
        return found

    def open_orders(self, symbol: str = "") -> list[dict[str, Any]]:
        return [o for o in self.orders.values() if o["status"] in OPEN_STATUSES and symbol in ("", o["symbol"])]

    # -- what tests do ------------------------------------------------------------------------------------------------

    def flat_morning(self, *symbols: str, price: float = 100.0, last: float = 99.0, minutes: int = 20) -> None:
        """History up to 10:29: flat, then a dip below the average. A bar above it at 10:30 is a buy signal."""
        for symbol in symbols:
            for back in range(minutes - 1, -1, -1):
                self.add_history(symbol, self.minute("10:29") - 60 * back, price if back else last)

    def add_history(self, symbol: str, start: float, close: float) -> None:
        bar = {"t": utc(start), "o": close, "h": close, "l": close, "c": close, "v": 1000, "n": 10, "vw": close}
        self.history.setdefault(symbol, []).append(bar)

    def hold(self, symbol: str, qty: int, price: str) -> None:
        """A position that is there."""
        self.positions[symbol] = (Decimal(qty), Decimal(price))
        self._note_positions()

    def place(self, symbol: str, side: str, qty: int, price: str | None, **fields: Any) -> dict[str, Any]:
        """An order that is there without the bot having sent it (by hand, or by an earlier run)."""
        order = self._new_order({"symbol": symbol, "side": side, "qty": str(qty), "limit_price": price,
                                 "type": "limit" if price else "market",
                                 "client_order_id": str(uuid.uuid4())})  # fmt: skip
        order.update({"status": "new"} | fields)
        self._note(order)
        return order

    async def fill(
        self, order: dict[str, Any], qty: int | None = None, price: str | None = None, tell: bool = True
    ) -> dict[str, Any]:
        """Execute `qty` shares (default: the rest) at `price` (default: the limit); returns the update's data.

        With `tell` False the stream is silent about it; `tell_late` may send the update afterwards.
        """
        done, wanted = Decimal(order["filled_qty"]), Decimal(order["qty"])
        shares = wanted - done if qty is None else Decimal(qty)
        at = Decimal(price or order["limit_price"] or "100")
        total = done + shares
        average = (done * Decimal(order["filled_avg_price"] or 0) + shares * at) / total
        order["filled_qty"], order["filled_avg_price"] = str(total), str(average.normalize())
        is_full = total == wanted
        if is_full or order["status"] in ("new", "pending_new"):
            order["status"] = "filled" if is_full else "partially_filled"
        if is_full:
            order["filled_at"] = utc(self.now)
        self._note(order)
        for leg in self.legs(order):
            leg["qty"] = str(wanted - total)
            self._note(leg)
        held, entry = self.positions.get(order["symbol"], (Decimal(0), Decimal(0)))
        if order["side"] == "buy":
            entry = (held * entry + shares * at) / (held + shares) if held + shares else Decimal(0)
            held += shares
        else:
            held -= shares
        if held < 0 and not self.may_be_short:
            self._wrongs.append(f"{held} shares held after {order}")
        self.positions[order["symbol"]] = (held, entry)
        self._note_positions()
        kind = "fill" if is_full else "partial_fill"
        execution = str(uuid.uuid4())
        self.activities.append({
            "id": self._activity_id(execution), "activity_type": "FILL", "type": kind, "order_id": order["id"],
            "order_status": order["status"], "side": order["side"], "symbol": order["symbol"], "price": str(at),
            "qty": str(shares), "cum_qty": str(total), "leaves_qty": str(wanted - total),
            "transaction_time": self._to_microseconds(self.now),
        })  # fmt: skip
        extra = {"price": str(at), "qty": str(shares), "position_qty": str(held), "execution_id": execution}
        data = await self.tell(kind, order, quietly=not tell, **extra)
        if is_full and order["parent"] is None:
            for leg in self.legs(order):
                await self.end(leg, tell=tell)
        return data

    def legs(self, order: dict[str, Any]) -> Rows:
        """Those of its legs that may still act."""
        mine = [o for o in self.orders.values() if o["parent"] == order["id"]]
        return [leg for leg in mine if leg["status"] in (*OPEN_STATUSES, "held")]

    async def stop(self, order: dict[str, Any], price: str, tell: bool = True) -> None:
        """The stop of this OCO order is reached: its take-profit is taken back, and it sells at `price`."""
        [leg] = self.legs(order)
        leg["status"] = "new"
        await self.end(order, tell=tell, alone=True)
        await self.tell("new", leg, quietly=not tell)
        await self.fill(leg, int(Decimal(order["qty"]) - Decimal(order["filled_qty"])), price, tell)

    def transfer(self, symbol: str, qty: int, price: str) -> None:
        """Shares come from another broker: no order, no execution, no row of this day."""
        held, entry = self.positions.get(symbol, (Decimal(0), Decimal(0)))
        total = held + qty
        self.positions[symbol] = (total, (held * entry + qty * Decimal(price)) / total)
        self._note_positions()

    async def tell_late(self, data: dict[str, Any]) -> None:
        """Send an update that was kept back, as it was made; only the time of its sending is now."""
        await self.send_update({"stream": "trade_updates", "data": data | {"at": utc(self.now)}})

    async def end(
        self, order: dict[str, Any], status: str = "canceled", tell: bool = True, alone: bool = False
    ) -> dict[str, Any]:
        """The end of an order, and of its legs unless it is `alone`."""
        for leg in [] if alone else self.legs(order):
            await self.end(leg, status, tell)
        order["status"] = status
        order["failed_at" if status == "rejected" else f"{status}_at"] = utc(self.now)
        self._note(order)
        return await self.tell(status, order, quietly=not tell)

    async def replace(self, order: dict[str, Any], price: str) -> dict[str, Any]:
        """Somebody edits an order by hand: it ends, and a new one follows; returns that."""
        new = self._replace(order, {"limit_price": price})
        await self.tell("replaced", order)
        await self.tell("new", new)
        return new

    def _replace(self, order: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        rest = int(Decimal(changes.get("qty", order["qty"])) - Decimal(order["filled_qty"]))
        new = self.place(order["symbol"], order["side"], rest, changes.get("limit_price", order["limit_price"]))
        if "client_order_id" in changes:
            new["client_order_id"] = changes["client_order_id"]
        new["replaces"], order["replaced_by"] = order["id"], new["id"]
        order["status"], order["replaced_at"] = "replaced", utc(self.now)
        self._note(order)
        return new

    async def tell(self, event: str, order: dict[str, Any], quietly: bool = False, **extra: Any) -> dict[str, Any]:
        """Send an order update, unless `quietly`."""
        data = {"event": event, "execution_id": str(uuid.uuid4()), "timestamp": utc(self.now), "at": utc(self.now),
                "order": self._shown(order, nested=False), **extra}  # fmt: skip
        if self.tells_updates and not quietly:
            await self.send_update({"stream": "trade_updates", "data": data})
        return data

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        path = unquote(raw.path)
        if raw.headers.get("Upgrade", "").lower() == "websocket":
            return await self.serve_socket(raw, path)
        body = await raw.json() if raw.can_read_body else {}
        request = Request(raw.method, path, dict(raw.query), body, dict(raw.headers), str(raw.url), self.time,
                          self.now, self.time.now)  # fmt: skip
        self.requests.append(request)
        try:
            response = await self._scripted(request) or self.ordinary(request)
        except BrokenConnection:
            if raw.transport is not None:
                raw.transport.abort()
            return web.Response()
        request.status, request.was_answered_at_once = response.status, self.time.now - request.at < 1.0
        response.headers["X-Request-ID"] = uuid.uuid4().hex
        if self.rate_limit_headers and "X-Ratelimit-Limit" not in response.headers:
            response.headers.update(self.limit_headers())
        return response

    def limit_headers(self, remaining: int = 187) -> dict[str, str]:
        """What each answer tells of the request limit, which is fresh at each full minute."""
        reset = int(self.now) // 60 * 60 + 60
        return {"X-Ratelimit-Limit": "200", "X-Ratelimit-Remaining": str(remaining), "X-Ratelimit-Reset": str(reset)}

    async def _scripted(self, request: Request) -> web.Response | None:
        for index, (method, path, answer, times, until) in enumerate(self._answers):
            if request.when >= until or method != request.method:
                continue
            if _is_like(request.path, path) or request.body.get("symbol") == path:
                if times == 1:
                    del self._answers[index]
                else:
                    self._answers[index] = (method, path, answer, times - 1, until)
                return await answer(request)
        return None

    def ordinary(self, request: Request) -> web.Response:
        """What an ordinary day answers, done with all its effects."""
        method, parts = request.method, request.path.strip("/").split("/")
        headers = request.headers
        if parts[0] == "v2" and parts[1] in ("aggs", "last"):
            return self._polygon_rest(request, parts)
        if headers.get("APCA-API-KEY-ID") != KEY or headers.get("APCA-API-SECRET-KEY") != SECRET:
            return web.json_response({"message": "unauthorized."}, status=401)
        match method, parts[1:]:
            case "GET", ["clock"]:
                return self._clock()
            case "GET", ["calendar"]:
                return web.json_response(self._calendar(request.query))
            case "GET", ["account"]:
                return web.json_response(self.account)
            case "GET", ["assets"]:
                return web.json_response([self._asset(symbol) for symbol in self.assets])
            case "GET", ["assets", symbol]:
                if symbol not in self.assets:
                    return _error(404, 40410000, f"asset not found for {symbol}")
                return web.json_response(self._asset(symbol))
            case "POST", ["orders"]:
                return self._post_order(request.body)
            case "GET", ["orders"]:
                return self._list_orders(request.query)
            case "GET", ["orders:by_client_order_id"]:
                for order in self.orders.values():
                    if order["client_order_id"] == request.query["client_order_id"]:
                        return web.json_response(self._shown(order))
                return _error(404, 40410000, "order not found")
            case "GET" | "DELETE" | "PATCH", ["orders", order_id]:
                if order_id not in self.orders:
                    return _error(404, 40410000, f"order not found for {order_id}")
                order = self.orders[order_id]
                if method == "PATCH":
                    return self._patch(order, request.body)
                return web.json_response(self._shown(order)) if method == "GET" else self._cancel(order)
            case "GET", ["positions"]:
                return web.json_response(self.shown_positions(self._list_positions()))
            case "GET", ["positions", symbol]:
                for row in self.shown_positions(self._list_positions()):
                    if row.get("symbol") == symbol:
                        return web.json_response(row)
                return _error(404, 40410000, "position does not exist")
            case "GET", ["account", "activities"]:
                return self._list_activities(request.query, request.query.get("activity_types", ""))
            case "GET", ["account", "activities", kinds]:
                return self._list_activities(request.query, kinds)
            case "GET", ["stocks", "bars"]:
                return self._bars(request.query)
            case "GET", ["stocks", symbol, "trades", "latest"]:
                if symbol not in self.latest:
                    return _error(404, 40410000, "no trade found")
                trade = {
                    "t": utc(self.now),
                    "x": "V",
                    "p": self.latest[symbol],
                    "s": 100,
                    "c": ["@"],
                    "i": 1,
                    "z": "C",
                }
                return web.json_response({"symbol": symbol, "trade": trade})
        return _error(404, 40410000, f"this stand-in has no {request}")

    def _clock(self) -> web.Response:
        if self._began is None:
            self._began = self.time.now
        stamp = self._new_york(self.now).isoformat(timespec="microseconds")
        opens = self.minute("09:30")
        return web.json_response({
            "timestamp": f"{stamp[:26]}123{stamp[26:]}",
            "is_open": opens <= self.now < self.close,
            "next_open": f"{DATE}T09:30:00-04:00" if self.now < opens else "2031-03-13T09:30:00-04:00",
            "next_close": self._new_york(self.close).isoformat() if self.now < self.close
            else "2031-03-13T16:00:00-04:00",
        } | self.clock_says)  # fmt: skip

    def _calendar(self, query: dict[str, str]) -> Rows:
        """Wednesday to Friday."""
        close = self.close if self.calendar_close is None else self.calendar_close
        closes = {DATE: f"{self._new_york(close):%H:%M}", "2031-03-13": "16:00", "2031-03-14": "16:00"}
        return [
            {"date": date, "open": "09:30", "close": close, "session_open": "0400", "session_close": "2000",
             "settlement_date": "2031-03-17"}
            for date, close in closes.items()
            if query.get("start", date) <= date <= query.get("end", date)
        ]  # fmt: skip

    @staticmethod
    def _new_york(at: float) -> dt.datetime:
        return dt.datetime.fromtimestamp(at, NEW_YORK)

    def _asset(self, symbol: str) -> dict[str, Any]:
        return {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, symbol)), "class": "us_equity", "exchange": "NASDAQ",
                "symbol": symbol, "name": self.assets[symbol], "status": "active", "tradable": True,
                **self.asset_fields.get(symbol, {})}  # fmt: skip

    def _new_order(self, body: dict[str, Any]) -> dict[str, Any]:
        order = {
            "id": str(uuid.uuid4()), "client_order_id": body["client_order_id"], "created_at": utc(self.now),
            "updated_at": utc(self.now), "submitted_at": utc(self.now), "filled_at": None, "expired_at": None,
            "canceled_at": None, "failed_at": None, "replaced_at": None, "replaced_by": None, "replaces": None,
            "symbol": body["symbol"], "asset_class": "us_equity", "notional": None, "qty": body["qty"],
            "filled_qty": "0", "filled_avg_price": None, "order_class": "", "order_type": body["type"],
            "type": body["type"], "side": body["side"], "time_in_force": body.get("time_in_force", "day"),
            "limit_price": body.get("limit_price"), "stop_price": None, "status": "pending_new",
            "position_intent": body.get("position_intent"), "extended_hours": False, "legs": None, "parent": None,
            "a_field_of_next_year": {"deep": [1, None]},
        }  # fmt: skip
        self.orders[order["id"]] = order
        return order

    def _post_order(self, body: dict[str, Any]) -> web.Response:
        if any(o["client_order_id"] == body["client_order_id"] for o in self.orders.values()):
            return _error(422, 40010001, "client_order_id must be unique")
        against = [o for o in self.open_orders(body["symbol"]) if o["side"] != body["side"]]
        for other in against:
            if not {body["type"], other["type"]}.isdisjoint(("market", "stop")) or (
                Decimal((body if body["side"] == "buy" else other)["limit_price"])
                >= Decimal((other if body["side"] == "buy" else body)["limit_price"])
            ):
                return _error(403, 40310000, "potential wash trade detected. use complex orders",
                              existing_order_id=other["id"],
                              reject_reason=f"opposite side {other['type']} order exists")  # fmt: skip
        if body["side"] == "sell":
            offered = sum(Decimal(o["qty"]) - Decimal(o["filled_qty"]) for o in self.open_orders(body["symbol"])
                          if o["side"] == "sell")  # fmt: skip
            held = self.positions.get(body["symbol"], (Decimal(0), Decimal(0)))[0]
            if held <= 0 and body.get("position_intent") == "sell_to_close":
                return _error(422, 42210000, INTENT)
            if Decimal(body["qty"]) > held - offered:
                return no_shares(body["qty"], held - offered)
        if own := [o for o in self.open_orders(body["symbol"]) if o["client_order_id"].startswith("scalp-")]:
            self._wrongs.append(f"a second order at work: {body} beside {own}")
        if body["side"] == "buy" and self.positions.get(body["symbol"], (0, 0))[0] > 0:
            self._wrongs.append(f"bought more than a lot: {body}, {self.positions[body['symbol']]} held")
        is_pair = body.get("order_class") == "oco"
        order = self._new_order(body | ({"limit_price": body["take_profit"]["limit_price"]} if is_pair else {}))
        if is_pair:
            leg = self._new_order(body | {"type": "stop", "client_order_id": str(uuid.uuid4())})
            leg |= {"stop_price": body["stop_loss"]["stop_price"], "status": "held", "parent": order["id"]}
            order["order_class"] = leg["order_class"] = "oco"
            self.orders[leg["id"]] = leg
            self._note(leg)
        shown = self._shown(order)
        order["status"] = "new"
        self._note(order)
        if self.tells_updates:
            if is_pair:
                asyncio.get_running_loop().create_task(self.tell("held", leg))
            asyncio.get_running_loop().create_task(self.tell("new", order))
        return web.json_response(shown)

    def _cancel(self, order: dict[str, Any]) -> web.Response:
        if order["status"] not in (*OPEN_STATUSES, "held"):
            return _error(422, 42210000, f'order is already in "{order["status"]}" state')
        if self.obeys_cancels:
            group = [order, *self.legs(order)] if order["parent"] is None else [order, self.orders[order["parent"]]]
            for member in group:
                member["status"], member["canceled_at"] = "canceled", utc(self.now)
                self._note(member)
                asyncio.get_running_loop().create_task(self.tell("canceled", member))
        else:
            order["status"] = "pending_cancel"
        return web.Response(status=204)

    def _patch(self, order: dict[str, Any], changes: dict[str, Any]) -> web.Response:
        if order["status"] not in ("new", "partially_filled", "held"):
            return _error(422, 42210000, "unable to replace order, order is not open")
        new = self._replace(order, changes)
        if order["parent"] is not None:
            new |= {name: order[name] for name in ("parent", "order_class", "type", "order_type", "qty")}
            new |= {"status": "held", "stop_price": changes["stop_price"]}
            self._note(new)
        asyncio.get_running_loop().create_task(self.tell("replaced", order))
        asyncio.get_running_loop().create_task(self.tell(new["status"], new))
        return web.json_response(self._shown(new))

    def _list_orders(self, query: dict[str, str]) -> web.Response:
        nested = query.get("nested") == "true"
        wanted = query["symbols"].split(",") if query.get("symbols") else None
        found = [o for o in self._orders_seen() if wanted is None or o["symbol"] in wanted]
        status = query.get("status", "open")
        if status != "all":
            found = [o for o in found if (o["status"] in OPEN_STATUSES) == (status == "open")]
        if "side" in query:
            found = [o for o in found if o["side"] == query["side"]]
        found = _between(found, "submitted_at", query)
        found.sort(key=lambda o: seconds(o["submitted_at"]), reverse=query.get("direction", "desc") == "desc")
        if nested:
            found = [o for o in found if o["parent"] is None]
        rows = [self._shown(o, nested) for o in found[: min(int(query.get("limit", "50")), 500)]]
        return web.json_response(self.shown_orders(rows))

    def _list_activities(self, query: dict[str, str], kinds: str) -> web.Response:
        found = [row for row in self.activities if not kinds or row["activity_type"] in kinds.split(",")]
        if self.activities_lag:
            found = [row for row in found if seconds(row["transaction_time"]) <= self.now - self.activities_lag]
        found = self.shown_activities(found)
        if "order_id" in query:
            found = [row for row in found if row.get("order_id") == query["order_id"]]
        found = _between(found, "transaction_time", query)
        is_backwards = query.get("direction", "desc") == "desc"
        found.sort(key=lambda row: row["id"], reverse=is_backwards)
        if token := query.get("page_token"):
            found = [row for row in found if (row["id"] < token if is_backwards else row["id"] > token)]
        return web.json_response(found[: min(int(query.get("page_size", "100")), 100)])

    def _activity_id(self, execution: str) -> str:
        when = self._new_york(self.now)
        return f"{when:%Y%m%d%H%M%S}{when.microsecond // 1000:03}::{execution}"

    @staticmethod
    def _to_microseconds(at: float) -> str:
        """RFC 3339 in UTC, as activities tell it: three digits less than the stream."""
        return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"

    def _note(self, order: dict[str, Any]) -> None:
        """Keep what this order is now, for listings that lag."""
        order["updated_at"] = utc(self.now)
        when = float("-inf") if self._began is None else self.now
        self._orders_past.setdefault(order["id"], []).append((when, dict(order)))

    def _note_positions(self) -> None:
        when = float("-inf") if self._began is None else self.now
        self._positions_past.append((when, dict(self.positions)))

    def _orders_seen(self) -> Rows:
        """The orders as listings know them, which may be those of a while ago."""
        if not self.orders_lag:
            return list(self.orders.values())
        then = self.now - self.orders_lag
        past = [[copy for when, copy in notes if when <= then] for notes in self._orders_past.values()]
        return [copies[-1] for copies in past if copies]

    def _list_positions(self) -> Rows:
        positions = self.positions
        if self.positions_lag:
            past = bisect_right([when for when, _ in self._positions_past], self.now - self.positions_lag)
            positions = self._positions_past[past - 1][1] if past else {}
        return [self._position(symbol, *row) for symbol, row in positions.items() if row[0]]

    def _shown(self, order: dict[str, Any], nested: bool = True) -> dict[str, Any]:
        shown = {name: order[name] for name in self.order_fields or order if name != "parent"}
        legs = [self._shown(leg) for leg in self.orders.values() if leg["parent"] == order["id"]] if nested else []
        return shown | ({"legs": legs} if legs else {})

    def _position(self, symbol: str, held: Decimal, entry: Decimal) -> dict[str, Any]:
        shown = {"asset_id": str(uuid.uuid4()), "symbol": symbol, "qty": str(held), "avg_entry_price": str(entry),
                 "side": "long" if held > 0 else "short", "unknown": None}  # fmt: skip
        return shown | ({"current_price": self.current_prices[symbol]} if symbol in self.current_prices else {})

    def _bars(self, query: dict[str, str]) -> web.Response:
        found = {}
        for symbol in query["symbols"].split(","):
            rows = [b for b in self.history.get(symbol, []) if query["start"] <= b["t"] <= query["end"]]
            if rows:
                found[symbol] = rows
        return web.json_response({"bars": found, "next_page_token": None})

    def _polygon_rest(self, request: Request, parts: list[str]) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {POLYGON_KEY}":
            return web.json_response({"status": "ERROR", "request_id": "x", "error": "Unknown API Key"}, status=401)
        symbol = parts[3]
        found: dict[str, Any] = {"ticker": symbol, "status": "OK", "request_id": "x"}
        if parts[1] == "last":
            if symbol not in self.latest:
                return web.json_response({"status": "NOT_AUTHORIZED", "message": "You are not entitled"}, status=403)
            found["results"] = {"T": symbol, "p": self.latest[symbol], "s": 100, "t": int(self.now * 1e9)}
        elif rows := self.history.get(symbol):
            found["results"] = [{"v": 1.5, "o": b["o"], "h": b["h"], "l": b["l"], "c": b["c"],
                                 "t": int(dt.datetime.fromisoformat(b["t"]).timestamp() * 1000)}
                                for b in rows]  # fmt: skip
        return web.json_response(found)


def _error(status: int, code: int, message: str, **extra: str) -> web.Response:
    return web.json_response({"code": code, "message": message, **extra}, status=status)


def no_shares(requested: str, available: Decimal | int) -> web.Response:
    """What a sell of more than is free is answered."""
    text = f"insufficient qty available for order (requested: {requested}, available: {available})"
    return _error(403, 40310000, text, available=str(available))


def _is_like(path: str, wanted: str) -> bool:
    return path == wanted[:-1] if wanted.endswith("$") else path.startswith(wanted)


def _between(rows: Rows, name: str, query: dict[str, str]) -> Rows:
    """Those whose time is strictly after `after` and before `until`, where they are asked for."""
    after, until = (seconds(query[n]) if n in query else None for n in ("after", "until"))
    return [
        row for row in rows
        if (after is None or seconds(row[name]) > after) and (until is None or seconds(row[name]) < until)
    ]  # fmt: skip
