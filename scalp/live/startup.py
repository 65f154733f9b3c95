"""How a session comes to be: the account, the time, and the session once the market is open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from scalp.cli.settings import Endpoints, Settings
from scalp.cli.venues import open_broker
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import MarketClock
from scalp.core.events import Listener
from scalp.journal.recorder import Journaling
from scalp.live.hours import Calendar
from scalp.live.opening import Start
from scalp.live.session import TradingSession


class Startup:
    """Use: `open()`, trade the session that it returns, `close()`."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        algo_class: type[ScalpAlgo],
        listeners: Sequence[Listener] = (),
    ) -> None:
        """`listeners` are told of everything in the session, as the log and the journal are."""
        self._settings = settings
        self._endpoints = endpoints
        self._algo_class = algo_class
        self._listeners = listeners
        self.clock = MarketClock(asyncio.get_running_loop().time)
        self.account = open_broker(endpoints)
        self._journaling = Journaling(settings, endpoints, self.now)
        self._session: TradingSession | None = None

    def now(self) -> int | None:
        """Exchange time (ns), None before it is known."""
        return self.clock.now() if self.clock.is_set else None

    async def open(self) -> TradingSession | None:
        """The session; None when the market is closed and nobody wants to wait. Raises UserError."""
        calendar = Calendar(self.account)
        start = Start(self.account, self.clock, calendar, self._settings)
        answer = await start.market()
        if answer is None:
            return None
        self._session = session = TradingSession(self._settings, self._endpoints, self._algo_class, self.account,
                                                 self.clock, calendar, answer, self._listeners)  # fmt: skip
        await session.begin(start, self._journaling)
        return session

    async def close(self) -> None:
        """Close everything that was opened, also where the start did not succeed."""
        if self._session is not None:
            await self._session.close()
        await self.account.close()
        self._journaling.end()
