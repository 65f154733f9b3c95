"""What is seen of each round trip beside its fills: where the price went meanwhile and afterwards, and how it ended.

A listener: it gets every event once the actions are out, and nothing waits for it. What it saw of a round trip is
reported a minute after the entry, at the exit, a minute after it, and at the end of the session: a killed process has
reported most. Shares that were held as the process began are watched from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from scalp.core.commands import SubmitOrder
from scalp.core.events import (
    MARKOUTS,
    BarHeard,
    Event,
    OrderDecided,
    OrderMoved,
    OrderReported,
    OrderSent,
    PositionTaken,
    TripSeen,
)
from scalp.core.exits import market_reason
from scalp.core.fleet import Fleet
from scalp.core.market_data import Trade
from scalp.core.orders import BUY


class _Trip(Struct):
    entered_at: int
    is_whole: bool  # this process saw its entry
    signal_price: float | None = None
    signal_at: int | None = None
    received_price: float | None = None
    sell: str = ""  # client order id of the first one
    decided_at: int | None = None
    sent_at: int | None = None
    sent_price: float | None = None
    acknowledged_at: int | None = None
    acknowledged_price: float | None = None
    reason: str = ""
    low: float | None = None
    high: float | None = None
    entry: dict[int, float] = {}
    exit: dict[int, float] = {}


class TripWatch:
    """Watches the symbols of `fleet` and reports to its listeners. `call_later` is the loop's."""

    def __init__(self, fleet: Fleet, call_later: Callable[..., asyncio.TimerHandle]) -> None:
        self._fleet = fleet
        self._call_later = call_later
        self._held: dict[str, _Trip] = {}
        self._left: list[tuple[str, _Trip]] = []  # whose last looks are still to come
        self._buys: dict[str, tuple[float | None, int]] = {}  # the last trade, and when, by symbol
        self._sells: dict[str, tuple[str, int, float | None]] = {}  # client order id, time and last trade, by symbol
        self._decided: dict[str, tuple[str, int]] = {}  # client order id and time of the last sell, by symbol
        self._why: dict[str, dict[str, str]] = {}  # what each sell is for, by symbol and client order id

    def __call__(self, event: Event) -> None:
        match event:
            case OrderSent(at, action) if action.side == BUY:
                price = None if action.limit_price is None else float(action.limit_price)
                self._buys[action.symbol] = price, at
            case OrderSent(at, action):
                self._on_sell(action, at)
            case OrderDecided(at, SubmitOrder(side="sell") as action):
                self._on_decided(action, at)
            case PositionTaken(symbol, at, qty):
                self._on_taken(symbol, qty > 0, at)
            case OrderMoved():
                self._on_moved(event)
            case OrderReported(at, report) if (trip := self._held.get(report.symbol)) is not None:
                if report.client_order_id == trip.sell and trip.sell and trip.acknowledged_at is None:
                    trip.acknowledged_at, trip.acknowledged_price = at, self._price(report.symbol)
            case BarHeard(_, bar) if (trip := self._held.get(bar.symbol)) is not None:
                self._see(trip, bar.close)

    def see(self, trade: Trade) -> None:
        """A print in a symbol that is held."""
        if (trip := self._held.get(trade.symbol)) is not None and trade.at >= trip.entered_at:
            self._see(trip, trade.price)

    def close(self) -> None:
        """The session is over: what was not looked at yet stays open."""
        for symbol, trip in [*self._held.items(), *self._left]:
            self._tell(symbol, trip)
        self._left.clear()

    def _on_moved(self, order: OrderMoved) -> None:
        symbol, before = order.symbol, order.position - order.moved
        trip = self._held.get(symbol)
        if trip is None:
            if not before and order.position > 0:
                price, at = self._buys.pop(symbol, (None, None)) if order.side == BUY else (None, None)
                trip = self._held[symbol] = _Trip(order.at, True, price, at, entry={}, exit={})
                self._look_later(symbol, trip.entry)
                self._call_later(MARKOUTS[-1] + 0.001, self._tell_held, symbol, trip)
            else:
                return
        if order.side == BUY and trip.is_whole:
            trip.received_price = self._price(symbol)
            self._take_sell(symbol, trip)
        if (price := self._price(symbol)) is not None:
            self._see(trip, price)
        if order.position <= 0:
            self._leave(symbol, trip, self._reason(order, trip))

    def _on_taken(self, symbol: str, is_held: bool, at: int) -> None:
        """Shares that are there as the bot starts, or that came or went without an order of the bot's."""
        trip = self._held.get(symbol)
        if is_held and trip is None:
            self._held[symbol] = _Trip(at, False, entry={}, exit={})
        elif not is_held and trip is not None:
            self._leave(symbol, trip, "by hand")

    def _leave(self, symbol: str, trip: _Trip, reason: str) -> None:
        del self._held[symbol]
        self._why.pop(symbol, None)
        trip.reason = reason
        self._left.append((symbol, trip))
        self._tell(symbol, trip)
        self._look_later(symbol, trip.exit)
        self._call_later(MARKOUTS[-1] + 0.001, self._tell_left, symbol, trip)

    def _on_sell(self, action: SubmitOrder, at: int) -> None:
        symbol, key = action.symbol, action.client_order_id
        algo = self._fleet.algos[symbol]
        self._why.setdefault(symbol, {})[key] = "limit" if action.type == "limit" else market_reason(algo.exits)
        self._sells[symbol] = key, at, algo.tape.last_price
        if (trip := self._held.get(symbol)) is not None:
            self._take_sell(symbol, trip)

    def _on_decided(self, action: SubmitOrder, at: int) -> None:
        """Comes after the sending of a sell that goes at once, before that of one that has to wait."""
        self._decided[action.symbol] = action.client_order_id, at
        trip = self._held.get(action.symbol)
        if trip is not None and trip.sell == action.client_order_id:
            trip.decided_at = at

    def _take_sell(self, symbol: str, trip: _Trip) -> None:
        """The first sell of a position; it is reported before the fill that it follows."""
        sell = self._sells.get(symbol)
        if trip.sell or not trip.is_whole or sell is None or sell[1] < trip.entered_at:
            return
        trip.sell, trip.sent_at, trip.sent_price = sell
        key, at = self._decided.get(symbol, ("", 0))
        trip.decided_at = at if key == trip.sell else None

    def _reason(self, order: OrderMoved, trip: _Trip) -> str:
        if why := self._why.get(order.symbol, {}).get(order.client_order_id):
            return why
        algo = self._fleet.algos[order.symbol]
        known = algo.ledger.find(order.id)
        if known is None or not known.is_bots:
            return "by hand"
        if order.type == "limit":
            return "limit"
        if order.type != "market":
            has_trail = algo.stop.rule is not None and algo.stop.rule.trail is not None
            was_moved = order.report.replaces or any(leg.replaced_by for leg in known.head.legs)
            return "trail" if has_trail and was_moved else "stop at broker"
        # Sent by another process: `scalp.flatten`, or an earlier run.
        if (session := self._fleet.session) is not None and order.at >= session.liquidate_at:
            return "liquidation"
        return "flatten" if trip.is_whole else "risk rule"

    def _look_later(self, symbol: str, at: dict[int, float]) -> None:
        for seconds in MARKOUTS:
            self._call_later(seconds, partial(self._look, symbol, at, seconds))

    def _look(self, symbol: str, at: dict[int, float], seconds: int) -> None:
        if (price := self._price(symbol)) is not None:
            at[seconds] = price

    def _price(self, symbol: str) -> float | None:
        return self._fleet.algos[symbol].tape.last_price

    @staticmethod
    def _see(trip: _Trip, price: float) -> None:
        if trip.low is None or price < trip.low:
            trip.low = price
        if trip.high is None or price > trip.high:
            trip.high = price

    def _tell_held(self, symbol: str, trip: _Trip) -> None:
        if self._held.get(symbol) is trip:
            self._tell(symbol, trip)

    def _tell_left(self, symbol: str, trip: _Trip) -> None:
        if (symbol, trip) in self._left:  # else it was reported at the end
            self._left.remove((symbol, trip))
            self._tell(symbol, trip)

    def _tell(self, symbol: str, trip: _Trip) -> None:
        self._fleet.tell(TripSeen(symbol, self._fleet.bus.now(), trip.entered_at, trip.reason, trip.signal_price,
                                  trip.signal_at, trip.received_price, trip.decided_at, trip.sent_at,
                                  trip.sent_price, trip.acknowledged_at, trip.acknowledged_price, trip.low,
                                  trip.high, dict(trip.entry), dict(trip.exit)))  # fmt: skip
