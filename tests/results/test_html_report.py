"""The HTML report: what goes in arrives, exactly and escaped, and a real browser draws it without a network."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scalp.backtest.__main__ import main
from scalp.core.clock import NEW_YORK, nanoseconds
from scalp.core.market_data import Bar
from scalp.core.trades import Holding, RoundTrip
from scalp.core.units import MINUTE, SECOND
from scalp.results.html import Cell, DaySum, Line, Markout, OrderEnd, Report, Stopped, Table, write_html
from scalp.results.html.page import _packed
from scalp.results.html.payload import MOST_POINTS, payload, wall
from tests.browser import Browser, chromium, missing

HOSTILE = "</script><img src=x onerror=alert(1)><b>&lt;"
PLAIN = HOSTILE.replace("&", "&#38;").replace("<", "&#60;").replace(">", "&#62;")  # as the charts get it
FIRST = nanoseconds(dt.datetime(2024, 3, 8, 9, 30, tzinfo=NEW_YORK))
SECOND_DAY = nanoseconds(dt.datetime(2024, 3, 11, 9, 30, tzinfo=NEW_YORK))  # the clocks changed in between
PRICES = (10.01, 10.05, 9.97, 10.0, 10.03, 10.11)


def minutes(symbol: str, opened: int, count: int, digits: int = 2) -> list[Bar]:
    """Bars that move, with minutes that did not trade."""
    bars = []
    for n in range(count):
        close = round(PRICES[n % 6] + n / 100 + 10**-digits, digits)
        open_ = round(PRICES[(n + 1) % 6] + n / 100, digits)
        start = opened + (n + n // 7) * MINUTE
        high, low = max(open_, close), round(min(open_, close) - 0.02, digits)
        bars.append(Bar(symbol, start, open_, high, low, close, 900.0))
    return bars


def trade(symbol: str, at: int, seconds: int, pnl: str, reason: str = "sell") -> RoundTrip:
    entry, profit = Decimal("10.02"), Decimal(pnl)
    return RoundTrip(symbol, Decimal(100), at, entry, at + seconds * SECOND, entry + profit / 100, profit, reason)


def report() -> Report:
    return Report(
        title=f"Backtest {HOSTILE}",
        subtitle=HOSTILE,
        bars={
            "AAPL": [*minutes("AAPL", FIRST, 60), *minutes("AAPL", SECOND_DAY, 45)],
            "PNY": minutes("PNY", FIRST, 30, digits=4),
            HOSTILE: minutes(HOSTILE, SECOND_DAY, 25),
        },
        trades=[
            trade("AAPL", FIRST + 25 * MINUTE, 90, "9.00"),
            trade("AAPL", FIRST + 30 * MINUTE, 20, "-10.00", "liquidation"),
            trade("AAPL", SECOND_DAY + 30 * MINUTE, 700, "0"),
            trade(HOSTILE, SECOND_DAY + 21 * MINUTE, 60, "100.5", HOSTILE),
        ],
        held=[Holding("PNY", FIRST + 22 * MINUTE, Decimal(10), Decimal(10), Decimal(100))],
        orders=[
            OrderEnd("AAPL", "buy", "canceled", FIRST + 40 * MINUTE, Decimal("10.10")),
            OrderEnd("AAPL", "sell", HOSTILE, FIRST + 41 * MINUTE),
        ],
        equity=[(FIRST + 26 * MINUTE, 9_000_000), (FIRST + 31 * MINUTE, -1_000_000), (SECOND_DAY + MINUTE, 99_500_000)],
        numbers=[("trades", "4"), (HOSTILE, HOSTILE)],
        tables=[
            Table(
                "Per symbol",
                ("symbol", "P/L $"),
                [("AAPL", Cell("-1.00", -1.0)), (HOSTILE, Cell("+100.50", 100.5)), ("PNY", Cell("-"))],
            )
        ],
        notes=[f"Held {HOSTILE}"],
        assumptions={"lot": 2000.0, HOSTILE: HOSTILE, "rules": ["one", HOSTILE]},
        versions={"python": HOSTILE},
        verdict=f"edge: not shown {HOSTILE}",
        average=20,
        lines=[
            Line("AAPL", "vwap", [(FIRST + n * MINUTE, 10.0 + n / 100) for n in range(60)]),
            Line("AAPL", HOSTILE, [(FIRST + n * MINUTE, 50.0 + n) for n in range(30) if n not in (7, 20)]),
        ],
        stopped=[
            Stopped("AAPL", FIRST + 45 * MINUTE, "blocked", HOSTILE),
            Stopped("AAPL", FIRST + 46 * MINUTE, "rejected", "refused: no buying power"),
        ],
        days=[DaySum(dt.date(2024, 3, 8), -1.0, 2), DaySum(dt.date(2024, 3, 11), 100.5, 2)],
        markouts=[Markout("entry", 1, -2.5), Markout("exit", 1, 0.25)],
    )


def written(of: Report) -> str:
    out = io.StringIO()
    write_html(of, out)
    return out.getvalue()


# -- the data ---------------------------------------------------------------------------------------------------------


def test_times_are_new_yorks_on_both_sides_of_a_clock_change() -> None:
    for opened in (FIRST, SECOND_DAY):
        assert dt.datetime.fromtimestamp(wall(opened) / 1000, dt.UTC).strftime("%H:%M") == "09:30"
    assert payload(report())["days"] == ["2024-03-08", "2024-03-11"]


def test_a_thinned_curve_keeps_its_extremes_and_its_end() -> None:
    points = [(FIRST + n * SECOND, (n * 7919) % 1000) for n in range(50_000)]
    points[31_337], points[17_001] = (points[31_337][0], 5_000), (points[17_001][0], -5_000)
    peak, deepest = 0, 0
    for _, total in points:
        peak = max(peak, total)
        deepest = min(deepest, total - peak)
    times, totals, drawdowns = payload(Report("", "", {}, (), equity=points))["equity"]
    assert len(times) == len(totals) == len(drawdowns) <= MOST_POINTS
    assert times == sorted(set(times)) and times[-1] == wall(points[-1][0])
    assert (max(totals), min(totals), min(drawdowns), totals[-1]) == (5_000, -5_000, deepest, points[-1][1])


def test_without_an_equity_curve_the_trades_make_one() -> None:
    trades = report().trades[1::-1]
    _, totals, drawdowns = payload(Report("", "", {}, trades))["equity"]
    assert totals == [9_000_000, -1_000_000]
    assert min(drawdowns) == -10_000_000


def test_bars_take_a_few_bytes_each() -> None:
    bars = [bar for n in range(20) for bar in minutes("AAPL", FIRST + n * 24 * 60 * MINUTE, 340)]
    assert len(_packed(msgspec.json.encode(payload(Report("", "", {"AAPL": bars}, ()))))) < 8 * len(bars)


# -- the page ---------------------------------------------------------------------------------------------------------


def test_same_report_gives_same_page_with_everything_escaped() -> None:
    page = written(report())
    assert page == written(report())
    assert HOSTILE not in page and "<img" not in page and page.count("</script>") == 3
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\';' in page
    assert not re.search(r"<link|<[a-z][^>]*\ssrc=|@import|url\(", page)


def test_the_backtest_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.html"
    assert main(["--seed", "1", "--html", str(file), "AAPL"]) == 0
    capsys.readouterr()
    page = file.read_text("utf-8")
    assert "<title>Backtest of ScalpAlgo</title>" in page and "only prints made after the order arrived count" in page
    assert main(["--seed", "1", "--html", str(tmp_path / "none" / "report.html"), "AAPL"]) == 2
    assert "--html" in capsys.readouterr().err


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if why := missing():
        pytest.skip(why)
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.resize(1280, 900)
        yield browser


@pytest.fixture
def page(window: Browser, tmp_path: Path) -> Iterator[Browser]:
    """The page of `report()`, opened from disk; at the end there must be no word on the console and no request."""
    file = tmp_path / "a report #1.html"
    file.write_text(written(report()), "utf-8")
    window.open(file)
    assert window.wait_for("return document.body.dataset.state") == "drawn"
    yield window
    assert window.console() == []
    # The browser's own empty first page is made of chrome: addresses.
    schemes = {address.split(":")[0] for address in window.requests()}
    assert schemes <= {"file", "data", "blob", "chrome"}, schemes


def count(page: Browser, selector: str) -> int:
    number: int = page.run("return document.querySelectorAll(arguments[0]).length", selector)
    return number


def marks(page: Browser) -> dict[str, int]:
    """The marks that are really drawn in the chart of candles, by name."""
    drawn: dict[str, int] = page.run("""
        const names = document.getElementById('candles')._fullData.map((trace) => [trace.uid, trace.name]);
        return Object.fromEntries([...document.querySelectorAll('#candles .trace.scatter')].map((trace) => {
            const [uid, name] = names.find(([uid]) => trace.classList.contains(`trace${uid}`));
            return [name, trace.querySelectorAll('.point').length];
        }))""")
    return drawn


def bring_into_view(page: Browser, chart: str) -> None:
    """What is below the window is drawn when it comes into view."""
    page.run("document.getElementById(arguments[0]).scrollIntoView()", chart)
    page.wait_for(f"return document.getElementById('{chart}').data !== undefined")


def axis_of(page: Browser, name: str) -> str:
    axis: str = page.run(
        "const found = document.getElementById('candles').data.find((trace) => trace.name === arguments[0]);"
        "return found.yaxis ?? 'y'", name
    )  # fmt: skip
    return axis


def seen(page: Browser) -> list[str]:
    """From when to when the chart of candles shows."""
    ends: list[str] = page.run("return document.getElementById('candles')._fullLayout.xaxis.range")
    return ends


def rows(page: Browser, table: str, column: int) -> list[str]:
    texts: list[str] = page.run(
        "return [...document.querySelectorAll(`${arguments[0]} tbody tr`)].map(r => r.cells[arguments[1]].textContent)",
        table, column,
    )  # fmt: skip
    return texts


def text(page: Browser, selector: str) -> str:
    written: str = page.run("return document.querySelector(arguments[0]).textContent", selector)
    return written


def choose(page: Browser, which: str, option: str) -> None:
    page.run(
        "const s = document.getElementById(arguments[0]);"
        "s.selectedIndex = [...s.options].findIndex(o => o.text === arguments[1]);"
        "s.dispatchEvent(new Event('change'))",
        which, option,
    )  # fmt: skip


def test_the_charts_are_drawn(page: Browser) -> None:
    assert count(page, "#candles .boxlayer path.box") == 60
    drawn = marks(page)
    assert drawn["entry"] == 2 and drawn["exit"] == 1 and drawn["liquidation"] == 1 and drawn["canceled"] == 2
    assert drawn["signal blocked"] == 1 and drawn["order rejected"] == 1
    assert page.run("return document.querySelector('#candles .scatterlayer .js-line').getTotalLength()") > 40
    # The average and what lies among the prices are drawn over them, the other line has an axis below.
    assert [axis_of(page, name) for name in ("20-bar average", "vwap", PLAIN)] == ["y", "y", "y2"]
    # Minute 7 did not trade, 20 did: the line has a gap there.
    below = page.run("return document.getElementById('candles').data.find((trace) => trace.yaxis === 'y2').y")
    assert below == [*range(50, 57), *range(58, 70), None, *range(71, 80)]
    bring_into_view(page, "equity")
    assert count(page, "#equity .scatterlayer .js-line") == 2
    bring_into_view(page, "holds")
    heights = page.run("return [...document.querySelectorAll('#holds .bars .point path')].map(p => p.getBBox().height)")
    assert sum(height > 5 for height in heights) == 3  # four trades, two of them winners of one to two minutes
    for width in (1280, 500):  # nothing hangs out of the page
        page.resize(width, 900)
        page.wait_for("return document.documentElement.scrollWidth <= innerWidth")
    page.resize(1280, 900)


def test_what_is_out_of_view_is_not_drawn_before_it_is_seen_or_printed(page: Browser) -> None:
    drawn = "return [...document.querySelectorAll('.chart')].filter((box) => box.data).map((box) => box.id)"
    assert "candles" in page.run(drawn) and "markouts" not in page.run(drawn)
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run(drawn) == ["candles", "equity", "holds", "hours", "reasons", "markouts"]


def test_the_page_reads_the_very_prices(page: Browser) -> None:
    for symbol, place, day, opened in (("AAPL", 0, 0, FIRST), ("AAPL", 0, 1, SECOND_DAY), ("PNY", 1, 0, FIRST)):
        columns: dict[str, list[Any]] = page.run("return bars(arguments[0], arguments[1])", place, day)
        bars_in = [bar for bar in report().bars[symbol] if 0 <= bar.start - opened < 24 * 60 * MINUTE]
        assert columns["time"] == [wall(bar.start) for bar in bars_in]
        for name in ("open", "high", "low", "close"):
            assert columns[name] == [getattr(bar, name) for bar in bars_in]
    closes = [bar.close for bar in report().bars["AAPL"][:60]]
    averages = page.run("return average(arguments[0], 20)", closes)
    assert averages[:19] == [None] * 19
    assert averages[19:] == pytest.approx([sum(closes[n - 19 : n + 1]) / 20 for n in range(19, 60)])


def test_the_chart_follows_the_choice(page: Browser) -> None:
    page.click("#after")
    assert count(page, "#candles .boxlayer path.box") == 45
    assert page.run("return document.getElementById('after').disabled")
    assert "AAPL, 2024-03-11: 45 bars, 1 trade, 0.00 $" in text(page, "#chosen")
    choose(page, "symbol", "PNY")
    assert count(page, "#candles .boxlayer path.box") == 30 and marks(page)["entry"] == 1
    assert "still held" in text(page, "#chosen")
    page.click("#trades tbody tr:nth-child(4)")
    assert page.run("return data.symbols[document.getElementById('symbol').value]") == HOSTILE
    assert count(page, "#candles .boxlayer path.box") == 25


def test_a_click_on_a_trade_zooms_to_it_and_marks_it(page: Browser) -> None:
    page.click("#trades tbody tr:nth-child(2)")  # from 10:00:00 to 10:00:20
    assert page.wait_for("return document.querySelectorAll('#candles .trace.scatter .point').length > 0")
    assert seen(page) == ["2024-03-08 09:50", "2024-03-08 10:10:20"]
    low, high = page.run("return document.getElementById('candles')._fullLayout.yaxis.range")
    assert 9.7 < low < 10.0 and 10.3 < high < 10.6
    assert marks(page)["chosen"] == 2
    marked = "return [...document.querySelectorAll('#trades [aria-current]')].map((row) => row.rowIndex)"
    assert page.run(marked) == [2]
    page.run("document.querySelector('#trades tbody tr').focus()")
    page.run("for (const key of ['ArrowDown', 'ArrowDown', 'ArrowUp', 'Enter']) document.activeElement"
             ".dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))")  # fmt: skip
    assert page.run(marked) == [2]
    page.run("document.querySelector('#trades tbody tr').focus()")
    page.run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: ' ', bubbles: true}))")
    assert page.run(marked) == [1] and seen(page)[0] == "2024-03-08 09:45"


def test_the_calendar_has_a_field_a_day_that_shows_it(page: Browser) -> None:
    fields = "return [...document.querySelectorAll('.days button')].map((field) => field.getAttribute('aria-label'))"
    assert page.run(fields) == ["2024-03-08: -1.00 $ net, 2 trades", "2024-03-11: +100.50 $ net, 2 trades"]
    assert text(page, "#calendar h3") == "March 2024: +99.50 $"
    page.click(".days button.won")
    assert "AAPL, 2024-03-11" in text(page, "#chosen")


def test_sums_are_drawn_by_hour_reason_and_time_after(page: Browser) -> None:
    def bars(chart: str) -> list[list[Any]]:
        bring_into_view(page, chart)
        rows: list[list[Any]] = page.run(
            "return document.getElementById(arguments[0]).data.flatMap((t) => t.x.map((x, n) => [x, t.y[n]]))", chart
        )
        return rows

    assert bars("hours") == [["09:00", 109.5], ["10:00", -10]]
    assert bars("reasons") == [[PLAIN, 100.5], ["liquidation", -10], ["sell", 9]]
    assert bars("markouts") == [["1 s", -2.5], ["1 s", 0.25]]


def test_only_lines_that_the_algo_uses_are_drawn(window: Browser, tmp_path: Path) -> None:
    file = tmp_path / "bare.html"
    of = report()
    file.write_text(written(Report("Bare", "", of.bars, of.trades, markouts=())), "utf-8")
    window.open(file)
    assert window.wait_for("return document.body.dataset.state") == "drawn"
    names = window.run("return document.getElementById('candles').data.map((trace) => trace.name)")
    assert names == ["minutes", "held", "exit", "exit", "liquidation", "entry", "entry"]
    assert window.run("return [...document.querySelectorAll('section[hidden], .small[hidden]')].length") == 2
    assert window.console() == []


def test_the_tables_sort_by_a_click(page: Browser) -> None:
    heading = "#trades th:nth-child(8)"
    page.click(f"{heading} button")
    assert rows(page, "#trades", 7) == ["+100.50", "+9.00", "0.00", "-10.00"]
    assert page.run("return document.querySelector(arguments[0]).getAttribute('aria-sort')", heading) == "descending"
    page.click(f"{heading} button")
    assert rows(page, "#trades", 7) == ["-10.00", "0.00", "+9.00", "+100.50"]
    page.click("#trades th:nth-child(7) button")
    assert rows(page, "#trades", 6) == ["11:40", "1:30", "1:00", "0:20"]
    page.click("#trades th:nth-child(2) button")
    assert rows(page, "#trades", 1)[0] == "2024-03-08 09:55:00"
    page.click("#only")
    assert rows(page, "#trades", 7) == ["+9.00", "-10.00"]
    page.click("table.sortable th:nth-child(2) button")
    assert rows(page, "table.sortable", 1) == ["+100.50", "-1.00", "-"]
    page.click("table.sortable th:nth-child(2) button")
    assert rows(page, "table.sortable", 1) == ["-1.00", "+100.50", "-"]


def test_what_comes_from_outside_is_only_text(page: Browser) -> None:
    choose(page, "symbol", HOSTILE)
    assert page.run("return document.title") == f"Backtest {HOSTILE}"
    assert page.run("return document.querySelector('#symbol').selectedOptions[0].text") == HOSTILE
    assert rows(page, "#trades", 0)[3] == HOSTILE and rows(page, "#trades", 9)[3] == HOSTILE
    choose(page, "symbol", "AAPL")
    choose(page, "day", "2024-03-08")
    page.run("const n = document.getElementById('candles').data.findIndex((trace) => trace.name === 'canceled');"
             "Plotly.Fx.hover('candles', [{curveNumber: n, pointNumber: 1}])")  # fmt: skip
    assert page.wait_for("return document.querySelector('#candles .hoverlayer').textContent").endswith(HOSTILE)
    assert count(page, "img, b") == 0


def test_a_report_of_nothing_opens_too(window: Browser, tmp_path: Path) -> None:
    file = tmp_path / "empty.html"
    file.write_text(written(Report("Empty", "", {}, ())), "utf-8")
    window.open(file)
    assert window.wait_for("return document.body.dataset.state") == "drawn"
    assert window.console() == []
