"""One session of chaos: the exchange in this process, the bot in another, and trouble between them until it stops."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from scalp.core.clock import new_york
from scalp.core.fees import ALPACA
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE
from scalp.exchange.calendar import session_day
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Order, OrderRequest, Rejection
from scalp.exchange.rest import Access
from scalp.exchange.server import ExchangeServer
from scalp.exchange.streams import OrderStreamClient, StreamClient
from scalp.net.virtual_time import ScaledLoop
from tests.chaos.books import LOT, Books, is_own
from tests.chaos.network import LATEST_ARRIVAL, RATES, Network, Plan
from tests.chaos.process import BotProcess

SYMBOLS = ("TSLA", "FB", "AAPL", "NVDA")
KEY, SECRET, POLYGON_KEY = (
    "PKCHAOS0000000000000",
    "chaos-secret-d41d8cd98f00b204e9800998",
    "chaos-polygon-9e107d9d372bb6",
)
MINUTES = 40  # of exchange time in a session, unless asked otherwise
TROUBLE_SHARE = 0.6  # of a session
SPEED = 40.0
NOISE = 2.0  # wall seconds that a busy machine may take for what is instant
AFTER_CLOSE = 60.0  # wall seconds for the last process to end
TICK = 0.2  # wall seconds between two looks at the books while nothing happens
# What a sound process never says, whatever goes wrong around it.
ALARMS = ("Traceback", "a task died", "could not be handled", "task of the session failed", "the bot failed")


@dataclass
class Outcome:
    """What became of one seed; `failure` is "" when every invariant held. Recoveries in seconds of exchange time."""

    seed: int
    failure: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    kills: int = 0
    trades: int = 0  # own sells that filled
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)  # of the bot and of the exchange, in the order of time


def run_seed(seed: int, minutes: int = MINUTES, speed: float = SPEED) -> Outcome:
    """One session, as long as it takes: `minutes` of exchange time at `speed`."""
    with (
        tempfile.TemporaryDirectory(prefix="scalp-chaos-") as folder,
        asyncio.Runner(loop_factory=lambda: ScaledLoop(speed)) as runner,
    ):
        return runner.run(ChaosSession(seed, minutes, speed, Path(folder)).run())


class ChaosSession:
    """All times are seconds of exchange time since the start, unless said otherwise."""

    def __init__(self, seed: int, minutes: int, speed: float, folder: Path) -> None:
        self._seed = seed
        self._speed = speed
        self._folder = folder
        self._rng = rng = random.Random(f"chaos {seed}")
        self.length = minutes * 60.0
        self.plan = Plan.draw(random.Random(f"plan {seed}"), self.length * TROUBLE_SHARE)
        self.symbols = SYMBOLS[: rng.choice((1, 2, 3, 4))]
        self._feed = rng.choice(("sip", "iex", "polygon"))
        day = session_day(DEFAULT_DAY)
        # A piece of a full day, with its own close: the opening burst, midday or the closing one.
        start = day.open + rng.choice((30, 150, 390 - minutes)) * MINUTE
        self._market = {
            symbol: _restless(symbol, range(day.open, start + minutes * MINUTE, MINUTE), rng) for symbol in self.symbols
        }
        self.engine = Engine(day.open, start + minutes * MINUTE, self.symbols, shorting=True, now=start, seed=seed,
                             rates=ALPACA.on(day.date))  # fmt: skip
        self._start = start
        self._zero = 0.0
        self._lines: list[str] = []
        self.books = Books(self, NOISE * speed)
        self._network = Network(self)
        self._outcome = Outcome(seed)
        self._server: ExchangeServer
        self._bot: BotProcess
        self._bot_since = 0.0  # when the running process asked for the first time
        self._stalled_at = 0.0  # when this process last got no processor for long
        self._has_asked = False
        self._kill_until = 0.0  # until when the process stays down
        self.heard_at = 0.0  # when an order stream was last listening

    # -- what the books and the network ask for -----------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._zero

    @property
    def until_close(self) -> float:
        return self.length - self.elapsed

    @property
    def is_bot_up(self) -> bool:
        """Whether the process runs, and has got as far as asking for something."""
        return self._bot.is_running and self._has_asked

    @property
    def trouble_until(self) -> float:
        """Until when something was wrong; the first minute of a process counts as well."""
        return max(self.plan.last_at, self._bot_since, self._stalled_at)

    def request_faults(self) -> int:
        """How many requests have gone wrong so far."""
        return sum(self.plan.struck[kind] for kind in RATES if not kind.startswith("update"))

    def order_streams(self) -> list[OrderStreamClient]:
        return [client for client in self._server.clients("orders") if isinstance(client, OrderStreamClient)]

    def write(self, who: str, text: str) -> None:
        """A line of the log, stamped as the bot stamps its own."""
        at = f"{new_york(self.engine.now):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        self._lines.append(f"{at} {'-':7} {who:7} {text}")

    def on_request(self) -> None:
        if not self._has_asked:
            self._has_asked = True
            self._bot_since = self.elapsed

    def on_order_event(self, event: str, order: Order) -> None:
        """Trouble that strikes when it hurts most."""
        if not is_own(order) or event in ("pending_new", "pending_cancel"):
            return
        loop = asyncio.get_running_loop()
        if order.side == "buy" and event in ("new", "partial_fill", "fill"):
            for kind, happen in (
                ("orders stream dropped at a buy", lambda: self._drop("orders")),
                ("orders stream mute at a buy", lambda: self._mute("orders")),
            ):
                if self.plan.strikes(kind, self.elapsed):
                    loop.call_soon(self._happen, kind, happen)
        if self.plan.strikes("process killed at an order", self.elapsed):
            loop.call_later(self._rng.uniform(0.0, 1.0), self._kill)

    # -- events of the plan -------------------------------------------------------------------------------------------

    def _schedule_events(self) -> None:
        happenings: dict[str, Callable[[], float | None]] = {
            "orders stream dropped": lambda: self._drop("orders"),
            "orders stream mute": lambda: self._mute("orders"),
            "data stream dropped": lambda: self._drop("data"),
            "data stream mute": lambda: self._mute("data"),
            "streams flapping": self._flap,
            "handshakes refused": self._refuse_handshakes,
            "data logins refused": self._refuse_logins,
            "process killed": self._kill,
            "order rejected by the venue": self._reject,
            "halt": self._halt,
            "hand buys": lambda: self._by_hand("buy", "market"),
            "hand places a limit buy": lambda: self._by_hand("buy", "limit"),
            "hand sells": lambda: self._by_hand("sell", "market"),
            "hand cancels": self._cancel_by_hand,
            "hand replaces": self._replace_by_hand,
        }
        for kind, happen in happenings.items():
            for at in self.plan.times(kind):
                asyncio.get_running_loop().call_later(at, self._happen, kind, happen)

    def _happen(self, kind: str, happen: Callable[[], float | None]) -> None:
        """`happen` says for how many seconds it is felt, None if there was nothing to be done."""
        self._server.catch_up()
        lasts = happen()
        if lasts is not None:
            self.plan.note(kind, self.elapsed + lasts)
            self.write("FAULT", kind)
        self._server.catch_up()

    def _streams(self, kind: str) -> list[StreamClient]:
        return self._server.clients("polygon" if kind == "data" and self._feed == "polygon" else kind)

    def _drop(self, kind: str) -> float | None:
        streams = self._streams(kind)
        is_polite = self._rng.random() < 0.5
        for stream in streams:
            if is_polite:
                stream.close()
            else:
                stream.abort()
        return 40.0 if streams else None

    def _mute(self, kind: str) -> float | None:
        streams = self._streams(kind)
        lasts = self._rng.choice((10.0, 60.0, 240.0))
        for stream in streams:
            stream.muted = True
            asyncio.get_running_loop().call_later(lasts, setattr, stream, "muted", False)
        return lasts + (240.0 if kind == "data" else 40.0) if streams else None

    def _flap(self) -> float:
        loop = asyncio.get_running_loop()
        for n in range(6):
            loop.call_later(2.0 * n, self._drop, "orders")
            loop.call_later(2.0 * n + 1, self._drop, "data")
        return 60.0

    def _refuse_handshakes(self) -> float:
        lasts = self._rng.uniform(5, 90)
        self._network.refuse_handshakes_until = self.elapsed + lasts
        self._drop("orders")
        return lasts + 40.0

    def _refuse_logins(self) -> float:
        lasts = self._rng.uniform(5, 90)
        self._network.refuse_logins_until = self.elapsed + lasts
        self._drop("data")
        return lasts + 40.0

    def _kill(self) -> float | None:
        if not self._bot.is_running:
            return None
        self._bot.kill()
        self._outcome.kills += 1
        self.books.on_killed()
        self.write("FAULT", "process killed")
        down = self._rng.uniform(LATEST_ARRIVAL + 1, 25.0)
        self._kill_until = self.elapsed + down
        return down + 40.0

    def _reject(self) -> float | None:
        orders = self.engine.open_orders()
        if not orders:
            return None
        self.engine.reject(self._rng.choice(orders).id)
        return 40.0

    def _halt(self) -> float | None:
        symbol = self._rng.choice(self.symbols)
        if self.engine.is_halted(symbol):
            return None
        lasts = self._rng.uniform(60, 400)
        self._server.simulation.halt(symbol)
        asyncio.get_running_loop().call_later(lasts, self._resume, symbol)
        return lasts

    def _resume(self, symbol: str) -> None:
        self._server.catch_up()
        self._server.simulation.resume(symbol)
        self._server.catch_up()

    def _by_hand(self, side: str, kind: str) -> float | None:
        symbol = self._rng.choice(self.symbols)
        last, held = self.engine.last_price(symbol), self.engine.account.held(symbol)
        qty = Decimal(self._rng.randint(1, 20)) if side == "buy" else held
        if last is None or qty <= 0:
            return None
        limit = round(last * Decimal("0.999"), 2) if kind == "limit" else None
        with suppress(Rejection):
            self.engine.submit(OrderRequest(symbol, side, kind, "day", qty, limit_price=limit))
            self.books.by_hand.add(symbol)
            return 160.0
        return None

    def _cancel_by_hand(self) -> float | None:
        orders = self.engine.open_orders()
        with suppress(Rejection):
            if orders:
                self.engine.cancel(self._rng.choice(orders).id)
                return 40.0
        return None

    def _replace_by_hand(self) -> float | None:
        orders = [order for order in self.engine.open_orders() if order.limit_price is not None]
        with suppress(Rejection):
            if orders:
                order = self._rng.choice(orders)
                assert order.limit_price is not None
                self.engine.replace(order.id, limit_price=order.limit_price + Decimal("0.01"))
                self.books.by_hand.add(order.symbol)
                return 160.0
        return None

    # -- the session --------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        access = Access({KEY: SECRET}, polygon_key=POLYGON_KEY)
        loop = asyncio.get_running_loop()
        self._zero = loop.time()
        # The server goes on after the close, until the last process has ended.
        self._server = await ExchangeServer.start(
            self._market, self.engine, access=access, faults=self._network, linger=24 * 60 * MINUTE
        )
        environment = self._server.environment() | {"SCALP_SPEED": f"{self._speed:g}"}
        if self._feed == "polygon":
            environment["POLYGON_API_KEY"] = POLYGON_KEY
        self._bot = BotProcess(
            self._folder, environment, ("--lot", str(LOT), "--feed", self._feed, "--debug", *self.symbols)
        )
        self._schedule_events()
        watch = loop.create_task(self._watch())
        violated = loop.create_task(self.books.violated.wait())
        trading = loop.create_task(self._trade())
        try:
            await asyncio.wait([trading, violated, watch], return_when=asyncio.FIRST_COMPLETED)
            if trading.done():
                self.books.check_end(trading.result())
                self.books.check_journal(self._folder / "scalp" / "journal.sqlite", trading.result())
            if watch.done():
                watch.result()
        finally:
            for task in (watch, violated, trading):
                task.cancel()
            await asyncio.gather(watch, violated, trading, return_exceptions=True)
            await self._server.stop()
        return self._result()

    async def _trade(self) -> int | None:
        """Run the bot, again and again, until one run ends after the close; its exit code, None if it never ends."""
        while True:
            self._has_asked = False
            self._outcome.starts += 1
            self.write("PROCESS", "started")
            try:
                async with asyncio.timeout(self.until_close + AFTER_CLOSE * self._speed):
                    code = await self._bot.run()
            except TimeoutError:
                return None
            self.write("PROCESS", f"ended with {code}")
            if self.until_close <= 0:
                return code
            # Killed, or given up at the start because nobody answered: somebody starts it again.
            await asyncio.sleep(max(self._kill_until - self.elapsed, 10.0))

    async def _watch(self) -> None:
        """Look at the books while nothing happens, and at the pace of this process itself."""
        tick = TICK * self._speed
        while True:
            before = self.elapsed
            await asyncio.sleep(tick)
            if self.elapsed - before > tick + NOISE / 2 * self._speed:
                self._stalled_at = self.elapsed
            self._server.catch_up()
            if any(stream.listening for stream in self.order_streams()):
                self.heard_at = self.elapsed
            self.books.check()

    def _result(self) -> Outcome:
        outcome = self._outcome
        outcome.faults = self.plan.struck
        outcome.recoveries = dict(self.books.recoveries)
        outcome.trades = sum(
            is_own(order) and order.side == "sell" and order.status == "filled" for order in self.engine.orders.values()
        )
        said = "\n".join(self._bot.log) + self._bot.printed
        alarms = [alarm for alarm in ALARMS if alarm in said]
        keys = [key for key in (KEY, SECRET, POLYGON_KEY) if key in said]
        if self.books.violation:
            outcome.failure = self.books.violation
        elif alarms:
            outcome.failure = f"the bot said {alarms[0]!r}"
        elif keys:
            outcome.failure = "a key was logged"
        if outcome.failure:
            outcome.log = _merged(self._lines, self._bot.log)
        return outcome


def _restless(symbol: str, minutes: range, rng: random.Random) -> list[Bar]:
    """Prices that go up and down around a level, so that nearly everything fills within minutes."""
    level = rng.choice((20.0, 100.0, 400.0))
    volume = rng.choice((2_000.0, 50_000.0))
    bars, price = [], level
    for start in minutes:
        close = round(level * rng.uniform(0.997, 1.003), 2)
        high, low = round(max(price, close) * 1.0005, 2), round(min(price, close) * 0.9995, 2)
        bars.append(Bar(symbol, start, price, high, low, close, volume))
        price = close
    return bars


def _merged(ours: list[str], bots: list[str]) -> list[str]:
    """Both logs in the order of time; a line without a time belongs to the one before."""
    stamped: list[tuple[str, str]] = []
    for lines in (ours, bots):
        at = ""
        for line in lines:
            if line[:2] == "20" and line[4:5] == "-":
                at = line[:23]
            stamped.append((at, line))
    return [line for _, line in sorted(stamped, key=lambda pair: pair[0])]
