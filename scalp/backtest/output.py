"""The output of a backtest: a table, one JSON object, a CSV file of trades, and the assumptions behind them."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from scalp.backtest.engine_rules import MODELS
from scalp.backtest.history import source
from scalp.backtest.settings import BacktestSettings
from scalp.cli.identity import class_name, fingerprint, parameters
from scalp.cli.identity import told as identity
from scalp.cli.versions import versions
from scalp.core.algo import ScalpAlgo
from scalp.core.trades import RoundTrip
from scalp.core.units import MILLISECOND
from scalp.core.words import counted
from scalp.exchange.matching import Latency
from scalp.net.printable import printable
from scalp.results.columns import (
    DAYS,
    GROUP,
    MANNER,
    MONEY,
    OF_TRADES,
    TRADE_FIELDS,
    TRADES,
    Column,
    dollars,
    iso,
    plain,
)
from scalp.results.totals import GROUPS, Held, Results, TradeStatistics
from scalp.results.verdict import Verdict

# What begins a cell that a spreadsheet takes for a formula; those of East Asia take the wide ones too.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")

MOST_DAYS = 31  # up to so many have a row each; of more the months have one

# -- the assumptions --------------------------------------------------------------------------------------------------

_BAR_RULES = (
    "everything happens at the turn of a minute; a fill carries the start of its bar, wherever in the bar it happened",
    "per bar: orders sent at an earlier bar's close meet it; a buy that has met two bars unfilled is cancelled; then "
    "the signal is asked",
    "a buy with limit L fills whole at the open if open <= L, else at L if low <= L; a sell at the open if open >= L, "
    "else at L if high >= L; a market order at the next open",
    "a buy is sent at the close of the signal's bar, that close its limit (rounded down to a tick); the sell at the "
    "close of the bar that filled the buy, at that close or the entry, whichever is higher (rounded up)",
    "no latency, no spread, no share of the volume, no limit to the money",
)

_FILL_WORDS = {
    "pessimistic": "a resting limit fills at its limit by prints beyond it, up to {share} of their size, and by prints "
    "exactly at it, up to {touch} of their size",
    "touch": "a resting limit fills at its limit by prints at or beyond it, up to {share} of their size",
    "through": "a resting limit fills at its limit by prints beyond it alone, up to {share} of their size",
    "optimistic": "a resting limit fills at its limit by prints at or beyond it, up to all of their size",
}


def latency(settings: BacktestSettings) -> Latency:
    """How long things take: the built-in exchange's times, unless set otherwise."""
    if settings.latency is not None:
        return Latency(order=settings.latency)
    return Latency(order=0) if settings.fills == "optimistic" else Latency()


def assumptions(
    settings: BacktestSettings, algo_class: type[ScalpAlgo], dates: Iterable[dt.date] = ()
) -> dict[str, Any]:
    """Everything the numbers rest on; `dates` are the days that were played."""
    if settings.fills == "bar":
        rules: tuple[str, ...] = _BAR_RULES
        waits = "none"
    else:
        model, times = MODELS[settings.fills], latency(settings)
        words = _FILL_WORDS[settings.fills].format(share=f"{model.share:.0%}", touch=f"{model.touch_share:.0%}")
        spread = (
            f"half a spread of {model.half_spread:.3%}, a tick at least, from the last print"
            if model.half_spread
            else "the last print"
        )
        turns = (
            "a buy and its sell may fill in the same bar"
            if model.turns_in_a_bar
            else "a limit sell never fills in the bar that filled its buy, nor a buy in the bar of its signal"
        )
        rules = (
            f"{words}; only prints made after the order arrived count",
            turns,
            f"a market order, and a limit that reaches the quote when it arrives, trades at {spread}",
            "a bar is four to seven prints: from the open to the nearer extreme, to the other, to the close (as far: "
            "the high first), evenly spread over the minute with an even share of its volume",
            "bars arrive 0.3 s after their minute, checkups come every 30 s (10 s near the end, 1 s in liquidation)",
            f"each day starts with ${100_000:,} and four times that of buying power, for all symbols together",
        )
        if settings.risk_limits:
            rules += (f"risk limits, anew each day: {settings.risk_limits}",)
        order, update = times.order / MILLISECOND, times.update / MILLISECOND
        waits = f"{order:g} ms for orders and cancels, {update:g} ms for updates"
    return {
        "algo": class_name(algo_class),
        "parameters": parameters(algo_class),
        "source": fingerprint(algo_class),
        "data": source(settings),
        "lot": float(settings.lot),
        "fills": settings.fills,
        "latency": waits,
        "slippage": str(settings.slippage),
        "rules": [*rules, *_common_rules(settings, dates)],
    }


def _common_rules(settings: BacktestSettings, dates: Iterable[dt.date]) -> Iterator[str]:
    if settings.net_exit:
        yield "an exit is offered no lower than the entry and the fees of both sides"
    yield "slippage makes every share that much worse, a limit order's never beyond its limit"
    yield "each day starts flat; only bars of the regular session count"
    yield f"{settings.fees.told(dates)}; drawdown, wins, average and worst are after fees"
    yield "liquidation begins 5 minutes before the close; shares that then meet no bar stay held, at the last close"


# -- for machines -----------------------------------------------------------------------------------------------------


def write_json(
    results: Results,
    settings: BacktestSettings,
    algo_class: type[ScalpAlgo],
    out: TextIO,
    luck: Verdict | None = None,
) -> None:
    """One object. Times are ISO 8601 with New York's offset, prices dollars, rates parts of 1."""
    told = assumptions(settings, algo_class, results.charges)
    tested = {} if luck is None else {"luck": {"p": luck.p, "shifts": luck.shifts, "verdict": str(luck)}}
    answer = {**outcome(results), **tested, "assumptions": told, "versions": versions()}
    json.dump(answer, out, indent=1)
    out.write("\n")


def outcome(results: Results) -> dict[str, Any]:
    """Trades, what is held, and the summary, in plain types."""
    return {
        "trades": [trade_row(trade) for trade in results.trades],
        "held": [_held_row(held) for held in results.held],
        "summary": {
            **plain(results.total()),
            "per_symbol": {symbol: plain(numbers) for symbol, numbers in results.by_symbol().items()},
            "per_day": {date: plain(numbers) for date, numbers in results.by_day().items()},
            **{
                f"per_{name}": {group: plain(numbers, OF_TRADES) for group, numbers in of.items()}
                for name, of in results.grouped().items()
            },
        },
    }


def write_csv(results: Results, out: TextIO) -> None:
    """The trades, a row each, with the fields and the order they have in JSON."""
    rows = csv.DictWriter(out, TRADE_FIELDS, lineterminator="\n")
    rows.writeheader()
    rows.writerows({name: cell(value) for name, value in trade_row(trade).items()} for trade in results.trades)


def cell(value: Any) -> Any:
    """A value for CSV: a spreadsheet must take no text for a formula."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def trade_row(trade: RoundTrip) -> dict[str, Any]:
    """One trade in plain types."""
    return {name: field(trade) for name, field in TRADE_FIELDS.items()}


def _held_row(held: Held) -> dict[str, Any]:
    return {
        "symbol": held.day.symbol,
        "qty": int(held.holding.held),
        "entry_time": iso(held.holding.entry_time),
        "entry_price": dollars(held.holding.entry_price),
        "last_price": None if held.day.last_price is None else dollars(held.day.last_price),
        "pnl": dollars(held.pnl),
        "fees": dollars(held.holding.fees),
        "net": dollars(held.net),
    }


# -- for people -------------------------------------------------------------------------------------------------------


def table(
    results: Results, settings: BacktestSettings, algo_class: type[ScalpAlgo], luck: Verdict | None = None
) -> Iterator[str]:
    """The lines of the result, what it assumes, and whether it is better than chance."""
    yield headline(results, settings)
    yield ""
    yield from statistics_table(results)
    yield ""
    told = assumptions(settings, algo_class, results.charges)
    yield f"assumptions: --fills {told['fills']}, slippage {told['slippage']}, latency {told['latency']}"
    bars = counted(results.total().bars, "bar")
    yield f"  algo {identity(algo_class)}, lot ${settings.lot:f}; {told['data']}; {bars}"
    for rule in told["rules"]:
        yield f"  - {rule}"
    if luck is not None:
        yield ""
        yield str(luck)


def headline(results: Results, settings: BacktestSettings) -> str:
    """Which market was played, from which to which day."""
    dates = sorted(results.charges)
    played = f"{dates[0]} to {dates[-1]}, {len(dates)} days" if len(dates) > 1 else f"{dates[0]}" if dates else "no day"
    if settings.bars:
        market = "recorded bars of " + ", ".join(str(path) for path in settings.bars)
    elif settings.endpoints is not None:
        market = f"bars of {settings.endpoints.feed}"
    else:
        market = f"synthetic market of seed {settings.seed}"
    return f"{market}: {played}"


def statistics_table(results: Results) -> Iterator[str]:
    """The numbers per symbol, per day, by what trades have in common, and in all, and what is still held."""
    rows = _Rows(results)
    for of in (MONEY, MANNER, TRADES, DAYS):
        if of is not MONEY:
            yield ""
        yield from rows.table(of)
    grouped = results.grouped()
    for name, title, _ in GROUPS:
        groups = grouped[name]
        if len(groups) > 1:
            yield ""
            yield title
            yield _line("", (column.head for column in GROUP), GROUP)
            yield from (_numbers_line(group, numbers, GROUP) for group, numbers in groups.items())
    if results.held:
        yield ""
    for held in results.held:
        yield (
            f"HELD at the end of {held.day.session.date}: {held.holding.held:f} {held.day.symbol}, bought at "
            f"{dollars(held.holding.entry_price)}, last {dollars(held.day.last_price)}, {held.pnl:+.2f} gross in it"
        )


class _Rows:
    """Tables of the same rows with other columns."""

    def __init__(self, results: Results) -> None:
        self._total, self._by_symbol = results.total(), results.by_symbol()
        self._by_day = results.by_day() if len(results.charges) <= MOST_DAYS else {}

    def table(self, of: Sequence[Column]) -> Iterator[str]:
        """The table with these columns; those about days have no rows of single ones."""
        total = self._total
        yield _line("", (column.head for column in of), of)
        for symbol, numbers in self._by_symbol.items():
            yield _numbers_line(symbol, numbers, of)
        if total.rounding and of is MONEY:
            cells = {"fees": f"{total.rounding:.4f}", "net": f"{-total.rounding:+.4f}"}
            yield _line("rounding", (cells.get(column.name, "") for column in of), of)
        if len(self._by_day) > 1 and of is not DAYS:
            yield ""
            for date, numbers in self._by_day.items():
                yield _numbers_line(date, numbers, of)
        yield ""
        yield _numbers_line("total", total, of)


def _line(name: str, cells: Iterable[str], of: Sequence[Column]) -> str:
    told = " ".join(f"{cell:>{column.width}}" for column, cell in zip(of, cells, strict=True))
    # A longer name takes its room from the blanks of the first column, where there are some.
    return f"{name:<10} {told.removeprefix(' ' * (len(name) - 10))}".rstrip()


def _numbers_line(name: str, numbers: TradeStatistics, of: Sequence[Column]) -> str:
    return _line(name, (column.text(numbers) for column in of), of)
