"""Which class trades: told in one line, and compared with what its newest backtest had."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import main
from scalp import ScalpAlgo
from scalp.backtest.__main__ import main as backtest
from scalp.cli.algo_loader import load_algo
from scalp.cli.identity import fingerprint, parameters, since_backtest, told
from scalp.cli.parameters import with_set

ALGO = "from scalp import ScalpAlgo\n\n\nclass Mine(ScalpAlgo):\n    target = 0.5\n"
PLAY = ("--seed", "1", "--algo", "mine.py:Mine")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(main, "algo_class", ScalpAlgo)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text(ALGO)
    return tmp_path


def mine() -> type[ScalpAlgo]:
    return load_algo("mine.py:Mine")


def test_the_fingerprint_is_the_files_whatever_the_parameters(folder: Path) -> None:
    first = fingerprint(mine())
    assert fingerprint(with_set(mine(), ["target=1"])) == first != fingerprint(ScalpAlgo)
    assert fingerprint(with_set(ScalpAlgo, ["window=5"])) == fingerprint(ScalpAlgo)
    (folder / "mine.py").write_text(ALGO + "    # another\n")
    assert fingerprint(mine()) != first


def test_it_is_told_with_the_parameters_that_are_its_own() -> None:
    assert parameters(ScalpAlgo) == {}
    chosen = with_set(mine(), ["target=1", "window=5"])
    assert told(chosen) == (
        f"custom_signal_mine:Mine (target 1.0, warmup_bars 6, window 5), source {fingerprint(chosen)}"
    )


def test_start_says_when_newest_backtest_had_another_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert since_backtest(mine()) == "it was never backtested here"
    assert backtest([*PLAY, "--json", "F"]) == 0
    assumed = json.loads(capsys.readouterr().out)["assumptions"]
    before = fingerprint(mine())
    assert (assumed["source"], assumed["parameters"], since_backtest(mine())) == (before, {"target": 0.5}, "")
    (folder / "mine.py").write_text(ALGO.replace("0.5", "0.7"))
    assert since_backtest(mine()) == f"its newest backtest had another source ({before})"
    assert (folder / "state" / "scalp" / "backtests.json").stat().st_mode & 0o777 == 0o600


def test_the_first_lines_of_the_log_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*PLAY, "--set", "target=2", "F"]) == 0
    assert f"algo {told(with_set(mine(), ['target=2']))}" in "".join(capsys.readouterr().out.splitlines()[:4])


def test_a_file_of_fingerprints_that_cannot_be_read_is_none(folder: Path) -> None:
    (folder / "state" / "scalp").mkdir(parents=True)
    (folder / "state" / "scalp" / "backtests.json").write_text("[1]")
    assert since_backtest(mine()) == "it was never backtested here"
