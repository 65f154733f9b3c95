"""One websocket client that keeps itself connected: backoff, login, staleness.

A subclass says how to log in and what a frame means; everything about time is the loop's, so that a session on a
virtual clock behaves like a real one. Handshakes carry no keys, and neither headers, frames nor exception objects of
the network libraries are ever logged: only words written here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from scalp.core.errors import UserError
from scalp.core.ports import never
from scalp.net.backoff import Backoff
from scalp.net.printable import NO_MASK, Mask
from scalp.net.websocket import WebSocket, connect

Frame = str | bytes

FIRST_BACKOFF, MAX_BACKOFF = 2.0, 15.0  # seconds; a wait lies between half of the step and the step
USEFUL_AFTER = 30.0  # seconds a connection must have been up before the next failure counts as the first again
OPEN_TIMEOUT = 10.0
LOGIN_TIMEOUT = 60.0  # for the whole of login and subscription; single answers have shorter ones
CLOSE_TIMEOUT = 0.4  # a peer that does not answer our close is left after about four times this
PING_INTERVAL, PING_TIMEOUT = 15.0, 20.0
WATCH_EVERY = 5.0
LONGEST_FRAME = 2**22  # bytes: a minute of all bars, or the channels of all symbols, is a quarter of it
MOST_BEHIND = 2**24  # bytes of frames that came and could not be looked at yet
SLICE = 50  # data messages handled in one turn of the loop: an order update never waits for a whole market's bars
SAID_AGAIN_AFTER = 60.0  # seconds until the same trouble is a warning again
LONGEST_TROUBLE = 80  # characters of what is said of a message that was not understood
BUSY = (
    "another process, here or on another machine, holds it with these keys: stop that one, or wait 90 s if it has just "
    "died"
)
SIGNS_OF_ANOTHER = ("HTTP 429", "error 406", "another connection")
BUSY_AFTER = 3  # such signs in a row: the server keeps a broken connection of our own for a while too
MOST_TOLD = 200  # different things that are said only once; what comes after them isn't said

Message = TypeVar("Message")


class StreamTrouble(Exception):
    """This connection is useless: try another. `wait` replaces the usual backoff, in seconds."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(NO_MASK.words(why))
        self.wait = wait


class LoginRefused(StreamTrouble):
    """The server says no to the keys or, `is_about_plan`, to what they may see.

    This is a claim: the login is tried again, unless `is_final` judges that it is true.
    """

    def __init__(self, why: str, *, is_about_plan: bool = False) -> None:
        super().__init__(why)
        self.is_about_plan = is_about_plan


class Patience:
    """How long something may rest: so many seconds, and twice as many after each time that it was too long."""

    def __init__(self, seconds: float) -> None:
        self._first = self._limit = seconds
        self.rested = 0.0

    def stirs(self) -> None:
        self.rested, self._limit = 0.0, self._first

    def begin_anew(self) -> None:
        """What has passed does not count; the limit stays."""
        self.rested = 0.0

    def is_over(self, passed: float) -> bool:
        """Whether it rested too long, after `passed` more seconds."""
        self.rested += passed
        if self.rested < self._limit:
            return False
        self._limit *= 2
        return True


class FrameDecoder(Generic[Message]):
    """Decodes a frame that is a JSON array of tagged structs, or one of them alone."""

    def __init__(self, message: Any) -> None:
        """`message`: the union of the structs."""
        self._all = msgspec.json.Decoder(list[message])
        self._one = msgspec.json.Decoder(message)
        self._parts = msgspec.json.Decoder(list[msgspec.Raw])

    def messages(self, frame: Frame, on_trouble: Callable[[Exception, Frame | msgspec.Raw], None]) -> Iterator[Message]:
        """The messages of a frame; one that is not understood does not cost its neighbours.

        `on_trouble` gets that one, or the whole frame where it is no JSON.
        """
        try:
            yield from self._all.decode(frame)
            return
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # the parts show which of its messages it is; a text that is not UTF-8 is an error of either kind
        except RecursionError as error:
            on_trouble(error, frame)
            return
        try:
            parts = self._parts.decode(frame)
        except msgspec.ValidationError:
            parts = [msgspec.Raw(frame if isinstance(frame, bytes) else frame.encode())]
        except (msgspec.DecodeError, RecursionError) as error:
            on_trouble(error, frame)
            return
        for part in parts:
            try:
                yield self._one.decode(part)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                on_trouble(error, part)


class ReconnectingStream:
    """Connects, logs in, reads; and again, until cancelled.

    `stale_after`: seconds without a data frame after which the connection is replaced, counted only while
    `expect_messages()` is true, and doubling while it stays quiet; None: silence is normal. `is_final` is asked about a
    refused login while none has worked yet: whether it ends the run. `mask` hides the keys in what the server says;
    a frame of more than `longest` bytes ends the connection.
    """

    def __init__(
        self,
        name: str,
        url: str,
        rng: random.Random,
        *,
        stale_after: float | None = None,
        expect_messages: Callable[[], bool] = lambda: True,
        is_final: Callable[[LoginRefused], Awaitable[bool]] = never,
        mask: Mask = NO_MASK,
        longest: int = LONGEST_FRAME,
    ) -> None:
        self.name = name
        self._mask = mask
        self._longest = longest
        self.log = logging.getLogger(f"scalp.{name.split()[-1]}")
        self._url = url
        self._rng = rng
        self._silence = None if stale_after is None else Patience(stale_after)
        self._expect_messages = expect_messages
        self._is_final = is_final
        self.heard_at: float | None = None  # loop time of the last message, logins apart
        self.heard: dict[str, float] = {}  # the same by channel, where there is more than one
        self._up_since: float | None = None
        self._has_been_up = False
        self._warned = ("", 0.0)  # the last trouble that was a warning, and when (loop time)
        self._socket: WebSocket | None = None
        self._trouble: StreamTrouble | None = None  # what a message said that ends the connection
        self._why = ""  # why we close the connection ourselves
        self._closing: asyncio.Task[None] | None = None
        self._told: set[str] = set()
        self._waiting: deque[Any] = deque()  # data messages that wait for their slice
        self._is_slicing = False
        self._frames: deque[Frame] = deque()  # that came while others wait, not looked at yet
        self._behind = 0  # their bytes

    # What a subclass says.

    async def _login(self, socket: WebSocket) -> None:
        """Log in and subscribe. Raises StreamTrouble; LoginRefused names the variable to check, never a key."""
        raise NotImplementedError

    def _on_frame(self, frame: Frame) -> bool:
        """Handle one frame; True if it held data. StreamTrouble ends the connection, anything else is only logged."""
        raise NotImplementedError

    def _on_up(self) -> None:
        """Logged in and subscribed."""

    def _on_down(self, why: str) -> None:
        """Was up, is no longer."""

    # What everybody sees.

    @property
    def is_up(self) -> bool:
        """Logged in and subscribed right now."""
        return self._up_since is not None

    async def run(self) -> None:
        """Stay connected until cancelled. Raises UserError for a refusal that is final (see `is_final`)."""
        loop = asyncio.get_running_loop()
        backoff, signs = Backoff(FIRST_BACKOFF, MAX_BACKOFF), 0
        while True:
            self._why = ""
            try:
                await self._one_connection()
            except Exception as error:
                if isinstance(error, LoginRefused) and not self._has_been_up and await self._is_final(error):
                    raise UserError(str(error)) from None
                why = self._why or in_words(error)
                wait = error.wait if isinstance(error, StreamTrouble) else None
                if self._up_since is not None and loop.time() - self._up_since >= USEFUL_AFTER:
                    backoff.reset()
                    signs = 0
                self._go_down(why)
            finally:
                self._socket = None
                self._go_down("stopped")
            step = backoff.next()
            if wait is None:
                wait = self._rng.uniform(step / 2, step)
            signs = signs + 1 if any(sign in why for sign in SIGNS_OF_ANOTHER) else 0
            self._tell_trouble(f"{why}: {BUSY}" if signs >= BUSY_AFTER else why, wait)
            await asyncio.sleep(wait)

    async def try_once(self, listen: float) -> None:
        """One connection: log in, listen for `listen` seconds, close it. Raises whatever ends it before."""
        socket = await connect(self._url, open_timeout=OPEN_TIMEOUT, max_size=self._longest)
        try:
            await self._login(socket)
            socket.deliver(self.on_message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(listen):
                    await socket.wait_closed()
        finally:
            await socket.close(CLOSE_TIMEOUT)

    def reconnect(self, why: str) -> None:
        """Give up the present connection, if there is one, and make a new one after the usual backoff."""
        if self._socket is not None and not self._why:
            self._why = why
            # Closing ends the reading in run(); the reference keeps the task alive.
            self._closing = asyncio.get_running_loop().create_task(self._socket.close(CLOSE_TIMEOUT))

    # For subclasses.

    def _deliver(self, message: Any) -> None:
        """Hand one data message on; a subclass with `_hand_over` says how."""
        raise NotImplementedError

    def _hand_over(self, messages: list[Any]) -> None:
        """Deliver data messages in order: a few at once, many in slices, between which the loop sees to others."""
        if len(messages) <= SLICE and not self._is_slicing:
            for message in messages:
                self._deliver(message)
            return
        self._waiting.extend(messages)
        if not self._is_slicing:
            self._turn()

    def _turn(self) -> None:
        """One slice, or one frame that came meanwhile; then everybody else's turn."""
        if self._waiting:
            for _ in range(min(SLICE, len(self._waiting))):
                try:
                    self._deliver(self._waiting.popleft())
                except Exception as error:
                    self._frame_trouble(error)
        elif self._frames:
            frame = self._frames.popleft()
            self._behind -= len(frame)
            self._handle(frame)
        self._is_slicing = bool(self._waiting or self._frames)
        if self._is_slicing:
            asyncio.get_running_loop().call_soon(self._turn)

    def _say_once(self, message: str, *args: object) -> None:
        """Warn, but not again with the same words: what a plan lacks is true at every reconnection."""
        text = message % args
        level = logging.DEBUG
        if text not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(text)
            level = logging.WARNING
        self.log.log(level, "%s: %s", self.name, text)

    def _frame_trouble(self, error: Exception) -> None:
        """One line for each kind of trouble with what the server sends."""
        kind = type(error).__name__
        level = logging.DEBUG if kind in self._told else logging.WARNING
        self._told.add(kind)
        self.log.log(level, "%s: a message was not understood (%s: %s)", self.name, kind,
                     self._mask.words(error, LONGEST_TROUBLE))  # fmt: skip

    def _find_stale(self, passed: float) -> str:
        """Why the connection cannot be relied on after `passed` more seconds of a market that moves; "" if it can.

        0 seconds: nothing is expected to come now.
        """
        assert self._silence is not None
        if not passed:
            self._silence.begin_anew()
        elif self._silence.is_over(passed):
            return f"no message for {self._silence.rested:.0f} s"
        return ""

    # Inner works.

    def _tell_trouble(self, why: str, wait: float) -> None:
        """A warning when it is news, and once in a while; else only a line."""
        now = asyncio.get_running_loop().time()
        told, told_at = self._warned
        is_news = why != told or now - told_at >= SAID_AGAIN_AFTER
        if is_news:
            self._warned = why, now
        self.log.log(logging.WARNING if is_news else logging.INFO, "%s: %s; next try in %.1f s", self.name, why, wait)

    async def _one_connection(self) -> NoReturn:
        """One connection from the handshake to its end, which is always an exception."""
        loop = asyncio.get_running_loop()
        socket = await connect(self._url, open_timeout=OPEN_TIMEOUT, max_size=self._longest)
        self._socket = socket
        self._trouble = None
        watchdog: asyncio.Task[None] | None = None
        try:
            socket.keep_alive(PING_INTERVAL, PING_TIMEOUT)
            async with asyncio.timeout(LOGIN_TIMEOUT):
                await self._login(socket)
            self._up_since = loop.time()
            self._has_been_up = True
            self.log.info("%s: up", self.name)
            self._on_up()
            if self._silence is not None:
                self._silence.begin_anew()
                watchdog = loop.create_task(self._watch())
            socket.deliver(self.on_message)
            try:
                await socket.wait_closed()
            except ConnectionClosed:
                if self._trouble is not None:
                    raise self._trouble from None
                raise
            raise AssertionError("unreachable")
        finally:
            if watchdog is not None:
                watchdog.cancel()
            await socket.close(CLOSE_TIMEOUT)

    def on_message(self, frame: Frame) -> None:
        """In the callback of the frame's last byte: whatever comes of it happens at once, or after what came before."""
        if self._is_slicing and self._trouble is None:
            self._frames.append(frame)
            self._behind += len(frame)
            if self._behind > MOST_BEHIND:
                self._frames.clear()
                self._behind = 0
                self._give_up(StreamTrouble("more comes than can be looked at"))
        else:
            self._handle(frame)
        self.heard_at = asyncio.get_running_loop().time()  # last of all: no exit waits for it

    def _handle(self, frame: Frame) -> None:
        if self._trouble is not None:
            return  # this connection was given up
        try:
            self._take(frame)
        except StreamTrouble as trouble:
            self._give_up(trouble)

    def _give_up(self, trouble: StreamTrouble) -> None:
        self._trouble = trouble
        self.reconnect(str(trouble))

    def _take(self, frame: Frame) -> None:
        try:
            held_data = self._on_frame(frame)
        except StreamTrouble:
            raise
        except Exception as error:
            # Whatever one frame holds, the next one is read.
            self._frame_trouble(error)
            return
        if held_data and self._silence is not None:
            self._silence.stirs()

    async def _watch(self) -> None:
        """A task of its own, because a silent socket answers pings and never wakes the reader."""
        why = ""
        while not why:
            await asyncio.sleep(WATCH_EVERY)
            why = self._find_stale(WATCH_EVERY if self._expect_messages() else 0.0)
        self.reconnect(why)

    def _go_down(self, why: str) -> None:
        if self._up_since is not None:
            self._up_since = None
            self._on_down(why)


def websocket_url(url: str) -> str:
    """http becomes ws and https wss, as the variables may hold either; no slash at the end."""
    return ("ws" + url[4:] if url.startswith("http") else url).rstrip("/")


def in_words(error: Exception) -> str:
    """Why a connection ended, without a word of what the network libraries put into their exceptions."""
    if isinstance(error, ConnectionClosed):
        return f"closed by the server ({error.rcvd.code})" if error.rcvd else "connection lost"
    if isinstance(error, InvalidStatus):
        return f"HTTP {error.response.status_code} at the handshake"
    if isinstance(error, StreamTrouble):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, (OSError, WebSocketException)):
        return f"no connection ({type(error).__name__})"
    return f"an answer was not understood ({type(error).__name__})"
