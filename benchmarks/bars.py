"""What a minute bar costs: in the core, from the frame, and over the wire: `python -m benchmarks.bars`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec

from benchmarks.eager import TRIGGER
from benchmarks.exchange import BARS_IN_FRAME, Exchange, symbols
from benchmarks.fill_to_exit import run
from benchmarks.processes import bot
from benchmarks.table import median, print_table, quantile
from scalp import ScalpAlgo
from scalp.alpaca.decode import format_time_ns
from scalp.alpaca.feed import AlpacaFeed, _decoder
from scalp.alpaca.rest import AlpacaREST
from scalp.cli.settings import Endpoints
from scalp.core.clock import Session, new_york
from scalp.core.commands import Action
from scalp.core.fleet import Fleet
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND

SIZES = (10, 100, 1000, 11_000)
MINUTES, LONG = 20, 120  # timed
WARMUP = 21  # minutes before: as many as the signal needs
FRAME_SYMBOLS = 1000
OPEN = 1_930_829_400 * SECOND  # 2031-03-10 09:30 in New York
NOWHERE = Endpoints("http://127.0.0.1:9", "http://127.0.0.1:9", "ws://127.0.0.1:9", "none", "none")


class LastTwo(ScalpAlgo):
    """The README's own example: a rise from one minute to the next, seen through pandas."""

    warmup_bars = 2

    def _calculate_buy_signal(self) -> bool:
        return bool(self._bars["close"].iloc[-1] > self._bars["close"].iloc[-2])


class Bare:
    """The least that could decide: the same rule in floats over a list, nothing checked, nothing kept but closes."""

    def __init__(self) -> None:
        self._closes: dict[str, list[float]] = {}
        self.signals = 0

    def on_bar(self, bar: Bar) -> None:
        closes = self._closes.setdefault(bar.symbol, [])
        closes.append(bar.close)
        if len(closes) > 20:
            inner = sum(closes[-20:-1])
            before, now = closes[-2], closes[-1]
            if 20 * before < inner + closes[-21] and 20 * now > inner + now:
                self.signals += 1


class Market:
    """Random walks of so many symbols, minute by minute; `now` follows the last minute."""

    def __init__(self, count: int) -> None:
        self.symbols = symbols(count)
        self.now = OPEN
        self._rng = random.Random(1)
        self._prices = [50.0] * count

    def minute(self) -> list[Bar]:
        start = self.now
        self.now += MINUTE
        self._prices = [max(1.0, round(price + self._rng.gauss(0, 0.03), 2)) for price in self._prices]
        return [Bar(s, start, p, p, p, p, 100.0) for s, p in zip(self.symbols, self._prices, strict=True)]

    def fleet(self, algo_class: type[ScalpAlgo]) -> Fleet:
        """As on any day, but blind: it decides on every bar and never buys."""
        sent: list[Action] = []
        fleet = Fleet([algo_class(s, Decimal(2000), "1") for s in self.symbols], lambda: self.now, sent.append)
        fleet.begin_session(Session(new_york(OPEN).date(), OPEN, OPEN + 390 * MINUTE))
        return fleet


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines: what they cost shows over the wire."""
    logger = logging.getLogger("scalp")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def core(count: int, minutes: int, algo_class: type[ScalpAlgo] = ScalpAlgo) -> tuple[list[float], list[float]]:
    """(bot, bare class): microseconds a bar in each of `minutes`, in turns."""
    market, bare = Market(count), Bare()
    fleet = market.fleet(algo_class)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(WARMUP + minutes):
        bars = market.minute()
        for handler, kept in zip((fleet.on_bar, bare.on_bar), times, strict=True):
            spent = _timed(handler, bars) / len(bars)
            if number >= WARMUP:
                kept.append(spent)
    return times


def _timed(handler: Callable[[Bar], None], bars: Sequence[Bar]) -> float:
    """Microseconds for all of `bars`."""
    started = time.perf_counter()
    for bar in bars:
        handler(bar)
    return (time.perf_counter() - started) * 1e6


async def frames(count: int, minutes: int) -> tuple[list[float], list[float]]:
    """(frame to decision, typed decoding alone): microseconds a bar in each of `minutes`, in turns."""
    market = Market(count)
    fleet = market.fleet(ScalpAlgo)
    feed = AlpacaFeed(NOWHERE, market.symbols, fleet, random.Random(1), lambda: True, AlpacaREST(NOWHERE))
    last = fleet.algos[market.symbols[-1]]
    decisions, decoding = [], []
    for number in range(WARMUP + minutes):
        texts = _texts(market.minute())
        started = time.perf_counter()
        for text in texts:
            feed._on_frame(text)
        while len(last.session_bars) <= number:
            await asyncio.sleep(0)  # the feed gives way to other sockets in between
        middle = time.perf_counter()
        for text in texts:
            for _ in _decoder.messages(text, lambda error, raw: None):
                pass
        ended = time.perf_counter()
        if number >= WARMUP:
            decisions.append((middle - started) * 1e6 / count)
            decoding.append((ended - middle) * 1e6 / count)
    return decisions, decoding


def _texts(bars: Sequence[Bar]) -> list[str]:
    """The bars as Alpaca's frames."""
    rows = [
        {"T": "b", "S": b.symbol, "o": b.open, "h": b.high, "l": b.low, "c": b.close, "v": b.volume, "n": 212,
         "vw": b.close, "t": format_time_ns(b.start)}
        for b in bars
    ]  # fmt: skip
    parts = (rows[first : first + BARS_IN_FRAME] for first in range(0, len(rows), BARS_IN_FRAME))
    return [msgspec.json.encode(part).decode() for part in parts]


async def wire(count: int, minutes: int) -> tuple[list[float], list[float]]:
    """Milliseconds from (the first, the last) byte of a minute until all symbols have decided.

    The last bar of the minute is a signal: its buy has come when everything before it has been looked at.
    """
    names = symbols(count)
    flat = [(name, 50.0) for name in names[:-1]]
    since_first, since_last = [], []
    with tempfile.TemporaryDirectory(prefix="scalp-benchmark-") as folder:
        async with Exchange(names).serve() as exchange, bot(exchange, names, Path(folder)):
            await exchange.listening()
            await exchange.asked_for_bars()
            for _ in range(WARMUP):
                exchange.send_bars(exchange.minute_frames(flat))
                await exchange.bars_sent()
            for number in range(minutes + 1):
                if number == 0:
                    buy = await exchange.provoke(names[-1])
                else:
                    minute = exchange.minute_frames([*flat, (names[-1], TRIGGER)])
                    first = exchange.clock()
                    exchange.send_bars(minute)
                    last = await exchange.bars_sent()
                    buy, at = await exchange.order("buy")
                    since_first.append((at - first) / 1e6)
                    since_last.append((at - last) / 1e6)
                exchange.tell(exchange.update("fill", buy))
                sell, _ = await exchange.order("sell")
                exchange.tell(exchange.update("fill", sell))
                await asyncio.sleep(0.01)
    return since_first, since_last


def report(sizes: Sequence[int], minutes: int) -> None:
    with quiet():
        rows: list[list[object]] = []
        for name, algo_class, count in (
            *((f"built-in signal, {size} symbols", ScalpAlgo, size) for size in sizes),
            ("signal over self._bars, 10 symbols", LastTwo, 10),
        ):
            times, bare = core(count, minutes, algo_class)
            rows.append([name, median(times), quantile(times, 0.99), f"{median(times) / median(bare):.1f}x"])
        print_table("Core: a bar, us", ["what", "median", "p99", "median/bare class"], rows)
        decisions, decoding = run(frames(min(FRAME_SYMBOLS, max(sizes)), minutes))
        row = [f"frame to decision, {min(FRAME_SYMBOLS, max(sizes))} symbols", median(decisions),
               quantile(decisions, 0.99), f"{median(decisions) / median(decoding):.1f}x"]  # fmt: skip
        print_table("Feed and core: a bar, us", ["what", "median", "p99", "median/typed decoding alone"], [row])
    rows = []
    for size in sizes:
        since_first, since_last = run(wire(size, minutes))
        rows.append([f"{size} symbols", median(since_last), quantile(since_last, 0.99), median(since_first),
                     median(since_first) / size * 1000])  # fmt: skip
    print_table(
        "A minute over the wire to main.py: all decided, ms",
        ["what", "median since last byte", "p99", "median since first byte", "us a bar"],
        rows,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bars", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG} minutes instead of {MINUTES}")
    args = parser.parse_args(argv)
    report(SIZES, LONG if args.long else MINUTES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
