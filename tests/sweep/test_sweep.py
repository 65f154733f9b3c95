"""`python -m scalp.sweep` as a user meets it, and what its tables rest on."""

from __future__ import annotations

import csv
import datetime as dt
import importlib.util
import json
import os
import pickle
import shlex
import socket
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scalp import ScalpAlgo
from scalp.backtest.__main__ import main as backtest
from scalp.cli.algo_loader import load_algo
from scalp.cli.parameters import read_grid, with_set
from scalp.cli.settings import read_settings as read_main_settings
from scalp.core.clock import Session
from scalp.core.errors import UserError
from scalp.sweep import run as running
from scalp.sweep.__main__ import batches, main
from scalp.sweep.results import SweepResults, objective
from scalp.sweep.settings import read_settings
from scalp.sweep.source import DaySpec, bars_of, specify
from scalp.sweep.tasks import Job, Outcome, PartialStatistics

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason=f"Dask is not installed: {running.INSTALL}"
)

DAYS = ("--fills", "bar", "--from", "2026-11-20", "--to", "2026-11-24")
MARKET = (*DAYS, "F", "AAPL")

ALGO = """
import os, pathlib, signal
from decimal import Decimal
from scalp import ScalpAlgo

class Odd(ScalpAlgo):
    window = 10
    margin = 0.5
    eager = False
    label = "a"
    step = Decimal("0.01")
    choices = (1, 2)
    how = "well"

    def _calculate_buy_signal(self):
        if self.how == "raises":
            raise RuntimeError("no such luck")
        if self.how == "tells":
            raise RuntimeError(*sorted(name for name in os.environ if name.startswith(("APCA", "POLYGON", "SCALP"))))
        if self.how == "kills" or (self.how == "kills once" and not self.died_before()):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._calculate_buy_signal()

    def died_before(self):
        marker = pathlib.Path(__file__).with_suffix(".died")
        if marker.exists():
            return True
        marker.touch()
        return False
"""


@pytest.fixture
def odd(tmp_path: Path) -> str:
    (tmp_path / "odd.py").write_text(ALGO)
    return f"{tmp_path / 'odd.py'}:Odd"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


# -- the table --------------------------------------------------------------------------------------------------------


def test_a_set_comes_to_what_a_backtest_of_it_does(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from scalp import ScalpAlgo\nclass Mine(ScalpAlgo):\n    window = 10\n")
    assert (
        backtest([*MARKET, "--algo", f"{tmp_path / 'mine.py'}:Mine", "--lot", "1000", "--json", "--luck", "off"]) == 0
    )
    alone = json.loads(capsys.readouterr().out)["summary"]
    swept = answer(capsys, "--jobs", "1", "--set", "window=20,10", "--set", "lot=2000,1000", *MARKET)["sets"]
    assert len(swept) == 4
    found = next(one for one in swept if one["parameters"] == {"window": 10, "lot": 1000.0})
    for name in ("trades", "win_rate", "pnl", "fees", "net", "drawdown", "buys", "held", "bars"):
        assert found[name] == alone[name], name
        for symbol in ("F", "AAPL"):
            assert found["per_symbol"][symbol][name] == alone["per_symbol"][symbol][name]
    assert found["trades"] > 0 and found["drawdown"] > 0


def test_table_is_sorted_best_first_and_tells_its_assumptions(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--jobs", "1", "--set", "window=5,10,20", *MARKET)
    assert code == 0 and not err
    lines = out.splitlines()
    assert lines[0].split() == ["window", "trades", "win", "gross", "$", "net", "$", "drawdown"]
    profits = [float(line.split()[4]) for line in lines[1:4]]
    assert profits == sorted(profits, reverse=True)
    assert "best for each symbol:" in out and "assumptions: --fills bar" in out


def test_the_last_line_runs_the_best_set(capsys: pytest.CaptureFixture[str], odd: str) -> None:
    sets = ("--set", "label=x y", "--set", "window=20", "--set", "lot=1000", "--algo", odd)
    code, out, _ = run(capsys, "--jobs", "1", *sets, "--trail", "0.5%", "--net-exit", *MARKET)
    line = out.splitlines()[-1]
    assert (code, line.startswith("the best set runs with: python main.py --lot=1000 --algo ")) == (0, True)
    words = shlex.split(line.partition(" main.py ")[2])
    settings = read_main_settings(words, {})
    assert (settings.given, str(settings.risk_limits), settings.net_exit) == (
        ("label=x y", "window=20"),
        "trail 0.5%",
        True,
    )
    chosen = with_set(load_algo(settings.algo), settings.given)
    assert (chosen.window, chosen.label, settings.lot) == (20, "x y", Decimal(1000))  # type: ignore[attr-defined]


def test_csv_has_a_row_per_set_and_symbol(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    swept = answer(capsys, "--jobs", "1", "--set", "window=10,20", "--csv", str(path), *MARKET)["sets"]
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["symbol"] for row in rows] == ["*", "F", "AAPL"] * 2
    assert [float(row["pnl"]) for row in rows if row["symbol"] == "*"] == [one["pnl"] for one in swept]


def test_csv_on_standard_output_takes_the_place_of_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--jobs", "1", "--set", "window=10,20", "--csv", "-", *MARKET)
    assert code == 0
    assert [row["symbol"] for row in csv.DictReader(out.splitlines())] == ["*", "F", "AAPL"] * 2


def test_recorded_bars_are_played_day_by_day(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for date in ("2014-06-05", "2014-06-06"):
        opened = dt.datetime.fromisoformat(f"{date} 09:30:00-04:00")
        rows = [(opened + dt.timedelta(minutes=n), 10 + n * 7 % 11 / 100) for n in range(60)]
        text = "".join(f"{at},{price},{price},{price},{price},1000\n" for at, price in rows)
        (tmp_path / f"AB_{date.replace('-', '')}.csv").write_text("timestamp,open,high,low,close,volume\n" + text)
    bars = ("--bars", str(tmp_path), "--fills", "bar")
    assert backtest([*bars, "--json", "--luck", "off"]) == 0
    alone = json.loads(capsys.readouterr().out)["summary"]
    swept = answer(capsys, "--jobs", "1", "--set", "window=20", *bars)["sets"][0]
    assert (swept["trades"], swept["pnl"], swept["bars"]) == (alone["trades"], alone["pnl"], 120)
    code, _, err = run(capsys, "--jobs", "1", "--set", "window=20", *bars, "ABC")
    assert code == 2 and err == "error: --bars: no minute bars of ABC: there is AB\n"


# -- parameters -------------------------------------------------------------------------------------------------------


def test_values_have_the_type_of_the_attribute(odd: str) -> None:
    given = ["window=10,20,10", "margin=1,0.5", "eager=true,False", "label=x,y z", "step=0.10", "lot=1e3"]
    assert read_grid(given, load_algo(odd)) == {
        "window": (10, 20),
        "margin": (1.0, 0.5),
        "eager": (True, False),
        "label": ("x", "y z"),
        "step": (Decimal("0.10"),),
        "lot": (Decimal(1000),),
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("windw=1", "has no parameter windw: did you mean window?"),
        ("zzz=1", "has no parameter zzz: there is eager, exit_on_trades, how, label, lot, margin, step, warmup_bars"),
        ("_warmup_follows=1", "has no parameter _warmup_follows"),
        ("choices=1", "Odd.choices is a tuple: only numbers, truth values and text can be set"),
        ("on_bar=1", "Odd.on_bar is a function"),
        ("window=1.5", "'1.5' is not a whole number, as window is"),
        ("window=1,,2", "'' is not a whole number"),
        ("margin=nan", "'nan' is not a number"),
        ("eager=yes", "'yes' is not true or false"),
        ("step=a", "'a' is not a decimal number"),
        ("label=", "'' is not text"),
        ("lot=-5", "--lot '-5' must be more than 0"),
        ("window", "write NAME=v1,v2"),
    ],
)
def test_a_wrong_parameter_is_one_line(odd: str, given: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--algo", odd, "--set", given, *MARKET)
    assert code == 2 and not out
    assert told in err and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "lot=1,2", "--lot=3"], "keep one of the two"),
        (["--set", "window=1", "--set", "window=2"], "given twice"),
        (["--set", "window=1", "--html", "page.html"], "--html belongs to one backtest"),
        (["--set", "window=2", "--jobs", "0"], "'0' is not a number of processes"),
        (["--set", "window=2", "--scheduler", "here"], "not a tcp or tls address with a port"),
        (["--set", "window=2", "--walk-forward", "20,5"], "write train=20d,test=5d"),
        (["--set", "window=2", "--walk-forward", "train=3d,test=1d"], "needs 3 + 1 trading days, there are 3"),
        (["--set", "warmup_bars=-3,5"], "--set warmup_bars: -3 is below 0"),
        (["--set", "window=2", "--bars", ""], "--bars: it names nothing"),
        (["--set", "window=2", "--csv", ""], "--csv: it names nothing"),
        (["--set", "window=2", "--csv", "-", "--json"], "--csv - and --json both go to standard output"),
        (["--set", "window=2", "--csv", "/nowhere/at/all.csv"], "cannot be written"),
        ([], "--set"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *arguments, *MARKET)
    assert code == 2 and not out
    assert told in err and err.count("\n") == 1


def test_a_bad_set_is_reported_and_ends_nothing(capsys: pytest.CaptureFixture[str], odd: str) -> None:
    code, out, _ = run(capsys, "--jobs", "1", "--algo", odd, "--set", "how=well,raises", *MARKET)
    assert code == 0
    assert out.splitlines()[1].startswith("well")
    assert "1 of 2 sets have a problem and are not ranked:" in out
    assert "how=raises: 2026-11-20: F: RuntimeError: no such luck" in out

    swept = answer(capsys, "--jobs", "1", "--set", "window=0,20", "--set", "lot=1,2000", *MARKET)["sets"]
    problems = {(one["parameters"]["window"], one["parameters"]["lot"]): one["problem"] for one in swept}
    assert swept[0]["parameters"] == {"window": 20, "lot": 2000.0} and swept[0]["problem"] is None
    assert "lot of $1 buys no share" in problems[20, 1.0]
    assert "ScalpAlgo.window must be a whole number of bars" in problems[0, 2000.0]

    code, out, _ = run(capsys, "--jobs", "1", "--set", "lot=1,2", *MARKET)
    assert code == 1
    assert out.startswith("\n2 of 2 sets have a problem")


# -- walk-forward -----------------------------------------------------------------------------------------------------


def spec(date: dt.date) -> DaySpec:
    return DaySpec(Session(date, 0, 1), ("A",))


def test_what_is_left_after_fees_ranks() -> None:
    spent = [PartialStatistics(pnl=Decimal(10), fees=Decimal(9)), PartialStatistics(pnl=Decimal(5), fees=Decimal(1))]
    assert sorted(spent, key=objective) == [spent[1], spent[0]]


def results_of(*profits: tuple[int, ...]) -> SweepResults:
    """A set per argument, a day per number."""
    days = [spec(dt.date(2026, 1, 1) + dt.timedelta(n)) for n in range(len(profits[0]))]
    results = SweepResults([(number,) for number in range(len(profits))], days)
    for number, of_set in enumerate(profits):
        for place, pnl in enumerate(of_set):
            results.take([Outcome(place, number, PartialStatistics(trades=1, pnl=Decimal(pnl), total=pnl * 1_000_000))])
    return results


def test_each_step_tries_the_set_that_was_best_before() -> None:
    steps = results_of((1, 1, 9, 0, 0), (2, 2, 0, 0, 5)).walk_forward(2, 2)
    assert [(s.train.first, s.train.last, s.test.first, s.test.last) for s in steps] == [(0, 1, 2, 3), (2, 3, 4, 4)]
    assert [(s.chosen, int(s.inside.pnl), int(s.outside.pnl)) for s in steps] == [((1,), 4, 0), ((0,), 9, 0)]


def test_a_choice_knows_nothing_of_the_days_after() -> None:
    results = results_of((1, 1, 9), (2, 2, 0))
    before = results.walk_forward(2, 1)[0]
    results.take([Outcome(2, 1, PartialStatistics(pnl=Decimal(-99)), problem="later")])
    after = results.walk_forward(2, 1)[0]
    assert (after.chosen, after.inside) == (before.chosen, before.inside)
    assert after.outside.pnl == -99 and after.problem == "2026-01-03: later"


def test_a_set_with_a_problem_is_not_chosen() -> None:
    results = results_of((1, 1, 1), (2, 2, 2))
    results.take([Outcome(0, 1, PartialStatistics(pnl=Decimal(50)), problem="bad")])
    assert results.walk_forward(2, 1)[0].chosen == (0,)
    results.take([Outcome(1, 0, problem="bad")])
    assert results.walk_forward(2, 1)[0].chosen is None


def test_walk_forward_sets_both_tables_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--jobs", "1", "--set", "window=5,20", "--walk-forward", "train=1d,test=1d", *MARKET)
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and out.count("  |  ") == 4  # the head, two steps, and all
    assert "in-sample" in out and "out-of-sample" in out
    told = answer(capsys, *arguments)
    for step in told["walk_forward"]:
        assert step["in_sample"]["to"] < step["out_of_sample"]["from"]
    assert told["walk_forward"][1]["out_of_sample"]["to"] == "2026-11-24"


def test_drawdown_of_days_in_row_is_that_of_their_whole_path() -> None:
    def day(*points: int) -> PartialStatistics:
        peak = fall = 0
        for point in points:
            peak = max(peak, point)
            fall = max(fall, peak - point)
        return PartialStatistics(total=points[-1], high=max(0, *points), low=min(0, *points), fall=fall)

    paths = [(3, 1, 2), (-4, -1), (2, -6, 5), (-1, -2)]
    whole, running_total, points = PartialStatistics(), 0, []
    for path in paths:
        whole += day(*path)
        points += [running_total + point for point in path]
        running_total += path[-1]
    assert whole == day(*points)


# -- tasks and processes ----------------------------------------------------------------------------------------------


def no_progress(what: str, done: int, of: int | None) -> None:
    pass


def test_a_task_carries_no_bars_and_no_key() -> None:
    settings = read_settings(["--set", "window=1,2", *MARKET])
    days = specify(settings.backtest, no_progress)
    sizes = [len(pickle.dumps(batch)) for batch in batches([(n,) for n in range(100)], days, 2)]
    assert max(sizes) < 2000


def test_only_a_cluster_needs_dask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run(capsys, "--jobs", "2", "--set", "window=20", *MARKET)[0] == 0
    code, _, err = run(capsys, "--set", "window=20", "--scheduler", "tcp://127.0.0.1:1", *MARKET)
    assert code == 2 and err == f"error: --scheduler needs Dask: {running.INSTALL}, or leave it out\n"


def test_two_processes_tell_the_same_as_one(capsys: pytest.CaptureFixture[str], odd: str) -> None:
    rest = ("--set", "window=5,20", "--walk-forward", "train=1d,test=1d", "--algo", odd, *MARKET)
    alone = answer(capsys, "--jobs", "1", "--set", "how=well,raises", *rest)
    both = answer(capsys, "--jobs", "2", "--set", "how=well,raises", *rest)
    assert both == alone


def test_nobody_can_connect_to_the_processes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening: list[object] = []
    monkeypatch.setattr(socket.socket, "listen", lambda one, backlog=0: listening.append(one.getsockname()))
    assert run(capsys, "--jobs", "2", "--set", "window=20", *MARKET)[0] == 0
    assert listening == []


def test_the_processes_have_no_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    secrets = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_OAUTH_TOKEN", "POLYGON_API_KEY", "SCALP_NOTIFY")
    for name in (*secrets, "SCALP_SPEED"):
        monkeypatch.setenv(name, "secret")
    rest = ("--seed", "1", "--algo", odd, "--set", "how=tells", "--set", "window=5,20", *MARKET)
    _, out, _ = run(capsys, "--jobs", "2", *rest)
    assert out.count("RuntimeError: SCALP_SPEED\n") == 2
    assert [os.environ[name] for name in secrets] == ["secret"] * len(secrets)  # as they were


def test_a_dying_task_is_retried_and_then_reported(capsys: pytest.CaptureFixture[str], odd: str) -> None:
    rest = ("--algo", odd, "--fills", "bar", "--from", "2026-11-20", "--to", "2026-11-23", "F")
    well = answer(capsys, "--jobs", "1", "--set", "how=well", *rest)["sets"][0]
    assert well["trades"]
    told = answer(capsys, "--jobs", "2", "--set", "how=well,kills once,kills", *rest)["sets"]
    assert [one["parameters"]["how"] for one in told] == ["well", "kills once", "kills"]
    assert [{**one, "parameters": None} for one in told[:2]] == [{**well, "parameters": None}] * 2
    assert "its process died again and again" in told[2]["problem"]
    assert Path(odd.partition(":")[0]).with_suffix(".died").exists()


def test_a_process_that_cannot_start_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_serve", sys.exit)  # which ends before it has begun
    code, _, err = run(capsys, "--jobs", "2", "--set", "window=5,20", *MARKET)
    assert code == 2 and "a process of the sweep did not start" in err and err.count("\n") == 1


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason=f"Dask is not installed: {running.INSTALL}")
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster


def test_a_cluster_that_runs_already(capsys: pytest.CaptureFixture[str], cluster: Any) -> None:
    arguments = ("--set", "window=5,20", "--set", "lot=1,2000", *MARKET)
    alone = answer(capsys, "--jobs", "1", *arguments)
    assert answer(capsys, "--scheduler", cluster.scheduler_address, *arguments) == alone


@pytest.mark.parametrize("where", ["here", "on a cluster"])
def test_few_tasks_are_on_the_way_at_once(where: str, request: pytest.FixtureRequest) -> None:
    settings = read_settings(["--set", "window=5,6", *MARKET]).backtest
    days = specify(settings, no_progress)
    made = played = most = 0

    def counted() -> Iterator[Any]:
        nonlocal made
        for batch in batches([(n,) for n in range(5, 15)], days, 100):
            made += 1
            yield batch

    job = Job(settings, ("window",))
    with (
        running.local(2, job)
        if where == "here"
        else running.remote(request.getfixturevalue("cluster").scheduler_address, job)
    ) as workers:
        for _ in workers.play(counted()):
            most = max(most, made - played)
            played += 1
    assert made == played == 30
    assert most <= running.IN_FLIGHT * 2


@needs_dask
def test_a_scheduler_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ANSWER", 0.3)
    code, _, err = run(capsys, "--scheduler", "tcp://127.0.0.1:9", "--set", "window=5", *MARKET)
    assert code == 2 and "no Dask scheduler answers there" in err and err.count("\n") == 1


# -- the built-in parameter -------------------------------------------------------------------------------------------


def test_warmup_bars_follow_the_window_until_a_class_sets_them() -> None:
    assert (ScalpAlgo.window, ScalpAlgo.warmup_bars) == (20, 21)

    def made(name: str, base: type[ScalpAlgo] = ScalpAlgo, **attributes: object) -> type[ScalpAlgo]:
        return type(name, (base,), attributes)

    short, patient = made("Short", window=5), made("Patient", warmup_bars=60)
    assert short.warmup_bars == 6
    assert made("Shorter", short, window=3).warmup_bars == 4
    assert made("Both", window=5, warmup_bars=30).warmup_bars == 30
    assert made("Still", patient, window=5).warmup_bars == 60
    with pytest.raises(ValueError, match="whole number of bars"):
        made("None", window=0)
    # A signal of one's own may mean something else by it.
    assert made("Own", window="5min", _calculate_buy_signal=lambda self: False).warmup_bars == 21


def test_the_example_declares_its_parameters() -> None:
    example = load_algo(str(Path(__file__).parents[2] / "examples/sma_window.py") + ":SmaWindow")
    assert read_grid(["window=5", "margin=0"], example) == {"window": (5,), "margin": (0.0,)}
    with pytest.raises(UserError, match="did you mean margin"):
        read_grid(["margins=1"], example)


def test_a_file_that_changes_under_a_sweep_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "F_20240102.csv"
    path.write_text("timestamp,open,high,low,close,volume\n2024-01-02 09:30:00,5,5,5,5,10\n")
    (spec,) = specify(read_settings(["--set", "lot=1", "--bars", str(path)], {}).backtest, lambda *state: None)
    path.write_text("timestamp,open,high,low,close,volume\n2024-01-03 09:30:00,5,5,5,5,10\n")
    with pytest.raises(UserError, match=r"no bars of F on 2024-01-02 in .* any more"):
        bars_of(spec)


# -- the verdict ------------------------------------------------------------------------------------------------------

MONTH = ("--jobs", "1", "--fills", "bar", "--from", "2026-11-02", "--to", "2026-11-30", "F")


def test_verdict_counts_all_that_was_ever_tried_on_these_bars(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = answer(capsys, "--set", "window=5,10", *MONTH)["verdict"]
    assert (first["sets"], first["days"]) == (2, 20) and 0 < first["p"] <= 1 and 0 < first["deflated_sharpe"] < 1
    assert backtest([*MONTH[2:], "--set", "window=7", "--luck", "off", "--json"]) == 0
    capsys.readouterr()
    again = answer(capsys, "--set", "window=5,10", *MONTH)["verdict"]
    assert again["sets"] == 3, "a backtest is a set that was tried"
    assert answer(capsys, "--set", "window=7", *MONTH)["verdict"]["sets"] == 3, "and the same one in a sweep"
    code, out, _ = run(capsys, "--set", "window=5,10", *MONTH)
    assert code == 0 and out.splitlines()[-3] == again["verdict"]
    assert "all 3 sets ever tried on these bars" in again["verdict"]


def test_few_days_have_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(capsys, "--jobs", "1", "--set", "window=5,10", *MARKET)["verdict"]
    assert (told["p"], told["deflated_sharpe"]) == (None, None)
    assert told["verdict"] == "edge of the best: not tested, 3 days are too few: it takes 20"


def test_walk_forward_is_named_as_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--jobs", "1", "--set", "window=5,10", "--walk-forward", "train=2d,test=1d", *MARKET)
    assert "this tries the way of choosing, not the set that runs best now, and is out of sample once" in out


def test_sets_with_a_problem_prove_nothing(capsys: pytest.CaptureFixture[str], odd: str) -> None:
    answered = run(capsys, "--jobs", "1", "--json", "--set", "how=raises", "--algo", odd, *MARKET)
    assert answered[0] == 1 and json.loads(answered[1])["verdict"] is None
