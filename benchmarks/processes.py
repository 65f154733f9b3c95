"""Child processes of a benchmark: they end with it, whatever happens."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.exchange import Exchange, python

ROOT = Path(__file__).resolve().parent.parent


def own_environment(folder: Path) -> dict[str, str]:
    """This process's environment without any account; what a program keeps for its user goes into `folder`."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("APCA_", "POLYGON_"))}
    return {**base, "HOME": str(folder), "XDG_STATE_HOME": str(folder), "PYTHONUNBUFFERED": "1"}


class Child:
    """A process for as long as the context lasts; its output goes to `output`, or nowhere."""

    def __init__(self, command: Sequence[str], *, cwd: Path = ROOT, output: Path | None = None,
                 environment: dict[str, str] | None = None) -> None:  # fmt: skip
        self._command, self._cwd, self._output = command, cwd, output
        self._environment = environment
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> Child:
        out = asyncio.subprocess.DEVNULL if self._output is None else os.open(self._output, os.O_CREAT | os.O_WRONLY)
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, cwd=self._cwd, env={**own_environment(self._cwd), **(self._environment or {})},
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out if self._output else None,
            )  # fmt: skip
        finally:
            if self._output is not None:
                os.close(out)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def bot(
    exchange: Exchange, symbols: Sequence[str], folder: Path, options: Sequence[str] = (), around: Sequence[str] = ()
) -> AsyncIterator[Child]:
    """`main.py` against `exchange`, in `folder`, where its log and output are; it buys on a bar at TRIGGER.

    `around` is a command that runs it.
    """
    algo = f"{ROOT / 'benchmarks' / 'eager.py'}:OnTrigger"
    command = python(str(ROOT / "main.py"), "--lot=2000", "--algo", algo, *options)
    output = folder / "output"
    async with Child(
        [*around, *command, *symbols], cwd=folder, output=output, environment=exchange.environment
    ) as child:
        try:
            yield child
        except Exception as error:
            error.add_note(f"the bot said:\n{output.read_text()[-3000:]}")
            raise


async def until_said(command: Sequence[str], words: Sequence[str], *, cwd: Path, environment: dict[str, str],
                     within: float = 60.0) -> float:  # fmt: skip
    """Seconds from the start of a process until it has printed each of `words`; then it is ended."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**own_environment(cwd), **environment},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    missing, said = set(words), b""
    try:
        async with asyncio.timeout(within):
            async for line in process.stdout:
                said += line
                missing -= {word for word in missing if word.encode() in line}
                if not missing:
                    return time.perf_counter() - started
        raise RuntimeError(f"it ended and never said {missing}:\n{said[-3000:].decode()}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
