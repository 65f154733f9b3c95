"""`python -m benchmarks`: all of them, one after the other; `--long` for more of everything."""

import sys

from benchmarks import backtest, bars, learning, memory, reaction, start

if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(max([part.main(arguments) for part in (reaction, learning, bars, start, memory, backtest)]))
