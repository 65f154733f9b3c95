"""The output of a sweep: tables, a CSV file, one JSON object."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TextIO

from msgspec import structs

from scalp.backtest.output import assumptions, cell
from scalp.backtest.settings import BacktestSettings
from scalp.cli.parameters import LOT, Values
from scalp.cli.versions import versions
from scalp.core.algo import ScalpAlgo
from scalp.core.words import counted
from scalp.results.columns import columns, plain
from scalp.results.verdict import BestOfMany
from scalp.sweep.results import SetResult, Step, SweepResults, Window, objective
from scalp.sweep.tasks import PartialStatistics

NUMBERS = columns("trades", "win_rate", "pnl", "fees", "net", "drawdown", "buys", "held", "bars")
SHOWN = columns("trades", "win_rate", "pnl", "net", "drawdown")
ALL = "*"  # symbols; no symbol is written so


class Told:
    """The output of a sweep, in all its forms."""

    def __init__(
        self,
        names: Sequence[str],
        results: SweepResults,
        steps: list[Step],
        settings: BacktestSettings,
        algo_class: type[ScalpAlgo],
        verdict: BestOfMany | None = None,
    ) -> None:
        self._names = names
        self._days = results.days
        self._ranked = results.ranked()
        self._steps = steps
        self._verdict = verdict
        told = assumptions(settings, algo_class, [day.session.date for day in results.days])
        if LOT in names:
            told["lot"] = "swept"
        self._assumptions = told
        self._settings = settings

    @property
    def has_results(self) -> bool:
        """Whether any set could be played."""
        return any(not one.problem for one in self._ranked)

    def lines(self) -> Iterator[str]:
        """For people: the sets, best first; the best of each symbol; walk-forward; the assumptions."""
        head = (*self._names, *(column.head for column in SHOWN))
        sound = [one for one in self._ranked if not one.problem]
        if sound:
            yield from _table(head, [(*map(_word, one.values), *_cells(one.whole)) for one in sound], len(self._names))
        bad = [one for one in self._ranked if one.problem]
        if bad:
            yield ""
            yield f"{len(bad)} of {len(self._ranked)} sets have a problem and are not ranked:"
            for one in bad:
                yield f"  {self._named(one.values)}: {one.problem}"
        symbols = sorted({symbol for one in sound for symbol in one.by_symbol})
        if len(symbols) > 1 and len(sound) > 1:
            yield ""
            yield "best for each symbol:"
            rows = []
            for symbol in symbols:
                best = _best_for(symbol, sound)
                rows.append((symbol, *map(_word, best.values), *_cells(best.by_symbol[symbol])))
            yield from _table(("", *head), rows, 1 + len(self._names))
        if self._steps:
            yield ""
            yield from self._walk_forward()
        yield ""
        told = self._assumptions
        lot = "swept" if told["lot"] == "swept" else f"${told['lot']:g}"
        yield f"assumptions: --fills {told['fills']}, slippage {told['slippage']}, latency {told['latency']}"
        bars = counted(max((one.whole.bars for one in self._ranked), default=0), "bar")
        yield f"  algo {told['algo']}, lot {lot}; {told['data']}; {bars}, {counted(len(self._days), 'day')}"
        yield from (f"  - {rule}" for rule in told["rules"])
        if self._verdict is not None:
            yield ""
            yield str(self._verdict)
        if sound:
            yield ""
            yield f"the best set runs with: {self._command(sound[0])}"

    def _command(self, best: SetResult) -> str:
        """The line that trades `best`."""
        settings, chosen = self._settings, dict(zip(self._names, best.values, strict=True))
        words = ["python", "main.py", f"--lot={chosen.pop(LOT, settings.lot):f}"]
        words += ["--algo", settings.algo] if settings.algo else []
        words += [word for name, value in chosen.items() for word in ("--set", f"{name}={_word(value)}")]
        words += [word for rail in str(settings.risk_limits).split(", ") if rail for word in f"--{rail}".split()]
        words += ["--net-exit"] if settings.net_exit else []
        return shlex.join([*words, *(settings.symbols or best.by_symbol)])

    def _walk_forward(self) -> Iterator[str]:
        yield "walk-forward: the best set of the days in-sample (left), and the same set in the days after (right):"
        cells = (*(column.head for column in SHOWN), "net a day")
        width = len(self._names)
        rows = []
        for step in self._steps:
            values = ["-"] * width if step.chosen is None else [_word(value) for value in step.chosen]
            inside = (self._dates(step.train), *_cells(step.inside), _daily(step.inside, step.train))
            outside = (self._dates(step.test), *_cells(step.outside), _daily(step.outside, step.test))
            rows.append((*values, *inside, "|", *outside))
        all_in, all_out = _sum([step.inside for step in self._steps]), _sum([step.outside for step in self._steps])
        trains, tests = [step.train for step in self._steps], [step.test for step in self._steps]
        rows.append(
            ("all", *[""] * width, *_cells(all_in)[:-1], "-", _daily(all_in, *trains),
             "|", "", *_cells(all_out), _daily(all_out, *tests))
        )  # fmt: skip
        yield from _table((*self._names, "in-sample", *cells, "|", "out-of-sample", *cells), rows, width)
        yield "days in-sample overlap: their sum counts a day as often as a set was chosen by it"
        yield (
            "this tries the way of choosing, not the set that runs best now, and is out of sample once: who changes "
            "sets or signal after looking at these days has chosen by them"
        )
        for step in self._steps:
            if step.problem:
                yield f"  {self._dates(step.train)}: {step.problem}"

    def write_csv(self, out: TextIO) -> None:
        """A row per set, best first: for all symbols together (*), then for each symbol."""
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow((*map(cell, self._names), "symbol", *(column.name for column in NUMBERS), "problem"))
        for one in self._ranked:
            values = [cell(value) if isinstance(value, str) else _word(value) for value in one.values]
            for symbol, part in {ALL: one.whole, **one.by_symbol}.items():
                rows.writerow((*values, cell(symbol), *_plain(part).values(), cell(one.problem)))

    def write_json(self, out: TextIO) -> None:
        """One object: `sets` best first, `walk_forward`, the assumptions and the versions. Rates are parts of 1."""
        answer = {
            "sets": [
                {
                    "parameters": self._parameters(one.values),
                    **_plain(one.whole),
                    "per_symbol": {symbol: _plain(part) for symbol, part in one.by_symbol.items()},
                    "problem": one.problem or None,
                }
                for one in self._ranked
            ],
            "walk_forward": [
                {
                    "parameters": None if step.chosen is None else self._parameters(step.chosen),
                    "in_sample": {**self._span(step.train), **_plain(step.inside)},
                    "out_of_sample": {**self._span(step.test), **_plain(step.outside)},
                    "problem": step.problem or None,
                }
                for step in self._steps
            ],
            "verdict": self._verdict and {**structs.asdict(self._verdict), "verdict": str(self._verdict)},
            "assumptions": self._assumptions,
            "versions": versions(),
        }
        json.dump(answer, out, indent=1)
        out.write("\n")

    def _parameters(self, values: Values) -> dict[str, Any]:
        plain = (float(value) if isinstance(value, Decimal) else value for value in values)
        return dict(zip(self._names, plain, strict=True))

    def _named(self, values: Values) -> str:
        return " ".join(f"{name}={_word(value)}" for name, value in zip(self._names, values, strict=True))

    def _span(self, window: Window) -> dict[str, str]:
        return {"from": str(self._days[window.first].session.date), "to": str(self._days[window.last].session.date)}

    def _dates(self, window: Window) -> str:
        span = self._span(window)
        return f"{span['from']}..{span['to']}" if span["from"] != span["to"] else span["from"]


def _best_for(symbol: str, sound: list[SetResult]) -> SetResult:
    """The first of the best."""
    return min(
        (one for one in sound if symbol in one.by_symbol),
        key=lambda one: objective(one.by_symbol[symbol]),
    )


def _sum(parts: Sequence[PartialStatistics]) -> PartialStatistics:
    whole = PartialStatistics()
    for part in parts:
        whole += part
    return whole


def _cells(part: PartialStatistics) -> tuple[str, ...]:
    return tuple(column.text(part) for column in SHOWN)


def _daily(part: PartialStatistics, *windows: Window) -> str:
    days = sum(window.last - window.first + 1 for window in windows)
    return f"{part.net / days:+.2f}"


def _plain(part: PartialStatistics) -> dict[str, Any]:
    return plain(part, NUMBERS)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Columns as wide as they need to be; the first `left` ones are set left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
