"""What excuses the bot: until when what should be done may be waiting, by what it was told and by what is hindered.

What it was told is in `told`, which ways are hindered in `hindrances`; here both are weighed.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from scalp.core.units import SECOND

if TYPE_CHECKING:
    from tests.simulation.world import World

QUICK = 1.5  # seconds from the facts to the order at the exchange, a cancel before it included
LEARN = 45.0  # seconds in which a checkup, its listings and its questions tell what no update told
# The same without activities: what has stood for a minute is believed, and what comes or is sold meanwhile begins anew.
EXPLAIN = 210.0
START = 12.0  # seconds a new process needs to read what is held, if nobody hinders it
LIQUIDATION = 300.0  # seconds before the close
QUIET = 2.0  # seconds before the close in which nothing is sent
CLOSE_FELT = 45.0  # seconds until another close, said by clock and calendar, is known
CLOCK_MOVES = 60.0  # by so much, in seconds, the clock alone may move the close
# Without market data nothing speaks against a clock that repeats a wrong time.
SILENT_DATA = (
    "data stream mute", "data stream dropped", "data logins refused", "handshakes refused", "bars stop", "halt",
)  # fmt: skip
# A process that was shown untrue listings when it began has no facts of its own to hold against them.
UNTRUE_LISTINGS = (
    "positions empty", "a position missing", "one position only",
    "orders empty", "an order missing", "one order only", "listing lags", "activities lag",
)  # fmt: skip
LISTINGS_LAG = 60.0  # seconds


class Excuses:
    def __init__(self, world: World) -> None:
        self._world = world
        self._knew_at: defaultdict[str, float] = defaultdict(float)  # when the ledger last held what is held

    @property
    def liquidates_at(self) -> float:
        """Seconds after the start from which on liquidation must be under way."""
        world = self._world
        if not self._knows_close:
            return float("inf")
        at = (world.session.close - world.start) / SECOND - LIQUIDATION
        if world.close_moved_at > 0:
            at = max(at, world.told.close_told_at + CLOSE_FELT, world.hindrances.until("start") + CLOSE_FELT)
        if world.hindrances.has_clock_lied:
            at += CLOCK_MOVES
        return at

    def excused_until(self, symbol: str, since: float) -> float:
        """Until when what should follow `since` may be waiting, by what was told and what is hindered."""
        world, told, hindrances = self._world, self._world.told, self._world.hindrances
        until = max(since, told.changed_at[symbol]) + QUICK
        if told.base_at is None:
            troubled = hindrances.until("ask", "start", "claims", "activities")
            until = max(since, world.bot_since + START, troubled + EXPLAIN if troubled > world.bot_since else 0.0)
        elif told.pending[symbol]:
            ways = hindrances.until("ask", "claims")
            is_explained = not world.plan.stands("activities forbidden") and hindrances.until("activities") < since
            happened = max(min(at for _, _, at in told.pending[symbol].values()), self._knew_at[symbol])
            until = max(since, happened, ways, told.base_at) + (LEARN if is_explained else EXPLAIN)
        elif told.base_at > world.elapsed - EXPLAIN or self._knew_at[symbol] <= world.bot_since:
            # What was found at the start waits a moment for a price, and for a second listing while things move.
            troubled = hindrances.until("ask", "data")
            until = max(until, told.base_at + 2 * QUICK, troubled + START if troubled > world.bot_since else 0.0)
            if symbol in world.touched and self._was_executed_shortly_before(world.bot_since, symbol):
                # Which of somebody else's executions the first listing holds, one of after them all tells.
                until = max(until, told.base_at + LISTINGS_LAG + LEARN)
            if self.was_deceived:
                # What the true ones add has to be explained, or to stand.
                ways = max(told.base_at, hindrances.until("ask", "claims"))
                is_explained = symbol not in world.touched and hindrances.until("activities") < told.base_at
                is_explained &= not world.plan.stands("activities forbidden")
                until = max(until, ways + (LEARN if is_explained else EXPLAIN))
        if self._knew_at[symbol] < world.elapsed and self._are_untold(symbol):
            until = max(until, max(world.touched[symbol], hindrances.until("ask", "claims")) + EXPLAIN)
        for of, is_buy, at in told.unknown.values():
            if of == symbol and is_buy:
                # One order at work, never two: a buy that is not known to be dead may live.
                until = max(until, at + LEARN, hindrances.until("ask") + LEARN if at + EXPLAIN * 2 > since else 0.0)
        if not self._knows_time:
            # What is new and what is old it may take for the other.
            until = max(until, hindrances.leaps_until + LEARN, since + EXPLAIN)
        # A clock that leaps may move what waits for its time.
        moved = CLOCK_MOVES if hindrances.leaps_until > world.bot_since else 0.0
        return max(until, hindrances.sending(symbol) + moved)

    @property
    def was_deceived(self) -> bool:
        """Whether the first listings that the process was shown were not true; that a row is unreadable, it can see."""
        told, struck = self._world.told, self._world.plan.struck
        is_late = told.base_at is not None and told.base_at > told.first_claimed_at + 1.0
        is_own_row_alone = struck["own row unreadable"] and not any(struck[kind] for kind in UNTRUE_LISTINGS)
        return is_late and not is_own_row_alone

    def _was_executed_shortly_before(self, since: float, symbol: str) -> bool:
        """Whether the first listings of a process that began at `since` may lack an execution."""
        times = [(done.at - self._world.start) / SECOND
                 for done in self._world.engine.executions if done.symbol == symbol]  # fmt: skip
        return any(since - LISTINGS_LAG <= at <= since for at in times)

    def _are_untold(self, symbol: str) -> bool:
        """Whether somebody else traded in this symbol, and no activity may have told of it: a listing alone does."""
        world = self._world
        if symbol not in world.touched:
            return False
        is_hindered = world.hindrances.until("activities") > min(world.touched[symbol], world.bot_since)
        is_lied_to = any(world.plan.struck[kind] for kind in UNTRUE_LISTINGS)
        return world.plan.stands("activities forbidden") or is_hindered or is_lied_to

    @property
    def _may_be_over(self) -> bool:
        """Whether the session has ended, by all that the bot may believe."""
        return self._is_about_over or not self._knows_close

    @property
    def _is_about_over(self) -> bool:
        """Whether the close has come: a minute earlier, where the clock says so, it may be believed."""
        return self._world.until_close <= QUIET + (CLOCK_MOVES if self._world.hindrances.has_clock_lied else 0.0)

    @property
    def _seems_closed(self) -> bool:
        """Whether the clock says closed, and no market data speak against it."""
        struck = self._world.plan.struck
        return bool(struck["clock says closed"]) and any(struck[kind] for kind in SILENT_DATA)

    @property
    def _knows_close(self) -> bool:
        """Whether the clock has told of the close as it is now, and nothing hindered that the calendar be asked."""
        world, told = self._world, self._world.told
        if world.close_moved_at > 0 and told.close_told_at > world.elapsed:
            return False
        return told.knows_calendar or not world.hindrances.has_clock_lied

    @property
    def _knows_time(self) -> bool:
        """Whether the process began while the clock told the time, and market data could speak against a leap."""
        world = self._world
        if world.plan.struck["clock leaps"] and any(world.plan.struck[kind] for kind in SILENT_DATA):
            return False
        return not any(e.start <= world.bot_since + START and world.bot_since < e.end
                       for e in world.plan.episodes.get("clock leaps", ()))  # fmt: skip

    def _is_deceived(self, symbol: str) -> bool:
        """Whether the process began with an untrue idea of this symbol, and has had no other since."""
        world, base_at = self._world, self._world.told.base_at
        if self._knew_at[symbol] >= world.bot_since + START:
            return False
        is_late = base_at and world.elapsed > max(base_at, world.hindrances.until("claims")) + EXPLAIN
        if is_late and not self._was_held_before(symbol):
            return False
        kinds = set(UNTRUE_LISTINGS)
        if self._can_reckon(symbol):
            kinds.discard("listing lags")
        return any(world.plan.struck[kind] for kind in kinds)

    def _was_held_before(self, symbol: str) -> bool:
        """Whether the ledger held just so much once: a listing of it looks like one that stands still."""
        algo = self._world.fleet.algos.get(symbol) if self._world.fleet else None
        return algo is not None and self._world.engine.account.held(symbol) in algo.ledger.positions_before

    def _can_reckon(self, symbol: str) -> bool:
        """Whether the process could read the executions that its first listing may lack, and nothing was held before.

        A listing that lags leaves no two ways then: less than nothing is never held.
        """
        world, since = self._world, self._world.bot_since
        if symbol in world.touched or world.plan.stands("activities forbidden"):
            return False
        if world.hindrances.until("ask", "activities") > since:
            return False
        before = [done for done in world.engine.executions if done.symbol == symbol and
                  (done.at - world.start) / SECOND < since - LISTINGS_LAG]  # fmt: skip
        return not sum((done.qty if done.side == "buy" else -done.qty for done in before), Decimal(0))
