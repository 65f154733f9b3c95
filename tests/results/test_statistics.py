"""The ratios of `results.statistics`, beside those of libraries that nobody here wrote, and worked out by hand."""

from __future__ import annotations

import datetime as dt
import random
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from scalp.core.clock import Session, new_york
from scalp.core.fees import ALPACA
from scalp.core.trades import Fill, RoundTrip
from scalp.core.units import HOUR, MINUTE, SECOND
from scalp.exchange.calendar import trading_days
from scalp.results.statistics import calmar, cost_share, sharpe, sortino, under_water
from scalp.results.symbol_day import SymbolDay
from scalp.results.totals import Results, of_trades

D = Decimal
RICH = 1e9  # dollars: of so much a day's profit is so small a part that compounding adds next to nothing
DAYS = [
    Session(day.date, day.open, day.close) for day in trading_days(dt.date(2026, 10, 1), dt.date(2026, 11, 30))
]  # 42, half days among them


def daily(seed: int, days: int = 60) -> list[float]:
    rng = random.Random(seed)
    return [round(rng.gauss(1, 30), 2) for _ in range(days)]


def trade(net: float, at: int = DAYS[0].open, reason: str = "sell", symbol: str = "AAPL") -> RoundTrip:
    price = D(200) + D(repr(net)) / 10
    return RoundTrip(symbol, D(10), at, D(200), at + 90 * SECOND, price, D(repr(net)) + D("0.25"), reason, D("0.25"))


@pytest.mark.parametrize("seed", range(5))
def test_days_are_judged_as_empyrical_does(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import empyrical  # type: ignore[import-untyped, unused-ignore]

        net = daily(seed)
        returns = pd.Series(net) / RICH
        theirs = [f(returns) for f in (empyrical.sharpe_ratio, empyrical.sortino_ratio, empyrical.calmar_ratio)]
    assert [sharpe(net), sortino(net), calmar(net)] == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_trades_are_judged_as_backtesting_py_does(seed: int) -> None:
    """Every trade enters with the same dollars, so that their ratios of returns are those of profits."""
    trades = [trade(net) for net in daily(seed)]
    ours = of_trades(trades)
    count = len(trades)
    dates = pd.date_range("2026-01-01", periods=count + 1)
    net = np.array([float(one.net) for one in trades])
    frame = pd.DataFrame(
        {
            "Size": 10, "EntryBar": range(count), "ExitBar": range(1, count + 1), "EntryPrice": 200.0,
            "ExitPrice": [float(one.exit_price) for one in trades], "PnL": net, "ReturnPct": net / 2000,
            "EntryTime": dates[:-1], "ExitTime": dates[1:], "Duration": dates[1:] - dates[:-1], "Commission": 0.0,
        }
    )  # fmt: skip
    price = pd.DataFrame({name: 200.0 for name in ("Open", "High", "Low", "Close")}, index=dates)
    equity = pd.DataFrame({"Equity": 1e6 + np.concatenate(([0.0], net.cumsum())), "DrawdownPct": 0.0}, index=dates)
    stats = pd.Series({"_strategy": None, "_equity_curve": equity, "_trades": frame})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from backtesting.lib import compute_stats  # type: ignore[import-not-found, import-untyped, unused-ignore]

        theirs = compute_stats(stats=stats, data=price, trades=frame)
    assert (ours.won, ours.trades) == (round(theirs["Win Rate [%]"] * count / 100), theirs["# Trades"])
    assert ours.profit_factor == pytest.approx(theirs["Profit Factor"])
    assert ours.expectancy == pytest.approx(theirs["Expectancy [%]"] / 100)
    assert ours.sqn == pytest.approx(theirs["SQN"])


def test_what_cannot_be_told_is_none() -> None:
    few = daily(1, 19)
    assert [sharpe(few), sortino(few), calmar(few)] == [None] * 3
    assert [sharpe([1.0] * 20), sortino([1.0] * 20), calmar([1.0] * 20)] == [None] * 3
    none, one = of_trades([]), of_trades([trade(1.0)])
    assert (none.profit_factor, none.expectancy, none.sqn, none.cost_share, none.win_rate) == (None,) * 5
    assert (one.profit_factor, one.sqn) == (None, None)
    assert of_trades([trade(1.0), trade(0.0), trade(-2.0)]).profit_factor == pytest.approx(0.5)
    assert [cost_share(D(2), D(1)), cost_share(D(0), D(1)), cost_share(D(1), D(3))] == [0.5, None, 3.0]


def test_even_is_neither_won_nor_lost_after_fees() -> None:
    some = of_trades([trade(1.0), trade(0.0), trade(-0.5), trade(-1.0)])
    assert (some.won, some.even, some.lost) == (1, 1, 2)


def test_time_under_water_counts_sessions_alone() -> None:
    first, second = DAYS[:2]
    noon = first.open + (first.close - first.open) // 2
    # Up 10; at noon 2 below that, all night, until a quarter of the next day is over; at its end below again.
    quarter = second.open + (second.close - second.open) // 4
    points = [(first.open + MINUTE, 10), (noon, 8), (noon + HOUR, 9), (quarter, 10), (second.close - MINUTE, 7)]
    longest, share = under_water(points, DAYS[:2])
    minute = MINUTE / (second.close - second.open)
    assert longest == pytest.approx(0.5 + 0.25)
    assert share == pytest.approx((0.75 + minute) / 2)
    assert under_water([], DAYS[:1]) == (0.0, 0.0)
    assert under_water([(noon, -1)], DAYS[:1]) == pytest.approx((0.5, 0.5))


def day(session: Session, symbol: str, opened: str, closed: str, fills: list[Fill]) -> SymbolDay:
    return SymbolDay(symbol, session, 390, fills, [], [], D(closed), D(opened))


def test_results_know_days_groups_and_buy_and_hold() -> None:
    def trip(session: Session, minute: int, price: str, kind: str = "limit") -> list[Fill]:
        at = session.open + minute * MINUTE
        return [Fill("F", "buy", D(100), D(10), at), Fill("F", "sell", D(100), D(price), at + MINUTE, kind)]

    days = [
        day(DAYS[0], "F", "10", "11", trip(DAYS[0], 5, "10.50") + trip(DAYS[0], 65, "9.50", "stop")),
        day(DAYS[1], "F", "11", "12", trip(DAYS[1], 200, "10.10", "market")),
    ]
    results = Results(days, ALPACA, D(2000))
    net = results.daily()
    # Sold for 1,050 and 950, 200 shares: 0.0412 SEC, 0.039 TAF, 0.0012 CAT, each rounded up to a cent.
    assert net == {DAYS[0].date: D("-0.10"), DAYS[1].date: D("10") - D("0.03") - D("0.02") - D("0.01")}
    total = results.total()
    assert total.net == sum(net.values())
    # 200 shares: up by 2 dollars, after the fees of one purchase and one sale.
    paid = (
        ALPACA.on(DAYS[0].date).of("buy", D(200), D(10)).total + ALPACA.on(DAYS[1].date).of("sell", D(200), D(12)).total
    )
    assert total.buy_and_hold == D(400) - paid
    assert results.by_day()[DAYS[1].date.isoformat()].buy_and_hold is not None
    assert Results(days, ALPACA).total().buy_and_hold is None
    groups = {name: {key: of.trades for key, of in of_group.items()} for name, of_group in results.grouped().items()}
    assert groups == {
        "hour": {"09:00": 1, "10:00": 1, "12:00": 1},
        "weekday": {f"{new_york(one.open):%A}": count for one, count in ((DAYS[0], 2), (DAYS[1], 1))},
        "month": {"2026-10": 3},
        "reason": {"liquidation": 1, "sell": 1, "stop": 1},
    }


def test_weekdays_stand_in_their_order() -> None:
    fills = {
        session: [
            Fill("F", "buy", D(1), D(10), session.open),
            Fill("F", "sell", D(1), D(10), session.open + MINUTE),
        ]
        for session in DAYS[:5]
    }
    results = Results([day(session, "F", "10", "10", those) for session, those in fills.items()])
    assert list(results.grouped()["weekday"]) == ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
