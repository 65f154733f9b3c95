"""Makes the pictures of README and docs anew: `python -m docs.pictures`, in the repository's folder.

Real runs against the built-in exchange: the page of a session in headless Chromium, the dashboard in tmux. Needs
`chromium`, `chromedriver` and `tmux`; takes about a minute.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.browser import chromium, missing

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SYMBOLS = ("TSLA", "FB", "AAPL")
LIMITS = ("--stop-loss=0.5%", "--max-loss=100", "--max-positions=2")
PAGE = (1200, 1020)  # pixels of the window
TERMINAL = (144, 24)  # columns and lines
PATIENCE = 120.0  # seconds for the dashboard to have something to show
# A held position after eleven, when the day has a line to show.
TELLING = re.compile(r" 1[1-5]:\d\d:\d\d New York .*^\w+ +SELL_SUBMITTED ", re.DOTALL | re.MULTILINE)


def main() -> int:
    """Exit code 0; 1 where something that is needed is not here."""
    absent = missing() or ("" if shutil.which("tmux") else "not installed here: tmux")
    if absent:
        print(absent, file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page(folder, PICTURES / "report.png")
        dashboard(folder, PICTURES / "dashboard.svg")
    for picture in sorted(PICTURES.iterdir()):
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size / 1000:.0f} kB")
    return 0


def bot(*arguments: str) -> list[str]:
    """The command line of a simulated session that keeps its journal where it runs."""
    return [sys.executable, str(ROOT / "main.py"), "--journal=journal.sqlite", *arguments, *SYMBOLS]


def keyless() -> dict[str, str]:
    """The environment without an account: the session is simulated."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("APCA_", "POLYGON_"))}
    return environ | {"PYTHONPATH": str(ROOT)}


def page(folder: Path, target: Path) -> None:
    """The page of a session, with the symbol that traded most in its chart."""
    report = [sys.executable, "-m", "scalp.report", "--journal=journal.sqlite", "--html=report.html"]
    for command in (bot(), report):
        subprocess.run(command, cwd=folder, env=keyless(), check=True, stdout=subprocess.DEVNULL)
    with chromium(folder / "profile", "--hide-scrollbars") as browser:
        browser.resize(*PAGE)
        browser.open(folder / "report.html")
        assert browser.wait_for("return document.body.dataset.state") == "drawn"
        browser.run("chooseSymbol(data.symbols.indexOf(arguments[0]), 0)", SYMBOLS[-1])
        browser.screenshot(target)


def dashboard(folder: Path, target: Path) -> None:
    """The dashboard while shares are held."""
    with terminal(folder, bot("--dashboard", "--speed=600", *LIMITS)) as shown:
        deadline = time.monotonic() + PATIENCE
        while not TELLING.search(Text.from_ansi(picture := shown()).plain):
            assert time.monotonic() < deadline, f"nothing is held:\n{picture}"
            time.sleep(0.2)
    width, height = TERMINAL
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(picture), soft_wrap=True, end="")
    svg = console.export_svg(title="python main.py --dashboard")
    # Without the fonts that it would ask the network for.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), "utf-8")


@contextmanager
def terminal(folder: Path, command: list[str]) -> Iterator[Callable[[], str]]:
    """Run `command` in a terminal of tmux's; gives what returns the text on it, with its colours."""
    width, height = (str(number) for number in TERMINAL)
    tmux = ["tmux", "-L", f"pictures-{os.getpid()}"]
    start = [*tmux, "-f", os.devnull, "new-session", "-d", "-x", width, "-y", height, shlex.join(command)]
    subprocess.run(start, cwd=folder, env=keyless(), check=True)

    def shown() -> str:
        return subprocess.run([*tmux, "capture-pane", "-p", "-e"], check=True, capture_output=True, text=True).stdout

    try:
        yield shown
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


if __name__ == "__main__":
    sys.exit(main())
