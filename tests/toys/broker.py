"""A broker: what is ordered is filled at its limit a second later. Open for half an hour."""

from __future__ import annotations

import asyncio
import datetime as dt
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from scalp.core.clock import NEW_YORK, nanoseconds
from scalp.core.commands import Action, SubmitOrder
from scalp.core.orders import OrderReport, PositionReport
from scalp.core.ports import Account, Broker, Clock, Listing, OrderListener, OrderPage, OrderUpdates
from scalp.core.units import MINUTE, SECOND

OPEN = nanoseconds(dt.datetime(2026, 11, 20, 9, 30, tzinfo=NEW_YORK))
CLOSE = OPEN + 30 * MINUTE
placed: list[str] = []  # what was ordered, for those who look on


class ToyAccount(Account, Broker, OrderUpdates):
    name, heard_at, is_up, heard, round_trips = "toy orders", None, True, {}, []

    def __init__(self, endpoints: object) -> None:
        self._loop, self._orders = asyncio.get_running_loop(), dict[str, OrderReport]()

    def _now(self) -> int:
        return OPEN + round(self._loop.time() * SECOND)

    async def clock(self) -> Clock:
        return Clock(self._now(), self._now() < CLOSE, OPEN, CLOSE)

    async def calendar(self, start: dt.date, end: dt.date) -> list[tuple[dt.date, int, int]]:
        return [(start, OPEN, CLOSE)]

    async def open_orders(self, symbols: Any = None) -> Listing[OrderReport]:
        return Listing([order for order in self._orders.values() if order.status == "new"])

    async def orders(self, *question: Any, **more: Any) -> OrderPage:
        return OrderPage(list(self._orders.values()), frozenset(), len(self._orders))

    async def positions(self) -> Listing[PositionReport]:
        signed = ((o.filled_qty or Decimal(0)) * (1 if o.side == "buy" else -1) for o in self._orders.values())
        return Listing([PositionReport("TSLA", held, Decimal(100))] if (held := sum(signed, Decimal(0))) else [])

    def order_updates(self, sink: Any, *more: Any) -> OrderUpdates:
        self._sink = sink
        return self

    def broker(self, listener: OrderListener, *more: Any, **options: Any) -> Broker:
        self._listener = listener
        return self

    async def ask(self, symbol: str, order_id: str) -> bool:
        return order_id in self._orders

    async def run(self) -> None:
        self._sink.on_updates_up()
        await asyncio.Event().wait()

    def perform(self, action: Action) -> None:
        assert isinstance(action, SubmitOrder)
        placed.append(f"{action.side} {action.qty} {action.symbol} at {action.limit_price}")
        self._listener.on_sent(action)
        order = OrderReport(action.symbol, str(len(placed)), action.client_order_id, action.side, action.type, "new",
                            Decimal(action.qty), Decimal(0), None, action.limit_price, self._now())  # fmt: skip
        fill = replace(order, event="fill", status="filled", filled_qty=order.qty, filled_avg_price=order.limit_price,
                       execution_qty=order.qty, price=order.limit_price, execution_id=order.id)  # fmt: skip
        self._tell(order)
        self._loop.call_later(1, self._tell, fill)

    def _tell(self, report: OrderReport) -> None:
        self._orders[report.id] = report
        self._sink.on_order_update(report)


open_broker = ToyAccount
