"""A copy of the journal while it is written, and letting go of old sessions."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from scalp.cli.private import make_private
from scalp.core.errors import UserError
from scalp.journal.schema import SCHEMA_VERSION
from scalp.journal.writer import LOCK_PATIENCE, JournalError, connect


def back_up(connection: sqlite3.Connection, path: Path, target: Path) -> int:
    """Copy the journal at `path` as it is at one moment, whoever is writing it; returns the bytes of the copy.

    An earlier copy is replaced once the new one is whole. Raises UserError.
    """
    if target.is_dir():
        raise UserError(f"--backup {target}: it is a folder, name a file in it")
    if target.exists():
        if target.samefile(path):
            raise UserError(f"--backup {target}: it is the journal itself, name another file")
        if not _is_journal(target):
            raise UserError(f"--backup {target}: there is a file that is no journal, name another")
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        make_private(part)
        with closing(sqlite3.connect(part)) as copy:
            connection.backup(copy)
        os.replace(part, target)
        return target.stat().st_size
    except OSError as error:
        raise UserError(f"--backup {target}: cannot be written ({error.strerror})") from None
    except sqlite3.Error as error:
        raise UserError(f"--backup {target}: cannot be written ({error})") from None


def _is_journal(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            return 0 < version <= SCHEMA_VERSION and bool(connection.execute("PRAGMA table_info(runs)").fetchall())
    except sqlite3.Error:
        return False


def drop_before(path: Path, date: dt.date) -> Counter[str]:
    """Delete the runs of sessions before `date`; returns how many there were at each venue.

    The newest run at each venue stays: it may be under way, on a simulated day of long ago. A bot may go on writing: it
    waits for a run to be deleted, not for all. Raises UserError.
    """
    try:
        with closing(connect(path)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {LOCK_PATIENCE * 1000:.0f}")
            old = connection.execute(
                "SELECT id, venue FROM runs WHERE date < ? AND id NOT IN (SELECT max(id) FROM runs GROUP BY venue)",
                (date.isoformat(),),
            ).fetchall()
            tables = connection.execute(
                "SELECT t.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' "
                "AND c.name = 'run'"
            ).fetchall()
            for run, _ in old:
                connection.execute("BEGIN IMMEDIATE")
                for (table,) in tables:
                    # The run's name is a column of `runs` too.
                    if table != "runs":
                        connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
                connection.execute("DELETE FROM runs WHERE id = ?", (run,))
                connection.execute("COMMIT")
            if old:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return Counter(venue for _, venue in old)
    except (JournalError, sqlite3.Error) as error:
        raise UserError(f"{path} cannot be written: {error}") from None
