"""How soon the bot trades: `python -m benchmarks.start`. Import time, then time and requests until buying is on."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.exchange import python, symbols
from benchmarks.processes import ROOT, until_said
from benchmarks.table import median, print_table, quantile
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE
from scalp.exchange.calendar import session_day
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.exchange.server import ExchangeServer

SIZES = (3, 100, 1000)
ROUNDS, LONG = 3, 15
INTO_THE_DAY = 60 * MINUTE  # when the bot starts: there is history to fetch
IMPORTS = {"python alone": "pass", "the SDK": "import alpaca_trade_api", "main.py": "import main"}


def imports(rounds: int) -> dict[str, list[float]]:
    """Seconds to import each of `IMPORTS` in a process of its own, in turns."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds + 1):
        for name, code in IMPORTS.items():
            started = time.perf_counter()
            subprocess.run(python("-c", code), cwd=ROOT, check=True)
            times[name].append(time.perf_counter() - started)
    return {name: values[1:] for name, values in times.items()}  # the first one read the disk


async def start(market: Mapping[str, Sequence[Bar]]) -> tuple[float, Counter[str]]:
    """(seconds from the process's start until buying is on and today's bars are in, requests by kind)."""
    day = session_day(DEFAULT_DAY)
    engine = Engine(day.open, day.close, market, now=day.open + INTO_THE_DAY, seed=1)
    server = await ExchangeServer.start(market, engine)
    requests: Counter[str] = Counter()
    handle = server.rest.handle

    def counted(method, path, *rest):  # type: ignore[no-untyped-def]
        requests["data" if "stocks" in path else "trading"] += 1
        return handle(method, path, *rest)

    server.rest.handle = counted  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory(prefix="scalp-benchmark-") as folder:
            command = python(str(ROOT / "main.py"), "--feed", "sip", *market)
            taken = await until_said(
                command, ("buying is on", "bars of today"), cwd=Path(folder), environment=server.environment()
            )
    finally:
        await server.stop()
    return taken, requests


def report(rounds: int, sizes: Sequence[int]) -> None:
    times = imports(rounds)
    sdk = median(times["the SDK"])
    print_table(
        "Import, s",
        ["what", "n", "median", "p99", "more than the SDK"],
        [[n, len(v), median(v), quantile(v, 0.99), f"{median(v) - sdk:+.2f}"] for n, v in times.items()],
    )
    rows: list[list[object]] = []
    for size in sizes:
        market = synthetic_day(symbols(size), session_day(DEFAULT_DAY), 1)
        results = [asyncio.run(start(market)) for _ in range(rounds)]
        seconds = [taken for taken, _ in results]
        most = results[-1][1]
        rows.append([f"{size} symbols", rounds, median(seconds), quantile(seconds, 0.99),
                     f"{median(seconds) / median(times['main.py']):.1f}x", most["trading"], most["data"]])  # fmt: skip
    print_table(
        "Start against the built-in exchange, an hour into the day: until buying is on and today's bars are in, s",
        ["what", "n", "median", "p99", "median/import", "requests", "of data"],
        rows,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG} rounds instead of {ROUNDS}")
    args = parser.parse_args(argv)
    report(LONG if args.long else ROUNDS, SIZES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
