"""One simulated session: the exchange, the network, the person at the dashboard, and the bot's process.

The bot is `main.trade`, unchanged. In place of the websocket and HTTP libraries it gets `Network`, which carries its
requests to the matching engine, loses, delays and garbles them as the session's plan says, and goes on doing so when
the process is killed: what was sent stays sent. Time is the virtual time of a `JumpingLoop`.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import functools
import logging
import random
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Response as HandshakeResponse

import main
from scalp.algo import ScalpAlgo
from scalp.alpaca.lane import OrderLane
from scalp.errors import UserError
from scalp.exchange import wire
from scalp.exchange.calendar import SessionDay
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Order, OrderRequest, Update
from scalp.exchange.path import Print
from scalp.exchange.rest import Access, Response, Rest
from scalp.exchange.rules import Refusal
from scalp.exchange.simulation import Listener, Simulation
from scalp.exchange.streams import DataSession, OrderSession, Session
from scalp.exchange.tape import Tape
from scalp.fleet import Fleet
from scalp.loops import JumpingLoop
from scalp.messages import MINUTE, SECOND, Bar
from scalp.reconcile import Reconciler
from scalp.settings import Endpoints, Settings
from tests.simulation import rails
from tests.simulation.faults import Plan
from tests.simulation.invariants import Invariants

LOT = Decimal(2000)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
OPEN = int(dt.datetime(2026, 11, 20, 9, 30, tzinfo=dt.timezone(dt.timedelta(hours=-5))).timestamp()) * SECOND
FULL_DAY = SessionDay(dt.date(2026, 11, 20), OPEN, OPEN + 390 * MINUTE)
LATEST_ARRIVAL = 6.0  # seconds after which nothing that was sent before still arrives
AFTER_CLOSE = 20.0
MARKETS = 40  # different days of prices

log = logging.getLogger("scalp.world")


class EagerAlgo(ScalpAlgo):
    """The built-in signal, and about one minute in five besides, so that a session has a lot to get wrong."""

    warmup_bars = 5

    def _calculate_buy_signal(self) -> bool:
        draw = zlib.crc32(f"{self.symbol}{self.minutes}".encode())
        if self.symbol == "EEE" and draw % 3 == 0:
            raise RuntimeError("a custom signal that fails")
        return draw % 5 == 0 or super()._calculate_buy_signal()


@functools.cache
def _market(symbols: tuple[str, ...], seed: int) -> dict[str, list[Bar]]:
    return synthetic_day(symbols, FULL_DAY, seed)


class Snapshot(msgspec.Struct):
    """What the listings would have said at some time."""

    at: float
    orders: list[Order]
    positions: dict[str, tuple[Decimal, Decimal]]


class World(Listener):
    def __init__(self, seed: int, without: frozenset[str] = frozenset(), minutes: int | None = None) -> None:
        self.rng = random.Random(f"world {seed}")
        self.loop = asyncio.get_running_loop()
        self.minutes = minutes or self.rng.choice((60, 75, 90))
        self.plan = Plan.draw(random.Random(f"plan {seed}"), self.minutes, without)
        count = self.rng.choice((1, 2, 2, 3, 5))
        self.symbols = SYMBOLS[-count:] if self.rng.random() < 0.3 else SYMBOLS[:count]
        # A piece of a full day, with its own open or close: the opening burst, midday or the closing one.
        start = OPEN + self.rng.choice((0, 150, 390 - self.minutes)) * MINUTE
        opened = start if self.rng.random() < 0.5 else max(OPEN, start - 30 * MINUTE)
        self.session = SessionDay(FULL_DAY.date, opened, start + self.minutes * MINUTE)
        market = {
            symbol: [bar for bar in bars if opened <= bar.start < self.session.close]
            for symbol, bars in _market(self.symbols, seed % MARKETS).items()
        }
        self.engine = Engine(opened, self.session.close, self.symbols, shorting=True, now=start, seed=seed)
        tape = Tape(market, start, trades_per_minute=self.rng.choice((2, 10)))
        self.simulation = Simulation(market, self.engine, tape=tape, calendar=self._calendar)
        self.simulation.listener = self
        self.rest = Rest(self.simulation, Access(trading_limit=self.rng.choice((200, 200, 60))))
        self.start = start
        self.zero = self.loop.time()
        self.order_sessions: list[OrderSession] = []
        self.data_sessions: list[DataSession] = []
        self.refuse_handshakes_until = 0.0
        self.is_mute: dict[str, float] = {}  # stream -> until when it says nothing
        self.snapshots: deque[Snapshot] = deque(maxlen=200)
        self.bot: asyncio.Task[int] | None = None
        self.bot_since = 0.0
        self.exit_code: int | None = None
        self.by_hand: set[str] = set()  # symbols in which a person has traded
        self.requests = 0
        self._updates = 0
        self._timer: asyncio.TimerHandle | None = None
        self.changes = 0  # of orders and positions at the exchange
        self.changed_at = 0.0
        self.fleet: Fleet | None = None  # the running bot's
        self.stale_listings = 0
        self.deaf_since = 0.0  # since when no order stream is listening
        self.rng_late = float("-inf")  # when the last request went out that arrives late
        self.longest_backoff = 0.0
        self.limits = rails.draw(seed, start, self.minutes)
        self.invariants = Invariants(self)
        emit, submit = self.engine._emit, self.engine.submit

        def emit_and_check(*args: Any, **kwargs: Any) -> None:
            emit(*args, **kwargs)
            self._remember()
            self.check()

        def submit_and_check(request: OrderRequest) -> Order:
            if request.client_order_id.startswith("scalp-"):
                self.invariants.check_submit(request)
            return submit(request)

        self.engine._emit = emit_and_check  # type: ignore[method-assign]
        self.engine.submit = submit_and_check  # type: ignore[method-assign]
        self._remember()

    # -- time ---------------------------------------------------------------------------------------------------------

    def _calendar(self, start: dt.date, end: dt.date) -> list[SessionDay]:
        days = [self.session]
        for n in range(1, 10):
            shift = n * 86400 * SECOND
            date = self.session.date + dt.timedelta(days=n)
            days.append(SessionDay(date, FULL_DAY.open + shift, FULL_DAY.close + shift))
        return [day for day in days if start <= day.date <= end]

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.loop.time() - self.zero

    def now(self) -> int:
        return max(self.engine.now, self.start + round(self.elapsed * SECOND))

    def pump(self, due: int = 0) -> None:
        """Let the market move until now, and come back when it moves next."""
        self.simulation.advance(max(self.now(), due))
        for session in self.data_sessions:
            session.flush()
        if self._timer is not None:
            self._timer.cancel()
        upcoming = self.simulation.next_time()
        if upcoming is not None:
            self._timer = self.loop.call_at(self.zero + (upcoming - self.start) / SECOND, self.pump, upcoming)

    # -- what the market tells ----------------------------------------------------------------------------------------

    def on_update(self, update: Update) -> None:
        now = self.elapsed
        if self.plan.strikes("update lost", now, 35.0):
            return
        delays = [0.0]
        if self.plan.strikes("update late", now, 10.0):
            delays = [self.rng.uniform(0.1, 8.0)]
        if self.plan.strikes("update doubled", now, 10.0):
            delays.append(self.rng.uniform(0.0, 8.0))
        for delay in delays:
            self.loop.call_later(delay, self._tell_update, update)

    def _tell_update(self, update: Update) -> None:
        self._updates += 1
        message = wire.update(update, self.now(), self._updates, self.engine.assets)
        for session in self.order_sessions:
            session.on_update(message)

    def on_print(self, symbol: str, made: Print) -> None:
        for session in self.data_sessions:
            session.on_print(symbol, made)
        self.invariants.rails.on_print(symbol, made.price)

    def on_bar(self, bar: Bar, corrected: bool) -> None:
        for session in self.data_sessions:
            session.on_bar(bar, corrected)

    def on_status(self, symbol: str, at: int, halted: bool) -> None:
        for session in self.data_sessions:
            session.on_status(symbol, at, halted)
            session.flush()

    # -- requests -----------------------------------------------------------------------------------------------------

    def handle(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Response:
        self.pump()
        answer = self.rest.handle(method, path, query, headers, body)
        if method == "POST" and answer.status == 403:
            self.longest_backoff = 960.0  # refused by the rules: the bot may back off
        self.pump()
        return answer

    def check(self) -> None:
        self.invariants.check()

    def _remember(self) -> None:
        self.changes += 1
        self.changed_at = self.elapsed
        account = self.engine.account
        positions = {s: (p.qty, p.avg_entry_price) for s, p in account.positions.items()}
        orders = [copy.copy(order) for order in self.engine.open_orders()]
        self.snapshots.append(Snapshot(self.elapsed, orders, positions))

    def as_of(self, when: float) -> Snapshot:
        """The listings as they were at `when`."""
        for snapshot in reversed(self.snapshots):
            if snapshot.at <= when:
                return snapshot
        return self.snapshots[0]

    def stale_listing(self, path: str, when: float) -> Response:
        snapshot = self.as_of(when)
        if path.endswith("/orders"):
            rows = [wire.order(order, self.engine.assets) for order in snapshot.orders]
        else:
            rows = [
                {"symbol": s, "qty": str(qty), "avg_entry_price": str(price), "side": "long" if qty > 0 else "short"}
                for s, (qty, price) in snapshot.positions.items()
            ]
        return Response(200, {}, msgspec.json.encode(rows))

    # -- events of the plan -------------------------------------------------------------------------------------------

    def schedule_events(self) -> None:
        happenings: dict[str, Callable[[], float | None]] = {
            "orders stream dropped": lambda: self._drop(self.order_sessions),
            "data stream dropped": lambda: self._drop(self.data_sessions),
            "orders stream mute": lambda: self._mute("orders"),
            "data stream mute": lambda: self._mute("data"),
            "streams flapping": self._flap,
            "handshakes refused": self._refuse_handshakes,
            "order rejected by the venue": self._reject,
            "halt": self._halt,
            "hand buys": lambda: self._by_hand("buy", "market"),
            "hand buys in a gap of the stream": self._buy_in_gap,
            "hand places a limit buy": lambda: self._by_hand("buy", "limit"),
            "hand sells": lambda: self._by_hand("sell", "market"),
            "hand cancels": self._cancel_by_hand,
            "hand replaces": self._replace_by_hand,
        }
        for kind, happen in happenings.items():
            for at in self.plan.times(kind):
                self.loop.call_later(at, self._happen, kind, happen)

    def _happen(self, kind: str, happen: Callable[[], float | None]) -> None:
        self.pump()
        if self.now() >= self.session.close:
            return
        lasts = happen()
        if lasts is not None:
            log.info("FAULT %s", kind)
            self.plan.note(kind, self.elapsed + lasts)
        self.pump()

    def _drop(self, sessions: list[Any]) -> float | None:
        if not sessions:
            return None
        for session in list(sessions):
            session.close()
        return 40.0

    def _mute(self, kind: str) -> float:
        lasts = self.rng.choice((10.0, 60.0, 240.0))
        self.is_mute[kind] = self.elapsed + lasts
        return lasts + (240.0 if kind == "data" else 40.0)

    def _flap(self) -> float:
        for n in range(6):
            self.loop.call_later(2.0 * n, self._drop, self.order_sessions)
            self.loop.call_later(2.0 * n + 1, self._drop, self.data_sessions)
        return 60.0

    def _refuse_handshakes(self) -> float:
        lasts = self.rng.uniform(5, 90)
        self.refuse_handshakes_until = self.elapsed + lasts
        self._drop(self.order_sessions)
        return lasts + 40.0

    def _reject(self) -> float | None:
        orders = self.engine.open_orders()
        if not orders:
            return None
        self.engine.reject(self.rng.choice(orders).id)
        self.longest_backoff = 960.0
        return 40.0

    def _halt(self) -> float | None:
        symbol = self.rng.choice(self.symbols)
        if self.engine.is_halted(symbol):
            return None
        lasts = self.rng.uniform(60, 400)
        self.simulation.halt(symbol)
        self.loop.call_later(lasts, self._resume, symbol)
        return lasts

    def _resume(self, symbol: str) -> None:
        self.pump()
        self.simulation.resume(symbol)

    def _by_hand(self, side: str, kind: str) -> float | None:
        symbol = self.rng.choice(self.symbols)
        last = self.engine.last_price(symbol)
        held = self.engine.account.held(symbol)
        qty = Decimal(self.rng.randint(1, 20)) if side == "buy" else held
        if last is None or qty <= 0:
            return None
        limit = round(last * Decimal("0.999"), 2) if kind == "limit" else None
        request = OrderRequest(symbol, side, kind, "day", qty, limit_price=limit)
        with suppress(Refusal):
            self.engine.submit(request)
            self.by_hand.add(symbol)
            return 160.0
        return None

    def _buy_in_gap(self) -> float | None:
        self._drop(self.order_sessions)
        return self._by_hand("buy", "market")

    def _cancel_by_hand(self) -> float | None:
        orders = self.engine.open_orders()
        if not orders:
            return None
        with suppress(Refusal):
            self.engine.cancel(self.rng.choice(orders).id)
            return 40.0
        return None

    def _replace_by_hand(self) -> float | None:
        orders = [order for order in self.engine.open_orders() if order.type == "limit"]
        if not orders:
            return None
        order = self.rng.choice(orders)
        assert order.limit_price is not None
        with suppress(Refusal):
            self.engine.replace(order.id, limit_price=order.limit_price + Decimal("0.01"))
            self.by_hand.add(order.symbol)
            return 160.0
        return None

    # -- the process --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The whole session; raises Violation."""
        self.pump()
        self.schedule_events()
        kills = self.plan.times("process killed")
        settings = Settings(symbols=self.symbols, lot=LOT, seed=1, rails=self.limits)
        url = "http://127.0.0.1"
        endpoints = Endpoints(url, url, "ws://127.0.0.1", "KEY", "SECRET", feed="sip")
        while self.now() < self.session.close:
            stop = SimpleNamespace(within=self._never, exit_code=130)
            console = SimpleNamespace(now=None)
            self.bot = self.loop.create_task(main.trade(settings, endpoints, console, stop))  # type: ignore[arg-type]
            self.bot_since = self.elapsed
            self.fleet = None
            log.info("PROCESS started")
            while kills and kills[0] <= self.elapsed:
                kills.pop(0)
            wait = kills[0] - self.elapsed if kills else None
            violated = self.loop.create_task(self.invariants.violated.wait())
            done, _ = await asyncio.wait([self.bot, violated], timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            violated.cancel()
            if self.invariants.violation is not None:
                raise self.invariants.violation
            if not done:
                log.info("FAULT process killed")
                down = self.rng.uniform(LATEST_ARRIVAL + 1, 25.0)
                self.plan.note("process killed", self.elapsed + down + 40)
                self.bot.cancel()
                with suppress(asyncio.CancelledError):
                    await self.bot
                self._drop(self.order_sessions)
                self._drop(self.data_sessions)
                self.bot = None
                await asyncio.sleep(down)
                continue
            try:
                self.exit_code = self.bot.result()
            except UserError as error:
                log.info("PROCESS could not start: %s", error)
                self.exit_code = 2
            self.bot = None
            log.info("PROCESS ended with %s", self.exit_code)
            if self.exit_code == 1 and self.now() < self.session.close:
                self.invariants.no_part_may_die()
                break
            await asyncio.sleep(10.0)
        while self.elapsed < (self.session.close - self.start) / SECOND + AFTER_CLOSE:
            await asyncio.sleep(1.0)
        self.pump()
        self.invariants.check_end()
        if self.invariants.violation is not None:
            raise self.invariants.violation

    async def _never(self, seconds: float, unless: asyncio.Future[Any] | None = None) -> bool:
        if unless is not None:
            await asyncio.wait({unless}, timeout=seconds)
            return False
        await asyncio.sleep(seconds)
        self.check()
        if self.bot is not None and self.fleet is not None:
            self.invariants.check_liveness(self.fleet)
        return False


class Transport:
    """HTTP as the bot sees it: what it sends is the network's, whatever becomes of the bot."""

    world: World

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
        body = b"" if json is None else msgspec.json.encode(json)
        answer: asyncio.Future[Response] = world.loop.create_future()
        world.requests += 1
        self._send(method, parts.path, query, headers, body, answer)
        async with asyncio.timeout(timeout):
            told = await answer
        return told.status, told.headers, told.body

    async def close(self) -> None:
        pass

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        answer: asyncio.Future[Response],
    ) -> None:
        world, plan, now = self.world, self.world.plan, self.world.elapsed
        out, back = world.rng.uniform(0.005, 0.06), world.rng.uniform(0.005, 0.06)
        does_arrive = does_answer = True
        instead: Response | None = None  # answered by something on the way
        is_listing = method == "GET" and path in ("/v2/orders", "/v2/positions")
        stale: float | None = None
        if method == "POST" and plan.strikes("post refused", now, 65.0):
            world.longest_backoff = 960.0
            instead = Response(403, {}, b'{"code":40310000,"message":"insufficient buying power"}')
            does_arrive = False
        elif plan.strikes("connection refused", now, 65.0):
            world.loop.call_later(out, _fail, answer)
            return
        elif plan.strikes("request lost", now, 65.0):
            return
        elif plan.strikes("request late", now, 65.0):
            out = world.rng.uniform(1.0, LATEST_ARRIVAL)
            world.rng_late = now + out
        elif plan.strikes("answer lost", now, 65.0):
            does_answer = False
        elif plan.strikes("answer late", now, 65.0):
            back = world.rng.uniform(1.0, 12.0)
        elif plan.strikes("5xx before", now, 65.0):
            instead, does_arrive = Response(503, {}, b"<html><body>503</body></html>"), False
        elif plan.strikes("5xx after", now, 65.0):
            instead = Response(504, {}, b"<html><body>504</body></html>")
        elif plan.strikes("429", now, 65.0):
            headers_429 = {"Retry-After": "3"} if world.rng.random() < 0.5 else {}
            instead, does_arrive = (
                Response(429, headers_429, b'{"code":42910000,"message":"rate limit exceeded"}'),
                False,
            )
        elif is_listing and plan.strikes("listing fails", now, 65.0):
            instead, does_arrive = (
                Response(500, {}, b'{"code":50010000,"message":"internal server error occurred"}'),
                False,
            )
        elif is_listing and plan.strikes("listing lags", now, 65.0):
            stale = 3.0
        elif is_listing and plan.strikes("listings of two instants", now, 65.0):
            stale = world.rng.uniform(0.0, 1.5)

        def arrive() -> None:
            told = instead
            if does_arrive:
                handled = world.handle(method, path, query, headers, body)
                told = told or handled
            if stale is not None and does_arrive and told is not None and told.status == 200:
                world.stale_listings += 1
                told = world.stale_listing(path, world.elapsed - stale)
            if does_answer:
                world.loop.call_later(back, _answer, answer, told)

        world.loop.call_later(out, arrive)


class NoLane(OrderLane):
    """No connection is ever ready: orders go the way of all requests."""

    def start(self) -> None:
        pass


def _answer(answer: asyncio.Future[Response], told: Response) -> None:
    if not answer.done():
        answer.set_result(told)


def _fail(answer: asyncio.Future[Response]) -> None:
    if not answer.done():
        answer.set_exception(ConnectionRefusedError())


async def connect(url: str, **options: object) -> Socket:
    """A websocket handshake as the bot sees it; what it returns is a connection, unless the plan says otherwise."""
    world = Transport.world
    await asyncio.sleep(0.03)
    is_orders = urlsplit(url).path.rstrip("/") == "/stream"
    if world.elapsed < world.refuse_handshakes_until or (is_orders and world.order_sessions):
        raise InvalidStatus(HandshakeResponse(429, "Too Many Requests", Headers()))
    return Socket(world, "orders" if is_orders else "data")


class Socket:
    """One connection: frames take 10 ms each way, and arrive in order."""

    def __init__(self, world: World, kind: str) -> None:
        self._world = world
        self._kind = kind
        self._frames: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._closed = asyncio.Event()
        self._deliver: Callable[[str | bytes], None] | None = None
        access = world.rest.access
        self.session: Session
        if kind == "orders":
            orders = OrderSession(access, self._to_bot, self._break)
            self.session = orders
            self._sessions: list[Any] = world.order_sessions
        else:
            self._sessions = world.data_sessions
            self.session = DataSession(
                access, self._to_bot, self._break, feed="sip", packed=False, claim=self._is_only_one
            )
        self._sessions.append(self.session)
        self.session.opened()

    def _is_only_one(self, session: DataSession) -> bool:
        return not any(other.authenticated for other in self._world.data_sessions if other is not session)

    def _to_bot(self, frame: str | bytes) -> None:
        if self._world.is_mute.get(self._kind, 0.0) <= self._world.elapsed:
            self._world.loop.call_later(0.01, self._arrive, frame)

    def _arrive(self, frame: str | bytes | None) -> None:
        if frame is None:
            self._closed.set()
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

    # What `scalp.websocket.WebSocket` offers.

    async def recv(self) -> str | bytes:
        frame = None if self._closed.is_set() else await self._frames.get()
        if frame is None:
            raise ConnectionClosedError(None, None)
        return frame

    def deliver(self, handler: Callable[[str | bytes], None]) -> None:
        self._deliver = handler
        while not self._frames.empty():
            self._arrive(self._frames.get_nowait())

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
        if self.session in self._sessions:
            self._world.pump()
            self.session.receive(frame)


class ObservedReconciler(Reconciler):
    """Compares belief and truth after every reconciliation during which the truth stood still and was told."""

    world: World

    async def reconcile(self) -> bool:
        world = self.world
        world.fleet = self._fleet
        before = world.changes, world.stale_listings
        is_settled = await super().reconcile()
        if is_settled and before == (world.changes, world.stale_listings):
            world.invariants.check_belief(self._fleet)
        return is_settled


def simulate(
    seed: int, without: frozenset[str] = frozenset(), minutes: int | None = None, algo: type[ScalpAlgo] = EagerAlgo
) -> World:
    """Run the session of `seed`; raises Violation with the world attached."""
    worlds: list[World] = []

    async def run() -> None:
        world = World(seed, without, minutes)
        worlds.append(world)
        Transport.world = ObservedReconciler.world = world
        await world.run()

    with (
        patch("scalp.stream.connect", connect),
        patch("scalp.alpaca.rest.HttpTransport", Transport),
        patch("scalp.alpaca.rest.OrderLane", NoLane),
        patch("scalp.session.Reconciler", ObservedReconciler),
        patch("main.algo_class", algo),
        asyncio.Runner(loop_factory=JumpingLoop) as runner,
    ):
        runner.run(run())
    return worlds[0]
