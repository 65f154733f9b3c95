"""An Alpaca account, as `scalp.core.ports` wants one."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from scalp.alpaca.activities import Activities
from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.rate_limiter import RateLimiter
from scalp.alpaca.rest import AlpacaREST
from scalp.alpaca.updates import OrderUpdates
from scalp.cli.settings import Endpoints
from scalp.core.market_data import Trade
from scalp.core.ports import Account, Broker, Counted, OrderListener, OrderUpdateSink, never
from scalp.net.stream import LoginRefused


class AlpacaAccount(AlpacaREST):
    """The REST interface, and what is built on it; see `scalp.core.ports.Account`."""

    def __init__(self, endpoints: Endpoints) -> None:
        super().__init__(endpoints)
        self._endpoints = endpoints

    def activities(self, since: int, counted: Counted) -> Activities:
        return Activities(self, since, counted)

    def order_updates(
        self, sink: OrderUpdateSink, rng: random.Random, is_final: Callable[[LoginRefused], Awaitable[bool]] = never
    ) -> OrderUpdates:
        return OrderUpdates(self._endpoints, sink, rng, is_final)

    def broker(
        self,
        listener: OrderListener,
        now: Callable[[], int],
        reserve: Callable[[], int],
        latest_trade: Callable[[str], Awaitable[Trade | None]],
        *,
        longest_pause: float = 60.0,
        asks_by_id: bool = True,
    ) -> Broker:
        limiter = RateLimiter(now, reserve, longest_pause, asks_by_id)
        self.on_rate_limit = limiter.on_rate_limit
        return AlpacaBroker(self, limiter, listener, latest_trade)


def open_broker(endpoints: Endpoints) -> Account:
    """See `scalp.cli.venues`."""
    return AlpacaAccount(endpoints)
