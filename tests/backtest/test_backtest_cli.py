"""`python -m scalp.backtest` as a user meets it."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scalp.backtest.__main__ import main

ROOT = Path(__file__).parents[2]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Without the luck test, which takes its time: see test_luck.py."""
    code = main([*arguments, "--luck", "off"])
    out, err = capsys.readouterr()
    return code, out, err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0 and not err
    result: dict[str, Any] = json.loads(out)
    return result


def write_bars(path: Path, rows: list[tuple[float, float, float, float]]) -> Path:
    opened = dt.datetime.fromisoformat("2014-06-05 09:30:00-04:00")
    lines = [f"{opened + dt.timedelta(minutes=n)},{o},{h},{low},{c},1000" for n, (o, h, low, c) in enumerate(rows)]
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    return path


def test_the_table_says_what_happened_and_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--lot=2000", "TSLA", "AAPL")
    assert code == 0 and not err
    headline, _, *lines = out.splitlines()
    assert headline == "synthetic market of seed 1: 2026-11-20"
    assert lines[0].split()[:7] == ["trades", "win", "gross", "$", "fees", "$", "net"]
    assert [line.split()[0] for line in (*lines[1:4], lines[5])] == ["TSLA", "AAPL", "rounding", "total"]
    rows = [[Decimal(cell) for cell in line.split()[-n:]] for line, n in ((lines[3], 2), (lines[5], 6))]
    symbols = [[Decimal(cell) for cell in line.split()[-6:]] for line in lines[1:3]]
    fees = sum(row[1] for row in symbols) + rows[0][0]
    assert fees == rows[1][1] == fees.quantize(Decimal("0.01")), "the rows add up to whole cents"
    assert max(map(len, lines[: lines.index("assumptions: --fills pessimistic, slippage none, latency 5 ms for orders "
                                            "and cancels, 20 ms for updates")])) <= 80  # fmt: skip
    assert "assumptions: --fills pessimistic, slippage none, latency 5 ms" in out
    # A risk rule's market exit may: see docs/backtest.md.
    assert "a limit sell never fills in the bar that filled its buy" in out


def test_trades_are_told_by_what_they_have_in_common(capsys: pytest.CaptureFixture[str]) -> None:
    days = ("--fills", "bar", "--from", "2026-11-20", "--to", "2026-11-24", "F", "AAPL")
    summary = answer(capsys, *days)["summary"]
    for name in ("hour", "weekday", "month", "reason"):
        groups = summary[f"per_{name}"]
        assert sum(group["trades"] for group in groups.values()) == summary["trades"]
        assert sum(group["net"] for group in groups.values()) == pytest.approx(summary["net"] + summary["rounding"])
    assert list(summary["per_weekday"]) == ["Monday", "Tuesday", "Friday"]
    assert (summary["days"], summary["sharpe"]) == (3, None), "too few days for a ratio of days"
    _, out, _ = run(capsys, *days)
    lines = out.splitlines()
    titles = ("by the hour of the entry", "by weekday", "by exit reason")
    assert [title in lines for title in (*titles, "by month")] == [True, True, True, False], "one month is no choice"
    numbers = lines[: next(n for n, line in enumerate(lines) if line.startswith("assumptions"))]
    assert max(map(len, numbers)) <= 80


def test_the_help_tells_each_default_of_the_latency(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "(default 5; 0 with optimistic)" in " ".join(capsys.readouterr().out.split())


def test_json_is_one_object_with_the_trades(capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "--fills", "bar", "--from", "2026-11-20", "--to", "2026-11-24", "AAPL", "F")
    assert set(result) == {"trades", "held", "summary", "assumptions", "versions"}
    trade = result["trades"][0]
    names = ["symbol", "qty", "entry_time", "entry_price", "exit_time", "exit_price", "pnl", "reason", "fees", "net"]
    assert list(trade) == names
    assert isinstance(trade["qty"], int) and trade["entry_time"].endswith("-05:00")
    assert dt.datetime.fromisoformat(trade["entry_time"]) < dt.datetime.fromisoformat(trade["exit_time"])
    summary = result["summary"]
    assert set(summary["per_day"]) == {"2026-11-20", "2026-11-23", "2026-11-24"}
    assert set(summary["per_symbol"]) == {"AAPL", "F"}
    gained = sum(trade["pnl"] for trade in result["trades"]) + sum(held["pnl"] for held in result["held"])
    assert summary["pnl"] == pytest.approx(gained, abs=1e-6)
    assert summary["trades"] == len(result["trades"]) == sum(s["trades"] for s in summary["per_symbol"].values())
    for trade in result["trades"]:
        gain = trade["qty"] * (trade["exit_price"] - trade["entry_price"])
        assert trade["pnl"] == pytest.approx(gain, abs=1e-6)


@pytest.mark.parametrize("fills", ["pessimistic", "bar"])
def test_the_same_run_gives_the_same_bytes(fills: str) -> None:
    command = [sys.executable, "-m", "scalp.backtest", "--json", "--fills", fills, "TSLA", "FB", "AAPL"]
    runs = [
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and runs[0].count(b"entry_time") > 10


def test_a_story_by_the_bar_rules(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A signal, a buy at its limit inside the next bar, a sell at the open two bars later."""
    falling = [(10 - n / 100, 10 - n / 100, 9 - n / 100, 10 - n / 100) for n in range(22)]
    path = write_bars(
        tmp_path / "UP_20140605.csv",
        [*falling, (10, 11, 10, 11), (11.2, 11.3, 10.9, 11.1), (11, 11, 10.8, 10.9), (11.4, 11.5, 11, 11)],
    )
    result = answer(capsys, "--bars", str(path), "--fills", "bar", "--lot", "2000")
    assert result["trades"] == [
        {
            "symbol": "UP",
            "qty": 181,
            "entry_time": "2014-06-05T09:53:00-04:00",
            "entry_price": 11.0,
            "exit_time": "2014-06-05T09:55:00-04:00",
            "exit_price": 11.4,
            "pnl": 72.4,
            "reason": "sell",
            "fees": 0.088495,  # $2,063.40 sold at 27.80 a million, 181 shares at 166 and twice 3 millionths
            "net": 72.311505,
        }
    ]
    worse = answer(capsys, "--bars", str(path), "--fills", "bar", "--slippage", "0.05")
    # The buy's limit was all it could pay; the sell, better than its limit, gives 5 cents a share of that away.
    assert (worse["trades"][0]["entry_price"], worse["trades"][0]["exit_price"]) == (11.0, 11.35)


def test_the_order_of_the_fills_from_worst_to_best(capsys: pytest.CaptureFixture[str]) -> None:
    unfilled = {
        fills: answer(capsys, "--fills", fills, "TSLA", "FB", "AAPL", "F")["summary"]["unfilled_buys"]
        for fills in ("through", "pessimistic", "touch", "optimistic")
    }
    assert list(unfilled.values()) == sorted(unfilled.values(), reverse=True)


def test_the_trades_as_csv(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    result = answer(capsys, "--fills", "bar", "--csv", str(path), "AAPL")
    header, *rows = path.read_text().splitlines()
    assert header == "symbol,qty,entry_time,entry_price,exit_time,exit_price,pnl,reason,fees,net"
    assert len(rows) == len(result["trades"])


def test_the_trades_as_csv_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--fills", "bar", "--csv", "-", "AAPL")
    header, *rows = out.splitlines()
    assert (code, header[:21]) == (0, "symbol,qty,entry_time")
    assert rows and all(row.startswith("AAPL,") for row in rows)


def test_a_signal_that_fails_is_told_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        "from scalp import ScalpAlgo\n"
        "class Broken(ScalpAlgo):\n"
        "    def _calculate_buy_signal(self):\n"
        "        return self.nothing\n"
    )
    code, out, err = run(capsys, "--algo", f"{path}:Broken", "AAPL")
    assert code == 0 and "custom_signal_broken:Broken" in out
    assert err.count("the buy signal failed") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lot=0", "AAPL"], "--lot '0' must be more than 0"),
        (["A B"], "'A B' is not a stock symbol"),
        (["--fills", "hopeful", "AAPL"], "invalid choice: 'hopeful'"),
        (["--slippage", "5pct", "AAPL"], "'5pct' is not an amount"),
        (["--latency", "-1", "AAPL"], "'-1' is not a number of milliseconds"),
        (["--fills", "bar", "--latency", "5", "AAPL"], "--fills bar knows no latency"),
        (["--from", "2026-11-24", "--to", "2026-11-20", "AAPL"], "--from 2026-11-24 is after --to 2026-11-20"),
        (["--from", "2026-11-21", "--to", "2026-11-22", "AAPL"], "2026-11-21 is not a trading day"),
        (["--from", "yesterday", "AAPL"], "'yesterday' is not a date"),
        (["--bars", "no/such/place"], "no/such/place: no such file or folder"),
        (["--bars", ""], "--bars: it names nothing"),
        (["--csv", "", "AAPL"], "--csv: it names nothing"),
        (["--csv", "-", "--json", "AAPL"], "--csv - and --json both go to standard output: keep one of the two"),
        (["--html", "", "AAPL"], "--html: it names nothing"),
        (["--bars", ".", "--seed", "2"], "--seed belongs to the synthetic market"),
        (["--algo", "nothing", "AAPL"], "write module:Class"),
        (["--csv", "no/such/folder/x.csv", "AAPL"], "cannot be written"),
        (["--lott=3", "AAPL"], "unrecognized arguments"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2 and not out
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err


@pytest.mark.parametrize("option", ["--csv", "--html"])
def test_a_file_that_cannot_be_written_is_told_at_once(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr("scalp.backtest.run.play")
    monkeypatch.setattr("scalp.backtest.history.synthetic_day", None)
    code, _, err = run(capsys, option, "no/such/folder/x", "AAPL")
    assert code == 2 and err == f"error: {option} no/such/folder/x: cannot be written (No such file or directory)\n"


def test_a_stop_while_its_own_sell_is_being_taken_loses_no_exit(capsys: pytest.CaptureFixture[str]) -> None:
    """What the engine tells while it takes an order may call for that order's cancel: the order comes first."""
    symbols = ("TSLA", "FB", "AAPL", "F", "NVDA", "AMD", "META")
    code, _, err = run(capsys, "--seed", "1", "--stop-loss", "0.05%", *symbols)
    assert code == 0
    assert "refused" not in err


@pytest.mark.parametrize(
    ("limits", "reasons"),
    [
        (("--stop-loss=0.2%", "--stop-at=bot"), {"sell", "stop"}),
        (("--trail=0.3%", "--stop-at=bot"), {"sell", "stop", "trail"}),
        (("--max-hold=5m",), {"sell", "max hold"}),
    ],
)
def test_a_market_exit_is_called_by_what_it_was_for(
    limits: tuple[str, ...], reasons: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "--seed=1", "--luck=off", "--json", *limits, "TSLA", "AMD")
    assert code == 0
    found = json.loads(out)
    assert {trade["reason"] for trade in found["trades"]} == reasons
    assert set(found["summary"]["per_reason"]) == reasons
