"""A session against the built-in exchange in one process, on a loop that skips all waiting, with scripted trouble."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple, cast

from scalp import ScalpAlgo
from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.rest import AlpacaREST
from scalp.cli.settings import Endpoints, Settings
from scalp.core.market_data import Bar, Trade
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day
from scalp.exchange.faults import Faults, Server
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Update
from scalp.exchange.rest import Access, Response, reply
from scalp.exchange.server import ExchangeServer
from scalp.live.startup import Startup
from scalp.live.trader import CLOCK_PATIENCE, Trader
from scalp.net.virtual_time import JumpingLoop

DAY = session_day(dt.date(2026, 11, 20))
OPEN = DAY.open

Handle = Callable[[], Response]
Outcome = Callable[[Handle], Awaitable[Response | None]]


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(work)


class BuysOnce(ScalpAlgo):
    """One signal: at the second minute bar, which arrives 2 minutes after the open."""

    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return len(self.session_bars) == 2

    def on_trade(self, trade: Trade) -> None:
        """The last trade is the last close, 100: so that a story needs no reckoning of prints."""


class Idle(ScalpAlgo):
    def _calculate_buy_signal(self) -> bool:
        return False


# -- markets: prices of a minute (open, high, low, close) -------------------------------------------------------------

AT_100 = (100.0, 100.0, 100.0, 100.0)
AROUND_100 = (100.0, 100.05, 99.95, 100.0)  # a buy and a sell at 100 both fill
ABOVE_100 = (100.5, 100.6, 100.4, 100.5)  # a buy at 100 does not
FALLING = [(99.9 - i, 99.9 - i, 99.0 - i, 99.0 - i) for i in range(10)]  # a buy at 100 does, its sell does not


def minutes(symbol: str, *prices: tuple[float, float, float, float], volume: float = 1e6) -> list[Bar]:
    return [Bar(symbol, OPEN + i * MINUTE, *ohlc, volume) for i, ohlc in enumerate(prices)]


# -- outcomes of a request --------------------------------------------------------------------------------------------


async def never_arrives(handle: Handle) -> None:
    return None


async def answer_lost(handle: Handle) -> None:
    handle()
    return None


def late(seconds: float, outcome: Outcome | None = None) -> Outcome:
    """Handled at once, answered so late."""

    async def wait(handle: Handle) -> Response | None:
        answer = handle() if outcome is None else await outcome(handle)
        await asyncio.sleep(seconds)
        return answer

    return wait


def slow(seconds: float) -> Outcome:
    """Handled so late."""

    async def wait(handle: Handle) -> Response | None:
        await asyncio.sleep(seconds)
        return handle()

    return wait


def hangs(seconds: float) -> Outcome:
    return late(seconds, never_arrives)


def status(code: int, message: str = "", **headers: str) -> Outcome:
    async def refuse(handle: Handle) -> Response:
        answer = reply({"code": code * 100_000, "message": message}, code)
        return Response(code, answer.headers | {name.replace("_", "-"): text for name, text in headers.items()},
                        answer.body)  # fmt: skip

    return refuse


def page(code: int) -> Outcome:
    async def refuse(handle: Handle) -> Response:
        return Response(code, {"Content-Type": "text/html"}, b"<html>trouble</html>")

    return refuse


def says(value: Any) -> Outcome:
    async def answer(handle: Handle) -> Response:
        return reply(value)

    return answer


class Request(NamedTuple):
    at: float  # seconds since the open
    what: str  # "POST /v2/orders"
    body: dict[str, Any]


class Script(Faults):
    """Writes down every request; `on("POST /v2/orders", never_arrives)` decides what becomes of the next ones."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.updates: list[tuple[float, str]] = []
        self.deliver: Callable[[Update], Sequence[float]] = lambda update: (0.0,)
        self._rules: list[tuple[str, str, list[Outcome]]] = []

    def on(self, what: str, *outcomes: Outcome, times: int = 1, symbol: str = "") -> None:
        """Requests for `what` (for all below it, if it ends with /) end as `outcomes` say, the last `times` times."""
        self._rules.append((what, symbol, [*outcomes, *[outcomes[-1]] * (times - 1)]))

    def begin(self, server: Server) -> None:
        self._zero = asyncio.get_running_loop().time()

    def now(self) -> float:
        return round(asyncio.get_running_loop().time() - self._zero, 3)

    async def request(self, method: str, path: str, body: bytes, handle: Handle) -> Response | None:
        what = f"{method} {path}"
        sent = json.loads(body) if body else {}
        self.requests.append(Request(self.now(), what, sent))
        for prefix, symbol, outcomes in self._rules:
            fits = what.startswith(prefix) if prefix.endswith("/") else what == prefix
            if outcomes and fits and symbol in ("", sent.get("symbol")):
                return await outcomes.pop(0)(handle)
        return handle()

    def update(self, update: Update) -> Sequence[float]:
        self.updates.append((self.now(), update.event))
        return self.deliver(update)

    def sent(self, what: str, **body: str) -> list[Request]:
        """The requests that begin so and hold this in their bodies."""
        return [r for r in self.requests if r.what.startswith(what) and body.items() <= r.body.items()]

    def orders(self, side: str) -> list[Request]:
        return self.sent("POST /v2/orders", side=side)


class Bot:
    """A running session and the exchange it trades at."""

    def __init__(self, server: ExchangeServer, session: Trader, script: Script) -> None:
        self.server, self.session, self.script = server, session, script
        self.engine = server.simulation.engine
        self.jobs: list[asyncio.Future[Any]] = []

    @property
    def rest(self) -> AlpacaREST:
        """The session's account, as what it is."""
        return cast(AlpacaREST, self.session.rest)

    @property
    def broker(self) -> AlpacaBroker:
        return cast(AlpacaBroker, self.session.broker)

    async def until(self, seconds: float) -> None:
        """Let the session run until so many seconds after the open."""
        await asyncio.sleep(max(seconds - self.script.now(), 0))

    def algo(self, symbol: str = "TSLA") -> ScalpAlgo:
        return self.session.fleet.algos[symbol]

    def held(self, symbol: str = "TSLA") -> Decimal:
        return self.engine.account.held(symbol)

    async def periodic(self) -> None:
        while True:
            if answer := self.session.ask_clock():
                await asyncio.wait({answer}, timeout=CLOCK_PATIENCE)
            if not self.session.checkup():
                break
            await asyncio.sleep(self.session.until_next_checkup())


def settings(*symbols: str, **more: Any) -> Settings:
    return Settings(symbols=symbols, lot=Decimal(1000), **more)


@asynccontextmanager
async def exchange(
    market: Mapping[str, Sequence[Bar]],
    script: Script,
    length: float = 20,
    start: int = 0,
    access: Access | None = None,
) -> AsyncIterator[tuple[ExchangeServer, Endpoints]]:
    """The built-in exchange with a session of `length` minutes, now `start` seconds after the open."""
    engine = Engine(OPEN, OPEN + round(length * MINUTE), market, now=OPEN + start * SECOND)
    server = await ExchangeServer.start(market, engine, faults=script, access=access)
    env = server.environment()
    try:
        yield server, Endpoints(env["APCA_API_BASE_URL"], env["APCA_API_DATA_URL"], env["APCA_API_STREAM_URL"],
                                env["APCA_API_KEY_ID"], env["APCA_API_SECRET_KEY"], feed="sip")  # fmt: skip
    finally:
        await server.stop()


@asynccontextmanager
async def trading(
    market: Mapping[str, Sequence[Bar]],
    script: Script,
    algo: type[ScalpAlgo] = BuysOnce,
    *,
    length: float = 20,
    start: int = 0,
    access: Access | None = None,
    before: Callable[[Engine], None] = lambda engine: None,
    on_exit: str = "cancel-buys",
) -> AsyncIterator[Bot]:
    """A session in all its parts, ready to let time pass."""
    async with exchange(market, script, length, start, access) as (server, endpoints):
        before(server.simulation.engine)
        startup = Startup(settings(*market, on_exit=on_exit), endpoints, algo)
        session = await startup.open()
        assert session is not None
        bot = Bot(server, session, script)
        work = (session.feed.run(), session.updates.run(), bot.periodic(), session.watch())
        bot.jobs = [asyncio.ensure_future(job) for job in work]
        try:
            yield bot
        finally:
            session.over()
            for job in bot.jobs:
                job.cancel()
            await asyncio.gather(*bot.jobs, return_exceptions=True)
            await startup.close()
