"""A desk at the matching engine, for tests that read as transcripts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Self

import pytest

from scalp.core.units import SECOND
from scalp.exchange.fills import FillModel
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Order, OrderRequest, Rejection, Update

OPEN = 1_000 * SECOND
CLOSE = 2_000 * SECOND


class Desk:
    """An engine whose session is from second 0 to 1000, and the story of its updates."""

    def __init__(self, now: float = 0, **options: Any) -> None:
        options.setdefault("fills", FillModel(share=0.1, touch_share=0.02))
        self.story: list[str] = []
        self.updates: list[Update] = []
        self.engine = Engine(
            OPEN, CLOSE, ["AAPL", "TSLA"], now=OPEN + round(now * SECOND), on_update=self.hear, **options
        )

    def hear(self, update: Update) -> None:
        self.updates.append(update)
        order = update.order
        line = f"{(update.at - OPEN) / SECOND:g} {update.event} {order.side}"
        if update.price is not None:
            line += f" {update.qty} at {update.price}, filled {order.filled_qty}, position {update.position_qty}"
        self.story.append(line)

    def trade(self, at: float, price: float, size: float = 1000, symbol: str = "AAPL") -> None:
        self.engine.on_trade(symbol, OPEN + round(at * SECOND), price, size)

    def until(self, at: float) -> None:
        self.engine.advance(OPEN + round(at * SECOND))

    def send(self, side: str, qty: str | None = "10", limit: str | None = None, **more: Any) -> Order:
        more.setdefault("type", "limit" if limit else "market")
        request = OrderRequest(
            symbol=more.pop("symbol", "AAPL"),
            side=side,
            qty=Decimal(qty) if qty else None,
            limit_price=Decimal(limit) if limit else None,
            **more,
        )
        return self.engine.submit(request)

    def refused(self, side: str, qty: str | None = "10", limit: str | None = None, **more: Any) -> tuple[int, int, str]:
        with pytest.raises(Rejection) as refusal:
            self.send(side, qty, limit, **more)
        return refusal.value.status, refusal.value.code, refusal.value.message

    def holding(self, qty: str = "10", price: float = 100.0) -> Self:
        """Bought at about `price`, and the story forgotten."""
        self.trade(1, price, 100_000)
        self.send("buy", qty)
        self.until(2)
        self.story.clear()
        return self
