"""`python -m scalp.flatten SYMBOL ...`: cancel every order and sell every share in these symbols, when the bot is dead.

REST only: a bot that hangs may still hold the account's one stream connection. Only the named symbols are touched, and
no request ever concerns the whole account.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from scalp.alpaca.rest import AlpacaREST
from scalp.errors import OutcomeUnknown, Refused, ScalpError, Unreachable, UserError
from scalp.messages import FINAL_STATUSES, OrderReport, SubmitOrder
from scalp.settings import Endpoints, read_endpoints, read_symbols

PATIENCE = 60.0  # seconds
LOOK_EVERY = 1.0
PUZZLED_FOR = 5.0  # seconds of "not found" until an order is sent again, under the same id; listings lag as well


class Flattener:
    """Cancels, sells, and looks again until nothing is left or its patience ends; `say` gets every line."""

    def __init__(self, rest: AlpacaREST, symbols: Sequence[str], say: Callable[[str], None]) -> None:
        self._rest = rest
        self._symbols = symbols
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._run = ""
        self._sent: dict[str, SubmitOrder] = {}  # symbol -> the market sell sent last
        self._puzzled_since: dict[str, float] = {}  # client order id -> since when it has been missing, or filled
        self._told: set[str] = set()
        self._count = 0

    async def run(self) -> bool:
        """True when nothing is held or working any more. Raises Refused if the keys are."""
        clock = await self._rest.clock()
        self._run = str(clock.timestamp // 1_000_000)
        if not clock.is_open:
            self._say("the market is closed: orders are cancelled, but nothing is sold (it would be at the next open)")
        deadline = self._loop.time() + PATIENCE
        left = ["not looked yet"]
        while left and self._loop.time() < deadline:
            try:
                left = await self._look(clock.is_open)
            except (Unreachable, OutcomeUnknown) as error:
                self._say(f"{error}; looking again")
            if left == ["closed"]:
                return False
            if left:
                await asyncio.sleep(LOOK_EVERY)
        for line in left:
            self._say(f"left: {line}")
        return not left

    async def _look(self, is_open: bool) -> list[str]:
        """One round: list, cancel, sell. Returns what is still there."""
        orders = await self._rest.open_orders(self._symbols)
        positions = {p.symbol: p.qty for p in await self._rest.positions() if p.symbol in self._symbols and p.qty}
        left = [f"{o.symbol}: {o.side} {o.qty} {o.type} is working" for o in orders]
        left += [f"{symbol}: {qty} held" for symbol, qty in positions.items()]
        for order in orders:
            if not self._is_exit(order):
                self._say(f"{order.symbol}: cancelling {order.side} {order.qty} {order.type}")
                await self._cancel(order)
        busy = {order.symbol for order in orders}
        for symbol, qty in positions.items():
            if qty < 1:
                left = [line for line in left if not line.startswith(f"{symbol}:")]
                if symbol not in self._told:
                    self._told.add(symbol)
                    self._say(f"{symbol}: {qty} held: only whole shares of a long position are sold")
            elif symbol not in busy and is_open:
                await self._sell(symbol, qty)
        return left if is_open or orders else (["closed"] if left else [])

    def _is_exit(self, order: OrderReport) -> bool:
        sent = self._sent.get(order.symbol)
        return sent is not None and order.client_order_id == sent.client_order_id

    async def _cancel(self, order: OrderReport) -> None:
        try:
            await self._rest.cancel(order.id)
        except Refused as refusal:
            self._say(f"{order.symbol}: cancel refused: {refusal.message}")

    async def _sell(self, symbol: str, qty: Decimal) -> None:
        """Sell all whole shares at market; an order of unknown outcome is never followed by a second one."""
        sent = self._sent.get(symbol)
        if sent is not None:
            sent = await self._to_send_again(sent)
            if sent is None and symbol in self._sent:
                return
        if sent is None:
            self._count += 1
            sent = SubmitOrder(symbol, f"scalp-{symbol}-{self._run}-flatten-{self._count}", "sell", int(qty), "market")
            self._sent[symbol] = sent
            self._say(f"{symbol}: selling {int(qty)} at market")
        try:
            await self._rest.submit(sent)
        except Refused as refusal:
            self._say(f"{symbol}: sell refused: {refusal.message}")
            del self._sent[symbol]

    async def _to_send_again(self, sent: SubmitOrder) -> SubmitOrder | None:
        """The order sent last, if it never arrived. Forgets it if it is over; else it may still sell: wait."""
        try:
            report = await self._rest.order_by_client_id(sent.client_order_id)
        except Refused as refusal:
            return sent if refusal.status == 404 and self._has_lasted(sent) else None
        # A fill is in the listing of positions a moment later: look again before selling more.
        if report.status in FINAL_STATUSES and (report.status != "filled" or self._has_lasted(sent)):
            del self._sent[sent.symbol]
        return None

    def _has_lasted(self, sent: SubmitOrder) -> bool:
        """Whether what is seen now of this order has been seen for 5 seconds."""
        now = self._loop.time()
        return now - self._puzzled_since.setdefault(sent.client_order_id, now) >= PUZZLED_FOR


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Exit code 0: flat; 1: something is left, which the last lines name; 2: an error of the user's."""
    parser = argparse.ArgumentParser(prog="python -m scalp.flatten", description=__doc__)
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="what to cancel and sell")
    parser.add_argument("--live", action="store_true", help="on a live account: real money")
    options = parser.parse_args(argv)

    async def run(endpoints: Endpoints) -> bool:
        rest = AlpacaREST(endpoints)
        try:
            return await Flattener(rest, symbols, lambda line: print(line, flush=True)).run()
        except Refused as refusal:
            if refusal.status in (401, 403):
                raise UserError("Alpaca refused the keys: check APCA_API_KEY_ID and APCA_API_SECRET_KEY") from None
            raise
        finally:
            await rest.close()

    try:
        symbols, _ = read_symbols(options.symbols)
        endpoints = read_endpoints(environ, is_live=options.live)
        if endpoints is None:
            raise UserError("set APCA_API_KEY_ID and APCA_API_SECRET_KEY: there is no account to flatten")
        is_flat = asyncio.run(run(endpoints))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ScalpError as error:
        print(f"error: {error}; nothing is known of what is left", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("flat: nothing is held or working" if is_flat else "NOT flat")
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
