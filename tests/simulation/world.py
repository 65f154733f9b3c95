"""One simulated session: the exchange, the people and programs that use the same account, and the bot's process.

The bot is `main.trade`, unchanged. In place of the websocket and HTTP libraries it gets what `network` holds, and time
is virtual. What goes wrong is drawn from the session's seed, see `faults`.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import functools
import logging
import random
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from signal import SIGTERM
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgspec

import main
from scalp.cli.settings import ON_EXIT, Endpoints, Settings
from scalp.core.algo import ScalpAlgo
from scalp.core.errors import UserError
from scalp.core.fleet import Fleet
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange import wire
from scalp.exchange.calendar import SessionDay
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Order, OrderRequest, Update
from scalp.exchange.path import Print
from scalp.exchange.rest import Access, Response, Rest
from scalp.exchange.simulation import Listener, Simulation
from scalp.exchange.streams import OrderStreamClient
from scalp.exchange.tape import Tape
from scalp.live.shutdown import Shutdown
from scalp.live.trader import Trader
from tests.simulation import own_exits, risk_rules, stop_faults
from tests.simulation.faults import Plan, size
from tests.simulation.happenings import Happenings
from tests.simulation.hindrances import Hindrances
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.network import ABSURD, LATEST_ARRIVAL, LONGEST_LAG, Liar, NoOrderConnections, Transport, connect
from tests.simulation.stop_faults import StickyFills, StopFaults
from tests.simulation.timing import SimulatedLoop, Stuck
from tests.simulation.told import Told, is_bots

LOT = Decimal(2000)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
ELSEWHERE = "ZZZ"  # not watched; another program trades it
OPEN = int(dt.datetime(2026, 11, 20, 9, 30, tzinfo=dt.timezone(dt.timedelta(hours=-5))).timestamp()) * SECOND
FULL_DAY = SessionDay(dt.date(2026, 11, 20), OPEN, OPEN + 390 * MINUTE)
DAY = 1440 * MINUTE
LATER_DAYS = [
    SessionDay(FULL_DAY.date + dt.timedelta(days=n), FULL_DAY.open + n * DAY, FULL_DAY.close + n * DAY)
    for n in range(1, 10)
]
MARKETS = 8  # different days of prices
LONGEST_END = 200.0  # seconds after the close by which the process must have ended
NOTICED_AFTER = 180  # seconds without any bar, while trades come
UPDATE_FELT = 60.0  # seconds: the bot may make a new connection for an update that did not come
TICK = 9.0  # seconds between two looks while nothing happens
POLYGON, REAL_SIGNAL = 0.2, 0.2  # of the seeds

log = logging.getLogger("scalp.world")


class EagerAlgo(ScalpAlgo):
    """The built-in signal, and about one minute in three besides, so that a session has a lot to get wrong."""

    warmup_bars = 5

    def _calculate_buy_signal(self) -> bool:
        draw = zlib.crc32(f"{self.symbol}{len(self.session_bars)}".encode())
        if self.symbol == "EEE" and draw % 3 == 0:
            raise RuntimeError("a custom signal that fails")
        return draw % 3 == 0 or super()._calculate_buy_signal()


@functools.cache
def _market(symbols: tuple[str, ...], seed: int) -> dict[str, list[Bar]]:
    return synthetic_day(symbols, FULL_DAY, seed)


class Asked(Shutdown):
    """Asked to stop by the world, not by a signal."""

    def __init__(self) -> None:
        super().__init__()
        self._is_asked: asyncio.Future[None] = self._loop.create_future()

    def ask(self) -> None:
        self._on_signal(SIGTERM)
        self._is_asked.set_result(None)

    async def within(self, seconds: float, unless: asyncio.Future[Any] | None = None) -> bool:
        self._is_awaited = True
        waits_for = {self._is_asked} if unless is None else {self._is_asked, unless}
        await asyncio.wait(waits_for, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return self.is_set


class Snapshot(msgspec.Struct):
    """What the listings would have said at some time."""

    at: float
    orders: list[Order]
    positions: dict[str, tuple[Decimal, Decimal]]


class World(Listener):
    def __init__(
        self,
        seed: int,
        without: frozenset[str] = frozenset(),
        only: frozenset[str] | None = None,
        minutes: int | None = None,
        algo: type[ScalpAlgo] | None = None,
    ) -> None:
        self.seed = seed
        self.rng = rng = random.Random(f"world {seed}")
        self.loop = asyncio.get_running_loop()
        self.minutes = minutes or rng.choice((10, 12, 14, 18, 26))
        self.plan = Plan.draw(seed, self.minutes, without, only)
        count = rng.choice((1, 1, 2, 2, 3, 4))
        self.symbols = SYMBOLS[-count:] if rng.random() < 0.3 else SYMBOLS[:count]
        drawn = ScalpAlgo if rng.random() < REAL_SIGNAL else EagerAlgo
        self.algo = algo or own_exits.draw(seed, EagerAlgo) or drawn
        # A piece of a full day, with its own open or close: the opening burst, midday or the closing one.
        start = OPEN + rng.choice((0, 150, 390 - self.minutes)) * MINUTE
        opened = start if rng.random() < 0.2 and self.algo is not ScalpAlgo else max(OPEN, start - 30 * MINUTE)
        self.session = SessionDay(FULL_DAY.date, opened, start + self.minutes * MINUTE)
        listed = (*self.symbols, ELSEWHERE) if self.plan.stands("another program elsewhere") else self.symbols
        day = {symbol: _market((symbol,), seed % MARKETS)[symbol] for symbol in listed}
        market = self.market = {
            symbol: [bar for bar in bars if opened <= bar.start < self.session.close] for symbol, bars in day.items()
        }
        self.fills = StickyFills(stuck=set(), outages=set())
        self.engine = Engine(
            opened,
            self.session.close,
            listed,
            shorting=True,
            heeds_intent=not self.plan.stands("position intent ignored"),
            fills=self.fills,
            now=start,
            seed=seed,
        )
        tape = Tape(market, start, trades_per_minute=rng.choice((2, 4)))
        self.simulation = Simulation(market, self.engine, tape=tape, calendar=self._calendar)
        self.simulation.listener = self
        self.polygon = rng.random() < POLYGON
        self.rest = Rest(self.simulation, Access(trading_limit=rng.choice((200, 200, 60))))
        self.on_exit = rng.choice(list(ON_EXIT))
        self.start = start
        self.zero = self.loop.time()
        self.order_sessions: list[OrderStreamClient] = []
        self.data_sessions: list[Any] = []  # Alpaca's or Polygon's
        self.refuse_handshakes_until = 0.0
        self._statuses: defaultdict[str, list[tuple[int, bool]]] = defaultdict(list)  # since when, whether it is halted
        self.is_mute: dict[str, float] = {}  # stream -> until when it says nothing
        self.remembers = any(kind in self.plan.rates for kind in ("listing lags", "listings of two instants"))
        self.snapshots: deque[Snapshot] = deque(maxlen=400)
        self._refused_until: dict[str, float] = {}  # symbol -> until when its sells are refused for now
        self.bot: asyncio.Task[int] | None = None
        self.process = 0  # counts the processes that were started
        self._cut_off = 0  # requests of processes up to this one arrive no more
        self.bot_since = 0.0
        self._upset: asyncio.Future[str] = self.loop.create_future()
        self._waits_for: tuple[str, str] | None = None  # a kind of trouble that strikes at the next order, or cancel
        self._waits_for_fill: tuple[Callable[[str], bool], str] | None = None
        self.kills_at_start = 0  # so many of the next processes are killed soon after their start
        self.stop: Asked | None = None
        self.stopped_at: float | None = None  # when the running process was asked to stop
        self.exit_code: int | None = None  # of the last process that got as far as trading
        self.touched: dict[str, float] = {}  # symbol -> when somebody else last traded in it
        self.trading: Trader | None = None  # the running bot's
        self.deaf_since = self.heard_since = 0.0  # since when no order stream is listening, or one is
        self.close_moved_at = float("-inf")
        self.must_have: dict[str, set[int]] = {symbol: set() for symbol in self.symbols}  # see `on_bar`
        self._kept_back: list[Bar] = []  # since the bars stopped, while trades went on
        self._updates = 0
        self._timer: asyncio.TimerHandle | None = None
        self._moves_at: int | None = None  # when the market moves next, exchange time
        self._day: dict[str, float] = {}  # volume by symbol, for Polygon's bars
        self.limits = stop_faults.draw(seed, risk_rules.draw(seed, start, self.minutes), only)
        if self.limits.stop is not None and self.limits.stop.is_at_broker:
            self.plan.draw_groups(seed, without, only)
        self.hindrances = Hindrances(self)
        self.told = Told(self)
        self.liar = Liar(self)
        self.invariants = Invariants(self)
        self.happenings = Happenings(self)
        self.stop_faults = StopFaults(self)
        self._watch_engine()
        self._remember()

    def _watch_engine(self) -> None:
        emit, submit = self.engine._emit, self.engine.submit

        def emit_and_check(event: str, order: Order, *args: Any, **kwargs: Any) -> None:
            emit(event, order, *args, **kwargs)
            self.told.on_event(event, order)
            self.stop_faults.on_event(event, order)
            self.invariants.stops.on_event(event, order)
            if order.side == "sell" and event in ("fill", "partial_fill"):
                self.hindrances.on_sold(order.symbol)
                self.invariants.stops.on_sold(order.symbol)
            elif event == "fill" and is_own(order) and self._waits_for_fill is not None:
                (happen, kind), self._waits_for_fill = self._waits_for_fill, None
                if happen(order.symbol):
                    log.info("FAULT %s", kind)
                    self.plan.struck[kind] += 1
            elif event == "fill" and self.plan.strikes("sell refused for now", self.elapsed):
                lasts = self.plan.rng("sell refused for now").uniform(0.2, 10.0)
                self._refused_until[order.symbol] = self.elapsed + lasts
            elif event == "pending_new" and order.type == "market" and order.side == "sell" and is_own(order):
                episode = self.plan.episode("market orders stuck", self.elapsed)
                if episode:
                    self.fills.stuck.add(order.id)
                    self.loop.call_later(max(1.0, episode.end - self.elapsed), self.fills.stuck.discard, order.id)
            self._remember()
            self.check(order.symbol)

        def submit_and_check(request: OrderRequest) -> Order:
            if is_bots(request.client_order_id):
                self.invariants.check_submit(request)
                self.stop_faults.check(request)
            return submit(request)

        self.engine._emit = emit_and_check  # type: ignore[method-assign]
        self.engine.submit = submit_and_check  # type: ignore[method-assign]

    # -- time ---------------------------------------------------------------------------------------------------------

    def _calendar(self, start: dt.date, end: dt.date) -> list[SessionDay]:
        return [day for day in (self.session, *LATER_DAYS) if start <= day.date <= end]

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.loop.time() - self.zero

    @property
    def until_close(self) -> float:
        """Seconds."""
        return (self.session.close - self.now()) / SECOND

    def now(self) -> int:
        return max(self.engine.now, self.start + round(self.elapsed * SECOND))

    def pump(self, due: int = 0) -> None:
        """Let the market move until now, and come back when it moves next."""
        self.simulation.advance(max(self.now(), due))
        for session in self.data_sessions:
            session.flush()
        upcoming = self.simulation.next_time()
        if upcoming == self._moves_at and not due:
            return
        self._moves_at = upcoming
        if self._timer is not None:
            self._timer.cancel()
        if upcoming is not None:
            self._timer = self.loop.call_at(self.zero + (upcoming - self.start) / SECOND, self.pump, upcoming)

    # -- what the market tells ----------------------------------------------------------------------------------------

    def on_update(self, update: Update) -> None:
        now, plan = self.elapsed, self.plan
        if self.stop_faults.is_untold(update):
            return
        if plan.strikes("update lost", now):
            self.hindrances.note("orders", now + UPDATE_FELT)
            return
        delays = [0.0]
        if plan.strikes("update late", now):
            delays = [size(plan.rng("update late"), 0.1, 600.0)]
            self.hindrances.note("orders", now + delays[0] + UPDATE_FELT)
        if plan.strikes("update doubled", now):
            delays.append(size(plan.rng("update doubled"), 0.1, 60.0))
        odd = ""
        if update.price is not None and plan.strikes("odd price in an update", now):
            odd = self.odd_price("odd price in an update")
        for delay in delays:
            if delay:
                self.loop.call_later(delay, self._tell_update, update, odd, True)
            else:
                self._tell_update(update, odd)

    def _tell_update(self, update: Update, odd: str, is_old: bool = False) -> None:
        if not self.order_sessions:
            return
        if is_old:
            self.told.stirred_at[update.order.symbol] = self.elapsed
        self._updates += 1
        message = wire.update(update, self.now(), self._updates, self.engine.assets)
        if odd:
            message["data"]["price"] = message["data"]["order"]["filled_avg_price"] = odd
            self.told.odd_at[update.order.symbol] = self.elapsed
        for session in self.order_sessions:
            session.on_update(message)

    def odd_price(self, kind: str) -> str:
        return self.plan.rng(kind).choice(("0", "-1", ABSURD, "NaN"))

    def on_print(self, symbol: str, made: Print) -> None:
        if self.now() >= self.session.close:
            return
        for session in self.data_sessions:
            session.on_print(symbol, made)
        self.invariants.risk_rules.on_print()

    def on_bar(self, bar: Bar, corrected: bool) -> None:
        """A bar that the bot cannot get by listening, and can know to miss, goes into `must_have`."""
        if bar.start >= self.session.close:
            return
        stopped = self.plan.episode("bars stop", self.elapsed) is not None
        is_heard = any(session.authenticated for session in self.data_sessions)
        if not corrected:
            self._day[bar.symbol] = self._day.get(bar.symbol, 0.0) + bar.volume
            if bar.symbol in self.must_have:
                self._note_missed(bar, is_heard, stopped)
        if stopped:
            self.hindrances.note("data", self.elapsed + 60)
            return
        for session in self.data_sessions:
            if self.polygon:
                session.on_bar(bar, self._day.get(bar.symbol, 0.0), bar.open)
            else:
                session.on_bar(bar, corrected)

    def _note_missed(self, bar: Bar, is_heard: bool, stopped: bool) -> None:
        """Bars that stop for a minute may be minutes without a trade; for minutes, while others trade, they may not."""
        if not is_heard:
            self.must_have[bar.symbol].add(bar.start)
        elif not stopped:
            self._kept_back.clear()
        elif self.is_mute.get("data", 0.0) <= self.elapsed:
            # What a new connection's history told is known, and the silence begins anew.
            known = self.told.bars
            self._kept_back = [kept for kept in self._kept_back if kept.start not in known[kept.symbol]]
            self._kept_back.append(bar)
            if bar.start - self._kept_back[0].start >= NOTICED_AFTER * SECOND:
                for kept in self._kept_back:
                    self.must_have[kept.symbol].add(kept.start)

    def _was_halted(self, symbol: str, at: int) -> bool:
        """Whether nobody can know that there is a bar of this minute: no print of a halt is told."""
        before = [halted for since, halted in self._statuses[symbol] if since <= at]
        return bool(before) and before[-1]

    def on_status(self, symbol: str, at: int, halted: bool) -> None:
        self._statuses[symbol].append((at, halted))
        for session in self.data_sessions:
            if self.polygon:
                session.on_status(symbol, at, halted, float(self.engine.last_price(symbol) or 0))
            else:
                session.on_status(symbol, at, halted)
            session.flush()

    # -- requests -----------------------------------------------------------------------------------------------------

    def handle(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Response:
        self.pump()
        answer = self.rest.handle(method, path, query, headers, body)
        self.pump()
        return answer

    def check(self, symbol: str) -> None:
        self.invariants.check(symbol)

    def touch(self, symbol: str) -> None:
        """Somebody else trades in it."""
        self.touched[symbol] = self.elapsed

    def is_refused_for_now(self, symbol: str) -> bool:
        """Whether the broker does not see yet what was just bought."""
        return self._refused_until.get(symbol, 0.0) > self.elapsed

    def is_cut_off(self, process: int) -> bool:
        """Whether what this process sent arrives no more."""
        return process <= self._cut_off

    def begin_listings(self) -> None:
        """Nothing was ever listed that is not so now."""
        self.snapshots.clear()
        self._remember()

    def _remember(self) -> None:
        if not self.remembers:
            return
        account = self.engine.account
        positions = {s: (p.qty, p.avg_entry_price) for s, p in account.positions.items()}
        orders = [copy.copy(order) for order in self.engine.open_orders()]
        self.snapshots.append(Snapshot(self.elapsed, orders, positions))
        while self.snapshots[1].at < self.elapsed - LONGEST_LAG if len(self.snapshots) > 1 else False:
            self.snapshots.popleft()

    def listing_as_of(self, is_orders: bool, when: float, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """The rows of a listing as they were at `when`."""
        snapshot = next((s for s in reversed(self.snapshots) if s.at <= when), self.snapshots[0])
        if is_orders:
            symbols = query.get("symbols", "")
            wanted = set(symbols.split(",")) if symbols else None
            orders = [order for order in snapshot.orders if wanted is None or order.symbol in wanted]
            return [wire.order(o, self.engine.assets, legs) for o, legs in _nested(orders)]
        return [
            {"symbol": s, "qty": str(qty), "avg_entry_price": str(price), "side": "long" if qty > 0 else "short"}
            for s, (qty, price) in snapshot.positions.items()
        ]

    # -- the process --------------------------------------------------------------------------------------------------

    @property
    def fleet(self) -> Fleet | None:
        return getattr(self.trading, "fleet", None)

    @property
    def is_started(self) -> bool:
        """Whether the running process got as far as reading the positions."""
        return self.told.claimed_at >= self.bot_since

    async def run(self) -> None:
        """The whole session; raises Violation."""
        self.pump()
        self.happenings.schedule()
        self.stop_faults.schedule()
        self._tick()
        while self.now() < self.session.close:
            self._start_process()
            if not await self._live():
                if self.now() >= self.session.close:
                    return
                continue
            if await self._bury():
                return
        self.pump()
        self.invariants.check_end()
        self._raise()

    async def _live(self) -> bool:
        """Until the process ends by itself, or is killed (False). Raises Violation."""
        assert self.bot is not None
        while True:
            self._upset = self.loop.create_future()
            patience = max(self.until_close, 0.0) + LONGEST_END
            ends: list[asyncio.Future[Any]] = [self.bot, self.invariants.violated, self._upset]
            await asyncio.wait(ends, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            self._raise()
            if self.bot.done():
                return True
            if not self._upset.done():
                self.invariants.never_ended()
                self._raise()
                return False
            kind = self._upset.result()
            if self.now() >= self.session.close:
                continue
            log.info("FAULT %s", kind)
            self.plan.struck[kind] += 1
            if kind != "asked to stop":
                await self._kill(kind)
                return False
            self._ask_to_stop()

    def upset(self, kind: str) -> None:
        """Kill the running process, or ask it to stop."""
        if self.bot is not None and not self._upset.done():
            self._upset.set_result(kind)

    def on_sent(self, method: str) -> None:
        """The bot sends or cancels an order: the instant some trouble has waited for."""
        if self._waits_for is not None and self._waits_for[1] in (method, ""):
            kind, self._waits_for = self._waits_for[0], None
            self.loop.call_later(size(self.plan.rng(kind), 0.001, 0.5), self.upset, kind)

    def upset_at(self, kind: str, method: str) -> None:
        """The same, soon after the next order ("POST"), cancel ("DELETE") or either ("") of the bot's."""
        self._waits_for = (kind, method)

    def at_fill(self, happen: Callable[[str], bool], kind: str) -> None:
        """Let something happen at the next fill of a buy of the bot's."""
        self._waits_for_fill = (happen, kind)

    def _raise(self) -> None:
        if self.invariants.violation is not None:
            raise self.invariants.violation

    def _start_process(self) -> None:
        self.process += 1
        self.told.forget()
        self.bot_since = self.elapsed
        self.trading = self.stop = self.stopped_at = None
        self.invariants.on_started()
        for symbol in self.symbols:
            published = self.simulation.tape.published[symbol]
            self.must_have[symbol].update(bar.start for bar in published if not self._was_halted(symbol, bar.start))
        log.info("PROCESS started")
        self.bot = self.loop.create_task(self._process())
        if self.kills_at_start:
            self.kills_at_start -= 1
            kind = "restarted at once"
            self.loop.call_later(size(self.plan.rng(kind), 0.03, 20.0), self.upset, kind)

    async def _process(self) -> int:
        self.stop = Asked()
        url = "http://127.0.0.1"
        feed = "polygon" if self.polygon else "sip"
        endpoints = Endpoints(
            url, url, "ws://127.0.0.1", "KEY", "SECRET", feed, url, "ws://127.0.0.1/stocks", "K" if self.polygon else ""
        )
        settings = Settings(
            symbols=self.symbols, lot=LOT, endpoints=endpoints, seed=1, risk_limits=self.limits, on_exit=self.on_exit
        )
        console: Any = SimpleNamespace(now=None)
        try:
            return await main.trade(settings, endpoints, console, self.stop)
        except asyncio.CancelledError:
            if self.stopped_at is None:
                raise
            return self.stop.exit_code

    def _ask_to_stop(self) -> None:
        if self.stop is not None and self.stopped_at is None:
            self.stopped_at = self.elapsed
            self.stop.ask()

    async def _kill(self, kind: str) -> None:
        assert self.bot is not None
        is_quick = kind == "restarted at once"
        self.bot.cancel()
        with suppress(asyncio.CancelledError):
            await self.bot
        self.bot = None
        if is_quick:
            self._cut_off = self.process
        self.drop(self.order_sessions)
        self.drop(self.data_sessions)
        await asyncio.sleep(self.rng.uniform(0.2, 2.0) if is_quick else self.rng.uniform(LATEST_ARRIVAL + 1, 25.0))

    async def _bury(self) -> bool:
        """The process has ended by itself; whether that is the end of the session too."""
        assert self.bot is not None
        try:
            code = self.bot.result()
            self.invariants.check_login(code)
        except UserError as error:
            log.info("PROCESS could not start: %s", error)
            code = 2
        log.info("PROCESS ended with %s", code)
        self.bot = None
        self.exit_code = code if self.is_started else None
        self.invariants.check_exit(code)
        self._raise()
        if self.stopped_at is not None and self.rng.random() < 0.5:
            return True
        await asyncio.sleep(10.0)
        return False

    def drop(self, sessions: list[Any]) -> bool:
        """Close all connections of a kind; whether there was any."""
        were = list(sessions)
        for session in were:
            session.close()
        return bool(were)

    def _tick(self) -> None:
        self.invariants.look()
        self.loop.call_later(TICK, self._tick)


def _nested(orders: list[Order]) -> list[tuple[Order, list[Order] | None]]:
    """A listing's orders with their legs, which are not listed besides."""
    by_id = {order.id: order for order in orders}
    nested: list[tuple[Order, list[Order] | None]] = []
    for order in orders:
        group = order.group
        if group is not None and group.parent.id == order.id:
            nested.append((order, [by_id.get(leg.id, leg) for leg in group.legs]))
        elif group is None or group.parent.id not in by_id or all(leg.id != order.id for leg in group.legs):
            nested.append((order, None))
    return nested


def is_own(order: Order) -> bool:
    """Whether the bot made it, and nobody changed it since."""
    return is_bots(order.client_order_id) and not order.replaces


def simulate(
    seed: int,
    without: frozenset[str] = frozenset(),
    only: frozenset[str] | None = None,
    minutes: int | None = None,
    algo: type[ScalpAlgo] | None = None,
) -> World:
    """Run the session of `seed`; raises Violation with the world attached."""
    worlds: list[World] = []

    class Observed(Trader):
        """The bot's session, within sight."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            worlds[0].trading = self

    async def run() -> None:
        world = World(seed, without, only, minutes, algo)
        worlds.append(world)
        Transport.world = world
        main.algo_class = world.algo
        await world.run()

    with (
        patch("scalp.net.stream.connect", connect),
        patch("scalp.alpaca.rest.HttpTransport", Transport),
        patch("scalp.polygon.feed.HttpTransport", Transport),
        patch("scalp.alpaca.rest.OrderConnections", NoOrderConnections),
        patch("scalp.live.startup.Trader", Observed),
        patch("main.algo_class", ScalpAlgo),
        asyncio.Runner(loop_factory=SimulatedLoop) as runner,
    ):
        try:
            runner.run(run())
        except Stuck as stuck:
            violation = Violation(f"invariant 5: {stuck} (at {worlds[0].elapsed:.3f} s)")
            violation.world = worlds[0]
            raise violation from None
    return worlds[0]
