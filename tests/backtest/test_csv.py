"""CSV for spreadsheets: no text in a cell is taken for a formula."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scalp.backtest.output import cell, write_csv
from scalp.core.trades import RoundTrip
from scalp.results.totals import Results
from scalp.sweep.output import Told
from scalp.sweep.tasks import PartialStatistics

FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\uff1d1", '=HYPERLINK("x")')


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_like_a_formula_is_marked_as_text(text: str) -> None:
    assert cell(text) == "'" + text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("AAPL", "AAPL"),
        ("", ""),
        (-1.5, -1.5),
        (None, None),
        ("a=b", "a=b"),
        ("\t=1\r\n", r"\t=1\r\n"),
        ("\x1b[2J", r"\x1b[2J"),
    ],
)
def test_all_else_stays_as_it_is(value: object, written: object) -> None:
    assert cell(value) == written


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_trades_of_a_backtest() -> None:
    trade = RoundTrip("=A1", Decimal(3), 10**18, Decimal("2"), 10**18, Decimal("1"), Decimal(-3), "@SUM(1)")
    out = io.StringIO()
    write_csv(cast(Results, SimpleNamespace(trades=[trade])), out)
    (row,) = rows(out.getvalue())
    assert (row["symbol"], row["reason"], row["pnl"]) == ("'=A1", "'@SUM(1)", "-3.0")


def test_the_sets_of_a_sweep() -> None:
    one = SimpleNamespace(
        values=("-2+3", Decimal("-0.5"), -1),
        whole=PartialStatistics(),
        by_symbol={"=A1": PartialStatistics()},
        problem="=1+1 is no\nvalue",
    )
    told = cast(Any, Told.__new__(Told))
    told._names, told._ranked = ("kind", "margin", "step"), [one]
    out = io.StringIO()
    told.write_csv(out)
    first, second = rows(out.getvalue())
    assert (first["kind"], first["margin"], first["step"], first["symbol"]) == ("'-2+3", "-0.5", "-1", "*")
    assert (second["symbol"], second["problem"]) == ("'=A1", r"'=1+1 is no\nvalue")
