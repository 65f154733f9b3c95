"""What goes wrong in one simulated session, drawn from its seed.

Each session picks a few kinds of trouble and how often they strike (swarm testing): a session in which everything goes
wrong at once explores less than many in which some things do.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

# Kinds of trouble, by where they strike.
REQUEST_FAULTS = (
    "post refused",  # a definite no to an order
    "connection refused",  # nothing arrived
    "request lost",  # nothing arrived, and the client waits until its timeout
    "request late",  # arrives seconds later
    "answer lost",  # done, and the client waits until its timeout
    "answer late",
    "5xx before",  # not done
    "5xx after",  # done
    "429",
)
LISTING_FAULTS = ("listing lags", "listings of two instants", "listing fails")
UPDATE_FAULTS = ("update lost", "update doubled", "update late")
EVENTS = (
    "orders stream dropped",
    "orders stream mute",
    "data stream dropped",
    "data stream mute",
    "streams flapping",
    "handshakes refused",
    "process killed",
    "order rejected by the venue",
    "halt",
    "hand buys",
    "hand buys in a gap of the stream",
    "hand cancels",
    "hand sells",
    "hand replaces",
    "hand places a limit buy",
)
KINDS = REQUEST_FAULTS + LISTING_FAULTS + UPDATE_FAULTS + EVENTS


@dataclass
class Plan:
    """The trouble of one session. `rates`: chance per request, listing or update; `per_hour`: events of each kind.

    `ends_at`: seconds after the start from which on nothing goes wrong any more.
    """

    rng: random.Random
    rates: dict[str, float]
    per_hour: dict[str, float]
    ends_at: float
    struck: Counter[str] = field(default_factory=Counter)
    last_at: float = 0.0  # loop time of the last trouble, its duration included

    @classmethod
    def draw(cls, rng: random.Random, minutes: float, without: frozenset[str] = frozenset()) -> Plan:
        chosen = [kind for kind in KINDS if rng.random() < 0.3]
        rates = {kind: rng.choice((0.01, 0.03, 0.1)) for kind in chosen if kind not in EVENTS}
        per_hour = {kind: rng.choice((1.0, 3.0, 6.0)) for kind in chosen if kind in EVENTS}
        for kind in without:
            rates.pop(kind, None)
            per_hour.pop(kind, None)
        return cls(rng, rates, per_hour, minutes * 60 * rng.uniform(0.5, 0.85))

    def strikes(self, kind: str, now: float, lasts: float = 0.0) -> bool:
        """Whether trouble of this kind, felt for `lasts` seconds, strikes here."""
        rate = self.rates.get(kind)
        if rate is None or now >= self.ends_at or self.rng.random() >= rate:
            return False
        self.note(kind, now + lasts)
        return True

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
