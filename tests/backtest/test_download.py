"""History from a broker: asked for once, kept, and gone on with where it broke off."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from scalp.backtest.__main__ import main
from scalp.backtest.download import cache_folder, download, file_of
from scalp.backtest.settings import read_settings
from scalp.cli.settings import read_endpoints
from scalp.core.errors import UserError
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day, trading_days
from scalp.exchange.market import synthetic_day
from scalp.exchange.matching import Engine
from scalp.exchange.replay import load
from scalp.exchange.server import ExchangeServer
from scalp.net.transport import Answer
from scalp.net.virtual_time import JumpingLoop
from scalp.sweep.__main__ import main as sweep

KEYS = {"APCA_API_KEY_ID": "KEY", "APCA_API_SECRET_KEY": "SECRET", "POLYGON_API_KEY": "POLY"}
HEADER = b"timestamp,open,high,low,close,volume\n"
DAYS = trading_days(dt.date(2024, 1, 2), dt.date(2024, 3, 1))


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(work)


def nothing(done: int, total: int, requests: int) -> None:
    """No progress to see."""


class Polygon:
    """Answers for aggregates: one bar at the open of each trading day asked for; `fails` of its answers are 500."""

    def __init__(self) -> None:
        self.paths: list[tuple[float, str]] = []
        self.fails = 0
        self.status = 500

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], params: object, json: object, within: float
    ) -> Answer:
        path = url.partition(".com")[2]
        self.paths.append((asyncio.get_running_loop().time(), path))
        if self.fails:
            self.fails -= 1
            return self.status, {}, b'{"error": "trouble"}'
        *_, start, end = path.split("/")
        rows = [
            f'{{"t": {day.open // 10**6}, "o": 1.5, "h": 2, "l": 1, "c": 1.75, "v": 100}}'
            for day in DAYS
            if int(start) * 10**6 <= day.open < int(end) * 10**6
        ]
        return 200, {}, f'{{"status": "OK", "results": [{", ".join(rows)}]}}'.encode()


def polygon_endpoints() -> Any:
    endpoints = read_endpoints(KEYS, is_live=False, feed="polygon")
    assert endpoints is not None
    return endpoints


@pytest.mark.parametrize("feed", ["polygon", "sip"])
def test_a_day_from_the_wire_is_the_day_that_was_traded(feed: str, tmp_path: Path) -> None:
    day = session_day(dt.date(2026, 11, 20))
    market = synthetic_day(("AAPL", "F"), day, 2)

    async def fetch() -> None:
        engine = Engine(day.open, day.close, market, now=day.close + 30 * MINUTE)
        server = await ExchangeServer.start(market, engine)
        try:
            endpoints = read_endpoints({**KEYS, **server.environment()}, is_live=False, feed=feed)
            assert endpoints is not None
            seen: list[tuple[int, int, int]] = []
            await download(endpoints, ["AAPL", "F"], [day], tmp_path, lambda *state: seen.append(state))
            assert [state[:2] for state in seen] == [(1, 2), (2, 2)]
            seen.clear()
            await download(endpoints, ["AAPL", "F"], [day], tmp_path, lambda *state: seen.append(state))
            assert not seen
        finally:
            await server.stop()

    run(fetch())
    for symbol, bars in market.items():
        kept = load([file_of(tmp_path, feed, symbol, day)])[day.date][symbol]
        assert kept == [bar for bar in bars if day.open <= bar.start < day.close]


@pytest.mark.parametrize("status", [401, 422, 500])
def test_an_error_that_echoes_the_key_shows_nothing_of_it(status: int, tmp_path: Path) -> None:
    key = "leaked0Polygon1key2of3thirty4chars"
    endpoints = read_endpoints(KEYS | {"POLYGON_API_KEY": key}, is_live=False, feed="polygon")
    assert endpoints is not None

    async def echoes(*_: Any) -> Answer:
        return status, {"X-Request-ID": "x" * 50 + key}, f'{{"error": "{"y" * 280} {key} \\u001b[2J"}}'.encode()

    async def fetch() -> None:
        with pytest.raises(UserError) as caught:
            await download(endpoints, ["AAPL"], DAYS[:1], tmp_path, nothing, transport=echoes)
        text = str(caught.value)
        assert text.isprintable()
        assert not [key[at : at + 8] for at in range(len(key) - 7) if key[at : at + 8] in text]

    run(fetch())


def test_it_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    polygon = Polygon()

    async def first(path: Path) -> None:
        await download(polygon_endpoints(), ["AAPL"], DAYS, path, nothing, transport=polygon)

    async def whole() -> None:
        polygon.fails = 0
        await first(tmp_path)

    async def broken() -> None:
        await download(polygon_endpoints(), ["AAPL"], DAYS[:20], tmp_path, nothing, transport=polygon)
        polygon.fails = 1000
        with pytest.raises(UserError, match="the same command goes on from there"):
            await first(tmp_path)

    run(broken())
    asked = len(polygon.paths)
    run(whole())
    further = [path for _, path in polygon.paths[asked:]]
    assert len(further) == 2  # of 42 days, 20 were there; never more than 20 in one question
    assert str(DAYS[20].open // 10**6) in further[0]
    assert all(file_of(tmp_path, "polygon", "AAPL", day).exists() for day in DAYS)


def test_the_budget_spreads_the_requests(tmp_path: Path) -> None:
    polygon = Polygon()

    async def fetch() -> None:
        await download(
            polygon_endpoints(), ["AAPL", "F", "BAC"], DAYS[:1], tmp_path, nothing, per_minute=5, transport=polygon
        )

    run(fetch())
    assert [round(at, 1) for at, _ in polygon.paths] == [0.0, 12.0, 24.0]


def test_wrong_keys_are_told_at_once(tmp_path: Path) -> None:
    polygon = Polygon()
    polygon.fails, polygon.status = 5, 401

    async def fetch() -> None:
        with pytest.raises(UserError, match="Polygon refused the keys"):
            await download(polygon_endpoints(), ["AAPL"], DAYS[:1], tmp_path, nothing, transport=polygon)

    run(fetch())


def test_a_cached_day_is_played_without_a_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = session_day(dt.date(2024, 1, 2))
    folder = tmp_path / "scalp" / "bars"
    path = file_of(folder, "polygon", "AAPL", day)
    path.parent.mkdir(parents=True)
    rows = [f"{dt.datetime.fromtimestamp((day.open + n * MINUTE) / SECOND, dt.UTC)},5,5,5,5,10" for n in range(30)]
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    empty = file_of(folder, "polygon", "F", day)
    empty.parent.mkdir(parents=True)
    empty.write_text("timestamp,open,high,low,close,volume\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("POLYGON_API_KEY", "POLY")
    assert main(["--from", "2024-01-02", "--to", "2024-01-02", "AAPL", "F"]) == 0
    out = capsys.readouterr().out
    assert "minute bars of polygon, 2024-01-02 to 2024-01-02" in out and "30 bars" in out


def test_which_source_is_asked() -> None:
    def feed(*arguments: str, **environ: str) -> str | None:
        endpoints = read_settings(arguments, environ).endpoints
        return endpoints.feed if endpoints else None

    span = ("AAPL", "--from", "2024-01-02")
    assert feed(*span) is None
    assert feed(*span, **KEYS) == "polygon"
    assert feed(*span, "--feed", "iex", **KEYS) == "iex"
    assert feed(*span, POLYGON_API_KEY="POLY") == "polygon"
    alpaca = {name: key for name, key in KEYS.items() if name.startswith("APCA")}
    assert feed(*span, **alpaca) == "sip"
    assert feed(*span, **alpaca, APCA_API_BASE_URL="https://api.alpaca.markets") == "sip"
    assert feed("AAPL", "--seed", "1", **KEYS) is None
    for wrong, said in [
        (("AAPL",), "history needs SYMBOLS and --from DATE"),
        ((*span, "--requests", "0"), "'0' is not a number of requests"),
    ]:
        with pytest.raises(UserError, match=said):
            read_settings(wrong, KEYS)
    with pytest.raises(UserError, match="--feed and --requests belong to history"):
        read_settings((*span, "--requests", "5"), {})


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/scalp/bars")
    # A relative one is to be ignored, as XDG says: it would be another folder wherever the command is given.
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert cache_folder() == Path.home() / ".cache" / "scalp" / "bars"
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # nobody's home
    with pytest.raises(UserError, match="no home folder to keep history in: set XDG_CACHE_HOME"):
        cache_folder()


# -- what is kept and not as it was written ---------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache keeps AAPL's bars of 2024-01-02; nothing is there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("POLYGON_API_KEY", "POLY")
    path = file_of(tmp_path / "scalp" / "bars", "polygon", "AAPL", session_day(dt.date(2024, 1, 2)))
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("command", [main, lambda arguments: sweep(["--set", "lot=1000", "--jobs=1", *arguments])])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEADER + b"\xff\xfe 2024-01-02 09:30:00-05:00,5,5,5,5,10\n",
        HEADER + b"2024-01-03 09:30:00-05:00,5,5,5,5,10\n",
        HEADER + b"2024-01-02 09:30:00-05:00,5,5,5,5,10\n2024-01-03 09:30:00-05:00,5,5,5,5,10\n",
        HEADER + b"2024-01-02 09:30:00-05:00,5,5,5,5,0\n",
        None,  # a folder
    ],
)
def test_a_damaged_file_is_to_be_deleted(
    content: bytes | None, command: Callable[[list[str]], int], kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is None:
        kept.mkdir()
    else:
        kept.write_bytes(content)
    assert command(["--from", "2024-01-02", "--to", "2024-01-02", "AAPL"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: {kept} is damaged: delete it, it is downloaded again\n")


@pytest.mark.parametrize("command", [main, lambda arguments: sweep(["--set", "lot=1000", "--jobs=1", *arguments])])
def test_days_without_a_bar_cannot_be_played(
    command: Callable[[list[str]], int], kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.write_bytes(HEADER)
    assert command(["--from", "2024-01-02", "--to", "2024-01-02", "AAPL"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: no bars of AAPL from 2024-01-02 to 2024-01-02: ")


def test_a_cache_that_is_closed_to_us_is_told(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def locked(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", locked)
    assert main(["--from", "2024-01-02", "--to", "2024-01-02", "AAPL"]) == 2
    assert f"{kept}: cannot be read (Permission denied)" in capsys.readouterr().err
