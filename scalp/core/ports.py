"""What the program needs from the outside, as protocols: a feed, a broker, and where these deliver.

A feed is one module with `open_feed` and a line in `scalp.cli.venues`; a broker is a package with `open_broker` and a
line there. Where a protocol has a body, a subclass of it need not write its own. All times are ns since the epoch; a
question raises Unreachable (it may be asked again) or Rejected (a definite no).
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from scalp.core.commands import Action, SubmitOrder
from scalp.core.errors import Rejected
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.order_state import Order
from scalp.core.orders import BUY, OrderReport, PositionReport

T = TypeVar("T")
Row = TypeVar("Row", OrderReport, PositionReport)

# -- where the outside delivers ---------------------------------------------------------------------------------------


class MarketDataSink(Protocol):
    """Where a feed delivers. Handlers are synchronous and never raise: a feed just calls them."""

    def on_bar(self, bar: Bar) -> None: ...
    def on_gap(self, symbol: str) -> None: ...  # a bar of it came that could not be used
    def on_trade(self, trade: Trade) -> None: ...
    def on_trade_correction(self, correction: TradeCorrection) -> None: ...
    def on_halt(self, halt: Halt) -> None: ...
    def on_feed_up(self) -> None: ...
    def on_feed_down(self, why: str) -> None: ...


class OrderUpdateSink(Protocol):
    """Where the order-update stream delivers. Up means authenticated and listening."""

    def on_order_update(self, report: OrderReport) -> None: ...
    def on_updates_up(self) -> None: ...
    def on_updates_down(self, why: str) -> None: ...


class OrderListener(Protocol):
    """Where the outcome of actions goes: the fleet."""

    def on_order_update(self, report: OrderReport) -> None: ...
    def on_submit_rejected(self, symbol: str, client_order_id: str, why: str) -> None: ...
    def on_submit_lost(self, symbol: str, client_order_id: str) -> None: ...
    def on_stop_fixed(self, symbol: str, order_id: str, why: str) -> None: ...
    def on_last_trade(self, symbol: str, trade: Trade | None) -> None: ...
    def on_sent(self, action: SubmitOrder) -> None: ...
    def find_order(self, symbol: str, key: str) -> Order | None: ...
    def why_no_entry(self, symbol: str) -> str: ...
    def no_orders(self) -> str: ...
    def may_close(self, action: SubmitOrder) -> bool: ...
    def reconcile_soon(self, why: str) -> None: ...
    def on_mute_updates(self) -> None: ...


class Judge(Protocol):
    """Says whether a refused login is final. `ask` sends the same keys elsewhere: statuses in `refusals` mean no."""

    async def __call__(
        self,
        refusal: Any,
        ask: Callable[[], Awaitable[object]] | None = None,
        refusals: Sequence[int] = (401, 403),
    ) -> bool: ...


async def never(refusal: Any, ask: Callable[[], Awaitable[object]] | None = None, refusals: Sequence[int] = ()) -> bool:
    """No refusal is final: nobody knows better than to try again."""
    return False


# -- what an account answers ------------------------------------------------------------------------------------------


class Clock(NamedTuple):
    """The exchange's clock; times in ns since the epoch. `is_open` is about the regular session."""

    timestamp: int
    is_open: bool
    next_open: int
    next_close: int


class Asset(NamedTuple):
    """What can be traded under a symbol, and whether it can."""

    symbol: str
    name: str
    exchange: str
    active: bool
    tradable: bool


class Listing(NamedTuple, Generic[Row]):
    """The rows of a listing that could be read, and the symbols of those that could not."""

    rows: list[Row]
    unreadable: frozenset[str] = frozenset()


class OrderPage(NamedTuple):
    """One page of orders: the rows that could be read, the symbols of those that could not, and how many it had.

    `most` is how many a page can have.
    """

    rows: list[OrderReport]
    unreadable: frozenset[str]
    length: int
    most: int = 500


class Execution(Struct, frozen=True):
    """One execution. `cumulative` is what its order had filled with it, at `average` dollars a share."""

    id: str  # the same as in an order update
    order_id: str
    symbol: str
    side: str  # "buy" or "sell"
    qty: Decimal
    price: Decimal | None  # None: not reported, or not a possible price
    at: int  # ns
    cumulative: Decimal
    leaves: Decimal | None
    order_status: str
    average: Decimal | None = None

    @property
    def signed(self) -> Decimal:
        """What it did to the position."""
        return self.qty if self.side == BUY else -self.qty

    @property
    def report(self) -> OrderReport:
        """What it says of its order."""
        return OrderReport(
            symbol=self.symbol,
            id=self.order_id,
            client_order_id="",
            side=self.side,
            type="",
            status=self.order_status,
            qty=None if self.leaves is None else self.cumulative + self.leaves,
            filled_qty=self.cumulative,
            filled_avg_price=self.average,
            execution_id=self.id,
            price=self.price,
            execution_qty=self.qty,
            at=self.at,
        )


class Counted(Protocol):
    """Awaits one request within the request limit."""

    async def __call__(self, request: Awaitable[T], /) -> T: ...


# -- streams and feeds ------------------------------------------------------------------------------------------------


class Stream(Protocol):
    """A connection that stays up by itself; it delivers to the sink that it was opened with."""

    name: str
    heard_at: float | None  # loop time (s) of the last message, None before the first
    heard: dict[str, float]  # the same by channel, where there is more than one

    @property
    def is_up(self) -> bool: ...

    async def run(self) -> None:
        """Stay connected until cancelled. Raises UserError for a refused login that is final."""

    async def try_once(self, listen: float) -> None:
        """One connection: log in, listen for `listen` seconds, close it. Raises whatever ends it before."""
        return None

    def reconnect(self, why: str) -> None:
        """Replace the connection, if there is one."""
        return None


class OrderUpdates(Stream, Protocol):
    """Reports every order of the account to an OrderUpdateSink."""


class History(Protocol):
    """Past market data."""

    def history(self, symbols: Sequence[str], start: int, end: int) -> AsyncIterator[tuple[str, list[Bar]]]:
        """Finished minute bars from `start` to `end` (ns), symbol by symbol, oldest first; a symbol without bars too.

        Raises UserError where the plan does not allow it.
        """

    async def latest_trades(self, symbols: Sequence[str]) -> Mapping[str, Trade]:
        """The latest trade that counts as last sale of each symbol that has one."""


class Feed(Stream, History, Protocol):
    """Delivers minute bars and, where it has them, trades and halts to a MarketDataSink."""

    is_exclusive: bool  # a new connection throws out an older one with the same key

    def streams_bars(self, symbol: str) -> bool:
        """Whether minute bars of `symbol` come (known once subscribed)."""

    def streams_trades(self, symbol: str) -> bool:
        """Whether the trades of `symbol` come; where they don't, the latest is asked for before a buy."""

    async def latest_trade(self, symbol: str) -> Trade | None:
        """The latest trade that counts as last sale; None where there is none."""

    async def close(self) -> None:
        """Close what it opened for its questions."""
        return None


# -- brokers ----------------------------------------------------------------------------------------------------------


class RequestLimit(Protocol):
    """How many requests the broker still takes."""

    limit: int = 0  # a minute

    @property
    def remaining(self) -> int:
        return 0

    @property
    def resets_in(self) -> float:  # seconds
        return 0.0


class NoLimit(RequestLimit):
    """The broker takes any number of requests."""


class Broker(Protocol):
    """Performs actions; their outcome goes to the listener that it was made for."""

    round_trips: list[float]  # seconds from an order's sending to its answer, in this run

    @property
    def limit(self) -> RequestLimit:
        return NoLimit()

    def start(self) -> None:
        """Orders may be sent soon: have connections ready."""
        return None

    def perform(self, action: Action) -> None:
        """Start `action`; returns at once, raises nothing."""

    async def ask(self, symbol: str, order_id: str) -> bool:
        """Ask for an order by the broker's id; the answer goes to the listener. False: there is no such order."""

    async def counted(self, request: Awaitable[T]) -> T:
        """Await one question to the account, counted in the request limit."""
        return await request

    @property
    def has_plenty(self) -> bool:
        """More than half of the minute's requests are left."""
        return True

    async def room(self) -> None:
        """Wait until the request limit has room for what is not urgent."""
        return None

    def on_stream_told(self, report: OrderReport) -> None:
        """The order updates reported this order."""
        return None

    def on_updates_up(self) -> None:
        """The order updates are up: they will not report what happened before."""
        return None

    async def close(self) -> None:
        """Give up what is under way."""
        return None


class FeeCharged(Struct, frozen=True):
    """`amount` dollars (below 0: given back) that the account was charged for the trades of the New York day `date`.

    `kind` is the broker's word: REG, TAF or CAT, perhaps others.
    """

    id: str
    kind: str
    amount: Decimal
    date: str  # YYYY-MM-DD


class Activities(Protocol):
    """What the account executed since a moment, read again and again."""

    unreadable: set[str]  # symbols with a row that could not be read

    async def read(self) -> list[Execution]:
        """All executions since then, oldest first."""

    async def transfers(self, since: int) -> list[tuple[str, Decimal, int]]:
        """Shares that came (or went) after `since` by no order: (symbol, shares, when)."""

    async def fees(self) -> list[FeeCharged]:
        """What was charged since then."""


class NoActivities(Activities):
    """The account does not report what it executed: only listings can explain what is held."""

    def __init__(self) -> None:
        self.unreadable = set()

    async def read(self) -> list[Execution]:
        raise Rejected(404, 0, "the account tells no executions")

    async def transfers(self, since: int) -> list[tuple[str, Decimal, int]]:
        raise Rejected(404, 0, "the account tells no transfers")

    async def fees(self) -> list[FeeCharged]:
        raise Rejected(404, 0, "the account tells no fees")


class Account(Protocol):
    """An account at a broker: what can be asked of it, its order updates, and the broker that performs its orders."""

    async def clock(self) -> Clock: ...

    async def calendar(self, start: dt.date, end: dt.date) -> list[tuple[dt.date, int, int]]:
        """(day, open, close) of each trading day from `start` to `end` inclusive; early closes included."""

    async def get_account(self) -> Any:
        """A mapping: `status` ("ACTIVE" may trade), where known `equity` and `buying_power`, and true blocks."""
        return {"status": "ACTIVE"}

    async def asset(self, symbol: str) -> Asset:
        """Raises Rejected with status 404 for an unknown symbol."""
        return Asset(symbol, "", "", active=True, tradable=True)

    async def assets(self) -> list[Asset]:
        """All that can be traded; nothing where the broker has no such list."""
        return []

    async def open_orders(self, symbols: Sequence[str] | None = None) -> Listing[OrderReport]:
        """All open orders (of `symbols`), oldest first."""

    async def orders(
        self, status: str, symbols: Sequence[str] | None = None, after: int | None = None, direction: str = "asc"
    ) -> OrderPage:
        """One page of "open", "closed" or "all" orders (of `symbols`) submitted after `after`, in that direction."""

    async def positions(self) -> Listing[PositionReport]: ...

    async def latest_trade(self, symbol: str) -> Trade | None:
        """The latest trade that the broker knows of, for where there is no feed."""
        return None

    def activities(self, since: int, counted: Counted) -> Activities:
        """What it executed since then; `counted` awaits one request."""
        return NoActivities()

    def order_updates(
        self, sink: OrderUpdateSink, rng: random.Random, is_final: Callable[[Any], Awaitable[bool]] = never
    ) -> OrderUpdates:
        """Its order updates, not yet running; `rng` is for waits, `is_final` judges a refused login."""

    def broker(
        self,
        listener: OrderListener,
        now: Callable[[], int],
        reserve: Callable[[], int],
        latest_trade: Callable[[str], Awaitable[Trade | None]],
        *,
        longest_pause: float = 60.0,
        asks_by_id: bool = True,
    ) -> Broker:
        """The broker that performs the actions of `listener`.

        `reserve()` returns how many requests its exits and cancels may take; `longest_pause` (s) caps the pause that an
        answer about too many requests may ask for; without `asks_by_id` no order is asked for by id in passing.
        """

    async def close(self) -> None:
        return None
