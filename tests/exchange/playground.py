"""A small market for the exchange's tests: flat bars, so that every number in a test can be reckoned by hand."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from typing import Any

from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day
from scalp.exchange.matching import Engine
from scalp.exchange.rest import Access, Rest
from scalp.exchange.server import ExchangeServer
from scalp.exchange.simulation import Simulation
from scalp.exchange.tape import Tape
from scalp.net.virtual_time import JumpingLoop

DAY = session_day(dt.date(2026, 11, 20))
KEYS = {"APCA-API-KEY-ID": "KEY", "APCA-API-SECRET-KEY": "SECRET"}
PRICES = {"AAPL": 100.0, "TSLA": 400.0}


def market(minutes: int = 390) -> dict[str, list[Bar]]:
    """Every minute trades once at the symbol's price, a cent above and a cent below."""
    return {
        symbol: [
            Bar(symbol, DAY.open + n * MINUTE, price, price + 0.01, price - 0.01, price, 4000) for n in range(minutes)
        ]
        for symbol, price in PRICES.items()
    }


def simulation(at: float = 600, **options: Any) -> Simulation:
    """The exchange `at` seconds after the open, without a server."""
    now = DAY.open + round(at * SECOND)
    engine = Engine(DAY.open, DAY.close, PRICES, now=now, **options)
    return Simulation(market(), engine, tape=Tape(market(), now, correct_every=0))


class Client:
    """Asks a `Rest` without any transport; `ask("GET /v2/clock")` gives status and decoded body."""

    def __init__(self, at: float = 600, access: Access | None = None, **options: Any) -> None:
        self.simulation = simulation(at, **options)
        self.rest = Rest(self.simulation, access)
        self.headers = dict(KEYS)
        self.last_headers: dict[str, str] = {}

    def ask(self, what: str, body: object = None, **query: str) -> tuple[int, Any]:
        method, _, path = what.partition(" ")
        sent = b"" if body is None else json.dumps(body).encode()
        response = self.rest.handle(method, path, query, self.headers, sent)
        self.last_headers = response.headers
        try:
            return response.status, json.loads(response.body) if response.body else None
        except ValueError:
            return response.status, response.body.decode()

    def order(self, side: str = "buy", qty: str = "10", limit: str | None = None, **more: str) -> tuple[int, Any]:
        order = {"symbol": "AAPL", "side": side, "qty": qty, "type": "market", "time_in_force": "day"} | more
        if limit:
            order |= {"type": "limit", "limit_price": limit}
        return self.ask("POST /v2/orders", order)

    def wait(self, seconds: float) -> None:
        self.simulation.advance(self.simulation.now + round(seconds * SECOND))


def on_the_wire(test: Callable[[ExchangeServer], Awaitable[None]], at: float = 600, **options: Any) -> None:
    """Run `test` against a server in the same process, on a loop that never waits."""

    async def run() -> None:
        now = DAY.open + round(at * SECOND)
        engine = Engine(DAY.open, DAY.close, PRICES, now=now)
        tape = Tape(market(), now, correct_every=options.pop("correct_every", 0))
        server = await ExchangeServer.start(market(), engine, tape=tape, **options)
        try:
            await test(server)
        finally:
            await server.stop()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(run())
