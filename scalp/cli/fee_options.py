"""`--fees` and `--net-exit`: which fees apply, and whether an exit has to pay for them."""

from __future__ import annotations

import argparse
import datetime as dt
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from scalp.cli.options import named
from scalp.core.errors import UserError
from scalp.core.fees import ALPACA, MILLION, NO_FEES, FeeSchedule, Rates

KNOWN = {schedule.name: schedule for schedule in (ALPACA, NO_FEES)}
# What a row of the file holds: with the most that each may be, in dollars.
NUMBERS = {"sec_per_million": 100_000, "taf_per_share": 1, "taf_most": 1_000_000, "cat_per_share": 1}
EXAMPLE = "[[rates]] from = 2026-04-04, sec_per_million = 20.60, taf_per_share = 0.000195, ..."


def add_fees(parser: argparse.ArgumentParser) -> None:
    """The options of whatever trades, live or over history."""
    parser.add_argument("--fees", type=named, default="alpaca", metavar="alpaca|none|PATH",
                        help="what net is reckoned by: Alpaca's fees (default), none, or a file of rates")  # fmt: skip
    parser.add_argument("--net-exit", action="store_true",
                        help="offer no lower than the entry and the fees of both sides")  # fmt: skip


def read_fees(text: str) -> FeeSchedule:
    """What `--fees` names. Raises UserError with one line for a file that cannot be read or understood."""
    if text in KNOWN:
        return KNOWN[text]
    path = Path(text)
    try:
        told = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise UserError(f"--fees {text}: cannot be read ({error.strerror}): write alpaca, none, or a file") from None
    except (ValueError, ArithmeticError) as error:
        raise UserError(f"--fees {text}: not TOML ({' '.join(str(error).split())})") from None
    rows = told.get("rates")
    if set(told) != {"rates"} or not isinstance(rows, list) or not rows:
        raise UserError(f"--fees {text}: write one table for each change of rates, like {EXAMPLE}")
    found = sorted((_row(row, f"--fees {text}: rates {number}") for number, row in enumerate(rows, 1)),
                   key=lambda row: row[0])  # fmt: skip
    if len({first for first, _ in found}) < len(found):
        raise UserError(f"--fees {text}: two tables of rates begin on the same day")
    return FeeSchedule(path.name, tuple(found))


def _row(row: Any, where: str) -> tuple[dt.date, Rates]:
    names = {"from", *NUMBERS}
    if not isinstance(row, dict) or set(row) != names:
        raise UserError(f"{where}: it has to have {', '.join(sorted(names))}, and nothing else")
    first = row["from"]
    if type(first) is not dt.date:
        raise UserError(f"{where}: from is not a date of the form 2026-04-04")
    numbers = {}
    for name, most in NUMBERS.items():
        value = row[name]
        if type(value) is int:
            value = Decimal(value)
        if not isinstance(value, Decimal) or not value.is_finite() or not 0 <= value <= most:
            raise UserError(f"{where}: {name} is no number of dollars from 0 to {most}")
        numbers[name] = value
    return first, Rates(numbers["sec_per_million"] / MILLION, numbers["taf_per_share"], numbers["taf_most"],
                        numbers["cat_per_share"])  # fmt: skip
