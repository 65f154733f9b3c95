"""The newest prints of one symbol: what the last trade is once one of them turns out to be wrong."""

from __future__ import annotations

import math

from scalp.core.messages import MINUTE, Trade, TradeGone

KEPT = 8  # prints: a correction that comes after so many newer ones moves nothing any more

Price = tuple[int, float | None]  # (made at, dollars); None: there is none


class Prints:
    """The last few prints by exchange time, in whatever order they arrive."""

    def __init__(self) -> None:
        self._kept: list[Trade] = []  # oldest first

    def see(self, trade: Trade) -> None:
        """A print; what is no price (zero, NaN, infinity) is passed over, and what was told before."""
        if not 0 < trade.price < math.inf:
            return
        kept = self._kept
        place = len(kept)
        while place and kept[place - 1].at > trade.at:
            place -= 1
        if place and trade.id != "" and (kept[place - 1].id, kept[place - 1].price) == (trade.id, trade.price):
            return
        kept.insert(place, trade)
        if len(kept) > KEPT:
            del kept[0]

    def strike(self, gone: TradeGone, last: Price, close: Price) -> Price:
        """The last trade after a print was wrong: `last` itself, unless it is this very print.

        Then it is the newest one that still stands: a print (put right, perhaps), or the newest minute's `close`. A
        close counts as a print made at its minute's end, and one that this print made does not stand.
        """
        place = self._find(gone)
        if place is None:
            return last
        wrong = self._kept.pop(place)
        made_close = (_end_of_minute(wrong.at), wrong.price)
        if place < len(self._kept) and self._kept[place].at <= made_close[0]:
            made_close = (0, 0.0)  # a newer print of that minute did
        if gone.instead is not None and 0 < gone.instead < math.inf:
            self._kept.insert(place, Trade(wrong.symbol, wrong.at, gone.instead, wrong.size, gone.new_id or gone.id))
        if last not in ((wrong.at, wrong.price), made_close):
            return last
        standing = [(print_.at, print_.price) for print_ in self._kept[-1:]]
        if close[1] is not None and close != made_close:
            standing.append((close[0], close[1]))
        return max(standing, default=(0, None))

    def _find(self, gone: TradeGone) -> int | None:
        """The place of the very print: by its id; where there is none the newest one, by its time and price."""
        kept = self._kept
        if gone.id == "":
            is_newest = bool(kept) and (kept[-1].at, kept[-1].price) == (gone.at, gone.price)
            return len(kept) - 1 if is_newest else None
        for place in reversed(range(len(kept))):
            if (kept[place].id, kept[place].price) == (gone.id, gone.price):
                return place
        return None


def _end_of_minute(at: int) -> int:
    """When the close of the minute that `at` lies in counts as made."""
    return at // MINUTE * MINUTE + MINUTE - 1
