"""What the running process of the bot has been told over the wire, and when: the measure of what it must know.

An invariant that holds "when the bot could know" asks here. Facts are what names one order (updates, answers about it);
claims are what listings say. Everything is read from the very frames and bodies that reach the bot.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import msgspec

from scalp.core.orders import FINAL_STATUSES
from scalp.core.prices import exact
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.orders import Order

if TYPE_CHECKING:
    from tests.simulation.network import Call
    from tests.simulation.world import World

IN_FORCE = 0.001  # seconds for which a former last trade may still price an order: what is told in one instant
AT_ONCE = MINUTE // 60_000  # ns
PRINTS = 60  # of each symbol, remembered by id


class LastTrade:
    """One symbol's last trade, as its reader knows it; several where a correction leaves open which one it is."""

    def __init__(self) -> None:
        self.at = 0
        self.prices: frozenset[Decimal] = frozenset()
        self._id: Any = None
        self._before: deque[tuple[float, frozenset[Decimal]]] = deque(maxlen=8)  # until when, which
        self._prints: dict[Any, tuple[int, Decimal]] = {}
        self._close: tuple[int, Decimal] | None = None

    def see(self, now: float, made_at: int, price: float, key: Any = None) -> None:
        value = exact(price)
        if key is not None:
            self._prints[key] = (made_at, value)
            if len(self._prints) > PRINTS:
                del self._prints[next(iter(self._prints))]
        elif self._close is None or made_at >= self._close[0]:
            self._close = (made_at, value)
        if made_at >= self.at + AT_ONCE:
            self._set(now, made_at, frozenset({value}), key)
        elif made_at > self.at - AT_ONCE:
            # By the reader's clock both may be of the moment in which they came: the one that came last counts.
            self._set(now, max(made_at, self.at), self.prices | {value}, key if made_at >= self.at else self._id)

    def correct(self, now: float, key: Any, price: float | None, new_key: Any = None) -> None:
        """The print `key` was another one, or none: then the print before it counts, or the last close."""
        old = self._prints.pop(key, None)
        if price is not None and old is not None:
            self._prints[new_key] = (old[0], exact(price))
        if key != self._id or old is None:
            return
        if price is not None:
            self._set(now, old[0], frozenset({exact(price)}), new_key)
            return
        others = [*self._prints.values(), *([self._close] if self._close else [])]
        if others:
            newest = max(others, key=lambda made: made[0])
            left = {newest[1], self._close[1] if self._close else newest[1]}
            self._set(now, newest[0], frozenset(left), None)
        else:
            self._set(now, 0, frozenset(), None)

    def in_force(self, now: float) -> set[Decimal]:
        """The prices an order that goes out now may have been priced by."""
        found = set(self.prices)
        for until, prices in self._before:
            if until >= now - IN_FORCE:
                found |= prices
        return found

    def _set(self, now: float, at: int, prices: frozenset[Decimal], key: Any) -> None:
        if prices != self.prices and self.prices:
            self._before.append((now, self.prices))
        self.at, self.prices, self._id = at, prices, key


class Claim(msgspec.Struct, frozen=True):
    """What a listing said of a position; `qty` None: its row can't be read."""

    qty: Decimal | None
    asked_at: float
    told_at: float


class Told:
    def __init__(self, world: World) -> None:
        self._world = world
        self.forget()

    def forget(self) -> None:
        """A new process: it knows nothing yet."""
        # By symbol, by order: how far it was filled and whether it has ended, of what was not told yet; and since when.
        self.pending: defaultdict[str, dict[str, tuple[Decimal, bool, float]]] = defaultdict(dict)
        self.changed_at: defaultdict[str, float] = defaultdict(float)  # when news of an order of the symbol last came
        self.claims: dict[str, Claim] = {}
        self.claimed_at = float("-inf")  # when the last listing of positions was asked for that was answered
        self.first_claimed_at = float("inf")  # when the first such answer came
        self.truly_claimed_at = float("-inf")  # when the last true one was asked for
        self.base_at: float | None = None  # since when orders and positions of before are known, by true listings
        self._base: dict[str, float] = {}  # listing -> when it was true
        self.knows_calendar = False
        self.close_told_at = float("inf")  # when the clock first told the close as it is now
        self.stirred_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))  # old news of an order came
        self.halted_at: dict[str, float] = {}
        self._halted_since: dict[str, int] = {}  # the same in exchange time
        self.last: defaultdict[str, LastTrade] = defaultdict(LastTrade)
        self.bars: defaultdict[str, set[int]] = defaultdict(set)
        self.printed_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))
        self.odd_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))  # an odd price was told
        # By client order id, of orders of unknown outcome: the symbol, whether it is a buy, since when.
        self.unknown: dict[str, tuple[str, bool, float]] = {}
        self.denied: set[str] = set()  # of those, which an answer said there are not

    def is_complete(self, symbol: str) -> bool:
        """Whether facts have told all that became of the symbol's orders, on top of true listings."""
        return self.base_at is not None and not self.pending[symbol]

    # -- the exchange's side ------------------------------------------------------------------------------------------

    def on_event(self, event: str, order: Order) -> None:
        """Something happened to an order that is to be told."""
        if event in ("fill", "partial_fill") or event in FINAL_STATUSES:
            self.pending[order.symbol][order.id] = (order.filled_qty, not order.open, self._world.elapsed)

    # -- the wire's side ----------------------------------------------------------------------------------------------

    def on_order(self, order: Mapping[str, Any]) -> None:
        """An order object, in an update or in an answer about it."""
        for leg in order.get("legs") or ():
            self.on_order(leg)
        symbol, order_id = order.get("symbol"), order.get("id")
        self.unknown.pop(str(order.get("client_order_id")), None)
        if not isinstance(symbol, str) or not isinstance(order_id, str):
            return
        waiting = self.pending[symbol]
        if order_id not in waiting:
            return
        filled, ended, _ = waiting[order_id]
        is_final = order.get("status") in FINAL_STATUSES
        if Decimal(order.get("filled_qty") or 0) >= filled and (is_final or not ended):
            del waiting[order_id]
            self.changed_at[symbol] = self._world.elapsed
            if order.get("side") == "sell":
                self._world.hindrances.on_ended(symbol, order_id, str(order.get("status")))

    def on_update(self, frame: str | bytes) -> None:
        message = msgspec.json.decode(frame)
        if message.get("stream") == "trade_updates":
            self.on_order(message["data"]["order"])

    def on_data(self, frame: str | bytes) -> None:
        now = self._world.elapsed
        for message in msgspec.json.decode(frame):
            kind = message.get("T")
            if kind == "t":
                self._print(now, message["S"], _ns(message["t"]), message["p"], message["i"])
            elif kind in ("b", "u"):
                self._bar(now, message["S"], _ns(message["t"]), message["c"])
            elif kind == "c":
                self.last[message["S"]].correct(now, message["oi"], message["cp"], message["ci"])
                self._world.invariants.stops.see(message["S"])
            elif kind == "x":
                self.last[message["S"]].correct(now, message["i"], None)
                self._world.invariants.stops.see(message["S"])
            elif kind == "s":
                self._halt(message["S"], message["sc"] in ("H", "P", "2"))
            elif message.get("ev") == "T":
                self._print(now, message["sym"], message["t"] * 1_000_000, message["p"], message["i"])
            elif message.get("ev") == "AM":
                self._bar(now, message["sym"], message["s"] * 1_000_000, message["c"])
            elif message.get("ev") == "LULD":
                self._halt(message["T"], 17 in message["i"])

    def _print(self, now: float, symbol: str, at: int, price: float, key: Any) -> None:
        self.printed_at[symbol] = max(self.printed_at[symbol], (at - self._world.start) / SECOND)  # it may be told late
        self.last[symbol].see(now, at, price, key)
        self._world.invariants.stops.see(symbol)

    def _bar(self, now: float, symbol: str, start: int, close: float) -> None:
        self.bars[symbol].add(start)
        self.last[symbol].see(now, start + MINUTE - 1, close)
        self._world.invariants.stops.see(symbol)
        if start > self._halted_since.get(symbol, start):
            self.halted_at.pop(symbol, None)  # a minute that traded tells that trading goes on

    def _halt(self, symbol: str, is_halted: bool) -> None:
        if is_halted:
            self.halted_at.setdefault(symbol, self._world.elapsed)
            self._halted_since[symbol] = self._world.now()
        else:
            self.halted_at.pop(symbol, None)

    def on_answer(self, call: Call, status: int, body: bytes, is_true: bool) -> None:
        """An answer to a request."""
        what, asked_at, now = call.endpoint, call.asked_at, self._world.elapsed
        self._world.invariants.stops.on_answer(call, status, body)
        if status == 404 and what == "by client id":
            self.denied.add(call.query.get("client_order_id", ""))
        if status != 200:
            return
        if what == "history":
            self._history(now, msgspec.json.decode(body))
        elif call.method == "POST" or what in ("order", "by client id"):
            value = msgspec.json.decode(body)
            if isinstance(value, dict):
                self.on_order(value)
        elif what == "positions":
            self._positions(now, msgspec.json.decode(body), asked_at)
            if is_true:
                self.truly_claimed_at = asked_at
            self._on_listing(what, asked_at, is_true)
        elif what == "orders" and call.query.get("status", "open") == "open":
            self._on_listing(what, asked_at, is_true)
        elif what == "orders":
            self._deny(call.query, body)
        elif what == "calendar":
            self.knows_calendar = True
        elif what == "clock" and is_true and asked_at >= self._world.close_moved_at:
            self.close_told_at = min(self.close_told_at, now)

    def _deny(self, query: Mapping[str, str], body: bytes) -> None:
        """A listing of all orders lacks those of unknown outcome that it should have."""
        if self.unknown and query.get("status") == "all":
            symbols, rows = query.get("symbols", "").split(","), msgspec.json.decode(body)
            listed = {row.get("client_order_id") for row in rows if isinstance(row, dict)}
            self.denied |= {key for key, (of, *_) in self.unknown.items() if of in symbols} - listed

    def _positions(self, now: float, rows: Any, asked_at: float) -> None:
        listed: dict[str, Decimal | None] = {}
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and isinstance(row.get("symbol"), str):
                listed[row["symbol"]] = _quantity(row)
        self.claimed_at = asked_at
        self.first_claimed_at = min(self.first_claimed_at, now)
        for symbol in self._world.symbols:
            self.claims[symbol] = Claim(listed.get(symbol, Decimal(0)), asked_at, now)

    def _on_listing(self, what: str, asked_at: float, is_true: bool) -> None:
        """Orders are listed before positions; a round of which both are true is a base to build on."""
        if self.base_at is not None:
            return
        if not is_true or (what == "positions" and not self._base):
            self._base.clear()
            return
        self._base[what] = asked_at
        if len(self._base) == 2:
            since = self.base_at = self._world.elapsed
            known = min(self._base.values())
            for symbol, waiting in self.pending.items():
                for order_id in [key for key, (_, _, at) in waiting.items() if at <= known]:
                    del waiting[order_id]
                self.changed_at[symbol] = since

    def _history(self, now: float, value: Any) -> None:
        if "ticker" in value:
            rows = {value["ticker"]: [(row["t"] * 1_000_000, row["c"]) for row in value.get("results", ())]}
        else:
            rows = {
                symbol: [(_ns(row["t"]), row["c"]) for row in bars]
                for symbol, bars in (value.get("bars") or {}).items()
            }
        for symbol, bars in rows.items():
            for start, close in bars:
                self.bars[symbol].add(start)
                self.last[symbol].see(now, start + MINUTE - 1, close)
            self._world.invariants.stops.see(symbol)


def is_bots(client_order_id: str) -> bool:
    return client_order_id.startswith("scalp-")


def _quantity(row: Mapping[str, Any]) -> Decimal | None:
    try:
        qty = Decimal(row.get("qty") or "")
    except (InvalidOperation, TypeError, ValueError):
        return None
    if not qty.is_finite() or abs(qty) > 10**12:
        return None
    return -abs(qty) if row.get("side") == "short" else qty


def _ns(text: str) -> int:
    from scalp.alpaca.decode import parse_time_ns

    return parse_time_ns(text)
