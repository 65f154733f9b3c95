"""Today's minute bars of one symbol."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scalp.core.market_data import Bar
from scalp.core.prices import micros

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = 5  # open, high, low, close, volume
CLOSE = 3


class BarColumns:
    """The bars of a day as columns, to add many of them at once. Raises ValueError or OverflowError for odd closes."""

    def __init__(self, bars: Sequence[Bar]) -> None:
        self.starts = array("q", [bar.start for bar in bars])
        self.opens = array("d", [bar.open for bar in bars])
        self.highs = array("d", [bar.high for bar in bars])
        self.lows = array("d", [bar.low for bar in bars])
        self.closes = array("d", [bar.close for bar in bars])
        self.volumes = array("d", [bar.volume for bar in bars])
        if not np.isfinite(closes := np.asarray(self.closes) * 1e6).all():
            raise ValueError("a close is no number")
        # In the integers of `prices.micros`, and begun with 0, as `SessionBars.close_sums`.
        self.sums = array("q", [0])
        self.sums.frombytes(np.cumsum(np.rint(closes).astype(np.int64)).tobytes())

    def __len__(self) -> int:
        return len(self.starts)


class SessionBars:
    """Regular-session minute bars in time order, one row a minute that traded.

    Appending is amortised constant time and copies nothing; the columns are plain arrays, and a DataFrame is made of
    them only when somebody asks for one.
    """

    def __init__(self) -> None:
        self._open_at = 0
        self._close_at = 2**62
        self._starts = array("q")
        self._columns = tuple(array("d") for _ in range(COLUMNS))
        # Sums of the closes in millionths of a dollar: rows [a, b) add up to close_sums[b] - close_sums[a]. The signal
        # compares these integers: in floats a close that equals its average falls to either side.
        self.close_sums = array("q", [0])
        self._frame: pd.DataFrame | None = None

    def limit_to(self, open_at: int, close_at: int) -> None:
        """Count only bars that start in [open_at, close_at), in ns; drops what lies outside."""
        self._open_at, self._close_at = open_at, close_at
        first, last = bisect_left(self._starts, open_at), bisect_left(self._starts, close_at)
        columns: tuple[array[Any], ...] = (self._starts, *self._columns)
        for column in columns:
            del column[last:]
            del column[:first]
        del self.close_sums[last + 1 :]
        del self.close_sums[:first]
        self._frame = None

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def last_start(self) -> int:
        """Start of the newest minute, ns; 0 while there is none."""
        return self._starts[-1] if self._starts else 0

    @property
    def last_close(self) -> float:
        """Close of the newest minute, dollars. Raises IndexError while there is none."""
        close: float = self._columns[CLOSE][-1]
        return close

    def closes(self, count: int) -> list[float]:
        """At most `count` closes of the day, evenly spaced, the newest among them."""
        closes = self._columns[CLOSE]
        some = min(count, len(closes))
        return [closes[(n + 1) * len(closes) // some - 1] for n in range(some)]

    def has(self, start: int) -> bool:
        """Whether there is a bar of the minute that starts then."""
        row = bisect_left(self._starts, start)
        return row < len(self._starts) and self._starts[row] == start

    def add(self, bar: Bar) -> bool:
        """Put `bar` in its place; True when its minute is newer than all before.

        A minute that is there already is replaced, an older one fills its gap, one outside the session is left out.
        Raises ValueError or OverflowError for a close that is no number, and leaves everything as it was.
        """
        start = bar.start
        if not self._open_at <= start < self._close_at:
            return False
        close, starts, sums = micros(bar.close), self._starts, self.close_sums
        self._frame = None
        # The sums come first: if they raise, no column has grown yet.
        if not starts or start > starts[-1]:
            sums.append(sums[-1] + close)
            starts.append(start)
            opens, highs, lows, closes, volumes = self._columns
            opens.append(bar.open)
            highs.append(bar.high)
            lows.append(bar.low)
            closes.append(bar.close)
            volumes.append(bar.volume)
            return True
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        row = bisect_left(starts, start)
        if starts[row] == start:
            change = close - (sums[row + 1] - sums[row])
            sums[row + 1 :] = array("q", [total + change for total in sums[row + 1 :]])
            for column, value in zip(self._columns, values, strict=True):
                column[row] = value
        else:
            sums[row + 1 :] = array("q", [total + close for total in sums[row:]])
            starts.insert(row, start)
            for column, value in zip(self._columns, values, strict=True):
                column.insert(row, value)
        return False

    def extend(self, columns: BarColumns, to: int) -> None:
        """Add the rows of `columns` that are not here yet, up to row `to`, which is not included.

        The rows that are here are the first of `columns`; all lie within the session, oldest first.
        """
        here = len(self._starts)
        if here >= to:
            return
        self._frame = None
        self._starts.extend(columns.starts[here:to])
        added = (columns.opens, columns.highs, columns.lows, columns.closes, columns.volumes)
        for column, more in zip(self._columns, added, strict=True):
            column.extend(more[here:to])
        self.close_sums.extend(columns.sums[here + 1 : to + 1])

    def average(self, window: object) -> float | None:
        """Average of the last `window` closes, dollars; None with fewer, or where `window` is no number of bars."""
        sums = self.close_sums
        if not isinstance(window, int) or not 0 < window < len(sums):
            return None
        return (sums[-1] - sums[-window - 1]) / window / 1e6

    @property
    def frame(self) -> pd.DataFrame:
        """The bars as a DataFrame of its own memory: changing it changes no bar. See `ScalpAlgo._bars`."""
        if self._frame is None:
            from scalp.core.frame import frame_of  # loaded with the class that asks

            self._frame = frame_of(self._starts, self._columns)
        return self._frame
