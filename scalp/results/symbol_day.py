"""What one symbol did on one day, from a backtest or from the journal."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from scalp.core.clock import Session
from scalp.core.market_data import Bar
from scalp.core.order_state import Order
from scalp.core.orders import BUY
from scalp.core.prices import micros
from scalp.core.trades import Fill
from scalp.core.units import MINUTE


class Stopped(Struct, frozen=True):
    """A signal that bought nothing, or an order that was rejected, at `at` (ns UTC), and why.

    `kind` is "blocked" or "rejected".
    """

    symbol: str
    at: int
    kind: str
    why: str


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
    first_price: Decimal | None = None  # its first open
    plots: Mapping[str, Mapping[int, float]] = {}  # by name: what the algo plotted, value by start of the bar
    stopped: Sequence[Stopped] = ()

    @property
    def unfilled_buys(self) -> int:
        """Buys that ended without a share."""
        return sum(order.side == BUY and not order.filled_qty and order.has_ended for order in self.orders)


def regular(bars: Iterable[Bar], session: Session) -> list[Bar]:
    """The bars of the regular session."""
    return [bar for bar in bars if session.open <= bar.start < session.close]


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
                signed = int(fill.qty) if fill.side == BUY else -int(fill.qty)
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
