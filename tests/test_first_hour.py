"""What a stranger meets first: the demo's last words, the version, a .env that nobody loads, what a backtest played."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import main as program
from scalp import doctor, flatten, status
from scalp.backtest.__main__ import main as backtest
from scalp.cli import versions
from scalp.exchange.__main__ import main as exchange
from scalp.report.__main__ import main as report
from scalp.sweep.__main__ import main as sweep
from tests.forked import python

ROOT = Path(__file__).resolve().parents[1]
DEMO = ("--lot=2000", "--session=2026-11-27", "TSLA")
LAST_WORDS = """
What next?
  this session as a page:
    python -m scalp.report --date 2026-11-27 --html session.html
  a week of such sessions in one table:
    python -m scalp.backtest --seed 1 --from 2026-11-16 --to 2026-11-20 TSLA
  another signal (copy it, write your own):
    python main.py --algo examples/rsi.py:RsiAlgo TSLA
  a paper account: set APCA_API_KEY_ID and APCA_API_SECRET_KEY, then
    python -m scalp.doctor TSLA
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "algo_class", program.algo_class)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_demo_ends_with_table_and_what_to_do_next_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(DEMO) == 0
    shown = capsys.readouterr().out
    assert shown.endswith(LAST_WORDS)
    table = shown[shown.index("symbol   trades") :].splitlines()
    assert [line.split()[0] for line in table[:4]] == ["symbol", "TSLA", "rounding", "total"]
    assert max(map(len, table)) <= 80
    log = Path("console.log").read_text()
    assert "What next?" not in log
    assert log.splitlines()[0].startswith("-                       INFO    main    SIMULATED")
    assert log.splitlines()[-1].endswith("INFO    main    the session of 2026-11-27 was SIMULATED: made-up money")
    assert re.search(r"^2026-11-27 13:00:00\.000 INFO    main    total ", log, re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in LAST_WORDS.splitlines() if line.startswith("    python main.py")
                                  or line.startswith("    python -m scalp.b") or "report" in line])  # fmt: skip
def test_what_it_says_can_be_done(line: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    if "report" in line:
        assert program.main(DEMO) == 0
    (folder / "examples").symlink_to(ROOT / "examples")
    command = [*shlex.split(line)[1:], *(["--luck", "off"] if "backtest" in line else [])]
    command = [str(ROOT / word) if word == "main.py" else word for word in command]
    done = python(command, folder, os.environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_journal_there_are_no_last_words_of_a_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program.main([*DEMO, "--journal=off"]) == 0
    assert "scalp.report" not in capsys.readouterr().out
    monkeypatch.setattr(program, "run_logged", lambda settings: 130)
    assert program.main(DEMO) == 130
    assert "What next?" not in capsys.readouterr().out


def test_week_that_is_offered_plays_the_signal_of_the_session(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "run_logged", lambda settings: 0)
    assert program.main([*DEMO, "--algo", str(ROOT / "examples" / "rsi.py") + ":RsiAlgo"]) == 0
    assert re.search(r"scalp\.backtest .* --algo \S*rsi\.py:RsiAlgo TSLA$", capsys.readouterr().out, re.MULTILINE)


def test_python_m_scalp_is_main_py_and_tells_its_version() -> None:
    command = [sys.executable, "-m", "scalp", "--version"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert re.fullmatch(r"scalp \d{4}\.\d+, (commit [0-9a-f]{7,}(-dirty)?|source sha256:[0-9a-f]{16})\n", done.stdout)
    assert done.returncode == 0


def test_without_git_the_version_names_the_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "commit", lambda: "")
    with pytest.raises(SystemExit):
        program.main(["--version"])
    assert re.fullmatch(r"scalp \d{4}\.\d+, source sha256:[0-9a-f]{16}\n", capsys.readouterr().out)


LINE = "note: .env is not loaded (APCA_API_KEY_ID, SCALP_NOTIFY): begin the command with pipenv run, which loads it\n"
COMMANDS: list[tuple[Callable[[list[str]], int], list[str]]] = [
    (backtest, ["--lot=x"]), (sweep, ["--lot=x"]), (report, []), (status.main, []), (doctor.main, []),
    (flatten.main, ["TSLA"]), (exchange, ["--port=x"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_a_dotenv_that_is_not_loaded_is_named_by_every_command(
    command: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    Path(".env").write_text("export APCA_API_KEY_ID=PKSECRET\nSCALP_NOTIFY = x\n# POLYGON_API_KEY=1\nOTHER=2\n")
    command(arguments)
    assert LINE in capsys.readouterr().err
    monkeypatch.setenv("APCA_API_KEY_ID", "PKSECRET")
    monkeypatch.setenv("SCALP_NOTIFY", "json://localhost")
    command(["--nonsense"])
    assert ".env" not in capsys.readouterr().err


def test_main_names_it_in_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("APCA_API_KEY_ID=PKSECRET\n")
    assert program.main(DEMO) == 0
    shown = capsys.readouterr().out
    assert ".env is not loaded (APCA_API_KEY_ID)" in shown.splitlines()[0]
    assert "PKSECRET" not in shown


@pytest.mark.parametrize(
    ("arguments", "headline"),
    [
        ("--from 2026-11-19 --to 2026-11-20 TSLA",
         "synthetic market of seed 1: 2026-11-19 to 2026-11-20, 2 days"),
        ("--seed 3 TSLA", "synthetic market of seed 3: 2026-11-20"),
    ],
)  # fmt: skip
def test_a_backtest_says_in_its_first_line_what_it_plays(
    arguments: str, headline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backtest(arguments.split()) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [headline, ""]
