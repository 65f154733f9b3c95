"""What is asked of Alpaca before a session is traded: whether the market is open, and what may be traded.

Only a start that never worked may end in an error. What cannot be learned then, or says no, is asked again while the
session goes on: it stops buys, never exits.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import difflib
import logging
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any, TypeVar

from scalp.cli.settings import Settings
from scalp.core.clock import MarketClock, new_york
from scalp.core.decimals import decimal_or_none
from scalp.core.errors import OutcomeUnknown, Rejected, ScalpError, Unreachable, UserError
from scalp.core.fleet import Fleet
from scalp.core.ports import Account, Asset, Clock, Counted
from scalp.core.units import SECOND
from scalp.live.hours import SECOND_LOOK, TROUBLE, Calendar, ask_time, is_plausible
from scalp.net.backoff import Backoff
from scalp.net.printable import NO_MASK

T = TypeVar("T")

log = logging.getLogger("scalp.main")

PATIENCE = 30.0  # seconds of trouble until it is an error
OPEN_PATIENCE = 12.0  # once the market is known to be open the start goes on without an answer: exits wait for it
LONGEST_PAUSE = 8.0  # seconds between two tries then
NIGHT_PAUSE = 60.0  # the same while waiting for the open
NIGHT_LINE_EVERY = 3600.0  # seconds between lines about trouble that lasts
LONGEST_SLEEP = 3600.0
SLOW_LOOK = 30.0  # seconds between two looks when the market should be open for a minute already
OPENING_GRACE = 10 * SECOND  # the clock may be as late to say that the session has begun
AGAIN = 60.0  # seconds until what stands in the way is asked again
LONGEST_WORDS = 40  # characters of a status or an amount
MOST_SINGLE_ASSETS = 10  # asked for one by one where the listing lacks them
SINGLE_ASSETS = 4  # up to so many symbols are asked for one by one; more: one listing of all


class StartupChecks:
    """The questions of one start. With `--wait` it waits for answers; else a refusal is the user's to fix.

    `after` is the date of the session that this process traded last: another one on that day is not begun, and no
    answer ends this start any more.
    """

    def __init__(
        self, rest: Account, clock: MarketClock, calendar: Calendar, settings: Settings, after: dt.date | None = None
    ) -> None:
        self.after = after
        self._rest = rest
        self._clock = clock
        self._calendar = calendar
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._deadline = float("inf")  # loop time until which trouble is waited out
        self._told_at = float("-inf")  # loop time of the last line about trouble at night
        self._told: set[str] = set()  # lines about waiting that were logged
        self.line = ""  # what is waited for now, and why

    async def market(self) -> Clock | None:
        """The clock's answer once the market is open; None when it is closed and nobody wants to wait.

        An answer that says closed means that the calendar has a session now all the same.
        """
        answer = await self._next_day(await self._first_time())
        was_open = False
        while True:
            now, calendar = self._clock.now(), self._calendar
            if answer.is_open or calendar.is_possible(now):
                self._deadline = self._loop.time() + OPEN_PATIENCE
                await self._read_calendar()
                now = self._clock.now()
            is_on, is_known = calendar.covers(now), calendar.is_read_for(now)
            is_by_the_clock = answer.is_open and (is_known or is_plausible(answer, now))
            if not self._settings.wait:
                if is_on or is_by_the_clock:
                    return answer
                if answer.is_open:
                    raise UserError("neither Alpaca's clock nor its calendar tells when the session closes: try again")
                log.info("the market is closed, it opens on %s (--wait waits for it)", _opens(answer))
                return None
            # The clock has said open for a minute, at a possible hour: exits must not wait for the calendar.
            may_be_on = not is_known or (was_open and calendar.is_possible(now))
            if (answer.is_open and is_on) or (is_by_the_clock and may_be_on) or calendar.covers(now - OPENING_GRACE):
                return answer
            was_open = answer.is_open
            line, opens = _waiting(answer), answer.next_open
            if is_on:
                opens = now + SECOND
            elif answer.is_open:
                line, opens = "the clock says open, the calendar has no session now: waiting", now + 60 * SECOND
                if calendar.day is not None and calendar.day.open > now:
                    opens = min(opens, calendar.day.open)
            self._say(line)
            answer = await self._after_a_sleep(answer, opens)

    async def _first_time(self) -> Clock:
        """The clock's first answer: `--wait` waits out network trouble, but wrong keys only after another session."""
        if self.after is not None:
            return await self._after_trouble()
        try:
            return await self.patiently(lambda: ask_time(self._rest, self._clock))
        except Unreachable as error:
            if not self._settings.wait:
                raise UserError(str(error)) from None
            log.warning("%s: waiting", error)
            self._told_at = self._loop.time()
        while True:
            try:
                return await ask_time(self._rest, self._clock)
            except Rejected as refusal:
                raise self._users_error(refusal) from None
            except (Unreachable, OutcomeUnknown) as error:
                await self._pass_over(error, LONGEST_PAUSE)

    async def _next_day(self, answer: Clock) -> Clock:
        """The clock's answer, once the day of the last session is over."""
        while self.after is not None and new_york(self._clock.now()).date() <= self.after:
            self._say(_waiting(answer))
            answer = await self._after_a_sleep(answer, answer.next_open)
        return answer

    async def _after_a_sleep(self, last: Clock, opens: int) -> Clock:
        """The clock's next answer, asked for when the market `opens`, or after an hour.

        `last` again when no answer comes while the market may be open: the calendar may know.
        """
        late = -self._clock.seconds_until(opens)
        await asyncio.sleep(min(-late, LONGEST_SLEEP) if late < -1 else 1.0 if late < 60 else SLOW_LOOK)
        backoff = Backoff(1.0, NIGHT_PAUSE)
        while True:
            try:
                answer = await ask_time(self._rest, self._clock)
                if self._clock.is_doubted and not self._clock.stands_still:
                    await asyncio.sleep(SECOND_LOOK)
                    answer = await ask_time(self._rest, self._clock)
                return answer
            except TROUBLE as error:
                trouble = error
            left = self._clock.seconds_until(opens)
            if left <= 0 and self._calendar.is_possible(self._clock.now()):
                return last
            await self._pass_over(trouble, min(backoff.next(), max(left, 1.0)))

    async def _after_trouble(self) -> Clock:
        """The clock's answer, however long it takes."""
        backoff = Backoff(1.0, NIGHT_PAUSE)
        while True:
            try:
                return await ask_time(self._rest, self._clock)
            except TROUBLE as error:
                await self._pass_over(error, backoff.next())

    async def _pass_over(self, trouble: Exception, seconds: float) -> None:
        """Sleep; trouble at night is logged once an hour."""
        self.line = f"waiting for the open: {trouble}; asking on"
        if self._loop.time() - self._told_at >= NIGHT_LINE_EVERY:
            self._told_at = self._loop.time()
            log.warning("%s", self.line)
        await asyncio.sleep(seconds)

    def _say(self, line: str) -> None:
        self.line = line
        if line not in self._told:
            self._told.add(line)
            log.info("%s", line)

    async def _read_calendar(self) -> None:
        if self._calendar.is_read_for(self._clock.now()) and not self._calendar.is_due:
            return
        await self.if_possible(lambda: self._calendar.read(self._clock.now()), "the calendar")

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask: passing trouble is waited out for 30 s. Raises Unreachable after that, UserError for a refusal."""
        self._deadline = self._loop.time() + PATIENCE
        try:
            return await self._ask(ask)
        except Rejected as refusal:
            raise self._users_error(refusal) from None
        except (Unreachable, OutcomeUnknown) as error:
            raise Unreachable(f"Alpaca cannot be reached: {error}; check the network and APCA_API_BASE_URL") from None

    async def if_possible(self, ask: Callable[[], Awaitable[T]], what: str) -> T | None:
        """Ask, until 12 s after the market was found open. None: no answer.

        Raises UserError where the keys are refused. With --wait nobody is there to fix that, and it may pass.
        """
        try:
            return await self._ask(ask)
        except TROUBLE as error:
            if isinstance(error, Rejected) and error.status in (401, 403) and not self._settings.wait:
                raise self._users_error(error) from None
            log.warning("%s: %s; going on without", what, error)
        return None

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff(1.0, LONGEST_PAUSE)
        while True:
            try:
                return await ask()
            except (Unreachable, OutcomeUnknown) as error:
                if self._loop.time() + backoff.pause > self._deadline:
                    raise
                log.warning("%s; again in %.0f s", error, backoff.pause)
                await backoff.wait()

    def _users_error(self, refusal: Rejected) -> UserError:
        if refusal.status in (401, 403):
            account = "the live" if self._settings.is_live else "a paper"
            return UserError(
                f"Alpaca refused the keys ({refusal.status}): check APCA_API_KEY_ID and APCA_API_SECRET_KEY, "
                f"and that they belong to {account} account"
            )
        return UserError(
            f"Alpaca refused a request at the start: {refusal.status} {refusal.message} (APCA_API_BASE_URL?)"
        )


def _waiting(answer: Clock) -> str:
    return f"the market is closed: waiting until {_opens(answer)}"


def _opens(answer: Clock) -> str:
    return f"{new_york(answer.next_open):%A %Y-%m-%d %H:%M} New York"


class Permits:
    """What Alpaca must permit before anything is bought: the account as a whole, and each symbol's asset.

    Asked at the start, and again every minute while something stands in the way.
    """

    def __init__(self, rest: Account, fleet: Fleet, settings: Settings) -> None:
        self._rest = rest
        self._fleet = fleet
        self._settings = settings
        self._is_account_free = True
        self.equity: Decimal | None = None  # of the account, dollars, as it was first reported
        self._barred: dict[str, str] = {}  # symbol -> why nothing is bought in it

    # -- at the start -------------------------------------------------------------------------------------------------

    async def look(self, start: StartupChecks) -> None:
        """Say what the account is and what each symbol stands for, and forbid buys where they may not be.

        Raises UserError, which names similar ones, for an unknown symbol; one known yesterday is just not bought.
        """
        self._take_account(await start.if_possible(self._rest.get_account, "the account"))
        assets, unknown = await self._find(start)
        if unknown and start.after is not None:
            for symbol in unknown:
                self._bar(symbol, f"unknown symbol {symbol}")
        elif unknown:
            known = assets if len(self._settings.symbols) > SINGLE_ASSETS else await self._known_symbols()
            raise UserError("; ".join(_unknown(symbol, known) for symbol in unknown))
        for symbol in self._settings.symbols:
            if symbol in assets:
                self._take_asset(symbol, assets[symbol])
            elif symbol not in unknown:
                self._bar(symbol, f"what {symbol} stands for is not known yet", is_said=False)
        if missing := len([symbol for symbol in self._settings.symbols if symbol not in {*assets, *unknown}]):
            log.warning("what %d symbols stand for is not known yet: no buys in them", missing)

    async def _find(self, start: StartupChecks) -> tuple[dict[str, Asset], list[str]]:
        """The assets that could be found, and the symbols that stand for none."""
        symbols = self._settings.symbols
        found: dict[str, Asset] = {}
        unknown: list[str] = []
        if len(symbols) > SINGLE_ASSETS:
            listed = await start.if_possible(self._rest.assets, "the assets")
            if listed is None:
                return {}, []
            found = {asset.symbol: asset for asset in listed}
        # Few symbols, or some that are not in the listing: asked for one by one.
        missing = [symbol for symbol in symbols if symbol not in found]
        unknown += missing[MOST_SINGLE_ASSETS:]
        for symbol in missing[:MOST_SINGLE_ASSETS]:
            answer = await start.if_possible(lambda symbol=symbol: self._asset(symbol), symbol)  # type: ignore[misc]
            if answer is None:
                break
            found.update(answer)
            if not answer:
                unknown.append(symbol)
        return found, unknown

    async def _asset(self, symbol: str) -> dict[str, Asset]:
        """Empty where there is no such symbol."""
        try:
            return {symbol: await self._rest.asset(symbol)}
        except Rejected as refusal:
            if refusal.status in (404, 422):
                return {}
            raise

    async def _known_symbols(self) -> Iterable[str]:
        try:
            return [asset.symbol for asset in await self._rest.assets()]
        except ScalpError:
            return []

    # -- later --------------------------------------------------------------------------------------------------------

    async def ask_again(self, counted: Counted) -> None:
        """Ask until nothing stands in the way; `counted` awaits one request within the limit."""
        while self._barred or not self._is_account_free:
            await asyncio.sleep(AGAIN)
            try:
                if not self._is_account_free:
                    self._take_account(await counted(self._rest.get_account()))
                await self._ask_for_barred(counted)
            except TROUBLE as error:
                log.info("what stands in the way of buys: %s; asking again", error)

    async def _ask_for_barred(self, counted: Counted) -> None:
        symbols = list(self._barred)
        if len(symbols) > MOST_SINGLE_ASSETS:
            listed = {asset.symbol: asset for asset in await counted(self._rest.assets())}
            symbols = [symbol for symbol in symbols if symbol in listed]
            for symbol in symbols:
                self._take_asset(symbol, listed[symbol])
            return
        for symbol in symbols:
            answer = await counted(self._asset(symbol))
            if answer:
                self._take_asset(symbol, answer[symbol])
            else:
                self._bar(symbol, f"unknown symbol {symbol}")

    # -- what the answers say -----------------------------------------------------------------------------------------

    def _take_account(self, account: Any) -> None:
        if not isinstance(account, dict) or not isinstance(account.get("status"), str):
            blocks = ["its state is not known"]
        else:
            names = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
            blocks = [name for name in names if account.get(name)]
            if account["status"] != "ACTIVE":
                blocks.append(f"status {NO_MASK.words(account['status'], LONGEST_WORDS)}")
            if self._is_account_free:
                self._tell(account)
        if blocks:
            why = f"the account is blocked ({', '.join(blocks)})"
            if self._is_account_free:
                log.warning("%s: no buys, what is held is managed", why)
            self._fleet.block_entries("account", why)
        elif not self._is_account_free:
            log.info("the account is free: it stands in the way of buys no more")
            self._fleet.unblock("account")
        self._is_account_free = not blocks

    def _tell(self, account: dict[str, Any]) -> None:
        told = (NO_MASK.words(account.get(name, "?"), LONGEST_WORDS) for name in ("status", "equity", "buying_power"))
        money = {"live": "REAL MONEY", "simulated": "made-up money"}.get(self._settings.venue, "paper")
        log.info("account: %s, equity $%s, buying power $%s, %s", *told, money)
        self.equity = decimal_or_none(account.get("equity"))
        power, wanted = decimal_or_none(account.get("buying_power")), self._settings.lot * len(self._settings.symbols)
        if power is not None and power < wanted:
            log.warning("buying power $%s is less than lot x symbols = $%s: some buys will be refused", power, wanted)

    def _take_asset(self, symbol: str, asset: Asset) -> None:
        """A ticker may belong to another company than it did (FB is a fund today): its name is logged."""
        was = self._barred.pop(symbol, "")
        if not was or "stands for" in was:
            log.info("%s is %s (%s)", symbol, asset.name or "without a name", asset.exchange or "?")
        if not asset.tradable or not asset.active:
            self._barred[symbol] = was
            self._bar(symbol, f"{symbol} cannot be traded now")
        elif was:
            log.info("%s can be traded", symbol)
            self._fleet.algos[symbol].entry_blocks.unblock("asset")

    def _bar(self, symbol: str, why: str, is_said: bool = True) -> None:
        if is_said and self._barred.get(symbol) != why:
            log.warning("%s: no buys in it", why)
        self._barred[symbol] = why
        self._fleet.algos[symbol].entry_blocks.block("asset", why)


def _unknown(symbol: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(symbol, known, n=4, cutoff=0.5)
    return f"unknown symbol {symbol}" + (f": did you mean {', '.join(near)}?" if near else "")
