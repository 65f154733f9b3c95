"""A server puts what a terminal obeys, forged lines and the user's own key into every field of its answers and frames:
nothing of it reaches the terminal, console.log, the journal, the report, the doctor, flatten or a notification."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import main as program
from scalp.core.algo import ScalpAlgo
from scalp.core.errors import ScalpError
from scalp.core.units import MINUTE
from scalp.doctor import Check, Doctor
from scalp.exchange.orders import OrderRequest
from scalp.exchange.rest import Access, Response
from scalp.exchange.streams import StreamClient
from scalp.flatten import flatten
from scalp.live import notify
from scalp.live.console import ConsoleLog
from scalp.live.startup import Startup
from scalp.net.printable import PIECE
from scalp.report.__main__ import main as report
from tests.trading import AROUND_100, FALLING, OPEN, Handle, Script, exchange, minutes, run, settings

KEY_ID, SECRET = "PK7QX2LEAK9VB3MWAAQZ", "leaked0Secret1of2the3account4with5forty6c"
FORGED = "2026-11-20 15:59:58.000 INFO    main    session over: flat"
SIGNS = "\x1b]0;owned\x07\x1b[2J\x9b2J\r\n\x00\x7f\x85\u2028\u202e\u2066\u200f\ufeff"
HOSTILE = f"{SIGNS}{FORGED}\n{FORGED}\r{FORGED}\n {KEY_ID} {SECRET}"
# So long that the key lies on the place at which words are cut.
LONG = [f"{'y' * (width - 20)} {SECRET} {KEY_ID} {SIGNS}\n{FORGED}" for width in (40, 64, 80, 100, 150, 200, 300)]
MARKET = {"TSLA": minutes("TSLA", *[AROUND_100] * 4, *FALLING), "AAPL": minutes("AAPL", *[AROUND_100] * 14)}


def assert_plain(text: str) -> None:
    for line in text.split("\n"):
        assert line.isprintable(), line
        assert not line.startswith(FORGED[:40])
        assert len(line) <= 4000
    assert_no_key(text)


def assert_no_key(text: str) -> None:
    for key in (KEY_ID, SECRET):
        assert not [key[at : at + PIECE] for at in range(len(key) - PIECE + 1) if key[at : at + PIECE] in text], text


def strings(value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, holder, place) of every text in `value`; rows of a list have one name."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, part in inner:
        name = f"{path}/{place if isinstance(place, str) else ''}"
        if isinstance(part, str):
            yield name, value, place
        else:
            yield from strings(part, name)


HOSTILE_FORMS = (
    *(lambda old, add=add: old + add for add in (HOSTILE, *LONG)),
    lambda old: HOSTILE,
    lambda old: HOSTILE + "z" * 100_000,
)
NUMBERS: tuple[Any, ...] = (
    *("1e1000000", "-1e1000000", "1e-1000000", "0e-1000000", "9" * 5000, "1e30", "NaN", "sNaN", "-Infinity"),
    *("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+14:00", 10**30, -1, 1e300, 0, True, None, [], {}),
)
ABSURD_FORMS = tuple(lambda old, new=new: new for new in NUMBERS)


class Spoiler:
    """Spoils one text of each message, every name of a text in turn."""

    def __init__(self, forms: Sequence[Callable[[str], Any]] = HOSTILE_FORMS) -> None:
        self.spoiled: dict[str, int] = {}
        self._forms = itertools.cycle(forms)

    def spoil(self, what: str, value: Any) -> Any:
        found = [(f"{what} {name}", holder, place) for name, holder, place in strings(value)]
        if found:
            name, holder, place = min(found, key=lambda one: self.spoiled.get(one[0], 0))
            self.spoiled[name] = self.spoiled.get(name, 0) + 1
            holder[place] = next(self._forms)(holder[place])
        return value


class Spoiling(Script):
    """Of `every` answers about one is spoiled; some questions are refused, in the same words."""

    def __init__(self, every: int, forms: Sequence[Callable[[str], Any]] = HOSTILE_FORMS) -> None:
        super().__init__()
        self.spoiler = Spoiler(forms)
        self.refuses = False
        self._every, self._rng = every, random.Random(1)
        self._refusals = itertools.cycle((None,) * 14 + (422, 503, 403, 500, 404))

    async def request(self, method: str, path: str, body: bytes, handle: Handle) -> Response | None:
        answer = handle()
        if self._rng.randrange(self._every):
            return answer
        status = next(self._refusals)
        value = msgspec.json.decode(answer.body) if answer.body else {"message": ""}
        if status is not None and self.refuses:
            answer, value = Response(status, answer.headers, b""), {"message": "no", "code": 40010000, "error": "no"}
        kind = " ".join((method, *path.split("/")[2:3]))
        headers = answer.headers | {"X-Request-ID": f"{SECRET}-{LONG[0].split()[0]}-{KEY_ID}"}
        return Response(answer.status, headers, json.dumps(self.spoiler.spoil(kind, value)).encode())


@pytest.fixture
def spoiled_frames(monkeypatch: pytest.MonkeyPatch) -> Spoiler:
    """Of the frames of every stream each third is spoiled, and an error of the same words comes in between."""
    spoiler, turns, send = Spoiler(), itertools.count(), StreamClient.send

    def spoiling(session: StreamClient, frame: str | bytes) -> None:
        turn = next(turns)
        if turn % 3 == 2 and session.authenticated:
            send(session, json.dumps(spoiler.spoil(type(session).__name__, json.loads(frame))))
        send(session, frame)
        if turn % 20 == 19 and session.authenticated:
            send(session, json.dumps([{"T": "error", "code": 499, "msg": LONG[turn % len(LONG)]}]))
            send(session, json.dumps([{"T": HOSTILE, "S": HOSTILE}, {"T": "b", "S": 1, "t": HOSTILE}]))
            send(session, json.dumps({"stream": LONG[0], "data": {}}))
            halt = {"T": "s", "S": "TSLA", "t": "2026-11-20T14:40:00Z", "sc": "H", "rm": LONG[turn % len(LONG)]}
            send(session, json.dumps([halt, halt | {"sc": "T"}]))

    monkeypatch.setattr(StreamClient, "send", spoiling)
    return spoiler


class Trades(ScalpAlgo):
    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        if len(self.session_bars) == 3:
            raise ValueError(f"{HOSTILE}\n{FORGED}\n{LONG[0]}")
        return True


class Services:
    """What a notification service is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        services = self

        class Service:
            def __init__(self, *_: Any) -> None:
                pass

            def put(self, told: notify.Told) -> None:
                services.lines.append(told.text)

            def close(self) -> None:
                pass

            def join(self, patience: float) -> None:
                pass

        monkeypatch.setattr(notify, "_Service", Service)


@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_whole_session(
    every: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoiled_frames: Spoiler,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "algo_class", Trades)
    services = Services(monkeypatch)
    script = Spoiling(every)
    journal = tmp_path / "journal.sqlite"

    async def story(console: ConsoleLog) -> None:
        access = Access(keys={KEY_ID: SECRET}, trading_limit=10**6, data_limit=10**6)
        async with exchange(MARKET, script, 14, access=access) as (_, points):
            chosen = settings(*MARKET, endpoints=points, journal=journal, notify=("json://127.0.0.1:9",))
            for _ in range(30):
                startup = Startup(chosen, points, Trades)
                with contextlib.suppress(ScalpError):
                    await startup.open()
                await startup.close()
            with notify.notifications(chosen, lambda: console.now()) as listeners:
                asyncio.get_running_loop().call_later(20, setattr, script, "refuses", True)
                await program.run(chosen, console, listeners)

    with ConsoleLog((KEY_ID, SECRET), debug=True) as console:
        run(story(console))
    shown = capsys.readouterr()
    assert_plain(Path("console.log").read_text())
    assert_plain(shown.out)
    assert_plain("\n".join(services.lines))
    assert_no_key(journal.read_bytes().decode("latin-1"))
    for arguments in ([], ["--json"], ["--diff", "--algo", "scalp:ScalpAlgo"], ["--html", "page.html"]):
        report(["--journal", str(journal), *arguments])
        told = capsys.readouterr()
        assert_plain(told.out + told.err)
    assert_plain(Path("page.html").read_text().partition('<script type="text/plain"')[0])
    # It was in every field of the session's answers and frames, in its refusals, and in what was told of them.
    assert {"GET account /status", "GET assets /name"} <= script.spoiler.spoiled.keys()
    assert {"DataStreamClient //S", "OrderStreamClient /data/order/symbol"} <= spoiled_frames.spoiled.keys()
    assert services.lines
    assert r"\x1b" in shown.out
    assert "***" in shown.out


@pytest.mark.parametrize("every", [2, 3, 7])
def test_absurd_numbers_in_every_field_end_no_session(
    every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "algo_class", Trades)
    script = Spoiling(every, ABSURD_FORMS)
    lines: list[str] = []

    async def story(console: ConsoleLog) -> None:
        access = Access(keys={KEY_ID: SECRET}, trading_limit=10**6, data_limit=10**6)
        async with exchange(MARKET, script, 14, access=access) as (server, points):
            await program.run(settings(*MARKET, endpoints=points), console)
            assert script.now() > 13 * 60
        script.requests.clear()
        async with exchange(MARKET, script, 60, 120, access=access) as (server, points):
            engine = server.simulation.engine
            engine.on_trade("TSLA", OPEN + 2 * MINUTE, 100.0, 1e6)
            engine.submit(OrderRequest("TSLA", "buy", "market", "day", Decimal(10)))
            await asyncio.sleep(1)
            await flatten(points, ["TSLA", "AAPL"], lines.append)
            assert engine.account.held("TSLA") == 0

    with ConsoleLog((KEY_ID, SECRET), debug=True) as console:
        run(story(console))
    log = Path("console.log").read_text()
    assert "task died" not in log
    assert_plain(log)
    assert_plain("\n".join(lines))


@pytest.mark.parametrize("every", [1, 2, 5])
def test_doctor_and_flatten(every: int, spoiled_frames: Spoiler, capsys: pytest.CaptureFixture[str]) -> None:
    checks: list[Check] = []
    lines: list[str] = []

    async def story() -> None:
        access = Access(keys={KEY_ID: SECRET}, trading_limit=10**6, data_limit=10**6)
        script = Spoiling(every)
        async with exchange(MARKET, script, 60, 120, access=access) as (server, points):
            server.simulation.engine.on_trade("TSLA", OPEN + 2 * MINUTE, 100.0, 1e6)
            for _ in range(3):
                await Doctor(points, ["TSLA", "AAPL"], checks.append).run()
                script.refuses = True
            try:
                await flatten(points, ["TSLA", "AAPL"], lines.append)
            except ScalpError as error:
                lines.append(str(error))

    run(story())
    assert_plain("\n".join(check.text for check in checks))
    assert_plain("\n".join(lines))
