"""The arguments of `python -m scalp.sweep`: its own, and those of `python -m scalp.backtest`."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scalp.backtest.settings import BacktestSettings
from scalp.backtest.settings import read_settings as read_backtest
from scalp.cli.command import STANDARD_OUTPUT
from scalp.cli.options import LineParser, add_json, named_path
from scalp.cli.parameters import LOT
from scalp.core.errors import UserError

MOST_JOBS = 1024
WALK = re.compile(r"train=([1-9]\d{0,4})d,test=([1-9]\d{0,4})d")


@dataclass(frozen=True)
class SweepSettings:
    """One sweep: `backtest` is what each set of parameters plays, `given` the texts of --set."""

    backtest: BacktestSettings
    given: tuple[str, ...]
    jobs: int | None = None  # processes; None: all cores
    scheduler: str = ""  # of a Dask cluster that runs already
    walk_forward: tuple[int, int] | None = None  # days to choose in, days to try in
    json: bool = False
    csv: Path | None = None


def read_settings(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> SweepSettings:
    """Raises UserError with one clear line."""
    args, others = _parser().parse_known_args(argv)
    if any(text.partition("=")[0].strip() == LOT for text in args.set) and _names("--lot", others):
        raise UserError("--lot and --set lot=...: keep one of the two")
    if _names("--luck", others):
        raise UserError("--luck belongs to one backtest: play the set you choose with python -m scalp.backtest")
    if args.json and args.csv == STANDARD_OUTPUT:
        raise UserError("--csv - and --json both go to standard output: keep one of the two")
    if _names("--html", others):
        raise UserError("--html belongs to one backtest: play the set you choose with python -m scalp.backtest")
    backtest = read_backtest(others, environ)
    named = {text.partition("=")[0].strip() for text in args.set}
    algo, colon, name = backtest.algo.rpartition(":")
    if algo.endswith(".py"):
        # Another process may have another current directory.
        backtest = replace(backtest, algo=f"{Path(algo).resolve()}{colon}{name}")
    return SweepSettings(
        backtest=backtest,
        given=(*args.set, *(text for text in backtest.given if text.partition("=")[0] not in named)),
        jobs=args.jobs,
        scheduler=args.scheduler or "",
        walk_forward=args.walk_forward,
        json=args.json,
        csv=args.csv,
    )


def _parser() -> LineParser:
    parser = LineParser(
        prog="python -m scalp.sweep",
        description="Backtests many sets of parameters: every combination of the values that --set names.",
        epilog="Symbols and all other options are those of python -m scalp.backtest (see its --help): --algo, --lot, "
        "--bars, --from, --to, --fills, ... A parameter is a class attribute of the algo's class that holds a number, "
        "true or false, or text; what the class makes of it must be made when it is used, not in the class's body.",
    )
    parser.add_argument("--set", action="append", required=True, metavar="NAME=V1,V2",
                        help="values of a class attribute, or of lot; may be repeated")  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=_jobs, metavar="N", help="processes to use (default: one per core)")
    where.add_argument("--scheduler", type=_address, metavar="TCP://HOST:PORT",
                       help="play on a Dask cluster that runs already; its scheduler and workers need this package, "
                       "the workers the files of bars and of the algo too, at the same paths. Whoever can reach it "
                       "runs code as you, there and here")  # fmt: skip
    parser.add_argument("--walk-forward", type=_walk, metavar="train=20d,test=5d",
                        help="choose the best set in so many trading days, try it in the following ones, and "
                        "again from there")  # fmt: skip
    add_json(parser, instead_of="the tables")
    parser.add_argument("--csv", type=named_path, metavar="PATH",
                        help="write a row per set, for all symbols (*) and for each, to this file (-: print them "
                        "instead of the tables)")  # fmt: skip
    return parser


def _names(option: str, arguments: Sequence[str]) -> bool:
    return any(text == option or text.startswith(f"{option}=") for text in arguments)


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes, for example 4")
    return int(text)


def _address(text: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://\S+:\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a tcp or tls address with a port")
    return text


def _walk(text: str) -> tuple[int, int]:
    found = WALK.fullmatch(text.replace(" ", ""))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: write train=20d,test=5d, in trading days")
    return int(found[1]), int(found[2])
