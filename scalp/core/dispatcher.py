"""The way into an algo and out of it: an event is handled whole, its actions are sent, then listeners are notified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scalp.core.algo import TO_BUY, ScalpAlgo
from scalp.core.bus import EventBus, Notes
from scalp.core.commands import Action, SubmitOrder
from scalp.core.exit_times import ExitTimes
from scalp.core.recording import Recording
from scalp.core.reservation import Reservation
from scalp.core.risk_watch import RiskWatch


class Dispatcher:
    """Hands events to `algos`, by symbol, and their actions to `send`; notes what they may need after that."""

    def __init__(self, algos: Mapping[str, ScalpAlgo], bus: EventBus, send: Callable[[Action], None]) -> None:
        self.algos = algos
        self.bus = bus
        self.now = bus.now
        self.record = Recording(bus)
        self.notes = Notes("fleet", bus.tell, bus.now)
        self.risk = RiskWatch(algos, bus, self.record, self.carry_out, self.trouble)
        self.reservation = Reservation()
        self.exit_times = ExitTimes()
        self.is_sending = False  # actions are being handed over: listeners hear of nothing before they are out
        self._send = send

    def handle(self, symbol: str, handler: Callable[[ScalpAlgo, int], list[Action]]) -> None:
        """`handler` gets the algo and the time; where `symbol` is not watched, nothing happens."""
        algo = self.algos.get(symbol)
        if algo is None:
            return
        try:
            actions = handler(algo, self.now())
        except Exception:
            self.trouble(algo)
            return
        self.perform(algo, actions)

    def perform(self, algo: ScalpAlgo, actions: Sequence[Action]) -> None:
        """Send what the risk rules allow."""
        rules = self.risk.rules
        if rules is None:
            self.carry_out(algo, actions)
        else:
            self.carry_out(algo, self.risk.allowed(algo, actions, rules))
            self.risk.watch(algo, rules)

    def carry_out(self, algo: ScalpAlgo, actions: Sequence[Action]) -> None:
        self.is_sending = True
        decided_at = self.now() if actions else 0
        for action in actions:
            if isinstance(action, SubmitOrder) and not action.is_exit:
                self.reservation.buy_waits(action.client_order_id)
            try:
                self._send(action)
            except Exception:
                self.trouble(algo)  # the other actions go all the same
        self.is_sending = False
        self.reckon(algo)
        self.record.decided(actions, decided_at)
        self.bus.settle()

    def reckon(self, algo: ScalpAlgo) -> None:
        """Note what `algo` may need now: requests, and when its exit plan is to be driven."""
        ledger = algo.ledger
        is_idle = algo.order is None and algo.state is TO_BUY and not ledger.open_orders and ledger.position >= 0
        if is_idle and not self.reservation.holds_for(algo):
            self.exit_times.forget(algo.symbol)
            return
        self.exit_times.note(algo, self.now())
        self.reservation.reckon(algo)

    def trouble(self, algo: ScalpAlgo) -> None:
        """A bug in one algo must not stop the others, nor its own exits; it buys nothing more."""
        self.notes.exception("%s: an event could not be handled: no more buys in this symbol", algo.symbol)
        self.bus.deliver()
        algo.entry_blocks.block("trouble", "an event could not be handled")
