"""Event loops whose time is not the wall clock's.

Exchange time is read from `loop.time()` alone, all over the program, so a loop with another clock is all it takes to
run a session faster: `ScaledLoop` runs `speed` times as fast as the wall clock, `JumpingLoop` leaps to the next timer
whenever no socket has anything to say. A client and a server in one process on a `JumpingLoop` give the same run every
time.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary


def is_real_time(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a second of `loop` is a second of the wall clock."""
    return not isinstance(loop, (JumpingLoop, ScaledLoop))


def pace(loop: asyncio.AbstractEventLoop) -> float:
    """How many seconds of `loop` pass in one of the wall clock; 1 where that is not known before."""
    return loop.speed if isinstance(loop, ScaledLoop) else 1.0


class _JumpingSelector(selectors.DefaultSelector):
    """Polls the sockets, and when they are silent moves the clock instead of waiting."""

    def __init__(self, speed: float | None) -> None:
        super().__init__()
        self.now = 0.0
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            # No timer at all: only a socket or another thread can wake this loop.
            return super().select(None)
        if self._speed is not None:
            # Paced for the eye: really wait, scaled, and let a socket cut the wait short.
            started = time.monotonic()
            ready = super().select(timeout / self._speed)
            if ready:
                self.now += min((time.monotonic() - started) * self._speed, timeout)
                return ready
        self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and jumps to the next timer when nothing is ready; `speed` paces the jumps."""

    def __init__(self, speed: float | None = None) -> None:
        self._jumping = _JumpingSelector(speed)
        self._servers: dict[int, tuple[asyncio.Server, Callable[[], asyncio.BaseProtocol]]] = {}  # by port
        self._bound_here: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()  # port
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    # A connection between two ends of this loop is a pair of sockets, not TCP: there the system delivers in its own
    # time, which on a busy machine lets the order of one instant differ, or the clock jump ahead of what is on its way.

    async def create_server(self, protocol_factory: Any, *args: Any, **options: Any) -> asyncio.Server:
        server = await super().create_server(protocol_factory, *args, **options)
        if not options.get("ssl"):
            for listening in server.sockets:
                self._servers[listening.getsockname()[1]] = (server, protocol_factory)
        return server

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Some libraries connect a socket first, and have `create_connection` take it over."""
        if self._factory_at(address[0], address[1]) is None:
            await super().sock_connect(sock, address)
        else:
            self._bound_here[sock] = address[1]

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, **options: Any
    ) -> tuple[asyncio.Transport, Any]:
        if sock is not None and sock in self._bound_here:
            host, port = "127.0.0.1", self._bound_here[sock]
            sock.close()
            sock = None
        server_factory = self._factory_at(host, port) if sock is None else None
        if server_factory is None or options.get("ssl"):
            return await super().create_connection(protocol_factory, host, port, sock=sock, **options)
        ours, theirs = socket.socketpair()
        try:
            await self.connect_accepted_socket(server_factory, theirs)
            return await super().create_connection(protocol_factory, sock=ours)
        except BaseException:
            ours.close()
            raise

    def _factory_at(self, host: Any, port: Any) -> Callable[[], asyncio.BaseProtocol] | None:
        """The protocol factory of the server that listens there, if it is one of this loop."""
        if port not in self._servers or not (host == "localhost" or str(host).startswith("127.")):
            return None
        server, factory = self._servers[port]
        return factory if server.is_serving() else None


class _ScaledSelector(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None or timeout <= 0 else timeout / self._speed)


class ScaledLoop(asyncio.SelectorEventLoop):
    """`time()` runs `speed` times as fast as the wall clock."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        super().__init__(_ScaledSelector(speed))

    def time(self) -> float:
        return time.monotonic() * self.speed
