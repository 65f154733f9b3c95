"""`python -m scalp.doctor [SYMBOL ...]`: is everything in place to trade? One line a check, with what to do.

It only asks (GET), and logs into the streams for a moment. It never opens Polygon's stream: there the newest connection
throws out the older one, which may be the running bot's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import os
import platform
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from scalp.cli.command import note_unloaded, ready_output, say_error
from scalp.cli.options import LineParser
from scalp.cli.settings import LIVE_URL, PAPER_URL, Endpoints, is_loopback, read_endpoints, read_symbols
from scalp.cli.venues import FEEDS, open_broker, open_feed
from scalp.core.clock import new_york
from scalp.core.decimals import decimal_or_none
from scalp.core.errors import Rejected, ScalpError, Unreachable, UserError
from scalp.core.market_data import Bar, Halt, Trade, TradeCorrection
from scalp.core.orders import OrderReport
from scalp.core.ports import Account, Asset, Clock, Feed, Stream
from scalp.core.units import MINUTE, SECOND
from scalp.net.printable import printable
from scalp.net.stream import BUSY, SIGNS_OF_ANOTHER, in_words
from scalp.net.transport import RateLimited

OK, WARNING, BAD = "ok", "warning", "bad"
MARKS = {OK: ("✓", "green"), WARNING: ("!", "yellow"), BAD: ("✗", "bold red")}

PYTHONS = ((3, 11), (3, 13))  # from, to
CLOCK_TOLERANCE = 2.0  # seconds
LONGEST_WORDS = 40  # characters of a status
LISTEN = 4.0  # seconds on the data stream while the market is open
PATIENCE = 20.0  # seconds for a stream to log in and subscribe
CHECK_PATIENCE = 60.0  # seconds for any check, whatever servers ask for
LONGEST_PAUSE = 2.0  # seconds between two questions for bars, whatever Retry-After says
LATE = 10 * MINUTE  # the newest bar of an open market is older than that: the feed is delayed
LOOK_BACK = dt.timedelta(days=10)  # there is a trading day in that many
FEW = 10  # up to so many symbols are asked for one by one; more: one listing of all

ROOT = Path(__file__).resolve().parents[1]

Say = Callable[["Check"], None]


class Check(NamedTuple):
    """What was looked at, how it is ("ok", "warning" or "bad"), and the line about it."""

    name: str
    status: str
    text: str


class _Ear:
    """Gets what the streams deliver, and keeps only that they are up and how many messages came."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.messages = 0

    def on_bar(self, bar: Bar) -> None:
        self.messages += 1

    def on_trade(self, trade: Trade) -> None:
        self.messages += 1

    def on_gap(self, symbol: str) -> None:
        """Of no interest here."""

    def on_trade_correction(self, correction: TradeCorrection) -> None:
        """Of no interest here."""

    def on_halt(self, halt: Halt) -> None:
        """Of no interest here."""

    def on_order_update(self, report: OrderReport) -> None:
        """Of no interest here."""

    def on_feed_up(self) -> None:
        self.up.set()

    on_updates_up = on_feed_up

    def on_feed_down(self, why: str) -> None:
        """Of no interest here."""

    on_updates_down = on_feed_down


class Doctor:
    """Examines one account; `say` gets each check as it is done. `machine_time` is this machine's clock (epoch s)."""

    def __init__(
        self,
        endpoints: Endpoints,
        symbols: Sequence[str],
        say: Say,
        *,
        is_live: bool = False,
        machine_time: Callable[[], float] = time.time,
    ) -> None:
        self._endpoints = endpoints
        self._symbols = symbols
        self._say = say
        self._is_live = is_live
        self._machine_time = machine_time
        self._rest = open_broker(endpoints)
        self._ear = _Ear()
        self._rng = random.Random(1)  # for waits, which never happen here

    async def run(self) -> None:
        """Make all checks; one that fails does not keep the others from being made."""
        try:
            if not await self._try("keys", self._keys):
                return  # nothing else can be asked
            clock = await self._try("clock", self._clock)
            session = None if clock is None else await self._try("session", lambda: self._session(clock))
            await self._try("symbols", self._assets)
            if clock is not None and session is not None and self._symbols:
                await self._try("bars", lambda: self._bars(clock, session))
            await self._try("orders", self._orders)
            await asyncio.gather(
                self._try("order stream", self._order_stream),
                self._try("data stream", lambda: self._data_stream(clock is not None and clock.is_open)),
            )
        finally:
            await self._rest.close()

    async def _try(self, name: str, check: Callable[[], Awaitable[Any]]) -> Any:
        """What the check returns; None where it could not be made, with the line that says so."""
        try:
            async with asyncio.timeout(CHECK_PATIENCE):
                return await check()
        except ScalpError as error:
            self._tell(name, BAD, str(error))
        except TimeoutError:
            self._tell(name, BAD, f"no answer within {CHECK_PATIENCE:.0f} s: try again")
        except Exception as error:
            # Its words may hold anything, headers too.
            self._tell(name, BAD, f"could not be checked ({type(error).__name__})")
        return None

    def _tell(self, name: str, status: str, text: str) -> None:
        self._say(Check(name, status, self._endpoints.mask.line(text)))

    # -- account ------------------------------------------------------------------------------------------------------

    async def _keys(self) -> bool:
        host = urlsplit(self._endpoints.trading_url).netloc
        try:
            account = await _account(self._rest)
        except Rejected as refusal:
            if refusal.status not in (401, 403):
                raise
            self._tell("keys", BAD, f"{host} refused them ({refusal.status}): {await self._whose()}")
            return False
        except RateLimited:
            raise  # it was reached
        except Unreachable as error:
            self._tell("keys", BAD, f"{host} cannot be reached ({error}): check the network and APCA_API_BASE_URL")
            return False
        kind = "live account, REAL MONEY" if self._is_live else "paper account"
        if is_loopback(urlsplit(self._endpoints.trading_url).hostname or ""):
            kind = "simulated account"
        self._tell("keys", OK, f"{host} knows them: {kind}")
        blocks = [
            name for name in ("trading_blocked", "account_blocked", "trade_suspended_by_user") if account.get(name)
        ]
        status = self._endpoints.mask.words(account.get("status", "ACTIVE"), LONGEST_WORDS)
        if status != "ACTIVE":
            blocks.append(f"status {status}")
        power = decimal_or_none(account.get("buying_power"))
        if blocks:
            self._tell("account", BAD, f"blocked ({', '.join(blocks)}): nothing can be bought; see Alpaca's dashboard")
        elif power is None or power <= 0:
            self._tell("account", BAD, "no buying power: deposit money, reset the paper account, or close positions")
        else:
            self._tell("account", OK, f"{status}, equity ${_amount(account.get('equity'))}, buying power ${power}")
        return True

    async def _whose(self) -> str:
        """What to do about refused keys: Alpaca's other environment is asked whether it knows them."""
        url = self._endpoints.trading_url
        others = {PAPER_URL: (LIVE_URL, "a live account: add --live for real money, or make paper keys"),
                  LIVE_URL: (PAPER_URL, "a paper account: leave --live out, or make live keys")}  # fmt: skip
        if url in others:
            other, belongs = others[url]
            rest = open_broker(_at(self._endpoints, other))
            try:
                await _account(rest)
            except ScalpError:
                pass  # not there either
            else:
                return f"they belong to {belongs}"
            finally:
                await rest.close()
        return "copy APCA_API_KEY_ID and APCA_API_SECRET_KEY again (Alpaca shows the secret once: make a new pair)"

    async def _orders(self) -> None:
        if not self._symbols:
            self._tell("orders", OK, "not looked for: no symbols (for example: python -m scalp.doctor TSLA AAPL)")
            return
        orders = [o for o in (await self._rest.open_orders(self._symbols)).rows if o.symbol in self._symbols]
        positions = [p for p in (await self._rest.positions()).rows if p.symbol in self._symbols and p.qty]
        short = [p.symbol for p in positions if p.qty < 0]
        found = [f"{p.symbol}: {p.qty.normalize():f} held" for p in positions]
        found += [f"{o.symbol}: {o.side} {o.qty} {o.type} {o.limit_price or ''}".rstrip() for o in orders]
        if short:
            self._tell("orders", BAD, f"short in {', '.join(short)}: the bot leaves them alone until you buy them back")
        elif found:
            self._tell("orders", WARNING, f"the bot will manage, and sell, what is there: {'; '.join(found)}")
        else:
            self._tell("orders", OK, "no open order and no position in these symbols")

    # -- time ---------------------------------------------------------------------------------------------------------

    async def _clock(self) -> Clock:
        asked = self._machine_time()
        clock = await self._rest.clock()
        off = (asked + self._machine_time()) / 2 - clock.timestamp / SECOND
        if is_loopback(urlsplit(self._endpoints.trading_url).hostname or ""):
            text = f"a simulated exchange with a time of its own: {new_york(clock.timestamp):%Y-%m-%d %H:%M:%S}"
            self._tell("clock", OK, text)
        elif abs(off) <= CLOCK_TOLERANCE:
            self._tell("clock", OK, f"this machine's differs from the exchange's by {off:+.1f} s")
        else:
            self._tell("clock", WARNING, f"this machine's is {off:+.0f} s off: set it (NTP). The bot goes by the "
                       "exchange's, but certificates need a true one")  # fmt: skip
        return clock

    async def _session(self, clock: Clock) -> tuple[int, int]:
        """(open, close) of today's session, or of the last one before; ns."""
        today = new_york(clock.timestamp).date()
        days = await self._rest.calendar(today - LOOK_BACK, today)
        begun = [(opens, closes) for _, opens, closes in days if opens <= clock.timestamp]
        if not begun:
            raise UserError("the calendar has no trading day: try again, and look at status.alpaca.markets")
        todays = [(opens, closes) for day, opens, closes in days if day == today]
        if clock.is_open:
            text = f"the market is open until {new_york(clock.next_close):%H:%M} New York"
            if new_york(clock.next_close).hour < 16:
                text += " (an early close)"
        else:
            next_open = f"{new_york(clock.next_open):%A %Y-%m-%d %H:%M} New York"
            text = f"the market is closed{'' if todays else ' today'}, it opens on {next_open}; main.py --wait waits"
        self._tell("session", OK, text)
        return begun[-1]

    # -- market data --------------------------------------------------------------------------------------------------

    async def _assets(self) -> None:
        """A line a symbol; those that do not exist are not looked at any further."""
        listed: dict[str, Asset] = {}
        if len(self._symbols) > FEW:
            listed = {asset.symbol: asset for asset in await self._rest.assets()}
        known: list[str] = []
        asked = 0
        for symbol in self._symbols:
            asset = listed.get(symbol)
            if asset is None and asked < FEW:
                asked += 1
                asset = await self._asset(symbol)
            if asset is None:
                self._tell(symbol, BAD, "no such symbol at Alpaca: check the spelling (classes with a dot: BRK.B)")
                continue
            known.append(symbol)
            name = f"{asset.name or 'without a name'} ({asset.exchange or '?'})"
            if asset.tradable and asset.active:
                self._tell(symbol, OK, name)
            else:
                self._tell(symbol, BAD, f"{name} cannot be traded now: leave it out")
        self._symbols = known

    async def _asset(self, symbol: str) -> Asset | None:
        try:
            return await self._rest.asset(symbol)
        except Rejected as refusal:
            if refusal.status in (404, 422):
                return None
            raise

    async def _bars(self, clock: Clock, session: tuple[int, int]) -> None:
        feed = self._open_feed()
        try:
            opens, closes = session
            end = min(clock.timestamp, closes)
            counts: dict[str, int] = {}
            newest = 0
            async for symbol, bars in feed.history(list(self._symbols), opens, end):
                counts[symbol] = len(bars)
                newest = max([newest, *(bar.start + MINUTE for bar in bars)])
        except (Unreachable, Rejected) as error:
            key = FEEDS[self._endpoints.feed].key
            hint = f": check {key} and its plan" if key else ""
            self._tell("bars", BAD, f"{error}{hint}")
            return
        finally:
            await feed.close()
        name = self._endpoints.feed
        none = [symbol for symbol in self._symbols if not counts.get(symbol)]
        told = ", ".join(f"{symbol} {count}" for symbol, count in counts.items())
        day = f"{new_york(opens):%Y-%m-%d}"
        if clock.is_open and end - opens <= LATE and none:
            self._tell("bars", OK, f"{name}: {told} on {day}, which has only begun")
        elif clock.is_open and newest and end - newest > LATE:
            late = (end - newest) // MINUTE
            self._tell("bars", BAD, f"{name}: the newest is {late} minutes old: a delayed plan cannot trade; "
                       "--feed iex is free and real-time")  # fmt: skip
        elif none:
            # Of a day that is over it may mean little.
            status = BAD if clock.is_open else WARNING
            self._tell("bars", status, f"{name}: none of {', '.join(none)} on {day}: leave out, or try another --feed")
        else:
            self._tell("bars", OK, f"{name}: {told} on {day}")

    def _open_feed(self) -> Feed:
        return open_feed(self._endpoints, self._symbols, self._ear, self._rng, account=self._rest,
                         longest_pause=LONGEST_PAUSE)  # fmt: skip

    async def _data_stream(self, is_open: bool) -> None:
        feed = self._open_feed()
        if feed.is_exclusive:
            owner = FEEDS[self._endpoints.feed].owner
            self._tell("data stream", OK, f"not tried: {owner} would throw out a running bot for it")
            return
        if not self._symbols or not is_open:
            reason = "the market is closed" if self._symbols else "no symbols named"
            self._tell("data stream", OK, f"not tried: {reason}")
            return
        trouble = await self._connect(feed, LISTEN)
        if trouble:
            self._tell("data stream", BAD, trouble)
            return
        without = [symbol for symbol in self._symbols if not feed.streams_bars(symbol)]
        heard = f"{self._ear.messages} messages in {LISTEN:.0f} s"
        if without:
            self._tell("data stream", BAD, f"{feed.name}: no bars of {', '.join(without)}: the plan's limit of symbols "
                       "is reached, name fewer")  # fmt: skip
        elif not all(feed.streams_trades(symbol) for symbol in self._symbols):
            self._tell("data stream", OK, f"{feed.name}: bars, no trades (the bot asks for the last one); {heard}")
        else:
            self._tell("data stream", OK, f"{feed.name}: bars and trades; {heard}")

    async def _order_stream(self) -> None:
        trouble = await self._connect(self._rest.order_updates(_Ear(), self._rng), 0.0)
        self._tell("order stream", BAD if trouble else OK, trouble or "open, and nobody else uses it")

    async def _connect(self, stream: Stream, listen: float) -> str:
        """One connection: log in, listen for so many seconds, leave. Returns what went wrong, "" for nothing."""
        try:
            async with asyncio.timeout(PATIENCE + listen):
                await stream.try_once(listen)
        except Exception as error:
            words = in_words(error)
            return BUSY if any(sign in words for sign in SIGNS_OF_ANOTHER) else f"{stream.name}: {words}"
        return ""


def _amount(value: object) -> str:
    number = decimal_or_none(value)
    return "?" if number is None else f"{number:f}"


async def _account(rest: Account) -> dict[str, Any]:
    answer = await rest.get_account()
    if not isinstance(answer, dict):
        raise Unreachable("GET /account: the answer is not understood")
    return answer


def _at(endpoints: Endpoints, url: str) -> Endpoints:
    """The same keys at another trading address."""
    return Endpoints(url, endpoints.data_url, endpoints.data_stream_url, endpoints.key_id, endpoints.secret_key)


def check_versions(root: Path) -> Check:
    """Python, and the packages against Pipfile.lock (direct and indirect ones) where there is one at `root`."""
    python = platform.python_version()
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Check("versions", BAD, f"Python {python}: this needs 3.11, 3.12 or 3.13; make the venv anew with one")
    try:
        locked = json.loads((root / "Pipfile.lock").read_text(encoding="utf-8"))["default"]
    except (OSError, ValueError, KeyError):
        return Check("versions", WARNING, f"Python {python}; no Pipfile.lock to compare the packages with")
    missing, other = [], []
    for name, entry in locked.items():
        wanted = str(entry.get("version", "")).removeprefix("==")
        try:
            found = version(name)
        except PackageNotFoundError:
            if "markers" not in entry or "sys_platform" not in entry["markers"]:
                missing.append(name)
            continue
        if wanted and found != wanted:
            other.append(f"{name} {found} (locked: {wanted})")
    if missing:
        return Check("versions", BAD, f"Python {python}; not installed: {', '.join(missing)}: run pipenv sync")
    if other:
        return Check("versions", WARNING, f"Python {python}; {', '.join(other)}: run pipenv sync, which takes "
                     "those that the tests ran with")  # fmt: skip
    return Check("versions", OK, f"Python {python}, {len(locked)} packages as locked")


def _printer() -> Say:
    """Coloured marks where the output is a terminal, plain words elsewhere."""
    if not sys.stdout.isatty():
        return lambda check: print(f"{check.status:<8} {check.name:<13} {check.text}", flush=True)
    console = Console(highlight=False)

    def show(check: Check) -> None:
        mark, style = MARKS[check.status]
        console.print(Text.assemble((f"{mark} {check.name:<13} ", style), check.text), soft_wrap=True)

    return show


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Exit code 0: ready to trade; 1: something has to be done first; 2: not understood."""
    parser = LineParser(
        prog="python -m scalp.doctor",
        description="Looks whether everything is in place to trade, and says what to do where it isn't. It changes "
        "nothing.",
    )
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="stocks to look at")
    parser.add_argument("--live", action="store_true", help="a live account: real money")
    parser.add_argument("--feed", choices=tuple(FEEDS), help="where bars come from, as for main.py")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    try:
        options = parser.parse_intermixed_args(argv)
        symbols = read_symbols(options.symbols)[0] if options.symbols else ()
    except UserError as error:
        say_error(error)
        return 2
    ready_output()
    note_unloaded()
    # What the streams would log is reported in the checks.
    logging.getLogger("scalp").addHandler(logging.NullHandler())
    checks: list[Check] = []
    show = (lambda check: None) if options.json else _printer()

    def say(check: Check) -> None:
        check = check._replace(text=printable(check.text))
        checks.append(check)
        show(check)

    say(check_versions(ROOT))
    try:
        endpoints = read_endpoints(environ, is_live=options.live, feed=options.feed)
        if endpoints is None:
            say(Check("keys", BAD, "none: set APCA_API_KEY_ID and APCA_API_SECRET_KEY (without any, main.py trades "
                      "against the built-in exchange)"))  # fmt: skip
        else:
            asyncio.run(Doctor(endpoints, symbols, say, is_live=options.live).run())
    except UserError as error:
        say(Check("keys", BAD, str(error)))
    except KeyboardInterrupt:
        return 130
    is_well = all(check.status != BAD for check in checks)
    if options.json:
        print(json.dumps({"ok": is_well, "checks": [check._asdict() for check in checks]}, indent=2))
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
