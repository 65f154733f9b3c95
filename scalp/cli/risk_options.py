"""The risk limits, as a user writes them."""

from __future__ import annotations

import argparse
import datetime as dt
import re
from dataclasses import fields
from decimal import Decimal, InvalidOperation

from scalp.core.errors import UserError
from scalp.core.risk_limits import RiskLimits
from scalp.core.units import SECOND

HIGHEST = 10**9  # dollars
LONGEST = 24 * 3600  # seconds
UNITS = {"s": 1, "m": 60, "h": 3600}
DURATION = re.compile(r"(\d{1,5})([smh])")
PERCENTAGE = re.compile(r"(\d{0,3}\.?\d{1,4})%")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of all risk limits."""
    group = parser.add_argument_group("risk limits (each is off unless named; kept by the bot while it runs)")
    group.add_argument("--stop-loss", type=_percentage, metavar="PERCENT",
                       help="sell at market when the last trade is so far under the entry (0.5%%)")  # fmt: skip
    group.add_argument("--trail", type=_percentage, metavar="PERCENT",
                       help="the same under the highest last trade since the entry (0.3%%)")  # fmt: skip
    group.add_argument("--stop-at", choices=("broker", "bot"),
                       help="where the stop rests: with the exit at the broker, also while the bot is down (the "
                       "default), or in the bot alone")  # fmt: skip
    group.add_argument("--max-hold", type=_duration, metavar="TIME", help="sell at market what is held so long (15m)")
    group.add_argument("--max-loss", type=_dollars, metavar="DOLLARS",
                       help="at such a loss of the session, realised and open, sell all and buy no more")  # fmt: skip
    group.add_argument("--cooldown", type=_duration, metavar="TIME",
                       help="buy nothing in a symbol for so long after it lost money (10m)")  # fmt: skip
    group.add_argument("--max-positions", type=_count, metavar="N",
                       help="symbols held or being bought at once, at most")  # fmt: skip
    group.add_argument("--budget", type=_dollars, metavar="DOLLARS",
                       help="dollars held and being bought for at once, at most")  # fmt: skip
    group.add_argument("--no-buy-after", type=_time, metavar="HH:MM", help="buy nothing from then on (New York)")


def read_limits(args: argparse.Namespace) -> RiskLimits:
    """The limits that the options set."""
    limits = RiskLimits(**{limit.name: getattr(args, limit.name) for limit in fields(RiskLimits)})
    if limits.stop_at is not None and limits.stop is None:
        raise UserError("--stop-at says where a stop rests: give --stop-loss or --trail as well")
    return limits


def limits_from(text: str) -> RiskLimits:
    """The limits from what their `str` wrote. Raises UserError for anything else."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_arguments(parser)
    words = [word for part in text.split(", ") if part for word in f"--{part}".split(" ", 1)]
    try:
        args, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UserError(f"risk limits {text!r}: {error}") from None
    if unknown:
        raise UserError(f"risk limits {text!r}: there is no limit {unknown[0]}")
    return read_limits(args)


def _percentage(text: str) -> Decimal:
    found = PERCENTAGE.fullmatch(text)
    share = Decimal(found[1]) / 100 if found else Decimal(0)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage between 0% and 100%, for example 0.5%")
    return share


def _duration(text: str) -> int:
    found = DURATION.fullmatch(text)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time up to a day, for example 90s, 15m or 2h")
    return seconds * SECOND


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount <= HIGHEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of dollars above 0, for example 300")
    return amount


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of symbols, for example 5")
    return int(text)


def _time(text: str) -> dt.time:
    try:
        return dt.datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time of day in New York, for example 15:30") from None
