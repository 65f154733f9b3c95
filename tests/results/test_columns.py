"""One list of columns: the same number for people, for machines, and to sort by."""

from __future__ import annotations

from decimal import Decimal

from scalp.results.columns import COLUMNS
from scalp.results.totals import Statistics

SOME = Statistics(
    trades=3, won=2, even=0, lost=1, win_rate=2 / 3, pnl=Decimal("-12.3456789"), fees=Decimal("1.0200"),
    rounding=Decimal("0.0012"), net=Decimal("-13.3656789"), average=Decimal("-4.115226"), worst=Decimal("-20"),
    profit_factor=1.23456789, expectancy=-0.00012345678, sqn=-0.5, cost_share=1.5, buy_and_hold=Decimal("3.5"),
    hold_seconds=71.23456, exposure=0.12345678, drawdown=Decimal("20.5"), longest_drawdown=1.5, under_water=0.25,
    days=20, sharpe=1.0, sortino=2.0, calmar=-3.0, buys=5, unfilled_buys=2, liquidations=1, held=0, bars=780,
)  # fmt: skip
NONE = Statistics(
    trades=0, won=0, even=0, lost=0, win_rate=None, pnl=Decimal("-0.0"), fees=Decimal(0), rounding=Decimal(0),
    net=Decimal(0), average=None, worst=None, profit_factor=None, expectancy=None, sqn=None, cost_share=None,
    buy_and_hold=None, hold_seconds=None, exposure=0.0, drawdown=Decimal(0), longest_drawdown=0.0, under_water=0.0,
    days=1, sharpe=None, sortino=None, calmar=None, buys=0, unfilled_buys=0, liquidations=0, held=0, bars=0,
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
        ("won", "2", 2, 2),
        ("even", "0", 0, 0),
        ("lost", "1", 1, 1),
        ("profit_factor", "1.23", 1.234568, 1.23456789),
        ("expectancy", "-0.012%", -0.00012346, -0.00012345678),
        ("sqn", "-0.50", -0.5, -0.5),
        ("cost_share", "150%", 1.5, 1.5),
        ("buy_and_hold", "+3.50", 3.5, 3.5),
        ("average_hold_seconds", "1:11", 71.235, 71.23456),
        ("exposure", "12.3%", 0.123457, 0.12345678),
        ("drawdown", "20.50", 20.5, 20.5),
        ("longest_drawdown_days", "1.50", 1.5, 1.5),
        ("under_water", "25.0%", 0.25, 0.25),
        ("days", "20", 20, 20),
        ("sharpe", "1.00", 1.0, 1.0),
        ("sortino", "2.00", 2.0, 2.0),
        ("calmar", "-3.00", -3.0, -3.0),
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
        ("profit_factor", "-", None),
        ("expectancy", "-", None),
        ("sqn", "-", None),
        ("cost_share", "-", None),
        ("buy_and_hold", "-", None),
        ("average_hold_seconds", "-", None),
        ("sharpe", "-", None),
        ("sortino", "-", None),
        ("calmar", "-", None),
    ]
    assert [str(column.plain(NONE)) for column in COLUMNS if column.name == "pnl"] == ["0.0"], "no minus zero"
