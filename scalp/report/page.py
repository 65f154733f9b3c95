"""Sessions of the journal as one page with charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import structs

from scalp.backtest.html import report_of
from scalp.core.errors import UserError
from scalp.core.log import BLOCKED  # the journal keeps the log's lines
from scalp.core.market_data import Bar
from scalp.journal.reader import ENDINGS, JournaledDay
from scalp.report import speed
from scalp.report.drift import Drift
from scalp.results.html import Cell, Stopped, Table, write_html
from scalp.results.totals import Results


def write_page(
    days: Sequence[JournaledDay],
    results: Results,
    links: Sequence[speed.Link],
    title: str,
    subtitle: str,
    notes: Sequence[str],
    path: Path,
    drift: Drift | None = None,
) -> None:
    """The page of `days`, oldest first, in the file `path`. Raises UserError where that cannot be written."""
    bars: dict[str, list[Bar]] = {}
    for day in days:
        for symbol in day.symbols:
            bars.setdefault(symbol, []).extend(day.bars(symbol))
    facts = days[-1].facts
    told = {"notes": list(notes)} if notes else {}
    page = report_of(results, bars, title, subtitle, told, facts.versions, average=facts.average)
    stopped = [one for day in days for one in _stopped(day)]
    beside = [drift.table()] if drift else []
    tables = [*beside, *page.tables, *_speed(links)]
    page = structs.replace(page, stopped=stopped, markouts=speed.markouts(links), tables=tables)
    try:
        with path.open("w", encoding="utf-8", newline="\n") as out:
            write_html(page, out)
    except OSError as error:
        raise UserError(f"--html {path}: cannot be written ({error.strerror})") from None


def _speed(links: Sequence[speed.Link]) -> Iterator[Table]:
    """The table of what each link from a fill to its sell took."""
    head = ("from a fill to its sell", "trades", "median ms", "99 % within ms", "cents a share")
    rows: list[Sequence[Cell | str]] = [
        (
            link.name,
            Cell(str(link.count), link.count),
            *(Cell("" if ms is None else f"{ms:,.2f}", ms) for ms in (link.median, link.p99)),
            Cell("-" if link.moved is None else f"{link.moved:+.2f}", link.moved),
        )
        for link in links
    ]
    if rows:
        remark = "Cents: the last trade then above the entry, or the exit, price, on average."
        yield Table("What speed earned", head, rows, [remark])


def _stopped(day: JournaledDay) -> Iterator[Stopped]:
    """The orders that were rejected, and the signals that bought nothing."""
    for rejection in day.rejections:
        why = f"{rejection.kind}: {rejection.why}" if rejection.kind in ENDINGS else rejection.why
        yield Stopped(rejection.symbol, rejection.at, "rejected", why)
    for saying in day.sayings:
        if saying.who in day.symbols and saying.text.startswith(BLOCKED):
            yield Stopped(saying.who, saying.at, "blocked", saying.text.removeprefix(BLOCKED))
