"""One list of columns: the same number for people, for machines, and to sort by."""

from __future__ import annotations

from decimal import Decimal

from scalp.results.columns import COLUMNS
from scalp.results.numbers import Numbers

SOME = Numbers(
    trades=3, win_rate=2 / 3, pnl=Decimal("-12.3456789"), fees=Decimal("1.0200"), rounding=Decimal("0.0012"),
    net=Decimal("-13.3656789"), average=Decimal("-4.115226"), worst=Decimal("-20"),
    hold_seconds=71.23456, exposure=0.12345678, drawdown=Decimal("20.5"), buys=5, unfilled_buys=2, liquidations=1,
    held=0, bars=780,
)  # fmt: skip
NONE = Numbers(
    trades=0, win_rate=None, pnl=Decimal("-0.0"), fees=Decimal(0), rounding=Decimal(0), net=Decimal(0),
    average=None, worst=None, hold_seconds=None, exposure=0.0,
    drawdown=Decimal(0), buys=0, unfilled_buys=0, liquidations=0, held=0, bars=0,
)  # fmt: skip


def test_each_number_has_a_text_a_json_number_and_a_rank() -> None:
    assert [(column.name, column.text(SOME), column.plain(SOME), column.exact(SOME)) for column in COLUMNS] == [
        ("trades", "3", 3, 3),
        ("win_rate", "67%", 0.666667, 2 / 3),
        ("pnl", "-12.35", -12.345679, -12.3456789),
        ("fees", "1.0200", 1.02, 1.02),
        ("rounding", "0.0012", 0.0012, 0.0012),
        ("net", "-13.3657", -13.365679, -13.3656789),
        ("average_net", "-4.12", -4.115226, -4.115226),
        ("worst_net", "-20.00", -20.0, -20.0),
        ("average_hold_seconds", "1:11", 71.235, 71.23456),
        ("exposure", "12.3%", 0.123457, 0.12345678),
        ("drawdown", "20.50", 20.5, 20.5),
        ("buys", "5", 5, 5),
        ("unfilled_buys", "2", 2, 2),
        ("liquidations", "1", 1, 1),
        ("held", "0", 0, 0),
        ("bars", "780", 780, 780),
    ]


def test_what_there_is_none_of_is_a_dash_and_null() -> None:
    missing = [(column.name, column.text(NONE), column.exact(NONE)) for column in COLUMNS if column.plain(NONE) is None]
    assert missing == [
        ("win_rate", "-", None),
        ("average_net", "-", None),
        ("worst_net", "-", None),
        ("average_hold_seconds", "-", None),
    ]
    assert [str(column.plain(NONE)) for column in COLUMNS if column.name == "pnl"] == ["0.0"], "no minus zero"
