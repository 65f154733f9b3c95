"""How long a websocket frame takes, with the short way past the library and without: `python -m benchmarks.frames`.

Each frame comes after a wait, as fills do: the processor's caches are cold then, and code that runs takes longer.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from websockets.frames import OP_TEXT, Frame

from benchmarks.table import print_table, timing_rows
from scalp.live.cache_warmup import FILL, _opened
from scalp.net.websocket import WebSocket

ROUNDS, LONG = 500, 5000
WAIT = 0.002  # seconds


class Library(WebSocket):
    """All frames by the library's own parser."""

    def _is_between_frames(self) -> bool:
        return False


async def measure(rounds: int) -> dict[str, list[float]]:
    """Microseconds, of the two in turn."""
    frame = Frame(OP_TEXT, FILL).serialize(mask=False)
    past, through = _opened(), _opened()
    through.__class__ = Library
    times: dict[str, list[float]] = {"through the library": [], "past it": []}
    got: list[str | bytes] = []
    for socket in (past, through):
        socket.deliver(got.append)
    for _ in range(rounds):
        for way, socket in zip(times, (through, past), strict=True):
            await asyncio.sleep(WAIT)
            began = time.perf_counter()
            socket.data_received(frame)
            times[way].append((time.perf_counter() - began) * 1e6)
    assert len(got) == 2 * rounds
    return times


def report(rounds: int) -> None:
    times = asyncio.run(measure(rounds))
    rows = timing_rows(times, "past it")
    print_table("One frame of an order update, after a wait", ("way", "n", "median us", "p99", "worst", "ratio"), rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frames", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG} rounds instead of {ROUNDS}")
    report(LONG if parser.parse_args(argv).long else ROUNDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
