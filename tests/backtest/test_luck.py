"""`--luck`: the sentence at the end, what a shift keeps, and that what signals ahead of time sees no future."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from scalp import Bar, ScalpAlgo
from scalp.backtest.__main__ import main
from scalp.backtest.luck import CLEAR, _Runs, _Window, verdict
from scalp.backtest.run import Day, play
from scalp.backtest.settings import FILLS, BacktestSettings, read_settings
from scalp.backtest.signals import _asked, _built_in, signal_rows
from scalp.cli.algo_loader import load_algo
from scalp.core.bars import BarColumns
from scalp.core.clock import Session
from scalp.core.risk_limits import RiskLimits
from scalp.core.units import MINUTE
from scalp.exchange.calendar import session_day, trading_days
from scalp.exchange.market import synthetic_day
from scalp.results.symbol_day import regular
from scalp.results.totals import Results
from scalp.sweep.__main__ import main as sweep

LOT = Decimal(2000)


def days(symbols: Sequence[str], count: int, seed: int = 1) -> list[Day]:
    start = dt.date(2026, 11, 16)
    found = []
    for number, day in enumerate(trading_days(start, start + dt.timedelta(days=20))[:count]):
        session = Session(day.date, day.open, day.close)
        market = synthetic_day(symbols, day, seed + number)
        found.append(Day(session, {symbol: regular(bars, session) for symbol, bars in market.items()}))
    return found


def settings(*arguments: str) -> BacktestSettings:
    return read_settings([*arguments, "AAPL"], {})


def results_of(kept: Sequence[Day], chosen: BacktestSettings, algo: type[ScalpAlgo] = ScalpAlgo) -> Results:
    played = (one for day in kept for one in play(chosen, algo, day.session, day.market))
    return Results(played, chosen.fees, chosen.lot)


def told(kept: Sequence[Day], *arguments: str, algo: type[ScalpAlgo] = ScalpAlgo, clear: int = CLEAR) -> str:
    chosen = settings(*arguments)
    return str(verdict(kept, chosen, algo, results_of(kept, chosen, algo), 0.0, clear))


# -- the sentence -----------------------------------------------------------------------------------------------------


def last_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--fills", "bar", "F", "AAPL"]) == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_a_backtest_ends_with_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    two_days = ("--from", "2026-11-20", "--to", "2026-11-23")
    few = last_line(capsys, "--set", "warmup_bars=350")
    assert re.fullmatch(r"edge: not tested, \d trades are too few: it takes 30", few)
    sentence = last_line(capsys, *two_days, "--luck", "19")
    assert sentence.startswith("edge: not shown (p = 0.") and sentence.endswith(" shifts)")
    assert last_line(capsys, *two_days, "--luck", "19") == sentence, "the same backtest has the same verdict"
    assert last_line(capsys, *two_days, "--luck", "off").startswith("  - liquidation begins")
    page = tmp_path / "page.html"
    assert main([*two_days, "--luck", "19", "--fills", "bar", "--json", "--html", str(page), "F", "AAPL"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["luck"]["verdict"] == sentence and f"p = {answer['luck']['p']:.2g} over" in sentence
    assert f'<p class="verdict">{sentence}</p>' in page.read_text()


@pytest.mark.parametrize("text", ["0", "18", "1e3", "-5", "many", ""])
def test_a_number_of_shifts_that_makes_no_sense_is_one_line(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert main([f"--luck={text}", "F"]) == 2
    assert "is not a number of shifts from 19 to 1000000: write for example 1000, or off" in capsys.readouterr().err


def test_a_sweep_has_a_verdict_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(["--luck", "19", "--set", "window=10", "F"]) == 2
    assert capsys.readouterr().err.startswith("error: --luck belongs to one backtest")


# -- what it finds ----------------------------------------------------------------------------------------------------


class Dips(ScalpAlgo):
    """Buys a close that is below all of the 10 before."""

    def _calculate_buy_signal(self) -> bool:
        closes = self._bars["close"]
        return bool(closes.iloc[-1] < closes.iloc[-11:-1].min())


def bouncing(kept: Sequence[Day], by: float) -> list[Day]:
    """The same days, but all is higher by `by` from the second bar after a new low on."""
    found = []
    for day in kept:
        market: dict[str, list[Bar]] = {}
        for symbol, bars in day.market.items():
            lifted, factor, closes = [], 1.0, [bar.close for bar in bars]
            for row, bar in enumerate(bars):
                if row > 11 and closes[row - 2] < min(closes[row - 12 : row - 2]):
                    factor *= 1 + by
                opened, high, low, close = (round(p * factor, 2) for p in (bar.open, bar.high, bar.low, bar.close))
                closes[row] = close
                lifted.append(Bar(symbol, bar.start, opened, high, low, close, bar.volume))
            market[symbol] = lifted
        found.append(Day(day.session, market))
    return found


def test_a_planted_edge_is_found_and_none_is_not() -> None:
    kept = days(("AAPL", "F"), 3)
    assert told(bouncing(kept, 0.002), "--fills=bar", "--luck=19", algo=Dips) == "edge: shown (p = 0.05 over 19 shifts)"
    assert told(kept, "--fills=bar", "--luck=19", algo=Dips).startswith("edge: not shown (p = 0.")


def test_it_ends_once_the_answer_is_clear() -> None:
    kept = days(("AAPL", "F"), 2)
    assert told(kept, "--fills=bar", "--luck=19", clear=1).endswith(" shifts)")
    assert told(kept, "--fills=bar", "--luck=19", clear=1) != told(kept, "--fills=bar", "--luck=19", clear=100)


class FirstHour(ScalpAlgo):
    """Buys after each bar of the first hour."""

    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return len(self.session_bars) <= 60


def test_random_runs_of_few_trades_do_not_count() -> None:
    """The market goes up and down for an hour and falls from then on: all but few shifts get stuck."""
    (day,) = days(("AAPL",), 1)
    path = [50.0 + row % 2 * 0.1 if row < 60 else 56.0 - row * 0.1 for row in range(390)]
    bars = [Bar("AAPL", day.session.open + row * MINUTE, p, p + 0.05, p - 0.05, p, 1e6) for row, p in enumerate(path)]
    sentence = told([Day(day.session, {"AAPL": bars})], "--fills=bar", "--luck=19", algo=FirstHour)
    assert re.fullmatch(r"edge: not tested, only \d+ of 190 shifts make 30 trades: it takes more days", sentence)


class Remembers(ScalpAlgo):
    """What it says depends on how often it was asked."""

    def _calculate_buy_signal(self) -> bool:
        self.asked = getattr(self, "asked", 0) + 1
        return self.asked % 5 == 0


def test_a_signal_that_remembers_is_not_tested() -> None:
    sentence = told(days(("AAPL", "F"), 2), "--fills=bar", "--luck=19", algo=Remembers)
    assert sentence == "edge: not tested, the signal goes by more than the bars of its day so far"


# -- what a shift keeps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fills", FILLS)
@pytest.mark.parametrize("limits", [RiskLimits(), RiskLimits(stop_loss=Decimal("0.002"))])
def test_no_shift_at_all_is_the_run_itself(fills: str, limits: RiskLimits) -> None:
    kept = days(("AAPL", "THIN"), 1)
    chosen = replace(settings("--fills", fills), risk_limits=limits)
    for algo in (ScalpAlgo, Dips):
        assert [_Runs(kept, chosen, algo).played(0, 0)[0]] == [*results_of(kept, chosen, algo).daily().values()]


def test_shift_moves_all_symbols_alike_around_minutes_of_day() -> None:
    day = days(("AAPL", "F"), 1)[0]
    window = _Window(day, settings(), ScalpAlgo)
    assert window.length == 364, "from the 21st bar to the last one that arrives before 15:55"
    first, around = day.session.open + 20 * MINUTE, 364 * MINUTE
    still = window.moved(0)
    assert min(map(len, still.values())) > 10
    for shift in (1, 100, 363):
        moved = window.moved(shift)
        for symbol, starts in still.items():
            assert moved[symbol] == {(at - first + shift * MINUTE) % around + first for at in starts}


def test_nothing_moves_to_where_it_could_not_be_bought() -> None:
    """Not before a thin symbol has its 21 bars, nor after --no-buy-after; a minute without a bar takes the next one."""
    day = days(("THIN", "F"), 1)[0]
    chosen = replace(settings(), risk_limits=RiskLimits(no_buy_after=dt.time(12)))
    window, noon = _Window(day, chosen, ScalpAlgo), day.session.open + 150 * MINUTE
    for shift in range(0, window.length, 7):
        for symbol, starts in window.moved(shift).items():
            allowed = {bar.start for bar in day.market[symbol][20:] if bar.start + MINUTE < noon}
            assert starts <= allowed
            assert len(starts) <= len(window.moved(0)[symbol])


# -- signals ahead of time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 5, 20, 400])
def test_the_rule_at_once_is_the_rule_asked_one_by_one(window: int) -> None:
    algo = type("Tuned", (ScalpAlgo,), {"window": window, "warmup_bars": 2})
    for day in days(("AAPL", "THIN", "F"), 3):
        for symbol, bars in day.market.items():
            asked = _asked(algo, symbol, LOT, day.session, bars)
            at_once = _built_in(window, BarColumns(bars))
            assert list(at_once) == [asked(row) for row in range(len(bars))]


def test_ties_fall_as_exactly_as_one_by_one() -> None:
    day = days(("AAPL",), 1)[0]
    rng = random.Random(4)
    prices = [round(10 + rng.randrange(-2, 3) / 100, 2) for _ in day.market["AAPL"]]
    bars = [Bar("AAPL", bar.start, p, p, p, p, 100.0) for bar, p in zip(day.market["AAPL"], prices, strict=True)]
    found, asked = list(_built_in(20, BarColumns(bars))), _asked(ScalpAlgo, "AAPL", LOT, day.session, bars)
    assert found == [asked(row) for row in range(len(bars))] and sum(found) > 20


@pytest.mark.parametrize("algo", [ScalpAlgo, Dips])
def test_without_the_future_the_signals_are_the_same(algo: type[ScalpAlgo]) -> None:
    day = days(("AAPL",), 1)[0]
    bars = day.market["AAPL"]
    whole = signal_rows(algo, "AAPL", LOT, day.session, bars)
    assert len(whole) > 5
    for cut in random.Random(1).sample(range(21, len(bars)), 20):
        assert signal_rows(algo, "AAPL", LOT, day.session, bars[:cut]) == [row for row in whole if row < cut]


def test_the_examples_signals_are_known_too() -> None:
    session = session_day(dt.date(2026, 11, 20))
    day = Session(session.date, session.open, session.close)
    bars = regular(synthetic_day(("AAPL",), session, 1)["AAPL"], day)
    folder = Path(__file__).parents[2] / "examples"
    found = {}
    for path in folder.glob("*.py"):
        names = re.findall(r"^class (\w+)\(", path.read_text(), re.MULTILINE)
        found[path.name] = len(signal_rows(load_algo(f"{path}:{names[-1]}"), "AAPL", LOT, day, bars))
    assert len(found) == 6 and sum(map(bool, found.values())) >= 5, found
