"""The old name of `benchmarks.fill_to_exit`."""

import sys

from benchmarks.fill_to_exit import main

if __name__ == "__main__":
    print("python -m benchmarks.reaction is now python -m benchmarks.fill_to_exit", file=sys.stderr)
    sys.exit(main())
