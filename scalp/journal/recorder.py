"""Keeping the journal of one session: the facts it begins with, and which events become rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import structs

from scalp.cli.identity import average_window, fingerprint, parameters
from scalp.cli.settings import Endpoints, Settings, is_loopback
from scalp.cli.versions import versions
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import Session
from scalp.core.events import (
    BarHeard,
    DayRecalled,
    Event,
    FeesCharged,
    HistoryHeard,
    OrderDecided,
    OrderFailed,
    OrderMoved,
    OrderReported,
    OrderSent,
    OrdersListed,
    Plotted,
    PositionTaken,
    SessionSet,
    TripSeen,
)
from scalp.core.fees import Rates
from scalp.core.fleet import Fleet
from scalp.journal.schema import SCHEMA_VERSION
from scalp.journal.writer import Journal, JournalError, JournalHandler, OtherVersion

log = logging.getLogger("scalp.journal")


class Recorder:
    """`now` is exchange time (ns), None before it is known. Without a journal the bot trades all the same."""

    def __init__(self, settings: Settings, endpoints: Endpoints, now: Callable[[], int | None]) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._now = now
        self._journal: Journal | None = None
        self._handler: JournalHandler | None = None

    def begin(self, fleet: Fleet, algo_class: type[ScalpAlgo], run: str, session: Session) -> None:
        """Open the journal, if there is to be one, and have `fleet` and the log report everything to it from now on."""
        settings = self._settings
        if settings.journal is None:
            return
        url = urlsplit(self._endpoints.trading_url)
        is_simulated = is_loopback(url.hostname or "")
        facts = {
            "run": run,
            "venue": "simulated" if is_simulated else "live" if settings.is_live else "paper",
            "host": url.netloc,
            "date": session.date.isoformat(),
            "open": session.open,
            "close": session.close,
            "started_at": self._now(),
            "symbols": settings.symbols,
            "lot": settings.lot,
            "algo": _algo_name(settings.algo, algo_class),
            "feed": self._endpoints.feed,
            "options": {
                "on_exit": settings.on_exit,
                "wait": settings.wait,
                "speed": settings.speed,
                "rails": str(settings.risk_limits) if settings.risk_limits else "",
                "fees": {"name": settings.fees.name, **_plain(settings.fees.on(session.date))},
                "net_exit": settings.net_exit,
                "set": settings.given,
                "parameters": parameters(algo_class),
                "source": fingerprint(algo_class),
                "average": average_window(algo_class),
            },
            "versions": versions(),
        }
        if (journal := self._opened(settings.journal, facts)) is None:
            return
        self._journal = journal
        journal.rates = settings.fees.on(session.date)
        fleet.bus.listen(partial(record, journal))
        self._handler = JournalHandler(journal, self._now)
        logging.getLogger("scalp").addHandler(self._handler)

    def _opened(self, path: Path, facts: dict[str, Any]) -> Journal | None:
        """The journal at `path`, or a new one beside it where that one is of a form that cannot be written."""
        secrets = (*self._endpoints.secrets, *self._settings.secrets)
        try:
            try:
                return Journal(path, facts, secrets)
            except OtherVersion as error:
                beside = path.with_name(f"{path.stem}-v{SCHEMA_VERSION}{path.suffix}")
                log.warning("journal: %s: %s; a new one is begun, %s", path, error, beside)
                return Journal(beside, facts, secrets)
        except JournalError as error:
            log.warning("no journal: %s: %s", path, error)
            return None

    def end(self) -> None:
        """After this everything is on disk, or a warning says that it is not."""
        if self._journal is None or self._handler is None:
            return
        logging.getLogger("scalp").removeHandler(self._handler)
        self._journal.close(self._now())


def record(journal: Journal, event: Event) -> None:
    """A listener: turns `event` into rows."""
    if write := _ROWS_OF.get(type(event)):
        write(journal, event)


def _history(journal: Journal, event: HistoryHeard) -> None:
    for bar in event.bars:
        journal.bar(bar, event.at, is_history=True)


def _listed(journal: Journal, event: OrdersListed) -> None:
    for report in event.reports:
        journal.snapshot(report, event.at)


def _day_recalled(journal: Journal, event: DayRecalled) -> None:
    by_id = {order.id: order for order in event.orders}
    for order in event.orders:
        journal.update(order, event.at)
    for execution in event.executions:
        journal.recall(execution, by_id.get(execution.order_id))


def _fees(journal: Journal, event: FeesCharged) -> None:
    for fee in event.fees:
        journal.fee(fee, event.at)


_ROWS_OF: dict[type, Callable[[Journal, Any], None]] = {
    BarHeard: lambda journal, told: journal.bar(told.bar, told.at),
    HistoryHeard: _history,
    OrderReported: lambda journal, told: journal.update(told.report, told.at),
    OrderMoved: lambda journal, told: journal.moved(told),
    OrderDecided: lambda journal, told: journal.action(told.action, told.at),
    OrderSent: lambda journal, told: journal.sent(told.action, told.at),
    OrdersListed: _listed,
    DayRecalled: _day_recalled,
    FeesCharged: _fees,
    TripSeen: lambda journal, told: journal.trip(told),
    PositionTaken: lambda journal, told: journal.position(told.symbol, told.qty, told.entry_price, told.at),
    OrderFailed: lambda journal, told: journal.rejection(told.symbol, told.key, told.kind, told.why, told.at),
    Plotted: lambda journal, told: journal.plot(told.symbol, told.at, told.name, told.value),
    SessionSet: lambda journal, told: journal.session(told.session),
}


def _plain(rates: Rates) -> dict[str, str]:
    """The fees of the day, exact, as `Run.fees` reads them."""
    return {name: f"{value:f}" for name, value in structs.asdict(rates).items()}


def _algo_name(spec: str, algo_class: type[ScalpAlgo]) -> str:
    """The class as `--algo` takes it, from whatever folder."""
    where, _, name = spec.rpartition(":")
    if where.endswith(".py"):
        return f"{Path(where).resolve()}:{name}"
    module = algo_class.__module__
    return spec or f"{'main' if module == '__main__' else module}:{algo_class.__qualname__}"
