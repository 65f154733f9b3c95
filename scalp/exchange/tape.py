"""The market as it passes: prints in time order, and minute bars a moment after their minute."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, structs

from scalp.core.market_data import Bar
from scalp.core.units import MILLISECOND, MINUTE, SECOND
from scalp.exchange.path import Print, trade_path


class Tick(Struct, frozen=True, gc=False):
    """One thing that happens: a print, a finished bar, or the correction of a bar. `at` is exchange time in ns."""

    at: int
    symbol: str
    made: Print | None = None
    public: bool = True  # whether the print goes out on the streams
    bar: Bar | None = None
    corrected: bool = False


class Tape:
    """Plays the bars of one day in time order.

    A bar is published `bar_delay` ns after its minute's end, symbols in the order given, 50 at a time and 10 ms apart.
    About one bar in `correct_every` is published with a little volume missing, and corrected 30 s later; 0 for none.
    Of the prints of a minute at most `trades_per_minute` per symbol go out on the streams, the last one always.
    """

    def __init__(
        self,
        market: Mapping[str, Sequence[Bar]],
        start: int,
        *,
        bar_delay: int = 300 * MILLISECOND,
        correct_every: int = 150,
        trades_per_minute: int = 10,
    ) -> None:
        self.symbols = list(market)
        self.published: dict[str, list[Bar]] = {symbol: [] for symbol in self.symbols}
        self.last_print: dict[str, Print] = {}
        self._start = start
        self._bar_delay = bar_delay
        self._correct_every = correct_every
        self._trades_per_minute = trades_per_minute
        self._ahead: list[tuple[int, int, Tick]] = []  # (when, place, what), the next is the last one: cheap to pop
        self._places = 0
        minutes: dict[int, list[Bar]] = {}
        for symbol in self.symbols:
            for bar in market[symbol]:
                minutes.setdefault(bar.start, []).append(bar)
        self._minutes = sorted(minutes.items(), reverse=True)  # the next minute is the last one
        self._skip_past()

    def next_time(self) -> int | None:
        """When the next thing happens, None at the end of the tape."""
        self._load()
        return self._ahead[-1][0] if self._ahead else None

    def until(self, to: int) -> Iterator[Tick]:
        """Everything that happens until `to`, one after the other."""
        ahead, minutes = self._ahead, self._minutes
        while True:
            if not ahead or (minutes and minutes[-1][0] <= ahead[-1][0]):
                self._load()
            if not ahead or ahead[-1][0] > to:
                return
            tick = ahead.pop()[2]
            if tick.made is not None:
                self.last_print[tick.symbol] = tick.made
            elif tick.bar is not None:
                self._publish(tick.bar, tick.corrected)
            yield tick

    def _publish(self, bar: Bar, corrected: bool) -> None:
        bars = self.published[bar.symbol]
        if corrected:
            at = next(n for n in range(len(bars) - 1, -1, -1) if bars[n].start == bar.start)
            bars[at] = bar
        else:
            bars.append(bar)

    def _skip_past(self) -> None:
        """Play what happened before the start at once: no client was there yet."""
        for _ in self.until(self._start - 1):
            pass

    def _load(self) -> None:
        """Bring in every minute that starts before the next known event."""
        while self._minutes and (not self._ahead or self._minutes[-1][0] <= self._ahead[-1][0]):
            start, bars = self._minutes.pop()
            for number, bar in enumerate(bars):
                self._load_bar(start, number, bar)
            self._ahead.sort(reverse=True)

    def _load_bar(self, start: int, number: int, bar: Bar) -> None:
        path = trade_path(bar)
        step = max(1, -(-len(path) // self._trades_per_minute))
        for n, made in enumerate(path):
            public = (len(path) - 1 - n) % step == 0
            self._push(Tick(made.at, bar.symbol, made, public))
        out = start + MINUTE + self._bar_delay + number // 50 * 10 * MILLISECOND
        draw = zlib.crc32(f"{bar.symbol}{start}".encode())
        missing = bar.volume // 50
        if self._correct_every and draw % self._correct_every == 0 and missing:
            self._push(Tick(out, bar.symbol, bar=structs.replace(bar, volume=bar.volume - missing)))
            self._push(Tick(out + 30 * SECOND, bar.symbol, bar=bar, corrected=True))
        else:
            self._push(Tick(out, bar.symbol, bar=bar))

    def _push(self, tick: Tick) -> None:
        self._places += 1  # at the same time what was loaded first happens first
        self._ahead.append((tick.at, self._places, tick))
