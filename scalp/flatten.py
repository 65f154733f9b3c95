"""`python -m scalp.flatten SYMBOL ...`: cancel every order and sell every whole share in them, when the bot is dead.

It states the plan `FLATTEN`, and leaves the rest to the bot's own parts: state machines that never see a bar, their
exit plans, the broker's side of an order, and the reconciler, which is asked again and again here, because no stream
reports fills. REST only: a bot that hangs may still hold the account's one stream connection. Only the named symbols
are touched, and no request that changes anything ever concerns the whole account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from scalp.cli.command import note_unloaded, ready_output, say_error
from scalp.cli.options import LineParser
from scalp.cli.settings import Endpoints, read_endpoints, read_symbols
from scalp.cli.venues import open_broker
from scalp.core.algo import ScalpAlgo
from scalp.core.cancels import CANCEL_AGAIN, cancel
from scalp.core.clock import NEVER, QUIET_BEFORE_CLOSE, MarketClock, Session, nanoseconds, new_york
from scalp.core.commands import Action, CancelOrder, SubmitOrder
from scalp.core.decimals import ZERO
from scalp.core.errors import OutcomeUnknown, Rejected, ScalpError, Unreachable, UserError
from scalp.core.exits import Plan
from scalp.core.fleet import Fleet
from scalp.core.leftovers import exits_under_way
from scalp.core.ports import Account, Clock, Execution
from scalp.live.hours import Calendar
from scalp.live.listings import TROUBLES
from scalp.live.reconcile import Reconciler
from scalp.net.transport import RateLimited

PATIENCE = 120.0  # seconds; with many symbols the limit of requests a minute may need a second minute
LOOK_EVERY = 1.0
DOUBT_EVERY = 3.0  # the same while nothing can be done, and only the sources differ
DRIVE_EVERY = 0.25
SURE_AFTER = 5.0  # seconds for which ledgers and listings must agree that nothing is left
LONGEST_PAUSE = 3.0  # seconds between two looks after a 429, whatever it says
LONGEST_LINE = 500  # characters
FEW = 20  # symbols: their orders are asked for by id too
AT_ONCE = 50  # symbols that begin to be closed after one look
LONGEST_WINDOW = 60.0  # seconds, of the request limit
ROOM_FOR_LISTINGS = 20  # requests of a minute that cancels and sells leave for the listings that show them
KEYS_REFUSED = (401, 403)
# Loggers whose lines this command prints too; what the state machines say of themselves it puts in its own words.
TELLING = ("scalp.broker", "scalp.reconcile", "scalp.fleet")


class Left(NamedTuple):
    """What one look found, a line each."""

    to_do: list[str]
    stuck: list[str]  # shares that are not sold here and now


class Attempt:
    """What is known from the first moment on: the time, how long this may take, and what was said."""

    def __init__(self, account: Account, say: Callable[[str], None]) -> None:
        self.account = account
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + PATIENCE
        self.clock = MarketClock(self.loop.time)
        self.say = say
        self._told: set[str] = set()

    async def first_clock(self) -> Clock:
        """Raises UserError where the keys are refused, Unreachable where nothing answers in time."""
        while self.loop.time() < self.deadline:
            pause = LOOK_EVERY
            try:
                return await self.ask_clock()
            except TROUBLES as error:
                if isinstance(error, Rejected) and error.status in KEYS_REFUSED:
                    await self._check_keys(error)
                pause = self.trouble("looking", error)
            await asyncio.sleep(pause)
        raise Unreachable(f"no orders and positions could be listed within {PATIENCE:.0f} s")

    async def ask_clock(self) -> Clock:
        asked = self.loop.time()
        clock = await self.account.clock()
        self.clock.set(clock.timestamp, asked, self.loop.time())
        return clock

    async def _check_keys(self, refusal: Rejected) -> None:
        """Raises UserError when a second request is refused like the first."""
        try:
            await self.account.positions()
        except Rejected as error:
            if error.status in KEYS_REFUSED:
                raise UserError(
                    f"Alpaca refused the keys ({refusal.status}): check APCA_API_KEY_ID and APCA_API_SECRET_KEY"
                ) from None
        except (Unreachable, OutcomeUnknown):
            pass

    def trouble(self, what: str, error: ScalpError) -> float:
        """Say it once; returns how many seconds to wait before the next try."""
        self.once(f"{what}: {error}; looking again until {PATIENCE:.0f} s are over")
        return min(error.retry_after or LOOK_EVERY, LONGEST_PAUSE) if isinstance(error, RateLimited) else LOOK_EVERY

    def once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self.say(line)


class Flattener:
    """The bot's parts, put together once the time is known: states the plan, looks again until it is done."""

    def __init__(self, attempt: Attempt, symbols: Sequence[str]) -> None:
        self._attempt, account = attempt, attempt.account
        self._loop, self._clock = attempt.loop, attempt.clock
        self._symbols = symbols
        self._deadline = attempt.deadline
        self._overtime = self._deadline + 2 * SURE_AFTER  # what is gone by then still gets time to be confirmed
        self._account = account
        self._calendar = Calendar(account)
        self._is_clock_in_doubt = False  # it says closed, and the calendar says open
        self._waiting: list[str] = []  # symbols whose turn to be closed has not come: see `_take_turns`
        self._turn_at = self._loop.time()  # when the last one came
        self._say, self._once = attempt.say, attempt.once
        now = self._clock.now
        run = f"{now() // 1_000_000}-flatten"
        algos = [ScalpAlgo(symbol, Decimal(0), run) for symbol in symbols]
        self._fleet = Fleet(algos, now, self._perform)
        self._fleet.orders.on_rejection = lambda symbol, why: attempt.once(f"{symbol}: refused: {why}")
        # Else a symbol without prints would be taken for a halted one.
        self._fleet.readiness.update("feed", "none is needed")
        # With many symbols one listing shows all their orders, a question by id only one.
        self._broker = account.broker(self._fleet.orders, now, self._requests_to_come, account.latest_trade,
                                      longest_pause=LONGEST_PAUSE, asks_by_id=len(symbols) <= FEW)  # fmt: skip
        self._limit = self._broker.limit
        self._reconciler = Reconciler(self._fleet, self._broker, account, self._clock)
        self._midnight = nanoseconds(new_york(now()).replace(hour=0, minute=0, second=0, microsecond=0))
        self._activities = account.activities(self._midnight, self._broker.counted)  # since then

    async def run(self, clock: Clock) -> bool:
        """True when nothing is held or working any more."""
        try:
            await self._begin(clock)
            return await self._look_until_flat()
        finally:
            await self._broker.close()

    # -- the start ----------------------------------------------------------------------------------------------------

    async def _begin(self, clock: Clock) -> None:
        """State the plan."""
        now = self._clock.now
        if self._may_sell_by(clock):
            self._sell_until(clock.next_close)
            return
        # Nothing is sold: the plan that the end of a session brings.
        self._begin_session(now())
        with contextlib.suppress(*TROUBLES):
            await self._broker.counted(self._calendar.read(now()))
        self._is_clock_in_doubt = not clock.is_open and self._calendar.covers(now() + QUIET_BEFORE_CLOSE)
        if self._is_clock_in_doubt:
            self._say("the clock says closed, the calendar open: orders are cancelled, and the clock is asked again")
        elif not clock.is_open:
            self._say("the market is closed: orders are cancelled, but nothing is sold (it would be at the next open)")

    def _may_sell_by(self, clock: Clock) -> bool:
        return clock.is_open and self._clock.now() < clock.next_close - QUIET_BEFORE_CLOSE

    def _sell_until(self, close: int) -> None:
        for algo in self._fleet.algos.values():
            algo.exits.lift(Plan.WITHDRAW)
            algo.exits.retry_at = NEVER  # nothing is sold before its turn
        self._begin_session(close)
        self._waiting = list(self._symbols)

    def _begin_session(self, close: int) -> None:
        at = self._clock.now()
        self._fleet.begin_session(Session(new_york(at).date(), at, close))

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _look_until_flat(self) -> bool:
        driving = self._loop.create_task(self._drive())
        left: Left | None = None
        unsold: list[str] = []
        done_since: float | None = None
        try:
            while self._loop.time() < self._deadline:
                is_settled, pause = await self._look()
                if self._reconciler.is_started:
                    left = self._left()
                if left is None or left.to_do or not is_settled:
                    done_since = None
                elif done_since is None:
                    done_since = self._loop.time()
                    if not unsold:
                        self._deadline = max(self._deadline, min(done_since + 2 * SURE_AFTER, self._overtime))
                elif self._loop.time() - done_since >= SURE_AFTER:
                    found = await self._bought_and_not_sold()
                    if found is not None:
                        unsold = found
                        if not unsold:
                            break
                        done_since = None
                await asyncio.sleep(pause)
        finally:
            driving.cancel()
        if left is None:
            raise Unreachable(f"no orders and positions could be listed within {PATIENCE:.0f} s")
        is_sure = done_since is not None and self._loop.time() - done_since >= SURE_AFTER
        is_flat = is_sure and not unsold and not left.stuck
        lines = [*left.to_do, *unsold, *left.stuck]
        if not is_flat and not lines:
            lines = ["maybe something: orders and positions were not confirmed by the last looks"]
        for line in lines:
            self._say(f"left: {line}")
        return is_flat

    async def _look(self) -> tuple[bool, float]:
        """Compare ledgers and listings once; returns whether nothing differs, and the wait before the next look."""
        is_settled, pause = False, LOOK_EVERY
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._hear_of_ended()
                is_settled = await self._reconciler.reconcile()
                if self._is_clock_in_doubt and self._may_sell_by(clock := await self._attempt.ask_clock()):
                    self._is_clock_in_doubt = False
                    self._sell_until(clock.next_close)
        except TROUBLES as error:
            pause = self._attempt.trouble("looking", error)
        except TimeoutError:
            pass
        else:
            if not is_settled and not exits_under_way(self._fleet.algos):
                pause = DOUBT_EVERY
        if self._reconciler.is_started:
            self._take_turns()
        self._fleet.checkup()
        self._cancel_beside_shorts()
        return is_settled, pause

    async def _hear_of_ended(self) -> None:
        """One answer shows all orders that ended; asked by id they would cost a request each."""
        has_open = any(order.id for algo in self._fleet.algos.values() for order in algo.ledger.open_orders)
        if not has_open or self._limit.remaining <= 0:
            return
        with contextlib.suppress(*TROUBLES):
            page = await self._broker.counted(self._account.orders("closed", self._symbols, direction="desc"))
            for report in page.rows:
                if self._fleet.orders.find_order(report.symbol, report.id) is not None:
                    self._fleet.orders.on_order_update(report)

    def _take_turns(self) -> None:
        """State the plan in as many symbols as the minute has requests for; in one after a minute without room."""
        room = self._limit.remaining - ROOM_FOR_LISTINGS - self._requests_to_come()
        for _ in range(min(AT_ONCE, len(self._waiting))):
            ledger = self._fleet.algos[self._waiting[0]].ledger
            needed = len(ledger.open_orders) + (ledger.whole_shares > 0)
            if needed > room and self._loop.time() - self._turn_at < LONGEST_WINDOW:
                break
            room, self._turn_at = room - needed, self._loop.time()
            self._fleet.close_position(self._waiting.pop(0))

    def _cancel_beside_shorts(self) -> None:
        """The bot keeps its hands off a symbol that is short; here no order stays in it."""
        at = self._clock.now()
        for algo in self._fleet.algos.values():
            if algo.ledger.position < 0:
                for order in algo.ledger.open_orders:
                    if at - order.cancel_sent_at >= CANCEL_AGAIN:
                        self._perform(cancel(order, at))

    def _left(self) -> Left:
        left = Left([], [])
        session = self._fleet.session
        may_sell = self._is_clock_in_doubt or (session is not None and self._clock.now() < session.quiet_at)
        for symbol, algo in self._fleet.algos.items():
            qty = algo.ledger.position
            for order in algo.ledger.open_orders:
                unknown = "" if order.id else " (outcome unknown)"
                left.to_do.append(f"{symbol}: {order.side} {order.qty} {order.type} is working{unknown}")
            if qty < 0:
                left.stuck.append(f"{symbol}: {qty} held, a short position: nothing is bought here")
            elif qty >= 1:
                (left.to_do if may_sell else left.stuck).append(f"{symbol}: {qty} held")
            elif qty > 0:
                self._once(f"{symbol}: {qty} of a share stays: only whole ones are sold")
        left.to_do.extend(self._reconciler.doubts)
        return left

    async def _bought_and_not_sold(self) -> list[str] | None:
        """Shares that today's executions show and no listing does, a line each; None: no answer, ask again."""
        try:
            executions = await self._activities.read()
            missing = self._missing(executions)
            if missing:
                for symbol, qty, _ in await self._activities.transfers(self._midnight):
                    if symbol in missing:
                        missing[symbol] += qty
        except Rejected as error:
            self._once(f"today's executions: {error}; what is listed has to do")
            return []
        except (Unreachable, OutcomeUnknown) as error:
            self._attempt.trouble("today's executions", error)
            return None
        return [f"{symbol}: {qty} bought today and not sold, by its executions, but not listed"
                for symbol, qty in missing.items() if qty >= 1]  # fmt: skip

    def _missing(self, executions: Sequence[Execution]) -> dict[str, Decimal]:
        """By symbol, how many more shares were bought than sold today and than are held."""
        done: dict[str, dict[str, Decimal]] = {symbol: {} for symbol in self._symbols}  # by order, in signed shares
        for execution in executions:
            if execution.symbol in done:
                orders = done[execution.symbol]
                orders[execution.order_id] = orders.get(execution.order_id, ZERO) + execution.signed
        missing = {}
        for symbol, algo in self._fleet.algos.items():
            ledger, orders = algo.ledger, done[symbol]
            for order in ledger:
                if order.is_own:  # its own sells are known by id before they are listed there
                    orders[order.id] = min(orders.get(order.id, ZERO), -order.filled_qty)
            over = sum(orders.values(), ZERO) - ledger.position
            if over >= 1 and ledger.position >= 0 and symbol not in self._activities.unreadable:
                missing[symbol] = over
        return missing

    # -- the rest -----------------------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        """Go on with the exit plans when they are due, however long a listing takes."""
        while True:
            await asyncio.sleep(DRIVE_EVERY)
            self._fleet.drive_exits()

    def _perform(self, action: Action) -> None:
        if isinstance(action, SubmitOrder):
            terms = "at market" if action.limit_price is None else f"at {action.limit_price}"
            self._once(f"{action.symbol}: selling {action.qty} {terms}")
        elif isinstance(action, CancelOrder):
            order = self._fleet.orders.find_order(action.symbol, action.id or action.client_order_id)
            if order is not None:
                self._once(f"{action.symbol}: cancelling {order.side} {order.qty} {order.type}")
        self._broker.perform(action)

    def _requests_to_come(self) -> int:
        """Cancels and sells that are still to be sent where the plan is stated: questions leave room for them."""
        count = 0
        for algo in self._fleet.algos.values():
            if algo.exits.plan is not Plan.OFFER:
                orders = algo.ledger.open_orders
                count += sum(not order.is_own and not order.cancel_sent_at for order in orders)
                count += algo.ledger.whole_shares > 0 and not any(order.is_own and order.id for order in orders)
        return count


class _Telling(logging.Handler):
    """Hands what the bot's parts log to `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            line = f"{line} ({type(record.exc_info[1]).__name__})"
        if record.name in TELLING and line not in self._told:
            self._told.add(line)
            self._say(line)


@contextlib.contextmanager
def _told_to(say: Callable[[str], None]) -> Iterator[None]:
    logger, handler = logging.getLogger("scalp"), _Telling(say)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


async def flatten(endpoints: Endpoints, symbols: Sequence[str], say: Callable[[str], None]) -> bool:
    """True when nothing is held or working in `symbols` any more. Raises ScalpError."""
    account = open_broker(endpoints)

    def tell(line: str) -> None:
        say(endpoints.mask.line(line, LONGEST_LINE))

    try:
        with _told_to(tell):
            attempt = Attempt(account, tell)
            clock = await attempt.first_clock()
            return await Flattener(attempt, symbols).run(clock)
    finally:
        await account.close()


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Exit code 0: flat; 1: something is left, which the last lines name; 2: an error of the user's."""
    parser = LineParser(
        prog="python -m scalp.flatten",
        description="Cancels every order and sells every whole share in the named symbols, when the bot is "
        "dead. No other symbol is touched.",
    )
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="what to cancel and sell")
    parser.add_argument("--live", action="store_true", help="on a live account: real money")
    ready_output()
    note_unloaded()
    try:
        options = parser.parse_intermixed_args(argv)
        symbols, notes = read_symbols(options.symbols)
        endpoints = read_endpoints(environ, is_live=options.live)
        if endpoints is None:
            raise UserError("set APCA_API_KEY_ID and APCA_API_SECRET_KEY: there is no account to flatten")
        for note in notes:
            print(note)
        is_flat = asyncio.run(flatten(endpoints, symbols, lambda line: print(line, flush=True)))
    except UserError as error:
        say_error(error)
        return 2
    except ScalpError as error:
        say_error(f"{error}; nothing is known of what is left")
        return 1
    except KeyboardInterrupt:
        print("stopped: what was sent stays sent", file=sys.stderr)
        return 130
    print("flat: nothing is held or working" if is_flat else "NOT flat")
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
