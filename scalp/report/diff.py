"""A journaled day beside its backtest: the same algo over the same bars that the bot saw.

A buy with everything that follows it until the next buy is an entry. Entries of both sides belong together when their
buys were sent at about the same time; of those that do, the orders are compared one by one. Why something differs is
reported where the journal shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from scalp.backtest.run import play
from scalp.backtest.settings import BacktestSettings
from scalp.core.algo import FRESH, ScalpAlgo
from scalp.core.clock import new_york
from scalp.core.decimals import ZERO
from scalp.core.order_state import REFUSED, Order
from scalp.core.orders import BUY, SELL
from scalp.core.trades import Fill
from scalp.core.units import MINUTE, SECOND
from scalp.core.working_buys import BUY_LIFETIME
from scalp.journal.reader import JournaledDay, Rejection, SeenBar
from scalp.results.symbol_day import SymbolDay

TOGETHER = 90 * SECOND  # buys sent no further apart came of the same signal
TIME_TOLERANCE = 2 * SECOND  # bars arrive when they arrive
UNFILLED_FOR = BUY_LIFETIME + 30 * SECOND  # an unfilled buy works for no longer
# The parts of the bot that speak for all symbols.
PARTS = ("broker", "fleet", "iex", "main", "polygon", "reconcile", "sip", "updates")
SAID_WITHIN = 10 * SECOND  # around an order: what was said then may be its reason
SAID_AT_ONCE = SECOND // 2  # after a bar came: what is said of its symbol then follows from that bar


class Difference(Struct, frozen=True):
    """One thing that differs. `why` is "" where nothing is known."""

    symbol: str
    at: int
    what: str
    why: str


class Sent(Struct, frozen=True):
    """An order and when its last share was filled (None: none was)."""

    order: Order
    filled_at: int | None

    @property
    def at(self) -> int:
        return self.order.submitted_at

    def __str__(self) -> str:
        order = self.order
        terms = order.type if order.limit_price is None else f"at {order.limit_price:f}"
        return f"{order.side} {order.qty or ZERO:f} {terms}"


class Entry(Struct, frozen=True):
    """A buy (None: the orders before the first one) and what was sent after it."""

    buy: Sent | None
    exits: list[Sent]

    @property
    def at(self) -> int:
        return (self.buy or self.exits[0]).at

    def busy_until(self) -> int | None:
        """When it was over; None if shares stayed held."""
        sent = [*([self.buy] if self.buy else []), *self.exits]
        bought = sum((one.order.filled_qty for one in sent if one.order.side == BUY), ZERO)
        sold = sum((one.order.filled_qty for one in sent if one.order.side == SELL), ZERO)
        if bought > sold:
            return None
        return max([self.at + (0 if bought else UNFILLED_FOR), *(one.filled_at for one in sent if one.filled_at)])


def replayed(day: JournaledDay, algo_class: type[ScalpAlgo]) -> list[SymbolDay]:
    """The backtest of the day, under the default fills, over the bars as the bot first saw them.

    It buys only at times at which the bot was running: a morning that was missed says nothing about the afternoon.
    """

    class WhileRunning(algo_class):  # type: ignore[misc, valid-type]
        def _may_enter(self, at: int) -> bool:
            return day.was_running(at) and super()._may_enter(at)

    facts = day.facts
    settings = BacktestSettings(symbols=day.symbols, lot=facts.lot, risk_limits=facts.risk_limits, fees=facts.fees,
                                net_exit=bool(facts.options.get("net_exit")))  # fmt: skip
    market = {symbol: day.bars(symbol) for symbol in day.symbols}
    return list(play(settings, WhileRunning, day.session, market))


def differences(day: JournaledDay, backtest: Sequence[SymbolDay]) -> list[Difference]:
    """All of them, in time order."""
    found: list[Difference] = []
    for journaled, played in zip(day.days(), backtest, strict=True):
        found += _Comparison(day, journaled, played).differences()
    return sorted(found, key=lambda one: (one.at, one.symbol))


def paired(session: SymbolDay, backtest: SymbolDay) -> Iterator[tuple[Entry | None, Entry | None]]:
    """The entries of a symbol that belong together, and those that stand alone, in time order."""
    return _pairs(_entries(session), _entries(backtest))


def plain(difference: Difference) -> dict[str, Any]:
    """For machines."""
    return {
        "symbol": difference.symbol,
        "time": new_york(difference.at).isoformat(),
        "difference": difference.what,
        "why": difference.why or None,
    }


class _Comparison:
    """One symbol: `live` comes from the journal (of whatever venue), `played` from the backtest."""

    def __init__(self, day: JournaledDay, live: SymbolDay, played: SymbolDay) -> None:
        self._day = day
        self._symbol = live.symbol
        self._live = _entries(live)
        self._played = _entries(played)
        self._found: list[Difference] = []

    def differences(self) -> list[Difference]:
        for live, played in _pairs(self._live, self._played):
            if played is None:
                assert live is not None
                self._only("the session", live, self._why_not_played(live))
            elif live is None:
                is_refused = played.buy is not None and played.buy.order.status == REFUSED and not played.exits
                if is_refused and self._day.facts.risk_limits:
                    continue  # a risk rule forbade it in both: the journal has only what was sent
                self._only("the backtest", played, self._why_not_live(played))
            else:
                self._compare(live, played)
        return self._found

    def _tell(self, at: int, what: str, why: str) -> None:
        self._found.append(Difference(self._symbol, at, what, why))

    def _only(self, where: str, entry: Entry, why: str) -> None:
        sent = [*([entry.buy] if entry.buy else []), *entry.exits]
        orders = ", ".join(f"{one}{_outcome(one)}" for one in sent)
        self._tell(entry.at, f"only in {where}: {orders}", why)

    def _compare(self, live: Entry, played: Entry) -> None:
        pairs = [(live.buy, played.buy)] if live.buy and played.buy else []
        exits = min(len(live.exits), len(played.exits))
        pairs += zip(live.exits[:exits], played.exits[:exits], strict=True)
        before: tuple[Sent, Sent] | None = None
        for ours, theirs in pairs:
            assert ours is not None and theirs is not None
            self._compare_orders(ours, theirs, before)
            before = ours, theirs
        for where, extra in (("the session", live.exits[exits:]), ("the backtest", played.exits[exits:])):
            for one in extra:
                why = "it follows from what was filled before"
                self._tell(one.at, f"only in {where}: {one}{_outcome(one)}", self._trouble(one.at) or why)

    def _compare_orders(self, live: Sent, played: Sent, before: tuple[Sent, Sent] | None) -> None:
        if str(live) != str(played):
            self._tell(live.at, f"{live} in the session, {played} in the backtest", self._why_terms(live, before))
        if abs(live.at - played.at) > TIME_TOLERANCE:
            late = (live.at - played.at) / SECOND
            what = f"{live}: sent {abs(late):.1f} s {'later' if late > 0 else 'earlier'} than in the backtest"
            self._tell(live.at, what, self._why_time(live, before))
        if _outcome(live) != _outcome(played):
            what = f"{live}:{_outcome(live) or ' unfilled'} in the session,{_outcome(played) or ' unfilled'} "
            self._tell(live.at, what + "in the backtest", self._why_outcome(live, played))
        elif live.filled_at and played.filled_at and abs(live.filled_at - played.filled_at) > TIME_TOLERANCE:
            late = (live.filled_at - played.filled_at) / SECOND
            what = f"{live}: filled {abs(late):.1f} s {'later' if late > 0 else 'earlier'} than in the backtest"
            self._tell(live.filled_at, what, "the backtest fills by its own rules, from the bars alone")

    # -- why ----------------------------------------------------------------------------------------------------------

    def _why_not_live(self, played: Entry) -> str:
        at, day = played.at, self._day
        if entry := _busy(self._live, at):
            return f"the bot was still in its trade of {new_york(entry.at):%H:%M:%S}"
        for one in day.rejections:
            if one.symbol == self._symbol and at - SAID_WITHIN <= one.at <= at + FRESH:
                return one.why
        start = at // MINUTE * MINUTE - MINUTE
        seen = [bar for bar in day.seen[self._symbol] if bar.bar.start == start]
        if seen and (said := self._said_of_bar(seen[0])):
            return said
        if seen and all(bar.is_history for bar in seen):
            return "its bar was fetched only afterwards"
        if seen and (late := seen[0].at - start - MINUTE) > FRESH:
            return f"its bar came {late / SECOND:.0f} s late"
        return self._revised(at) or self._trouble(at, until=at + FRESH)

    def _why_not_played(self, live: Entry) -> str:
        if live.buy is None:
            return "it was held, or working, before"
        if not live.buy.order.client_order_id.startswith("scalp-"):
            return "not the bot's order: made by hand, or by another program"
        if entry := _busy(self._played, live.at):
            return f"the backtest was still in its trade of {new_york(entry.at):%H:%M:%S}"
        if rejection := self._rejection(live.buy.order):
            return rejection.why
        return self._revised(live.at)

    def _why_terms(self, live: Sent, before: tuple[Sent, Sent] | None) -> str:
        if before is not None and _outcome(before[0]) != _outcome(before[1]):
            return "it follows from what was filled before"
        if live.order.type == "market":
            return "it was time to liquidate, or the bot was told to"
        return "the last trade differs: the backtest knows no prints but those it makes of the bars"

    def _why_time(self, live: Sent, before: tuple[Sent, Sent] | None) -> str:
        if before is not None:
            ours, theirs = before
            if ours.filled_at and theirs.filled_at and abs(ours.filled_at - theirs.filled_at) > TIME_TOLERANCE / 2:
                return "it follows from the time of the fill before"
            waited = (live.at - (ours.filled_at or live.at)) / SECOND
            told_late = f"{waited:.1f} s from the fill to this order" if waited > TIME_TOLERANCE / SECOND else ""
            return self._trouble(live.at) or told_late
        start = live.at // MINUTE * MINUTE - MINUTE
        for seen in self._day.seen[self._symbol]:
            if seen.bar.start == start and seen.at - start - MINUTE > SECOND:
                return f"its bar came {(seen.at - start - MINUTE) / SECOND:.1f} s after its minute"
        return self._trouble(live.at)

    def _why_outcome(self, live: Sent, played: Sent) -> str:
        if live.order.status == REFUSED and (rejection := self._rejection(live.order)):
            return rejection.why
        if ZERO < live.order.filled_qty < (live.order.qty or ZERO):
            return "filled in part: how many shares others leave is not in the bars"
        if live.order.type == "market":
            return "a market order pays what the market asks"
        if live.order.filled_qty != played.order.filled_qty:
            return "the backtest fills by its own rules, from the bars alone"
        return "filled at another price than the backtest reckons with"

    def _rejection(self, order: Order) -> Rejection | None:
        keys = {order.client_order_id, order.id} - {""}
        return next((one for one in self._day.rejections if one.symbol == self._symbol and one.key in keys), None)

    def _revised(self, at: int) -> str:
        first: dict[int, Any] = {}
        for seen in self._day.seen[self._symbol]:
            bar = seen.bar
            if seen.at <= at and first.setdefault(bar.start, bar) != bar:
                return f"the bar of {new_york(bar.start):%H:%M} was corrected afterwards"
        return ""

    def _said_of_bar(self, seen: SeenBar) -> str:
        """What the bot said of this symbol as the bar came, which led to no order."""
        for saying in self._day.sayings:
            if saying.who == self._symbol and seen.at <= saying.at <= seen.at + SAID_AT_ONCE:
                return f"the bot said: {saying.text}"
        return ""

    def _trouble(self, at: int, until: int = 0) -> str:
        """A warning about this symbol, or about all, at about that time."""
        for saying in self._day.sayings:
            is_near = at - SAID_WITHIN <= saying.at <= (until or at + SAID_WITHIN)
            concerns = saying.who == self._symbol or saying.who in PARTS
            if is_near and concerns and saying.level in ("WARNING", "ERROR"):
                return f"the bot said: {saying.text}"
        return ""


def _entries(day: SymbolDay) -> list[Entry]:
    entries: list[Entry] = []
    for sent in _sent(day.orders, day.fills):
        if sent.order.side == BUY:
            entries.append(Entry(sent, []))
        else:
            if not entries:
                entries.append(Entry(None, []))
            entries[-1].exits.append(sent)
    return entries


def _sent(orders: Sequence[Order], fills: Sequence[Fill]) -> Iterator[Sent]:
    """Orders with their last fills: one order after the other takes the fills of its side."""
    waiting: dict[str, list[Fill]] = {side: [fill for fill in fills if fill.side == side] for side in (BUY, SELL)}
    left = {side: ZERO for side in waiting}  # of the first fill that waits
    for order in sorted(orders, key=lambda order: order.submitted_at):
        wanted, last = order.filled_qty, None
        queue = waiting.get(order.side, [])
        while wanted > 0 and queue:
            share = min(wanted, left[order.side] or queue[0].qty)
            last = queue[0].at
            left[order.side] = (left[order.side] or queue[0].qty) - share
            wanted -= share
            if not left[order.side]:
                queue.pop(0)
        yield Sent(order, last)


def _pairs(live: Sequence[Entry], played: Sequence[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Entries that belong together, and those that stand alone, in time order."""
    ours, theirs = list(live), list(played)
    while ours and theirs:
        apart = ours[0].at - theirs[0].at
        if abs(apart) <= TOGETHER and (ours[0].buy is None) == (theirs[0].buy is None):
            yield ours.pop(0), theirs.pop(0)
        elif apart <= 0:
            yield ours.pop(0), None
        else:
            yield None, theirs.pop(0)
    for entry in ours:
        yield entry, None
    for entry in theirs:
        yield None, entry


def _busy(entries: Sequence[Entry], at: int) -> Entry | None:
    """The entry that was under way at that time."""
    for entry in entries:
        until = entry.busy_until()
        if entry.at <= at and (until is None or at < until + TIME_TOLERANCE):
            return entry
    return None


def _outcome(sent: Sent) -> str:
    """What was filled, in words; "" for an order that was not filled at all."""
    order = sent.order
    if order.status == REFUSED:
        return " (refused)"
    if not order.filled_qty:
        return ""
    price = Decimal(0) if order.filled_avg_price is None else round(order.filled_avg_price, 4).normalize()
    return f" ({order.filled_qty.normalize():f} filled at {price:f})"
