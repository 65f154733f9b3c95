"""Risk rules: what forbids a buy, and what calls for an exit at once.

The fleet keeps one `RiskRules` for all symbols, or none. It has it look at a symbol after everything that happened
there, asks it before a buy leaves, and afterwards whether to close the position. Nothing here acts, waits or talks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from scalp.core.algo import ScalpAlgo
from scalp.core.clock import new_york
from scalp.core.decimals import ZERO
from scalp.core.ledger import Ledger
from scalp.core.orders import BUY
from scalp.core.prices import exact
from scalp.core.risk_limits import RiskLimits
from scalp.core.takings import A_LOSS, Takings
from scalp.core.trades import Fill
from scalp.core.units import SECOND
from scalp.core.words import counted

SHARP = SECOND // 10  # a fill is reported some ms late: a look made on time must not come too early for that


@dataclass(slots=True)
class _Book:
    """What the rules know of one symbol."""

    version: int = -1  # the version of its ledger that this agrees with
    used: Decimal = ZERO  # dollars held, and those that working buys may still spend
    is_taken: bool = False  # anything held or being bought
    held_since: int = 0  # exchange time, ns; 0: nothing is held
    is_short: bool = False  # whether the position held is short
    base: Decimal = ZERO  # profit realised after fees before the position held now
    last_base: Decimal = ZERO  # the same for the position before: a price of it may be corrected later
    lost_at: int = 0  # when a position was last closed at a loss
    result: Decimal = ZERO  # dollars since the process began, realised and open, after fees


class RiskRules:
    """`limits` over one session of a fleet, whose `takings` know the fees: losses are computed after them.

    With `knows_today` False nothing is bought, and no loss of the session is judged, until `recall` has reported what
    was traded before the process began. Where that cannot be read, `judge_by_own` lets this process's own losses count.
    """

    def __init__(self, limits: RiskLimits, knows_today: bool = True, takings: Takings | None = None) -> None:
        self.limits = limits
        self._takings = Takings() if takings is None else takings
        self.used = ZERO  # dollars held and being bought for, over the fleet
        self.taken = 0  # symbols held or being bought
        self.result = ZERO  # dollars of the session, realised and open, after fees
        self.is_over = False  # max_loss was reached: for good
        self._knows_today = self._may_judge = knows_today
        self._books: dict[str, _Book] = {}

    def look(self, algo: ScalpAlgo, at: int) -> None:
        """Take in what happened in this symbol, by `at`."""
        book = self._books.get(algo.symbol)
        if book is None:
            book = self._books[algo.symbol] = _Book()
        ledger, last = algo.ledger, algo.tape.last_price
        if book.version != ledger.version:
            book.version = ledger.version
            self._count(book, ledger, at, last)
        if self.limits.max_loss is not None:
            result = self._net(ledger)
            if ledger.position and ledger.entry_price is not None and last is not None:
                result += ledger.position * (exact(last) - ledger.entry_price)
            self.result += result - book.result
            book.result = result
            self._judge()

    def why_no_entry(self, algo: ScalpAlgo, at: int) -> str:
        """Why the buy that `algo` is about to send, or wants to, must not leave; "" if it may."""
        limits = self.limits
        if self.is_over:
            return self.verdict
        if not self._knows_today:
            return "what was traded earlier today is not known yet"
        if limits.no_buy_after is not None and new_york(at).time() >= limits.no_buy_after:
            return f"it is later than {limits.no_buy_after:%H:%M}"
        if limits.cooldown is not None:
            book = self._books.get(algo.symbol)
            if book is not None and book.lost_at and at < book.lost_at + limits.cooldown:
                return f"cooling down after a loss until {new_york(book.lost_at + limits.cooldown):%H:%M:%S}"
        # The buy in question is in both numbers already.
        if limits.max_positions is not None and self.taken > limits.max_positions:
            return f"{counted(limits.max_positions, 'position is', 'positions are')} the most"
        if limits.budget is not None and self.used > limits.budget:
            return f"it would take more than the budget of ${limits.budget}"
        return ""

    def why_close(self, algo: ScalpAlgo, at: int) -> str:
        """Why everything in this symbol must be sold at market now; "" if it may stay."""
        limits, held = self.limits, algo.ledger.whole_shares
        if self.is_over:
            return self.verdict if held or algo.ledger.open_orders else ""
        if not held:
            return ""
        if why := algo.stop.why_close(at):
            return why
        book = self._books.get(algo.symbol)
        if book is None:
            return ""
        if limits.max_hold is not None and (held_for := at - book.held_since + SHARP) >= limits.max_hold:
            return f"held for {held_for // SECOND} s"
        return ""

    @property
    def verdict(self) -> str:
        """What `is_over` means, in words."""
        return f"the session's loss has reached ${self.limits.max_loss}"

    def judge_by_own(self) -> None:
        """What was traded before cannot be read just now: losses of this process count all the same."""
        self._may_judge = True
        self._judge()

    def recall(self, fills: Iterable[Fill], carried: Mapping[str, Decimal]) -> None:
        """What was executed in watched symbols today before the positions were listed: see `Takings.recall`."""
        for symbol, past in self._takings.recall(fills, carried).items():
            book = self._books.setdefault(symbol, _Book())
            book.lost_at = max(book.lost_at, past.lost_at)
            if book.held_since and past.held:
                book.held_since = min(book.held_since, past.held_since)
                book.base -= past.net - past.base
            self.result += past.net
        self._knows_today = self._may_judge = True
        self._judge()

    def _net(self, ledger: Ledger) -> Decimal:
        """What this process has realised there, after fees."""
        return ledger.realised - self._takings.look(ledger).total

    def _count(self, book: _Book, ledger: Ledger, at: int, last: float | None) -> None:
        used = abs(ledger.position) * (ledger.entry_price or ZERO)
        is_taken = is_held = abs(ledger.position) >= 1
        for order in ledger.open_orders:
            if order.side == BUY:
                is_taken = True
                price = order.limit_price if order.limit_price is not None else exact(last or 0.0)
                used += (order.remaining or ZERO) * price
        self.used += used - book.used
        self.taken += is_taken - book.is_taken
        book.used, book.is_taken = used, is_taken
        has_turned, book.is_short = (ledger.position < 0) is not book.is_short, ledger.position < 0
        if book.held_since and (not is_held or has_turned):  # through zero: one is closed, another opened
            net = self._net(ledger)
            if net - book.base < A_LOSS:
                book.lost_at = at
            book.held_since, book.last_base, book.base = at if is_held else 0, book.base, net
        elif not is_held and (net := self._net(ledger)) != book.base:
            if net - book.last_base < A_LOSS:
                book.lost_at = at
            book.base = net
        elif is_held and not book.held_since:
            book.held_since = at

    def _judge(self) -> None:
        limit = self.limits.max_loss
        if limit is not None and self._may_judge and self.result <= -limit:
            self.is_over = True
