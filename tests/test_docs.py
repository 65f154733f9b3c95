"""What README and docs tell holds: commands run, units verify, links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import main as program
from scalp import doctor, flatten, notify, status
from scalp.backtest.__main__ import main as backtest
from scalp.backtest.settings import read_settings as read_backtest
from scalp.cli.fee_options import read_fees
from scalp.cli.settings import read_settings
from scalp.exchange.__main__ import main as exchange
from scalp.report.__main__ import main as report
from scalp.sweep.__main__ import main as sweep
from tests.forked import python

ROOT = Path(__file__).resolve().parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

HALF_A_DAY = " --session=2026-11-27"  # a command works in half the minutes, or does not
# What is not run here, and why.
NOT_RUN = {
    "python3 -m venv": "sets up an environment, and is what .ci/run does",
    "pipenv run": "needs an account",
    "sudo": "changes the machine",
    "cd": "belongs to the line that changes the machine",
    "set -a": "needs an exchange in another terminal",
}
COMMANDS = (program.main, backtest, doctor.main, exchange, flatten.main, notify.main, report, status.main, sweep)
# Options of others: pip, pipenv, git, docker, systemd, sqlite, and of the tests.
FOREIGN = {
    "--dev", "--system", "--no-cache-dir", "--create-home", "--home-dir", "--now", "--interval", "--timeout",
    "--start-period", "--name", "--restart", "--stop-timeout", "--read-only", "--tmpfs", "--cap-drop", "--env-file",
    "--seeds", "--minutes", "--uid",
}  # fmt: skip


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of this language."""
    found: list[str] = []
    fence: str | None = None
    for line in path.read_text("utf-8").splitlines(keepends=True):
        if line.startswith("```"):
            fence = line[3:].strip() if fence is None else None
            if fence == language:
                found.append("")
        elif fence == language:
            found[-1] += line
    return found


def commands(path: Path) -> list[str]:
    """The commands of all blocks for sh, a line each."""
    text = "".join(blocks(path, "sh")).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


TO_RUN = list(dict.fromkeys(
    command for path in PAGES for command in commands(path) if not command.startswith(tuple(NOT_RUN))
))  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after the README's first command, its signal written down, and a home of its own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("main.py", "scalp", "examples"):
        (folder / name).symlink_to(ROOT / name)
    (signal,) = blocks(README, "python")
    (folder / "my_signal.py").write_text(signal)
    assert run(folder, "python main.py --lot=2000 TSLA FB AAPL").returncode == 0
    return folder


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("~", str(folder)))
    if "--speed" in words:  # it only paces for the eye
        words[words.index("--speed") + 1] = "100000"
    if "scalp.backtest" in words:  # the comparison with chance takes ten seconds
        words += ["--luck", "off"]
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("APCA_", "XDG_"))}
    environ["HOME"] = str(folder)
    if words[0] == "python" and "scalp.sweep" not in words:  # which starts processes of its own
        return python(words[1:], folder, environ)
    words = [sys.executable, *words[1:]] if words[0] == "python" else words
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("command", TO_RUN)
def test_what_it_says_to_type_works(command: str, folder: Path) -> None:
    if shutil.which(command.split()[0]) is None and not command.startswith("python"):
        pytest.skip(f"{command.split()[0]} is not here")
    done = run(folder, command + HALF_A_DAY * ("main.py" in command))
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (0, False), done.stderr
    assert done.stdout or "--html" in command


def test_the_readmes_two_set_up_lines_are_those_of_the_check() -> None:
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    begins = "python3 -m venv .venv && . .venv/bin/activate && pip install -q pipenv && pipenv sync -q"
    assert lines == [f"{begins} && python main.py --lot=2000 TSLA FB AAPL", f"{begins} --dev && python -m pytest -q"]
    (windows,) = blocks(README, "powershell")
    assert windows.splitlines()[-1] == lines[0].split(" && ")[-1]


def test_the_readme_shows_what_the_demo_prints_and_is_short(folder: Path) -> None:
    (shown,) = blocks(README, "")
    log = (folder / "console.log").read_text().splitlines()
    assert 8 <= len(shown.splitlines()) <= 12
    assert [line for line in shown.splitlines() if line not in log] == []
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere_and_lines_can_be_read(path: Path) -> None:
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), target
    if path.name != "README.md":
        assert [line for line in text.splitlines() if len(line) > 120] == []


def test_every_page_is_named_in_the_readme() -> None:
    text = README.read_text()
    assert [path.name for path in PAGES[1:] if f"](docs/{path.name})" not in text] == []


def options_of(main: Callable[[list[str]], int]) -> set[str]:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main(["--help"])
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown.getvalue()))


def test_the_readme_names_every_option_and_no_other() -> None:
    known = FOREIGN.union(*map(options_of, COMMANDS))
    told = {option for path in PAGES for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", path.read_text())}
    assert told - known == set()
    page = (DOCS / "options.md").read_text()
    assert {option for option in options_of(program.main) - {"--help"} if f"`{option}" not in page} == {"--version"}


def test_files_of_options_and_fees_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (options,) = blocks(DOCS / "options.md", "toml")
    Path("scalp.toml").write_text(options)
    settings = read_settings([], {"APCA_API_KEY_ID": "PKKEY", "APCA_API_SECRET_KEY": "secret-key"})
    assert (settings.symbols, settings.every_day, settings.given) == (("TSLA", "AAPL"), True, ("window=10",))
    assert read_backtest([], {}).symbols == ("TSLA", "AAPL")
    (fees,) = blocks(DOCS / "fees.md", "toml")
    Path("fees.toml").write_text(fees)
    assert read_fees("fees.toml").name == "fees.toml"


def test_classes_of_the_pages_are_taken(folder: Path) -> None:
    (folder / "mine.py").write_text("".join(blocks(DOCS / "signals.md", "python")))
    done = run(folder, "python -m scalp.backtest --seed 1 --algo mine.py:MyExits TSLA")
    assert (done.returncode, done.stderr) == (0, "")


# -- unattended -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit of docs/unattended.md, with this clone in the place of /opt/scalp."""
    (text,) = blocks(DOCS / "unattended.md", "ini")
    path = tmp_path / "scalp.service"
    path.write_text(text.replace("/opt/scalp/.venv/bin/python", sys.executable).replace("/opt/scalp", str(ROOT)))
    return path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit_and_finds_it_safe(unit: Path) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if "scalp.service" in line]) == (0, [])
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    scored = subprocess.run(command, capture_output=True, text=True)
    (score,) = re.findall(r"Overall exposure level for scalp.service: ([\d.]+) (\w+)", scored.stdout)
    assert float(score[0]) < 2 and score[1] == "OK"


def test_the_image_copies_what_is_there() -> None:
    (text,) = blocks(DOCS / "unattended.md", "dockerfile")
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY")]
    assert copied == [["Pipfile", "Pipfile.lock"], ["main.py"], ["scalp"]]
    assert all((ROOT / name).exists() for names in copied for name in names)
    orders = {line.split()[0] for line in text.splitlines()}
    assert orders == {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "HEALTHCHECK", "ENTRYPOINT"}
