"""`--notify URL`: fills, refusals, rules, outages and the session's result, to a phone or a chat, through apprise.

It sends some of the core's events, and every error in the log. Each becomes a line in a queue, and a thread for each
service sends what has gathered. A service that is slow or dead costs its own messages and nothing else. Its address
counts as a secret: it holds the token that lets anybody write there.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from scalp.cli.settings import Settings
from scalp.core.clock import new_york
from scalp.core.errors import UserError
from scalp.core.events import (
    Event,
    Fill,
    LeftOver,
    Liquidating,
    Listener,
    Note,
    OrderEnded,
    Oversold,
    Rejected,
    RiskRuleStruck,
    SessionOver,
    StreamDown,
    StreamUp,
)
from scalp.core.log import FLEET, MAIN, event_of, line_of
from scalp.core.orders import REJECTED
from scalp.core.words import counted
from scalp.journal.month import net_of_month
from scalp.net.printable import NO_MASK, Mask
from scalp.net.transport import GZIP

log = logging.getLogger("scalp.main")

GATHER = 1.0  # seconds from the first line to sending: one message for what belongs together, and none amid an exit
MOST_WAITING = 200  # lines a service may be behind by
MOST_LINES = 20  # in one message
LONGEST_LINE = 500  # characters of one of them
CLOSE_PATIENCE = 5.0  # seconds at the end for what still waits
LONGEST_WAIT = 30.0  # seconds that a service may ask for between two messages
LONGEST_ANSWER, ANSWER_PATIENCE = 2**18, 10.0  # bytes, unpacked, and seconds of a service's answer
PART = 16  # bytes of it at a time: the clock is looked at between them
NO_DIGITS = str.maketrans("", "", "0123456789")

# Their messages name addresses.
LIBRARIES = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")


# What a phone can tell apart, in order of weight, as apprise names them.
INFO, SUCCESS, WARNING, FAILURE = KINDS = ("info", "success", "warning", "failure")


class Told(NamedTuple):
    """A line for the services, and which of KINDS it is."""

    text: str
    kind: str


def _kind_of(event: Event) -> str:
    """A fill is a success, unless it realised a loss; mere trouble is a warning; the rest is a failure."""
    match event:
        case Fill(profit=profit):
            return WARNING if profit < 0 else SUCCESS
        case SessionOver(net=net):
            return WARNING if net < 0 else SUCCESS
        case StreamUp():
            return INFO
        case RiskRuleStruck() | Liquidating() | LeftOver() | StreamDown() | Rejected() | OrderEnded():
            return WARNING
    return FAILURE


def _cap_answers() -> None:
    """From now on only so much of an answer is taken, for so long: services answer a word or two.

    apprise hands everything to requests, which reads and unpacks to the end, and offers no way to limit that.
    """
    from requests import ConnectionError, PreparedRequest, Response, adapters, sessions
    from urllib3.exceptions import HTTPError  # type: ignore[import-untyped, unused-ignore]

    class Capped(adapters.HTTPAdapter):
        def build_response(self, request: PreparedRequest, raw: Any) -> Response:
            response = super().build_response(request, raw)
            deadline = time.monotonic() + ANSWER_PATIENCE
            body = bytearray()
            unpacker = zlib.decompressobj(GZIP) if raw.headers.get("Content-Encoding", "").lower() == "gzip" else None

            def read() -> bytes:
                # Not `stream`: it reads the size of a chunk to the end of its line, which may never come.
                try:
                    return bytes(raw.read(PART, decode_content=False))
                except HTTPError as error:
                    raise ConnectionError(str(error)) from None

            for part in iter(read, b""):
                body += part if unpacker is None else unpacker.decompress(part, LONGEST_ANSWER)
                if len(body) >= LONGEST_ANSWER or time.monotonic() >= deadline:
                    response.close()
                    raise ConnectionError("an answer without end")
            response._content = bytes(body)
            return response

    sessions.HTTPAdapter = Capped  # type: ignore[attr-defined]


def _hurried(throttle: Callable[..., None]) -> Callable[..., None]:
    """`throttle` that waits at most LONGEST_WAIT, whatever the service asks for."""

    def wait_briefly(last_io: Any = None, wait: float | None = None) -> None:
        throttle(last_io, wait if wait is None or 0 <= wait <= LONGEST_WAIT else LONGEST_WAIT)

    return wait_briefly


class _Service:
    """One address, its queue and its thread."""

    def __init__(self, number: int, url: str, title: str, given: str) -> None:
        """`given` says where the address was given. Raises UserError when apprise does not understand the address."""
        import apprise  # takes a fifth of a second, which only its users wait for

        plugin = apprise.Apprise.instantiate(url)
        if plugin is None:
            raise UserError(f"apprise knows no service for {given}")
        plugin.throttle = _hurried(plugin.throttle)  # type: ignore[method-assign]
        self.name = f"{number} ({plugin.service_name})"
        self.waiting: SimpleQueue[Told | None] = SimpleQueue()
        self.lost = 0
        self._plugin: Any = plugin
        self._title = title
        self._is_closing = threading.Event()
        self._is_given_up = False  # nobody listens any more to what this thread has to say
        # A daemon: nobody waits at the exit for a server that never answers.
        self._thread = threading.Thread(target=self._run, name=f"notify-{number}", daemon=True)
        self._thread.start()

    def put(self, line: Told) -> None:
        if self.waiting.qsize() < MOST_WAITING:
            self.waiting.put(line)
        else:
            self.lost += 1

    def close(self) -> None:
        """Nothing more comes."""
        self.waiting.put(None)
        self._is_closing.set()

    def join(self, patience: float) -> None:
        """Wait for the rest, at most `patience` seconds; say what did not arrive."""
        self._thread.join(patience)
        lost = self.lost + self.waiting.qsize()
        if self._thread.is_alive():
            self._is_given_up = True
            log.warning("notifications: service %s was not done in time", self.name)
        elif lost:
            log.warning("notifications: %d lines did not reach service %s", lost, self.name)

    def _run(self) -> None:
        has_failed = False
        while lines := self._gathered():
            if self.send_now(lines):
                has_failed = False
                continue
            self.lost += len(lines)
            if not has_failed and not self._is_given_up:
                has_failed = True
                log.warning("notifications: service %s does not take them; trading goes on", self.name)

    def _gathered(self) -> list[Told]:
        """Wait for the lines of the next message; none when it is over."""
        line = self.waiting.get()
        lines: list[Told] = []
        if line is not None:
            self._is_closing.wait(GATHER)
        with contextlib.suppress(Empty):
            while line is not None:
                lines.append(line)
                if len(lines) == MOST_LINES:
                    return lines
                line = self.waiting.get_nowait()
        if line is None and lines:
            self.waiting.put(None)  # the end, to be found again next time
        return lines

    def send_now(self, lines: Sequence[Told]) -> bool:
        worst = max((line.kind for line in lines), key=KINDS.index)
        try:
            body = "\n".join(line.text for line in lines)
            return bool(self._plugin.notify(body=body, title=self._title, notify_type=worst))
        except Exception:
            # Whatever a service's own code does wrong: its words may hold the address.
            return False


class Notifier:
    """A listener that notifies the services. `now` is exchange time (ns), None before it is known.

    Of `urls`, the first `options` were given by --notify, the others by SCALP_NOTIFY. `summary` gives, at the end of
    a session, the line about the month; "": none.
    """

    def __init__(
        self,
        urls: Sequence[str],
        title: str,
        now: Callable[[], int | None],
        options: int,
        mask: Mask = NO_MASK,
        summary: Callable[[SessionOver], str] = lambda event: "",
    ) -> None:
        """Raises UserError."""
        self._summary = summary
        for name in LIBRARIES:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        _cap_answers()
        self._mask = mask
        self.errors: logging.Handler = _Errors(self._put, now)  # of parts that report no events
        self._refusals: set[tuple[str, str]] = set()  # symbols and reasons that were sent
        numbered = enumerate(zip(urls, _given(len(urls), options), strict=True), 1)
        self._services = [_Service(number, url, title, where) for number, (url, where) in numbered]

    def __call__(self, event: Event) -> None:
        if self._is_told(event) and (line := line_of(event)) is not None:
            self._put(_stamped(event.at, line.who, str(line)), _kind_of(event))
        if isinstance(event, SessionOver):
            self._refusals.clear()  # the next session sends its own
            if summary := self._summary(event):
                self._put(summary, _kind_of(event))

    def _is_told(self, event: Event) -> bool:
        match event:
            case Fill() | RiskRuleStruck() | Oversold() | Liquidating() | SessionOver() | LeftOver():
                return True
            case StreamDown() | StreamUp():
                return True
            case Rejected(side="buy"):
                return self._is_new(event)
            case Rejected():
                return event.wait > 0 and not event.may_pass
            case OrderEnded():
                return event.status == REJECTED
            case Note():
                return event.level >= logging.ERROR
        return False

    def _is_new(self, refused: Rejected) -> bool:
        """A risk rule refuses buys for hours: that is sent once a symbol. Dollars and times don't make a reason new."""
        kind = (refused.symbol, refused.why.translate(NO_DIGITS))
        if kind in self._refusals:
            return False
        self._refusals.add(kind)
        return True

    def _put(self, line: str, kind: str = FAILURE) -> None:
        told = Told(self._mask.line(line, LONGEST_LINE), kind)
        for service in self._services:
            service.put(told)

    def end(self) -> None:
        """Wait for what is still to be sent, at most 5 seconds altogether."""
        for service in self._services:
            service.close()
        deadline = time.monotonic() + CLOSE_PATIENCE
        for service in self._services:
            service.join(max(0.0, deadline - time.monotonic()))


class _Errors(logging.Handler):
    """Errors in the log that no event stands for."""

    def __init__(self, put: Callable[[str], None], now: Callable[[], int | None]) -> None:
        super().__init__(logging.ERROR)
        self._put = put
        self._now = now

    def emit(self, record: logging.LogRecord) -> None:
        if event_of(record) is not None:
            return
        try:
            self._put(_stamped(self._now(), record.name.removeprefix("scalp."), record.getMessage()))
        except Exception:
            self.handleError(record)


def _stamped(at: int | None, who: str, text: str) -> str:
    when = "" if at is None else f"{new_york(at):%H:%M:%S} "
    return f"{when}{'' if who in (MAIN, FLEET) else who + ' '}{text}"


def title(settings: Settings) -> str:
    return f"scalp, {'LIVE' if settings.venue == 'live' else settings.venue}"


def _month(settings: Settings, event: SessionOver) -> str:
    """The month so far, this day included; "" for the built-in exchange in the bot's own process, which has no months.

    Days before come from the journal, without the cents that each kind of fee is rounded up by.
    """
    if settings.endpoints is None or settings.journal is None:
        return ""
    date = new_york(event.at).date()
    host = urlsplit(settings.endpoints.trading_url).netloc
    if (before := net_of_month(settings.journal, settings.venue, host, date)) is None:
        return ""
    net, days = before
    return f"{date:%B} so far: net $ {net + event.net:+.2f} in {counted(days + 1, 'session')}"


def send_test(urls: Sequence[str], options: int, title: str) -> Iterator[tuple[str, bool]]:
    """Send each service a line of every kind; yields its name, and whether it took them. Raises UserError."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _cap_answers()
    for number, (url, where) in enumerate(zip(urls, _given(len(urls), options), strict=True), 1):
        service = _Service(number, url, title, where)
        took = [service.send_now([Told(f"a test of python -m scalp.notify: {kind}", kind)]) for kind in KINDS[1:]]
        service.close()
        yield service.name, all(took)


def _given(count: int, options: int) -> list[str]:
    """Where each address was given."""
    given = [f"address {number} of --notify" for number in range(1, options + 1)]
    return given + [f"address {number} of SCALP_NOTIFY" for number in range(1, count - options + 1)]


@contextlib.contextmanager
def notifications(settings: Settings, now: Callable[[], int | None]) -> Iterator[tuple[Listener, ...]]:
    """Listeners that notify the services of `settings` while inside; these get every error in the log, too.

    Raises UserError for an address that apprise does not know.
    """
    if not settings.notify:
        yield ()
        return
    notifier = Notifier(settings.notify, title(settings), now, settings.notify_options, settings.mask,
                        lambda event: _month(settings, event))  # fmt: skip
    logger = logging.getLogger("scalp")
    logger.addHandler(notifier.errors)
    try:
        yield (notifier,)
    finally:
        logger.removeHandler(notifier.errors)
        notifier.end()
