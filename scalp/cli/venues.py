"""The feeds and brokers that can be named, and what opens them.

A new feed is a module with an `open_feed`, and a line in FEEDS; a new broker is a package with an `open_broker`, and a
line in BROKERS. They are loaded by name when they are opened, like a user's own class: nothing here imports upwards,
and who trades on one feed never loads another. Their protocols are in `scalp.core.ports`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from scalp.core.ports import Account, Feed, Judge, MarketDataSink, never

if TYPE_CHECKING:
    from scalp.cli.settings import Endpoints
    from scalp.net.transport import Transport


class FeedOpener(Protocol):
    """What a feed's module has as `open_feed`."""

    def __call__(
        self,
        endpoints: Endpoints,
        symbols: Sequence[str],
        sink: MarketDataSink,
        rng: random.Random,
        expect_messages: Callable[[], bool],
        account: Account | None = None,
        judge: Judge = never,
        transport: Transport | None = None,
        longest_pause: float | None = None,
    ) -> Feed: ...


class FeedKind(NamedTuple):
    """A feed that can be named."""

    module: str
    owner: str  # whose it is, in words
    per_minute: int  # requests for history, below the owner's limit
    key: str = ""  # the variable that holds its own key; "": it takes the broker's


FEEDS = {
    "polygon": FeedKind("scalp.polygon.feed", "Polygon", 100, key="POLYGON_API_KEY"),
    "iex": FeedKind("scalp.alpaca.feed", "Alpaca", 180),
    "sip": FeedKind("scalp.alpaca.feed", "Alpaca", 180),
}
BROKERS = {
    "alpaca": "scalp.alpaca.account",
}


def open_feed(
    endpoints: Endpoints,
    symbols: Sequence[str],
    sink: MarketDataSink,
    rng: random.Random,
    expect_messages: Callable[[], bool] = lambda: True,
    account: Account | None = None,
    judge: Judge = never,
    transport: Transport | None = None,
    longest_pause: float | None = None,
) -> Feed:
    """The feed that `endpoints` name, not yet running; `rng` is for waits.

    `expect_messages()` says whether silence is a fault, `account` is the open account, `judge` is asked about a refused
    login, `transport` sends questions instead of the feed's own, and `longest_pause` (s) caps what the server may ask
    for between two of them.
    """
    opener: FeedOpener = _load(FEEDS[endpoints.feed].module).open_feed
    return opener(endpoints, symbols, sink, rng, expect_messages, account, judge, transport, longest_pause)


def open_broker(endpoints: Endpoints) -> Account:
    """The account at the broker that `endpoints` name. It connects when it is asked something."""
    return cast(Account, _load(BROKERS[endpoints.broker]).open_broker(endpoints))


def _load(module: str) -> Any:
    return import_module(module)
