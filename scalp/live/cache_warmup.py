"""Keeps the way from a fill to its sell warm.

After a wait of some milliseconds most of the time of an exit goes into fetching the code of its way back into the
processor's caches. So while a buy is at work that way is played again and again, from the bytes of a frame to the bytes
of an order, by objects of its own: their classes are the real ones, but no socket, no account, no log and no journal is
behind them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from websockets.frames import OP_TEXT, Frame
from websockets.server import ServerConnection

from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.rate_limiter import RateLimiter
from scalp.alpaca.rest import AlpacaREST
from scalp.alpaca.updates import OrderUpdates
from scalp.cli.settings import Endpoints
from scalp.core.algo import ScalpAlgo
from scalp.core.commands import Action
from scalp.core.fleet import Fleet
from scalp.core.orders import OrderReport, OrderStatus, PositionReport, Side
from scalp.core.units import SECOND
from scalp.net.order_connections import Connection
from scalp.net.websocket import WebSocket

log = logging.getLogger("scalp.main")

EVERY = 0.002  # seconds, while something is at work that may need an exit: about 6 % of a core
LOOK_EVERY = 0.005  # seconds between looks for that

SYMBOL = "REHEARSAL"
NOW = 1_760_000_000 * SECOND
NOWHERE = Endpoints("http://127.0.0.1:9", "http://127.0.0.1:9", "ws://127.0.0.1:9", "rehearsal", "rehearsal")
FILL = b"""{"stream":"trade_updates","data":{"event":"fill","execution_id":"2f63ea93-423d-4169-b3f6-3fdafc10c418",
"price":"100.25","qty":"19","position_qty":"19","timestamp":"2025-10-09T08:53:20.123456789Z","order":{
"id":"61e69015-8549-4bfd-b9c3-01e75843f47d","client_order_id":"scalp-REHEARSAL-0-1","symbol":"REHEARSAL",
"created_at":"2025-10-09T08:53:19.123456789Z","submitted_at":"2025-10-09T08:53:19.123456789Z",
"filled_at":"2025-10-09T08:53:20.123456789Z","replaced_by":null,"replaces":null,"asset_class":"us_equity",
"qty":"19","filled_qty":"19","filled_avg_price":"100.25","order_type":"limit","type":"limit","side":"buy",
"time_in_force":"day","limit_price":"100.25","status":"filled","extended_hours":false,"legs":null}}}"""
BUY = OrderReport(
    symbol=SYMBOL, id="61e69015-8549-4bfd-b9c3-01e75843f47d", client_order_id="scalp-REHEARSAL-0-1", side=Side.BUY,
    type="limit", status=OrderStatus.NEW, qty=Decimal(19), filled_qty=Decimal(0), limit_price=Decimal("100.25"),
    submitted_at=NOW,
)  # fmt: skip
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class CacheWarmup:
    """The way of a fill, cut off from the world. Needs a running loop."""

    def __init__(self) -> None:
        self._rest = _Rest(NOWHERE)
        self._order_connections = self._rest.open_order_connections()
        self._way_out = _Pipe()
        self._order_connection = Connection(self._order_connections)
        self._order_connection.connection_made(self._way_out)
        self._socket = _opened()
        self._socket.deliver(OrderUpdates(NOWHERE, self, random.Random(0)).on_message)
        self._frame = Frame(OP_TEXT, FILL).serialize(mask=False)
        self._fleet = Fleet([], _now, self._perform, listeners=())
        self._fleet.orders.early_updates.take()
        self._broker = _Broker(self._rest, RateLimiter(_now, lambda: 0), self._fleet.orders, _no_trade)

    def play(self) -> bytes:
        """One fill of a working buy; returns its sell as it would have gone out. Raises RuntimeError if none did."""
        # Only the algo is new each time, so that hardly anything is left to the garbage collector.
        self._fleet.algos[SYMBOL] = algo = ScalpAlgo(SYMBOL, Decimal(2000), "0")
        algo.telling.to(self._fleet.bus)
        self._fleet.orders.on_snapshot(SYMBOL, [BUY], PositionReport(SYMBOL, Decimal(0), Decimal(0)), NOW - SECOND)
        self._order_connections.retire(self._order_connection)
        self._order_connections.free(self._order_connection)  # as if just used: an old one gets no order
        self._way_out.written = b""
        self._socket.data_received(self._frame)
        if not self._way_out.written:
            raise RuntimeError("no order came of it")
        self._order_connection.data_received(ANSWER)
        return self._way_out.written

    def _perform(self, action: Action) -> None:
        self._broker.perform(action)

    def on_order_update(self, report: OrderReport) -> None:
        self._broker.on_stream_told(report)
        self._fleet.orders.on_order_update(report)

    def on_updates_up(self) -> None:
        """Never: it is up from the start."""

    def on_updates_down(self, why: str) -> None:
        """Never either."""


async def keep_warm(is_at_stake: Callable[[], object]) -> None:
    """Warm up while `is_at_stake()`. A warm-up that goes wrong is the last one, and stops nothing else."""
    try:
        warmup = CacheWarmup()
        warmup.play()
        log.debug("exits are rehearsed while something is at stake")
        while True:
            if is_at_stake():
                warmup.play()
                await asyncio.sleep(EVERY)
            else:
                await asyncio.sleep(LOOK_EVERY)
    except Exception as error:
        log.warning("exits are not rehearsed any more (%s: %s): they may be slower", type(error).__name__, error)


def _now() -> int:
    return NOW


async def _no_trade(symbol: str) -> None:
    return None


def _opened() -> WebSocket:
    """A connection whose handshake was answered, by nobody."""
    socket, pipe, server = WebSocket(f"{NOWHERE.data_stream_url}/stream", 2**20), _Pipe(), ServerConnection()
    socket.connection_made(pipe)
    server.receive_data(pipe.written)
    for request in server.events_received():
        server.send_response(server.accept(request))  # type: ignore[arg-type]
    for data in server.data_to_send():
        socket.data_received(data)
    return socket


class _Pipe(asyncio.Transport):
    """The end of a connection that leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written = data

    def is_closing(self) -> bool:
        return False


class _Rest(AlpacaREST):
    def _answer_of(self, *_: Any) -> None:  # type: ignore[override]
        """Nobody waits for it."""


class _Broker(AlpacaBroker):
    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()  # what comes after the order is on its way
