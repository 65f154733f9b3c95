"""The order-update stream tells late, a question by id is answered at once: `python -m benchmarks.learning`.

As Alpaca's staff describe it: the stream is 200 ms behind, an answer by id about current. The time runs from the fill
to the whole sell having arrived, for buys that fill at a random moment of their first 300 ms; waves of symbols trade
at the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.eager import TRIGGER
from benchmarks.exchange import Exchange, symbols
from benchmarks.fill_to_exit import run
from benchmarks.processes import bot
from benchmarks.table import print_table, quantile, timing_rows

WAVES, LONG = 4, 40
WIDTHS = (3, 25, 100)  # symbols that trade at the same time
STREAM_BEHIND = 0.2  # seconds
FILLED_WITHIN = 0.3  # seconds after the buy arrived


class Learned(NamedTuple):
    """Milliseconds from each fill to its sell, and to its update; `questions` by id were asked for each buy."""

    sold: list[float]
    told: list[float]
    questions: list[float]


async def measure(waves: int, *, width: int) -> Learned:
    rng = random.Random(1)
    result = Learned([], [], [])
    names = symbols(width)
    with tempfile.TemporaryDirectory(prefix="scalp-benchmark-") as folder:
        async with Exchange(names).serve() as exchange, bot(exchange, names, Path(folder)):
            await exchange.listening()
            buy = await exchange.provoke(names[0])
            exchange.tell(exchange.update("fill", buy))
            sell, _ = await exchange.order("sell")
            exchange.tell(exchange.update("fill", sell))
            await asyncio.sleep(STREAM_BEHIND)  # it is flat before the next bar
            for _ in range(waves):
                await _wave(exchange, rng, result)
    return result


async def _wave(exchange: Exchange, rng: random.Random, result: Learned) -> None:
    loop = asyncio.get_running_loop()
    filled: dict[str, float] = {}  # symbol -> when, milliseconds of perf_counter
    asked = exchange.requests["GET order"]

    def fill(buy: dict[str, Any]) -> None:
        update = exchange.update("fill", buy)  # from now on an answer by id says so
        filled[buy["symbol"]] = now = exchange.clock() / 1e6

        def tell() -> None:
            result.told.append(exchange.tell(update) / 1e6 - now)

        loop.call_later(STREAM_BEHIND, tell)

    exchange.send_bars(exchange.minute_frames([(symbol, TRIGGER) for symbol in exchange.symbols]))
    for _ in exchange.symbols:
        buy, _ = await exchange.order("buy")
        loop.call_later(rng.uniform(0.0, FILLED_WITHIN), fill, buy)
    for _ in exchange.symbols:
        sell, at = await exchange.order("sell")
        result.sold.append(at / 1e6 - filled[sell["symbol"]])
        exchange.tell(exchange.update("fill", sell))
    result.questions.append((exchange.requests["GET order"] - asked) / len(exchange.symbols))
    await asyncio.sleep(STREAM_BEHIND + 0.05)


def report(learned: Learned, width: int) -> None:
    times = {"the stream": learned.told, "bot": learned.sold}
    print_table(
        f"Learning of a fill, {width} symbols at once: fill -> sell order arrived, ms; the stream is "
        f"{STREAM_BEHIND * 1000:.0f} ms behind",
        ["who", "n", "median", "p99", "worst", "median/stream"],
        timing_rows(times, "the stream"),
    )
    print(f"by-id questions a buy: {quantile(learned.questions, 0.5):.1f}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG} waves instead of {WAVES}")
    args = parser.parse_args(argv)
    waves = LONG if args.long else WAVES
    for width in WIDTHS:
        report(run(measure(waves, width=width)), width)
    return 0


if __name__ == "__main__":
    sys.exit(main())
