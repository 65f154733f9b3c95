"""A `python ...` of a test in a process forked from one that has imported everything, so that it starts at once.

What the program does from its first line on is the same; only the imports (more than a second of processor time) are
made once for all tests of this process.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

PATIENCE = 600.0  # seconds of the wall clock; no test should hang for ever
context = multiprocessing.get_context("forkserver")
# Everything that a command imports, what it imports late included.
context.set_forkserver_preload(["main", "pandas", "scalp.live.dashboard", "scalp.exchange.server", __name__])


def python(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> CompletedProcess[str]:
    """What `python ARGUMENTS` printed, run in `folder`; the arguments begin with a file, or with -m and a module."""
    with tempfile.TemporaryDirectory(prefix="scalp-python-") as name:
        out, err = Path(name, "out"), Path(name, "err")
        process = context.Process(target=_run, args=(tuple(arguments), str(folder), dict(environment), out, err))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return CompletedProcess(list(arguments), process.exitcode, out.read_text(), err.read_text())


def _run(arguments: tuple[str, ...], folder: str, environment: Mapping[str, str], out: Path, err: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT
    become(folder, environment, os.open(out, flags), os.open(err, flags))
    run_program(arguments)


def become(folder: str, environment: Mapping[str, str], out: int, err: int) -> None:
    """Be a process that was started in `folder`, without a keyboard, writing to these files."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115


def run_program(arguments: Sequence[str]) -> None:
    """Run the file or, after -m, the module that comes first, with what follows."""
    try:
        if arguments[0] == "-m":
            sys.argv = [*arguments[1:]]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [*arguments]
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        sys.stdout.flush()
        gc.collect()  # what nobody awaited or closed is told of now
