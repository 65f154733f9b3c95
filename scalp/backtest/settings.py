"""The arguments of `python -m scalp.backtest`, written as those of main.py."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

from scalp.backtest.days import BASIS_POINT, NO_SLIPPAGE, Slippage
from scalp.cli.command import STANDARD_OUTPUT
from scalp.cli.config import add_config, option_names, parse
from scalp.cli.fee_options import add_fees, read_fees
from scalp.cli.options import TRADING, LineParser, add_html, add_json, add_seed, named_path, read_date
from scalp.cli.risk_options import add_arguments, read_limits
from scalp.cli.settings import Endpoints, make_parser, read_endpoints, read_lot, read_symbols
from scalp.cli.venues import FEEDS
from scalp.core.errors import UserError
from scalp.core.fees import ALPACA, FeeSchedule
from scalp.core.risk_limits import NO_RISK_LIMITS, RiskLimits
from scalp.core.units import SECOND

FILLS = ("pessimistic", "optimistic", "touch", "through", "bar")
# What a backtest takes from a file of main.py's options: what it trades and by which rules, not where.
OF_THE_FILE = (
    "symbols",
    "lot",
    "algo",
    "fees",
    "net-exit",
    *(name.name.replace("_", "-") for name in fields(RiskLimits)),
)
EXAMPLE = ("TSLA", "FB", "AAPL")
LONGEST_LATENCY = 60_000.0  # ms
FEWEST_SHIFTS, MOST_SHIFTS = 19, 1_000_000  # with fewer no result is shown to be better than chance


@dataclass(frozen=True)
class BacktestSettings:
    """One backtest. No `symbols`: all that are found in the files."""

    symbols: tuple[str, ...]
    lot: Decimal
    notes: tuple[str, ...] = ()
    algo: str = ""
    given: tuple[str, ...] = ()  # the texts of --set
    bars: tuple[Path, ...] = ()
    seed: int = 1
    first: dt.date | None = None  # with `last`: the days to play, both included
    last: dt.date | None = None
    fills: str = "pessimistic"
    slippage: Slippage = NO_SLIPPAGE
    latency: int | None = None  # ns from sending an order or a cancel to its taking effect; None: that of the fills
    json: bool = False
    csv: Path | None = None
    html: Path | None = None
    endpoints: Endpoints | None = None  # where to ask for history; None: files, or the synthetic market
    requests: int | None = None  # a minute, at most, while asking for history
    risk_limits: RiskLimits = NO_RISK_LIMITS
    fees: FeeSchedule = ALPACA
    net_exit: bool = False
    luck: int | None = None  # random runs that the result is held against; None: as many as time allows, 0: none


def read_settings(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> BacktestSettings:
    """Raises UserError with one clear line."""
    args, notes = parse(_parser(), argv, known=option_names(make_parser()), taken=OF_THE_FILE)
    symbols: tuple[str, ...] = ()
    if args.symbols:
        symbols, more = read_symbols(args.symbols)
        notes += more
    elif not args.bars:
        symbols, notes = EXAMPLE, (*notes, f"no symbols named: {', '.join(EXAMPLE)}")
    limits = read_limits(args)
    _check(args, limits)
    endpoints = None if args.bars or args.seed is not None else _history_endpoints(environ, args.feed)
    if endpoints is not None and not (args.symbols and args.first):
        raise UserError("history needs SYMBOLS and --from DATE; --seed 1 plays the synthetic market instead")
    if endpoints is None and (args.feed or args.requests):
        raise UserError("--feed and --requests belong to history: set the keys, and leave out --bars and --seed")
    return BacktestSettings(
        symbols=symbols,
        lot=read_lot(args.lot),
        notes=notes,
        algo=args.algo or "",
        given=tuple(args.set),
        bars=tuple(args.bars),
        seed=1 if args.seed is None else args.seed,
        first=args.first,
        last=args.last,
        fills=args.fills,
        slippage=args.slippage,
        latency=args.latency,
        json=args.json,
        csv=args.csv,
        html=args.html,
        endpoints=endpoints,
        requests=args.requests,
        risk_limits=limits,
        fees=read_fees(args.fees),
        net_exit=args.net_exit,
        luck=args.luck,
    )


def _parser() -> LineParser:
    parser = LineParser(
        prog="python -m scalp.backtest",
        description="Trades history with the very algo that trades live: files of minute bars, or what Polygon or "
        "Alpaca has, with the keys in the environment; without either, the synthetic market.",
        parents=[TRADING],
    )
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="stocks to trade; none: all in the files of bars")
    add_config(parser)
    add_fees(parser)
    parser.add_argument("--bars", type=named_path, action="append", default=[], metavar="PATH",
                        help="recorded minute bars: a CSV file or a folder; may be repeated")  # fmt: skip
    add_seed(parser)
    parser.add_argument("--from", dest="first", type=read_date, metavar="DATE", help="first day, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", type=read_date, metavar="DATE", help="last day, included")
    parser.add_argument("--feed", choices=tuple(FEEDS),
                        help="whose history (default: polygon with POLYGON_API_KEY, else sip)")  # fmt: skip
    parser.add_argument("--requests", type=_requests, metavar="N",
                        help="for history, at most so many requests a minute (a free Polygon plan has 5)")  # fmt: skip
    parser.add_argument("--fills", choices=FILLS, default="pessimistic",
                        help="when an order fills (default pessimistic); the result says what it means")  # fmt: skip
    parser.add_argument("--slippage", type=_slippage, default=NO_SLIPPAGE, metavar="AMOUNT",
                        help="how much worse every share trades: dollars (0.01) or basis points (5bps)")  # fmt: skip
    parser.add_argument("--latency", type=_latency, metavar="MS",
                        help="ms until an order or a cancel takes effect (default 5; 0 with optimistic)")  # fmt: skip
    parser.add_argument("--luck", type=_luck, metavar="N|off",
                        help="hold the result against N runs whose signals come at other minutes, however long that "
                        "takes (default: up to 1000, for 10 s or as long as the backtest took)")  # fmt: skip
    add_json(parser)
    parser.add_argument("--csv", type=named_path, metavar="PATH",
                        help="write the trades to this file as well (-: print them instead of the table)")  # fmt: skip
    add_html(parser)
    add_arguments(parser)
    return parser


def _check(args: argparse.Namespace, limits: RiskLimits) -> None:
    """Raises UserError for options that contradict each other."""
    if args.json and args.csv == STANDARD_OUTPUT:
        raise UserError("--csv - and --json both go to standard output: keep one of the two")
    if args.bars and args.seed is not None:
        raise UserError("--seed belongs to the synthetic market: leave it out with --bars")
    if args.first and args.last and args.first > args.last:
        raise UserError(f"--from {args.first} is after --to {args.last}")
    if args.fills == "bar" and args.latency is not None:
        raise UserError("--fills bar knows no latency: leave out --latency")
    others = replace(limits, stop_loss=None, trail=None, stop_at=None)
    if args.fills == "bar" and (others or limits.stop_at == "bot"):
        told = others if others else "stop-at bot"
        raise UserError(f"--fills bar knows no risk limits but the stop at the broker ({told}): leave them out, or "
                        "take another --fills")  # fmt: skip


def _history_endpoints(environ: Mapping[str, str], feed: str | None) -> Endpoints | None:
    """Whom to ask for history; None where there is no key."""
    # Nothing is traded: which account the keys belong to does not matter.
    env = {name: value for name, value in environ.items() if name != "APCA_API_BASE_URL"}
    polygon_key = env.get("POLYGON_API_KEY", "").strip()
    if not any(name.startswith("APCA_") and value.strip() for name, value in env.items()):
        if not polygon_key:
            return None
        if feed is not None and not FEEDS[feed].key:
            raise UserError(f"--feed {feed} needs APCA_API_KEY_ID and APCA_API_SECRET_KEY")
        env |= {"APCA_API_KEY_ID": "none", "APCA_API_SECRET_KEY": "none"}  # Polygon is asked, and Alpaca not at all
    # Free plans have the history of the whole market too, 15 minutes old.
    return read_endpoints(env, is_live=False, feed=feed or ("polygon" if polygon_key else "sip"))


def _requests(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of requests, for example 5")
    return int(text)


def _luck(text: str) -> int:
    if text == "off":
        return 0
    if not text.isdecimal() or not FEWEST_SHIFTS <= int(text) <= MOST_SHIFTS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of shifts from {FEWEST_SHIFTS} to {MOST_SHIFTS}: write for example 1000, or off"
        )
    return int(text)


def _slippage(text: str) -> Slippage:
    number = text.removesuffix("bps")
    try:
        amount = Decimal(number)
    except InvalidOperation:
        amount = Decimal(-1)
    is_bps = number != text
    if not amount.is_finite() or not 0 <= amount <= (10_000 if is_bps else 1000):
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount: write dollars (0.01) or basis points (5bps)")
    return Slippage(share=amount * BASIS_POINT) if is_bps else Slippage(dollars=amount)


def _latency(text: str) -> int:
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds <= LONGEST_LATENCY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds, for example 50")
    return round(milliseconds * SECOND / 1000)
