"""Sessions beside their backtests over time, and since when they part.

Three measures a day: the share of buys that filled, by how much the same trades were done at worse prices than in the
backtest, and the net of a trade. They have parted where the last days' differences lie too far from 0 for chance.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from scalp.cli.algo_loader import load_algo
from scalp.cli.parameters import with_set
from scalp.cli.progress import tracked
from scalp.core.algo import ScalpAlgo
from scalp.core.decimals import ZERO
from scalp.core.errors import UserError
from scalp.core.order_state import REFUSED
from scalp.core.orders import BUY
from scalp.journal.reader import JournaledDay
from scalp.report.diff import Entry, paired, replayed
from scalp.results.columns import dollars
from scalp.results.html import Cell, Table
from scalp.results.symbol_day import SymbolDay
from scalp.results.totals import Results

WINDOW = 10  # days that are looked at together
FEWEST = 5  # days: of fewer nothing is said
ERRORS = 3.0  # standard errors from 0 that chance hardly reaches


class Side(Struct, frozen=True):
    """What one side made of a day; `net` in dollars a trade, None without a trade."""

    buys: int
    filled: int
    trades: int
    net: float | None

    @property
    def fill_rate(self) -> float | None:
        return self.filled / self.buys if self.buys else None


class DriftDay(Struct, frozen=True):
    """A session beside its backtest. `slippage`: cents a share by which the trades that both made were worse in it."""

    date: dt.date
    session: Side
    backtest: Side
    slippage: float | None


class Parting(Struct, frozen=True):
    """From `date` on a measure differs by `by` on average (None: they agree again)."""

    date: dt.date
    measure: str
    by: float | None


def _difference(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


# What may part: how it is called, its unit, how a difference is written, and the difference of a day.
MEASURES: tuple[tuple[str, str, str, Callable[[DriftDay], float | None]], ...] = (
    ("fill rate", "", "{:+.1%}", lambda day: _difference(day.session.fill_rate, day.backtest.fill_rate)),
    ("slippage", " cents a share", "{:+.2f}", lambda day: day.slippage),
    ("net a trade", " $", "{:+.4f}", lambda day: _difference(day.session.net, day.backtest.net)),
)


class Drift:
    """The days that could be played again; `notes` name those that could not."""

    def __init__(self, days: Sequence[JournaledDay], algo: str = "") -> None:
        """`algo`: play this one, not each session's own."""
        self.days: list[DriftDay] = []
        self.notes: list[str] = []
        classes: dict[tuple[str, ...], type[ScalpAlgo]] = {}
        for day in tracked(days, "beside its backtest"):
            facts = day.facts
            spec = (algo or facts.algo, *(() if algo else facts.options.get("set") or ()))
            try:
                if spec not in classes:
                    classes[spec] = with_set(load_algo(spec[0]), spec[1:])
            except UserError as error:
                self.notes.append(f"{facts.date}: its algo is not to be had ({error})")
                continue
            self.days.append(_beside(day, replayed(day, classes[spec])))

    def lines(self) -> Iterator[str]:
        """A row a day, then what parted when."""
        yield "beside its backtest (default fills, the bars as the bot saw them, buys only while it ran)"
        yield f"{'':<10} {'fill rate':>17} {'trades':>17} {'net $ a trade':>21} {'slippage':>8}"
        two = ("session", "backtest")
        yield f"{'':<10} {two[0]:>8} {two[1]:>8} {two[0]:>8} {two[1]:>8} {two[0]:>10} {two[1]:>10} {'cents':>8}"
        for day in self.days:
            rates = (_text(side.fill_rate, "{:.0%}") for side in (day.session, day.backtest))
            trades = (str(side.trades) for side in (day.session, day.backtest))
            nets = (_text(side.net, "{:+.4f}") for side in (day.session, day.backtest))
            cells = " ".join([*(f"{cell:>8}" for cell in (*rates, *trades)), *(f"{cell:>10}" for cell in nets)])
            yield f"{day.date} {cells} {_text(day.slippage, '{:+.2f}'):>8}"
        yield "(slippage: by how many cents a share the trades that both made were worse than in the backtest)"
        yield from self.verdict()
        for note in self.notes:
            yield f"note: {note}"

    def verdict(self) -> Iterator[str]:
        """When session and backtest parted, and where they agree again."""
        for name, unit, form, of in MEASURES:
            values = [value for day in self.days if (value := of(day)) is not None]
            if len(values) < FEWEST:
                yield f"{name}: too few days to tell ({len(values)} of {FEWEST})"
                continue
            found = partings(self.days, name, of)
            for one in found:
                if one.by is None:
                    yield f"{one.date}: {name}: session and backtest agree again"
                else:
                    yield f"{one.date}: {name} parts: {form.format(one.by)}{unit} beside the backtest"
            if not found:
                yield f"{name}: session and backtest do not part"

    def table(self) -> Table:
        """The same for the page."""
        two = ("session", "backtest")
        head = ("day", *(f"{what}, {side}" for what in ("fill rate %", "trades", "net $ a trade") for side in two),
                "slippage, cents a share")  # fmt: skip
        rows: list[Sequence[Cell | str]] = []
        for day in self.days:
            sides = (day.session, day.backtest)
            rates = [None if side.fill_rate is None else side.fill_rate * 100 for side in sides]
            cells = (
                *(Cell(_text(rate, "{:.0f}"), rate) for rate in rates),
                *(Cell(str(side.trades), side.trades) for side in sides),
                *(Cell(_text(side.net, "{:+.4f}"), side.net) for side in sides),
                Cell(_text(day.slippage, "{:+.2f}"), day.slippage),
            )
            rows.append((day.date.isoformat(), *cells))
        return Table("Beside its backtest", head, rows, [*self.verdict(), *self.notes])

    def plain(self) -> dict[str, Any]:
        """For machines."""
        sides = ("session", "backtest")
        found = [one for name, _, _, of in MEASURES for one in partings(self.days, name, of)]
        return {
            "days": [
                {
                    "date": day.date.isoformat(),
                    **{name: _plain(getattr(day, name)) for name in sides},
                    "slippage_cents": day.slippage,
                }
                for day in self.days
            ],
            "partings": [{"date": one.date.isoformat(), "measure": one.measure, "by": one.by} for one in found],
            "notes": self.notes,
        }


def partings(days: Sequence[DriftDay], name: str, of: Callable[[DriftDay], float | None]) -> list[Parting]:
    """Of one measure, in time order: each time it parts, with the average of the days that show it, and comes back."""
    found: list[Parting] = []
    window: list[tuple[dt.date, float]] = []
    has_parted = False
    for day in days:
        value = of(day)
        if value is None:
            continue
        window = [*window, (day.date, value)][-WINDOW:]
        values = [value for _, value in window]
        if len(values) >= FEWEST and _is_apart(values) != has_parted:
            has_parted = not has_parted
            found.append(Parting(day.date, name, statistics.fmean(values) if has_parted else None))
    return found


def _is_apart(values: Sequence[float]) -> bool:
    error = statistics.stdev(values) / len(values) ** 0.5
    # Exactly the same difference each day, as from rounding, counts too, unless it is zero.
    return bool(abs(statistics.fmean(values)) > max(ERRORS * error, 1e-6))


def _beside(day: JournaledDay, played: Sequence[SymbolDay]) -> DriftDay:
    days = list(day.days())
    worse = [
        cents
        for ours, theirs in zip(days, played, strict=True)
        for live, again in paired(ours, theirs)
        if live is not None and again is not None and (cents := _worse(live, again)) is not None
    ]
    return DriftDay(
        date=day.session.date,
        session=_side(days, Results(days, day.fees)),
        backtest=_side(played, Results(played, day.fees)),
        slippage=round(statistics.fmean(worse), 6) + 0.0 if worse else None,
    )


def _side(days: Sequence[SymbolDay], results: Results) -> Side:
    buys = [order for day in days for order in day.orders
            if order.side == BUY and order.is_bots and order.status != REFUSED]  # fmt: skip
    total = results.total()
    return Side(
        buys=len(buys),
        filled=sum(order.filled_qty > 0 for order in buys),
        trades=total.trades,
        net=None if total.average is None else dollars(total.average),
    )


def _worse(live: Entry, played: Entry) -> float | None:
    """Cents a share; None unless both bought and sold."""
    prices = [_price(one) for entry in (live, played) for one in ([entry.buy] if entry.buy else [], entry.exits)]
    if None in prices:
        return None
    bought, sold, bought_again, sold_again = (Decimal(price or ZERO) for price in prices)
    return float((bought - bought_again + sold_again - sold) * 100)


def _price(sent: Sequence[Any]) -> Decimal | None:
    """What was paid or taken a share."""
    orders = [one.order for one in sent if one.order.filled_qty and one.order.filled_avg_price is not None]
    shares = sum((order.filled_qty for order in orders), ZERO)
    return sum((order.filled_qty * order.filled_avg_price for order in orders), ZERO) / shares if shares else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _plain(side: Side) -> dict[str, Any]:
    return {
        "buys": side.buys,
        "filled_buys": side.filled,
        "fill_rate": side.fill_rate,
        "trades": side.trades,
        "net_a_trade": side.net,
    }
