"""How a session comes to be: the account, the time, and the session once the market is open."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from scalp.cli.settings import Endpoints, Settings
from scalp.cli.venues import open_broker
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import MarketClock
from scalp.core.events import Listener
from scalp.core.leftovers import held
from scalp.journal.recorder import Recorder
from scalp.live.controls import is_paused, pause
from scalp.live.health import SignsOfLife
from scalp.live.hours import Calendar
from scalp.live.startup_checks import StartupChecks
from scalp.live.trader import Trader

log = logging.getLogger("scalp.main")


@dataclass(frozen=True)
class Ended:
    """What a session leaves to the next one of the same process."""

    date: dt.date  # of the session: there is no other on that day
    clock: MarketClock  # keeps the time until the exchange gives it again
    held: dict[str, Decimal]  # shares, by symbol
    is_closed: bool  # the session came to its close, and was not stopped before
    is_paused: bool = False  # key p has paused entries: they stay so


class Startup:
    """Use: `open()`, run the trader that it returns, `close()`."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        algo_class: type[ScalpAlgo],
        listeners: Sequence[Listener] = (),
        last: Ended | None = None,
    ) -> None:
        """`listeners` get every event of the session, as the log and the journal do; `last` came before it."""
        self._settings = settings
        self._endpoints = endpoints
        self._algo_class = algo_class
        self._listeners = listeners
        self._last = last
        self.clock = MarketClock(asyncio.get_running_loop().time)
        self.account = open_broker(endpoints)
        self._recorder = Recorder(settings, endpoints, self.now)
        self._trader: Trader | None = None
        self._signs = SignsOfLife(settings, endpoints, last.held if last else None)

    def now(self) -> int | None:
        """Exchange time (ns), None before it is known."""
        if not self.clock.is_set and self._last is not None:
            return self._last.clock.now()
        return self.clock.now() if self.clock.is_set else None

    async def open(self) -> Trader | None:
        """The trader; None when the market is closed and nobody wants to wait. Raises UserError."""
        self._signs.begin()
        calendar = Calendar(self.account)
        start = StartupChecks(
            self.account, self.clock, calendar, self._settings, self._last.date if self._last else None
        )
        self._signs.waits_for = lambda: start.line
        answer = await start.market()
        if answer is None:
            return None
        self._trader = trader = Trader(
            self._settings,
            self._endpoints,
            self._algo_class,
            self.account,
            self.clock,
            calendar,
            answer,
            self._listeners,
        )
        trader.is_later = self._last is not None
        await trader.begin(start, self._recorder)
        self._signs.session = trader
        if self._last is not None and self._last.is_paused:
            log.warning("entries are paused still: key p of the dashboard or a restart resumes them")
            pause(trader.fleet)
        return trader

    @property
    def ended(self) -> Ended | None:
        """What the session came to, once it is over; None where there was none."""
        trader = self._trader
        if trader is None or (session := trader.fleet.session) is None:
            return self._last
        algos = trader.fleet.algos
        return Ended(session.date, self.clock, held(algos), trader.has_closed, is_paused(trader.fleet))

    def holds(self) -> bool:
        """Whether shares are held, as far as it is known."""
        ended = self.ended
        return ended is not None and bool(ended.held)

    async def close(self) -> None:
        """Close everything that was opened, also where the start did not succeed."""
        await self._signs.end()
        if self._trader is not None:
            await self._trader.close()
        await self.account.close()
        self._recorder.end()
