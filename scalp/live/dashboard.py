"""`--dashboard`: hands the live view (screen.py, a process of its own) a picture of the bot four times a second.

A picture is taken in the loop, between two events (2 us a symbol, reading only); encoding, sending and waiting happen
in a thread, drawing in the other process. The view is shut, and the plain log goes on, when the session ends, when the
bot is stopped, and when the view itself fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import msgspec

from scalp.cli.settings import is_loopback, without_secrets
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import new_york
from scalp.core.takings import Taken
from scalp.core.units import SECOND
from scalp.live import screen
from scalp.live.console import ConsoleLog
from scalp.live.screen import Frame, Row, Stream
from scalp.live.trader import Trader
from scalp.net.printable import printable

log = logging.getLogger("scalp.main")

PERIOD = 0.25  # seconds of the wall clock between two pictures
SLICE = 50  # symbols looked at in one turn of the loop: an order update never waits for a whole market
PATIENCE = 1.0  # seconds the view has to restore the terminal
LONGEST_WORDS = 80  # characters of a cell: no terminal has more for it
RESTORE = "\x1b[?1049l\x1b[?25h"  # leave the alternate screen, show the cursor


class Dashboard:
    """The live view of a session that was opened; runs until `close`. Made by `open_dashboard`."""

    def __init__(self, trader: Trader, console: ConsoleLog) -> None:
        """Raises OSError when the view's process cannot be started."""
        self._trader = trader
        self._console = console
        self._loop = asyncio.get_running_loop()
        self._lines: deque[tuple[str, str]] = deque(maxlen=screen.MOST_LOG_LINES)
        self._rows: list[Row] = []
        self._fill_to_exit_seen: dict[str, int] = {}
        self._frames: SimpleQueue[Frame | None] = SimpleQueue()
        self._closing = threading.Event()
        self._last_words = ""  # of a view that failed
        # In a session of its own Ctrl+C does not reach it; it needs no key and no address.
        self._view = subprocess.Popen(
            [sys.executable, "-P", str(Path(screen.__file__).resolve())],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=without_secrets(os.environ),
        )
        self._pump = threading.Thread(target=self._send, name="dashboard", daemon=True)
        self._pump.start()
        console.show(self)

    def take(self, level: str, text: str) -> None:
        """A line of the log, in its thread."""
        self._lines.append((level, text))

    def close(self) -> None:
        """Shut the view: the terminal is as it was before, and the log goes there again. May be called again."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._frames.put(None)
        self._pump.join(PATIENCE)
        if self._pump.is_alive():
            self._view.kill()  # it takes nothing any more: the terminal is stopped
        try:
            code = self._view.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._view.kill()
            code = self._view.wait()
        self._pump.join(PATIENCE)
        with cast(BinaryIO, self._view.stderr) as pipe:
            words = pipe.read().decode(errors="replace").split("\n")
        self._last_words = next((line for line in reversed(words) if line.strip()), "killed")
        if code:
            with contextlib.suppress(OSError):  # the terminal may be what went away
                sys.stdout.write(RESTORE)
                sys.stdout.flush()
        self._console.show(None)

    # In the thread.

    def _send(self) -> None:
        encode = msgspec.json.Encoder().encode
        try:
            with cast(BinaryIO, self._view.stdin) as pipe:
                while not self._closing.wait(PERIOD):
                    self._loop.call_soon_threadsafe(self._look)
                    frame = self._frames.get()
                    if frame is None:
                        break
                    rest = memoryview(encode(frame) + b"\n")
                    while rest:
                        rest = rest[pipe.write(rest) :]
        except OSError:
            # The view is gone, or was killed by close() because the terminal takes nothing.
            if not self._closing.is_set():
                self._loop.call_soon_threadsafe(self._fail)

    # In the loop.

    def _look(self) -> None:
        self._rows.clear()
        self._look_on()

    def _look_on(self) -> None:
        if self._closing.is_set():
            return
        try:
            algos = self._trader.fleet.algos.values()
            at = self._trader.clock.now()
            takings, done = self._trader.fleet.takings, len(self._rows)
            some = islice(algos, done, done + SLICE)
            self._rows += [_row(algo, at, takings.of(algo.ledger)) for algo in some]
            if len(self._rows) < len(algos):
                self._loop.call_soon(self._look_on)
            else:
                self._frames.put(self._frame(at))
        except Exception:
            # A mistake in here must not take the trading down with it.
            log.exception("the dashboard failed: plain log from here on")
            self.close()

    def _fail(self) -> None:
        self.close()
        log.warning("the dashboard ended by itself (%s): plain log from here on", self._last_words)

    def _frame(self, at: int) -> Frame:
        trader, fleet, now = self._trader, self._trader.fleet, self._loop.time()
        fill_to_exit: list[float] = []
        for symbol, all_of_them in fleet.orders.fill_to_exit.items():
            fill_to_exit += all_of_them[self._fill_to_exit_seen.get(symbol, 0) :]
            self._fill_to_exit_seen[symbol] = len(all_of_them)
        limit = trader.request_limit
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        return Frame(
            venue=_venue(trader),
            clock=f"{new_york(at):%Y-%m-%d %H:%M:%S}",
            phase=_phase(trader, at),
            rows=self._rows.copy(),
            streams=[
                Stream(name, stream.is_up, None if stream.heard_at is None else now - stream.heard_at)
                for name, stream in (("bars", trader.feed), ("orders", trader.updates))
            ],
            # Asked for in a new minute, the limiter would begin to count from here.
            requests_left=limit.remaining if limit.resets_in else limit.limit,
            requests_limit=limit.limit,
            fill_to_exit=fill_to_exit,
            lines=lines,
        )


def open_dashboard(trader: Trader, console: ConsoleLog) -> Dashboard | None:
    """The live view on the terminal; None, and the plain log goes on, where there is none that can show it."""
    if not console.has_screen:
        log.warning("--dashboard needs a terminal: plain log instead")
        return None
    try:
        return Dashboard(trader, console)
    except OSError as error:
        log.warning("no dashboard (%s): plain log instead", error.strerror)
        return None


def _venue(trader: Trader) -> str:
    endpoints = trader.settings.endpoints
    if endpoints is None or is_loopback(urlsplit(endpoints.trading_url).hostname or ""):
        return "SIMULATED"
    return "REAL MONEY" if trader.settings.is_live else "paper"


def _phase(trader: Trader, at: int) -> str:
    today = trader.fleet.session
    assert today is not None
    if at >= today.close:
        return "closed"
    left = (today.close - at) // SECOND
    word = "LIQUIDATING, closes" if at >= today.liquidate_at else "closes"
    return f"{word} in {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"


def _row(algo: ScalpAlgo, at: int, taken: Taken) -> Row:
    ledger, order, last = algo.ledger, algo.order, algo.last_price
    row = Row(
        symbol=algo.symbol,
        state=algo.state.value,
        last=last,
        average=algo.session_bars.average(algo.window),
        minutes=len(algo.session_bars),
        warmup=algo.warmup_bars,
        held=float(ledger.position),
        realised=float(taken.profit),
        fees=float(taken.charges.total),
        trades=taken.trades,
        why_no_entry=printable(algo.why_no_entry, LONGEST_WORDS),
    )
    if ledger.position and ledger.entry_price is not None:
        row.entry = float(ledger.entry_price)
        if last is not None:
            row.unrealised = row.held * (last - row.entry)
    if order is not None:
        row.side = printable(order.side, LONGEST_WORDS)
        row.remaining = None if order.remaining is None else float(order.remaining)
        row.limit = None if order.limit_price is None else float(order.limit_price)
        row.age = (at - order.submitted_at) / SECOND
        row.more_orders = max(sum(not other.is_spare for other in ledger.open_orders) - 1, 0)
        if (leg := algo.stop.leg) is not None and leg.stop_price is not None:
            row.stop = float(leg.stop_price)
    return row
