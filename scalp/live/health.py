"""Signs of life for watchers outside: a service manager's watchdog, and `python -m scalp.status`.

Both are given every 10 seconds by the loop that trades: when that hangs, they stop. What a bot does stands in a file
beside its lock, in the user's state folder; no port is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from scalp.cli.private import make_private
from scalp.cli.settings import Endpoints, Settings, is_loopback
from scalp.core.takings import Taken
from scalp.live.lock import lock_path
from scalp.net.virtual_time import JumpingLoop, is_real_time, pace

if TYPE_CHECKING:  # a mere reader of the file needs no bot
    from scalp.live.trader import Trader

log = logging.getLogger("scalp.main")

EVERY = 10.0  # seconds
DISK_PATIENCE = 1.0  # seconds by the wall clock; what is late is written all the same
SLICE = 50  # symbols looked at in one turn of the loop: no exit waits for a whole market
WAITING, TRADING, ENDED = "waiting", "trading", "ended"


class StreamHealth(Struct):
    """A stream; times in seconds since 1970 by this machine's clock. `heard_at` is None before the first message."""

    name: str
    is_up: bool
    heard_at: float | None
    channels: dict[str, float]


class Health(Struct):
    """What a bot was doing at `written_at` (seconds since 1970 by this machine's clock)."""

    state: str  # WAITING for the open, TRADING, or ENDED
    process: int
    venue: str  # simulated, paper or live
    host: str
    symbols: tuple[str, ...]
    written_at: float
    date: str | None = None  # of the session, in New York
    held: dict[str, str] = {}  # shares by symbol; after the end: those that were left
    orders: int = 0  # working
    net: str | None = None  # dollars of the session
    streams: tuple[StreamHealth, ...] = ()
    note: str = ""  # what it waits for


def tell_service_manager(text: str) -> None:
    """As sd_notify does; nothing where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        door.setblocking(False)
        door.sendto(text.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


class SignsOfLife:
    """`session` is named once there is one. Runs from `begin` to `end`, in the running loop."""

    def __init__(self, settings: Settings, endpoints: Endpoints, held: Mapping[str, Decimal] | None = None) -> None:
        """`held`: shares since the last session."""
        self._held_before = {symbol: f"{qty.normalize():f}" for symbol, qty in (held or {}).items()}
        self.session: Trader | None = None
        self.waits_for: Callable[[], str] = lambda: ""
        self._symbols = settings.symbols
        url = urlsplit(endpoints.trading_url)
        self._host = url.netloc
        is_simulated = is_loopback(url.hostname or "")
        self._venue = "simulated" if is_simulated else "live" if settings.is_live else "paper"
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        try:
            self._path: Path | None = lock_path(endpoints).with_suffix(".json")
        except OSError:  # no home folder
            self._path = None

    def begin(self) -> None:
        """Does nothing with the built-in exchange in the bot's own process: its days take seconds, nobody watches."""
        if not isinstance(self._loop, JumpingLoop):
            tell_service_manager("READY=1")
            self._task = self._loop.create_task(self._run())

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            if self._writing is not None:
                await asyncio.wait({self._writing}, timeout=DISK_PATIENCE)  # so that the older one is not the last
            self._write(await self.look(ENDED))

    async def look(self, state: str = "") -> Health:
        """What the bot is doing now; other work gets the loop in between."""
        health = Health(state or WAITING, os.getpid(), self._venue, self._host, self._symbols, round(time.time(), 3))
        if self.session is None or (today := self.session.fleet.session) is None:
            health.held = dict(self._held_before)
            health.note = "" if state else self.waits_for()
            return health
        session, fleet, taken = self.session, self.session.fleet, Taken()
        for number, (symbol, algo) in enumerate(fleet.algos.items(), 1):
            taken += fleet.takings.of(algo.ledger)
            health.orders += len(algo.ledger.open_orders)
            if abs(algo.ledger.position) >= 1:
                health.held[symbol] = f"{algo.ledger.position.normalize():f}"
            if number % SLICE == 0:
                await asyncio.sleep(0)
        health.state = state or TRADING
        health.date = today.date.isoformat()
        health.net = f"{taken.profit - taken.charges.total - taken.charges.rounding:.2f}"
        health.streams = tuple(
            StreamHealth(
                stream.name,
                stream.is_up,
                None if stream.heard_at is None else self._on_the_wall(stream.heard_at),
                {name: self._on_the_wall(at) for name, at in stream.heard.items()},
            )
            for stream in (session.feed, session.updates)
        )
        return health

    def _on_the_wall(self, loop_time: float) -> float:
        return round(time.time() - (self._loop.time() - loop_time) / pace(self._loop), 3)

    async def _run(self) -> None:
        while True:
            try:
                health = await self.look()
                if not is_real_time(self._loop):
                    self._write(health)
                elif self._writing is None or self._writing.done():  # a disk may be slow, or stand still
                    self._writing = self._loop.run_in_executor(None, self._write, health)
                    await asyncio.wait({self._writing}, timeout=DISK_PATIENCE)
            except Exception:
                if self._path is not None:
                    log.exception("python -m scalp.status hears nothing any more; trading goes on")
                self._path = None
            tell_service_manager("WATCHDOG=1")
            await asyncio.sleep(EVERY * pace(self._loop))

    def _write(self, health: Health) -> None:
        """The whole file or none. Where it cannot be written nobody can read it either."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._path.with_suffix(".new")
            make_private(fresh)
            fresh.write_bytes(msgspec.json.encode(health))
            fresh.replace(self._path)
