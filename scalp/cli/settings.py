"""Arguments, environment and credentials. Nothing here ever prints a key."""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scalp.cli.config import add_config, parse
from scalp.cli.dotenv import unloaded
from scalp.cli.fee_options import add_fees, read_fees
from scalp.cli.options import ADDRESS, TRADING, LineParser, add_seed, named, named_path, read_date
from scalp.cli.paths import default_path
from scalp.cli.risk_options import add_arguments, read_limits
from scalp.cli.venues import FEEDS
from scalp.cli.versions import Version
from scalp.core.errors import UserError
from scalp.core.fees import ALPACA, FeeSchedule
from scalp.core.risk_limits import NO_RISK_LIMITS, RiskLimits
from scalp.net.printable import Mask

PAPER_URL = "https://paper-api.alpaca.markets"
LIVE_URL = "https://api.alpaca.markets"
DATA_URL = "https://data.alpaca.markets"
DATA_STREAM_URL = "wss://stream.data.alpaca.markets"
POLYGON_URL = "https://api.massive.com"
POLYGON_STREAM_URL = "wss://socket.massive.com/stocks"

HIGHEST_LOT = 10**9  # dollars
ON_EXIT = ("keep", "cancel-buys", "flatten")
LONG_PART = 12  # characters: a part of a service's address that is as long may be a token
KEY = re.compile(r"[!-~]+")  # what an HTTP header can carry
HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
# Variables that begin so hold a key, what goes with one, or what may hold one.
SECRET_VARIABLES = ("APCA_", "POLYGON_", "SCALP_NOTIFY")

SYMBOL = re.compile(r"[A-Z][A-Z0-9]{0,7}(\.[A-Z]{1,3})?")


@dataclass(frozen=True)
class Endpoints:
    """Where to trade and with which keys. `repr` leaves the keys out."""

    trading_url: str  # https://paper-api.alpaca.markets, no trailing slash, no /v2
    data_url: str  # https://data.alpaca.markets
    data_stream_url: str  # wss://stream.data.alpaca.markets (the feed is appended: /v2/iex)
    key_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    feed: str = "iex"  # one of FEEDS
    polygon_url: str = POLYGON_URL
    polygon_stream_url: str = POLYGON_STREAM_URL
    polygon_key: str = field(default="", repr=False)
    broker: str = "alpaca"  # one of BROKERS

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any output."""
        return tuple(secret for secret in (self.key_id, self.secret_key, self.polygon_key) if secret)

    @cached_property
    def mask(self) -> Mask:
        """Hides the keys in what is shown and written."""
        return Mask(self.secrets)


@dataclass(frozen=True)
class Settings:
    """One run. `endpoints` is None for the built-in exchange; `speed` is None for as fast as it goes there."""

    symbols: tuple[str, ...]
    lot: Decimal
    notes: tuple[str, ...] = ()  # what was understood differently from how it was written
    endpoints: Endpoints | None = None
    is_live: bool = False
    wait: bool = False
    every_day: bool = False  # session after session; `wait` is True then
    on_exit: str = "cancel-buys"  # or "keep" or "flatten"
    debug: bool = False
    dashboard: bool = False
    notify: tuple[str, ...] = field(default=(), repr=False)  # addresses of services, with their tokens
    notify_options: int = 0  # so many of them are from --notify, the others from SCALP_NOTIFY
    algo: str = ""
    given: tuple[str, ...] = ()  # the texts of --set
    speed: float | None = None
    seed: int = 1
    session: dt.date | None = None
    replay: tuple[Path, ...] = ()
    journal: Path | None = None  # None: no journal
    log: Path = Path("console.log")
    risk_limits: RiskLimits = NO_RISK_LIMITS
    fees: FeeSchedule = ALPACA
    net_exit: bool = False  # offer no lower than the entry and the fees of both sides

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in any output."""
        keys = self.endpoints.secrets if self.endpoints is not None else ()
        return (*keys, *(secret for url in self.notify for secret in _secrets_of(url)))

    @property
    def venue(self) -> str:
        """simulated, paper or live; an exchange on this machine is simulated."""
        if self.endpoints is None or is_loopback(urlsplit(self.endpoints.trading_url).hostname or ""):
            return "simulated"
        return "live" if self.is_live else "paper"

    @property
    def is_simulated_elsewhere(self) -> bool:
        """Its endpoints are an exchange on this machine, which takes the bot for one that trades on paper."""
        return self.endpoints is not None and self.venue == "simulated"

    @cached_property
    def mask(self) -> Mask:
        """Hides the secrets in what is shown and written."""
        return Mask(self.secrets)


def make_parser() -> LineParser:
    """The options of main.py."""
    parser = LineParser(
        prog="main.py",
        description="Scalps US stocks through Alpaca. With no APCA_* variable set it trades against a built-in "
        "simulated exchange.",
        parents=[TRADING],
    )
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="stocks to trade, as many as you like")
    add_config(parser)
    add_fees(parser)
    parser.add_argument("--feed", choices=tuple(FEEDS), help="where bars come from (default: polygon with "
                        "POLYGON_API_KEY, else iex)")  # fmt: skip
    parser.add_argument("--live", action="store_true", help="trade real money; needs the keys of a live account")
    parser.add_argument("--wait", action="store_true", help="while the market is closed, wait until it opens")
    parser.add_argument("--every-day", action="store_true", help="trade session after session, and wait in between")
    parser.add_argument("--on-exit", choices=ON_EXIT, default="cancel-buys",
                        help="when stopped early: keep every order, cancel working buys (default), or cancel "
                        "everything and sell what is held at market")  # fmt: skip
    parser.add_argument("--journal", type=named, metavar="PATH|off",
                        help="where the session is written down (default: in your state folder)")  # fmt: skip
    parser.add_argument("--log", type=named_path, default=Settings.log, metavar="PATH",
                        help="where the log goes beside the terminal (default: console.log here)")  # fmt: skip
    parser.add_argument("--dashboard", action="store_true", help="a live view instead of the log on the terminal")
    parser.add_argument("--notify", action="append", default=[], metavar="URL",
                        help="tell this service of fills and trouble, as apprise writes it (tgram://...); may be "
                        "repeated; also in SCALP_NOTIFY")  # fmt: skip
    parser.add_argument("--version", action=Version, help="say which version and commit this is")
    parser.add_argument("--debug", action="store_true", help="log more")
    add_arguments(parser)
    simulated = parser.add_argument_group("built-in exchange (no APCA_* variable set)")
    simulated.add_argument(
        "--speed", type=_speed, help="market minutes that pass in a real one (default: all it can, 60 with --dashboard)"
    )
    add_seed(simulated)
    simulated.add_argument("--session", type=read_date, metavar="DATE",
                           help="trading day to simulate, YYYY-MM-DD (default 2026-11-20)")  # fmt: skip
    simulated.add_argument("--replay", type=named_path, action="append", default=[], metavar="PATH",
                           help="trade recorded minute bars: a CSV file or a folder; may be repeated")  # fmt: skip
    return parser


def read_settings(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Arguments, file of options and environment of one run. Raises UserError with one clear line."""
    args, told = parse(make_parser(), argv)
    symbols, notes = read_symbols(args.symbols)
    notes = told + notes
    if line := unloaded(environ):
        notes += (line,)
    endpoints = read_endpoints(environ, is_live=args.live, feed=args.feed)
    if endpoints is not None:
        for name in ("speed", "seed", "session", "replay"):
            if getattr(args, name) not in (None, []):
                raise UserError(f"--{name} belongs to the built-in exchange: unset the APCA_* variables to use it")
    elif args.feed is not None:
        raise UserError(f"--feed {args.feed} needs APCA_API_KEY_ID and APCA_API_SECRET_KEY")
    elif args.every_day:
        raise UserError("--every-day waits for an account's next session: set APCA_API_KEY_ID and APCA_API_SECRET_KEY "
                        "(--replay FOLDER plays recorded days one after the other)")  # fmt: skip
    elif environ.get("POLYGON_API_KEY", "").strip():
        notes += ("POLYGON_API_KEY is not used: without Alpaca's keys there is nothing to trade on its bars",)
    return Settings(
        symbols=symbols,
        lot=read_lot(args.lot),
        notes=notes,
        endpoints=endpoints,
        is_live=args.live,
        wait=args.wait or args.every_day,
        every_day=args.every_day,
        on_exit=args.on_exit,
        debug=args.debug,
        dashboard=args.dashboard,
        notify=(*args.notify, *environ.get("SCALP_NOTIFY", "").split()),
        notify_options=len(args.notify),
        algo=args.algo or "",
        given=tuple(args.set),
        speed=args.speed if endpoints is None else _scalp_speed(environ, endpoints),
        seed=1 if args.seed is None else args.seed,
        session=args.session,
        replay=tuple(args.replay),
        journal=read_journal(args.journal or ""),
        log=args.log,
        risk_limits=read_limits(args),
        fees=read_fees(args.fees),
        net_exit=args.net_exit,
    )


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the environment that a process which trades nothing may have."""
    return {name: value for name, value in environ.items() if not name.startswith(SECRET_VARIABLES)}


def _secrets_of(url: str) -> list[str]:
    """The address, and its parts that are long enough for a token."""
    rest = url.partition("://")[2]
    parts = [part for part in re.split(r"[/:@?&=,]", rest) if len(part) >= LONG_PART]
    return [text for text in dict.fromkeys([url, rest, *parts, *map(unquote, parts)]) if text]


def read_journal(text: str) -> Path | None:
    """`--journal PATH|off`; nothing said: the journal of this user."""
    if text == "off":
        return None
    return Path(text) if text else default_path()


def read_symbols(given: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The symbols to trade, and notes on what was understood differently. Raises UserError."""
    if not given:
        raise UserError("no symbols: name the stocks to trade, for example: python main.py --lot=2000 TSLA FB AAPL")
    symbols: list[str] = []
    notes: list[str] = []
    for text in (part for word in given for part in (word.strip(",").split(",") if "," in word else [word])):
        symbol = text.upper()
        if not SYMBOL.fullmatch(symbol):
            shown = ADDRESS.sub("...", text)
            raise UserError(f"{shown!r} is not a stock symbol (classes are written with a dot: BRK.B)")
        if symbol in symbols:
            notes.append(f"{symbol} is named twice: once is enough")
        else:
            symbols.append(symbol)
            if symbol != text:
                notes.append(f"{text} is taken as {symbol}")
    return tuple(symbols), tuple(notes)


def read_lot(text: str) -> Decimal:
    """`--lot` in dollars. Raises UserError."""
    try:
        lot = Decimal(text)
    except InvalidOperation:
        raise UserError(f"--lot {text!r} is not an amount of dollars, for example: --lot=2000") from None
    if not lot.is_finite() or not 0 < lot <= HIGHEST_LOT:
        raise UserError(f"--lot {text!r} must be more than 0 dollars and at most a billion")
    return lot


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed, for example 60")
    return speed


def read_endpoints(environ: Mapping[str, str], *, is_live: bool, feed: str | None = None) -> Endpoints | None:
    """Where to trade; None for the built-in exchange: no APCA_* variable is set and real money was not asked for.

    Raises UserError with one clear line.
    """
    env = {name: value.strip() for name, value in environ.items() if value.strip()}
    alpaca = sorted(name for name in env if name.startswith("APCA_"))
    if not alpaca and not is_live:
        return None
    missing = [name for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY") if name not in env]
    if missing:
        because = f"{alpaca[0]} is set" if alpaca else "--live was given"
        remedy = "unset all APCA_* variables to trade against the built-in exchange" if alpaca else "leave out --live"
        raise UserError(f"{because} but not {' and '.join(missing)}: set both keys, or {remedy}")
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "POLYGON_API_KEY"):
        if name in env and not KEY.fullmatch(env[name]):
            raise UserError(f"{name} holds characters that no key has: copy it again")
    polygon_key = env.get("POLYGON_API_KEY", "")
    feed = feed or ("polygon" if polygon_key else "iex")
    if (key := FEEDS[feed].key) and key not in env:
        raise UserError(f"the {feed} feed needs {key}; Alpaca's own feeds are --feed iex and --feed sip")
    trading_url = env.get("APCA_API_BASE_URL", LIVE_URL if is_live else PAPER_URL).rstrip("/").removesuffix("/v2")
    endpoints = Endpoints(
        trading_url=_checked("APCA_API_BASE_URL", trading_url, "http"),
        data_url=_checked("APCA_API_DATA_URL", env.get("APCA_API_DATA_URL", DATA_URL), "http").removesuffix("/v2"),
        data_stream_url=_checked("APCA_API_STREAM_URL", env.get("APCA_API_STREAM_URL", DATA_STREAM_URL), "ws"),
        key_id=env["APCA_API_KEY_ID"],
        secret_key=env["APCA_API_SECRET_KEY"],
        feed=feed,
        polygon_url=_checked("POLYGON_BASE_URL", env.get("POLYGON_BASE_URL", POLYGON_URL), "http"),
        polygon_stream_url=_checked("POLYGON_WS_URL", env.get("POLYGON_WS_URL", POLYGON_STREAM_URL), "ws"),
        polygon_key=polygon_key,
    )
    host = (urlsplit(endpoints.trading_url).hostname or "").removesuffix(".")  # which would name the same host
    if host == urlsplit(LIVE_URL).hostname and not is_live:
        raise UserError("APCA_API_BASE_URL is the live account's: add --live to trade real money, or use " + PAPER_URL)
    if host == urlsplit(PAPER_URL).hostname and is_live:
        raise UserError(f"--live contradicts APCA_API_BASE_URL={PAPER_URL}: drop one of the two")
    return endpoints


def _checked(name: str, url: str, scheme: str) -> str:
    """`url` without a trailing slash, its host as the network writes it; plain text only to this machine.

    http(s) is taken for ws(s), as the SDK does.
    """
    url = url.rstrip("/")
    if scheme == "ws" and url.startswith("http"):
        url = "ws" + url.removeprefix("http")
    host = None
    try:
        parts = urlsplit(url)
        port = parts.port
        if url.isprintable() and not set(url) & set(" \\?#@"):
            host = _host(parts.hostname or "")
    except ValueError:
        host = None
    if not host or parts.scheme not in (scheme, scheme + "s"):
        raise UserError(f"{name} must be an address like {scheme}s://host or {scheme}s://host:port")
    if parts.scheme == scheme and not is_loopback(host):
        raise UserError(f"{name}: plain {scheme} to {host} would send the keys in clear: use {scheme}s://")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path}"


def _host(name: str) -> str:
    """The host that is connected to, in ASCII: other dots and wide letters may name the same. Raises ValueError."""
    if ":" in name:
        return str(ipaddress.IPv6Address(name))
    host = name.encode("idna").decode("ascii").lower()
    if not HOST.fullmatch(host):
        raise ValueError("no name of a host")
    return host


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _scalp_speed(environ: Mapping[str, str], endpoints: Endpoints) -> float | None:
    """SCALP_SPEED, which the stand-alone exchange prints; only an exchange on this machine can be faster than time."""
    text = environ.get("SCALP_SPEED", "").strip()
    if not text or not is_loopback(urlsplit(endpoints.trading_url).hostname or ""):
        return None
    try:
        return _speed(text)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"SCALP_SPEED: {error}") from None
