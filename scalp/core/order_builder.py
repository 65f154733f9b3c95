"""Orders of one symbol before they are sent: their ids and their terms."""

from __future__ import annotations

from decimal import Decimal

from scalp.core.commands import SubmitOrder
from scalp.core.fees import BreakEven
from scalp.core.ledger import Ledger
from scalp.core.orders import OrderType, Side
from scalp.core.prices import exact, round_down, round_up
from scalp.core.tape import Tape


class OrderBuilder:
    """`run` makes this process's client order ids unlike those of any other run."""

    def __init__(self, ledger: Ledger, tape: Tape, run: str) -> None:
        self._ledger = ledger
        self._tape = tape
        self._run = run
        self.break_even: BreakEven | None = None  # None: an exit need not pay for its fees
        self.count = 0  # ids given so far

    def buy_price(self) -> Decimal | None:
        """The last trade; None before any."""
        last = self._tape.last_price
        return None if last is None else round_down(exact(last))

    def sell_price(self) -> Decimal:
        """The last trade or the entry, whichever is higher; with `break_even` what pays for the fees as well."""
        price = self._ledger.entry_price or Decimal(0)
        if self.break_even is not None and price:
            price = exact(self.break_even.of(float(price)))
        if (last := self._tape.last_price) is not None:
            price = max(price, exact(last))
        return round_up(price)

    def build(
        self,
        side: Side,
        qty: int,
        order_type: OrderType,
        price: Decimal | None,
        client_order_id: str = "",
        stop_price: Decimal | None = None,
        covers: bool = False,
    ) -> SubmitOrder:
        """An order under an id of its own, unless one is named."""
        if not client_order_id:
            self.count += 1
            client_order_id = f"scalp-{self._ledger.symbol}-{self._run}-{self.count}"
        return SubmitOrder(
            symbol=self._ledger.symbol,
            client_order_id=client_order_id,
            side=side,
            qty=qty,
            type=order_type,
            limit_price=price,
            stop_price=stop_price,
            covers=covers,
        )
