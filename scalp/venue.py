"""What a place to trade offers, as the rest of the program sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from scalp.messages import Bar, Halt, OrderReport, Trade, TradeGone


class MarketDataSink(Protocol):
    """Where a feed delivers. Handlers are synchronous and never raise: a feed just calls them."""

    def on_bar(self, bar: Bar) -> None: ...
    def on_trade(self, trade: Trade) -> None: ...
    def on_trade_gone(self, gone: TradeGone) -> None: ...
    def on_halt(self, halt: Halt) -> None: ...
    def on_feed_up(self) -> None: ...
    def on_feed_down(self, why: str) -> None: ...


class OrderUpdateSink(Protocol):
    """Where the order-update stream delivers. Up means authenticated and listening."""

    def on_order_update(self, report: OrderReport) -> None: ...
    def on_updates_up(self) -> None: ...
    def on_updates_down(self, why: str) -> None: ...


class Stream(Protocol):
    """A stream that keeps itself connected until cancelled; a refused login raises UserError."""

    async def run(self) -> None: ...
    def reconnect(self, why: str) -> None: ...


class Feed(Stream, Protocol):
    """Minute bars, last trades and history of the watched symbols."""

    name: str

    def streams_trades(self, symbol: str) -> bool:
        """Whether last trades of `symbol` arrive by themselves (known once the feed is up)."""

    def history(self, symbols: Sequence[str], start: int, end: int) -> AsyncIterator[tuple[str, list[Bar]]]:
        """Finished minute bars from `start` to `end` (ns), by symbol, oldest first; also for one without bars."""

    async def latest_trade(self, symbol: str) -> Trade | None:
        """The latest trade that counts as last sale, or None where the plan or the symbol has none."""
