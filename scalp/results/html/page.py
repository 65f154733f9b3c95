"""The page itself: one string, with the data and the plotting library inside."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape as escaped
from pathlib import Path
from typing import TextIO

import msgspec

from scalp.net.printable import printable
from scalp.results.html.contents import Cell, Report, Table
from scalp.results.html.payload import payload

HERE = Path(__file__).parent

# The browser itself keeps the page from reaching any network, whatever is written in it.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="quiet">{subtitle}</p>
</header>
<main>
{verdict}{notes}{numbers}<p id="trouble" class="note" hidden></p>
<noscript><p class="note">The charts and the table of trades need JavaScript.</p></noscript>
<section>
<div class="bar">
<h2>Chart</h2>
<span class="controls">
<label>Symbol <select id="symbol"></select></label>
<label>Day <select id="day"></select></label>
<button id="before" type="button" aria-label="the day before">&lsaquo;</button>
<button id="after" type="button" aria-label="the day after">&rsaquo;</button>
</span>
</div>
<p class="quiet"><span id="chosen"></span> Drag to zoom, double-click to see all again. <span id="stops"></span></p>
<div id="candles" class="chart tall"></div>
</section>
<section hidden>
<h2>Days</h2>
<p class="quiet">Net of each day, in dollars. A click shows it in the chart.</p>
<div id="calendar"></div>
</section>
<section>
<h2>Profit and drawdown</h2>
<p class="quiet">All symbols together, in dollars, after fees.</p>
<div id="equity" class="chart"></div>
</section>
<section class="row">
<div class="small">
<h2>Hold times</h2>
<p class="quiet">Trades by the time from the first share bought to the last one sold.</p>
<div id="holds" class="chart low"></div>
</div>
<div class="small">
<h2>Hours</h2>
<p class="quiet">Net by the hour of the entry, New York.</p>
<div id="hours" class="chart low"></div>
</div>
<div class="small">
<h2>Exit reasons</h2>
<p class="quiet">Net by what ended the trade.</p>
<div id="reasons" class="chart low"></div>
</div>
<div class="small">
<h2>Markouts</h2>
<p class="quiet">How far the last trade was above the entry's, or the exit's, price so many seconds after it.</p>
<div id="markouts" class="chart low"></div>
</div>
</section>
<section>
<div class="bar">
<h2>Trades</h2>
<label><input id="only" type="checkbox"> only those of the chart</label>
</div>
<p class="quiet"><span id="count"></span> Times are New York's. A click on a heading sorts; one on a row,
or Enter on it, zooms to the trade in the chart.</p>
<div class="wide"><table id="trades"><thead></thead><tbody></tbody></table></div>
<button id="more" type="button" hidden></button>
</section>
{tables}{assumptions}{versions}</main>
<script type="text/plain" id="data">{data}</script>
<script type="text/plain" id="library">{library}</script>
<script>
{js}</script>
</body>
</html>
"""


def write_html(report: Report, out: TextIO) -> None:
    """Write the page; `out` should be UTF-8. The same report gives the same bytes."""
    out.write(
        _PAGE.format(
            policy=POLICY,
            title=escape(report.title),
            subtitle=escape(report.subtitle),
            css=(HERE / "report.css").read_text("utf-8"),
            verdict=f'<p class="verdict">{escape(report.verdict)}</p>\n' if report.verdict else "",
            notes="".join(f'<p class="note">{escape(note)}</p>\n' for note in report.notes),
            numbers=_numbers(report.numbers) + _more(report.more_numbers),
            tables="".join("".join(_table(table)) for table in report.tables),
            assumptions=_listed("Assumptions", report.assumptions),
            versions=_listed("Versions", report.versions),
            data=_packed(msgspec.json.encode(payload(report))),
            library=_library(),
            js=(HERE / "report.js").read_text("utf-8"),
        )
    )


def escape(text: str) -> str:
    """For the page, also what a browser would obey without any markup."""
    return escaped(printable(text))


@cache
def _library() -> str:
    # Imported here: only who wants a page pays for the plotting library.
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return _packed(get_plotlyjs().encode())


def _packed(data: bytes) -> str:
    """Compressed, as base64: a third of the size, and nothing in it can end a script element."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _numbers(numbers: Sequence[tuple[str, str]]) -> str:
    if not numbers:
        return ""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n" for name, value in numbers)
    return f'<dl class="numbers">\n{items}</dl>\n'


def _more(numbers: Sequence[tuple[str, str]]) -> str:
    return f"<details>\n<summary>More numbers</summary>\n{_numbers(numbers)}</details>\n" if numbers else ""


def _table(table: Table) -> Iterator[str]:
    yield f"<section>\n<h2>{escape(table.title)}</h2>\n"
    yield from (f'<p class="quiet">{escape(remark)}</p>\n' for remark in table.remarks)
    yield '<div class="wide"><table class="sortable">\n<thead><tr>'
    yield from (f"<th>{escape(name)}</th>" for name in table.head)
    yield "</tr></thead>\n<tbody>\n"
    for row in table.rows:
        yield "<tr>"
        for cell in row:
            if isinstance(cell, Cell):
                value = "" if cell.value is None else f"{cell.value!r}"
                yield f'<td class="number" data-value="{escape(value)}">{escape(cell.text)}</td>'
            else:
                yield f"<td>{escape(cell)}</td>"
        yield "</tr>\n"
    yield "</tbody>\n</table></div>\n</section>\n"


def _listed(title: str, facts: Mapping[str, object]) -> str:
    if not facts:
        return ""
    told = "".join(f"<dt>{escape(name)}</dt><dd>{_value(value)}</dd>\n" for name, value in facts.items())
    return f'<section>\n<h2>{escape(title)}</h2>\n<dl class="facts">\n{told}</dl>\n</section>\n'


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return "<ul>" + "".join(f"<li>{escape(str(one))}</li>" for one in value) + "</ul>"
    return escape(f"{value:g}" if isinstance(value, float) else str(value))
