"""Reading the journal: a day of it, as the backtest's results know days."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, convert, structs

from scalp.cli.risk_options import limits_from
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import Session, new_york
from scalp.core.commands import SubmitOrder
from scalp.core.decimals import ZERO
from scalp.core.errors import UserError
from scalp.core.fees import ALPACA, FeeSchedule, Rates
from scalp.core.ledger import Ledger
from scalp.core.market_data import Bar
from scalp.core.order_state import LOST, REFUSED, Order
from scalp.core.orders import BUY, OrderReport
from scalp.core.prices import exact
from scalp.core.risk_limits import RiskLimits
from scalp.core.trades import Fill
from scalp.core.units import MINUTE
from scalp.core.words import counted
from scalp.journal.schema import SCHEMA_VERSION, UPDATE_COLUMNS, UPDATE_FIELDS, MigrationFailed, prepare
from scalp.results.symbol_day import SymbolDay, profit_path, regular

_EXACT = {"qty", "filled_qty", "filled_avg_price", "limit_price", "price", "execution_qty", "stop_price"}
ENDINGS = {"lost": LOST, "gone": LOST}  # all other kinds were refused


class Run(Struct, frozen=True):
    """One process that traded this day; times in ns (exchange). `ended_at` is None for one that was killed."""

    id: int
    run: str
    venue: Literal["simulated", "paper", "live"]
    host: str
    date: dt.date
    open: int
    close: int
    started_at: int
    ended_at: int | None
    symbols: tuple[str, ...]
    lot: Decimal
    algo: str
    feed: str
    options: dict[str, Any]
    versions: dict[str, str]
    lost: int

    @property
    def risk_limits(self) -> RiskLimits:
        return limits_from(str(self.options.get("rails") or ""))

    @property
    def average(self) -> int | None:
        """Closes in the average that its signal looks at; None: it looks at none."""
        if "average" not in self.options and self.algo.endswith("scalp.algo:ScalpAlgo"):
            return int(dict(self.options.get("parameters") or {}).get("window", ScalpAlgo.window))
        average = self.options.get("average")
        return None if average is None else int(average)

    @property
    def fees(self) -> FeeSchedule:
        """The fees that net is after; a run from before there were fees has Alpaca's."""
        told = dict(self.options.get("fees") or {})
        if not (name := str(told.pop("name", ""))):
            return ALPACA
        return FeeSchedule(name, ((self.date, Rates(**{kind: Decimal(text) for kind, text in told.items()})),))


class SeenBar(Struct, frozen=True):
    """A bar, when the bot saw it, and whether it was fetched afterwards."""

    bar: Bar
    at: int
    is_history: bool


class Saying(Struct, frozen=True):
    """A line of the bot's; `who` is a symbol or a part of the bot."""

    at: int
    who: str
    level: str
    text: str


class Rejection(Struct, frozen=True):
    """An order (`key`: one of its ids) that came to nothing."""

    at: int
    symbol: str
    key: str
    kind: str
    why: str


class JournaledDay:
    """One session: the runs of a day on one account, taken together. `symbols`: only these; none: all of them."""

    def __init__(self, connection: sqlite3.Connection, runs: Sequence[Run], symbols: Sequence[str] = ()) -> None:
        self.runs = list(runs)
        last = self.runs[-1]
        self.session = Session(last.date, last.open, last.close)
        known = list(dict.fromkeys(symbol for run in runs for symbol in run.symbols))
        if unknown := [symbol for symbol in symbols if symbol not in known]:
            raise UserError(f"{', '.join(unknown)} did not trade on {last.date}: there are {', '.join(known)}")
        self.symbols = tuple(symbols) or tuple(known)
        self._connection = connection
        self._ids = ", ".join(str(run.id) for run in runs)
        self._fill_notes: list[str] = []

    # Read when they are first asked for.

    @cached_property
    def seen(self) -> dict[str, list[SeenBar]]:
        """By symbol, in the order in which they came."""
        seen: dict[str, list[SeenBar]] = {symbol: [] for symbol in self.symbols}
        columns = "at, is_history, symbol, start, open, high, low, close, volume"
        for at, is_history, *row in self._rows(f"SELECT {columns} FROM bars"):
            bar = Bar(*row)
            if bar.symbol in seen and None not in row:
                seen[bar.symbol].append(SeenBar(bar, at, bool(is_history)))
        return seen

    @cached_property
    def sayings(self) -> list[Saying]:
        """What the bot said, except bars."""
        rows = self._rows("SELECT at, who, level, text FROM decisions")
        return [Saying(at or 0, who, level, text) for at, who, level, text in rows]

    @cached_property
    def rejections(self) -> list[Rejection]:
        """Those of these symbols."""
        rows = self._rows("SELECT at, symbol, key, kind, why FROM rejections")
        return [Rejection(*row) for row in rows if row[1] in self.symbols]

    @cached_property
    def plots(self) -> dict[str, dict[str, dict[int, float]]]:
        """By symbol and name: what the algo plotted, value by start of the bar."""
        plots: dict[str, dict[str, dict[int, float]]] = {symbol: {} for symbol in self.symbols}
        if self._connection.execute("PRAGMA table_info(plots)").fetchone():  # an older file has no such table
            for symbol, start, name, value in self._rows("SELECT symbol, start, name, value FROM plots"):
                if symbol in plots:
                    plots[symbol].setdefault(str(name), {})[start] = value
        return plots

    @cached_property
    def ledgers(self) -> dict[str, Ledger]:
        """By symbol, from what the bot sent and what was reported to it."""
        return self._replay(self._updates)

    @cached_property
    def fills(self) -> dict[str, list[Fill]]:
        """By symbol, oldest first. A change of the position without a reported fill becomes one, with a note."""
        return self._read_fills(self._updates)

    @property
    def notes(self) -> list[str]:
        """What of it is not as it seems."""
        assert self.fills is not None  # reading them makes their notes
        lacking = [
            f"the journal lacks {counted(run.lost, 'entry', 'entries')} of run {run.run}"
            for run in self.runs
            if run.lost
        ]
        differ = len({run.risk_limits for run in self.runs}) > 1
        limits = ["its runs had different risk limits: a backtest of it has those of the last one"] if differ else []
        return [*self._fill_notes, *lacking, *limits]

    @property
    def facts(self) -> Run:
        """The newest run, which stands for the others."""
        return self.runs[-1]

    @property
    def fees(self) -> FeeSchedule:
        """Of the newest run."""
        return self.facts.fees

    def bars(self, symbol: str) -> list[Bar]:
        """The regular session's bars, as they were first seen, oldest first; those fetched fill the gaps."""
        first: dict[int, SeenBar] = {}
        for seen in self.seen[symbol]:
            known = first.get(seen.bar.start)
            if known is None or (known.is_history and not seen.is_history):
                first[seen.bar.start] = seen
        return regular((first[start].bar for start in sorted(first)), self.session)

    def orders(self, symbol: str) -> list[Order]:
        """Everything that is known of its orders in the end, the oldest first."""
        return sorted(self.ledgers[symbol], key=lambda order: order.submitted_at)

    def days(self) -> Iterator[SymbolDay]:
        """The day of each symbol, as a backtest gives it."""
        for symbol in self.symbols:
            bars, fills = self.bars(symbol), self.fills[symbol]
            yield SymbolDay(
                symbol=symbol,
                session=self.session,
                minutes=len(bars),
                fills=fills,
                orders=self.orders(symbol),
                path=profit_path(bars, fills) if bars else [],
                last_price=exact(bars[-1].close) if bars else None,
                plots=self.plots[symbol],
                first_price=exact(bars[0].open) if bars else None,
            )

    def charged(self) -> dict[str, Decimal]:
        """Dollars that the broker took for this day, by kind, as far as they were reported to any run."""
        facts = self.facts
        rows = self._connection.execute(
            "SELECT DISTINCT f.id, f.kind, f.amount FROM fees f JOIN runs r ON r.id = f.run "
            "WHERE f.date = ? AND r.venue = ? AND r.host = ? ORDER BY f.rowid",
            (facts.date.isoformat(), facts.venue, facts.host),
        )
        found: dict[str, Decimal] = {}
        for _, kind, amount in rows:
            found[kind] = found.get(kind, ZERO) + Decimal(amount)
        return found

    def was_running(self, at: int) -> bool:
        """Whether some run was under way; one that was killed, until its last entry."""
        return any(started_at <= at <= ended_at for started_at, ended_at in self._spans)

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return [(run.started_at, self._end_of(run)) for run in self.runs]

    def _end_of(self, run: Run) -> int:
        if run.ended_at is not None:
            return run.ended_at
        (last,) = self._connection.execute("SELECT max(at) FROM decisions WHERE run = ?", (run.id,)).fetchone()
        (bar,) = self._connection.execute("SELECT max(at) FROM bars WHERE run = ?", (run.id,)).fetchone()
        # What a killed run had no time to write down, the next run has read.
        (order,) = self._connection.execute(
            f"SELECT max(submitted_at) FROM updates WHERE run IN ({self._ids}) AND client_order_id LIKE ?",
            (f"scalp-%-{run.run}-%",),
        ).fetchone()
        return max(last or 0, bar or 0, order or 0, run.started_at)

    # -- reading ------------------------------------------------------------------------------------------------------

    def _rows(self, select: str, where: str = "1") -> Iterator[tuple[Any, ...]]:
        """In the order in which it was written, all runs."""
        return self._connection.execute(f"{select} WHERE run IN ({self._ids}) AND {where} ORDER BY run, rowid")

    @cached_property
    def _updates(self) -> list[tuple[int, OrderReport]]:
        updates = []
        for at, *values in self._rows(f"SELECT at, {', '.join(UPDATE_COLUMNS)} FROM updates"):
            fields = dict(zip(UPDATE_FIELDS, values, strict=True))
            exact = {name: Decimal(text) for name in _EXACT if (text := fields[name]) is not None}
            report = OrderReport(**(fields | exact))
            if report.symbol in self.symbols:
                updates.append((at, report))
        return updates

    def _replay(self, updates: Iterable[tuple[int, OrderReport]]) -> dict[str, Ledger]:
        ledgers = {symbol: Ledger(symbol) for symbol in self.symbols}
        columns = "at, symbol, action, client_order_id, side, qty, type, limit_price, stop_price"
        cancels = []
        for at, symbol, action, key, side, qty, kind, *prices in self._rows(f"SELECT {columns} FROM orders"):
            if symbol not in ledgers:
                continue
            if action == "cancel":
                cancels.append((at, symbol, key))
            elif ledgers[symbol].find(key) is None:
                limit, stop = (None if price is None else Decimal(price) for price in prices)
                ledgers[symbol].add_in_flight(SubmitOrder(symbol, key, side, int(qty), kind, limit, stop), at)
        for _, report in updates:
            ledgers[report.symbol].apply(report)
        for rejection in self.rejections:
            order = ledgers[rejection.symbol].find(rejection.key)
            if order is not None and (not order.id or rejection.kind == "gone"):
                ledgers[rejection.symbol].end(order, ENDINGS.get(rejection.kind, REFUSED))
        for at, symbol, key in cancels:
            if (order := ledgers[symbol].find(key)) is not None:
                order.cancel_sent_at = at
        return ledgers

    def _read_fills(self, updates: Iterable[tuple[int, OrderReport]]) -> dict[str, list[Fill]]:
        executions = _executions(updates)
        fills: dict[str, list[Fill]] = {symbol: [] for symbol in self.symbols}
        booked: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)  # order id -> shares written down as its fills
        held: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        columns = "run, at, symbol, side, qty, price, type, id, position, happened_at, source"
        rows = [(run, at, symbol, Decimal(position), (side, Decimal(qty), Decimal(price), kind, key, happened_at or at))
                for run, at, symbol, side, qty, price, kind, key, position, happened_at, _
                in self._rows(f"SELECT {columns} FROM fills")]  # fmt: skip
        lacking = Counter(symbol for (symbol,) in self._rows("SELECT symbol FROM fills", "source != ''"))
        for symbol, count in lacking.items():
            if symbol in fills:
                noun, verb = ("fill", "is") if count == 1 else ("fills", "are")
                told = f"{count} {noun} that the bot did not write down {verb} from the broker's activities"
                self._fill_notes.append(f"{symbol}: {told}")
        marks = [(run, at, symbol, Decimal(qty), None if price is None else Decimal(price))
                 for run, at, symbol, qty, price
                 in self._rows("SELECT run, at, symbol, qty, entry_price FROM positions")]  # fmt: skip
        keys: defaultdict[str, list[str]] = defaultdict(list)
        for _, at, symbol, position, what in sorted([*rows, *marks], key=lambda row: row[:2]):
            if symbol not in fills:
                continue
            if isinstance(what, tuple):
                side, qty, price, kind, key, happened_at = what
                fills[symbol].append(Fill(symbol, side, qty, price, happened_at, kind))
                keys[symbol].append(key)
                booked[key] += qty
                held[symbol] += qty if side == BUY else -qty
            elif held[symbol] != position:
                moved = position - held[symbol]
                side = "buy" if moved > 0 else "sell"
                price = what if what and moved > 0 else self._close_at(symbol, at)
                self._fill_notes.append(
                    f"{symbol}: {side} of {abs(moved):f} at {new_york(at):%H:%M:%S} that the bot did not see, reckoned "
                    f"at {price:f}"
                )
                fills[symbol].append(Fill(symbol, side, abs(moved), price, at, "unseen"))
                keys[symbol].append("")
                held[symbol] = position
        return {symbol: _exact(fills[symbol], keys[symbol], booked, executions) for symbol in fills}

    def _close_at(self, symbol: str, at: int) -> Decimal:
        """The last close by `at`, or the first one after it where there is none."""
        bars = self.bars(symbol)
        past = [bar for bar in bars if bar.start + MINUTE <= at]
        return Decimal(repr((past or bars)[-1 if past else 0].close)) if bars else ZERO


def open_journal(path: Path) -> sqlite3.Connection:
    """For reading; the bot may go on writing. Raises UserError."""
    try:
        if not path.is_file():
            raise UserError(f"there is no journal at {path}: main.py writes one, --journal PATH names another")
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=10)
        connection.isolation_level = None
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if 0 < version < SCHEMA_VERSION:
            prepare(connection, path)
            version = SCHEMA_VERSION
        connection.execute("PRAGMA query_only = ON")
    except MigrationFailed as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its name and permissions") from None
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read as a journal: {error}") from None
    if version != SCHEMA_VERSION:
        connection.close()
        raise UserError(f"{path} is no journal of this version of the program")
    return connection


def sessions(connection: sqlite3.Connection) -> list[list[Run]]:
    """All sessions, each with its runs, in the order in which they were written.

    A run goes on with the session of an earlier one if it is of the same day at the same place and began later, by the
    exchange's time. A simulated day that is played again is a new session. Raises ValueError or TypeError for a run
    that no bot has written so.
    """
    found: list[list[Run]] = []
    newest: dict[tuple[str, str, dt.date], list[Run]] = {}
    names = [name for name in Run.__struct_fields__]
    for row in connection.execute(f"SELECT {', '.join(names)} FROM runs ORDER BY id"):
        fields = dict(zip(names, row, strict=True))
        run = convert(fields | {name: json.loads(fields[name]) for name in ("symbols", "options", "versions")}, Run)
        place = (run.venue, run.host, run.date)
        known = newest.get(place)
        if known is not None and run.started_at > known[-1].started_at:
            known.append(run)
        else:
            newest[place] = [run]
            found.append(newest[place])
    return found


def read_day(
    connection: sqlite3.Connection, date: dt.date | None = None, symbols: Sequence[str] = (), venue: str = ""
) -> JournaledDay:
    """The newest session, of `date` and at `venue` if they are given. Raises UserError where there is none."""
    everything = sessions(connection)
    wanted = [runs for runs in everything if date in (None, runs[0].date) and venue in ("", runs[0].venue)]
    if not wanted:
        days = sorted({f"{runs[0].date} ({runs[0].venue})" for runs in everything})
        raise UserError("no such session in the journal: there are " + (", ".join(days[-10:]) or "none"))
    newest = max(wanted, key=lambda runs: runs[-1].id)
    return JournaledDay(connection, newest, symbols)


def _executions(updates: Iterable[tuple[int, OrderReport]]) -> dict[str, dict[str, OrderReport]]:
    """Order id -> its executions as the stream reported them, by execution id."""
    executions: dict[str, dict[str, OrderReport]] = {}
    for _, report in updates:
        if report.execution_id and report.price is not None and report.execution_qty and report.at is not None:
            executions.setdefault(report.id, {})[report.execution_id] = report
    return executions


def _exact(
    fills: Sequence[Fill],
    keys: Sequence[str],
    booked: dict[str, Decimal],
    executions: dict[str, dict[str, OrderReport]],
) -> list[Fill]:
    """Fills at the times and prices of their executions, where the stream reported all of an order's."""
    exact: list[Fill] = []
    done: set[str] = set()
    for fill, key in zip(fills, keys, strict=True):
        reports = list(executions.get(key, {}).values())
        if not reports or sum((r.execution_qty or ZERO for r in reports), ZERO) != booked[key]:
            exact.append(fill)
        elif key not in done:
            done.add(key)
            for report in reports:
                assert report.execution_qty is not None and report.price is not None and report.at is not None
                exact.append(structs.replace(fill, qty=report.execution_qty, price=report.price, at=report.at))
    return sorted(exact, key=lambda fill: fill.at)
