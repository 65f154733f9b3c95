"""Passes what the broker reports of orders and positions to its algo, and decides whether an order may go out.

`OrderRouter` is the `OrderListener` of the broker and receives the stream of order updates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from scalp.core.algo import ScalpAlgo
from scalp.core.clock import Session
from scalp.core.commands import SubmitOrder
from scalp.core.dispatcher import Dispatcher
from scalp.core.early_updates import EarlyUpdates
from scalp.core.events import OrderSent
from scalp.core.market_data import Trade
from scalp.core.order_state import Order
from scalp.core.orders import BUY, OrderReport, PositionReport
from scalp.core.readiness import RECONCILED, UPDATES, Readiness
from scalp.core.stops import NEAR_CLOSE
from scalp.core.takings import Takings


class OrderRouter:
    """Serves one fleet: `dispatcher` reaches its algos."""

    def __init__(self, dispatcher: Dispatcher, readiness: Readiness, takings: Takings) -> None:
        self.session: Session | None = None
        self.shut = ""  # why nothing at all may be sent just now; "": it may
        self.listed_at = 0  # exchange time of the positions the bot started with, ns
        self.fill_to_exit: dict[str, list[float]] = {}  # seconds from a fill's arrival to its sell's sending
        self.early_updates = EarlyUpdates()
        self.on_rejection: Callable[[str, str], None] = lambda symbol, why: None  # called before anything else
        self._algos = dispatcher.algos
        self._now = dispatcher.now
        self._bus = dispatcher.bus
        self._record = dispatcher.record
        self._risk = dispatcher.risk
        self._handle = dispatcher.handle
        self._perform = dispatcher.perform
        self._trouble = dispatcher.trouble
        self._dispatcher = dispatcher
        self._readiness = readiness
        self._takings = takings
        self._filled_at: dict[str, float] = {}  # client order id of a sell -> when the fill that caused it arrived
        self._reconcile: Callable[[str], None] = lambda why: None
        self._reconnect_updates: Callable[[str], None] = lambda why: None

    def connect(self, reconcile: Callable[[str], None], reconnect_updates: Callable[[str], None]) -> None:
        """What to call when a reconciliation is due, and when order updates are mute."""
        self._reconcile, self._reconnect_updates = reconcile, reconnect_updates

    # -- order updates ------------------------------------------------------------------------------------------------

    def on_order_update(self, report: OrderReport) -> None:
        """Some source reported an order. Its legs come first: its end must not be seen before what they have done."""
        for leg in report.legs:
            self.on_order_update(leg)
        arrived = time.perf_counter()
        algo = self._algos.get(report.symbol)
        if algo is None:
            return
        if self.early_updates.are_kept:
            self.early_updates.keep(report)
            return
        at, before = self._now(), algo.ledger.position
        try:
            actions = algo.on_order_update(report, at)
        except Exception:
            self._trouble(algo)
            return
        for action in actions:
            if isinstance(action, SubmitOrder) and report.side == BUY:
                self._filled_at[action.client_order_id] = arrived
        self._perform(algo, actions)
        self._takings.look(algo.ledger)
        self._record.reported(algo.ledger, report, before, at)
        if report.replaced_by and not self._was_moved_here(algo, report):
            self._reconcile(f"an order of {report.symbol} was replaced")
        elif algo.ledger.question:
            algo.entry_blocks.block("doubt", f"it is not known {algo.ledger.question}")
            self._reconcile(algo.ledger.question)

    @staticmethod
    def _was_moved_here(algo: ScalpAlgo, report: OrderReport) -> bool:
        """Whether the order is a stop that this program has asked to move."""
        order = algo.ledger.find(report.id)
        return order is not None and order.move_sent_at > 0

    def on_updates_up(self) -> None:
        self._readiness.update(RECONCILED, "not reconciled since order updates are up")
        self._readiness.update(UPDATES, "")
        self._reconcile("order updates are up")

    def on_updates_down(self, why: str) -> None:
        self._readiness.update(UPDATES, f"no order updates: {why}")
        self._readiness.update(RECONCILED, "not reconciled since order updates were lost")

    # -- what becomes of orders that were sent ------------------------------------------------------------------------

    def on_sent(self, action: SubmitOrder) -> None:
        """An order is on its way: from now on it may need a cancel or an exit. Notes the time since its fill."""
        self._dispatcher.reservation.is_out(action.client_order_id)
        self._dispatcher.reckon(self._algos[action.symbol])
        arrived = self._filled_at.pop(action.client_order_id, None)
        if arrived is not None:
            self.fill_to_exit.setdefault(action.symbol, []).append(time.perf_counter() - arrived)
        self._bus.tell(OrderSent(self._now(), action))
        if not self._dispatcher.is_sending:
            self._bus.settle()

    def on_submit_rejected(self, symbol: str, client_order_id: str, why: str) -> None:
        self.on_rejection(symbol, why)
        self._dispatcher.reservation.is_out(client_order_id)
        self._filled_at.pop(client_order_id, None)
        self._handle(symbol, lambda algo, at: algo.on_submit_rejected(client_order_id, why, at))
        self._record.failed(symbol, client_order_id, "refused", why)

    def on_submit_lost(self, symbol: str, client_order_id: str) -> None:
        self._handle(symbol, lambda algo, at: algo.on_submit_lost(client_order_id, at))
        self._record.failed(symbol, client_order_id, "lost", "it never arrived")

    def on_order_gone(self, symbol: str, order_id: str) -> None:
        """An order that was working is unknown to the broker, for good."""
        self._handle(symbol, lambda algo, at: algo.on_order_gone(order_id, at))
        self._record.failed(symbol, order_id, "gone", "the broker knows it no more")

    def on_stop_fixed(self, symbol: str, order_id: str, why: str) -> None:
        """The stop `order_id` was not moved; without a `why` it may be later."""
        algo = self._algos.get(symbol)
        order = None if algo is None else algo.ledger.find(order_id)
        if algo is None or order is None:
            return
        order.move_sent_at = 0
        if why:
            algo.stop.on_fixed()
            text = "%s: the stop at the broker stays where it is (%s): the bot trails by itself"
            self._dispatcher.notes.warning(text, symbol, why)
            self._bus.deliver()

    def on_last_trade(self, symbol: str, trade: Trade | None) -> None:
        if trade is not None and trade.at > self._now():
            trade = Trade(trade.symbol, self._now(), trade.price, trade.size, trade.id)
        self._handle(symbol, lambda algo, at: algo.on_last_trade(trade, at))

    def on_mute_updates(self) -> None:
        self._reconnect_updates("an order moved and the stream said nothing")

    def reconcile_soon(self, why: str) -> None:
        self._reconcile(why)

    # -- what is listed -----------------------------------------------------------------------------------------------

    def on_snapshot(
        self,
        symbol: str,
        orders: Sequence[OrderReport],
        position: PositionReport,
        as_of: int,
        executions: Sequence[OrderReport] = (),
        held_already: int = 0,
        decides: bool = True,
    ) -> None:
        """What the broker listed at the start, as of `as_of`; see `ScalpAlgo.on_snapshot`."""
        self.listed_at = as_of
        self._handle(
            symbol, lambda algo, at: algo.on_snapshot(orders, position, as_of, at, executions, held_already, decides)
        )
        if algo := self._algos.get(symbol):
            self._record.listed(algo.ledger, orders)

    def on_position(self, position: PositionReport, as_of: int) -> None:
        """The position listed at `as_of` differs from the ledger's, and something explains that."""
        self._handle(position.symbol, lambda algo, at: algo.on_position(position, as_of, at))
        if algo := self._algos.get(position.symbol):
            self._record.position(algo.ledger)

    def on_surplus(self, position: PositionReport, as_of: int) -> None:
        """The position listed at `as_of` differs from the ledger's, nothing explains that, and it has stood."""
        self._handle(position.symbol, lambda algo, at: algo.on_surplus(position, as_of, at))
        if algo := self._algos.get(position.symbol):
            self._record.position(algo.ledger)

    # -- what the broker asks before it sends -------------------------------------------------------------------------

    def find_order(self, symbol: str, key: str) -> Order | None:
        algo = self._algos.get(symbol)
        return None if algo is None else algo.ledger.find(key)

    def why_no_entry(self, symbol: str) -> str:
        algo = self._algos.get(symbol)
        if algo is None:
            return "not watched"
        if self.session is not None and self._now() >= self.session.liquidate_at:
            return "the session is about to end"
        return algo.entry_blocks.why or self._risk.why_no_entry(algo)

    def no_orders(self) -> str:
        """Why no order at all may go out: one sent in the last seconds could be parked for tomorrow's open."""
        is_quiet = self.session is not None and self._now() >= self.session.quiet_at
        return self.shut or (NEAR_CLOSE if is_quiet else "")

    def may_close(self, action: SubmitOrder) -> bool:
        """Whether so many shares as `action` closes are held or, of a cover, short, by the ledger."""
        algo = self._algos.get(action.symbol)
        if algo is None:
            return False
        return (-algo.ledger.position if action.covers else algo.ledger.position) >= action.qty
