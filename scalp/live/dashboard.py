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
from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import msgspec

from scalp.cli.settings import is_loopback, without_secrets
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import new_york
from scalp.core.decimals import ZERO
from scalp.core.events import Event, TripSeen
from scalp.core.prices import exact
from scalp.core.takings import Taken
from scalp.core.units import SECOND
from scalp.live import screen
from scalp.live.console import ConsoleLog
from scalp.live.controls import HELP, HINT, Controls
from scalp.live.keys import Keys
from scalp.live.screen import Frame, Limit, Row, Stream
from scalp.live.trader import Trader
from scalp.net.printable import printable

log = logging.getLogger("scalp.main")

PERIOD = 0.25  # seconds of the wall clock between two pictures
SLICE = 50  # symbols looked at in one turn of the loop: an order update never waits for a whole market
PATIENCE = 1.0  # seconds the view has to restore the terminal
LONGEST_WORDS = 80  # characters of a cell: no terminal has more for it
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_POINTS = 32  # closes of the day in a line
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
        self._exits: dict[str, tuple[int, str]] = {}  # by symbol: when it was last left, and why
        self._sparks: dict[str, tuple[int, str]] = {}  # by symbol: of how many bars, and the line
        self._made = ZERO  # what this process has come to, dollars after fees
        self._made_before: Decimal | None = None  # the same at the first look, soon after the account was asked
        self._controls = Controls(trader.fleet)
        self._keys = Keys(self._press)
        self._view = self._started()
        self._pump = threading.Thread(target=self._send, name="dashboard", daemon=True)
        self._pump.start()
        trader.fleet.bus.listen(self._hear)
        console.show(self)

    def _started(self) -> subprocess.Popen[bytes]:
        """The view's process. In a session of its own Ctrl+C does not reach it; it needs no key and no address."""
        flags = ["--keys"] if self._keys.are_there else []
        try:
            return subprocess.Popen(
                [sys.executable, "-P", str(Path(screen.__file__).resolve()), *flags],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=without_secrets(os.environ),
            )
        except OSError:
            self._keys.close()
            raise

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
        self._keys.close()
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

    def _hear(self, event: Event) -> None:
        if type(event) is TripSeen and event.reason:
            at, _ = self._exits.get(event.symbol, (0, ""))
            # It is sent again as more is seen of the price after the exit.
            self._exits[event.symbol] = (event.at if not event.exit else at or event.at, event.reason)

    def _press(self, key: str) -> None:
        try:
            self._controls.press(key)
        except Exception:
            # As below: the trading goes on.
            log.exception("the key %r failed", key)

    def _look(self) -> None:
        self._rows.clear()
        self._made = ZERO
        self._look_on()

    def _look_on(self) -> None:
        if self._closing.is_set():
            return
        try:
            algos = self._trader.fleet.algos.values()
            at = self._trader.clock.now()
            takings, done = self._trader.fleet.takings, len(self._rows)
            some = islice(algos, done, done + SLICE)
            self._rows += [self._row(algo, at, takings.of(algo.ledger)) for algo in some]
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

    def _row(self, algo: ScalpAlgo, at: int, taken: Taken) -> Row:
        row = _row(algo, at, taken)
        self._made += _made(algo) - self._trader.fleet.takings.look(algo.ledger).total
        count, spark = self._sparks.get(algo.symbol, (0, ""))
        if count != row.minutes:
            spark = _spark(algo.session_bars.closes(SPARK_POINTS))
            self._sparks[algo.symbol] = (row.minutes, spark)
        row.spark = spark
        if (left := self._exits.get(algo.symbol)) is not None:
            row.last_exit = f"{left[1]} {new_york(left[0]):%H:%M:%S}"
        return row

    def _equity(self) -> float | None:
        """The account's at the start, and what this process has made of it since, open profit included."""
        if (before := self._trader.equity) is None:
            return None
        if self._made_before is None:
            self._made_before = self._made
        return float(before + self._made - self._made_before)

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
            # In a new minute, asking the limiter would begin its count from here.
            requests_left=limit.remaining if limit.resets_in else limit.limit,
            requests_limit=limit.limit,
            fill_to_exit=fill_to_exit,
            lines=lines,
            equity=self._equity(),
            limits=_limits(self._trader, at),
            notice=self._controls.notice,
            help=list(HELP) if self._controls.shows_help else [],
            hint=HINT if self._keys.are_there else "",
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


def _spark(closes: Sequence[float]) -> str:
    """Closes as a line of blocks, from the lowest to the highest."""
    low, high = min(closes, default=0.0), max(closes, default=0.0)
    step = (high - low) / (len(SPARKS) - 1) or 1.0
    return "".join(SPARKS[round((close - low) / step)] for close in closes)


def _made(algo: ScalpAlgo) -> Decimal:
    """Dollars, realised and open, before fees, by this process."""
    ledger, last = algo.ledger, algo.tape.last_price
    if not ledger.position or ledger.entry_price is None or last is None:
        return ledger.realised
    return ledger.realised + ledger.position * (exact(last) - ledger.entry_price)


def _limits(trader: Trader, at: int) -> list[Limit]:
    """The risk limits that are set, and how near they are."""
    rules = trader.fleet.risk.rules
    if rules is None:
        return []
    limits, found = rules.limits, []
    if limits.max_loss is not None:
        loss = max(-rules.result, ZERO)
        found.append(Limit("loss", f"${loss:.2f} of {limits.max_loss:f}", float(loss / limits.max_loss)))
    if limits.max_positions is not None:
        taken = f"{rules.taken} of {limits.max_positions}"
        found.append(Limit("positions", taken, rules.taken / limits.max_positions))
    if limits.budget is not None:
        found.append(Limit("budget", f"${rules.used:.0f} of {limits.budget:f}", float(rules.used / limits.budget)))
    if limits.max_hold is not None:
        bought = [algo.stop.bought_at for algo in trader.fleet.algos.values() if algo.stop.bought_at]
        longest = (at - min(bought)) if bought else 0
        told = f"{longest // SECOND} s of {limits.max_hold // SECOND}"
        found.append(Limit("longest hold", told, longest / limits.max_hold))
    if limits.no_buy_after is not None:
        is_past = new_york(at).time() >= limits.no_buy_after
        found.append(Limit("no buys after", f"{limits.no_buy_after:%H:%M}", float(is_past)))
    return found


def _row(algo: ScalpAlgo, at: int, taken: Taken) -> Row:
    ledger, order, last = algo.ledger, algo.order, algo.tape.last_price
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
        why_no_entry=printable(algo.entry_blocks.why, LONGEST_WORDS),
    )
    if ledger.position and ledger.entry_price is not None:
        row.entry = float(ledger.entry_price)
        if last is not None:
            row.unrealised = row.held * (last - row.entry)
    if (leg := algo.stop.leg) is not None and leg.stop_price is not None:
        row.stop, row.stop_at = float(leg.stop_price), "broker"
    elif (level := algo.stop.level) is not None:
        row.stop, row.stop_at = float(level), "bot"
    if order is not None:
        row.side = printable(order.side, LONGEST_WORDS)
        row.remaining = None if order.remaining is None else float(order.remaining)
        row.limit = None if order.limit_price is None else float(order.limit_price)
        row.age = (at - order.submitted_at) / SECOND
        row.more_orders = max(sum(not other.is_spare for other in ledger.open_orders) - 1, 0)
    return row
