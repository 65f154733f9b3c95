"""The session's hours: the exchange's clock gives them, and the calendar is the second witness.

                        the calendar has a session now      it has none, or has not answered
    the clock: open     the session                         exits only, until the clock's close
    the clock: closed   no buys; see below                  no session

Inside the calendar's session a clock that says closed stops buys at once. Where bars or prints made later still come,
it is not believed. Where none came for 2 minutes, the market may really be closed: nothing is sent or cancelled until
data come or the clock says open. The calendar's close ends the session; the clock alone moves it by a minute at most.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from scalp.core.clock import CHECKUP_EVERY, LATE_LOOK_EVERY, MarketClock, Session, nanoseconds, new_york
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.fleet import Fleet
from scalp.core.market_data import Bar, Trade
from scalp.core.orders import OrderReport
from scalp.core.ports import Account, Clock, Counted
from scalp.core.stops import MAY_BE_CLOSED
from scalp.core.units import MINUTE, SECOND

log = logging.getLogger("scalp.main")

SECOND_LOOK = 2.0  # seconds
CLOCK_PATIENCE = 3.0  # seconds a checkup waits for the clock: long enough for the second look
LOOK_EVERY = 1.0  # seconds, while something is in doubt
ASK_EVERY = 10.0  # the clock, then
CALENDAR_EVERY, CALENDAR_AGAIN = 60.0, 10.0  # seconds; the latter after a question without an answer
SILENCE = 2 * MINUTE  # without bars or prints: a clock that says closed may be right
CLOSE_MOVES_BY = MINUTE  # by the clock alone
BARS_FLOW = 210 * SECOND  # since the start of the newest minute
NO_HOLD_BEFORE_CLOSE = 15 * SECOND  # no hold on a last trade alone: enough time to sell must be left
LAST_TRADES, LAST_TRADE_PATIENCE = 3, 3.0  # symbols, seconds
LONGEST_SESSION = 7 * 60 * MINUTE
EARLIEST_OPEN, LATEST_CLOSE = dt.time(9, 30), dt.time(16)  # no day has regular hours outside these

TROUBLE = (Unreachable, OutcomeUnknown, Rejected)


def is_plausible(answer: Clock, now: int) -> bool:
    """Whether the session may close when the clock says so."""
    return answer.is_open and now < answer.next_close <= now + LONGEST_SESSION


async def ask_time(rest: Account, clock: MarketClock, data_flow: bool = False) -> Clock:
    """Ask the exchange's clock, and take over its time as far as it is believed."""
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    answer = await rest.clock()
    clock.set(answer.timestamp, asked_at, loop.time(), data_flow)
    return answer


class Calendar:
    """The exchange's calendar of the day."""

    def __init__(self, rest: Account) -> None:
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self._asked_at = float("-inf")  # loop time
        self._every = CALENDAR_EVERY
        self._read_for: dt.date | None = None
        self.day: Session | None = None  # None where it has no session on that day

    async def read(self, at: int) -> Session | None:
        """The session of the day of `at`. Raises what a request raises."""
        self._asked_at, self._every = self._loop.time(), CALENDAR_AGAIN
        today = new_york(at).date()
        rows = {day: (opens, closes) for day, opens, closes in await self._rest.calendar(today, today)}
        opens, closes = rows.get(today, (0, 1))
        if opens >= closes:
            raise Unreachable("GET /calendar: the answer is not understood")
        self._every = CALENDAR_EVERY
        self.day, self._read_for = Session(today, opens, closes) if opens else None, today
        return self.day

    def is_read_for(self, at: int) -> bool:
        """Whether it has been read for the day of `at`."""
        return self._read_for == new_york(at).date()

    @property
    def is_due(self) -> bool:
        """Whether it may be asked again."""
        return self._loop.time() - self._asked_at >= self._every

    def covers(self, at: int) -> bool:
        """Whether it has a session then."""
        return self.day is not None and self.day.open <= at < self.day.close

    @staticmethod
    def is_possible(at: int) -> bool:
        """Whether there could be a session then, on any day."""
        when = new_york(at)
        return when.weekday() < 5 and EARLIEST_OPEN <= when.time() < LATEST_CLOSE


class MarketHours:
    """Works out a session's hours from clock, calendar and market data, and passes them to the fleet.

    `answer` is what the clock said last. `listen(True)` has every bar and trade passed to `hear_bar` and `hear_trade`
    before the fleet gets it, `listen(False)` ends that: it costs something. `spawn` starts a task.
    """

    def __init__(
        self,
        fleet: Fleet,
        clock: MarketClock,
        calendar: Calendar,
        rest: Account,
        answer: Clock,
        counted: Counted,
        listen: Callable[[bool], None],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._calendar = calendar
        self._rest = rest
        self._counted = counted
        self._listen = listen
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._answer = answer
        self._session = _by_the_clock(answer, clock.now())
        self._agrees = False  # the session is the calendar's
        self._other_close = 0  # the clock's, more than a minute from the calendar's; 0: they agree
        self._closed_at = 0  # when the clock began to say closed, exchange time in ns; 0: it says open
        self._alive_at = 0  # when data made later last came
        self._is_believed = False  # the clock that says closed: nothing is bought
        self._is_shut = False  # nothing is sent at all
        self._was_shut = False
        self._is_holding = False  # nothing is liquidated: market data contradict the time
        self._listens = False
        self._is_attending = False
        self._is_doubt_told = False
        self._asked_at = self._checked_at = self._heard_at = self._loop.time()

    # -- the session --------------------------------------------------------------------------------------------------

    def begin(self) -> Session:
        """Pass the fleet the session as clock and calendar have it now, and return it."""
        self._hear_on(True)
        now = self._clock.now()
        if not self._adopt(now):
            until = f"exits only, until {new_york(self._session.close):%H:%M:%S}"
            if self._calendar.is_read_for(now):
                why = "the calendar has no session now"
                log.warning("no session in the calendar at %s, but the clock says open: %s",
                            f"{new_york(now):%Y-%m-%d %H:%M}", until)  # fmt: skip
            else:
                why = "the calendar has not answered yet"
                log.warning("%s: %s", why, until)
            self._fleet.block_entries("calendar", why)
        self._take(self._answer)
        return self._session

    def is_over(self, at: int) -> bool:
        """Whether the session has ended. What is still open may be cancelled then, whatever was in doubt."""
        if at < self._session.close or self._is_holding:
            return False
        self._is_shut, self._fleet.orders.shut = False, ""
        return True

    def _adopt(self, now: int) -> bool:
        """Take the calendar's session, if it has one now."""
        day = self._calendar.day
        if day is None or not self._calendar.covers(now):
            return False
        self._session, self._agrees = day, True
        self._fleet.unblock("calendar")
        return True

    def _settle(self) -> None:
        """Let the fleet have the session as it is known now."""
        now, close = self._clock.now(), self._session.close
        holds = self._clock.is_ahead and (now < close - NO_HOLD_BEFORE_CLOSE or self._clock.contradictions > 1)
        if holds and not self._is_holding:
            log.warning("it is %s by the clock, and much earlier by bars and trades: nothing is bought or liquidated "
                        "until they agree", f"{new_york(now):%H:%M:%S}")  # fmt: skip
            self._fleet.block_entries("time", "clock and market data differ")
        elif self._is_holding and not holds:
            self._fleet.unblock("time")
        self._is_holding = holds
        session = msgspec.structs.replace(self._session, is_held=self._is_shut or holds)
        before = self._fleet.session
        if session == before:
            return
        if before is not None and session.close != before.close:
            log.warning("the session closes at %s", f"{new_york(session.close):%H:%M:%S}")
        self._fleet.begin_session(session)
        if before is not None:
            self._fleet.checkup()  # it may be time to liquidate

    # -- the clock ----------------------------------------------------------------------------------------------------

    def ask_clock(self) -> asyncio.Task[bool] | None:
        """Ask for the exchange's time if that is due; the answer is worth waiting for, except while liquidating."""
        session, at = self._session, self._clock.now()
        every = LATE_LOOK_EVERY if at >= session.near_at else CHECKUP_EVERY
        if self._is_attending or not _is_due(self._loop, self._checked_at, every):
            return None
        self._checked_at = self._loop.time()
        answer = self._spawn(self.check())
        return answer if at < session.liquidate_at else None

    def count_from(self, loop_time: float) -> None:
        """The clock was asked at the start; count from then to when it is due."""
        self._checked_at = loop_time

    async def refresh(self) -> None:
        """Ask the clock, unless it answered just now."""
        if _is_due(self._loop, self._heard_at, CLOCK_PATIENCE):
            await self.check()

    async def check(self) -> bool:
        """Ask the clock, twice where its answer is odd and new. False when it could not be asked."""
        try:
            is_new = not self._is_attending
            answer = await self._ask()
            if is_new and (not answer.is_open or self._is_time_doubted):
                self._take(answer)
                await asyncio.sleep(SECOND_LOOK)
                answer = await self._ask()
        except TROUBLE as error:
            log.warning("the exchange's clock: %s", error)
            return False
        self._take(answer)
        if self._is_time_doubted and not self._is_doubt_told:
            log.warning("the exchange's clock said %s: not believed", f"{new_york(answer.timestamp):%H:%M:%S}")
        self._is_doubt_told = self._is_time_doubted
        if (self._other_close or self._closed_at) and self._calendar.is_due:
            await self._ask_calendar()
        return True

    async def _ask(self) -> Clock:
        self._asked_at = self._loop.time()
        data_flow = self._clock.now() - self._fleet.newest_minute < BARS_FLOW
        answer = await self._counted(ask_time(self._rest, self._clock, data_flow))
        self._heard_at = self._loop.time()
        return answer

    @property
    def _is_time_doubted(self) -> bool:
        return self._clock.is_doubted and not self._clock.stands_still

    def _take(self, answer: Clock) -> None:
        """Take in what the clock said besides the time."""
        now, session = self._clock.now(), self._session
        if not answer.is_open and not self._agrees and self._calendar.is_read_for(now):
            self._session = msgspec.structs.replace(session, close=now)  # both say so
        elif not answer.is_open and session.open <= now < session.close:
            self._closed(now)
        elif answer.is_open:
            self._opened()
            self._compare_close(answer.next_close, now)
        self._settle()
        self._attend()

    def _compare_close(self, told: int, now: int) -> None:
        day = self._calendar.day
        if not self._agrees or day is None:
            if now < told:  # else it is an answer of yesterday
                # There is no second witness of the close: a new one has to be reported twice.
                is_near = abs(told - self._session.close) <= CLOSE_MOVES_BY
                if is_near or told == self._other_close:
                    self._session = msgspec.structs.replace(self._session, close=told)
                self._other_close = 0 if is_near else told
            return
        is_near = abs(told - day.close) <= CLOSE_MOVES_BY
        if not is_near and told != self._other_close:
            log.warning("the clock says that the session closes at %s, the calendar %s: asking it again",
                        f"{new_york(told):%Y-%m-%d %H:%M}", f"{new_york(day.close):%H:%M}")  # fmt: skip
        self._other_close = 0 if is_near else told
        self._session = msgspec.structs.replace(day, close=told if is_near else day.close)

    # -- the calendar -------------------------------------------------------------------------------------------------

    async def _ask_calendar(self) -> None:
        """Ask it again, for an answer it has not given yet or for another close than it gave."""
        before = self._calendar.day
        try:
            after = await self._counted(self._calendar.read(self._clock.now()))
        except TROUBLE as error:
            log.info("the calendar: %s", error)
            return
        if not self._agrees:
            return
        is_early = after is not None and self._closed_at and after.close <= self._closed_at
        is_told = after is not None and abs(after.close - self._other_close) <= CLOSE_MOVES_BY
        if after is not None and (is_told or is_early):
            self._other_close = 0
            self._session = after
            self._settle()
        else:
            self._calendar.day = before  # its first answer, which the clock does not contradict

    # -- open or closed -----------------------------------------------------------------------------------------------

    def _opened(self) -> None:
        if self._closed_at:
            log.warning("the clock says open again")
            self._closed_at = self._alive_at = 0
            self._lift()

    def _closed(self, now: int) -> None:
        if not self._closed_at:
            self._closed_at, self._is_believed = now, True
            log.warning("the clock says that the market is closed, the calendar does not: no buys")
            self._fleet.block_entries("clock", "the clock says that the market is closed")

    def _lift(self) -> None:
        """The market is open: all goes on."""
        if self._is_believed:
            self._is_believed = False
            self._fleet.unblock("clock")
        if self._is_shut:
            self._is_shut, self._fleet.orders.shut = False, ""
            log.warning("the market is open: orders go out again")
        self._settle()

    def _shut(self) -> None:
        level = logging.WARNING if self._was_shut else logging.ERROR
        self._is_shut = self._was_shut = self._is_believed = True
        log.log(level, "the clock says that the market is closed, and nothing was traded for %d s: nothing is sent or "
                "cancelled until one of them changes", SILENCE // SECOND)  # fmt: skip
        self._fleet.orders.shut = MAY_BE_CLOSED
        self._fleet.block_entries("clock", MAY_BE_CLOSED)
        self._settle()

    # -- market data --------------------------------------------------------------------------------------------------

    def hear_bar(self, bar: Bar) -> None:
        self._hear(bar.start + MINUTE, bar.start)

    def hear_trade(self, trade: Trade) -> None:
        self._hear(trade.at, trade.at)

    def hear_order_update(self, report: OrderReport) -> None:
        """An execution is a print, too; bars and trades are newer witnesses of the time."""
        if self._closed_at and report.execution_qty and report.at is not None:
            self._hear_traded(report.at, report.at)

    def _hear_on(self, listens: bool) -> None:
        if self._listens is not listens:
            self._listens = listens
            self._listen(listens)

    def _hear(self, made_at: int, begun_at: int) -> None:
        """Something was traded between `begun_at` and `made_at`."""
        clock, followed, before = self._clock, self._clock.follows_data, self._clock.now()
        if clock.witness(made_at):
            level = logging.ERROR if clock.follows_data and not followed else logging.WARNING
            log.log(level, "it is %s by bars and trades, and was %s by the clock: going by them",
                    f"{new_york(clock.now()):%H:%M:%S}", f"{new_york(before):%H:%M:%S}")  # fmt: skip
            self._settle()
        self._hear_traded(made_at, begun_at)
        if not self._is_odd and clock.is_confirmed:
            self._hear_on(False)
        else:
            self._attend()

    def _hear_traded(self, made_at: int, begun_at: int) -> None:
        if not self._closed_at or made_at <= self._closed_at:
            return
        self._alive_at = self._clock.now()
        if begun_at >= self._closed_at and self._is_believed:
            if not self._is_shut:
                log.warning("bars and trades go on: a clock that says closed is not believed, buys go on")
            self._lift()

    async def ask_last_trades(self, latest_trade: Callable[[str], Awaitable[Trade | None]]) -> None:
        """Started so late that all is to be sold at once: last trades show whether it is as late as the clock says."""
        session, now = self._session, self._clock.now()
        if not session.liquidate_at - MINUTE <= now < session.close - NO_HOLD_BEFORE_CLOSE:
            return

        async def made_at(symbol: str) -> int:
            try:
                async with asyncio.timeout(LAST_TRADE_PATIENCE):
                    trade = await latest_trade(symbol)
            except (*TROUBLE, TimeoutError):
                return 0
            return 0 if trade is None else trade.at

        if newest := max(await asyncio.gather(*map(made_at, list(self._fleet.algos)[:LAST_TRADES]))):
            self._hear(newest, newest)
            self._settle()

    def hear_early_bar(self, bar: Bar) -> None:
        """A bar that seems to come before its time."""
        if not self._listens:
            self._hear_on(True)
            self.hear_bar(bar)

    # -- while something is in doubt ----------------------------------------------------------------------------------

    @property
    def _is_odd(self) -> bool:
        is_time_odd = self._is_time_doubted or self._clock.contradictions > 0 or self._is_holding
        return is_time_odd or not self._agrees or bool(self._closed_at or self._other_close)

    def _attend(self) -> None:
        """Look after what is odd until it is settled."""
        if self._is_odd and not self._is_attending:
            self._is_attending = True
            self._hear_on(True)
            self._spawn(self._look_on())

    async def _look_on(self) -> None:
        while self._is_odd and not self.is_over(self._clock.now()):
            await asyncio.sleep(LOOK_EVERY)
            self._look()
            if _is_due(self._loop, self._asked_at, ASK_EVERY):
                await self.check()
            if not self._agrees and self._calendar.is_due:
                await self._ask_calendar()
        self._is_attending = False

    def _look(self) -> None:
        now = self._clock.now()
        is_silent = now - max(self._closed_at, self._alive_at) >= SILENCE
        if self._closed_at and is_silent and not self._is_shut and now < self._session.close:
            self._shut()
        if not self._agrees and self._adopt(now):
            log.warning("the calendar has a session now, until %s: buys go on",
                        f"{new_york(self._session.close):%H:%M:%S}")  # fmt: skip
        self._settle()


def _by_the_clock(answer: Clock, now: int) -> Session:
    """The session where the calendar does not help: every bar of the day counts."""
    today = new_york(now)
    midnight = nanoseconds(today.replace(hour=0, minute=0, second=0, microsecond=0))
    return Session(today.date(), midnight, answer.next_close)


def _is_due(loop: asyncio.AbstractEventLoop, last: float, every: float) -> bool:
    return loop.time() + 0.5 - last >= every
