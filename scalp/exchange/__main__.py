"""`python -m scalp.exchange TSLA AAPL`: the simulated exchange by itself, for any client.

It prints the environment that points a client at it, one `export NAME=value` a line, and ends by itself a minute of
exchange time after the session's close.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NoReturn

from scalp.cli.command import note_unloaded
from scalp.cli.options import named_path
from scalp.cli.settings import KEY, read_symbols
from scalp.core.clock import NEW_YORK
from scalp.core.errors import UserError
from scalp.core.fees import ALPACA
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import SessionDay, session_day, trading_days
from scalp.exchange.faults import Faults, ScriptedFaults
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.exchange.replay import load
from scalp.exchange.rest import Access
from scalp.exchange.server import ExchangeServer
from scalp.exchange.simulation import new_york
from scalp.net.virtual_time import ScaledLoop

Market = Mapping[str, Sequence[Bar]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the exchange; the exit code: 0, 2 for an error of the user's, 130 after Ctrl+C."""
    note_unloaded()
    try:
        options = _parser().parse_intermixed_args(arguments)
        day, market, start, faults = _prepare(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    loop = ScaledLoop(options.speed)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_serve(options, day, market, start, faults))
    except KeyboardInterrupt:
        return 130
    finally:
        loop.close()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m scalp.exchange", description="A simulated exchange on loopback.", allow_abbrev=False
    )
    parser.add_argument("symbols", nargs="*", type=str.upper, metavar="SYMBOL", help="what is traded")
    parser.add_argument("--speed", type=_speed, default=1.0, help="times as fast as the wall clock (1)")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic market (1)")
    parser.add_argument("--session", type=_day, help="trading day, YYYY-MM-DD (the latest one)")
    parser.add_argument("--replay", type=named_path, action="append", help="file or folder of bars; may be repeated")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (any free one)")
    parser.add_argument("--from", dest="start", metavar="HH:MM", help="New York time (one minute before the open)")
    parser.add_argument("--polygon", action="store_true", help="print a POLYGON_API_KEY too")
    parser.add_argument("--polygon-key", type=_polygon_key, metavar="KEY", help="admit and print this one only (any)")
    parser.add_argument("--key", type=_key, metavar="ID:SECRET", help="admit this key pair only (any pair)")
    parser.add_argument("--faults", metavar="FILE|JSON", help="what goes wrong, see scalp/exchange/faults.py")
    return parser


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 10000")
    return speed


def _key(text: str) -> tuple[str, str]:
    key_id, _, secret = text.partition(":")
    if not key_id or not secret:
        raise argparse.ArgumentTypeError("write ID:SECRET")
    return key_id, secret


def _polygon_key(text: str) -> str:
    if not KEY.fullmatch(text):
        raise argparse.ArgumentTypeError("write the key, without blanks")
    return text


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-11-20") from None


def _prepare(options: argparse.Namespace) -> tuple[SessionDay, Market, int, Faults]:
    symbols = list(read_symbols(options.symbols)[0]) if options.symbols else []
    if options.replay:
        days = load(options.replay, symbols or None)
        wanted = options.session or min(days, default=None)
        if wanted not in days:
            raise UserError(f"no bars of {wanted} in {', '.join(map(str, options.replay))}")
        day = session_day(wanted)
        missing = [symbol for symbol in symbols if symbol not in days[wanted]]
        if missing:
            raise UserError(f"no bars of {', '.join(missing)} on {wanted}")
        # The day before is history: a client may ask for its close.
        before = days[max(past)] if (past := [date for date in days if date < wanted]) else {}
        market: Market = {symbol: [*before.get(symbol, ()), *bars] for symbol, bars in days[wanted].items()}
    else:
        if not symbols:
            raise UserError("name at least one symbol, for example: python -m scalp.exchange TSLA AAPL")
        day = session_day(options.session) if options.session else _latest_day()
        market = synthetic_day(symbols, day, options.seed)
    faults = ScriptedFaults.read(options.faults) if options.faults else Faults()
    return day, market, _start(day, options.start), faults


def _latest_day() -> SessionDay:
    today = datetime.now(NEW_YORK).date()
    return trading_days(today - timedelta(days=10), today)[-1]


def _start(day: SessionDay, text: str | None) -> int:
    if text is None:
        return day.open - MINUTE
    try:
        moment = datetime.combine(day.date, datetime.strptime(text, "%H:%M").time(), NEW_YORK)
    except ValueError:
        raise UserError(f"--from {text}: not a time like 09:30") from None
    start = round(moment.timestamp()) * SECOND
    if start >= day.close:
        raise UserError(f"--from {text}: the market closes at {new_york(day.close):%H:%M} that day")
    return start


async def _serve(options: argparse.Namespace, day: SessionDay, market: Market, start: int, faults: Faults) -> int:
    keys = dict([options.key]) if options.key else None
    access = Access(keys, options.polygon_key)
    engine = Engine(day.open, day.close, market, now=start, seed=options.seed, rates=ALPACA.on(day.date))
    try:
        server = await ExchangeServer.start(market, engine, port=options.port, access=access, faults=faults)
    except (OSError, OverflowError):
        print(f"error: port {options.port} cannot be used", file=sys.stderr)
        return 2
    environment = server.environment()
    if options.polygon or options.polygon_key:
        environment["POLYGON_API_KEY"] = options.polygon_key or "simulated"
    if options.speed != 1:
        environment["SCALP_SPEED"] = f"{options.speed:g}"
    for name, value in environment.items():
        print(f"export {name}={value}")
    sys.stdout.flush()
    print(f"simulated exchange: {', '.join(market)} on {day.date}, from {new_york(start):%H:%M}", file=sys.stderr)
    await server.finished.wait()
    await server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
