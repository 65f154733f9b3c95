"""The journal: what a session saw, decided and did, in SQLite.

The loop only puts a row into a queue, after the actions of an event are out; a thread of its own writes the rows, a
few times a second, all that are waiting in one transaction. In WAL mode a reader never waits for the bot nor the bot
for a reader, and what is committed survives the end of the process, whatever ends it.

Times are exchange time in ns since the epoch, UTC; `at` is when the bot learned or decided something. Prices and
quantities of orders are exact, as text. No key is ever in here. scalp/journal/reader.py reads it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from scalp.cli.private import make_private
from scalp.core.clock import Session
from scalp.core.commands import Action, CancelOrder, SubmitOrder
from scalp.core.events import MARKOUTS, BarHeard, OrderMoved, TripSeen
from scalp.core.fees import FREE
from scalp.core.log import event_of
from scalp.core.market_data import Bar
from scalp.core.orders import OrderReport
from scalp.core.ports import Execution, FeeCharged
from scalp.journal.schema import UPDATE_FIELDS, MigrationFailed, prepare
from scalp.net.printable import Mask

log = logging.getLogger("scalp.journal")

MOST_WAITING = 250_000  # rows; more are dropped rather than kept in memory
BATCH = 2_000  # rows a transaction
LONGEST_TEXT = 10_000  # characters
LINGER = 0.1  # seconds that rows may wait for others: what a killed process loses
CLOSE_PATIENCE = 5.0  # seconds for the last rows at the end
OPEN_PATIENCE = 2.0  # seconds for another process's transaction while opening: the session waits for that
LOCK_PATIENCE = 60.0  # the same while writing: only the thread waits


def _insert(table: str, count: int) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * count)})"


_BAR = _insert("bars", 10)
_DECISION = _insert("decisions", 5)
_ORDER = _insert("orders", 11)
_UPDATE = _insert("updates", 2 + len(UPDATE_FIELDS))
_FILL = _insert("fills", 13)
# Unless the fills of its order include it: `?11` is what the order had filled with it.
_RECALL = """
INSERT INTO fills (run, at, happened_at, symbol, side, qty, price, type, id, client_order_id, position, fees, source)
SELECT coalesce((SELECT max(id) FROM runs WHERE id IN ({runs}) AND started_at <= ?2), ?1), ?2, ?2, ?3, ?4, ?5, ?6,
    coalesce((SELECT type FROM updates WHERE id = ?8 AND run IN ({runs}) LIMIT 1), ?7), ?8,
    coalesce((SELECT client_order_id FROM updates WHERE id = ?8 AND run IN ({runs}) LIMIT 1), ?9), '0', ?10,
    'activities'
WHERE (SELECT coalesce(sum(CAST(qty AS REAL)), 0) FROM fills WHERE id = ?8 AND run IN ({runs})) < ?11 - 1e-9
"""
_TRIP = _insert("trips", 22).replace("INSERT", "INSERT OR REPLACE")
_FEE = _insert("fees", 6).replace("INSERT", "INSERT OR IGNORE")
_POSITION = _insert("positions", 5)
_PLOT = _insert("plots", 5)
_REJECTION = _insert("rejections", 6)


Row = tuple[str, Sequence[Any]]  # a statement and its values


class JournalError(Exception):
    """The file cannot be a journal; the text says why."""


class OtherVersion(JournalError):
    """The file is a journal of another form: a new one can be made beside it."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the journal at `path`, made if there is none. Raises JournalError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(path)  # what SQLite adds beside it has the same mode
        connection = sqlite3.connect(path, timeout=OPEN_PATIENCE, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise JournalError(str(error)) from None
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        prepare(connection, path)
    except MigrationFailed as error:
        connection.close()
        raise OtherVersion(str(error)) from None
    except sqlite3.Error as error:
        connection.close()
        raise JournalError(str(error)) from None
    return connection


class Journal:
    """One run. Every method returns at once and never raises; `close` waits until the last row is on disk."""

    def __init__(self, path: Path, facts: Mapping[str, Any], secrets: Iterable[str] = ()) -> None:
        """`facts` are columns of `runs`; `secrets` must not appear in any text. Raises JournalError."""
        self._connection = connect(path)
        try:
            columns, marks = ", ".join(facts), ", ".join("?" * len(facts))
            self.mask = Mask(secrets)
            values = [self._plain(value) for value in facts.values()]
            cursor = self._connection.execute(f"INSERT INTO runs ({columns}) VALUES ({marks})", values)
        except sqlite3.Error as error:
            self._connection.close()
            raise JournalError(str(error)) from None
        assert cursor.lastrowid is not None
        self._connection.execute(f"PRAGMA busy_timeout = {LOCK_PATIENCE * 1000:.0f}")
        self._run = cursor.lastrowid
        self.rates = FREE  # the fees of the day
        self._recall = _RECALL.format(runs=", ".join(str(run) for run in self._runs_so_far(facts)))
        self._filled: dict[str, tuple[Decimal, Decimal | None]] = {}  # order id -> its totals so far
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._lost = 0
        self._is_closing = threading.Event()
        self._is_broken = False
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def _runs_so_far(self, facts: Mapping[str, Any]) -> list[int]:
        """This run and those of the same session before it: see `scalp.journal.reader.sessions`."""
        place = [facts[name] for name in ("venue", "host", "date")]
        rows = self._connection.execute(
            "SELECT id, started_at FROM runs WHERE venue = ? AND host = ? AND date = ? ORDER BY id DESC", place
        ).fetchall()
        runs = rows[:1]
        for run in rows[1:]:
            if run[1] >= runs[-1][1]:
                break
            runs.append(run)
        return [run for run, _ in runs]

    # -- what is reported ---------------------------------------------------------------------------------------------

    def bar(self, bar: Bar, at: int, *, is_history: bool = False) -> None:
        self._put(_BAR, (self._run, at, is_history, bar.symbol, bar.start,
                         bar.open, bar.high, bar.low, bar.close, bar.volume))  # fmt: skip

    def session(self, session: Session) -> None:
        """The session, or a change of it."""
        self._put("UPDATE runs SET open = ?, close = ? WHERE id = ?", (session.open, session.close, self._run))

    def said(self, at: int | None, who: str, level: str, text: str) -> None:
        """A line of the log: every change of state with its cause, every signal that bought nothing and why."""
        self._put(_DECISION, (self._run, at, who, level, text))

    def action(self, action: Action, at: int) -> None:
        """What was decided at `at`; an order may have to wait until it is `sent`."""
        if isinstance(action, SubmitOrder):
            self._submit("submit", action, at)
        elif isinstance(action, CancelOrder):
            self._put(_ORDER, (self._run, at, action.symbol, "cancel", action.client_order_id, action.id,
                               None, None, None, None, None))  # fmt: skip

    def sent(self, action: SubmitOrder, at: int) -> None:
        self._submit("sent", action, at)

    def update(self, report: OrderReport, at: int) -> None:
        """A report of an order, whatever it changed."""
        self._put(_UPDATE, (self._run, at, *(getattr(report, name) for name in UPDATE_FIELDS)))

    def snapshot(self, report: OrderReport, at: int) -> None:
        """An order that was listed at the start: what it filled so far is in the position already."""
        self.update(report, at)
        if report.filled_qty:
            self._filled[report.id] = (report.filled_qty, report.filled_avg_price)

    def moved(self, order: OrderMoved) -> None:
        """Write down as a fill what was moved, if anything."""
        known = self._filled.get(order.id)
        if known is not None and known[0] == order.filled_qty:
            return
        self._filled[order.id] = (order.filled_qty, order.filled_avg_price)
        report, qty = order.report, abs(order.moved)
        if not qty:
            return  # it was in the position already
        price = report.price
        if (price is None or report.execution_qty != qty) and order.filled_avg_price is not None:
            old_qty, old_price = known or (Decimal(0), None)
            spent = order.filled_qty * order.filled_avg_price - old_qty * (old_price or Decimal(0))
            price = spent / qty if order.filled_qty - old_qty == qty else order.filled_avg_price
        price = price or order.limit_price or Decimal(0)
        self._put(_FILL, (self._run, order.at, report.at, order.symbol, order.side, qty, price, order.type, order.id,
                          order.client_order_id, order.position, self._fees(order.side, qty, price), ""))  # fmt: skip

    def _fees(self, side: str, qty: Decimal, price: Decimal) -> Decimal:
        return self.rates.of(side, qty, price).total

    def recall(self, execution: Execution, order: OrderReport | None) -> None:
        """An execution of today: if no run has written it down, it is added to the run in which it happened."""
        if execution.price is None:
            return
        kind, client_id = ("limit", "") if order is None else (order.type, order.client_order_id)
        fees = self._fees(execution.side, execution.qty, execution.price)
        self._put(self._recall, (self._run, execution.at, execution.symbol, execution.side, execution.qty,
                                 execution.price, kind, execution.order_id, client_id, fees,
                                 float(execution.cumulative)))  # fmt: skip

    def fee(self, fee: FeeCharged, at: int) -> None:
        """A fee that the broker took."""
        self._put(_FEE, (self._run, at, fee.id, fee.kind, fee.amount, fee.date))

    def trip(self, trip: TripSeen) -> None:
        """What was seen of a round trip beside its fills; it replaces what was reported of it before."""
        entries, exits = ([after.get(seconds) for seconds in MARKOUTS] for after in (trip.entry, trip.exit))
        self._put(_TRIP, (self._run, trip.symbol, trip.entered_at, trip.reason or None, trip.signal_price,
                          trip.signal_at, trip.received_price, trip.decided_at, trip.sent_at, trip.sent_price,
                          trip.acknowledged_at, trip.acknowledged_price, trip.low, trip.high,
                          *entries, *exits))  # fmt: skip

    def position(self, symbol: str, qty: Decimal, entry_price: Decimal | None, at: int) -> None:
        """The position, after something other than a fill moved it."""
        self._put(_POSITION, (self._run, at, symbol, qty, entry_price))

    def plot(self, symbol: str, start: int, name: str, value: float) -> None:
        """What the algo's class gave for a line of its own at the bar of `start`."""
        self._put(_PLOT, (self._run, symbol, start, name, value))

    def rejection(self, symbol: str, key: str, kind: str, why: str, at: int) -> None:
        """An order that came to nothing: "refused" by the broker or on the way there, "lost", "gone", ..."""
        self._put(_REJECTION, (self._run, at, symbol, key, kind, why))

    def close(self, at: int | None) -> None:
        """The run is over at `at`; waits for the writing of what is left, for at most 5 s."""
        self._put("UPDATE runs SET ended_at = ?, lost = ? WHERE id = ?", (at, self._lost, self._run))
        self._rows.put(None)
        self._is_closing.set()
        self._thread.join(CLOSE_PATIENCE)
        if self._thread.is_alive():
            log.warning("the journal's last entries are not on disk: it takes too long")
        if self._lost:
            log.warning("the journal lacks %d entries", self._lost)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _submit(self, what: str, action: SubmitOrder, at: int) -> None:
        self._put(_ORDER, (self._run, at, action.symbol, what, action.client_order_id, None, action.side, action.qty,
                           action.type, action.limit_price, action.stop_price))  # fmt: skip

    def _put(self, sql: str, values: Sequence[Any]) -> None:
        if self._is_broken:
            return
        if self._rows.qsize() >= MOST_WAITING:
            self._lost += 1
            if self._lost == 1:
                log.warning("the journal cannot keep up: entries are dropped")
            return
        self._rows.put((sql, values))

    def _write(self) -> None:
        """The thread: everything that is waiting, a transaction at a time, until None says that nothing more comes."""
        is_over = False
        try:
            while not is_over:
                batch = [self._rows.get()]
                if self._rows.qsize() < BATCH:
                    self._is_closing.wait(LINGER)
                with contextlib.suppress(queue.Empty):
                    while len(batch) < BATCH:
                        batch.append(self._rows.get_nowait())
                is_over = batch[-1] is None
                self._write_rows(row for row in batch if row is not None)
        except sqlite3.Error as error:
            # A full disk, a file taken away: the bot trades on.
            self._is_broken = True
            log.warning("the journal cannot be written any more: %s", error)
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()

    def _write_rows(self, rows: Iterable[Row]) -> None:
        self._connection.execute("BEGIN")
        for sql, values in rows:
            try:
                self._connection.execute(sql, [self._plain(value) for value in values])
            except (OverflowError, ValueError, sqlite3.IntegrityError, sqlite3.ProgrammingError):
                self._lost += 1  # a broker's nonsense that no column takes: a time beyond all years, half a character
        self._connection.execute("COMMIT")

    def _plain(self, value: Any) -> Any:
        """What SQLite takes: without a key, and of a readable length."""
        if isinstance(value, Decimal):
            return f"{value:f}"
        if isinstance(value, Mapping | tuple | list):
            return self.mask.hide(json.dumps(value))
        return self.mask.hide(value)[:LONGEST_TEXT] if isinstance(value, str) else value


class JournalHandler(logging.Handler):
    """Writes what the bot says, except bars, into its journal. `now` is exchange time (ns), None before it is known."""

    def __init__(self, journal: Journal, now: Callable[[], int | None]) -> None:
        super().__init__(logging.INFO)
        self._journal = journal
        self._now = now

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(event_of(record), BarHeard):
            return  # journaled as such
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        except Exception:
            self.handleError(record)
            return
        if not text.isprintable():
            text = self._journal.mask.line(text, LONGEST_TEXT)
        self._journal.said(self._now(), record.name.removeprefix("scalp."), record.levelname, text)
