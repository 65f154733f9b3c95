"""What goes wrong in one simulated session, drawn from its seed.

Each session picks a few kinds of trouble, and how often and how long they strike (swarm testing): a session in which
everything goes wrong at once explores less than many in which some things do. Each kind has a draw of its own, so that
switching one off leaves the others as they are. Sizes are drawn evenly in the logarithm: what lasts a second is as
likely as what lasts ten minutes.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

# By what may strike each request, listing, update or order ...
REQUESTS = (
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
LISTINGS = ("listing lags", "listings of two instants", "listing fails")
UPDATES = ("update lost", "update doubled", "update late", "odd price in an update")
ORDERS = ("sell refused for now",)
RATES = (*REQUESTS, *LISTINGS, *UPDATES, *ORDERS, "odd price by id")

# ... by what lasts for a while, or until the end of the day ...
ENDPOINTS = {
    "orders by id down": ("GET", "order"),
    "orders by client id down": ("GET", "by client id"),
    "orders listing down": ("GET", "orders"),
    "positions listing down": ("GET", "positions"),
    "activities down": ("GET", "activities"),
    "clock down": ("GET", "clock"),
    "calendar down": ("GET", "calendar"),
    "account down": ("GET", "account"),
    "cancels down": ("DELETE", "order"),
    "new orders down": ("POST", "orders"),
    "history down": ("GET", "history"),
}
LIES = (
    "positions empty",
    "orders empty",
    "a position missing",
    "one position only",
    "an order missing",
    "one order only",
    "foreign odd rows",
    "own row unreadable",
)
CLOCKS = ("clock says closed", "clock says another close", "clock leaps")
EPISODES = (
    *ENDPOINTS,
    *LIES,
    *CLOCKS,
    "order logins refused",
    "data logins refused",
    "bars stop",
    "history lags",
    "market orders stuck",
    "activities lag",
)

# ... and by what happens at an instant.
HANDS = (
    "hand buys",
    "hand buys in a gap of the stream",
    "hand cancels",
    "hand sells",
    "hand replaces",
    "hand places a limit buy",
    "another program in our symbols",
)
EVENTS = (
    "orders stream dropped",
    "orders stream mute",
    "data stream dropped",
    "data stream mute",
    "streams flapping",
    "handshakes refused",
    "process killed",
    "restarted at once",
    "asked to stop",
    "order rejected by the venue",
    "halt",
    "bad print",
    "older print corrected",
    "close moved",
    *HANDS,
)
# True of the whole session.
STANDING = (
    "activities forbidden",
    "position intent ignored",
    "held from the night before",
    "another program elsewhere",
)
PLAIN = (*RATES, *EPISODES, *EVENTS, *STANDING)

# Only where exits have a stop at the broker; drawn apart, so that the sessions without one stay what they are.
GROUP_RATES = (
    "both legs fill",
    "a part filled and then neither leg acts",
    "a leg's end never told",
    "take-profit ends replaced",
)
GROUP_EPISODES = (
    "legs not listed",  # not even inside their parent
    "stop class refused",
    "stop triggers down",
)
STOP_HALTED = "stop cancelled in a halt"
GROUPS = (*GROUP_RATES, *GROUP_EPISODES, STOP_HALTED)
KINDS = (*PLAIN, *GROUPS)

HOW_MANY = (1, 2, 3, 4, 6, 9, 14)  # kinds in one session
HOW_MANY_OF_GROUPS = (0, 1, 1, 2, 3)
SHORT, LONG = 2.0, 600.0  # seconds an episode lasts, unless it lasts until the end of the day
UNTIL_THE_END = 0.15
AT_THE_END, LAST_MINUTES = 0.3, 7.0  # so many strike in the last minutes
LAST_SECONDS = 5.0
AT_THE_START = 0.2  # of the lies: whoever begins then has heard nothing else
STOPS = {"asked to stop", "close moved"}  # at most once in a session
# What shows only together with something else: one of these comes along, mostly.
COMPANIONS = {
    "orders by id down": ("update lost", "update late", "hand buys in a gap of the stream"),
    "orders by client id down": ("request lost", "5xx before", "connection refused", "answer lost"),
    "orders listing down": ("update lost", "request lost", "process killed"),
    "positions listing down": ("update lost", "hand buys in a gap of the stream", "process killed"),
    "activities down": ("hand buys in a gap of the stream", "positions empty", "listing lags"),
    "activities lag": ("hand buys in a gap of the stream", "a position missing", "listing lags"),
    "activities forbidden": ("hand buys in a gap of the stream", "positions empty", "listing lags"),
    "history down": ("data stream dropped", "restarted at once"),
    "history lags": ("data stream dropped", "bars stop"),
    "calendar down": ("close moved", "restarted at once", "clock says another close"),
    "clock down": ("close moved", "restarted at once"),
    "account down": ("restarted at once", "process killed"),
    "restarted at once": ("listing lags", "listings of two instants", "activities lag"),
    "market orders stuck": ("hand buys", "asked to stop"),
    "position intent ignored": ("update lost", "listing lags", "answer lost", "request late", "update doubled"),
    "odd price by id": ("update lost", "update late"),
    "own row unreadable": ("held from the night before", "hand buys in a gap of the stream"),
}


# Where every witness of a sale just before a restart is wrong in the same moment, it is the broker's refusal to open a
# short position that stands between a bot and one.
BLINDING = frozenset({"listing lags", "activities lag", "orders empty", "position intent ignored"})


@dataclass(frozen=True)
class Episode:
    """`dice` is a number of its own, for what the kind has to choose."""

    start: float
    end: float
    dice: float

    def choose(self, *values: object) -> object:
        return values[int(self.dice * len(values))]


def size(rng: random.Random, least: float, most: float) -> float:
    """Between the two, evenly in the logarithm."""
    return least * float((most / least) ** rng.random())


@dataclass
class Plan:
    """The trouble of one session; times are seconds after its start."""

    length: float
    rates: dict[str, float] = field(default_factory=dict)  # chance per request, listing, update or order
    episodes: dict[str, list[Episode]] = field(default_factory=dict)
    moments: dict[str, list[float]] = field(default_factory=dict)
    standing: set[str] = field(default_factory=set)
    ends_at: float = 0.0  # from here on nothing new begins
    struck: Counter[str] = field(default_factory=Counter)
    _rngs: dict[str, random.Random] = field(default_factory=dict)
    _begun: set[tuple[str, float]] = field(default_factory=set)

    @classmethod
    def draw(cls, seed: int, minutes: int, without: frozenset[str], only: frozenset[str] | None) -> Plan:
        """`only` these kinds, and each of them for sure; or those that the seed chooses, `without` some."""
        dice = random.Random(f"plan {seed}")
        length = minutes * 60.0
        chosen = set(dice.sample(PLAIN, dice.choice(HOW_MANY)))
        for kind in sorted(chosen & set(COMPANIONS)):
            if dice.random() < 0.8:
                chosen.add(dice.choice(COMPANIONS[kind]))
        if chosen >= BLINDING:
            chosen.discard("position intent ignored")
        if only is not None:
            chosen = set(only)
        plan = cls(length, ends_at=length if dice.random() < 0.5 else length * dice.uniform(0.4, 0.85))
        for kind in PLAIN:
            if kind not in chosen or kind in without:
                continue
            rng = plan._rngs[kind] = random.Random(f"{kind} {seed}")
            if kind in RATES:
                plan.rates[kind] = rng.choice((0.01, 0.03, 0.1, 0.3))
            elif kind in STANDING:
                plan.standing.add(kind)
            elif kind in EPISODES:
                plan.episodes[kind] = plan._draw_episodes(kind, rng)
            else:
                count = 1 if kind in STOPS else min(8, 1 + int(rng.expovariate(0.5)))
                times = [plan._draw_time(rng) for _ in range(count)]
                if kind in HANDS and rng.random() < AT_THE_END and plan.ends_at == length:
                    times.append(length - rng.uniform(0.2, LAST_SECONDS))
                plan.moments[kind] = sorted(times)
        return plan

    def draw_groups(self, seed: int, without: frozenset[str], only: frozenset[str] | None) -> None:
        """What goes wrong with exits that have a stop at the broker."""
        dice = random.Random(f"groups {seed}")
        chosen = set(dice.sample(GROUPS, dice.choice(HOW_MANY_OF_GROUPS))) if only is None else only
        for kind in GROUPS:
            if kind not in chosen or kind in without:
                continue
            rng = self._rngs[kind] = random.Random(f"{kind} {seed}")
            if kind in GROUP_RATES:
                self.rates[kind] = rng.choice((0.1, 0.3, 0.6, 1.0))
            elif kind in GROUP_EPISODES:
                self.episodes[kind] = self._draw_episodes(kind, rng)
            else:
                self.moments[kind] = sorted(self._draw_time(rng) for _ in range(rng.choice((1, 2, 4))))

    def _draw_episodes(self, kind: str, rng: random.Random) -> list[Episode]:
        episodes = []
        if kind == "market orders stuck":  # in the liquidation, mostly: few are sent before
            start = max(0.0, self.length - rng.uniform(20, 320))
            episodes.append(Episode(start, min(start + size(rng, 30, LONG), self.length), rng.random()))
        for _ in range(rng.choice((1, 1, 2, 4))):
            start = max(0.0, self._draw_time(rng) - 0.1 * self.ends_at)  # some from before the bot's start
            if kind in LIES and rng.random() < AT_THE_START:
                start = 0.0
            is_lasting = self.ends_at == self.length and rng.random() < UNTIL_THE_END
            end = self.length + 600 if is_lasting else min(start + size(rng, SHORT, LONG), self.ends_at)
            episodes.append(Episode(start, end, rng.random()))
        return episodes

    def _draw_time(self, rng: random.Random) -> float:
        first = max(0.0, self.length - LAST_MINUTES * 60)
        if rng.random() < AT_THE_END and self.ends_at == self.length:
            return rng.uniform(first, self.length)
        return rng.uniform(0, self.ends_at)

    def rng(self, kind: str) -> random.Random:
        return self._rngs[kind]

    def strikes(self, kind: str, now: float) -> bool:
        """Whether trouble of this kind strikes here."""
        rate = self.rates.get(kind)
        if rate is None or now >= self.ends_at or self._rngs[kind].random() >= rate:
            return False
        self.struck[kind] += 1
        return True

    def episode(self, kind: str, now: float) -> Episode | None:
        """The one that is on now, if any."""
        for episode in self.episodes.get(kind, ()):
            if episode.start <= now < episode.end:
                if (kind, episode.start) not in self._begun:
                    self._begun.add((kind, episode.start))
                    self.struck[kind] += 1
                return episode
        return None

    def stands(self, kind: str) -> bool:
        """Whether it is so in this session; counted by whoever makes it so."""
        return kind in self.standing
