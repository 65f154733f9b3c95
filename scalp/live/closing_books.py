"""The broker's own figures: the fees it charged, and at the end of a session the cash of its executions beside ours."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from decimal import Decimal

from scalp.core.clock import Session
from scalp.core.decimals import ZERO, decimal_or_none
from scalp.core.events import DayRecalled, FeesCharged
from scalp.core.fleet import Fleet
from scalp.core.ports import Account, Broker, Execution, FeeCharged
from scalp.core.prices import CENT
from scalp.core.units import HOUR
from scalp.core.words import counted
from scalp.live.listings import TROUBLES
from scalp.live.past_fills import EARLIEST_FILL, until_calm
from scalp.net.virtual_time import pace

log = logging.getLogger("scalp.main")

FEES_SINCE = 7 * 24 * HOUR  # before the open: Alpaca lists the fees of a day in the night after it, or later
AFTER_START = 60.0  # seconds
LOOKS, LOOK_EVERY, PATIENCE = 4, 2.0, 10.0  # at the end, seconds: rows of executions may be late
STOP_LOOK_EVERY, STOP_PATIENCE = 0.5, 2.0  # the same for a bot that was told to stop: nobody waits longer for it


class ClosingBooks:
    """Of one session of `fleet`."""

    def __init__(self, fleet: Fleet, account: Account, broker: Broker) -> None:
        self._fleet = fleet
        self._account = account
        self._broker = broker

    async def ask_old_fees(self, session: Session) -> None:
        """Ask for the fees of the days before, some time after the start: nothing waits for them."""
        await asyncio.sleep(AFTER_START)
        await until_calm(self._fleet, self._broker)
        await self.ask_fees(session)

    async def ask_fees(self, session: Session) -> list[FeeCharged]:
        """Report the fees that were charged lately. Where they cannot be read, the report has ours alone."""
        activities = self._account.activities(session.open - FEES_SINCE, self._broker.counted)
        try:
            fees = await activities.fees()
        except TROUBLES as error:
            log.debug("the broker's fees: %s", error)
            return []
        if fees:
            self._fleet.tell(FeesCharged(self._fleet.bus.now(), fees))
        return fees

    async def compare(self, session: Session) -> None:
        """After the close: say where our cash of the day differs from that of the account's executions."""
        try:
            async with asyncio.timeout(PATIENCE):
                fees = await self.ask_fees(session)
                everything = await self._read(session, LOOK_EVERY)
        except (*TROUBLES, TimeoutError) as error:
            self._say_not(str(error))
            return
        executions = self._compare(everything)
        if executions and executions == everything:
            await self._compare_equity(session, executions, fees)

    async def compare_at_stop(self, session: Session) -> None:
        """The same in the middle of the day, without the equity; it never takes longer than 2 s, and never raises."""
        try:
            async with asyncio.timeout(STOP_PATIENCE * pace(asyncio.get_running_loop())):
                everything = await self._read(session, STOP_LOOK_EVERY)
        except (*TROUBLES, TimeoutError) as error:
            self._say_not(str(error))
        except Exception:
            log.exception("our books are not compared with the account's")  # whatever is broken: the bot leaves
        else:
            self._compare(everything)

    async def _read(self, session: Session, every: float) -> list[Execution]:
        """The account's executions of the day, asked for until they agree with our books, a few times at most."""
        activities = self._account.activities(session.open - EARLIEST_FILL, self._broker.counted)
        everything = await activities.read()
        for _ in range(LOOKS - 1):
            if not (self._fleet.takings.are_whole and self._differences(everything)):
                break
            await asyncio.sleep(every)
            everything = await activities.read()
        return everything

    @staticmethod
    def _say_not(why: str) -> None:
        log.info("our books are not compared with the account's: %s", why or "no answer in time")

    def _compare(self, everything: list[Execution]) -> list[Execution]:
        """Log where the books differ; returns the executions in watched symbols."""
        executions = [e for e in everything if e.symbol in self._fleet.algos]
        self._fleet.tell(DayRecalled(self._fleet.bus.now(), executions, ()))
        if not self._fleet.takings.are_whole:
            self._say_not("what was traded before the start is not known yet")
            return executions
        differences = self._differences(executions)
        for symbol, (ours, theirs) in differences.items():
            log.warning("%s: cash of the day is %+.2f by our books, %+.2f by the account's executions: the report goes "
                        "by these", symbol, ours, theirs)  # fmt: skip
        if not differences:
            has = counted(len(executions), "execution has it", "executions have it")
            total = sum((self._cash(symbol) for symbol in self._fleet.algos), ZERO)
            log.info("books: cash %+.2f, as the account's %s", total, has)
        return executions

    async def _compare_equity(self, session: Session, executions: list[Execution], fees: list[FeeCharged]) -> None:
        """Only where the account holds nothing, and did nothing else today: else its equity proves nothing."""
        moved: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        for one in executions:
            moved[one.symbol] += one.signed
        if any(moved.values()):
            return
        try:
            async with asyncio.timeout(PATIENCE):
                held = await self._broker.counted(self._account.positions())
                account = await self._broker.counted(self._account.get_account())
        except (*TROUBLES, TimeoutError):
            return
        now, before = (decimal_or_none(account.get(name)) for name in ("equity", "last_equity"))
        if held.rows or now is None or before is None:
            return
        # Fees of the days before may be taken today; the id of an activity begins with the day of its entry.
        taken = sum((fee.amount for fee in fees if fee.id.startswith(f"{session.date:%Y%m%d}")), ZERO)
        expected = before - sum((one.signed * (one.price or ZERO) for one in executions), ZERO) - taken
        if abs(now - expected) >= CENT:
            log.warning("the account's equity is $%.2f, by what it executed it would be $%.2f: transfers, interest or "
                        "fees may be the rest", now, expected)  # fmt: skip
        else:
            log.info("equity $%.2f, as it follows from that of the day before", now)

    def _cash(self, symbol: str) -> Decimal:
        return self._fleet.takings.cash(self._fleet.algos[symbol].ledger)

    def _differences(self, executions: list[Execution]) -> dict[str, tuple[Decimal, Decimal]]:
        """Symbols in which the books differ by a cent or more: ours and the account's dollars."""
        theirs = dict.fromkeys(self._fleet.algos, ZERO)
        for one in executions:
            if one.symbol in theirs:
                theirs[one.symbol] -= one.signed * (one.price or ZERO)
        both = {symbol: (self._cash(symbol), cash) for symbol, cash in theirs.items()}
        return {symbol: pair for symbol, pair in both.items() if abs(pair[0] - pair[1]) >= CENT}
