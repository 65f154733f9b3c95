"""The last trade of one symbol, and the newest prints, to find it again once one of them turns out to be wrong."""

from __future__ import annotations

import math
from decimal import Decimal

from scalp.core.bars import SessionBars
from scalp.core.market_data import Bar, Trade, TradeCorrection
from scalp.core.units import MINUTE

KEPT = 8  # prints: a correction that comes after so many newer ones changes nothing any more


class Tape:
    """The last trade, by exchange time, in whatever order prints and bars arrive.

    What is no price (zero, NaN, infinity) is passed over: an exit is priced by this.
    """

    def __init__(self) -> None:
        self.last_price: float | None = None  # dollars; None before any
        self.last_at = 0  # when that was made, ns
        self._kept: list[Trade] = []  # the last few prints, oldest first

    def see(self, trade: Trade) -> None:
        """Take in a print; a repeated one is not kept again."""
        at, price = trade.at, trade.price
        if not 0 < price < math.inf:
            return
        if at >= self.last_at:
            self.last_at, self.last_price = at, price
        kept = self._kept
        place = len(kept)
        while place and kept[place - 1].at > at:
            place -= 1
        if place and trade.id != "" and (kept[place - 1].id, kept[place - 1].price) == (trade.id, price):
            return
        kept.insert(place, trade)
        if len(kept) > KEPT:
            del kept[0]

    def see_close(self, bar: Bar, at: int) -> None:
        """The close of a bar that arrived at `at`."""
        # Its last print was made before the next minute began; a trade at the turn of the minute is newer.
        made_at = bar.start + MINUTE - 1
        if made_at >= at:
            made_at = at
        if made_at >= self.last_at and 0 < bar.close < math.inf:
            self.last_at, self.last_price = made_at, bar.close

    def see_listed(self, price: Decimal | None) -> None:
        """The price that a listing of the position shows: it serves until a bar or a print comes, however old."""
        if self.last_price is None and price:
            self.last_price = float(price)

    def strike(self, correction: TradeCorrection, bars: SessionBars) -> None:
        """A print was wrong: if it was the last trade, the newest one that still stands takes its place.

        That is a print (corrected, perhaps), or the close of the newest of `bars`. A close counts as a print made at
        its minute's end, and a close that this print made does not stand.
        """
        place = self._find(correction)
        if place is None:
            return
        wrong = self._kept.pop(place)
        made_close = (_end_of_minute(wrong.at), wrong.price)
        if place < len(self._kept) and self._kept[place].at <= made_close[0]:
            made_close = (0, 0.0)  # a newer print of that minute made it
        if correction.instead is not None and 0 < correction.instead < math.inf:
            right_id = correction.new_id or correction.id
            self._kept.insert(place, Trade(wrong.symbol, wrong.at, correction.instead, wrong.size, right_id))
        if (self.last_at, self.last_price) not in ((wrong.at, wrong.price), made_close):
            return
        standing: list[tuple[int, float | None]] = [(print_.at, print_.price) for print_ in self._kept[-1:]]
        if len(bars) and (close := (bars.last_start + MINUTE - 1, bars.last_close)) != made_close:
            standing.append(close)
        self.last_at, self.last_price = max(standing, default=(0, None))

    def _find(self, correction: TradeCorrection) -> int | None:
        """The place of the print: by its id; without an id only the newest one, if its time and price match."""
        kept = self._kept
        if correction.id == "":
            is_newest = bool(kept) and (kept[-1].at, kept[-1].price) == (correction.at, correction.price)
            return len(kept) - 1 if is_newest else None
        for place in reversed(range(len(kept))):
            if (kept[place].id, kept[place].price) == (correction.id, correction.price):
                return place
        return None


def _end_of_minute(at: int) -> int:
    """When the close of the minute that `at` lies in counts as made."""
    return at // MINUTE * MINUTE + MINUTE - 1
