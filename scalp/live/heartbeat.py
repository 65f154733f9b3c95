"""Signs of life: a line every 5 minutes, and a warning about a stream that has been down for more than a minute.

Both are looked at with every checkup, in exchange time; never while an event is handled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from scalp.core.events import Heartbeat, StreamDown, StreamUp
from scalp.core.fleet import Fleet
from scalp.core.orders import BUY, SELL
from scalp.core.units import MINUTE, SECOND

HEARTBEAT_EVERY = 5 * MINUTE
DOWN_TOO_LONG = MINUTE
LOUD_POSITIONS = 10  # up to so many are listed in one line


class Stream(Protocol):
    """What a stream says of its health.

    `heard_at` is loop time (s) of the last message, None before the first; `heard` the same by channel.
    """

    name: str
    heard_at: float | None
    heard: dict[str, float]

    @property
    def is_up(self) -> bool: ...


class Requests(Protocol):
    """The request limit of this minute."""

    limit: int

    @property
    def remaining(self) -> int: ...


class SignsOfLife:
    """Reports on `fleet` and `streams` to the fleet's listeners. `loop_time` (s) is the time that `heard_at` uses."""

    def __init__(
        self, fleet: Fleet, streams: Sequence[Stream], requests: Requests, loop_time: Callable[[], float]
    ) -> None:
        self._fleet = fleet
        self._streams = streams
        self._requests = requests
        self._loop_time = loop_time
        self._told_at: int | None = None
        self._down_since: dict[str, int] = {}  # ns, by the name of the stream
        self._told_down: set[str] = set()

    def look(self, at: int) -> None:
        """A checkup, at `at` (exchange time, ns)."""
        for stream in self._streams:
            self._look_at(stream, at)
        if self._told_at is None:
            self._told_at = at  # the start has said all this already
        elif at - self._told_at >= HEARTBEAT_EVERY - SECOND:  # checkups come a little early or late
            self._told_at = at
            self._fleet.tell(Heartbeat(at, tuple(self._parts())))

    def _look_at(self, stream: Stream, at: int) -> None:
        if stream.is_up:
            since = self._down_since.pop(stream.name, at)
            if stream.name in self._told_down:
                self._told_down.discard(stream.name)
                self._fleet.tell(StreamUp(at, stream.name, (at - since) // SECOND))
            return
        since = self._down_since.setdefault(stream.name, at)
        if at - since > DOWN_TOO_LONG and stream.name not in self._told_down:
            self._told_down.add(stream.name)
            self._fleet.tell(StreamDown(at, stream.name, (at - since) // SECOND))

    def _parts(self) -> Iterator[str]:
        now = self._loop_time()
        for stream in self._streams:
            heard = "no message yet" if stream.heard_at is None else f"last message {now - stream.heard_at:.0f} s ago"
            # Channels that flow don't vouch for others: bars, without which nothing is bought, are named last.
            channels = [f", {name} {now - stream.heard[name]:.0f} s ago" for name in sorted(stream.heard, reverse=True)]
            yield f"{stream.name} {'up' if stream.is_up else 'DOWN'}, {heard}{''.join(channels)}"
        ledgers = [algo.ledger for algo in self._fleet.algos.values()]
        held = [f"{ledger.symbol} {ledger.position.normalize():f}" for ledger in ledgers if ledger.position]
        listed = ", ".join(held) if len(held) <= LOUD_POSITIONS else f"{len(held)} symbols"
        yield f"holding {listed or 'nothing'}"
        orders = [order for ledger in ledgers for order in ledger.open_orders]
        sides = (f"{sum(order.side == side for order in orders)} {side}s" for side in (BUY, SELL))
        yield f"working: {', '.join(sides)}" if orders else "no order working"
        yield f"{self._requests.remaining} of {self._requests.limit} requests left"
