"""Options from a file: `scalp.toml` in the current folder, or what `--config PATH` names.

Its names are those of the options, and the command line wins. A file that happens to lie in a folder must neither trade
real money nor run code: `live` and keys are refused in any file, code and places to write to in one that nobody named.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from scalp.cli.options import named
from scalp.core.errors import UserError

FOUND = Path("scalp.toml")
OFF = "off"
ALGO, CLASS = "algo", "class"  # the table of parameters, and its key that names the class
NOT_FOUND_BY_CHANCE = (ALGO, "journal", "log")
# How keys of Alpaca look, and secrets.
KEY = re.compile(r"\b(PK|AK|CK)[A-Z0-9]{14,}\b|\b(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])[A-Za-z0-9]{36,}\b")
HIDDEN = ("config", "help", "live", "notify", "set", "version")  # options that no file may set
SECRET = re.compile(r"key|secret|token|passw|^(apca|polygon|scalp)_", re.IGNORECASE)


class _Unsaid:
    """The value of an option that the command line does not name."""


UNSAID = _Unsaid()


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config, for what takes options from a file."""
    default = f"default: {FOUND} in this folder, if there is one"
    parser.add_argument("--config", type=named, metavar="PATH|off",
                        help=f"options from a TOML file ({default})")  # fmt: skip


def option_names(parser: argparse.ArgumentParser) -> set[str]:
    """The options of `parser` that a file may set."""
    words = {word.removeprefix("--") for action in parser._actions for word in action.option_strings}
    return (words | {"symbols"}) - {"h", "-h", *HIDDEN}


def parse(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    known: Collection[str] = (),
    taken: Collection[str] = (),
) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """The options of the command line, where it says nothing those of the file; and a note that names the file.

    `known` is what may stand in the file, and `taken` what is used of it; empty: all options of `parser`.
    Raises UserError.
    """
    unsaid = argparse.Namespace(**{
        action.dest: [] if isinstance(action, argparse._AppendAction) else UNSAID for action in parser._actions
    })  # fmt: skip
    said = parser.parse_intermixed_args(argv, unsaid)
    is_named = said.config is not UNSAID
    path = Path(said.config) if is_named else FOUND
    if str(path) == OFF or (not is_named and not path.is_file()):
        return parser.parse_intermixed_args(argv), ()
    told = _read(path)
    _check(told, path, set(known) or option_names(parser), is_named)
    told = {name: value for name, value in told.items() if not taken or name in taken}
    arguments = list(_arguments(told, path, parser))
    try:
        both = parser.parse_intermixed_args(arguments)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    for name, value in vars(said).items():
        if value is UNSAID or value == []:
            continue
        if name == "set":
            names = {text.partition("=")[0].strip() for text in value}
            value = [text for text in both.set if text.partition("=")[0] not in names] + value
        setattr(both, name, value)
    shown = ", ".join(f"[{name}]" if isinstance(value, dict) else name for name, value in told.items())
    return both, (f"options from {path}: {shown or 'none'}",)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror})") from None
    except (ValueError, ArithmeticError) as error:
        # The parser's words may quote what stands there, a key for instance.
        where = re.search(r"\(at .*\)$", str(error))
        raise UserError(f"{path}: not TOML {where[0] if where else ''}".rstrip()) from None


def _check(told: dict[str, Any], path: Path, known: set[str], is_named: bool) -> None:
    for name in told:
        if name == "live":
            raise UserError(f"{path}: live: real money is asked for on the command line alone, with --live")
        if name == "notify":
            raise UserError(f"{path}: notify: such an address is a secret, put it into SCALP_NOTIFY")
        if name == "set":
            raise UserError(f"{path}: set: write the parameters into a table [algo], as window = 10")
        if name not in known:
            if SECRET.search(name):
                raise UserError(f"{path}: {name}: keys belong into the environment, not into this file")
            near = get_close_matches(name.replace("_", "-"), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(sorted(known))}"
            other = "" if is_named else " (another program's file? --config off reads none)"
            raise UserError(f"{path}: there is no option {name}: {hint}{other}")
        value = told[name]
        if any(KEY.search(str(part)) for part in (value if isinstance(value, list) else [value])):
            raise UserError(f"{path}: {name}: its value looks like a key: keys belong into the environment")
        is_code = name != ALGO or not isinstance(value, dict) or CLASS in value
        if name in NOT_FOUND_BY_CHANCE and is_code and not is_named:
            raise UserError(f"{path}: {name}: a file that nobody named may not say that: add --config {path}")


def _arguments(told: dict[str, Any], path: Path, parser: argparse.ArgumentParser) -> Iterator[str]:
    """The file as a command line would have it."""
    actions = {word: action for action in parser._actions for word in action.option_strings}
    for name, value in told.items():
        where = f"{path}: {name}"
        if name == "symbols":
            yield from _symbols(value, where)
        elif name == ALGO and isinstance(value, dict):
            yield from _parameters(value, where)
        elif (action := actions[f"--{name}"]).nargs == 0:
            if not isinstance(value, bool):
                raise UserError(f"{where}: write true or false")
            if value:
                yield f"--{name}"
        else:
            values = value if isinstance(value, list) and isinstance(action, argparse._AppendAction) else [value]
            yield from (f"--{name}={_text(one, where)}" for one in values)


def _symbols(value: Any, where: str) -> Iterator[str]:
    for symbol in value if isinstance(value, list) else [value]:
        if not isinstance(symbol, str) or symbol.startswith("-"):
            raise UserError(f'{where}: write a list of symbols, as ["TSLA", "AAPL"]')
        yield symbol


def _parameters(table: dict[str, Any], where: str) -> Iterator[str]:
    for name, value in table.items():
        if name == CLASS:
            yield f"--algo={_text(value, f'{where}.{name}')}"
        else:
            text = str(value).lower() if isinstance(value, bool) else _text(value, f"{where}.{name}")
            if "," in text:
                raise UserError(f"{where}.{name}: one value, without a comma")
            yield f"--set={name}={text}"


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dt.time):
        return f"{value:%H:%M}"
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    raise UserError(f"{where}: one text or number is needed here")
