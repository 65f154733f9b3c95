"""What one symbol's algo reports: events, and lines of its log. The log is the listener until a bus is named."""

from __future__ import annotations

import logging

from scalp.core.bus import EventBus, Notes
from scalp.core.commands import CancelOrder
from scalp.core.events import Fill, Liquidating, Listener, OrderEnded, OrderFound
from scalp.core.fees import FREE
from scalp.core.ledger import Change, Ledger
from scalp.core.log import log_event
from scalp.core.orders import BUY, FILLED, OrderReport, PositionReport


class Telling(Notes):
    """`tell` takes any event; the other methods turn what happened to `ledger` into one."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.symbol, log_event)
        self.tell: Listener = log_event
        self.rates = FREE  # the fees of the day
        self._ledger = ledger
        self._said: set[str] = set()  # what is said only once

    def to(self, bus: EventBus) -> None:
        """Report everything to the listeners of `bus`."""
        super().__init__(self._ledger.symbol, bus.tell, bus.now)
        self.tell = bus.tell

    def once(self, kind: str, text: str, *args: object) -> None:
        """A warning, the first time."""
        if kind not in self._said:
            self._said.add(kind)
            self.warning(text, *args)

    def failed(self, text: str, repeats: bool = True) -> None:
        """Log the exception being handled: its traceback once, as it may come in every minute of the day.

        Without `repeats` those that follow are not logged.
        """
        if text in self._said:
            if repeats:
                self.log(logging.ERROR, text)
        else:
            self._said.add(text)
            self.exception(text)

    def change(self, change: Change, report: OrderReport, at: int) -> None:
        """What `report` changed."""
        order, symbol = change.order, self._ledger.symbol
        is_own_leg = order.parent is not None and order.is_own  # of an exit that was reported
        if change.is_new and not is_own_leg:
            self.tell(OrderFound(symbol, at, order.side, order.qty, order.type, order.limit_price))
        if change.new_qty:
            self.tell(Fill(symbol, at, order.side, change.new_qty, change.price, change.profit, self.rates))
        if change.ended and order.status != FILLED and not (is_own_leg and not order.filled_qty):
            self.tell(OrderEnded(symbol, at, order.side, order.status, order.filled_qty, order.qty))
        elif not change.new_qty:
            self.debug("%s %s", order.side, report.event or order.status)

    def no_stop(self, why: str) -> None:
        """The broker took no exit with a stop: the plain one goes at once, and the bot's own stop stands behind it."""
        self.warning("no stop at the broker (%s): offering without, the bot keeps the stop", why)

    def cancel(self, step: CancelOrder) -> None:
        """Log why a working exit, or a buy, is cancelled."""
        order = self._ledger.find(step.id or step.client_order_id)
        offered = order.remaining if order is not None else None
        held = self._ledger.position
        if order is not None and order.side == BUY:
            self.info("holding %s from elsewhere: cancelling the buy to sell them", held)
        else:
            self.info("holding %s, %s on offer: cancelling the sell to offer all", held, offered)

    def liquidating(self, at: int) -> None:
        """Liquidation begins: reported where there is anything to liquidate."""
        ledger = self._ledger
        if ledger.open_orders or ledger.position:
            self.tell(Liquidating(ledger.symbol, at, ledger.position, len(ledger.open_orders)))

    def listed(self, position: PositionReport, before: object) -> None:
        """The broker lists `position`; it was thought to be `before`."""
        if position.qty != before:
            self.warning("position is %s at %s, was %s", position.qty, position.avg_entry_price, before)
