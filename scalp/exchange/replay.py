"""Recorded minute bars from CSV files.

A file has a header and the columns timestamp, open, high, low, close, volume, in any order; other columns are ignored.
The timestamp is the start of the minute, ISO 8601 with an offset, or without one in New York time. The symbol is in a
`symbol` column, or else in the name of the file: SYMBOL_YYYYMMDD.csv.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from difflib import get_close_matches
from math import inf
from pathlib import Path

from scalp.core.clock import NEW_YORK
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.core.prices import HIGHEST_PRICE
from scalp.core.units import MINUTE, SECOND
from scalp.exchange import kept_columns

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
FILE_NAME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)_\d{8}\.csv")
EXAMPLE = "2014-06-05 09:30:00-04:00"

Days = dict[date, dict[str, list[Bar]]]


def load(paths: Sequence[Path], symbols: Sequence[str] | None = None) -> Days:
    """The bars of the files, and of the CSV files right inside the folders, `paths`, by New York date and symbol.

    Dates are ascending, bars oldest first. `symbols` (None: all) picks some; each must occur on at least one day. Rows
    without volume are left out, as a feed sends no bar for a minute in which nothing traded. Raises UserError with
    file, line, fault and remedy for whatever cannot be read or trusted.
    """
    files = files_in(paths)
    wanted = None if symbols is None else {symbol.upper() for symbol in symbols}
    days: Days = {}
    sources: dict[tuple[date, str], Path] = {}
    seen: set[str] = set()
    for file in files:
        try:
            _read(file, wanted, seen, days, sources)
        except OSError as error:
            raise _unreadable(file, error) from None
        except UnicodeDecodeError:
            raise UserError(f"{file}: is not a text file: give CSV files of minute bars") from None
    _check_complete(paths, wanted, seen, days)
    return {day: days[day] for day in sorted(days)}


def _read(
    file: Path, wanted: set[str] | None, seen: set[str], days: Days, sources: dict[tuple[date, str], Path]
) -> None:
    """Add the bars of `file`, kept ones if it was read before. Raises OSError, UnicodeDecodeError and UserError."""
    content = file.read_bytes()
    key = kept_columns.key_of(file.name, content)
    if (kept := kept_columns.find(key)) is not None:
        bars = {place: of for place, of in kept.bars().items() if wanted is None or place[1] in wanted}
        if all(sources.get(place, file) == file for place in bars):  # else it is read again, to report where
            seen |= set(kept.symbols)
            for (day, symbol), of in bars.items():
                sources[day, symbol] = file
                days.setdefault(day, {})[symbol] = of
            return
    before, inside = len(sources), set[str]()
    with io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="") as lines:
        _File(file, lines, wanted, inside).read_into(days, sources)
    seen |= inside
    if wanted is None or inside <= wanted:
        places = itertools.islice(sources, before, None)
        kept_columns.keep(key, sorted(inside), {(day, symbol): days[day][symbol] for day, symbol in places})


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files of bars that `paths` name or hold, each once. Raises UserError."""
    files: dict[Path, Path] = {}
    for path in paths:
        try:
            for file in _named_by(path):
                files.setdefault(file.resolve(), file)
        except OSError as error:
            raise _unreadable(path, error) from None
    return list(files.values())


def _named_by(path: Path) -> list[Path]:
    if path.is_dir():
        inside = [file for file in sorted(path.iterdir()) if file.suffix == ".csv" and _holds_bars(file)]
        if not inside:
            raise UserError(f"{path}: no file of minute bars in this folder: name them like AAPL_20140605.csv")
        return inside
    if path.exists():
        return [path]
    raise UserError(f"{path}: no such file or folder: check the path")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror}): check its name and permissions")


def _holds_bars(file: Path) -> bool:
    """Whether a file found in a folder is meant: by its name, or by naming symbols and timestamps in its header."""
    if FILE_NAME.fullmatch(file.name):
        return True
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            header = _names(next(csv.reader(lines), []))
    except (OSError, csv.Error):
        return False
    return "timestamp" in header and "symbol" in header


def _names(header: list[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _check_complete(paths: Sequence[Path], wanted: set[str] | None, seen: set[str], days: Days) -> None:
    where = ", ".join(str(path) for path in paths)
    for symbol in sorted(wanted or ()):
        if not any(symbol in bars for bars in days.values()):
            near = get_close_matches(symbol, sorted(seen)) or sorted(seen)[:10]
            raise UserError(f"{where}: no minute bars of {symbol}: there is {', '.join(near) or 'nothing'}")
    if not days:
        raise UserError(f"{where}: no minute bars: give a file or folder with some")


class _File:
    """One CSV file being read; knows where it is, for the errors."""

    def __init__(self, path: Path, lines: Iterable[str], wanted: set[str] | None, seen: set[str]) -> None:
        self._path = path
        self._rows = csv.reader(lines)
        self._wanted = wanted
        self._seen = seen

    def _error(self, text: str) -> UserError:
        return UserError(f"{self._path}:{max(self._rows.line_num, 1)}: {text}")

    def read_into(self, days: Days, sources: dict[tuple[date, str], Path]) -> None:
        try:
            self._read_into(days, sources)
        except csv.Error as error:
            raise self._error(f"not CSV ({error}): save it as plain comma-separated text") from None

    def _read_into(self, days: Days, sources: dict[tuple[date, str], Path]) -> None:
        last: dict[str, int] = {}
        target: list[Bar] = []
        current: tuple[str, date] | None = None
        day, day_start, day_end = date.min, 0, 0
        for symbol, stamp, texts in self._fields():
            start = self._start(stamp)
            before = last.get(symbol, -1)
            if start <= before:
                fault = "is there twice: keep one" if start == before else "comes after a later one: sort by time"
                raise self._error(f"the minute {stamp.strip()} of {symbol} {fault}")
            last[symbol] = start
            bar = self._bar(symbol, start, texts)
            if not bar.volume:
                continue
            # The date changes once in hundreds of rows: only then is the time zone asked.
            if not day_start <= start < day_end:
                day, day_start, day_end = _new_york_day(start)
            if current != (symbol, day):
                current = (symbol, day)
                if sources.setdefault((day, symbol), self._path) != self._path:
                    other = sources[day, symbol]
                    raise self._error(f"{symbol} on {day} is in {other} as well: give each day of a symbol once")
                target = days.setdefault(day, {}).setdefault(symbol, [])
            target.append(bar)

    def _fields(self) -> Iterator[tuple[str, str, list[str]]]:
        """Of each wanted row its symbol, its time and its numbers."""
        columns, symbol_column = self._header()
        symbol = self._symbol_of_file() if symbol_column is None else ""
        if symbol_column is None and not self._is_wanted(symbol):
            return
        empty = True
        for row in self._rows:
            if not row:
                continue
            empty = False
            try:
                if symbol_column is not None:
                    symbol = row[symbol_column].strip().upper()
                stamp, *texts = [row[column] for column in columns]
            except IndexError:
                raise self._error("too few fields: every row needs as many as the header") from None
            if symbol_column is not None and not symbol:
                raise self._error("no symbol: fill in the column 'symbol'")
            if symbol_column is None or self._is_wanted(symbol):
                yield symbol, stamp, texts
        if empty:
            raise self._error("no rows below the header: give a file with minute bars")

    def _symbol_of_file(self) -> str:
        if named := FILE_NAME.fullmatch(self._path.name):
            return named[1].upper()
        raise self._error("which symbol? name the file like AAPL_20140605.csv or add a column 'symbol'")

    def _is_wanted(self, symbol: str) -> bool:
        self._seen.add(symbol)
        return self._wanted is None or symbol in self._wanted

    def _header(self) -> tuple[list[int], int | None]:
        names = _names(next(self._rows, []))
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise self._error(f"no column {', '.join(missing)} in the header: it must name {','.join(COLUMNS)}")
        return [names.index(name) for name in COLUMNS], names.index("symbol") if "symbol" in names else None

    def _start(self, text: str) -> int:
        text = text.strip()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._error(f"{text!r} is not a time: write it like {EXAMPLE}") from None
        if len(text) <= len("2014-06-05"):
            raise self._error(f"{text!r} has no time of day: give minute bars, with times like {EXAMPLE}")
        if not 1971 <= moment.year <= 2100:
            raise self._error(f"{text} is in an impossible year: correct or remove the row")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=NEW_YORK)
        start = int(moment.timestamp()) * SECOND
        if start % MINUTE or moment.microsecond:
            raise self._error(f"{text} is not the start of a minute: give minute bars, stamped with their start")
        return start

    def _bar(self, symbol: str, start: int, texts: list[str]) -> Bar:
        try:
            open_, high, low, close, volume = map(float, texts)
        except ValueError:
            raise self._number_error(texts) from None
        # Written so that a NaN fails too.
        if not (0 < low <= open_ <= high < HIGHEST_PRICE and low <= close <= high and 0 <= volume < inf):
            raise self._range_error(open_, high, low, close, volume)
        return Bar(symbol, start, open_, high, low, close, volume)

    def _number_error(self, texts: list[str]) -> UserError:
        for name, text in zip(COLUMNS[1:], texts, strict=True):
            try:
                float(text)
            except ValueError:
                return self._error(f"{name} is {text.strip()!r}: write a plain number")
        raise AssertionError("every field is a number")

    def _range_error(self, open_: float, high: float, low: float, close: float, volume: float) -> UserError:
        for name, price in zip(COLUMNS[1:5], (open_, high, low, close), strict=True):
            if not 0 < price < HIGHEST_PRICE:
                return self._error(f"{name} is {price}: a price is above 0, below {HIGHEST_PRICE:g}")
        if not 0 <= volume < inf:
            return self._error(f"volume is {volume}: it must be a number, 0 or more")
        if high < low:
            return self._error(f"high {high} is below low {low}: correct or remove the row")
        name, price = ("close", close) if low <= open_ <= high else ("open", open_)
        return self._error(f"{name} {price} is not between low {low} and high {high}: correct or remove the row")


def _new_york_day(at: int) -> tuple[date, int, int]:
    """The New York date of `at`, with its first instant and the first of the next day (ns UTC)."""
    day = datetime.fromtimestamp(at // SECOND, NEW_YORK).date()
    midnights = (datetime.combine(day + timedelta(days=more), time_of_day(), NEW_YORK) for more in (0, 1))
    start, end = (int(midnight.timestamp()) * SECOND for midnight in midnights)
    return day, start, end
