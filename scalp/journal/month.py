"""What a month has brought so far, by the journal."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path


def net_of_month(path: Path, venue: str, host: str, date: dt.date) -> tuple[Decimal, int] | None:
    """Net dollars of the round trips of the days of this month before `date`, and how many sessions these days had.

    None: the journal cannot be read.
    """
    place = (venue, host, date.replace(day=1).isoformat(), date.isoformat())
    where = "venue = ? AND host = ? AND date >= ? AND date < ?"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)) as journal:
            (net,) = journal.execute(f"SELECT total(net) FROM trades WHERE {where}", place).fetchone()
            (days,) = journal.execute(f"SELECT count(DISTINCT date) FROM runs WHERE {where}", place).fetchone()
    except (sqlite3.Error, ValueError):
        return None
    return Decimal(repr(float(net))), int(days)
