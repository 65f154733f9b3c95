"""When the exit plans are to be driven: the next checkup may be half a minute away."""

from __future__ import annotations

from collections.abc import Callable

from scalp.core.algo import ScalpAlgo


class ExitTimes:
    def __init__(self) -> None:
        self.on_sooner: Callable[[], None] = lambda: None  # called when a plan is due earlier than all before
        self._due: dict[str, int] = {}  # by symbol, exchange time, ns

    @property
    def next_at(self) -> int:
        """When the next exit plan is to be driven (exchange time, ns); 0: none is."""
        return min(self._due.values(), default=0)

    def due(self, now: int) -> list[str]:
        """Symbols whose time has come."""
        return [symbol for symbol, at in self._due.items() if at <= now]

    def put_off(self, symbol: str, at: int) -> None:
        self._due[symbol] = at

    def forget(self, symbol: str) -> None:
        self._due.pop(symbol, None)

    def note(self, algo: ScalpAlgo, now: int) -> None:
        """Ask `algo` again; what is due by now stays due until it is driven, whatever else happens first."""
        if self._due.get(algo.symbol, now + 1) <= now:
            return
        due = algo.due_at(now)
        if not due:
            self._due.pop(algo.symbol, None)
            return
        self._set(algo.symbol, due)

    def hasten(self, symbol: str, due: int) -> None:
        """Drive `symbol` at `due`; an earlier time stands, however often this is called."""
        if symbol not in self._due or due < self._due[symbol]:
            self._set(symbol, due)

    def _set(self, symbol: str, due: int) -> None:
        is_next = not self._due or due < self.next_at
        self._due[symbol] = due
        if is_next:
            self.on_sooner()
