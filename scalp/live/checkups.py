"""What time alone makes due in a session: the checkups, and the exit plans between them."""

from __future__ import annotations

import asyncio
import contextlib

from scalp.core.clock import CHECKUP_EVERY, LATE_LOOK_EVERY, LIQUIDATION_EVERY, MarketClock
from scalp.core.fleet import Fleet
from scalp.core.units import SECOND
from scalp.live.heartbeat import SignsOfLife
from scalp.live.hours import CLOCK_PATIENCE, MarketHours
from scalp.live.reconcile import Reconciler


class Checkups:
    """Looks after `fleet`, and has listings looked at, at times counted from the session's open."""

    def __init__(
        self, fleet: Fleet, clock: MarketClock, hours: MarketHours, reconciler: Reconciler, heartbeat: SignsOfLife
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._hours = hours
        self._reconciler = reconciler
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._looked_at = float("-inf")  # loop time
        self._exits_due = asyncio.Event()
        fleet.exit_times.on_sooner = self._exits_due.set

    def begin(self) -> None:
        """Have the next checkup ask the clock and look again, however near it is."""
        session = self._fleet.session
        assert session is not None
        since = (self._clock.now() - session.open) / SECOND % CHECKUP_EVERY
        self._looked_at = self._loop.time() - since
        self._hours.count_from(self._looked_at)

    def until_next(self) -> float:
        """Seconds until the next checkup is due: every 30 s, more often near the end, sharp at the session's marks.

        Counted from the open, whenever the bot started: a backtest then has its checkups at the same times.
        """
        session = self._fleet.session
        assert session is not None
        now = self._clock.now()
        every = round((LIQUIDATION_EVERY if self._fleet.risk.is_closing else session.checkup_every(now)) * SECOND)
        marks = (session.near_at, session.liquidate_at, session.quiet_at, session.close)
        waits = [every - (now - session.open) % every, *(mark - now for mark in marks if mark > now)]
        return min(waits) / SECOND

    def checkup(self) -> bool:
        """Every symbol looks after itself; listings follow in their own time. False at the close."""
        session = self._fleet.session
        assert session is not None
        at = self._clock.now()
        if self._hours.is_over(at):
            return False
        self._fleet.checkup()
        self._heartbeat.look(at)
        # A checkup may have waited for the clock, and the next one did not.
        every = LATE_LOOK_EVERY if at >= session.liquidate_at else CHECKUP_EVERY
        patience = CLOCK_PATIENCE if at < session.liquidate_at else 0.0
        if self._loop.time() + 0.5 - self._looked_at >= every - patience:
            self._looked_at = self._loop.time()
            self._reconciler.request("checkup")
        return True

    async def drive_exits(self) -> None:
        """Go on with the exit plans when they are due: the next checkup may be half a minute away."""
        while True:
            due = self._fleet.exit_times.next_at
            self._exits_due.clear()
            with contextlib.suppress(TimeoutError):
                # Never for less than a float of seconds can tell from zero.
                async with asyncio.timeout(max(self._clock.seconds_until(due), 0.001) if due else None):
                    await self._exits_due.wait()
            if due and self._clock.now() >= due:
                self._fleet.drive_exits()
