"""How much memory a session takes: `python -m benchmarks.memory`. Linux only: it reads /proc."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.exchange import PATIENCE, Exchange, python, symbols
from benchmarks.fill_to_exit import run
from benchmarks.processes import ROOT, bot, own_environment
from benchmarks.table import print_table
from scalp.core.clock import new_york
from scalp.exchange.calendar import trading_days
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.market import synthetic_day

SIZES = (3, 100, 1000, 11_000)
MINUTES = 390
BREATH = 5  # minutes at once
WEEK, LONG_WEEK = 5, 20  # trading days in one process


def resident(pid: int) -> float:
    """The process's resident memory, KB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise ProcessLookupError(pid)


async def session(count: int, minutes: int) -> tuple[float, float]:
    """(KB once buying is on, KB when `minutes` of every symbol are in) of main.py; only the last symbol trades."""
    names = symbols(count)
    with tempfile.TemporaryDirectory(prefix="scalp-benchmark-") as folder:
        async with Exchange(names).serve() as exchange, bot(exchange, names, Path(folder)) as child:
            await exchange.listening()
            await _trade(exchange)
            before = resident(child.process.pid)
            for minute in range(minutes):
                exchange.send_bars(exchange.minute_frames([(name, 50.0) for name in names]))
                await exchange.bars_sent()
                if minute % BREATH == BREATH - 1 or minute == minutes - 1:
                    await _trade(exchange)  # everything before it has been taken in
                    await _journaled(Path(folder), count * (minute + 1))
            return before, resident(child.process.pid)


async def _trade(exchange: Exchange) -> None:
    for side in ("buy", "sell"):
        order = await exchange.provoke(exchange.symbols[-1]) if side == "buy" else (await exchange.order("sell"))[0]
        exchange.tell(exchange.update("fill", order))


async def _journaled(folder: Path, bars: int) -> None:
    """Wait until as many bars are on disk: on the wall clock each minute's are, long before the next one's come."""
    with contextlib.closing(sqlite3.connect(folder / "scalp" / "journal.sqlite")) as journal:
        async with asyncio.timeout(PATIENCE):
            while journal.execute("SELECT ifnull(max(rowid), 0) FROM bars").fetchone()[0] < bars:
                await asyncio.sleep(0.01)


async def week(days: int) -> list[float]:
    """KB of one process of main.py, with the built-in exchange in it, at the end of each of its `days`."""
    names = ["TSLA", "AAPL", "FB"]
    sizes: list[float] = []
    with tempfile.TemporaryDirectory(prefix="scalp-benchmark-") as text:
        folder = Path(text)
        for day in trading_days(DEFAULT_DAY.replace(day=1), DEFAULT_DAY.replace(month=12, day=31))[:days]:
            for name, bars in synthetic_day(names, day, 1).items():
                with (folder / f"{name}_{day.date:%Y%m%d}.csv").open("w", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(["timestamp", "open", "high", "low", "close", "volume"])
                    for bar in bars:
                        writer.writerow([new_york(bar.start).isoformat(), bar.open, bar.high, bar.low, bar.close,
                                         bar.volume])  # fmt: skip
        (folder / "run").mkdir()
        process = await asyncio.create_subprocess_exec(
            *python(str(ROOT / "main.py"), "--replay", str(folder), *names),
            cwd=folder / "run", env=own_environment(folder / "run"),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if b"the market has closed" in line:
                    sizes.append(resident(process.pid))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    return sizes


def report(sizes: Sequence[int], minutes: int, days: int) -> None:
    rows: list[list[object]] = []
    base, least = 0.0, 0
    for count in sizes:
        before, after = run(session(count, minutes))
        if not rows:
            base, least = after, count
        share = (after - base) / (count - least) if count > least else 0.0
        rows.append([f"{count} symbols", before / 1024, after / 1024, f"{after / base:.2f}x", share])
    print_table(
        f"Memory of main.py, MB; after {minutes} minutes of every symbol",
        ["what", "at the start", "at the end", "end/base", "KB a symbol above the base"],
        rows,
    )
    ends = run(week(days))
    print_table(
        f"One process over {days} days, the built-in exchange in it, MB at each day's end",
        ["day", "MB", "ratio to the second day"],
        [[number, kb / 1024, f"{kb / ends[min(1, days - 1)]:.3f}x"] for number, kb in enumerate(ends, 1)],
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG_WEEK} days instead of {WEEK}, and 11,000 symbols")
    args = parser.parse_args(argv)
    if not Path("/proc/self/status").exists():
        print("memory: skipped, this system has no /proc")
        return 0
    report(SIZES if args.long else SIZES[:-1], MINUTES, LONG_WEEK if args.long else WEEK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
