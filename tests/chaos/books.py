"""What must always hold, and how long an exit took, seen from the exchange's books alone.

The invariants are the design's, as in `tests.simulation.invariants`. Real time is noisy, so limits that are seconds
there are given `noise` more here; what does not depend on time is as strict.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scalp.core.trades import Fill
from scalp.core.units import SECOND
from scalp.exchange.orders import Order, OrderRequest, Update
from scalp.journal.reader import open_journal, read_day
from scalp.results.totals import Results

if TYPE_CHECKING:
    from tests.chaos.session import ChaosSession

LOT = Decimal(2000)
QUICK = 1.5  # seconds within which held shares have a sell when nothing is wrong
CALM = 60.0  # seconds without trouble after which nothing counts as wrong any more
TWO_CHECKUPS = 62.0
BUY_LIFETIME, CHECKUP = 120.0, 30.0
BLIND_FOR = 10.0  # seconds: requests may arrive 6 s late
FIRST_BACKOFF, LONGEST_BACKOFF = 30.0, 960.0  # of a sell that keeps being refused
QUIET = 4.0  # seconds before the close in which nothing need be sent


class Books:
    def __init__(self, session: ChaosSession, noise: float) -> None:
        self._session = session
        self._noise = noise
        self._engine = session.engine
        self._bare_since: dict[str, float] = {}  # symbol -> since when held shares have had no sell
        self._refusals: Counter[str] = Counter()  # symbol -> refusals of orders since a sell last filled
        self._bought: dict[str, tuple[int, str, int]] = {}  # symbol -> bought when (ns), what was wrong, request faults
        self.by_hand: set[str] = set()  # symbols in which a person has traded
        self.recoveries: defaultdict[str, list[float]] = defaultdict(list)  # what was wrong -> seconds to the sell
        self.violation = ""
        self.violated = asyncio.Event()
        emit, submit = self._engine._emit, self._engine.submit

        def emit_and_check(event: str, order: Order, *arguments: object, **more: object) -> None:
            emit(event, order, *arguments, **more)  # type: ignore[arg-type]
            qty = f"{order.side} {order.filled_qty}/{order.qty} {order.type} {order.limit_price or ''}"
            session.write("ORDER", f"{order.symbol} {event}: {qty} {order.client_order_id}")
            if order.side == "sell" and event == "fill":
                self._refusals.pop(order.symbol, None)
            elif order.side == "sell" and event == "rejected":
                self._refusals[order.symbol] += 1
            self.check()
            session.on_order_event(event, order)

        def submit_and_check(request: OrderRequest) -> Order:
            order = submit(request)
            if is_own(order):
                self._on_submit(order)
            return order

        self._engine._emit = emit_and_check  # type: ignore[method-assign]
        self._engine.submit = submit_and_check  # type: ignore[method-assign]

    # -- how long an exit took ----------------------------------------------------------------------------------------

    def on_told(self, update: Update, wrong: str) -> None:
        """An update is told to the streams, or should be; `wrong` says what became of it."""
        order = update.order
        if update.event != "fill" or order.side != "buy" or not is_own(order) or order.symbol in self._bought:
            return
        streams = self._session.order_streams()
        if not self._session.is_bot_up:
            wrong = "process down"
        elif not any(stream.listening for stream in streams):
            wrong = "stream dropped"
        elif all(stream.muted for stream in streams):
            wrong = "stream mute"
        self._bought[order.symbol] = (update.at, wrong or "nothing wrong", self._session.request_faults())

    def on_killed(self) -> None:
        for symbol, (at, _, faults) in self._bought.items():
            self._bought[symbol] = (at, "process down", faults)

    def _on_submit(self, order: Order) -> None:
        session = self._session
        if order.side == "sell":
            if bought := self._bought.pop(order.symbol, None):
                at, wrong, faults = bought
                if session.request_faults() != faults:
                    wrong = "requests failed meanwhile"
                self.recoveries[wrong].append((self._engine.now - at) / SECOND)
            return
        is_heard = any(stream.listening for stream in session.order_streams())
        blind = session.elapsed - session.heard_at
        if not is_heard and blind > BLIND_FOR + self._noise:
            self._fail(3, f"{order.symbol}: a buy was sent, {blind:.1f} s without order updates")

    def on_rejected(self, body: bytes) -> None:
        """An order was refused: its symbol may wait before it tries again."""
        self._refusals[str(msgspec.json.decode(body).get("symbol"))] += 1

    # -- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """After every event, and now and then besides."""
        engine = self._engine
        for symbol in self._session.symbols:
            orders = engine.open_orders(symbol)
            own = [order for order in orders if is_own(order)]
            at_work = [order.client_order_id for order in own if order.status != "pending_cancel"]
            if len(at_work) > 1:
                self._fail(1, f"{symbol}: several own orders at work: {at_work}")
            held = engine.account.held(symbol)
            if held < 0:
                self._fail(1, f"{symbol}: short, {held}")
            if symbol not in self.by_hand:
                position = engine.account.positions.get(symbol)
                cost = held * position.avg_entry_price if position else Decimal(0)
                cost += sum(order.leaves * (order.limit_price or 0) for order in own if order.side == "buy")
                if cost > LOT:
                    self._fail(1, f"{symbol}: bought for {cost}, more than a lot")
            self._check_covered(symbol, held, orders)
            self._check_age(own)

    def _check_covered(self, symbol: str, held: Decimal, orders: list[Order]) -> None:
        """2: held shares have a sell at work: at once when nothing is wrong, else two checkups after the trouble."""
        session = self._session
        if held < 1 or orders:
            self._bare_since.pop(symbol, None)
            return
        now = session.elapsed
        since = self._bare_since.setdefault(symbol, now)
        if not session.is_bot_up or session.until_close < QUIET:
            return
        trouble = session.trouble_until
        refusals = self._refusals[symbol]
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**refusals) if refusals else 0.0
        if not refusals and since > trouble + CALM and now - since > QUICK + self._noise:
            self._fail(2, f"{symbol}: {held} held without a sell for {now - since:.1f} s, and nothing was wrong")
        if now > max(since, trouble) + TWO_CHECKUPS + backoff + self._noise:
            self._fail(2, f"{symbol}: {held} held without a sell for {now - since:.0f} s")

    def _check_age(self, own: list[Order]) -> None:
        """An unfilled buy is cancelled after 2 minutes, by the checkup that follows."""
        for order in own:
            age = (self._engine.now - order.submitted_at) / SECOND
            calm = self._session.elapsed - self._session.trouble_until
            limit = BUY_LIFETIME + CHECKUP + QUICK + self._noise
            if order.side == "buy" and self._session.is_bot_up and min(age, calm) > limit:
                self._fail(2, f"{order.symbol}: a buy has worked for {age:.0f} s")

    def check_end(self, exit_code: int | None) -> None:
        """4: after the close nothing is held or at work, or the exit code says so."""
        engine, session = self._engine, self._session
        left = {symbol: engine.account.held(symbol) for symbol in session.symbols if engine.account.held(symbol)}
        at_work = [order.client_order_id for order in engine.open_orders()]
        if exit_code not in (0, 1):
            self._fail(4, f"exit code {exit_code}")
        if (left or at_work) and exit_code == 0:
            self._fail(4, f"exit code 0, but held: {left}, at work: {at_work}")
        if session.trouble_until + 300 < session.length:
            for symbol, held in left.items():
                if not self._was_offered(symbol) and not engine.is_halted(symbol):
                    self._fail(4, f"{symbol}: {held} held after the close")

    def check_journal(self, path: Path, exit_code: int | None) -> None:
        """After an orderly end: what the runs wrote down comes to the exchange's cash, to the cent, fees included."""
        engine = self._engine
        if exit_code != 0 or engine.account.positions:
            return
        with contextlib.closing(open_journal(path)) as connection:
            day = read_day(connection)  # which is read as far as it is looked at
            found = {symbol: sum(map(_cash, day.fills[symbol]), Decimal(0)) for symbol in day.symbols}
            net, notes = Results(day.days(), day.fees).total().net, day.notes
        cash = dict.fromkeys(self._session.symbols, Decimal(0))
        for one in engine.executions:
            cash[one.symbol] += one.qty * one.price * (1 if one.side == "sell" else -1)
        # Averages that the broker tells have 9 decimals.
        if any(round(found[symbol], 4) != cash[symbol] for symbol in cash):
            self._fail(5, f"the journal's cash is {found}, the exchange's {cash}; {notes}")
        gained = engine.account.cash - 100_000
        if round(net, 4) != gained:
            self._fail(5, f"net of {net} by the journal, the account gained {gained}; {notes}")

    def _was_offered(self, symbol: str) -> bool:
        """Whether a market sell worked until the end, and the market just did not take all of it."""
        last = [order for order in self._engine.orders.values() if order.symbol == symbol][-1]
        return last.side == "sell" and last.type == "market"

    def _fail(self, number: int, text: str) -> None:
        """Note the first violation; the session ends with it."""
        if not self.violation:
            self.violation = f"invariant {number}: {text} (at {self._session.elapsed:.1f} s)"
            self._session.write("FAILED", self.violation)
            self.violated.set()


def _cash(fill: Fill) -> Decimal:
    return fill.qty * fill.price * (1 if fill.side == "sell" else -1)


def is_own(order: Order) -> bool:
    """Whether the bot made it, and nobody changed it since."""
    return order.client_order_id.startswith("scalp-") and not order.replaces
