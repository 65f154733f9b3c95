"""`python -m benchmarks`: all of them, one after the other; `--long` for more of everything."""

import argparse
import sys
from collections.abc import Sequence

from benchmarks import backtest, bars, demo, fill_to_exit, frames, learning, memory, page, start

PARTS = (fill_to_exit, frames, learning, bars, start, memory, demo, backtest, page)


def main(argv: Sequence[str] | None = None) -> int:
    """The worst exit code of all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures what the bot costs, each figure beside a floor or a peer of the same run; takes minutes.",
        epilog="one by itself:\n" + "\n".join(f"  python -m {part.__name__}" for part in PARTS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--long", action="store_true", help="more of everything: rounds, minutes, symbols, days")
    arguments = ["--long"] if parser.parse_args(argv).long else []
    codes: list[int] = [part.main(arguments) for part in PARTS]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
