"""`python -m scalp.flatten SYMBOL ...`: cancel every order and sell every whole share in them, when the bot is dead.

REST only: a bot that hangs may still hold the account's one stream connection. Only the named symbols are touched, and
no request that changes anything ever concerns the whole account.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from scalp.alpaca.rest import AlpacaREST, RateLimited
from scalp.clock import QUIET_BEFORE_CLOSE, MarketClock
from scalp.errors import OutcomeUnknown, Refused, ScalpError, Unreachable, UserError
from scalp.messages import FINAL_STATUSES, OrderReport, SubmitOrder
from scalp.settings import Endpoints, LineParser, read_endpoints, read_symbols

PATIENCE = 120.0  # seconds; with many symbols the limit of requests a minute may need a second minute
LOOK_EVERY = 1.0
SURE_AFTER = 5.0  # seconds: listings lag, so that what they say must last; also between two tries of what was refused


class Left(NamedTuple):
    """What one look found, a line each."""

    to_do: list[str]
    stuck: list[str]  # shares that are not sold here and now


class Flattener:
    """Cancels, sells, and looks again until nothing is left or its patience ends; `say` gets every line."""

    def __init__(self, rest: AlpacaREST, symbols: Sequence[str], say: Callable[[str], None]) -> None:
        self._rest = rest
        self._symbols = symbols
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._clock = MarketClock(self._loop.time)
        self._sells_until = 0  # exchange time, ns; 0: the market is closed
        self._exits: dict[str, SubmitOrder] = {}  # symbol -> the market sell sent last, until it is known to be over
        self._seen: dict[str, tuple[str, float]] = {}  # client order id -> what it was seen as, since when
        self._not_before: dict[str, float] = {}  # broker's order id, or symbol to sell -> when to try again
        self._told: set[str] = set()
        self._count = 0
        self._pause = LOOK_EVERY

    async def run(self) -> bool:
        """True when nothing is held or working any more. Raises Refused if a listing is, by wrong keys mostly."""
        deadline = self._loop.time() + PATIENCE
        left: Left | None = None
        done_since: float | None = None
        while self._loop.time() < deadline:
            self._pause = LOOK_EVERY
            try:
                if not self._clock.is_set:
                    await self._read_clock()
                left = await self._look()
            except (Unreachable, OutcomeUnknown) as error:
                self._trouble("looking", error)
                done_since = None
            else:
                if left.to_do:
                    done_since = None
                elif done_since is None:
                    done_since = self._loop.time()
                elif self._loop.time() - done_since >= SURE_AFTER:
                    break
            await asyncio.sleep(self._pause)
        if left is None:
            raise Unreachable(f"no orders and positions could be listed within {PATIENCE:.0f} s")
        for line in (*left.to_do, *left.stuck):
            self._say(f"left: {line}")
        return done_since is not None and not left.stuck

    async def _read_clock(self) -> None:
        asked = self._loop.time()
        clock = await self._rest.clock()
        self._clock.set(clock.timestamp, asked, self._loop.time())
        if clock.is_open:
            self._sells_until = clock.next_close - QUIET_BEFORE_CLOSE
        else:
            self._say("the market is closed: orders are cancelled, but nothing is sold (it would be at the next open)")

    @property
    def _may_sell(self) -> bool:
        return self._clock.now() < self._sells_until

    async def _look(self) -> Left:
        """One round: list, cancel, sell. Returns what was still there."""
        orders: defaultdict[str, list[OrderReport]] = defaultdict(list)
        for order in (await self._rest.open_orders(self._symbols)).rows:
            if order.symbol in self._symbols and order.id:
                orders[order.symbol].append(order)
        held = {p.symbol: p.qty for p in (await self._rest.positions()).rows if p.symbol in self._symbols and p.qty}
        left = Left([], [])
        for symbol in self._symbols:
            qty = held.get(symbol, Decimal(0))
            left.to_do.extend(f"{symbol}: {o.side} {o.qty} {o.type} is working" for o in orders[symbol])
            if qty < 0:
                left.stuck.append(f"{symbol}: {qty} held, a short position: nothing is bought here")
            elif qty >= 1 and self._may_sell:
                left.to_do.append(f"{symbol}: {qty} held")
            elif qty >= 1:
                left.stuck.append(f"{symbol}: {qty} held")
            elif qty > 0:
                self._once(f"{symbol}: {qty} of a share stays: only whole ones are sold")
        await asyncio.gather(*(self._work_on(s, orders[s], int(held.get(s, 0))) for s in self._symbols))
        return left

    async def _work_on(self, symbol: str, orders: Sequence[OrderReport], shares: int) -> None:
        """Cancel what is open in one symbol; where nothing is, sell. Its trouble is not the other symbols'."""
        may_sell, sent = self._may_sell, self._exits.get(symbol)
        try:
            for order in orders:
                is_exit = may_sell and sent is not None and order.client_order_id == sent.client_order_id
                if not is_exit and self._is_due(order.id):
                    self._once(f"{symbol}: cancelling {order.side} {order.qty} {order.type}")
                    await self._rest.cancel(order.id)
            if not orders and shares >= 1 and may_sell and (sent is None or await self._may_go(sent)):
                await self._sell(symbol, shares)
        except Refused as refusal:
            self._once(f"{symbol}: refused: {refusal.message}")
        except (Unreachable, OutcomeUnknown) as error:
            self._trouble(symbol, error)

    async def _sell(self, symbol: str, shares: int) -> None:
        """Sell at market; an order of unknown outcome is sent again only under its own id."""
        sent = self._exits.get(symbol)
        if sent is None:
            if not self._is_due(symbol):
                return
            self._count += 1
            run = self._clock.now() // 1_000_000
            sent = SubmitOrder(symbol, f"scalp-{symbol}-{run}-flatten-{self._count}", "sell", shares, "market")
            self._exits[symbol] = sent
            self._say(f"{symbol}: selling {shares} at market")
        try:
            await self._rest.submit(sent)
        except Refused as refusal:
            if "must be unique" not in refusal.message.lower():  # else it did arrive the first time
                del self._exits[symbol]
                raise

    async def _may_go(self, sent: SubmitOrder) -> bool:
        """Whether the exit sent last never arrived or is over; else it may still sell, or has only just sold."""
        try:
            report = await self._rest.order_by_client_id(sent.client_order_id)
        except Refused as refusal:
            return refusal.status == 404 and self._has_lasted(sent, "missing")
        # What was sold is gone from the listed positions a moment later.
        if report.status in FINAL_STATUSES and self._has_lasted(sent, report.status):
            del self._exits[sent.symbol]
        return False

    def _has_lasted(self, sent: SubmitOrder, what: str) -> bool:
        """Whether this has been seen of the order for 5 seconds."""
        now = self._loop.time()
        before, since = self._seen.get(sent.client_order_id, ("", now))
        if before != what:
            since = now
        self._seen[sent.client_order_id] = (what, since)
        return now - since >= SURE_AFTER

    def _is_due(self, key: str) -> bool:
        """Whether it is time for a (new) try; notes that it is made."""
        now = self._loop.time()
        if now < self._not_before.get(key, 0.0):
            return False
        self._not_before[key] = now + SURE_AFTER
        return True

    def _trouble(self, what: str, error: ScalpError) -> None:
        if isinstance(error, RateLimited):
            self._pause = max(self._pause, error.retry_after or SURE_AFTER)
        self._once(f"{what}: {error}; looking again until {PATIENCE:.0f} s are over")

    def _once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._say(line)


async def flatten(endpoints: Endpoints, symbols: Sequence[str], say: Callable[[str], None]) -> bool:
    """True when nothing is held or working in `symbols` any more. Raises ScalpError."""
    rest = AlpacaREST(endpoints)
    try:
        return await Flattener(rest, symbols, say).run()
    except Refused as refusal:
        if refusal.status in (401, 403):
            raise UserError(
                f"Alpaca refused the keys ({refusal.status}): check APCA_API_KEY_ID and APCA_API_SECRET_KEY"
            ) from None
        raise
    finally:
        await rest.close()


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Exit code 0: flat; 1: something is left, which the last lines name; 2: an error of the user's."""
    parser = LineParser(
        prog="python -m scalp.flatten",
        description="Cancels every order and sells every whole share in the named symbols, when the bot is "
        "dead. No other symbol is touched.",
        allow_abbrev=False,
    )
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="what to cancel and sell")
    parser.add_argument("--live", action="store_true", help="on a live account: real money")
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
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ScalpError as error:
        print(f"error: {error}; nothing is known of what is left", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: what was sent stays sent", file=sys.stderr)
        return 130
    print("flat: nothing is held or working" if is_flat else "NOT flat")
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
