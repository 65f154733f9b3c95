"""The built-in exchange in the bot's own process: which days it plays, and serving one of them."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from scalp.cli.paths import default_path
from scalp.cli.settings import Endpoints, Settings
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.exchange.calendar import SessionDay, session_day
from scalp.exchange.fills import PESSIMISTIC
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.exchange.replay import load
from scalp.exchange.server import ExchangeServer

# A fixed day, so that the same seed gives the same run on every machine and every date.
DEFAULT_DAY = dt.date(2026, 11, 20)

Market = Mapping[str, Sequence[Bar]]


def days(settings: Settings) -> Iterator[tuple[SessionDay, Market]]:
    """The trading days to play, in order. Raises UserError for files or dates that cannot be played."""
    if not settings.replay:
        day = session_day(settings.session or DEFAULT_DAY)
        yield day, synthetic_day(settings.symbols, day, settings.seed)
        return
    recorded = load(settings.replay, settings.symbols)
    if settings.session is not None and settings.session not in recorded:
        dates = ", ".join(str(date) for date in recorded)
        raise UserError(f"no bars of {settings.session} for {', '.join(settings.symbols)}: there are {dates}")
    chosen = [(session_day(date), market) for date, market in recorded.items() if settings.session in (None, date)]
    for day, market in chosen:
        if not any(day.open <= bar.start < day.close for bars in market.values() for bar in bars):
            raise UserError(
                f"no bar of {day.date} lies in the regular session (09:30 to 16:00 in New York): give times with their "
                "offset, like 2014-06-05 13:30:00+00:00"
            )
    for day, market in chosen:
        # A symbol without bars that day can still be asked for; nothing trades in it.
        yield day, {symbol: market.get(symbol, []) for symbol in settings.symbols}


@asynccontextmanager
async def serve(settings: Settings, day: SessionDay, market: Market) -> AsyncIterator[Endpoints]:
    """Play `day` from its open on a free port of this machine, in the running loop's time."""
    engine = Engine(day.open, day.close, market, fills=PESSIMISTIC, now=day.open, seed=settings.seed,
                    rates=settings.fees.on(day.date))  # fmt: skip
    server = await ExchangeServer.start(market, engine)
    try:
        env = server.environment()
        yield Endpoints(
            trading_url=env["APCA_API_BASE_URL"],
            data_url=env["APCA_API_DATA_URL"],
            data_stream_url=env["APCA_API_STREAM_URL"],
            key_id=env["APCA_API_KEY_ID"],
            secret_key=env["APCA_API_SECRET_KEY"],
            feed="sip",
        )
    finally:
        await server.stop()


def next_steps(settings: Settings) -> Iterator[str]:
    """What a user may want to do after a session. At most 80 columns, except for an --algo."""
    symbol = settings.symbols[0]
    algo = f" --algo {shlex.quote(settings.algo)}" if settings.algo else ""
    yield ""
    yield "What next?"
    if settings.journal is not None:
        date = "" if settings.replay else f" --date {settings.session or DEFAULT_DAY}"
        where = "" if settings.journal == default_path() else f" --journal {settings.journal}"
        yield "  this session as a page:"
        yield f"    python -m scalp.report{date}{where} --html session.html"
    yield "  a week of such sessions in one table:"
    yield f"    python -m scalp.backtest --seed 1 --from 2026-11-16 --to 2026-11-20{algo} {symbol}"
    yield "  another signal (copy it, write your own):"
    yield f"    python main.py --algo examples/rsi.py:RsiAlgo {symbol}"
    yield "  a paper account: set APCA_API_KEY_ID and APCA_API_SECRET_KEY, then"
    yield f"    python -m scalp.doctor {symbol}"
