"""One trading day of a fleet on a virtual clock: what goes in, and what came out of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from decimal import ROUND_CEILING, Decimal

from msgspec import Struct

from scalp.algo import ScalpAlgo
from scalp.clock import Session
from scalp.fleet import Fleet
from scalp.ledger import Order
from scalp.messages import MINUTE, Action, Bar
from scalp.prices import SUB_DOLLAR_TICK, micros
from scalp.trades import ZERO, Fill

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
        if side == "buy":
            return price + by if limit is None else min(price + by, limit)
        return max(price - by, SUB_DOLLAR_TICK) if limit is None else max(price - by, limit)

    def __str__(self) -> str:
        if self.share:
            return f"{(self.share / BASIS_POINT).normalize():f} basis points a share"
        return f"${self.dollars:f} a share" if self.dollars else "none"


class SymbolDay(Struct, frozen=True):
    """What one symbol did on one day.

    `orders` are the bot's, oldest first; `path` is how its profit moved, as (end of a minute, millionths of a dollar
    gained in it), held shares valued at the minute's close, minutes without a change left out.
    """

    symbol: str
    session: Session
    minutes: int  # bars of the regular session
    fills: list[Fill]
    orders: list[Order]
    path: list[tuple[int, int]]
    last_price: Decimal | None  # dollars, the last close of the session

    @property
    def unfilled_buys(self) -> int:
        """Buys that ended without a share."""
        return sum(order.side == "buy" and not order.filled_qty and order.has_ended for order in self.orders)


NO_SLIPPAGE = Slippage()


def regular(bars: Iterable[Bar], session: Session) -> list[Bar]:
    """The bars of the regular session."""
    return [bar for bar in bars if session.open <= bar.start < session.close]


def open_fleet(
    algo_class: type[ScalpAlgo],
    symbols: Iterable[str],
    lot: Decimal,
    session: Session,
    now: Callable[[], int],
    send: Callable[[Action], None],
) -> Fleet:
    """A fleet at the start of a session, flat and seeing everything."""
    run = str(session.open // 1_000_000)
    fleet = Fleet([algo_class(symbol, lot, run) for symbol in symbols], now, send)
    fleet.begin_session(session)
    fleet.take_early()
    fleet.on_feed_up()
    fleet.see("updates", "")
    fleet.see("reconciled", "")
    return fleet


def symbol_day(algo: ScalpAlgo, session: Session, bars: Sequence[Bar], fills: list[Fill]) -> SymbolDay:
    """The record of a day that is over; `bars` are those of its regular session."""
    return SymbolDay(
        symbol=algo.symbol,
        session=session,
        minutes=len(bars),
        fills=fills,
        orders=list(algo.ledger),
        path=profit_path(bars, fills),
        last_price=Decimal(repr(bars[-1].close)) if bars else None,
    )


def profit_path(bars: Sequence[Bar], fills: Sequence[Fill]) -> list[tuple[int, int]]:
    """See `SymbolDay.path`."""
    path: list[tuple[int, int]] = []
    if not fills:
        return path
    starts = [bar.start for bar in bars]
    cash, held, value, n, count = 0, 0, 0, 0, len(fills)
    while n < count:
        # The minute in which it happened, or the next one that traded; the last one for what comes after all.
        row = min(bisect_right(starts, fills[n].at - MINUTE), len(bars) - 1)
        while row < len(bars):
            bar = bars[row]
            end = bar.start + MINUTE
            while n < count and (fills[n].at < end or row == len(bars) - 1):
                fill = fills[n]
                signed = int(fill.qty) if fill.side == "buy" else -int(fill.qty)
                held += signed
                cash -= signed * int(fill.price * 1_000_000)
                n += 1
            before, value = value, cash + held * micros(bar.close)
            if value != before:
                path.append((end, value - before))
            if not held:
                break
            row += 1
    return path
