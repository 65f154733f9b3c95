"""The form of a journal, and bringing an older one to it."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from scalp.cli.private import make_private
from scalp.core.fees import ALPACA
from scalp.core.orders import OrderReport

SCHEMA_VERSION = 2

# Useful to the running bot only; a leg is reported by itself.
_UNWRITTEN = ("closes", "canceled_at", "parent_client_id", "legs")
UPDATE_FIELDS = tuple(name for name in OrderReport.__struct_fields__ if name not in _UNWRITTEN)
# "at" is the journal's own word for when the bot learned of it.
UPDATE_COLUMNS = tuple("happened_at" if name == "at" else name for name in UPDATE_FIELDS)

# What the fills of each round trip do not show. Prices are those of the last trade, NULL where none was seen.
ADDED_IN_2 = """
CREATE TABLE trips (
    run INTEGER NOT NULL, symbol TEXT NOT NULL,
    entered_at INTEGER NOT NULL,  -- `at` of the first fill, or when a run that started found the shares
    exit_reason TEXT,             -- NULL: it was still held
    signal_price REAL,            -- the last trade as the buy was decided
    signal_at INTEGER,            -- when the buy was sent
    received_price REAL,          -- as the last fill of the buy was learned of
    decided_at INTEGER,                                -- the first sell
    sent_at INTEGER, sent_price REAL,
    acknowledged_at INTEGER, acknowledged_price REAL,  -- by the broker
    low REAL, high REAL,          -- of the last trades while it was held
    entry_1 REAL, entry_5 REAL, entry_30 REAL, entry_60 REAL,  -- so many seconds after the entry
    exit_1 REAL, exit_5 REAL, exit_30 REAL, exit_60 REAL,      -- after the exit
    UNIQUE (symbol, entered_at, run)  -- the newest row is kept
);
CREATE TABLE fees (
    run INTEGER NOT NULL, at INTEGER NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
    amount TEXT NOT NULL,         -- dollars that the broker took
    date TEXT NOT NULL,           -- of the trades, in New York
    UNIQUE (run, id)
);
CREATE VIEW trades AS
WITH timed AS (
    SELECT f.*, f.rowid AS row, coalesce(f.happened_at, f.at) AS happened, r.date AS date, r.venue AS venue,
        r.host AS host, CASE f.side WHEN 'buy' THEN 1 ELSE -1 END * CAST(f.qty AS REAL) AS signed
    FROM fills f JOIN runs r ON r.id = f.run
), held AS (
    SELECT *, round(sum(signed) OVER w, 9) AS after, round(sum(signed) OVER w - signed, 9) AS before,
        row_number() OVER w AS number
    FROM timed WINDOW w AS (PARTITION BY venue, host, date, symbol ORDER BY happened, run, row)
), numbered AS (
    SELECT *, sum(before = 0) OVER (PARTITION BY venue, host, date, symbol ORDER BY number) AS trip FROM held
), sums AS (
    SELECT venue, host, date, symbol, trip, min(happened) AS entry_time, max(happened) AS exit_time,
        min(at) AS entered_at, max(at) AS left_at, min(run) AS run,
        sum(CASE side WHEN 'buy' THEN CAST(qty AS REAL) ELSE 0 END) AS bought,
        sum(CASE side WHEN 'buy' THEN CAST(qty AS REAL) * CAST(price AS REAL) ELSE 0 END) AS paid,
        sum(CASE side WHEN 'sell' THEN CAST(qty AS REAL) ELSE 0 END) AS sold,
        sum(CASE side WHEN 'sell' THEN CAST(qty AS REAL) * CAST(price AS REAL) ELSE 0 END) AS taken,
        sum(CAST(coalesce(fees, 0) AS REAL)) AS fees, max(source) AS source,
        max(CASE side WHEN 'buy' THEN at END) AS received_at,
        max(CASE side WHEN 'buy' THEN happened END) AS filled_at,
        substr(max(CASE side WHEN 'sell' THEN printf('%019d %s %s', happened, type, client_order_id) END), 21) AS sale
    FROM numbered GROUP BY venue, host, date, symbol, trip HAVING abs(sum(signed)) < 1e-9
), seen AS (
    SELECT t.*, r.venue AS venue, r.host AS host, r.date AS date FROM trips t JOIN runs r ON r.id = t.run
)
SELECT s.date, s.venue, s.host, s.run, s.symbol, s.bought AS qty, s.entry_time, s.paid / s.bought AS entry_price,
    s.exit_time, s.taken / s.sold AS exit_price, round(s.taken - s.paid, 6) AS gross, round(s.fees, 9) AS fees,
    round(s.taken - s.paid - s.fees, 9) AS net, coalesce(max(t.exit_reason),
        CASE WHEN s.sale LIKE 'limit scalp-%' THEN 'limit' WHEN s.sale LIKE 'stop%' THEN 'stop at broker' END
    ) AS exit_reason,  -- sold while no run was there to see why
    round((min(t.low) - s.paid / s.bought) * s.bought, 6) AS mae,
    round((max(t.high) - s.paid / s.bought) * s.bought, 6) AS mfe,
    round(s.paid / s.bought - max(t.signal_price), 6) AS slippage,
    max(t.signal_price) AS signal_price, max(t.signal_at) AS signal_at,
    max(t.entry_1) AS entry_1, max(t.entry_5) AS entry_5, max(t.entry_30) AS entry_30, max(t.entry_60) AS entry_60,
    max(t.exit_1) AS exit_1, max(t.exit_5) AS exit_5, max(t.exit_30) AS exit_30, max(t.exit_60) AS exit_60,
    s.filled_at, s.received_at, max(t.received_price) AS received_price, max(t.decided_at) AS decided_at,
    max(t.sent_at) AS sent_at, max(t.sent_price) AS sent_price,
    max(t.acknowledged_at) AS acknowledged_at, max(t.acknowledged_price) AS acknowledged_price, s.source
FROM sums s LEFT JOIN seen t ON t.venue = s.venue AND t.host = s.host AND t.date = s.date AND t.symbol = s.symbol
    AND t.entered_at BETWEEN s.entered_at AND s.left_at  -- of a trip that outlived a run, each run has a row
WHERE s.bought > 0 AND s.sold > 0
GROUP BY s.venue, s.host, s.date, s.symbol, s.trip;
"""

# Made where it is missing, in a file of this version too.
PLOTS = """
CREATE TABLE IF NOT EXISTS plots (
    run INTEGER NOT NULL, symbol TEXT NOT NULL, start INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL
)"""

SCHEMA = f"""
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,          -- in the client order ids of this run
    venue TEXT NOT NULL,        -- simulated, paper or live
    host TEXT NOT NULL,
    date TEXT NOT NULL,         -- of the session, in New York
    open INTEGER NOT NULL,
    close INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,           -- NULL: it runs, or was killed
    symbols TEXT NOT NULL,      -- JSON
    lot TEXT NOT NULL,
    algo TEXT NOT NULL,
    feed TEXT NOT NULL,
    options TEXT NOT NULL,      -- JSON
    versions TEXT NOT NULL,     -- JSON
    lost INTEGER NOT NULL DEFAULT 0  -- rows that found no room
);
CREATE TABLE bars (
    run INTEGER NOT NULL, at INTEGER NOT NULL, is_history INTEGER NOT NULL, symbol TEXT NOT NULL,
    start INTEGER NOT NULL, open REAL, high REAL, low REAL, close REAL, volume REAL
);
CREATE TABLE decisions (
    run INTEGER NOT NULL, at INTEGER, who TEXT NOT NULL, level TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE orders (
    run INTEGER NOT NULL, at INTEGER NOT NULL, symbol TEXT NOT NULL, action TEXT NOT NULL,  -- submit, sent, cancel
    client_order_id TEXT NOT NULL, id TEXT, side TEXT, qty TEXT, type TEXT, limit_price TEXT,
    stop_price TEXT
);
CREATE TABLE updates (
    run INTEGER NOT NULL, at INTEGER NOT NULL, {", ".join(UPDATE_COLUMNS)}
);
CREATE TABLE fills (
    run INTEGER NOT NULL, at INTEGER NOT NULL, happened_at INTEGER, symbol TEXT NOT NULL, side TEXT NOT NULL,
    qty TEXT NOT NULL, price TEXT NOT NULL, type TEXT NOT NULL, id TEXT, client_order_id TEXT,
    position TEXT NOT NULL,     -- after it (0 where the source is the activities)
    fees TEXT,                  -- dollars, exact, before a day's rounding
    source TEXT NOT NULL DEFAULT ''  -- "activities": the broker told of it later, no run wrote it down
);
CREATE TABLE positions (
    run INTEGER NOT NULL, at INTEGER NOT NULL, symbol TEXT NOT NULL, qty TEXT NOT NULL, entry_price TEXT
);
CREATE TABLE rejections (
    run INTEGER NOT NULL, at INTEGER NOT NULL, symbol TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, why TEXT
);
{ADDED_IN_2}
{PLOTS};
CREATE INDEX bars_run ON bars (run);
CREATE INDEX decisions_run ON decisions (run);
CREATE INDEX orders_run ON orders (run);
CREATE INDEX updates_run ON updates (run);
CREATE INDEX fills_run ON fills (run);
CREATE INDEX positions_run ON positions (run);
CREATE INDEX rejections_run ON rejections (run);
"""


class MigrationFailed(Exception):
    """The file has another form, and cannot be brought to this one; the text says why."""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Give the file at `path` this form, in one transaction: a new one, or an older one after a copy beside it.

    Raises MigrationFailed, sqlite3.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version in (0, SCHEMA_VERSION):
        if version == 0:
            _run(connection, SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute(PLOTS)
        connection.execute("COMMIT")
        return
    connection.execute("ROLLBACK")
    if not 0 < version < SCHEMA_VERSION:
        raise MigrationFailed(f"it has the form of another version of this program ({version})")
    try:
        _copy(connection, path.with_name(f"{path.name}.v{version}"))
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute("PRAGMA user_version").fetchone() == (version,):  # nobody was faster
                _migrate(connection)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    except (OSError, sqlite3.Error, ValueError, ArithmeticError) as error:
        raise MigrationFailed(f"it is of an earlier version ({version}) and cannot be brought to this one: {error}"
                              ) from None  # fmt: skip


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        connection.execute(statement)


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """The file as it is, beside it; a copy that is there already stays."""
    if path.exists():
        return
    make_private(path)
    with closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)


def _migrate(connection: sqlite3.Connection) -> None:
    """From 1: fills have fees, by Alpaca's rates of their day; there are stops, trips and the broker's fees."""
    connection.execute("ALTER TABLE fills ADD COLUMN fees TEXT")
    connection.execute("ALTER TABLE orders ADD COLUMN stop_price TEXT")
    connection.execute("ALTER TABLE updates ADD COLUMN stop_price")
    connection.execute("ALTER TABLE updates ADD COLUMN parent_id")
    connection.execute("ALTER TABLE fills ADD COLUMN source TEXT NOT NULL DEFAULT ''")
    fills = connection.execute(
        "SELECT f.rowid, r.date, f.side, f.qty, f.price FROM fills f JOIN runs r ON r.id = f.run"
    ).fetchall()
    for row, date, side, qty, price in fills:
        charged = ALPACA.on(dt.date.fromisoformat(date)).of(side, Decimal(qty), Decimal(price))
        connection.execute("UPDATE fills SET fees = ? WHERE rowid = ?", (f"{charged.total:f}", row))
    _run(connection, ADDED_IN_2)
    connection.execute(PLOTS)
