"""The network between the bot and the exchange: what it loses, delays and refuses, as the seed's plan says."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scalp.exchange.faults import Faults
from scalp.exchange.orders import Update
from scalp.exchange.rest import Response, reply
from tests.simulation.faults import ENDPOINTS, REQUESTS, size
from tests.simulation.network import DOWN, endpoint_of

if TYPE_CHECKING:
    from tests.chaos.session import ChaosSession

EVENTS = (
    "orders stream dropped",
    "orders stream mute",
    "data stream dropped",
    "data stream mute",
    "streams flapping",
    "handshakes refused",
    "data logins refused",
    "process killed",
    "order rejected by the venue",
    "halt",
    "hand buys",
    "hand places a limit buy",
    "hand sells",
    "hand cancels",
    "hand replaces",
)
# These strike when it hurts most: at a buy, or at any order of the bot's.
AT_ORDERS = ("orders stream dropped at a buy", "orders stream mute at a buy", "process killed at an order")
RATES = (*REQUESTS, "listing fails", "update lost", "update doubled", "update late")
# One endpoint alone down, or answering 4xx, for a while.
EPISODES = tuple(ENDPOINTS)
KINDS = (*RATES, *EPISODES, *EVENTS, *AT_ORDERS)
SHORT, LONG = 5.0, 300.0  # seconds an endpoint is down

LATEST_ARRIVAL = 6.0  # seconds after which nothing that was sent before still arrives
FELT = 65.0  # seconds for which a failed request is felt
DOWN_FELT = 100.0  # the same where it was one of many to the same endpoint: what waits, waits longer each time
LISTINGS = ("/v2/orders", "/v2/positions")
FOREVER = 600.0  # longer than any client waits
PAGE = b"<html><body>trouble</body></html>"


@dataclass
class Plan:
    """The trouble of one session. `rates`: chance per request, listing or update; `per_hour`: events of each kind.

    `episodes`: by kind, from when until when, and which of the answers in `DOWN`. `ends_at`: seconds after the start
    from which on nothing goes wrong any more.
    """

    rng: random.Random
    rates: dict[str, float]
    per_hour: dict[str, float]
    episodes: dict[str, tuple[float, float, int]]
    ends_at: float
    struck: Counter[str] = field(default_factory=Counter)
    last_at: float = 0.0  # loop time of the last trouble, its duration included

    @classmethod
    def draw(cls, rng: random.Random, ends_at: float) -> Plan:
        """Some kinds of trouble, each as often as the dice say."""
        chosen = [kind for kind in KINDS if rng.random() < (0.2 if kind in EPISODES else 0.4)]
        rates = {kind: rng.choice((0.01, 0.03, 0.1)) for kind in chosen if kind in RATES}
        rates |= {kind: rng.choice((0.1, 0.3)) for kind in chosen if kind in AT_ORDERS}
        episodes = {}
        for kind in chosen:
            if kind in EPISODES:
                start = rng.uniform(0, ends_at)
                episodes[kind] = (start, min(start + size(rng, SHORT, LONG), ends_at), rng.randrange(len(DOWN)))
        per_hour = {kind: rng.choice((4.0, 10.0, 20.0)) for kind in chosen if kind in EVENTS}
        return cls(rng, rates, per_hour, episodes, ends_at)

    def strikes(self, kind: str, now: float, lasts: float = 0.0) -> bool:
        """Whether trouble of this kind, felt for `lasts` seconds, strikes here."""
        rate = self.rates.get(kind)
        if rate is None or now >= self.ends_at or self.rng.random() >= rate:
            return False
        self.note(kind, now + lasts)
        return True

    def down(self, asked: tuple[str, str], now: float) -> tuple[str, int] | None:
        """The kind of trouble that this endpoint (method and name) has now, and which answer it gives."""
        for kind, (start, end, answer) in self.episodes.items():
            if ENDPOINTS[kind] == asked and start <= now < end:
                return kind, answer
        return None

    def note(self, kind: str, until: float) -> None:
        self.struck[kind] += 1
        self.last_at = max(self.last_at, until)

    def times(self, kind: str) -> list[float]:
        """When events of this kind strike, in seconds after the start."""
        per_hour = self.per_hour.get(kind, 0.0)
        times = []
        at = 0.0
        while per_hour:
            at += self.rng.expovariate(per_hour / 3600)
            if at >= self.ends_at:
                break
            times.append(at)
        return times


class Network(Faults):
    """All times are seconds of exchange time."""

    def __init__(self, session: ChaosSession) -> None:
        self._session = session
        self._plan = session.plan
        self.refuse_handshakes_until = 0.0
        self.refuse_logins_until = 0.0

    def _strikes(self, kind: str, lasts: float = FELT) -> bool:
        struck = self._plan.strikes(kind, self._session.elapsed, lasts)
        if struck:
            self._session.write("FAULT", kind)
        return struck

    async def request(self, method: str, path: str, body: bytes, handle: Callable[[], Response]) -> Response | None:
        session, rng = self._session, self._plan.rng
        session.on_request()
        if down := self._plan.down((method, endpoint_of(path)), session.elapsed):
            kind, n = down
            self._plan.note(kind, session.elapsed + DOWN_FELT)
            session.write("FAULT", kind)
            status, words = DOWN[n]
            if method == "POST" and 400 <= status < 500:
                session.books.on_rejected(body)
            if not status:
                await asyncio.sleep(FOREVER)
                return None
            return Response(status, {}, words)
        if method == "POST" and self._strikes("post refused"):
            session.books.on_rejected(body)
            return reply({"code": 40310000, "message": "insufficient buying power"}, 403)
        if self._strikes("connection refused"):
            return None
        if self._strikes("request lost"):
            await asyncio.sleep(FOREVER)
            return None
        if self._strikes("5xx before"):
            return Response(503, {"Content-Type": "text/html"}, PAGE)
        if self._strikes("429"):
            headers = {"Retry-After": "3"} if rng.random() < 0.5 else {}
            return Response(429, headers, b'{"code":42910000,"message":"rate limit exceeded"}')
        if method == "GET" and path in LISTINGS and self._strikes("listing fails"):
            return reply({"code": 50010000, "message": "internal server error occurred"}, 500)
        if self._strikes("request late"):
            await asyncio.sleep(rng.uniform(1.0, LATEST_ARRIVAL))
        answer = handle()
        if method == "POST" and answer.status in (403, 422):
            session.books.on_rejected(body)
        if self._strikes("answer lost"):
            if rng.random() < 0.5:
                await asyncio.sleep(FOREVER)
            return None
        if self._strikes("answer late"):
            await asyncio.sleep(rng.uniform(1.0, 12.0))
        elif self._strikes("5xx after"):
            return Response(504, {"Content-Type": "text/html"}, PAGE)
        return answer

    def update(self, update: Update) -> Sequence[float]:
        if self._strikes("update lost", 35.0):
            self._session.books.on_told(update, "fill lost")
            return ()
        delays = [0.0]
        if self._strikes("update late", 10.0):
            delays = [self._plan.rng.uniform(0.1, 8.0)]
        if self._strikes("update doubled", 10.0):
            delays.append(self._plan.rng.uniform(0.0, 8.0))
        self._session.books.on_told(update, "fill late" if delays[0] else "")
        return delays

    def handshake(self, kind: str) -> bool:
        return self._session.elapsed < self.refuse_handshakes_until

    def login(self, kind: str) -> bool:
        return self._session.elapsed < self.refuse_logins_until
