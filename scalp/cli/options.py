"""Options that several commands have, each written once, and what all command lines do alike."""

from __future__ import annotations

import argparse
import datetime as dt
import re
from pathlib import Path
from typing import Any, NoReturn

from scalp.core.errors import UserError

ADDRESS = re.compile(r"[\w+.-]+:/\S+")


class LineParser(argparse.ArgumentParser):
    """Reports a mistake as a UserError: one line. No option can be shortened: a typing error must not become --live."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        # An option with a typing error in it must not show the token that came after it.
        raise UserError(f"{ADDRESS.sub('...', message)} (see --help)")


def named(text: str) -> str:
    """What an option names; a variable of the shell that is not set names nothing."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it names nothing: leave the option out, or say what is meant")
    return text


def named_path(text: str) -> Path:
    """The same for a path: an empty one would be the current folder."""
    return Path(named(text))


def read_date(text: str) -> dt.date:
    """A date as an option has it. Raises ArgumentTypeError."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date of the form YYYY-MM-DD") from None


def read_month(text: str) -> dt.date:
    """The first day of a month as an option has it. Raises ArgumentTypeError."""
    try:
        return dt.datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a month of the form YYYY-MM") from None


def positive(text: str) -> int:
    """A whole number above 0. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


# The parent of all commands that trade, live or over history.
TRADING = LineParser(add_help=False)
TRADING.add_argument("--lot", default="2000", help="dollars to buy for, per symbol at a time (default 2000)")
TRADING.add_argument("--algo", type=named, metavar="MODULE:CLASS", help="your ScalpAlgo subclass; also FILE.py:CLASS")
TRADING.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help="value of a class attribute of the algo's class; may be repeated")  # fmt: skip


# A parent's options come first in the help, so these, which come later, are added where they belong.


def add_seed(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--seed, for what can play the synthetic market."""
    parser.add_argument("--seed", type=int, help="of the synthetic market (default 1)")


def add_html(parser: argparse.ArgumentParser) -> None:
    """--html, for what shows results."""
    parser.add_argument("--html", type=named_path, metavar="PATH", help="write a page with charts to this file as well")


def add_json(parser: argparse.ArgumentParser, instead_of: str = "the table") -> None:
    """--json, for what shows results."""
    parser.add_argument("--json", action="store_true", help=f"print one JSON object instead of {instead_of}")
