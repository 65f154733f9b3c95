"""The simulated exchange without any transport: engine and tape on one clock, and the trading calendar.

The wire server drives it by its loop's time; a fault simulation drives it directly. All times are exchange time in ns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

from scalp.core.clock import NEW_YORK
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import SessionDay, trading_days
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Update
from scalp.exchange.path import Print
from scalp.exchange.tape import Tape, Tick


class Listener:
    """Gets what happens. Override what is of interest; nothing here may block."""

    def on_update(self, update: Update) -> None:
        """An order update of the account."""

    def on_print(self, symbol: str, made: Print) -> None:
        """A trade anywhere in the market."""

    def on_bar(self, bar: Bar, corrected: bool) -> None:
        """A finished minute, or the correction of one."""

    def on_status(self, symbol: str, at: int, halted: bool) -> None:
        """Trading stopped or goes on."""


class Simulation:
    """One trading day. `market` holds its minute bars by symbol; the engine must list the same symbols."""

    def __init__(
        self,
        market: Mapping[str, Sequence[Bar]],
        engine: Engine,
        *,
        tape: Tape | None = None,
        calendar: Callable[[date, date], list[SessionDay]] = trading_days,
    ) -> None:
        self.engine = engine
        self.market = market
        self.tape = tape or Tape(market, engine.now)
        self.calendar = calendar
        self.listener = Listener()
        self._halts: dict[str, list[tuple[int, int | None]]] = {}  # by symbol: from when to when; None: still
        engine.on_update = lambda update: self.listener.on_update(update)
        for symbol, made in self.tape.last_print.items():
            engine.on_trade(symbol, made.at, made.price, made.size)

    @property
    def now(self) -> int:
        """Exchange time in ns."""
        return self.engine.now

    def next_time(self) -> int | None:
        """When the next thing happens, None when nothing will."""
        times = [at for at in (self.tape.next_time(), self.engine.next_time()) if at is not None]
        return min(times) if times else None

    def advance(self, to: int) -> None:
        """Let everything happen until `to`, in time order; at the same instant orders come before prints."""
        for tick in self.tape.until(to):
            self.engine.advance(tick.at)
            if self.engine.is_halted(tick.symbol) and not self._was_over(tick):
                continue
            if tick.made is not None:
                self.engine.on_trade(tick.symbol, tick.at, tick.made.price, tick.made.size)
                if tick.public:
                    self.listener.on_print(tick.symbol, tick.made)
            elif tick.bar is not None:
                self.listener.on_bar(tick.bar, tick.corrected)
        self.engine.advance(to)

    def _was_over(self, tick: Tick) -> bool:
        """Whether this is the bar of a minute that had ended before the halt: it is published all the same."""
        return tick.bar is not None and tick.bar.start + MINUTE <= self._halts.get(tick.symbol, [(0, None)])[-1][0]

    def was_halted(self, symbol: str, at: int) -> bool:
        """Whether trading in `symbol` was stopped at `at` (ns)."""
        return any(first < at and (last is None or at <= last) for first, last in self._halts.get(symbol, ()))

    def halt(self, symbol: str) -> None:
        """Stop trading in `symbol`: no prints, no bars of later minutes, orders wait."""
        self._halts.setdefault(symbol, []).append((self.now, None))
        self.engine.halt(symbol)
        self.listener.on_status(symbol, self.now, True)

    def resume(self, symbol: str) -> None:
        """Go on trading in `symbol`."""
        for halt in self._halts.get(symbol, [])[-1:]:
            self._halts[symbol][-1] = (halt[0], self.now)
        self.engine.resume(symbol)
        self.listener.on_status(symbol, self.now, False)

    def day(self) -> SessionDay:
        """The session the engine is in."""
        engine = self.engine
        return SessionDay(new_york(engine.session_open).date(), engine.session_open, engine.session_close)

    def days(self, start: date, end: date) -> list[SessionDay]:
        """The trading days from `start` to `end`, both included; the engine's own day replaces the calendar's."""
        own = self.day()
        days = [day for day in self.calendar(start, end) if day.date != own.date]
        if start <= own.date <= end:
            days.append(own)
        return sorted(days, key=lambda day: day.date)

    def clock(self) -> tuple[bool, int, int]:
        """Whether the regular session is on, the next open and the next close (ns)."""
        today = new_york(self.now).date()
        days = self.days(today, today + timedelta(days=14))
        opens = next(day.open for day in days if day.open > self.now)
        closes = next(day.close for day in days if day.close > self.now)
        return self.engine.is_open, opens, closes


def new_york(ns: int) -> datetime:
    """The New York time of `ns`, to the second."""
    return datetime.fromtimestamp(ns // SECOND, NEW_YORK)
