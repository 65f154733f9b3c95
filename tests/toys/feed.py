"""A feed: a minute bar at 100 each minute, and a trade at PRICE half a second after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from scalp.core.market_data import Bar, Trade
from scalp.core.ports import Clock, Feed, MarketDataSink
from scalp.core.units import MINUTE, SECOND

PRICE = 100.5


class ToyFeed(Feed):
    is_exclusive = False
    name = "toy bars"

    def __init__(self, symbols: Sequence[str], sink: MarketDataSink, account: Any) -> None:
        self._symbols, self._sink, self._account = symbols, sink, account
        self._is_up = False
        self.heard_at: float | None = None
        self.heard: dict[str, float] = {}

    @property
    def is_up(self) -> bool:
        return self._is_up

    async def run(self) -> None:
        self._is_up = True
        self._sink.on_feed_up()
        while True:
            clock: Clock = await self._account.clock()
            await asyncio.sleep((MINUTE - clock.timestamp % MINUTE) / SECOND)
            self.heard_at = asyncio.get_running_loop().time()
            minute = (clock.timestamp // MINUTE) * MINUTE
            for symbol in self._symbols:
                self._sink.on_bar(Bar(symbol, minute, 100.0, 100.0, 100.0, 100.0, 1000.0))
            await asyncio.sleep(0.5)
            for symbol in self._symbols:
                self._sink.on_trade(Trade(symbol, minute + MINUTE + SECOND // 2, PRICE))

    def streams_bars(self, symbol: str) -> bool:
        return True

    def streams_trades(self, symbol: str) -> bool:
        return True

    async def latest_trade(self, symbol: str) -> Trade | None:
        return None

    async def latest_trades(self, symbols: Sequence[str]) -> dict[str, Trade]:
        return {}

    async def history(self, symbols: Sequence[str], start: int, end: int) -> AsyncIterator[tuple[str, list[Bar]]]:
        for symbol in list(symbols):
            minutes = range(start, end - MINUTE + 1, MINUTE)
            yield symbol, [Bar(symbol, minute, 100.0, 100.0, 100.0, 100.0, 1000.0) for minute in minutes]


def open_feed(
    endpoints: object, symbols: Sequence[str], sink: MarketDataSink, rng: object, expects: object, account: Any, *_: Any
) -> ToyFeed:
    return ToyFeed(symbols, sink, account)
