"""Until when trouble is felt, and by whom: what excuses the bot, and no more than that.

Trouble with one way excuses only what needs that way: an exit needs the order to get through, and nothing that a
listing or a clock says; to learn of a fill that no update told, it needs an answer by id, a listing or an activity.
Times are seconds after the session's start; what is noted is how long the cause is felt by a sound bot.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.simulation.faults import Episode

if TYPE_CHECKING:
    from tests.simulation.network import Call
    from tests.simulation.world import World

PASSING_RETRIES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds, of a sell whose refusal may pass
LASTING_RETRY, LONGEST_RETRY = 30.0, 960.0  # the first wait of one that lasts, doubling
LIQUIDATION_RETRIES = (2.0, 4.0, 8.0, 15.0)  # the waits then
MAY_PASS = (b"available: 0", b"intent mismatch", b"wash trade")
UNKNOWN_FELT = 5.0 + 30.0 + 5.0  # a timeout, and a checkup's time until what became of it is known
LIMIT_FELT = 20.0  # after a 429
ASK_FELT = 12.0  # a question without an answer: its timeout
NEXT_EVENT = 33.0  # a sell that somebody else cancelled goes again at the next bar or checkup
SLACK = 2.0  # for everything on its way


class Hindrances:
    def __init__(self, world: World) -> None:
        self._world = world
        self._until: defaultdict[str, float] = defaultdict(float)
        self._send_until: defaultdict[str, float] = defaultdict(float)  # by symbol
        self._refusals: defaultdict[str, int] = defaultdict(int)  # of sells in a row, by symbol
        self.leaps_until = 0.0
        self.has_clock_lied = False

    def until(self, *ways: str) -> float:
        """Until when one of these ways is hindered."""
        return max(self._until[way] for way in ways)

    def sending(self, symbol: str) -> float:
        """Until when orders of `symbol` may not have got through; the time a sound bot needs to try again included."""
        return max(self._send_until[symbol], self._until["send"])

    @property
    def last(self) -> float:
        """Until when anything was hindered."""
        return max([0.0, *self._until.values(), *self._send_until.values()])

    def note(self, way: str, until: float) -> None:
        self._until[way] = max(self._until[way], until)

    def note_sending(self, symbol: str, until: float) -> None:
        self._send_until[symbol] = max(self._send_until[symbol], until)

    def on_request(self, call: Call, kind: str) -> None:
        """A request was struck by trouble of this kind."""
        now = self._world.elapsed
        if call.method == "PATCH" and kind != "429":
            return  # no exit waits for a stop that is moved
        if call.method == "GET":
            way = {
                "order": "ask", "by client id": "ask", "orders": "ask", "positions": "ask", "activities": "activities",
                "history": "data",
            }.get(call.endpoint, "start")  # fmt: skip
            self.note(way, now + ASK_FELT)
        elif kind == "429":
            self.note_sending(call.symbol, now + LIMIT_FELT)
        elif kind not in ("post refused", "sell refused for now"):
            self.note_sending(call.symbol, now + UNKNOWN_FELT)

    def on_answer(self, call: Call, status: int, body: bytes, is_injected: bool) -> None:
        """An answer reached the bot: a definite no keeps it waiting for its next try.

        What the exchange itself goes on refusing, and not the plan, is no excuse: the order is wrong.
        """
        now = self._world.elapsed
        if status == 429:
            # The account's limit is one for all requests.
            for way in ("send", "ask", "claims", "start", "activities"):
                self.note(way, now + LIMIT_FELT)
        if call.method == "GET":
            return
        if status == 429:
            self.note_sending(call.symbol, now + LIMIT_FELT)
        elif call.method == "DELETE" and 400 <= status < 500:
            self.note_sending(call.symbol, now + UNKNOWN_FELT)
        elif call.method == "POST" and b'"buy_to_close"' in call.body and 400 <= status < 500:
            self.note_sending(call.symbol, now + LIQUIDATION_RETRIES[0] + SLACK)
        elif call.method == "POST" and b'"sell"' in call.body and 400 <= status < 500:
            if status == 422 and b"must be unique" in body:
                return
            if not is_injected and self._refusals[call.symbol] >= len(PASSING_RETRIES):
                return
            if b'"oco"' not in call.body or b"insufficient qty" in body:  # else the plain exit goes at once
                self.on_rejected(call.symbol, may_pass=any(words in body for words in MAY_PASS))
            if call.client_id in self._world.told.unknown:
                # An earlier try of it may have arrived all the same: that has to be asked first.
                until = max(now, self._until["ask"]) + UNKNOWN_FELT
                self.note_sending(call.symbol, max(until, self._send_until[call.symbol] + UNKNOWN_FELT))

    def on_rejected(self, symbol: str, may_pass: bool = False) -> None:
        """A sell was turned down."""
        world = self._world
        n = self._refusals[symbol]
        self._refusals[symbol] += 1
        to_liquidation = max(0.0, world.invariants.liquidates_at - world.elapsed)
        if not to_liquidation:
            wait = LIQUIDATION_RETRIES[min(n, len(LIQUIDATION_RETRIES) - 1)]
        elif may_pass and n < len(PASSING_RETRIES):
            wait = PASSING_RETRIES[n]
        else:
            wait = min(LASTING_RETRY * 2 ** min(n, 10), LONGEST_RETRY)
        # Liquidation begins anew, and waits less.
        wait = min(wait, to_liquidation + LIQUIDATION_RETRIES[-1])
        self.note_sending(symbol, world.elapsed + wait + SLACK)

    def on_ended(self, symbol: str, order_id: str, status: str) -> None:
        """The bot was told that a sell of its own has ended, and how."""
        if status == "rejected":
            self._world.invariants.stops.on_rejected(symbol)
            self.on_rejected(symbol)
        elif self._world.engine.orders[order_id].group is not None and self._is_done_by_another(order_id):
            return
        elif status in ("canceled", "expired") and order_id not in self._world.invariants.cancelled:
            self.note_sending(symbol, self._world.elapsed + NEXT_EVENT)

    def _is_done_by_another(self, order_id: str) -> bool:
        """Whether it ended because another order of its group is selling the shares, or has sold them."""
        group = self._world.engine.orders[order_id].group
        orders = [] if group is None else [group.take_profit, group.stop_loss]
        return any(o is not None and o.id != order_id and (o.elected or o.status == "filled") for o in orders)

    def on_sold(self, symbol: str) -> None:
        self._refusals.pop(symbol, None)

    def on_claim(self, what: str) -> None:
        """A listing or a page that did not say what is true reached the bot, or will."""
        self.note("activities" if what == "activities" else "claims", self._world.elapsed + 1.0)

    def on_clock(self, end: float, leap: Episode | None) -> None:
        self.has_clock_lied = True
        self.note("clock", end)
        if leap:
            self.leaps_until = max(self.leaps_until, leap.end)
