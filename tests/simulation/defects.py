"""Deliberate defects of the bot, each of which the simulation must catch: proof that it can fail.

Every defect is a mistake somebody has made in a bot like this one. Each is a context manager that puts it in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import msgspec

from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.rest import AlpacaREST, Listing, RateLimited
from scalp.core.algo import ScalpAlgo
from scalp.core.commands import Action, CancelOrder, SubmitOrder
from scalp.core.decimals import ZERO
from scalp.core.entry_blocks import EntryBlocks
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.exits import ExitPlan, Sell, Step
from scalp.core.ledger import Change, Ledger
from scalp.core.order_state import REFUSED, Order
from scalp.core.orders import SELL, OrderReport, OrderType, PositionReport
from scalp.live.listings import Listings
from scalp.live.reconcile import Reconciler

DEFECTS: dict[str, Callable[[], AbstractContextManager[None]]] = {}


def defect(text: str) -> Callable[[Callable[[], Iterator[None]]], Callable[[], Iterator[None]]]:
    def register(function: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        DEFECTS[text] = contextmanager(function)
        return function

    return register


@defect("executions are added up, repeated ones too")
def _no_dedupe() -> Iterator[None]:
    def new_shares(self: Ledger, order: Order, report: OrderReport) -> tuple[Decimal, Decimal]:
        qty = report.execution_qty or ZERO
        order.filled_qty += qty
        return qty, report.price or ZERO

    with patch.object(Ledger, "_new_shares", new_shares):
        yield


@defect("a timeout is taken for a rejection, and that for the last word")
def _timeout_is_rejection() -> Iterator[None]:
    async def settle(self: AlpacaBroker, action: SubmitOrder) -> None:
        self._listener.on_submit_rejected(action.symbol, action.client_order_id, "timeout")

    whole = Ledger.apply

    def apply(self: Ledger, report: OrderReport) -> Change:
        order = self.find(report.client_order_id)
        if order is not None and order.status == REFUSED:
            return Change(order, False, False, False)
        return whole(self, report)

    with (
        patch.object(AlpacaBroker, "_settle_buy", settle),
        patch.object(AlpacaBroker, "_settle_exit", settle),
        patch.object(Ledger, "apply", apply),
    ):
        yield


@defect("an order of unknown outcome is sent again under a new id")
def _resend_unknown() -> Iterator[None]:
    async def settle(self: AlpacaBroker, action: SubmitOrder) -> None:
        again = msgspec.structs.replace(action, client_order_id=action.client_order_id + "b")
        await self._submit(again, None)

    with patch.object(AlpacaBroker, "_settle_buy", settle), patch.object(AlpacaBroker, "_settle_exit", settle):
        yield


@defect("a buy of unknown outcome is sent again")
def _buy_again() -> Iterator[None]:
    async def settle(self: AlpacaBroker, action: SubmitOrder) -> None:
        await self._submit(action, None)

    with patch.object(AlpacaBroker, "_settle_buy", settle):
        yield


@defect("a sell of unknown outcome is only asked for")
def _sell_only_asked_for() -> Iterator[None]:
    with patch.object(AlpacaBroker, "_settle_exit", AlpacaBroker._find):
        yield


@defect("a look-up that errs means that there is no such order")
def _error_is_absence() -> Iterator[None]:
    async def look_up(self: AlpacaBroker, action: SubmitOrder) -> tuple[OrderReport | None, int]:
        try:
            return await self.counted(self._rest.order_by_client_id(action.client_order_id)), 0
        except (Rejected, Unreachable):
            return None, 2

    with patch.object(AlpacaBroker, "_look_up", look_up):
        yield


@defect("nothing is reconciled after the start")
def _no_reconciliation() -> Iterator[None]:
    whole = Reconciler.request

    def request(self: Reconciler, why: str) -> None:
        if not self._is_started:
            whole(self, why)

    with patch.object(Reconciler, "request", request):
        yield


@defect("liquidation sells at market without cancelling first")
def _no_cancel_in_liquidation() -> Iterator[None]:
    whole = ExitPlan._at_market

    def at_market(self: ExitPlan, *args: Any) -> list[Step]:
        steps = whole(self, *args)
        is_first = any(isinstance(step, CancelOrder) for step in steps)
        return [Sell("market")] if is_first and self._ledger.whole_shares else steps

    with patch.object(ExitPlan, "_at_market", at_market), patch("scalp.core.algo.check_move", _any_move):
        yield


def _any_move(symbol: str, old: Any, new: Any, cause: str) -> None:
    """None is refused."""


@defect("an ended order swallows late fills")
def _terminal_swallows() -> Iterator[None]:
    whole = Ledger.apply

    def apply(self: Ledger, report: OrderReport) -> Change:
        order = self.find(report.id) or self.find(report.client_order_id)
        if order is not None and (order.has_ended or order.cancel_sent_at):
            if report.status == "filled":
                order.status = "canceled"
            return Change(order, False, True, True)
        return whole(self, report)

    with patch.object(Ledger, "apply", apply):
        yield


@defect("the sell's quantity comes from the lot, not from the position")
def _sell_quantity_of_the_order() -> Iterator[None]:
    def sell(self: ScalpAlgo, order_type: OrderType, at: int) -> SubmitOrder:
        buys = [order for order in self.ledger if order.side == "buy" and order.qty]
        qty = int(buys[-1].qty or 0) if buys else self.ledger.whole_shares
        return self._submit(SELL, qty, order_type, None if order_type == "market" else self.builder.sell_price(), at)

    with patch.object(ScalpAlgo, "_sell", sell):
        yield


@defect("client order ids repeat after a restart")
def _ids_repeat() -> Iterator[None]:
    whole = ScalpAlgo.__init__

    def init(self: ScalpAlgo, symbol: str, lot: Decimal, run: str) -> None:
        whole(self, symbol, lot, "1")

    with patch.object(ScalpAlgo, "__init__", init):
        yield


@defect("a failed listing of positions means flat")
def _failure_means_flat() -> Iterator[None]:
    whole = AlpacaREST.positions

    async def positions(self: AlpacaREST) -> Listing[PositionReport]:
        try:
            return await whole(self)
        except (Unreachable, Rejected):
            return Listing([], frozenset())

    def weigh(self: Reconciler, ledger: Ledger, listed: Listings, transferred: Decimal) -> bool:
        position = listed.position(ledger.symbol)
        if position.qty != ledger.position:
            self._fleet.orders.on_position(position, listed.as_of)
        return True

    with patch.object(AlpacaREST, "positions", positions), patch.object(Reconciler, "_weigh", weigh):
        yield


@defect("buys go out while blind")
def _buys_while_blind() -> Iterator[None]:
    whole = EntryBlocks.block

    def block(self: EntryBlocks, kind: str, why: str) -> None:
        if kind != "blind":
            whole(self, kind, why)

    with patch.object(EntryBlocks, "block", block):
        yield


@defect("an accepted cancel is taken for a cancelled order")
def _cancel_is_believed() -> Iterator[None]:
    whole = AlpacaREST.cancel

    async def cancel_at_once(self: AlpacaBroker, action: CancelOrder) -> None:
        order = self._listener.find_order(action.symbol, action.client_order_id)
        if order is not None and order.id:
            report = OrderReport(action.symbol, order.id, order.client_order_id, order.side, order.type, "canceled")
            self._start(whole(self._rest, order.id))
            self._listener.on_order_update(report)

    with patch.object(AlpacaBroker, "_cancel", cancel_at_once):
        yield


@defect("a sell that never arrived is forgotten")
def _lost_sell_forgotten() -> Iterator[None]:
    async def settle(self: AlpacaBroker, action: SubmitOrder) -> None:
        return None

    with patch.object(AlpacaBroker, "_settle_exit", settle):
        yield


@defect("nothing is liquidated before the close")
def _no_liquidation() -> Iterator[None]:
    with patch.object(ExitPlan, "keep_hours", lambda self, *args: False):
        yield


@defect("unfilled buys are never cancelled")
def _no_buy_timeout() -> Iterator[None]:
    with patch.object(ScalpAlgo, "checkup", lambda self, at: self.drive(at, "checkup")):
        yield


@defect("positions found at the start are ignored")
def _no_snapshot() -> Iterator[None]:
    whole = ScalpAlgo.on_snapshot

    def snapshot(
        self: ScalpAlgo, orders: Any, position: PositionReport, as_of: int, at: int, *known: Any
    ) -> list[Action]:
        return whole(self, [], PositionReport(position.symbol, ZERO, ZERO), as_of, at)

    with patch.object(ScalpAlgo, "on_snapshot", snapshot), patch.object(Reconciler, "_compare", _compare_nothing):
        yield


async def _compare_nothing(self: Reconciler) -> bool:
    return True


@defect("shares of a partly filled buy are forgotten when it is cancelled")
def _partial_forgotten() -> Iterator[None]:
    whole = Ledger.apply

    def apply(self: Ledger, report: OrderReport) -> Change:
        change = whole(self, report)
        if change.ended and change.order.side == "buy" and change.order.status == "canceled":
            self.position = ZERO
        return change

    with patch.object(Ledger, "apply", apply):
        yield


@defect("a sell answered with 429 is given up")
def _rate_limit_is_final() -> Iterator[None]:
    whole = AlpacaREST.submit

    async def submit(self: AlpacaREST, order: SubmitOrder) -> OrderReport:
        try:
            return await whole(self, order)
        except RateLimited as limited:
            # Neither refused nor lost: the order stays in flight for ever.
            raise OutcomeUnknown(str(limited)) from None

    async def settle(self: AlpacaBroker, action: SubmitOrder) -> None:
        return None

    with patch.object(AlpacaREST, "submit", submit), patch.object(AlpacaBroker, "_settle_exit", settle):
        yield
