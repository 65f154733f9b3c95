"""`--algo`: loading a user's own class, and one clear line when it cannot be."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from scalp import ScalpAlgo
from scalp.backtest.__main__ import main as backtest
from scalp.cli.algo_loader import load_algo
from scalp.cli.parameters import with_set
from scalp.core.errors import UserError

HEAD = "from scalp import ScalpAlgo\n"
GOOD = (
    HEAD + "class Mine(ScalpAlgo):\n    warmup_bars = 5\n    def _calculate_buy_signal(self):\n        return False\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_a_class_from_a_file_or_a_module_beside_the_command(folder: Path) -> None:
    (folder / "my_signal.py").write_text(GOOD)
    for spec in ("my_signal:Mine", "my_signal.py:Mine", f"{folder}/my_signal.py:Mine"):
        algo = load_algo(spec)
        assert issubclass(algo, ScalpAlgo)
        assert algo.warmup_bars == 5


def test_a_file_with_the_name_of_a_python_module_does_no_harm(folder: Path) -> None:
    (folder / "random.py").write_text(GOOD)
    assert load_algo("random.py:Mine").warmup_bars == 5
    assert sys.modules["random"] is random


@pytest.mark.parametrize(
    ("text", "spec", "words"),
    [
        (GOOD, "mine.py", "write module:Class"),
        (GOOD, ":Mine", "write module:Class"),
        (GOOD, "mine.py:", "write module:Class"),
        (GOOD, "no_such_module:Mine", "no module no_such_module"),
        (GOOD, "elsewhere/mine.py:Mine", "no file elsewhere/mine.py"),
        (GOOD, "mine.py:Mein", "mine.py has no Mein: did you mean Mine?"),
        (GOOD, "mine.py:Yours", "mine.py has no Yours: did you mean Mine?"),
        ("import no_such_library\n" + GOOD, "mine.py:Mine", "no module no_such_library"),
        ("class Mine: pass\n", "mine.py:Mine", "Mine is not a subclass of ScalpAlgo"),
        ("Mine = 5\n", "mine.py:Mine", "Mine is not a subclass of ScalpAlgo"),
        ("class Mine(\n", "mine.py:Mine", "SyntaxError: '(' was never closed (line 1)"),
        ("raise ValueError('two\\nlines')\n", "mine.py:Mine", "ValueError: two lines"),
        ("import sys\nsys.exit('enough')\n", "mine.py:Mine", "SystemExit: enough"),
        (
            HEAD + "class Mine(ScalpAlgo):\n    def _calculate_buy_signal(self): pass\n"
            "    def _calc_buy_signal(self): pass\n",
            "mine.py:Mine",
            "keep the first",
        ),
        (
            HEAD + "class Mine(ScalpAlgo):\n    async def _calculate_buy_signal(self): return False\n",
            "mine.py:Mine",
            "no async",
        ),
    ],
)
def test_each_mistake_is_one_clear_line(folder: Path, text: str, spec: str, words: str) -> None:
    (folder / "mine.py").write_text(text)
    with pytest.raises(UserError) as caught:
        load_algo(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# -- --set ------------------------------------------------------------------------------------------------------------


def test_set_gives_class_attributes_values_of_their_type() -> None:
    chosen = with_set(ScalpAlgo, ["window=10", "exit_on_trades=true"])
    assert (chosen.window, chosen.warmup_bars, chosen.exit_on_trades, chosen.__name__) == (10, 11, True, "ScalpAlgo")
    assert with_set(ScalpAlgo, []) is ScalpAlgo and ScalpAlgo.window == 20


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("windo=10", "--set 'windo=10': ScalpAlgo has no parameter windo: did you mean window?"),
        ("window", "--set 'window': write NAME=v1,v2, for example --set window=10,20,30"),
        ("window=ten", "--set window: 'ten' is not a whole number, as window is"),
        ("window=10,20", "--set window: one value here; python -m scalp.sweep plays many"),
        ("window=0", "--set window=0: ValueError: ScalpAlgo.window must be a whole number of bars, 1 or more, not 0"),
        ("lot=5", "--set lot=... belongs to a sweep: write --lot"),
    ],
)
def test_a_wrong_set_is_one_line(given: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(["--seed", "1", "--set", given, "TSLA"]) == 2
    assert capsys.readouterr() == ("", f"error: {told}\n")


def test_a_backtest_with_set_is_that_of_the_class(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "mine.py").write_text(HEAD + "class ScalpAlgo(ScalpAlgo):\n    window = 10\n")
    told = []
    for own in (["--set", "window=10"], ["--algo", "mine.py:ScalpAlgo"], []):
        assert backtest(["--seed", "1", "--fills", "bar", "--json", *own, "TSLA"]) == 0
        told.append(json.loads(capsys.readouterr().out)["trades"])
    assert told[0] == told[1] != told[2]
