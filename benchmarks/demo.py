"""What a demo day costs, the built-in exchange in the bot's own process: `python -m benchmarks.demo`. Linux and macOS.

The floor makes the same market and does nothing with it. Times are the processor's, all threads together: a busy
machine does not change them much.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.exchange import python, symbols
from benchmarks.processes import ROOT, own_environment
from benchmarks.table import print_table

SIZES = (3, 100, 1000)
MARKET = """
import sys
from scalp.exchange.calendar import session_day
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.market import synthetic_day
synthetic_day(sys.argv[1:], session_day(DEFAULT_DAY), 1)
"""
OVER = "session over:"


def cost(command: Sequence[str], words: str = "") -> tuple[float, float]:
    """(seconds of the processor, peak memory in MB) of a process. Raises RuntimeError if it fails or lacks `words`."""
    with tempfile.TemporaryDirectory(prefix="scalp-benchmark-") as text, (Path(text) / "output").open("w+") as output:
        environment = {**own_environment(Path(text)), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=text, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT)  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
        if process.returncode or words not in said:
            raise RuntimeError(f"it ended with code {process.returncode}:\n{said[-3000:]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # what `ru_maxrss` counts in
    return used.ru_utime + used.ru_stime, used.ru_maxrss / unit


def report(sizes: Sequence[int]) -> None:
    rows: list[list[object]] = []
    for size in sizes:
        names = symbols(size)
        floor, least = cost(python("-c", MARKET, *names))
        seconds, most = cost(python(str(ROOT / "main.py"), *names), OVER)
        rows.append([f"{size} symbols", floor, seconds, f"{seconds / floor:.1f}x", least, most])
    print_table(
        "A demo day: seconds of the processor and peak memory, MB; the floor only makes the market",
        ["what", "floor s", "s", "s/floor", "floor MB", "MB"],
        rows,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--long", action="store_true", help="the same: it is long enough")
    parser.parse_args(argv)
    if not hasattr(os, "wait4"):
        print("demo: skipped, this system does not tell what a process used")
        return 0
    report(SIZES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
