"""Results as one HTML page, those of a backtest and any other that come as `Results`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from msgspec import structs

from scalp.backtest.output import assumptions
from scalp.backtest.run import Day
from scalp.backtest.settings import BacktestSettings
from scalp.cli.identity import average_window
from scalp.cli.versions import versions
from scalp.core.algo import ScalpAlgo
from scalp.core.decimals import ZERO
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.core.order_state import Order
from scalp.core.orders import EXPIRED, FILLED
from scalp.core.words import counted
from scalp.results.columns import AMOUNT, GAIN, OF_TRADES, SHOWN, TOP, Column, columns, dollars
from scalp.results.html import Cell, DaySum, Line, OrderEnd, Report, Table, write_html
from scalp.results.symbol_day import SymbolDay
from scalp.results.totals import GROUPS, Held, Results, TradeStatistics

# At the top of the page cents are fine enough.
_NET, _FEES = columns("net", "fees")
CENTS = {"net": structs.replace(_NET, kind=GAIN), "fees": structs.replace(_FEES, kind=AMOUNT)}

BarsOf = dict[str, list[Bar]]  # by symbol, oldest first


def bars_by_symbol(days: Iterable[Day]) -> BarsOf:
    """The bars of all days, oldest first."""
    bars_of: BarsOf = {}
    for day in days:
        for symbol, bars in day.market.items():
            bars_of.setdefault(symbol, []).extend(bars)
    return bars_of


def write_report(
    results: Results,
    bars_of: BarsOf,
    settings: BacktestSettings,
    algo_class: type[ScalpAlgo],
    path: Path,
    verdict: str = "",
) -> None:
    """The page of a backtest, in the file `path`. Raises UserError where that cannot be written."""
    told = assumptions(settings, algo_class, results.charges)
    dates = sorted({day.session.date for day in results.days})
    title = f"Backtest of {algo_class.__qualname__}"
    span = " to ".join(str(date) for date in dict.fromkeys((*dates[:1], *dates[-1:])))
    subtitle = (
        f"{span or 'no bars'}, {counted(len(dates), 'day')}, {counted(len(bars_of), 'symbol')}; "
        f"${settings.lot:f} a lot; --fills {told['fills']}, slippage {told['slippage']}; {told['data']}"
    )
    report = report_of(results, bars_of, title, subtitle, told, versions(), verdict, average_window(algo_class))
    try:
        with path.open("w", encoding="utf-8", newline="\n") as out:
            write_html(report, out)
    except OSError as error:
        raise UserError(f"--html {path}: cannot be written ({error.strerror})") from None


def report_of(
    results: Results,
    bars_of: Mapping[str, Sequence[Bar]],
    title: str,
    subtitle: str,
    assumptions: Mapping[str, object],
    versions: Mapping[str, str],
    verdict: str = "",
    average: int | None = None,
) -> Report:
    """What the page shows of `results`; `average`: how many closes the average of the algo's signal has, if any."""
    total, by_day = results.total(), results.by_day()
    return Report(
        title=title,
        subtitle=subtitle,
        bars=bars_of,
        trades=results.trades,
        held=[held.holding for held in results.held],
        orders=[
            OrderEnd(order.symbol, order.side, order.status, _end_of(order, day), order.limit_price)
            for day in results.days
            for order in day.orders
            if order.has_ended and order.status != FILLED
        ],
        equity=results.equity(),
        numbers=[
            (column.title, CENTS.get(column.name, column).text(total))
            for column in TOP
            if column.exact(total) is not None
        ],
        more_numbers=[(column.title, column.text(total)) for column in SHOWN if column not in TOP],
        tables=list(_tables(results)),
        notes=[_of_held(held) for held in results.held],
        assumptions=assumptions,
        versions={**versions, "plotly": version("plotly")},
        verdict=verdict,
        average=average,
        stopped=[one for day in results.days for one in day.stopped],
        lines=[
            Line(day.symbol, name, sorted(points.items())) for day in results.days for name, points in day.plots.items()
        ],
        days=[
            DaySum(date, dollars(net), by_day[date.isoformat()].trades) for date, net in sorted(results.daily().items())
        ],
    )


def _tables(results: Results) -> Iterator[Table]:
    yield _table("Per symbol", "symbol", results.by_symbol(), results.total().rounding)
    if len(by_day := results.by_day()) > 1:
        yield _table("Per day", "day", by_day)
    groups = results.grouped()
    yield from (_table(title.capitalize(), name, of, of=OF_TRADES) for name, title, _ in GROUPS if (of := groups[name]))


def _of_held(held: Held) -> str:
    shares = f"{held.holding.held:f} {held.day.symbol}"
    return f"Held at the end of {held.day.session.date}: {shares}, {held.net:+.2f} $ in the profit after fees."


def _end_of(order: Order, day: SymbolDay) -> int:
    """When an unfilled order ended: the ledger keeps no time of it, but how it ended gives one."""
    if order.status == EXPIRED:
        return day.session.close
    return order.cancel_sent_at or order.submitted_at


def _table(
    title: str,
    first: str,
    rows: Mapping[str, TradeStatistics],
    rounding: Decimal = ZERO,
    of: Sequence[Column] = SHOWN,
) -> Table:
    """`rounding` of fees, in dollars, belongs to none of the rows: it is one of its own, so that they add up."""
    cells: list[Sequence[Cell | str]] = [
        (name, *(Cell(column.text(numbers), column.exact(numbers)) for column in of)) for name, numbers in rows.items()
    ]
    if rounding:
        told = {"fees": Cell(f"{rounding:.4f}", float(rounding)), "net": Cell(f"{-rounding:+.4f}", float(-rounding))}
        cells.append(("rounding", *(told.get(column.name, Cell("")) for column in of)))
    return Table(title, (first, *(column.title for column in of)), cells)
