"""How soon the page of 10,000 trades can be used: `python -m benchmarks.page`. Beside an empty page, in Chromium.

Each page is opened by a browser of its own, as a reader does: a second opening would find the library compiled. Nobody
is attached to the page while it opens, for a debugger doubles the time: it tells its marks in its title.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from benchmarks.exchange import symbols
from benchmarks.table import median, print_table, quantile
from scalp.core.clock import NEW_YORK, nanoseconds
from scalp.core.market_data import Bar
from scalp.core.trades import RoundTrip
from scalp.core.units import MINUTE, SECOND
from scalp.results.html import DaySum, Report, write_html
from tests.browser import FLAGS, missing

DAYS, SYMBOLS, A_DAY = 250, 8, 5  # 10,000 trades: so many a symbol and day
BARS = 330  # of each symbol and day: minutes that traded
ROUNDS, LONG = 3, 11
CALM = 2.0  # seconds in which a browser that has just started comes to rest
PATIENCE = 30.0  # seconds for anything the browser does
MARKS = {"tables and calendar": "listed", "chart too": "drawn"}  # what can be used: report.js's mark of it
TELLS = "marks "  # so the title of a page begins that was drawn
SCRIPT = f"""<script>
setInterval(() => {{
  if (document.body.dataset.state === "drawn") document.title = "{TELLS}" + {list(MARKS.values())}
    .map((name) => performance.getEntriesByName(name)[0].startTime).join(" ");
}}, 100);
</script>
"""
FLOOR = "an empty page"


def report_of(days: int) -> Report:
    """Made up: prices that go up and down, trades at regular times."""
    dates = [date for n in range(2 * days) if (date := dt.date(2024, 1, 2) + dt.timedelta(days=n)).weekday() < 5][:days]
    opens = [nanoseconds(dt.datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK)) for day in dates]
    bars = {symbol: [bar for opened in opens for bar in _bars(symbol, opened)] for symbol in symbols(SYMBOLS)}
    trades = sorted(
        (_trade(symbol, opened, n) for opened in opens for symbol in bars for n in range(A_DAY)),
        key=lambda trade: trade.entry_time,
    )
    sums = [DaySum(day, (-1.0) ** n * (n % 9), SYMBOLS * A_DAY) for n, day in enumerate(dates)]
    return Report(f"{len(trades)} trades", "", bars, trades, days=sums, average=20)


def _bars(symbol: str, opened: int) -> list[Bar]:
    prices = [round(100 + (n * 37 % 101) / 100, 2) for n in range(BARS + 1)]
    return [
        Bar(symbol, opened + n * MINUTE, first, max(first, last) + 0.01, min(first, last) - 0.01, last, 900.0)
        for n, (first, last) in enumerate(pairwise(prices))
    ]


def _trade(symbol: str, opened: int, n: int) -> RoundTrip:
    bought, profit = opened + (25 + n * 60) * MINUTE, Decimal(n * 7 % 5 - 2)
    entry = Decimal("100.50")
    sold = bought + (30 + n * 97) * SECOND
    reason = ("sell", "stop", "liquidation")[n % 3]
    return RoundTrip(symbol, Decimal(10), bought, entry, sold, entry + profit / 10, profit, reason)


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """The address at which Chromium tells of its pages."""
    flags = (*FLAGS, "--remote-debugging-port=0", "--window-size=1400,900", f"--user-data-dir={profile}")
    with subprocess.Popen(["chromium", *flags, "about:blank"], stderr=subprocess.DEVNULL) as process:
        try:
            port = profile / "DevToolsActivePort"
            number = until(lambda: port.read_text().partition("\n")[0] if port.exists() else None)
            yield f"http://127.0.0.1:{number}"
        finally:
            process.terminate()


def until(told: Callable[[], str | None]) -> str:
    """What `told` returns as soon as that is anything."""
    end = time.monotonic() + PATIENCE
    while not (found := told()):
        assert time.monotonic() < end, "the browser does not answer"
        time.sleep(0.1)
    return found


def opened(page: Path) -> dict[str, float]:
    """Seconds from the opening of the file until each of `MARKS`."""
    folder = tempfile.TemporaryDirectory(prefix="scalp-benchmark-", ignore_cleanup_errors=True)
    with folder as profile, browser(Path(profile)) as address:
        time.sleep(CALM)
        request = urllib.request.Request(f"{address}/json/new?{page.as_uri()}", method="PUT")
        urllib.request.urlopen(request).close()

        def title() -> str | None:
            with urllib.request.urlopen(f"{address}/json/list") as answer:
                titles = [tab["title"] for tab in json.load(answer) if tab["url"] == page.as_uri()]
            return next((text for text in titles if text.startswith(TELLS)), None)

        times = [float(ms) / 1000 for ms in until(title).removeprefix(TELLS).split()]
    return dict(zip(MARKS, times, strict=True))


def report(rounds: int, days: int = DAYS) -> None:
    full = report_of(days)
    pages = {FLOOR: Report("Empty", "", {}, ()), full.title: full}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in pages}
    with tempfile.TemporaryDirectory(prefix="scalp-benchmark-") as name:
        files = {title: Path(name, f"{number}.html") for number, title in enumerate(pages)}
        for title, of in pages.items():
            with files[title].open("w", encoding="utf-8") as out:
                write_html(of, out)
                out.write(SCRIPT)
        for _ in range(rounds):
            for title, file in files.items():
                times[title].append(opened(file))
    rows: list[list[object]] = []
    for what in MARKS:
        base = median([one[what] for one in times[FLOOR]])
        for title, found in times.items():
            taken = [one[what] for one in found]
            rows.append(
                [f"{title}: {what}", len(taken), median(taken), quantile(taken, 0.99), f"{median(taken) / base:.2f}x"]
            )
    print_table("A page that is opened, until there are its .., s", ["what", "n", "median", "p99", "ratio"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG} rounds instead of {ROUNDS}")
    args = parser.parse_args(argv)
    if absent := missing():
        print(f"the page is not measured: {absent}")
        return 0
    report(LONG if args.long else ROUNDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
