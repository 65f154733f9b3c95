"""From a fill on the order-update stream to the whole sell order having arrived: `python -m benchmarks.fill_to_exit`.

The server, this process, takes both times by its own clock; the clients are processes of their own, all connected
through the whole run, and take turns, so that whatever else the machine does meets them alike. The bot is `main.py`
with everything on: it trades on bars, writes its log, is told of each order what Alpaca tells.

Measured twice: with every process where the system puts it, and with the server on one core and the clients on another.
"Inside" is what the bot itself tells at its end: from the fill's arrival in its socket's reader to the sell being
written. What is left is the wire, both event loops and the system's scheduling.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.exchange import Exchange, python, symbols
from benchmarks.processes import ROOT, Child, bot
from benchmarks.table import print_table, quantile, timing_rows

ROUNDS, LONG = 150, 1000
PEERS = ("libraries", "alpaca-py")
SIZES = (3, 500)  # symbols that the bot watches
BUSY_BARS = 5000
DASHBOARD = ("--dashboard",)  # it needs a terminal
PAUSE = 0.02  # seconds between the steps of a round: everybody has come to rest, and their caches are cold


class Contender:
    """One client and the account it trades on; `times` are in microseconds."""

    def __init__(self, name: str, exchange: Exchange, is_bot: bool, busy: Sequence[str] = ()) -> None:
        self.name = name
        self.exchange = exchange
        self.times: list[float] = []
        self.most_requests = 0  # from the fill to the sell, the sell included
        self.inside: tuple[str, str] = ("", "")  # median and p99 by the bot itself
        self._is_bot = is_bot
        self._busy = busy  # symbols whose bars come with the fill; they never trade
        self._traded = [symbol for symbol in exchange.symbols if symbol not in set(busy)]
        self._turn = 0

    async def react(self) -> None:
        """One round: a buy, its fill, the sell, its fill."""
        exchange = self.exchange
        symbol = self._traded[self._turn % len(self._traded)]
        self._turn += 1
        buy = await exchange.provoke(symbol) if self._is_bot else exchange.new_order(symbol, "buy")
        exchange.tell(exchange.update("new", buy))
        bars = exchange.minute_frames([(other, 50.0) for other in self._busy]) if self._busy else []
        await asyncio.sleep(PAUSE)
        fill = exchange.update("fill", buy)  # from now on an answer by id tells it as well
        before = exchange.trading_requests
        if bars:
            exchange.send_bars(bars)
        told = exchange.tell(fill)
        sell, arrived = await exchange.order("sell")
        self.most_requests = max(self.most_requests, exchange.trading_requests - before)
        self.times.append((arrived - told) / 1000)
        exchange.tell(exchange.update("new", sell))
        exchange.tell(exchange.update("fill", sell))
        await asyncio.sleep(PAUSE + len(bars) / 200)


@contextlib.contextmanager
def placed(cores: set[int]) -> Iterator[None]:
    """What this process starts meanwhile runs on these cores; empty: anywhere."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def two_cores() -> tuple[set[int], set[int]]:
    """One for the server and one for the clients; empty where there are none to choose from."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ({cores[0]}, {cores[-1]}) if len(cores) > 1 else (set(), set())


async def measure(
    rounds: int,
    peers: Sequence[str],
    sizes: Sequence[int],
    busy: int = 0,
    with_stop: bool = False,
    with_dashboard: bool = False,
    pinned: bool = False,
) -> list[Contender]:
    """`rounds` of the floor, of `peers` and of a bot for each of `sizes`, in turns.

    With `busy`, that many bars of other symbols come along with each fill of the bots. `with_stop` adds one whose exits
    take their stop along to the broker, `with_dashboard` one with a dashboard. `pinned`: the server has a core of its
    own.
    """
    servers, clients = two_cores() if pinned else (set(), set())
    async with AsyncExitStack() as stack:
        stack.enter_context(placed(clients))
        bots: list[tuple[Contender, Child, Path]] = []
        contenders = []
        for name in ("floor", *peers):
            exchange = await stack.enter_async_context(Exchange(symbols(1)).serve())
            await stack.enter_async_context(Child(python("-m", "benchmarks.clients", name, str(exchange.port))))
            contenders.append(Contender(name, exchange, is_bot=False))
        kinds: list[tuple[str, int, Sequence[str]]] = [
            (f"bot, {size} symbols" if not busy else f"bot, {busy} bars come with the fill", size, ()) for size in sizes
        ]
        if with_stop:
            kinds.append(("bot, 3 symbols, a stop with each exit", 3, ("--stop-loss", "1%")))
        if with_dashboard:
            kinds.append(("bot, 3 symbols, a dashboard", 3, DASHBOARD))
        for name, size, options in kinds:
            names = symbols(size + busy)
            exchange = await stack.enter_async_context(Exchange(names).serve())
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="scalp-benchmark-"))
            around = python(str(ROOT / "benchmarks" / "terminal.py")) if options is DASHBOARD else ()
            child = await stack.enter_async_context(bot(exchange, names, Path(folder), options, around))
            contenders.append(Contender(name, exchange, is_bot=True, busy=names[size:]))
            bots.append((contenders[-1], child, Path(folder)))
        stack.enter_context(placed(servers))
        for contender in contenders:
            await contender.exchange.listening()
            await contender.react()  # the first one is not counted: connections and caches are made
            contender.times.clear()
        for _ in range(rounds):
            for contender in contenders:
                await contender.react()
        for contender, child, place in bots:
            contender.inside = await told_at_the_end(child, place / "output")
        return contenders


async def told_at_the_end(child: Child, output: Path) -> tuple[str, str]:
    """Median and p99 in us, from the last line of the table that a bot prints when it is stopped."""
    child.process.terminate()
    await asyncio.wait_for(child.process.wait(), 60)
    said = await asyncio.to_thread(output.read_text)
    found = re.findall(r"(?:^| )total .* (\d+\.\d\d) +(\d+\.\d\d) +\d+\.\d\d$", said, re.MULTILINE)
    median, p99 = found[-1]
    return f"{float(median) * 1000:.0f}", f"{float(p99) * 1000:.0f}"


def report(title: str, contenders: Sequence[Contender]) -> None:
    rows = timing_rows({contender.name: contender.times for contender in contenders}, "floor")
    tail = quantile(contenders[0].times, 0.99)
    print_table(
        f"{title}: fill told -> sell order arrived, us",
        ["who", "n", "median", "p99", "worst", "median/floor", "p99/floor", "inside", "inside p99", "most requests"],
        [
            [*row, f"{quantile(contender.times, 0.99) / tail:.2f}x", *contender.inside, contender.most_requests]
            for row, contender in zip(rows, contenders, strict=True)
        ],
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fill_to_exit", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"{LONG} rounds instead of {ROUNDS}")
    args = parser.parse_args(argv)
    rounds = LONG if args.long else ROUNDS
    contenders = run(measure(rounds, PEERS, SIZES, with_stop=True, with_dashboard=True))
    report("Fill to exit", contenders)
    if all(two_cores()):
        pinned = run(measure(rounds, PEERS, SIZES, with_stop=True, pinned=True))
        report("Fill to exit, server and clients each on a core of their own", pinned)
        contenders += pinned
    report("Fill to exit while a minute of the whole market comes in", run(measure(rounds // 5, (), (3,), BUSY_BARS)))
    if any(contender.most_requests != 1 for contender in contenders):
        print("more than one request between a fill and its sell", file=sys.stderr)
        return 1
    return 0


def run(work: Any) -> Any:
    """Run a coroutine on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


if __name__ == "__main__":
    sys.exit(main())
