"""The market that orders meet: the time, the prints of each symbol, and halts.

It has no clock: its time moves only when a print arrives or `advance` is called, and everything timed waits in one
heap ordered by (time, sequence number). All times are exchange time, ns since the epoch, UTC.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from scalp.core import prices
from scalp.core.market_data import Bar
from scalp.exchange.fills import Book
from scalp.exchange.path import Print, trade_path

_LAST = 1 << 60  # sequence numbers of prints: behind all others


class Venue:
    """A book for each of `symbols`, at `now` of a session from `session_open` to `session_close`."""

    def __init__(self, symbols: Iterable[str], session_open: int, session_close: int, now: int) -> None:
        self.session_open = session_open
        self.session_close = session_close
        self.now = now
        self._books = {symbol: Book(symbol) for symbol in symbols}
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._sequence = 0

    # --- time ---

    @property
    def is_open(self) -> bool:
        """Whether the regular session is on now."""
        return self.session_open <= self.now < self.session_close

    def next_time(self) -> int | None:
        """When the next timed event is due, None when there is none."""
        return self._heap[0][0] if self._heap else None

    def advance(self, to: int) -> None:
        """Let time pass until `to`: everything due happens, in order."""
        heap = self._heap
        while heap and heap[0][0] <= to:
            at, _, action, argument = heapq.heappop(heap)
            self.now = max(self.now, at)
            action(argument)
        self.now = max(self.now, to)

    def _at(self, time: int, action: Callable[[Any], None], argument: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (time, self._sequence, action, argument))

    # --- prints ---

    def on_trade(self, symbol: str, at: int, price: float, size: float) -> None:
        """A print: `size` shares of `symbol` at `price` dollars. What was due until `at` happens before it.

        A print older than the engine's present is the last trade from now on, but fills nothing.
        """
        if self._heap and self._heap[0][0] <= at:
            self.advance(at)
        self._see(self._books[symbol], at, price, size)

    def _see(self, book: Book, at: int, price: float, size: float) -> None:
        book.last = price
        book.last_at = at
        book.size = size
        book.available = None
        if at >= self.now:
            self.now = at
            if book.live or book.stops:
                self._on_print(book)

    def _on_print(self, book: Book) -> None:
        """A print was made in a symbol in which orders work."""
        raise NotImplementedError

    def on_bars(self, bars: Iterable[Bar]) -> None:
        """Load one minute of the market, at its beginning: the quick way, for a backtest.

        The prints of the bars' trade paths happen as time advances, exactly as if each had been given to `on_trade`.
        Nobody sees them before; symbols without an open order cost next to nothing.
        """
        books = self._books
        for bar in bars:
            book = books[bar.symbol]
            if book.bar is not None:
                book.before = book.bar
            book.bar = bar
            if book.open:
                self._unroll(book)

    def _unroll(self, book: Book) -> None:
        """Turn the loaded minute of a symbol into prints: those of the past are seen, the others wait their turn."""
        loaded = [bar for bar in (book.before, book.bar) if bar is not None]
        book.before = book.bar = None
        for made in (made for bar in loaded for made in trade_path(bar)):
            if made.at < self.now:
                self._see(book, made.at, made.price, made.size)
            else:
                self._sequence += 1
                # Behind everything else that is due in the same instant: an order that arrives just then is in time.
                heapq.heappush(self._heap, (made.at, _LAST + self._sequence, self._print, (book, made)))

    def _print(self, what: tuple[Book, Print]) -> None:
        book, made = what
        if not book.halted:
            self._see(book, made.at, made.price, made.size)

    def _book(self, symbol: str) -> Book:
        """The book of a symbol, up to date."""
        book = self._books[symbol]
        if book.bar is not None:
            self._unroll(book)
        return book

    def halt(self, symbol: str) -> None:
        """Trading stops in `symbol`: orders are taken and wait."""
        self._books[symbol].halted = True

    def resume(self, symbol: str) -> None:
        """Trading goes on in `symbol`, with its next print."""
        self._books[symbol].halted = False

    def is_halted(self, symbol: str) -> bool:
        """Whether trading in `symbol` is stopped."""
        return self._books[symbol].halted

    def last_trade(self, symbol: str) -> Print | None:
        """The last print, None before the first."""
        book = self._book(symbol) if symbol in self._books else None
        return Print(book.last_at, book.last, book.size) if book is not None and book.last else None

    def last_price(self, symbol: str) -> Decimal | None:
        """The last print in dollars, None before the first."""
        last = self._book(symbol).last if symbol in self._books else 0.0
        return prices.exact(last) if last else None
