"""One trading day of a fleet on a virtual clock: what goes in, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import partial

from msgspec import Struct

from scalp.core.algo import ScalpAlgo
from scalp.core.clock import Session
from scalp.core.commands import Action
from scalp.core.decimals import ZERO
from scalp.core.events import Event, Rejected, SignalBlocked
from scalp.core.fleet import Fleet
from scalp.core.market_data import Bar
from scalp.core.orders import BUY
from scalp.core.prices import SUB_DOLLAR_TICK, exact
from scalp.core.trades import Fill
from scalp.core.units import MILLISECOND
from scalp.results.symbol_day import Stopped, SymbolDay, profit_path

BASIS_POINT = Decimal("0.0001")


class Slippage(Struct, frozen=True):
    """How much worse than the market every share trades: `dollars` and `share` of the price, both 0 or more.

    A limit order still never trades beyond its limit.
    """

    dollars: Decimal = ZERO
    share: Decimal = ZERO

    def worse(self, side: str, price: Decimal, limit: Decimal | None) -> Decimal:
        """What `side` trades at when the market is at `price`."""
        if not self.dollars and not self.share:
            return price
        by = self.dollars + (price * self.share).quantize(SUB_DOLLAR_TICK, ROUND_CEILING)
        if side == BUY:
            return price + by if limit is None else min(price + by, limit)
        return max(price - by, SUB_DOLLAR_TICK) if limit is None else max(price - by, limit)

    def __str__(self) -> str:
        if self.share:
            return f"{(self.share / BASIS_POINT).normalize():f} basis points a share"
        return f"${self.dollars:f} a share" if self.dollars else "none"


NO_SLIPPAGE = Slippage()


def open_fleet(
    algo_class: type[ScalpAlgo],
    symbols: Iterable[str],
    lot: Decimal,
    session: Session,
    now: Callable[[], int],
    send: Callable[[Action], None],
    stopped: Mapping[str, list[Stopped]],
) -> Fleet:
    """A fleet at the start of a session, flat and seeing everything. `stopped` gets by symbol what comes to nothing."""
    run = str(session.open // MILLISECOND)
    fleet = Fleet([algo_class(symbol, lot, run) for symbol in symbols], now, send)
    fleet.bus.listeners = (*fleet.bus.listeners, partial(_note_stopped, stopped))
    fleet.begin_session(session)
    fleet.orders.early_updates.take()
    fleet.on_feed_up()
    fleet.readiness.update("updates", "")
    fleet.readiness.update("reconciled", "")
    return fleet


def _note_stopped(stopped: Mapping[str, list[Stopped]], event: Event) -> None:
    if isinstance(event, SignalBlocked):
        stopped[event.symbol].append(Stopped(event.symbol, event.at, "blocked", event.why))
    elif isinstance(event, Rejected):
        stopped[event.symbol].append(Stopped(event.symbol, event.at, "rejected", event.why))


def symbol_day(
    algo: ScalpAlgo, session: Session, bars: Sequence[Bar], fills: list[Fill], stopped: Sequence[Stopped]
) -> SymbolDay:
    """The record of a day that is over; `bars` are those of its regular session."""
    return SymbolDay(
        symbol=algo.symbol,
        session=session,
        minutes=len(bars),
        fills=fills,
        orders=list(algo.ledger),
        path=profit_path(bars, fills),
        last_price=exact(bars[-1].close) if bars else None,
        first_price=exact(bars[0].open) if bars else None,
        plots=algo.plots,
        stopped=stopped,
    )
