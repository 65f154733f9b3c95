"""Every set of parameters that was ever tried on the same bars, with what it came to by day: `trials.sqlite`.

The best of many is good by luck, so what was tried before counts when one is chosen. It is kept in the user's state
folder, by the bars (their contents), the terms (fills, costs) and the set (class, source, parameters).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from scalp.cli.paths import state_file
from scalp.cli.private import make_private
from scalp.core.market_data import Bar

FILE = "trials.sqlite"
_TABLE = """
CREATE TABLE IF NOT EXISTS trials (
    bars TEXT NOT NULL,        -- fingerprint of days, symbols and bars
    terms TEXT NOT NULL,       -- what they were played under, as JSON
    algo TEXT NOT NULL,        -- module and name of the class
    source TEXT NOT NULL,      -- fingerprint of its source
    parameters TEXT NOT NULL,  -- as JSON, the lot among them
    daily TEXT NOT NULL,       -- dollars after fees, a day each, as JSON
    PRIMARY KEY (bars, terms, algo, source, parameters)
)
"""


class Trial(Struct, frozen=True):
    """One set, and its net of each day, oldest first, in dollars."""

    algo: str
    source: str
    parameters: Mapping[str, Any]
    daily: Sequence[Decimal]


def fingerprint(market: Mapping[str, Sequence[Bar]]) -> str:
    """Of one day's bars, whatever the order of the symbols."""
    kept = [(symbol, market[symbol]) for symbol in sorted(market) if market[symbol]]
    return hashlib.sha256(msgspec.msgpack.encode(kept)).hexdigest()


def fingerprint_of_days(days: Iterable[tuple[dt.date, str]]) -> str:
    """Of dates and the fingerprints of their bars."""
    return hashlib.sha256(json.dumps([(str(date), bars) for date, bars in days]).encode()).hexdigest()


def remember(bars: str, terms: Mapping[str, Any], trials: Iterable[Trial]) -> list[list[float]]:
    """Keep `trials`; returns the daily nets of all ever kept on these bars under these terms, the present ones first.

    Where the file is unavailable, the present ones alone: a choice is then made as if nothing had been tried before.
    """
    now = {_key(trial): [float(net) for net in trial.daily] for trial in trials}
    path = state_file(FILE)
    found = {} if path is None else _exchanged(path, bars, json.dumps(terms, sort_keys=True), now)
    return [*now.values(), *(daily for key, daily in found.items() if key not in now)]


def _key(trial: Trial) -> tuple[str, str, str]:
    return trial.algo, trial.source, json.dumps(trial.parameters, sort_keys=True, default=str)


def _exchanged(
    path: Path, bars: str, terms: str, now: Mapping[tuple[str, str, str], list[float]]
) -> dict[tuple[str, str, str], list[float]]:
    """Write those of `now`; returns all that the file holds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private(path)
        with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
            connection.execute(_TABLE)
            rows = [(bars, terms, *key, json.dumps(daily)) for key, daily in now.items()]
            connection.executemany("INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?)", rows)
            select = "SELECT algo, source, parameters, daily FROM trials WHERE bars = ? AND terms = ? ORDER BY rowid"
            return {(algo, source, own): json.loads(daily) for algo, source, own, daily
                    in connection.execute(select, (bars, terms))}  # fmt: skip
    except (OSError, sqlite3.Error, ValueError):
        return {}
