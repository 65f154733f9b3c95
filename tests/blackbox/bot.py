"""The real program as a process of its own: `python main.py ...` in a folder of its own, with nothing from outside."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.blackbox import shared_time
from tests.blackbox.alpaca import Alpaca
from tests.blackbox.forked import ForkedBot
from tests.blackbox.sockets import KEY, NEW_YORK, POLYGON_KEY, SECRET

ROOT = Path(__file__).resolve().parents[2]
BOT = (str(ROOT / "main.py"),)
FLATTEN = ("-m", "scalp.flatten")
ALWAYS = "return True"  # a signal
CUSTOM = """from scalp import ScalpAlgo

class Custom(ScalpAlgo):
    warmup_bars = 1

    def _calculate_buy_signal(self):
        {}
"""
PATIENCE = 25.0  # seconds of the time they share until something that has to happen counts as missing


async def until(is_so: Callable[[], Any], what: str = "", within: float = PATIENCE) -> Any:
    """Wait until `is_so()` gives something true, and return it."""
    deadline = shared_time.now() + within
    while not (found := is_so()):
        if shared_time.now() > deadline:
            raise AssertionError(f"did not happen within {within:g} s: {what or is_so}")
        await asyncio.sleep(0.01)
    return found


def _in_a_terminal() -> None:
    """Whoever runs the tests may have chosen to ignore the closing of a terminal; the bot's user has not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Bot:
    """One run of the bot against `alpaca`; whatever happens, the process ends.

    `text` is what it printed so far, runs of spaces made one.
    """

    def __init__(
        self,
        alpaca: Alpaca,
        *arguments: str,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
        signal: str = "",
        may_trace: bool = False,
        program: tuple[str, ...] = BOT,
    ) -> None:
        """`signal`: the body of a custom `_calculate_buy_signal`, from the first bar on; `may_trace`: it fails."""
        self._may_trace = may_trace
        self._program = program
        self.alpaca = alpaca
        self.arguments = arguments
        self.environment = {**alpaca.environment, **(environment or {})}
        self._own_folder: tempfile.TemporaryDirectory[str] | None = None
        if folder is None:
            self._own_folder = tempfile.TemporaryDirectory(prefix="scalp-")
            folder = Path(self._own_folder.name)
        self.folder = folder
        self.text = ""
        if signal:
            (self.folder / "custom.py").write_text(CUSTOM.format(signal))
            self.arguments += ("--algo", "custom.py:Custom")

    async def __aenter__(self) -> Bot:
        # The machine is in Tokyo, and knows nothing of accounts.
        environment = {
            **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
            "TZ": "Asia/Tokyo",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.folder / "state"),
            **self.environment,
        }
        self.process: ForkedBot | asyncio.subprocess.Process
        if self._program == BOT and self.environment["SCALP_SPEED"]:
            seat, time_file = self.alpaca.time.seat()
            self.process = await ForkedBot.start(self.arguments, self.folder, environment, time_file, seat)
            self.alpaca.time.watch(seat, self.process)
        else:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-W",
                "default::ResourceWarning",
                *self._program,
                *self.arguments,
                cwd=self.folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                preexec_fn=_in_a_terminal,
            )
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.text += re.sub(" +", " ", line.decode())

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader
        if error is not None:
            orders = "\n".join(
                f"{dt.datetime.fromtimestamp(r.when, NEW_YORK):%H:%M:%S.%f} {r.status} {r} {r.query or r.body or ''}"
                for r in self.alpaca.requests
            )
            error.add_note(f"--- the bot said\n{self.text}\n--- it was asked for\n{orders}")
        log = self.folder / "console.log"
        written = log.read_text() if log.exists() else ""
        for journal in (self.folder / "state").rglob("journal.sqlite*"):
            written += journal.read_bytes().decode(errors="replace")
        if self._own_folder:
            self._own_folder.cleanup()
        if error is None:
            # What holds in every story: no order that must not be, no key anywhere, no stack trace.
            for secret in (KEY, SECRET, POLYGON_KEY):
                assert secret not in self.text + written
                assert all(secret not in request.url for request in self.alpaca.requests)
            assert not (wrongs := self.alpaca.wrongs()), wrongs
            for trouble in ("never awaited", "ResourceWarning", *(() if self._may_trace else ("Traceback",))):
                assert trouble not in self.text, self.text

    async def says(self, words: str, times: int = 1, within: float = PATIENCE) -> None:
        """Wait until `words` were printed."""
        await until(lambda: self.text.count(words) >= times, f"the bot says {words!r}", within)

    async def trades(self) -> Bot:
        """Wait until it may buy: streams up, reconciled, history in."""
        await self.says("buying is on")
        await self.says("bars of today")
        return self

    async def order(self, symbol: str, side: str, nth: int = 1) -> dict[str, Any]:
        """Wait for the `nth` order of this kind that the exchange took; returns the exchange's own copy."""

        await until(lambda: len(self._own(symbol, side)) >= nth, f"{side} number {nth} of {symbol}")
        return self._own(symbol, side)[nth - 1]

    def _own(self, symbol: str, side: str) -> list[dict[str, Any]]:
        found = [o for o in self.alpaca.orders.values() if (o["symbol"], o["side"]) == (symbol, side)]
        return [o for o in found if o["client_order_id"].startswith("scalp-")]

    async def holds(self, price: float = 50.0, *symbols: str) -> dict[str, Any]:
        """A bar of `symbols` (default: AAPL), whose buys are filled and whose exits follow; returns the first exit."""
        symbols = symbols or ("AAPL",)
        before = {symbol: len(self._own(symbol, "buy")) + 1 for symbol in symbols}
        await self.alpaca.fresh_bars(**dict.fromkeys(symbols, price))
        for symbol, nth in before.items():
            await self.alpaca.fill(await self.order(symbol, "buy", nth))
        sells = [await self.order(symbol, "sell", nth) for symbol, nth in before.items()]
        return sells[0]

    async def hears_all(self, symbol: str) -> None:
        """Wait until it has taken in what was streamed so far: after it comes a bar too old to change anything."""
        await self.alpaca.bar(symbol, "09:31", 77.77)
        await self.says("bar 77.77")

    async def early_questions(self, buy: dict[str, Any]) -> None:
        """Wait until the bot has asked for a buy that it just sent as often as it does."""
        await until(lambda: len(self.alpaca.asked("GET", f"/v2/orders/{buy['id']}")) >= 4, "four early questions")
        [posted] = [r for r in self.alpaca.posted() if r.body["client_order_id"] == buy["client_order_id"]]
        await until(lambda: self.alpaca.now > posted.when + 0.8, "the last of them")

    async def exits(self, within: float = PATIENCE) -> int:
        """Wait for its end; returns the exit code."""
        await until(lambda: self.process.returncode is not None, "its end", within)
        code = await self.process.wait()
        await self._reader
        return code

    @property
    def last_line(self) -> str:
        return self.text.strip().splitlines()[-1]

    @property
    def errors(self) -> list[str]:
        """The lines that tell of an error."""
        return [line for line in self.text.splitlines() if re.search(r"\bERROR\b|^error:", line)]
