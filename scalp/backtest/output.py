"""A backtest told: as a table, as one JSON object, as a CSV file of trades, and under which assumptions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, TextIO

from scalp.backtest.engine_rules import MODELS
from scalp.backtest.history import source
from scalp.backtest.settings import BacktestSettings
from scalp.cli.versions import versions
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import new_york
from scalp.core.messages import MILLISECOND
from scalp.core.trades import RoundTrip
from scalp.exchange.matching import Latency
from scalp.net.printable import printable
from scalp.results.numbers import Held, Numbers, Results

TRADE_FIELDS = ("symbol", "qty", "entry_time", "entry_price", "exit_time", "exit_price", "pnl", "reason")

# What a cell begins with that a spreadsheet reckons with; of the wide ones those of East Asia do.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_ROW = "{:<12} {:>6} {:>6} {:>12} {:>10} {:>10} {:>9} {:>8} {:>10} {:>5} {:>8} {:>9} {:>5}"
_HEAD = ("", "trades", "win", "P/L $", "average $", "worst $", "hold", "exposed", "drawdown $", "buys", "unfilled",
         "liquidated", "held")  # fmt: skip

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
    """How long things take: the built-in exchange's times, unless told otherwise."""
    if settings.latency is not None:
        return Latency(order=settings.latency)
    return Latency(order=0) if settings.fills == "optimistic" else Latency()


def assumptions(settings: BacktestSettings, algo_class: type[ScalpAlgo]) -> dict[str, Any]:
    """Everything the numbers rest on."""
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
        if settings.rails:
            rules += (f"risk rails, anew each day: {settings.rails}",)
        order, update = times.order / MILLISECOND, times.update / MILLISECOND
        waits = f"{order:g} ms for orders and cancels, {update:g} ms for updates"
    return {
        "algo": f"{algo_class.__module__}:{algo_class.__qualname__}",
        "data": source(settings),
        "lot": float(settings.lot),
        "fills": settings.fills,
        "latency": waits,
        "slippage": str(settings.slippage),
        "rules": [
            *rules,
            "slippage makes every share that much worse, a limit order's never beyond its limit",
            "each day starts flat; only bars of the regular session count; no fees; P/L is gross",
            "liquidation begins 5 minutes before the close; shares that then meet no bar stay held, at the last close",
        ],
    }


# -- for machines -----------------------------------------------------------------------------------------------------


def write_json(results: Results, settings: BacktestSettings, algo_class: type[ScalpAlgo], out: TextIO) -> None:
    """One object. Times are ISO 8601 with New York's offset, prices dollars, rates parts of 1."""
    answer = {**outcome(results), "assumptions": assumptions(settings, algo_class), "versions": versions()}
    json.dump(answer, out, indent=1)
    out.write("\n")


def outcome(results: Results) -> dict[str, Any]:
    """Trades, what is held, and the summary, in plain types."""
    return {
        "trades": [trade_row(trade) for trade in results.trades],
        "held": [_held_row(held) for held in results.held],
        "summary": {
            **_plain(results.total()),
            "per_symbol": {symbol: _plain(numbers) for symbol, numbers in results.by_symbol().items()},
            "per_day": {date: _plain(numbers) for date, numbers in results.by_day().items()},
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
    return {
        "symbol": trade.symbol,
        "qty": int(trade.qty),
        "entry_time": iso(trade.entry_time),
        "entry_price": _price(trade.entry_price),
        "exit_time": iso(trade.exit_time),
        "exit_price": _price(trade.exit_price),
        "pnl": _price(trade.pnl),
        "reason": trade.reason,
    }


def _held_row(held: Held) -> dict[str, Any]:
    return {
        "symbol": held.day.symbol,
        "qty": int(held.holding.held),
        "entry_time": iso(held.holding.entry_time),
        "entry_price": _price(held.holding.entry_price),
        "last_price": None if held.day.last_price is None else _price(held.day.last_price),
        "pnl": _price(held.pnl),
    }


def _plain(numbers: Numbers) -> dict[str, Any]:
    return {
        "trades": numbers.trades,
        "win_rate": None if numbers.win_rate is None else round(numbers.win_rate, 6),
        "pnl": _price(numbers.pnl),
        "average_pnl": None if numbers.average is None else _price(numbers.average),
        "worst_pnl": None if numbers.worst is None else _price(numbers.worst),
        "average_hold_seconds": None if numbers.hold_seconds is None else round(numbers.hold_seconds, 3),
        "exposure": round(numbers.exposure, 6),
        "drawdown": _price(numbers.drawdown),
        "buys": numbers.buys,
        "unfilled_buys": numbers.unfilled_buys,
        "liquidations": numbers.liquidations,
        "held": numbers.held,
        "bars": numbers.bars,
    }


def iso(at: int) -> str:
    """`at` (ns) in New York, with its offset."""
    return new_york(at).isoformat()


def _price(dollars: Any) -> float:
    # An average over partial fills has no end; a millionth of a dollar is finer than any price.
    return round(float(dollars), 6) + 0.0  # no minus zero


# -- for people -------------------------------------------------------------------------------------------------------


def table(results: Results, settings: BacktestSettings, algo_class: type[ScalpAlgo]) -> Iterator[str]:
    """The lines of the result, and what it assumes."""
    yield from numbers_table(results)
    yield ""
    told = assumptions(settings, algo_class)
    yield f"assumptions: --fills {told['fills']}, slippage {told['slippage']}, latency {told['latency']}"
    yield f"  algo {told['algo']}, lot ${settings.lot:f}; {told['data']}; {results.total().bars} bars"
    for rule in told["rules"]:
        yield f"  - {rule}"


def numbers_table(results: Results) -> Iterator[str]:
    """The numbers per symbol, per day and in all, and what is still held."""
    total = results.total()
    yield _ROW.format(*_HEAD)
    by_symbol, by_day = results.by_symbol(), results.by_day()
    for symbol, numbers in by_symbol.items():
        yield _line(symbol, numbers)
    if len(by_day) > 1:
        yield ""
        for date, numbers in by_day.items():
            yield _line(date, numbers)
    yield ""
    yield _line("total", total)
    if results.held:
        yield ""
    for held in results.held:
        yield (
            f"HELD at the end of {held.day.session.date}: {held.holding.held:f} {held.day.symbol}, bought at "
            f"{_price(held.holding.entry_price)}, last {_price(held.day.last_price)}, {held.pnl:+.2f} in the P/L"
        )


def _line(name: str, numbers: Numbers) -> str:
    return _ROW.format(
        name,
        numbers.trades,
        "-" if numbers.win_rate is None else f"{numbers.win_rate:.0%}",
        f"{numbers.pnl:+.2f}",
        "-" if numbers.average is None else f"{numbers.average:+.2f}",
        "-" if numbers.worst is None else f"{numbers.worst:+.2f}",
        "-" if numbers.hold_seconds is None else hold_time(numbers.hold_seconds),
        f"{numbers.exposure:.1%}",
        f"{numbers.drawdown:.2f}",
        numbers.buys,
        numbers.unfilled_buys,
        numbers.liquidations,
        numbers.held,
    )


def hold_time(seconds: float) -> str:
    """Minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
