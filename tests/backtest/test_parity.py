"""The same bars give the same orders, fills and profit in a backtest and over the wire in the demo's own process.

Fills agree to the nanosecond, with two streams of market data (bars, and prints for the last trade). The time an order
is sent may differ by up to 20 ms: where a print falls into the very instant of a checkup, the reconciliation that
follows it over the wire learns of the fill before the order update arrives; and a feed of more than 50 symbols sends
its bars in groups, 10 ms apart.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import main
from scalp import ScalpAlgo
from scalp.backtest.run import backtest
from scalp.backtest.settings import read_settings
from scalp.core.trades import Fill
from scalp.exchange import demo
from scalp.exchange.matching import Engine, Latency
from tests.backtest.recorded import REAL_BARS

# Stops and exits of one's own strike often enough in half the minutes.
HALF_A_DAY, SAME_HALF = ("--session=2026-11-27",), ("--from=2026-11-27", "--to=2026-11-27")
Sent = tuple[str, str, str, Decimal, Decimal | None, str, Decimal, int]


class Demo:
    """Everything that reached the engines of a run of main.py."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.engines: list[Engine] = []

        def engine(*args: Any, **kwargs: Any) -> Engine:
            self.engines.append(Engine(*args, **kwargs))
            return self.engines[-1]

        monkeypatch.setattr(demo, "Engine", engine)
        monkeypatch.chdir(tmp_path)  # console.log goes there

    def run(self, *arguments: str) -> None:
        assert main.main(list(arguments)) == 0

    def orders(self) -> list[Sent]:
        return [
            (o.symbol, o.side, o.type, _quantity(o), o.limit_price, o.status, o.filled_qty, o.submitted_at)
            for engine in self.engines
            for o in engine.orders.values()
        ]

    def fills(self) -> list[Fill]:
        return [
            Fill(e.symbol, e.side, e.qty, e.price, e.at, engine.orders[e.order_id].type)
            for engine in self.engines
            for e in engine.executions
        ]

    def profit(self) -> Decimal:
        return sum((engine.equity() - 100_000 for engine in self.engines), Decimal(0))


def _quantity(order: Any) -> Decimal:
    """Nobody is told that a stop's quantity follows its take-profit."""
    return order.qty if order.qty is not None and order.type != "stop" else Decimal(0)


def in_time(fill: Fill) -> tuple[int, str, str, Decimal]:
    return fill.at, fill.symbol, fill.side, fill.price


def compare(wire: Demo, *arguments: str, algo_class: type[ScalpAlgo] = ScalpAlgo) -> None:
    settings = read_settings(arguments)
    results = backtest(settings, algo_class)
    fills = [fill for day in results.days for fill in day.fills]
    orders = [
        (o.symbol, o.side, o.type, _quantity(o), o.limit_price, o.status, o.filled_qty)
        for day in results.days
        for o in day.orders
    ]
    fills = [structs.replace(fill, reason="") for fill in fills]  # the wire does not tell what an exit is for
    assert sorted(fills, key=in_time) == sorted(wire.fills(), key=in_time)
    assert sorted(orders, key=str) == sorted((sent[:7] for sent in wire.orders()), key=str)
    times = sorted((o.symbol, o.submitted_at) for day in results.days for o in day.orders)
    for (symbol, at), (wire_symbol, wire_at) in zip(times, sorted((s[0], s[7]) for s in wire.orders()), strict=True):
        assert symbol == wire_symbol and abs(at - wire_at) <= Latency().update
    assert results.total().net == wire.profit(), "to the cent, fees included"
    assert len(fills) > 20


@pytest.mark.parametrize(
    ("seed", "symbols"), [("1", ("TSLA", "FB", "AAPL")), ("9", tuple(f"S{number}" for number in range(12)))]
)
def test_a_synthetic_day(seed: str, symbols: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wire = Demo(monkeypatch, tmp_path)
    wire.run("--lot=2000", "--seed", seed, *symbols)
    compare(wire, "--lot=2000", "--seed", seed, *symbols)


@pytest.mark.skipif(not REAL_BARS.is_dir(), reason="the recorded bars are not in ../shared/data/real-minute-bars")
def test_recorded_days(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wire = Demo(monkeypatch, tmp_path)
    bars = str(REAL_BARS.resolve())
    wire.run("--lot=2000", "--replay", bars, "GOOG")
    compare(wire, "--lot=2000", "--bars", bars, "GOOG")
    assert dt.date(2015, 12, 24) in {dt.datetime.fromtimestamp(e.session_open / 1e9).date() for e in wire.engines}


@pytest.mark.parametrize("stop", [("--stop-loss", "0.1%"), ("--trail", "0.2%")], ids=" ".join)
def test_a_day_with_stops(stop: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = ("--lot=2000", "--seed", "1", *stop, "TSLA", "FB", "AAPL")
    wire = Demo(monkeypatch, tmp_path)
    wire.run(*HALF_A_DAY, *arguments)
    compare(wire, *SAME_HALF, *arguments)
    assert any(sent[2] == "stop" and sent[6] for sent in wire.orders())


class OwnExits(ScalpAlgo):
    """Takes a quarter of a percent, leaves after 20 minutes or 0.15 % below the highest trade since the entry."""

    exit_on_trades = True
    highest = 0.0

    def _calculate_exit_price(self) -> float | None:
        self.highest = 0.0
        return self.entry_price * 1.0025 if self.entry_price else None

    def _calculate_quantity(self, price: Decimal) -> float:
        return float(1500 / price)

    def _calculate_exit_signal(self) -> bool:
        assert self.last_trade is not None and self.entry_time is not None
        self.highest = max(self.highest, self.last_trade)
        is_old = self._bars.index[-1] - self.entry_time > dt.timedelta(minutes=20)
        return is_old or self.last_trade < 0.9985 * self.highest


@pytest.mark.parametrize("on_trades", [True, False])
def test_a_day_with_exits_of_ones_own(on_trades: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(OwnExits, "exit_on_trades", on_trades)
    monkeypatch.setattr(main, "algo_class", OwnExits)
    arguments = ("--lot=2000", "--seed", "1", "TSLA", "FB", "AAPL")
    wire = Demo(monkeypatch, tmp_path)
    wire.run(*HALF_A_DAY, *arguments)
    compare(wire, *SAME_HALF, *arguments, algo_class=OwnExits)
    assert {sent[2] for sent in wire.orders() if sent[1] == "sell" and sent[6]} == {"limit", "market"}
