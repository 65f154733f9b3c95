"""What lies between the bot and the exchange: requests and streams that get lost, late, refused, and lied to.

`Transport` and `connect` stand in for the HTTP and websocket libraries. What was sent stays sent, whatever becomes of
the process that sent it; only a process that is started anew at once takes its connections with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Response as HandshakeResponse

from scalp.core.units import MINUTE, SECOND
from scalp.exchange import wire
from scalp.exchange.rest import Response
from scalp.exchange.streams import DataStreamClient, OrderStreamClient, PolygonStreamClient, StreamClient
from scalp.net.order_connections import OrderConnections
from tests.simulation.faults import ENDPOINTS, REQUESTS, Episode, size

if TYPE_CHECKING:
    from tests.simulation.world import World

LATEST_ARRIVAL = 6.0  # seconds after which nothing that was sent before still arrives
LONGEST_LAG = 58.0  # seconds by which a listing may be behind
STANDS_STILL = 0.3  # of the listings of positions that lag: so do those that follow, for a while
FOREVER = 1e6
PAGE = b"<html><body>trouble</body></html>"
ABSURD = "9" * 45
DOWN = (
    (500, b'{"code":50010000,"message":"internal server error occurred"}'),
    (503, PAGE),
    (504, PAGE),
    (0, b""),  # no answer at all
    (400, b'{"code":40010000,"message":"bad request"}'),
    (401, b'{"message":"unauthorized."}'),
    (403, b'{"message":"forbidden."}'),
    (404, b'{"code":40410000,"message":"Not Found"}'),
    (422, b'{"code":42210000,"message":"unprocessable"}'),
)
LASTING = ("asset is not tradable", "account is restricted to liquidation only", "not authorized to trade")
PASSING = (
    (403, b'{"code":40310000,"message":"insufficient qty available for order (requested: 1, available: 0)",'
          b'"available":"0","existing_qty":"0","held_for_orders":"0"}'),
    (422, b'{"code":42210000,"message":"position intent mismatch, inferred: sell_to_open, specified: sell_to_close"}'),
    (403, b'{"code":40310000,"message":"potential wash trade detected. use complex orders",'
          b'"reject_reason":"opposite side limit order exists"}'),
)  # fmt: skip


class Call:
    """One request on its way."""

    __slots__ = ("asked_at", "body", "client_id", "endpoint", "method", "order_id", "path", "query", "symbol")

    def __init__(self, method: str, path: str, query: dict[str, str], body: bytes, at: float) -> None:
        self.method, self.path, self.query, self.body = method, path, query, body
        self.asked_at = at
        self.endpoint = endpoint_of(path)
        self.symbol = self.client_id = self.order_id = ""
        if self.endpoint == "order":
            self.order_id = path.rpartition("/")[2]


def endpoint_of(path: str) -> str:
    if path.startswith("/v2/orders"):
        rest = path[len("/v2/orders") :]
        return "orders" if not rest else "by client id" if rest.startswith(":") else "order"
    if path.startswith("/v2/account/activities"):
        return "activities"
    if path.startswith(("/v2/stocks/bars", "/v2/aggs")):
        return "history"
    name = path.rpartition("/")[2]
    return name if path == f"/v2/{name}" and name in ("positions", "account", "clock", "calendar") else "other"


class Transport:
    """HTTP as the bot sees it."""

    world: World

    def __init__(self) -> None:
        self._process = self.world.process

    async def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        json: Any,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[int, Mapping[str, str], bytes]:
        world = self.world
        parts = urlsplit(url)
        query = {**dict(pair.split("=", 1) for pair in parts.query.split("&") if pair), **(params or {})}
        call = Call(method, parts.path, query, b"" if json is None else msgspec.json.encode(json), world.elapsed)
        if method == "POST":
            call.symbol, call.client_id = str(json.get("symbol")), str(json.get("client_order_id"))
        elif method in ("DELETE", "PATCH") and (order := world.engine.orders.get(call.order_id)):
            call.symbol = order.symbol
        if method != "GET":
            world.invariants.check_sent(call, json)
            world.on_sent(method)
        answer: asyncio.Future[Response] = world.loop.create_future()
        self._send(call, headers, answer)
        try:
            async with asyncio.timeout(timeout):
                told = await answer
        except (TimeoutError, ConnectionError):
            self._note_unknown(call)
            raise
        if told.status >= 500:
            self._note_unknown(call)
        return told.status, told.headers, told.body

    async def close(self) -> None:
        pass

    def _note_unknown(self, call: Call) -> None:
        if call.method == "POST" and self._process == self.world.process:
            self.world.told.unknown[call.client_id] = (call.symbol, b'"buy"' in call.body, self.world.elapsed)

    def _send(self, call: Call, headers: Mapping[str, str], answer: asyncio.Future[Response]) -> None:
        """Decide what becomes of the request, and let it happen."""
        world, plan, now = self.world, self.world.plan, self.world.elapsed
        out, back = world.rng.uniform(0.005, 0.06), world.rng.uniform(0.005, 0.06)
        does_arrive = does_answer = True
        instead: Response | None = None  # answered by something on the way
        kind = self._fault(call)
        if kind:
            world.hindrances.on_request(call, kind)
        if kind == "post refused":
            words = LASTING[int(plan.rng(kind).random() * len(LASTING))] if b'"sell"' in call.body else "insufficient"
            message = words if words != "insufficient" else "insufficient buying power"
            instead, does_arrive = _error(403, 40310000, message), False
        elif kind == "sell refused for now":
            status, body = PASSING[int(plan.rng(kind).random() * len(PASSING))]
            instead, does_arrive = Response(status, {}, body), False
        elif kind == "connection refused":
            world.loop.call_later(out, _fail, answer)
            return
        elif kind == "request lost":
            return
        elif kind == "request late":
            out = plan.rng(kind).uniform(1.0, LATEST_ARRIVAL)
        elif kind == "answer lost":
            does_answer = False
        elif kind == "answer late":
            back = size(plan.rng(kind), 1.0, 12.0)
        elif kind == "5xx before":
            instead, does_arrive = Response(503, {}, PAGE), False
        elif kind == "5xx after":
            instead = Response(504, {}, PAGE)
        elif kind == "429":
            told = {"Retry-After": "3"} if plan.rng(kind).random() < 0.5 else {}
            instead, does_arrive = Response(429, told, _error(429, 42910000, "rate limit exceeded").body), False
        elif kind == "listing fails":
            instead, does_arrive = Response(*_status(DOWN[0])), False
        elif kind in ENDPOINTS:
            episode = plan.episode(kind, now)
            assert episode is not None
            down = DOWN[int(episode.dice * len(DOWN))]
            does_arrive = False
            if not down[0]:
                return
            instead = Response(*_status(down))
        elif kind == "activities forbidden":
            instead, does_arrive = Response(*_status(DOWN[6] if world.seed % 2 else DOWN[7])), False

        def arrive() -> None:
            if world.is_cut_off(self._process):
                return
            told, is_true = instead, True
            if does_arrive:
                handled, is_true = world.liar.handle(call, headers)
                told = told or handled
            if does_answer:
                assert told is not None
                world.loop.call_later(back, deliver, told, is_true)

        def deliver(told: Response, is_true: bool) -> None:
            if answer.done():
                return
            if self._process == world.process:
                world.told.on_answer(call, told.status, told.body, is_true)
                world.hindrances.on_answer(call, told.status, told.body, is_injected=bool(kind))
                if told.status == 429:
                    world.invariants.on_limited(call.client_id)
            answer.set_result(told)

        world.loop.call_later(out, arrive)

    def _fault(self, call: Call) -> str:
        """The first kind of trouble that strikes this request, "" if none does."""
        world, plan, now = self.world, self.world.plan, self.world.elapsed
        for kind in plan.episodes:
            if ENDPOINTS.get(kind) == (call.method, call.endpoint) and plan.episode(kind, now):
                return kind
        if call.endpoint == "activities" and plan.stands("activities forbidden"):
            plan.struck["activities forbidden"] += 1
            return "activities forbidden"
        if call.method == "POST":
            if plan.strikes("post refused", now):
                return "post refused"
            if b'"sell"' in call.body and world.is_refused_for_now(call.symbol):
                return "sell refused for now"
        for kind in plan.rates:
            if kind in ANY_REQUEST and plan.strikes(kind, now):
                return kind
        if call.method == "GET" and call.endpoint in ("orders", "positions") and plan.strikes("listing fails", now):
            return "listing fails"
        return ""


ANY_REQUEST = frozenset(REQUESTS) - {"post refused"}


class Liar:
    """Answers requests from the exchange's books, or from what the plan makes of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stands_still = (0.0, 0.0)  # as of when positions are listed, and until when: seconds after the start

    def handle(self, call: Call, headers: Mapping[str, str]) -> tuple[Response, bool]:
        """The answer, and whether it is true."""
        answer, is_true = self._answer(call, headers)
        if b'"legs":[' in answer.body and self._world.plan.episode("legs not listed", self._world.elapsed):
            answer = Response(answer.status, answer.headers, _without_legs(answer.body))
        return answer, is_true

    def _answer(self, call: Call, headers: Mapping[str, str]) -> tuple[Response, bool]:
        world, now = self._world, self._world.elapsed
        path, query = call.path, call.query
        lag = 0.0
        if (
            call.method == "GET"
            and call.endpoint == "activities"
            and (episode := world.plan.episode("activities lag", now))
        ):
            lag = LONGEST_LAG ** (0.3 + episode.dice * 1.2)
            query = {**query, "until": wire.utc(world.now() - round(lag * SECOND))}
            world.hindrances.on_claim("activities")
        elif call.endpoint == "history" and (episode := world.plan.episode("history lags", now)):
            path, query = _ending_earlier(path, query, world.now() - round((5 + 55 * episode.dice) * SECOND) - MINUTE)
            world.hindrances.note("data", now + 60)
        answer = world.handle(call.method, path, query, headers, call.body)
        if call.method != "GET" or answer.status != 200:
            return answer, True
        if call.endpoint == "clock":
            return self._clock(answer)
        if call.endpoint in ("order", "by client id"):
            if world.plan.strikes("odd price by id", now):
                return self._odd_price(answer), True
        elif call.endpoint == "positions" or (call.endpoint == "orders" and query.get("status", "open") == "open"):
            return self._listing(call, answer)
        elif call.endpoint == "orders" and world.plan.episode("orders empty", now):
            world.hindrances.on_claim("orders")
            return Response(200, answer.headers, b"[]"), False
        return answer, True

    def _odd_price(self, answer: Response) -> Response:
        order = msgspec.json.decode(answer.body)
        if not Decimal(order["filled_qty"]):
            return answer
        order["filled_avg_price"] = self._world.odd_price("odd price by id")
        self._world.told.odd_at[order["symbol"]] = self._world.elapsed
        return Response(200, answer.headers, msgspec.json.encode(order))

    def _clock(self, answer: Response) -> tuple[Response, bool]:
        world, plan, now = self._world, self._world.plan, self._world.elapsed
        closed = plan.episode("clock says closed", now)
        close = plan.episode("clock says another close", now)
        leap = plan.episode("clock leaps", now)
        if not (closed or close or leap):
            return answer, True
        told = msgspec.json.decode(answer.body)
        if closed:
            tomorrow = world.session.open + 24 * 60 * MINUTE
            told |= {
                "is_open": False,
                "next_open": wire.local(tomorrow),
                "next_close": wire.local(tomorrow + 390 * MINUTE),
            }
        if close and told["is_open"]:
            moved = world.session.close + (-60 + int(180 * close.dice)) * MINUTE
            told["next_close"] = wire.local(max(moved, world.now() + SECOND))
        if leap:
            by = leap.choose(-3600, -300, -30, -5, 5, 30, 110, 400, 3600)
            assert isinstance(by, int)
            told["timestamp"] = wire.local(world.now() + by * SECOND)
        world.hindrances.on_clock(max(e.end for e in (closed, close, leap) if e), leap)
        return Response(200, answer.headers, msgspec.json.encode(told)), False

    def _listing(self, call: Call, answer: Response) -> tuple[Response, bool]:
        """A listing as it was some time ago, empty, with a row too few, or with rows nobody can read."""
        world, plan, now = self._world, self._world.plan, self._world.elapsed
        is_orders = call.endpoint == "orders"
        body = answer.body
        rows: list[Any] | None = None
        when = None
        if not is_orders and now < self._stands_still[1]:
            when = max(self._stands_still[0], now - LONGEST_LAG)
        elif plan.strikes("listing lags", now):
            rng = plan.rng("listing lags")
            when = now - size(rng, 0.2, LONGEST_LAG)
            if not is_orders and rng.random() < STANDS_STILL:
                self._stands_still = (when, min(now + size(rng, 5.0, 600.0), plan.ends_at))
        elif plan.strikes("listings of two instants", now):
            when = now - plan.rng("listings of two instants").uniform(0.0, 1.5)
        if when is not None:
            rows = world.listing_as_of(is_orders, when, call.query)
        name = "orders" if is_orders else "positions"
        one = "order" if is_orders else "position"
        if plan.episode(f"{name} empty", now):
            rows = []
        for kind, is_only in ((f"{'an' if is_orders else 'a'} {one} missing", False), (f"one {one} only", True)):
            if episode := plan.episode(kind, now):
                rows = msgspec.json.decode(body) if rows is None else rows
                symbol = world.symbols[int(episode.dice * len(world.symbols))]
                rows = [row for row in rows if (row.get("symbol") == symbol) == is_only]
        if plan.episode("foreign odd rows", now):
            rows = (msgspec.json.decode(body) if rows is None else rows) + _foreign_rows(is_orders)
        if not is_orders and (episode := plan.episode("own row unreadable", now)):
            rows = msgspec.json.decode(body) if rows is None else rows
            symbol = world.symbols[int(episode.dice * len(world.symbols))]
            for row in rows:
                if row.get("symbol") == symbol:
                    row["qty"] = (None, ABSURD, "NaN", "1e400", "many")[int(episode.dice * 997) % 5]
        if rows is None:
            return answer, True
        told = msgspec.json.encode(rows)
        is_true = told == body or all(kind == "foreign odd rows" for kind in self._on(is_orders, now, when))
        if not is_true:
            world.hindrances.on_claim(name)
        return Response(200, answer.headers, told), is_true

    def _on(self, is_orders: bool, now: float, when: float | None) -> list[str]:
        """The kinds of lies that are on."""
        kinds = ["listing lags"] if when is not None else []
        named = ("orders empty", "an order missing", "one order only") if is_orders else (
            "positions empty", "a position missing", "one position only", "own row unreadable")  # fmt: skip
        return kinds + [kind for kind in (*named, "foreign odd rows") if self._world.plan.episode(kind, now)]


def _without_legs(body: bytes) -> bytes:
    told = msgspec.json.decode(body)
    for row in told if isinstance(told, list) else [told]:
        row["legs"] = None
    return msgspec.json.encode(told)


def _foreign_rows(is_orders: bool) -> list[dict[str, Any]]:
    """An option spread and other rows that have nothing to do with the symbols that are watched."""
    if not is_orders:
        return [
            {"symbol": "ODD261218C00100000", "asset_class": "us_option", "qty": "-2", "side": "short",
             "avg_entry_price": "1.25"},
            {"symbol": "ODDA", "asset_class": "us_equity", "side": "long", "avg_entry_price": "10"},
            {"symbol": "ODDB", "qty": ABSURD, "side": "long", "avg_entry_price": "1e99"},
            {"symbol": None, "qty": None},
        ]  # fmt: skip
    leg = {"id": "5d1f0000-0000-4000-8000-000000000002", "symbol": "ODD261218C00100000", "side": "buy", "qty": "1"}
    parent = {
        "id": "5d1f0000-0000-4000-8000-000000000001", "client_order_id": "5d1f0000-0000-4000-8000-00000000000a",
        "symbol": None, "side": None, "type": "limit", "order_class": "mleg", "qty": "1", "filled_qty": "0",
        "limit_price": "0.55", "status": "new", "submitted_at": "2026-11-20T14:31:00Z", "legs": [leg],
    }  # fmt: skip
    return [
        parent,
        {"id": "5d1f0000-0000-4000-8000-000000000003", "symbol": "ODDA", "side": "buy", "type": "trailing_stop",
         "qty": ABSURD, "filled_qty": "0", "status": "new", "legs": None, "submitted_at": "2026-11-20T14:31:00Z"},
        {"id": None, "symbol": None},
    ]  # fmt: skip


def _ending_earlier(path: str, query: Mapping[str, str], last: int) -> tuple[str, dict[str, str]]:
    """The same question about bars, none of which begins after `last`."""
    if path.startswith("/v2/aggs"):
        head, _, end = path.rpartition("/")
        return f"{head}/{min(int(end), last // 1_000_000)}", dict(query)
    return path, {**query, "end": wire.utc(min(wire.parse_time(query["end"]), last))}


def _error(status: int, code: int, message: str) -> Response:
    return Response(status, {}, msgspec.json.encode({"code": code, "message": message}))


def _status(down: tuple[int, bytes]) -> tuple[int, dict[str, str], bytes]:
    return down[0], {}, down[1]


def _fail(answer: asyncio.Future[Response]) -> None:
    if not answer.done():
        answer.set_exception(ConnectionRefusedError())


class NoOrderConnections(OrderConnections):
    """No connection is ever ready: orders go the way of all requests."""

    def start(self) -> None:
        pass


async def connect(url: str, **options: object) -> Socket:
    """A websocket handshake as the bot sees it; what it returns is a connection, unless the plan says otherwise."""
    world = Transport.world
    await asyncio.sleep(0.03)
    path = urlsplit(url).path.rstrip("/")
    is_orders = path == "/stream"
    if world.elapsed < world.refuse_handshakes_until or (is_orders and world.order_sessions):
        raise InvalidStatus(HandshakeResponse(429, "Too Many Requests", Headers()))
    return Socket(world, "orders" if is_orders else "polygon" if path == "/stocks" else "data")


class Socket:
    """One connection: frames take 10 ms each way, and arrive in order."""

    def __init__(self, world: World, kind: str) -> None:
        self._world = world
        self._kind = kind
        self._frames: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._closed = asyncio.Event()
        self._deliver: Callable[[str | bytes], None] | None = None
        access = world.rest.access
        self.session: StreamClient
        sessions_of: dict[str, list[Any]] = {"orders": world.order_sessions}
        self._sessions = sessions_of.get(kind, world.data_sessions)
        if kind == "orders":
            self.session = OrderStreamClient(access, self._to_bot, self._break)
        elif kind == "polygon":
            self.session = PolygonStreamClient(access, self._to_bot, self._break, claim=self._evict_others)
        else:
            self.session = DataStreamClient(
                access, self._to_bot, self._break, feed="sip", packed=False, claim=self._is_only_one
            )
        self._sessions.append(self.session)
        self.session.opened()

    def _is_only_one(self, session: DataStreamClient) -> bool:
        return not any(other.authenticated for other in self._world.data_sessions if other is not session)

    def _evict_others(self, session: PolygonStreamClient) -> None:
        for other in list(self._world.data_sessions):
            if other is not session and other.authenticated:
                other.evict()

    def _to_bot(self, frame: str | bytes) -> None:
        if self._world.is_mute.get("orders" if self._kind == "orders" else "data", 0.0) <= self._world.elapsed:
            self._world.loop.call_later(0.01, self._arrive, frame)

    def _arrive(self, frame: str | bytes | None) -> None:
        if frame is None:
            self._closed.set()
        elif not self._closed.is_set() and self.session in self._sessions:
            told = self._world.told
            told.on_update(frame) if self._kind == "orders" else told.on_data(frame)
        if self._deliver is None:
            self._frames.put_nowait(frame)
        elif frame is not None and not self._closed.is_set():
            self._deliver(frame)

    def _break(self) -> None:
        if self.session in self._sessions:
            self._sessions.remove(self.session)
            if self._kind == "orders":
                self._world.deaf_since = self._world.elapsed
        self._world.loop.call_later(0.01, self._arrive, None)

    # What `scalp.net.websocket.WebSocket` offers.

    async def recv(self) -> str | bytes:
        frame = None if self._closed.is_set() else await self._frames.get()
        if frame is None:
            raise ConnectionClosedError(None, None)
        return frame

    def deliver(self, handler: Callable[[str | bytes], None]) -> None:
        self._deliver = handler
        while not self._frames.empty():
            frame = self._frames.get_nowait()
            if frame is None:
                self._closed.set()
            elif not self._closed.is_set():
                handler(frame)

    async def wait_closed(self) -> None:
        await self._closed.wait()
        raise ConnectionClosedError(None, None)

    def keep_alive(self, interval: float, patience: float) -> None:
        pass

    async def send(self, frame: str | bytes) -> None:
        if self._closed.is_set():
            raise ConnectionClosedError(None, None)
        self._world.loop.call_later(0.01, self._receive, frame)

    async def close(self, patience: float) -> None:
        self._break()

    def _receive(self, frame: str | bytes) -> None:
        if self.session not in self._sessions:
            return
        world = self._world
        kind = "order logins refused" if self._kind == "orders" else "data logins refused"
        if not self.session.authenticated and (episode := world.plan.episode(kind, world.elapsed)):
            self._refuse(episode)
            return
        world.pump()
        was_listening = getattr(self.session, "listening", False)
        self.session.receive(frame)
        if not was_listening and getattr(self.session, "listening", False):
            world.heard_since = world.elapsed

    def _refuse(self, episode: Episode) -> None:
        """A login is turned down, although the keys are good."""
        self._world.hindrances.note("orders" if self._kind == "orders" else "data", episode.end + 30)
        if self._kind == "orders":
            data = {"status": "unauthorized", "action": "authenticate"}
            self.session.send(msgspec.json.encode({"stream": "authorization", "data": data}))
        elif self._kind == "polygon":
            told = {"ev": "status", "status": "auth_failed", "message": "authentication failed"}
            self.session.send(msgspec.json.encode([told]).decode())
        else:
            code = episode.choose(402, 406)
            self.session.send(msgspec.json.encode([{"T": "error", "code": code, "msg": "auth failed"}]).decode())
