"""The live view: what the bot is doing, drawn to fill a terminal of any size.

Run as a process of its own, which reads frames from its standard input and draws each one: drawing takes longer than an
exit may wait, and whatever becomes of the bot, kill -9 included, the end of that input restores the terminal. So that
it starts at once, this file is run by its path and imports nothing of the bot.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

FEWEST_LOG_LINES = 5  # that rows leave room for
MOST_LOG_LINES = 500  # kept, for a terminal that grows
POLITE = 10  # niceness of this process, of 19
NARROW, WIDE = 79, 95  # columns of a table; a wide one shows entry price and trades as well
SPARK, EXIT, STOP = 16, 23, 14  # widths of what a still wider one shows, in this order
ORDER = 20  # columns that the order keeps
NEAR = 0.8  # share of a risk limit from which on it is shown in yellow
GAP = 2  # columns between two tables
RANK_EVERY = 20  # frames: rows that change places all the time cannot be read
IDLE = "TO_BUY"

STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


class Row(msgspec.Struct):
    """One symbol. Prices and profit in dollars, `age` in seconds, None where there is no such thing."""

    symbol: str
    state: str
    last: float | None = None
    average: float | None = None  # of the closes, as the built-in signal takes it
    minutes: int = 0  # bars of today
    warmup: int = 0  # bars the signal needs
    held: float = 0.0
    entry: float | None = None
    side: str = ""  # of the working order that is followed; "": none
    remaining: float | None = None
    limit: float | None = None  # None: at market
    age: float = 0.0  # of that order
    more_orders: int = 0
    realised: float = 0.0  # today, gross
    unrealised: float = 0.0
    trades: int = 0
    why_no_entry: str = ""  # why nothing is bought just now
    fees: float = 0.0  # of what was realised, dollars
    stop: float | None = None  # the price of the stop
    stop_at: str = ""  # where it rests: "broker", "bot"
    last_exit: str = ""  # why and when it was left last: "limit 10:14:03"
    spark: str = ""  # the day so far, a block a stretch

    @property
    def distance(self) -> float | None:
        """Percent by which the last trade is above the average; turning positive is the built-in signal."""
        # Rounded as it is shown, and no minus before a zero.
        return round((self.last / self.average - 1) * 100, 2) + 0.0 if self.last and self.average else None

    @property
    def is_active(self) -> bool:
        return self.state != IDLE or bool(self.held or self.side)


class Stream(msgspec.Struct):
    name: str
    is_up: bool
    age: float | None = None  # seconds since its last message


class Limit(msgspec.Struct):
    """A risk limit: how it stands in words, and the share of it that is used up."""

    name: str
    told: str
    part: float


class Frame(msgspec.Struct):
    """Everything that is shown, at one moment."""

    venue: str  # "SIMULATED", "paper", "REAL MONEY"
    clock: str  # exchange time, New York
    phase: str  # "closes in 5:45:57"
    rows: list[Row]
    streams: list[Stream]
    requests_left: int
    requests_limit: int
    fill_to_exit: list[float] = []  # seconds from a fill to its sell, of those since the frame before
    lines: list[tuple[str, str]] = []  # log lines since the frame before: level and text
    equity: float | None = None  # dollars, of the account
    limits: list[Limit] = []
    notice: str = ""  # what a key has to say
    help: list[str] = []
    hint: str = ""  # which keys there are; "": none


class Screen:
    """Frames in, text out."""

    def __init__(self) -> None:
        self._lines: deque[tuple[str, str]] = deque(maxlen=MOST_LOG_LINES)
        self._fill_to_exit: list[float] = []
        self._frames = 0
        self._ranks: dict[str, int] = {}

    def draw(self, frame: Frame, width: int, height: int) -> Text:
        """`height` lines, none longer than `width`."""
        self._lines.extend(frame.lines)
        self._fill_to_exit.extend(frame.fill_to_exit)
        top = [self._title(frame, width), self._health(frame)]
        common = _common(row.why_no_entry for row in frame.rows)
        if common:
            top.append(Text(f" no buys: {common}", "yellow"))
        if frame.limits:
            top.append(_limits(frame.limits))
        if not _Columns(width, frame.rows).has_stop and (stops := _stops(frame.rows)):
            top.append(Text(stops))
        top += [Text(f" {line}", "reverse") for line in frame.help]
        if frame.notice:
            top.append(Text(f" {frame.notice} ", "bold black on yellow"))
        free = height - len(top) - 2
        room = max(free - FEWEST_LOG_LINES, free // 2, 1)
        table = self._table(frame.rows, width, room, is_told=bool(common))
        self._frames += 1
        rule = " log ".center(width, "─")
        if frame.hint and (room := width - len(frame.hint) - 3) > len("── log "):
            rule = f"{'── log ':─<{room}} {frame.hint} ─"
        lines = [*top, *table, Text(rule, "dim")]
        tail = max(height - len(lines), 0)
        lines += [_log_line(*line) for line in list(self._lines)[-tail:]] if tail else []
        lines = lines[:height]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        lines += [Text()] * (height - len(lines))
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    def _title(self, frame: Frame, width: int) -> Text:
        realised = sum(row.realised for row in frame.rows)
        unrealised = sum(row.unrealised for row in frame.rows)
        net = realised - sum(row.fees for row in frame.rows)
        gross, of_day, opened = f"gross {realised:+.2f}  ", f"net {net:+.2f} ", f" open {unrealised:+.2f} "
        rest = of_day + opened
        equity = "" if frame.equity is None else f"equity {frame.equity:,.2f}  "
        left = f" {frame.venue}  {frame.clock} New York  {frame.phase}"
        short = f" {frame.venue}  {frame.clock.partition(' ')[2]}  {frame.phase}"
        shown = [(left, equity + gross + rest), (short, equity + gross + rest), (short, equity + rest)]
        shown += [(short, equity + of_day)] if equity else []
        left, right = next((s for s in shown if len(s[0]) + len(s[1]) + 2 <= width), (short, gross + rest))
        style = "bold white on red" if frame.venue == "REAL MONEY" else "reverse"
        return Text(left + " " * max(width - len(left) - len(right), 2) + right, style)

    def _health(self, frame: Frame) -> Text:
        text = Text()
        for stream in frame.streams:
            age = "quiet" if stream.age is None else f"{_age(stream.age)} ago"
            text.append(f" {stream.name} ").append("up" if stream.is_up else "DOWN", "green" if stream.is_up else "red")
            text.append(f" {age} ", "dim")
        is_short = frame.requests_left < frame.requests_limit // 4
        text.append(f" requests {frame.requests_left}/{frame.requests_limit} ", "yellow" if is_short else "")
        if self._fill_to_exit:
            median, worst = statistics.median(self._fill_to_exit) * 1000, max(self._fill_to_exit) * 1000
            text.append(f" exits {median:.2f} ms, worst {worst:.2f}")
        return text

    def _table(self, rows: Sequence[Row], width: int, room: int, is_told: bool) -> list[Text]:
        """A heading and at most `room` lines; two tables side by side where one is too long and there is the width."""
        is_double = len(rows) > room and width >= 2 * NARROW + GAP
        each = (width - GAP) // 2 if is_double else width
        capacity = room * 2 if is_double else room
        shown: Sequence[Row] = rows
        if len(rows) > capacity:
            capacity = max(room - 1, 1) * (2 if is_double else 1)
            shown = self._ranked(rows)[:capacity]
        columns = _Columns(each, rows)
        lines = [columns.row(row, is_told) for row in shown]
        heading = columns.heading()
        if is_double:
            half = (len(lines) + 1) // 2
            right = [*lines[half:], Text()]
            gap = " " * GAP
            lines = [Text.assemble(line, gap, other) for line, other in zip(lines[:half], right, strict=False)]
            heading = Text.assemble(heading, gap, heading)
        if len(shown) < len(rows):
            is_any_active = any(row.is_active for row in rows if row not in shown)
            note = "some of them held or working" if is_any_active else "nothing held, nothing working"
            lines.append(Text(f" and {len(rows) - len(shown)} more: {note}", "yellow" if is_any_active else "dim"))
        return [heading, *lines]

    def _ranked(self, rows: Sequence[Row]) -> list[Row]:
        """What is held or working, then what is nearest to its average."""
        if self._frames % RANK_EVERY == 0 or len(self._ranks) != len(rows):
            by_distance = sorted(rows, key=lambda row: abs(row.distance) if row.distance is not None else 1e9)
            self._ranks = {row.symbol: rank for rank, row in enumerate(by_distance)}
        return sorted(rows, key=lambda row: (not row.is_active, 0 if row.is_active else self._ranks[row.symbol]))


class _Columns:
    """How wide each column of a table is."""

    def __init__(self, width: int, rows: Sequence[Row]) -> None:
        self._symbol = min(max([6, *(len(row.symbol) for row in rows)]), 9)
        self._is_wide = width >= WIDE
        taken = self._symbol + (77 if self._is_wide else 61)  # by all but the orders
        free = width - taken - ORDER
        self._extra = {}
        for name, columns in (("spark", SPARK), ("exit", EXIT), ("stop", STOP)):
            if self._is_wide and free > columns:
                self._extra[name] = columns
                free -= columns + 1
                taken += columns + 1
        if "spark" in self._extra and "stop" in self._extra and free > SPARK:
            self._extra["spark"] = 2 * SPARK
            taken += SPARK
        self._order = min(max(width - taken, 7), 30)

    def heading(self) -> Text:
        more = f"{'entry':>8} {'trades':>6} " if self._is_wide else ""
        return Text(
            f"{'symbol':<{self._symbol}} {'state':<14} {'last':>8} {'average':>8} {'dist %':>6} {'held':>5} {more}"
            f"{'order':<{self._order}} {'age':>4} {'net $':>8}" + "".join(self._extra_heads()),
            "bold",
        )

    @property
    def has_stop(self) -> bool:
        """Whether there is a column for it."""
        return "stop" in self._extra

    def _extra_heads(self) -> Iterator[str]:
        for name, head in (("stop", "stop at"), ("exit", "last exit"), ("spark", "day")):
            if name in self._extra:
                yield f" {head:<{self._extra[name]}}"

    def row(self, row: Row, is_told: bool) -> Text:
        """`is_told`: why nothing is bought is said above."""
        distance, profit = row.distance, row.realised - row.fees + row.unrealised
        text = Text()
        text.append(f"{row.symbol:<{self._symbol}.{self._symbol}} ", "bold" if row.is_active else "")
        text.append(f"{row.state:<14} ", _state_style(row))
        text.append(f"{_price(row.last):>8} {_price(row.average):>8} ")
        text.append(f"{'' if distance is None else f'{distance:+.2f}':>6.6} ", _sign_style(distance))
        text.append(f"{_shares(row.held) if row.held else '':>5} ")
        if self._is_wide:
            text.append(f"{_price(row.entry) if row.entry else '':>8} {row.trades or '':>6} ")
        order, style = self._order_cell(row, is_told)
        text.append(f"{_cut(order, self._order):<{self._order}} ", style)
        text.append(f"{_age(row.age) if row.side else '':>4} ")
        money = "-" if not (profit or row.trades or row.held) else f"{profit:+.{2 if abs(profit) < 10_000 else 0}f}"
        text.append(f"{money:>8}", _sign_style(profit))
        if "stop" in self._extra:
            stop = "" if row.stop is None else f"{_price(row.stop)} {row.stop_at}"
            text.append(f" {_cut(stop, STOP):<{STOP}}", "" if row.stop_at == "broker" else "yellow")
        if "exit" in self._extra:
            text.append(f" {_cut(row.last_exit, EXIT):<{EXIT}}", "dim")
        if "spark" in self._extra:
            width = self._extra["spark"]
            text.append(f" {_squeezed(row.spark, width):<{width}}", "cyan")
        return text

    def _order_cell(self, row: Row, is_told: bool) -> tuple[str, str]:
        """The working order; without one, what stands against a buy."""
        if row.side:
            terms = "market" if row.limit is None else _price(row.limit)
            more = f" +{row.more_orders}" if row.more_orders else ""
            qty = "?" if row.remaining is None else _shares(row.remaining)
            stop = "" if row.stop is None or self.has_stop else f" stop {_price(row.stop)}"
            long, short = f"{row.side} {qty} @ {terms}{stop}{more}", f"{qty}@{terms}{stop}{more}"
            brief = short if len(short) <= self._order else f"{qty}@{terms}{more}"
            return long if len(long) <= self._order else brief, ""  # the state tells the side as well
        if row.minutes < row.warmup:
            return f"bars {row.minutes}/{row.warmup}", "dim"
        return "" if is_told else row.why_no_entry, "yellow"


def _limits(limits: Sequence[Limit]) -> Text:
    """How near the risk limits are."""
    text = Text(" limits ")
    for limit in limits:
        style = "bold red" if limit.part >= 1 else "yellow" if limit.part >= NEAR else "green"
        text.append(f" {limit.name} ").append(limit.told, style).append(" ")
    return text


def _stops(rows: Sequence[Row]) -> str:
    """Where the stops rest, for a table without a column for them."""
    told = [f"{row.symbol} {_price(row.stop)} {row.stop_at}" for row in rows if row.stop is not None]
    return f" stops  {', '.join(told)}" if told else ""


def _squeezed(spark: str, width: int) -> str:
    """Every second, third, ... block of what is too long, the newest among them."""
    every = -(-len(spark) // width)
    return spark[::-1][::every][::-1] if every > 1 else spark


def _common(reasons: Iterable[str]) -> str:
    """The reason that all rows share; "" if they don't."""
    found = set(reasons)
    return found.pop() if len(found) == 1 else ""


def _state_style(row: Row) -> str:
    return "dim" if not row.is_active else "red" if row.state == "TO_SELL" else "cyan"


def _sign_style(value: float | None) -> str:
    return "dim" if not value else "green" if value > 0 else "red"


def _price(price: float | None) -> str:
    if price is None:
        return "-"
    return f"{price:.4f}" if price < 1 else f"{price:.2f}" if price < 100_000 else f"{price:.0f}"


def _shares(count: float) -> str:
    return f"{count:g}" if abs(count) < 10_000 else f"{count / 1000:.0f}k"


def _age(seconds: float) -> str:
    if seconds < 60:
        return f"{max(seconds, 0):.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 5970 else f"{seconds / 3600:.0f}h"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _log_line(level: str, text: str) -> Text:
    return Text("".join(c if c.isprintable() else " " for c in text), STYLES.get(level, ""))


@contextlib.contextmanager
def single_keys() -> Iterator[None]:
    """The terminal hands on each key at once and shows none; its mode is as it was at the end."""
    import termios
    import tty

    output = sys.stdout.fileno()
    before = termios.tcgetattr(output)
    tty.setcbreak(output, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(output, termios.TCSADRAIN, before)


def main() -> None:
    """Draw what comes on standard input, a frame of JSON a line, until it ends."""
    if hasattr(os, "nice"):
        os.nice(POLITE)  # the bot goes first
    for frozen in ("COLUMNS", "LINES"):  # where a shell exports them, they hold the size from before a resize
        os.environ.pop(frozen, None)
    console, screen = Console(highlight=False), Screen()
    decoder = msgspec.json.Decoder(Frame)
    keys = single_keys() if "--keys" in sys.argv[1:] else contextlib.nullcontext()
    with (
        keys,
        Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live,
    ):
        for line in sys.stdin.buffer:
            width, height = console.size
            live.update(screen.draw(decoder.decode(line), width, height), refresh=True)


if __name__ == "__main__":
    main()
