"""What the broker says is of two kinds, and they don't weigh the same.

A **fact** names one order and says what became of it: an order update with its execution, the answer to its POST or
DELETE (a refusal is a fact about that one order), an answer by id, a row of the account's activities. Facts move the
ledger, and nothing here stands between them and it.

A **claim** is a summary: a listing of positions or orders, that something is absent, a flag, what a refusal says of
the shares held. This module weighs the claims about positions and orders:

    the listing and the ledger agree      no doubt
    a transfer or split makes up for it,
      or executions that were taken back  believed
    more is listed, and all executions of
      the day make up just that           believed: the first listing lacked some
    fills were counted that the adopted
      position already included           believed
    more is listed, as the newest
      executions at the start explain     believed after a minute in which nothing was executed
    more is listed, for a minute          believed, and only adds: it is offered when the exit that works has ended
    shares that a listing alone reported
      are gone from it, for a minute      believed, unless the broker has taken a sell of them
    more is listed, just as it was before
      the bot's own executions            not believed: the listing is behind (by a minute at most, where the day's
                                          executions can't be read; and not where the ledger is below zero, as more
                                          was sold than it knew of)
    more is listed, and the bot's own
      groups have sold so much twice      not believed: executions prove that it is short
    less is listed                        not believed, however long it lasts; but for a short position that the
                                          whole day's executions make up
    an order is absent by id and in the
      listings, look after look           given up: its exit is sent under the same id, which is a fact again

Everything that is not believed is a **doubt**: it stops buys in that symbol and says so once; it asks by id and for the
day's activities; it ends when the sources agree. It never cancels an exit that works, drops shares that are held, ends
the day or sells at market. The calendar weighs what the clock claims in the same way: see `scalp.live.hours`.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from msgspec import Struct

from scalp.core.decimals import ZERO
from scalp.core.ledger import Ledger
from scalp.core.orders import BUY, OrderReport, PositionReport
from scalp.core.units import MINUTE, SECOND

SURPLUS_STANDS = MINUTE  # a listing may be so far behind: nothing we did longer ago still changes what it shows
LOOK_AGAIN = 5 * SECOND  # between two looks at what is in doubt, listings that lag by less agree by then
FRACTION = Decimal("0.999999999")  # of a share, at most
ABSENT_LOOKS = 3  # so many times, `LOOK_AGAIN` apart, an order must be absent wherever it is asked for


class Verdict(enum.Enum):
    """What is to be done about a listed position."""

    AGREES = "agrees"
    DOUBT = "doubt"
    EXPLAINED = "explained"  # take it over: executions or transfers make up for the difference
    SURPLUS = "surplus"  # add what is listed beyond the ledger's position


class Look(NamedTuple):
    at: int  # ns
    surplus: Decimal  # so much more (or less) was listed
    version: int  # of the ledger


class Doubt(Struct):
    """A difference between the listed position and the ledger's, and the looks that have shown it."""

    listed: Decimal
    held: Decimal
    sold: Decimal  # by the ledger until then
    seen: list[Look]  # oldest first


class Absence(Struct):
    """How often an order was absent wherever it was asked for, and when last (ns)."""

    looks: int
    last_at: int


class Evidence:
    """Weighs listings against ledgers; keeps the doubts of a fleet by symbol."""

    def __init__(self) -> None:
        self._doubts: dict[str, Doubt] = {}
        self._absences: dict[str, Absence] = {}
        self.surplus = ZERO  # of the last verdict SURPLUS: what is to be added (or, below zero, given up)

    def weigh(
        self, ledger: Ledger, listed: PositionReport, at: int, transferred: Decimal, knows_executions: bool
    ) -> Verdict:
        """What to do about a listing that was asked for at `at` (ns of a time that never jumps).

        `transferred` shares came or went in ways that the ledger does not see; `knows_executions`: the day's activities
        could be read.
        """
        surplus = listed.qty - ledger.position
        if not surplus:
            self._doubts.pop(ledger.symbol, None)
            return Verdict.AGREES
        doubt = self._doubt(ledger, listed, at)
        stood = at - doubt.seen[0].at
        if surplus == transferred or (surplus == ledger.taken_back and stood >= LOOK_AGAIN):
            return self._settled(ledger, Verdict.EXPLAINED)
        if surplus == -ledger.overlap and ledger.adopted >= ledger.overlap and stood >= LOOK_AGAIN:
            return self._settled(ledger, Verdict.EXPLAINED)
        if surplus == -ledger.near and ledger.adopted >= ledger.near and stood >= SURPLUS_STANDS:
            return self._settled(ledger, Verdict.EXPLAINED)  # after a minute no listing is behind them any more
        if 0 < surplus in ledger.alternatives and not ledger.positions_before and stood >= SURPLUS_STANDS:
            return self._settled(ledger, Verdict.EXPLAINED)
        if surplus < 0:
            # What a listing alone added, a listing may take away.
            is_taken_back = -surplus <= ledger.refutable and stood >= SURPLUS_STANDS
            self.surplus = surplus
            return self._settled(ledger, Verdict.SURPLUS) if is_taken_back else Verdict.DOUBT
        # Nobody here sells what is not held: below zero it is the ledger that lacks something.
        is_behind = listed.qty in ledger.positions_before and ledger.position >= 0
        if 0 < -ledger.position <= ledger.sold_twice:
            return Verdict.DOUBT
        if stood < SURPLUS_STANDS or (is_behind and knows_executions):
            return Verdict.DOUBT
        # What was listed at every look of the last minute, and at the one before that, has stood.
        looks = doubt.seen[[number for number, look in enumerate(doubt.seen) if at - look.at >= SURPLUS_STANDS][-1] :]
        if is_behind and ledger.positions_before[listed.qty] >= looks[0].version:
            return Verdict.DOUBT  # so much was held within that time
        self.surplus = least = min(look.surplus for look in looks)
        doubt.seen = [look._replace(surplus=look.surplus - least) for look in looks if look.surplus > least]
        return Verdict.SURPLUS if doubt.seen else self._settled(ledger, Verdict.SURPLUS)

    def _doubt(self, ledger: Ledger, listed: PositionReport, at: int) -> Doubt:
        """The doubt that this listing confirms, or a new one."""
        surplus = listed.qty - ledger.position
        doubt = self._doubts.get(ledger.symbol)
        # A listing that lags behind a sell shows as much more as was sold.
        sold = ZERO if doubt is None else ledger.shares_sold - doubt.sold
        is_same = doubt is not None and (
            (doubt.listed - doubt.held == surplus and sold != surplus)
            or (not sold and min(doubt.listed - doubt.held, surplus) > 0)
        )
        if doubt is None or not is_same:
            doubt = self._doubts[ledger.symbol] = Doubt(listed.qty, ledger.position, ledger.shares_sold, [])
        doubt.listed, doubt.held, doubt.sold = listed.qty, ledger.position, ledger.shares_sold
        doubt.seen.append(Look(at, surplus, ledger.version))
        return doubt

    def is_in_doubt(self, symbol: str) -> bool:
        """Whether the last listing that was weighed differed, and was not believed."""
        return symbol in self._doubts

    @property
    def doubts(self) -> list[tuple[str, Decimal, Decimal]]:
        """(Symbol, shares held by the ledger, shares listed) of each."""
        return [(symbol, doubt.held, doubt.listed) for symbol, doubt in self._doubts.items()]

    def _settled(self, ledger: Ledger, verdict: Verdict) -> Verdict:
        del self._doubts[ledger.symbol]
        return verdict

    def is_absent(self, order_id: str, is_anywhere: bool, at: int) -> bool:
        """Note one look for an order that is believed open; True if it has been absent often enough to be given up."""
        if is_anywhere:
            self._absences.pop(order_id, None)
            return False
        absence = self._absences.setdefault(order_id, Absence(0, at - LOOK_AGAIN))
        if at - absence.last_at < LOOK_AGAIN:
            return False
        absence.looks, absence.last_at = absence.looks + 1, at
        if absence.looks < ABSENT_LOOKS:
            return False
        del self._absences[order_id]
        return True


def held_already(listed: Decimal, recent: Sequence[OrderReport], on_offer: Decimal = ZERO, as_of: int = 0) -> int:
    """How many of the `recent` executions, oldest first, the first listed position already includes.

    A listing lags behind executions by an unknown time. The shares held before them are `listed` less those that it
    includes. An answer is possible if the position was never short, except by what was bought back later, and if it
    always held what a sell still had on offer: after each of its executions, and `on_offer` in the end. Of the possible
    answers the one with the least held before is taken, so that no share is offered twice. The listing surely includes
    what was executed a minute before `as_of`.
    """
    certain = sum(report.at is not None and report.at < as_of - SURPLUS_STANDS for report in recent)
    sums = list(itertools.accumulate((executed(report) for report in recent), initial=ZERO))
    leaves = [ZERO, *(_left_on_offer(report) for report in recent)]
    leaves[-1] = max(leaves[-1], on_offer)
    covers = (executed(report) if report.side == BUY and report.closes else ZERO for report in reversed(recent))
    bought_back = list(itertools.accumulate(covers, initial=ZERO))
    # So much may be short at most, after each of them; whole shares are bought back, less than one may stay short.
    short = [most + FRACTION if bought_back[-1] else most for most in reversed(bought_back)]
    needs = [need or -most for need, most in zip(leaves, short, strict=True)]
    least = max(need - done for need, done in zip(needs, sums, strict=True))  # held before all of them
    before = [(listed - done, -count) for count, done in enumerate(sums) if count >= certain]
    possible = [(held, count) for held, count in before if held >= least]
    return -min(possible)[1] if possible else len(recent)


def executed(report: OrderReport) -> Decimal:
    """What an execution (or an order that ended) did to the position, in signed shares."""
    qty = report.execution_qty or report.filled_qty or ZERO
    return qty if report.side == BUY else -qty


def _left_on_offer(report: OrderReport) -> Decimal:
    """What a sell had still to sell after this execution."""
    if report.side == BUY or report.qty is None or report.filled_qty is None or report.execution_qty is None:
        return ZERO
    return max(report.qty - report.filled_qty, ZERO)
