"""Runs a command in a terminal of its own, which is read: `python benchmarks/terminal.py COMMAND ...`."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import sys


def main() -> int:
    """What comes on the terminal goes to standard output; SIGTERM goes to the command."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: os.kill(process, signal.SIGTERM))
    with contextlib.suppress(OSError):  # it has ended
        while said := os.read(terminal, 65536):
            os.write(sys.stdout.fileno(), said)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
