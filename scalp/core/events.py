"""What the core reports beside its actions: one struct for each kind of thing that somebody may want to know.

The log, the journal, notifications and the like are listeners (see `scalp.core.bus`): each takes the kinds it knows,
and none reads what another made of them. `at` is exchange time in ns. Prices are dollars, quantities shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from scalp.core.clock import Session
from scalp.core.commands import Action, SubmitOrder
from scalp.core.decimals import ZERO
from scalp.core.fees import FREE, Rates
from scalp.core.market_data import Bar
from scalp.core.orders import OrderReport
from scalp.core.ports import Execution, FeeCharged

EXIT_SIGNAL = "exit signal"  # the reason for leaving a symbol, where the user's class said so
MARKOUTS = (1, 5, 30, 60)  # seconds after an entry and an exit at which the price is looked at

# -- one symbol's trading ---------------------------------------------------------------------------------------------


class Transition(Struct, frozen=True, gc=False):
    """The state machine moved from state `old` to `new`."""

    symbol: str
    at: int
    old: str
    new: str
    cause: str


class OrderFound(Struct, frozen=True, gc=False):
    """An order that was not known before: made by hand, or by an earlier run."""

    symbol: str
    at: int
    side: str
    qty: Decimal | None
    type: str
    limit_price: Decimal | None


class Fill(Struct, frozen=True, gc=False):
    """Shares changed hands, at `price` on average; `profit` is what a sell realised, gross.

    `rates` are the day's fees: they are applied only when somebody asks.
    """

    symbol: str
    at: int
    side: str
    qty: Decimal
    price: Decimal
    profit: Decimal
    rates: Rates = FREE

    @property
    def net(self) -> Decimal:
        """`profit` after the fees of both sides, for a sell."""
        return self.profit - self.rates.of_trip(self.qty, self.price)


class OrderEnded(Struct, frozen=True, gc=False):
    """An order ended otherwise than filled: `status` is the broker's word for how."""

    symbol: str
    at: int
    side: str
    status: str
    filled_qty: Decimal
    qty: Decimal | None


class Rejected(Struct, frozen=True, gc=False):
    """The broker, or a risk rule, refused an order.

    A sell goes again after `wait` seconds; with a wait of 0 another one, of `offering` shares, goes at once.
    """

    symbol: str
    at: int
    side: str
    qty: Decimal | None
    why: str
    wait: float = 0.0
    may_pass: bool = False
    offering: int = 0


class SignalBlocked(Struct, frozen=True, gc=False):
    """A signal that bought nothing. It may come again with each bar."""

    symbol: str
    at: int
    why: str


class RiskRuleStruck(Struct, frozen=True, gc=False):
    """A risk rule, or the class's exit signal, called for leaving `symbol`; "": for selling all and buying no more."""

    symbol: str
    at: int
    why: str


class Oversold(Struct, frozen=True, gc=False):
    """Both legs of an exit have filled: so many shares are short, and are bought back at market."""

    symbol: str
    at: int
    qty: int


class Liquidating(Struct, frozen=True, gc=False):
    """The close is near: what is held is sold at market from here on."""

    symbol: str
    at: int
    held: Decimal
    open_orders: int


# -- the fleet --------------------------------------------------------------------------------------------------------


class SessionSet(Struct, frozen=True, gc=False):
    """The session began, or its hours changed."""

    at: int
    session: Session


class Blocked(Struct, frozen=True, gc=False):
    """Nothing is bought any more, in any symbol: the bot does not see all it needs."""

    at: int
    why: str


class Unblocked(Struct, frozen=True, gc=False):
    """The bot sees all it needs. `but` says where it buys nothing all the same, "" where there is no such symbol."""

    at: int
    but: str


class BarHeard(Struct, frozen=True, gc=False):
    at: int
    bar: Bar


class HistoryHeard(Struct, frozen=True, gc=False):
    """Bars that were fetched afterwards."""

    at: int
    bars: Sequence[Bar]


class OrderDecided(Struct, frozen=True, gc=False):
    """What was decided at `at`; an order may have to wait until it is sent. Reported after what was sent at once."""

    at: int
    action: Action


class OrderSent(Struct, frozen=True, gc=False):
    at: int
    action: SubmitOrder


class OrderReported(Struct, frozen=True, gc=False):
    """Some source reported an order, whatever that changed."""

    at: int
    report: OrderReport


class OrdersListed(Struct, frozen=True, gc=False):
    """Orders listed at the start: the listed position includes what they had filled."""

    at: int
    reports: Sequence[OrderReport]


class OrderMoved(Struct, frozen=True, gc=False):
    """What the report of an order with fills changed: `moved` shares more are held, now `position` in all."""

    at: int
    report: OrderReport
    symbol: str
    id: str
    client_order_id: str
    side: str
    type: str
    limit_price: Decimal | None
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    moved: Decimal
    position: Decimal


class PositionTaken(Struct, frozen=True, gc=False):
    """The position, after something other than a fill may have moved it."""

    symbol: str
    at: int
    qty: Decimal
    entry_price: Decimal | None


class DayRecalled(Struct, frozen=True, gc=False):
    """What the broker reports of today: executions in watched symbols, and their orders."""

    at: int
    executions: Sequence[Execution]
    orders: Sequence[OrderReport]


class FeesCharged(Struct, frozen=True, gc=False):
    """What the broker took, for whatever day."""

    at: int
    fees: Sequence[FeeCharged]


class TripSeen(Struct, frozen=True, gc=False):
    """What was seen so far of a round trip beside its fills; prices are those of the last trade, None: none was seen.

    `entered_at` is when its first fill was reported, or when the bot found the shares as it started. `entry` and
    `exit` are by seconds after these: see MARKOUTS. It is sent again as more is seen; `reason` is "" while it is held.
    """

    symbol: str
    at: int
    entered_at: int
    reason: str = ""
    signal_price: float | None = None
    signal_at: int | None = None  # when the buy was sent
    received_price: float | None = None  # when the last fill of the buy was reported
    decided_at: int | None = None  # the first sell
    sent_at: int | None = None
    sent_price: float | None = None
    acknowledged_at: int | None = None
    acknowledged_price: float | None = None
    low: float | None = None  # while it was held
    high: float | None = None
    entry: Mapping[int, float] = {}
    exit: Mapping[int, float] = {}


class Plotted(Struct, frozen=True, gc=False):
    """The algo's class gave `value` for its line `name`, at the bar that started at `at`."""

    symbol: str
    at: int
    name: str
    value: float


class OrderFailed(Struct, frozen=True, gc=False):
    """An order came to nothing: `kind` is "refused", "rail", "lost" or "gone", `key` one of its ids."""

    symbol: str
    at: int
    key: str
    kind: str
    why: str


# -- the session ------------------------------------------------------------------------------------------------------


class Doubt(Struct, frozen=True, gc=False):
    """The listed position differs from the executions and is not believed: nothing is bought until they agree."""

    symbol: str
    at: int
    held: Decimal
    listed: Decimal


class StreamDown(Struct, frozen=True, gc=False):
    """A stream has been down for so many seconds, which is too long."""

    at: int
    name: str
    seconds: int


class StreamUp(Struct, frozen=True, gc=False):
    """The stream is up again, after so many seconds."""

    at: int
    name: str
    seconds: int


class Heartbeat(Struct, frozen=True, gc=False):
    """All is well, or not: see `parts`."""

    at: int
    parts: Sequence[str]


class SessionOver(Struct, frozen=True, gc=False):
    """The session has ended; `result` is what came of it, in words."""

    at: int
    result: str
    net: Decimal = ZERO  # dollars, after fees


class LeftOver(Struct, frozen=True, gc=False):
    """Still held, or at work, at the end; `working` gives the orders in words."""

    symbol: str
    at: int
    held: Decimal
    entry_price: Decimal | None
    working: str


class Note(Struct, frozen=True):
    """Something that only a reader of the log needs. `who` is a symbol or a part of the bot."""

    who: str
    at: int
    level: int
    text: str
    args: tuple[object, ...] = ()
    error: BaseException | None = None


Event = (
    Transition
    | OrderFound
    | Fill
    | OrderEnded
    | Rejected
    | SignalBlocked
    | RiskRuleStruck
    | Oversold
    | Liquidating
    | SessionSet
    | Blocked
    | Unblocked
    | BarHeard
    | HistoryHeard
    | OrderDecided
    | OrderSent
    | OrderReported
    | OrdersListed
    | OrderMoved
    | PositionTaken
    | DayRecalled
    | TripSeen
    | FeesCharged
    | OrderFailed
    | Plotted
    | Doubt
    | StreamDown
    | StreamUp
    | Heartbeat
    | SessionOver
    | LeftOver
    | Note
)
Listener = Callable[[Event], None]
