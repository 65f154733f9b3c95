"""Where tests make the exchange misbehave. The base class never misbehaves.

From Python: override methods of `Faults`. For an exchange in a process of its own: `ScriptedFaults`, a JSON list of
rules, each an object with one of these keys that says what it is about

    "request": "POST /v2/orders"   a request whose method and path begin so
    "update": "fill"               an order update of that event ("*": any)
    "bar": "AAPL"                  a minute bar on the streams ("*": any)
    "handshake": "orders"          new connections of "orders", "data" or "polygon"
    "login": "data"                logins on the data stream
    "at": "10:15:00"               a moment, New York time

and with what happens then:

    request:    "delay": seconds before handling, "late": seconds before answering, "status": answer this (with
                Alpaca's error body) and don't handle it, "lose": handle it, but break the connection in place of the
                answer, "html": answer this status with a page (without handling it, unless "lose" is said too)
    update, bar: "delay": seconds, "repeat": how often it comes (0: never)
    handshake:  refused with 429
    login:      answered with error 406
    at:         "close", "drop" (no close frame), "mute" or "unmute": "orders" | "data" | "polygon", "halt" or
                "resume": symbol, "reject": symbol (its open orders)

`symbol` limits a request or update to that symbol (in the path, the body or the order), `skip` lets that many pass
first, `times` ends the rule after so many. Delays are seconds of exchange time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from scalp.core.clock import NEW_YORK
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.core.units import SECOND
from scalp.exchange.orders import Update
from scalp.exchange.rest import Response, reply
from scalp.exchange.simulation import Simulation, new_york
from scalp.exchange.streams import StreamClient

Kind = Literal["orders", "data", "polygon"]
_PAGE = b"<html><body><h1>Something went wrong</h1></body></html>"


class Server(Protocol):
    """The parts of the exchange's server that faults may use."""

    @property
    def simulation(self) -> Simulation: ...
    def now(self) -> int: ...
    def catch_up(self) -> None: ...
    def clients(self, kind: str) -> Sequence[StreamClient]: ...
    def close_streams(self, kind: str) -> None: ...
    def mute_streams(self, kind: str, muted: bool = True) -> None: ...


class Faults:
    """Override what is to go wrong. Delays are seconds of exchange time."""

    def begin(self, server: Server) -> None:
        """The server has started."""

    async def request(self, method: str, path: str, body: bytes, handle: Callable[[], Response]) -> Response | None:
        """Around a request: wait, call `handle` or not, change the answer; None breaks the connection instead."""
        return handle()

    def update(self, update: Update) -> Sequence[float]:
        """When to deliver an order update: after each of these delays. Empty: never."""
        return (0.0,)

    def bar(self, bar: Bar) -> Sequence[float]:
        """When to deliver a minute bar to the streams: after each of these delays. Empty: never."""
        return (0.0,)

    def handshake(self, kind: str) -> bool:
        """Whether to refuse a new connection of "orders", "data" or "polygon" with 429."""
        return False

    def login(self, kind: str) -> bool:
        """Whether to answer a login on the "data" stream with 406, as if the old connection still held the place."""
        return False


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of a script; the module's text says what the fields mean."""

    request: str | None = None
    update: str | None = None
    bar: str | None = None
    handshake: Kind | None = None
    login: Literal["data"] | None = None
    at: str | None = None
    symbol: str | None = None
    skip: int = 0
    times: int | None = None
    delay: float = 0.0
    late: float = 0.0
    status: int | None = None
    html: int | None = None
    lose: bool = False
    repeat: int = 1
    close: Kind | None = None
    drop: Kind | None = None
    mute: Kind | None = None
    unmute: Kind | None = None
    halt: str | None = None
    resume: str | None = None
    reject: str | None = None


class ScriptedFaults(Faults):
    """Misbehaves by a list of rules; of several that fit, the first one counts."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._matched = [0] * len(rules)

    @classmethod
    def read(cls, source: str) -> ScriptedFaults:
        """Rules from a file, or from the text itself when it is JSON; a single rule needs no list. Raises UserError."""
        try:
            text = source if source.lstrip().startswith(("[", "{")) else Path(source).read_text()
            told = msgspec.json.decode(text.encode(), type=list[Rule] | Rule)
            rules = told if isinstance(told, list) else [told]
            for rule in rules:
                if rule.at is not None:
                    time.fromisoformat(rule.at)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise UserError(f"--faults: {error}") from None
        return cls(rules)

    def begin(self, server: Server) -> None:
        today = new_york(server.simulation.engine.session_open).date()
        loop = asyncio.get_running_loop()
        for rule in self._rules:
            if rule.at is not None:
                moment = datetime.combine(today, time.fromisoformat(rule.at), NEW_YORK)
                wait = round(moment.timestamp()) - server.now() / SECOND
                loop.call_later(max(0.0, wait), _happen, rule, server)

    async def request(self, method: str, path: str, body: bytes, handle: Callable[[], Response]) -> Response | None:
        asked = f"{method} {path}"
        rule = self._find(
            lambda rule: (
                rule.request is not None
                and asked.startswith(rule.request)
                and (rule.symbol is None or rule.symbol in path.split("/") or f'"{rule.symbol}"'.encode() in body)
            )
        )
        if rule is None:
            return handle()
        if rule.delay:
            await asyncio.sleep(rule.delay)
        if rule.html is not None:
            if rule.lose:
                handle()
            return Response(rule.html, {"Content-Type": "text/html"}, _PAGE)
        if rule.status is not None:
            message = "rate limit exceeded" if rule.status == 429 else "internal server error occurred"
            return reply({"code": rule.status * 100_000 + 10_000, "message": message}, rule.status)
        answer = handle()
        if rule.late:
            await asyncio.sleep(rule.late)
        return None if rule.lose else answer

    def update(self, update: Update) -> Sequence[float]:
        rule = self._find(
            lambda rule: rule.update in ("*", update.event) and rule.symbol in (None, update.order.symbol)
        )
        return (0.0,) if rule is None else [rule.delay] * rule.repeat

    def bar(self, bar: Bar) -> Sequence[float]:
        rule = self._find(lambda rule: rule.bar in ("*", bar.symbol))
        return (0.0,) if rule is None else [rule.delay] * rule.repeat

    def handshake(self, kind: str) -> bool:
        return self._find(lambda rule: rule.handshake == kind) is not None

    def login(self, kind: str) -> bool:
        return self._find(lambda rule: rule.login == kind) is not None

    def _find(self, fits: Callable[[Rule], bool]) -> Rule | None:
        for number, rule in enumerate(self._rules):
            if fits(rule):
                self._matched[number] += 1
                late = rule.times is not None and self._matched[number] > rule.skip + rule.times
                if self._matched[number] > rule.skip and not late:
                    return rule
        return None


def _happen(rule: Rule, server: Server) -> None:
    """Do what a rule with a moment says, when that has come."""
    server.catch_up()
    if rule.close is not None:
        server.close_streams(rule.close)
    if rule.drop is not None:
        for client in server.clients(rule.drop):
            client.abort()
    if rule.mute is not None:
        server.mute_streams(rule.mute)
    if rule.unmute is not None:
        server.mute_streams(rule.unmute, False)
    if rule.halt is not None:
        server.simulation.halt(rule.halt)
    if rule.resume is not None:
        server.simulation.resume(rule.resume)
    if rule.reject is not None:
        for order in server.simulation.engine.open_orders(rule.reject):
            server.simulation.engine.reject(order.id)
    server.catch_up()
