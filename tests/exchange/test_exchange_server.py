"""The server as a whole: one session in virtual time, the same every time; its end; and its scripted faults."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from aiohttp import web
from websockets.legacy.client import connect

from scalp.core.units import SECOND
from scalp.exchange import __main__ as exchange
from scalp.exchange.__main__ import main
from scalp.exchange.demo import DEFAULT_DAY
from scalp.exchange.faults import ScriptedFaults
from scalp.exchange.rest import Access
from scalp.exchange.server import ExchangeServer
from scalp.net.transport import HttpTransport
from scalp.net.virtual_time import JumpingLoop
from tests.exchange.playground import DAY, KEYS, on_the_wire

LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}
ORDER = {"symbol": "AAPL", "side": "buy", "qty": "10", "type": "limit", "time_in_force": "day", "limit_price": "90"}


class Session:
    """A logged-in client of one server: REST and order updates."""

    def __init__(self, server: ExchangeServer) -> None:
        self.server = server
        self.http = aiohttp.ClientSession(server.url, headers=KEYS)
        self.socket = connect(f"ws://127.0.0.1:{server.port}/stream")

    async def __aenter__(self) -> Session:
        self.updates = await self.socket
        await self.updates.send(json.dumps({"action": "auth", "key": "KEY", "secret": "SECRET"}))
        await self.updates.send(json.dumps(LISTEN))
        await self.updates.recv(), await self.updates.recv()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.updates.close()
        await self.http.close()

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self.http.request(method, path, json=body) as answer:
            kind = answer.content_type
            return answer.status, await (answer.json() if kind == "application/json" else answer.text())

    async def event(self) -> str:
        return str(json.loads(await self.updates.recv())["data"]["event"])

    def seconds(self) -> float:
        return (self.server.now() - DAY.open) / SECOND


def test_a_day_ends_with_expired_orders_and_a_closed_clock() -> None:
    async def test(server: ExchangeServer) -> None:
        async with Session(server) as session:
            await session.ask("POST", "/v2/orders", ORDER)
            assert [await session.event() for _ in range(3)] == ["pending_new", "new", "expired"]
            assert session.seconds() == pytest.approx(23400.02)
            _, clock = await session.ask("GET", "/v2/clock")
            assert clock["is_open"] is False
            _, parked = await session.ask("POST", "/v2/orders", ORDER)
            assert parked["status"] == "accepted"
            await server.finished.wait()
            assert session.seconds() == pytest.approx(23460)

    on_the_wire(test, at=23300)


def test_a_session_in_one_process_is_quick_and_always_the_same() -> None:
    def play() -> list[str]:
        heard: list[str] = []

        async def test(server: ExchangeServer) -> None:
            async with Session(server) as session, connect(f"ws://127.0.0.1:{server.port}/v2/iex") as data:
                await data.send(json.dumps({"action": "auth", "key": "KEY", "secret": "SECRET"}))
                await data.send(json.dumps({"action": "subscribe", "bars": ["*"], "trades": ["*"]}))

                async def follow_orders() -> None:
                    while True:
                        heard.append(f"{server.now()} {await session.updates.recv()!r}")

                async def trade_every_tenth_bar() -> None:
                    bars = 0
                    async for frame in data:
                        heard.append(f"{server.now()} {frame!r}")
                        bars += '"T":"b"' in frame
                        if '"T":"b"' in frame and bars % 10 == 0:
                            _, order = await session.ask("POST", "/v2/orders", ORDER | {"limit_price": "99.99"})
                            heard.append(str(order))

                tasks = [asyncio.create_task(follow_orders()), asyncio.create_task(trade_every_tenth_bar())]
                await server.finished.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        on_the_wire(test, at=20000)
        return heard

    first = play()
    assert len(first) > 300 and any("fill" in line for line in first)
    assert play() == first


def test_requests_of_one_instant_are_answered_in_their_order() -> None:
    async def test(server: ExchangeServer) -> None:
        transport = HttpTransport()
        begun = asyncio.get_running_loop().time()
        asked = (transport("GET", f"{server.url}/v2/clock", KEYS, None, None, 5.0) for _ in range(400))
        answers = await asyncio.gather(*asked)
        assert {status for status, _, _ in answers} == {200}
        told = [int(headers["X-Request-ID"], 16) for _, headers, _ in answers]
        assert told == sorted(told)
        assert asyncio.get_running_loop().time() == begun
        await transport.close()

    on_the_wire(test, access=Access(trading_limit=1000))


def test_the_clock_of_the_machine_closes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count(step=3600)
    monkeypatch.setattr(aiohttp.connector, "monotonic", lambda: float(next(hours)))
    connections: list[object] = []

    async def peer(request: web.Request) -> web.Response:
        connections.append(request.protocol)
        return web.Response()

    async def story() -> None:
        app = web.Application()
        app.router.add_get("/", peer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        transport = HttpTransport()
        for _ in range(3):
            await transport("GET", f"http://127.0.0.1:{runner.addresses[0][1]}/", {}, None, None, 5.0)
            await asyncio.sleep(30)
        await transport.close()
        await runner.cleanup()

    with asyncio.Runner(loop_factory=JumpingLoop) as loop:
        loop.run(story())
    assert len(connections) == 3 and len(set(connections)) == 1


def test_one_rule_may_stand_alone() -> None:
    rule = '{"request": "GET /v2/clock", "status": 500}'
    assert ScriptedFaults.read(rule)._rules == ScriptedFaults.read(f"[{rule}]")._rules


def faults(*rules: dict[str, Any]) -> ScriptedFaults:
    return ScriptedFaults.read(json.dumps(rules))


def test_answers_can_be_late_wrong_or_lost() -> None:
    async def test(server: ExchangeServer) -> None:
        async with Session(server) as session:
            before = session.seconds()
            assert (await session.ask("POST", "/v2/orders", ORDER))[0] == 200  # answered late
            assert session.seconds() - before == pytest.approx(1.5)
            assert await session.event() == "pending_new"  # heard of long before
            assert await session.ask("POST", "/v2/orders", ORDER | {"symbol": "TSLA"}) == (
                429,
                {"code": 42910000, "message": "rate limit exceeded"},
            )
            status, page = await session.ask("GET", "/v2/positions")
            assert status == 504 and page.startswith("<html>")
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.ask("POST", "/v2/orders", ORDER | {"client_order_id": "lost"})
            found = await session.ask("GET", "/v2/orders:by_client_order_id?client_order_id=lost")
            assert found[0] == 200  # it did arrive

    on_the_wire(
        test,
        faults=faults(
            {"request": "POST /v2/orders", "symbol": "TSLA", "status": 429},
            {"request": "POST /v2/orders", "late": 1.5, "times": 1},
            {"request": "POST /v2/orders", "lose": True},
            {"request": "GET /v2/positions", "html": 504},
        ),
    )


def test_updates_can_be_dropped_repeated_and_delayed() -> None:
    async def test(server: ExchangeServer) -> None:
        async with Session(server) as session:
            await session.ask("POST", "/v2/orders", ORDER | {"limit_price": "110"})
            assert [await session.event() for _ in range(3)] == ["fill", "fill", "new"]
            assert session.seconds() == pytest.approx(602.025)

    on_the_wire(
        test,
        faults=faults(
            {"update": "pending_new", "repeat": 0},
            {"update": "new", "delay": 2},
            {"update": "fill", "repeat": 2, "symbol": "AAPL"},
        ),
    )


def test_streams_can_be_closed_muted_and_refused() -> None:
    async def test(server: ExchangeServer) -> None:
        async with Session(server) as session:
            with pytest.raises(websockets.exceptions.ConnectionClosedOK):
                await session.event()
            assert session.seconds() == pytest.approx(660)
            url = f"ws://127.0.0.1:{server.port}"
            with pytest.raises(websockets.exceptions.InvalidStatusCode):
                await connect(f"{url}/stream")
            async with connect(f"{url}/v2/iex", extra_headers=KEYS) as data:
                await data.recv()
                assert json.loads(await data.recv())[0]["code"] == 406
            async with connect(f"{url}/v2/iex", extra_headers=KEYS) as data:
                await data.recv(), await data.recv()
                await data.send(json.dumps({"action": "subscribe", "bars": ["AAPL"]}))
                await data.recv()
                frames = [json.loads(await data.recv()) for _ in range(3)]
                minutes = [bar["t"][14:16] for frame in frames for bar in frame]
                assert minutes == ["40", "40", "42", "43"]  # one twice, one missing
                with pytest.raises(websockets.exceptions.ConnectionClosedError):
                    await data.recv()
                assert session.seconds() == pytest.approx(900)

    on_the_wire(
        test,
        faults=faults(
            {"at": "09:41:00", "close": "orders"},
            {"handshake": "orders", "skip": 1},
            {"login": "data", "times": 1},
            {"bar": "AAPL", "skip": 2, "times": 1, "repeat": 0},
            {"bar": "AAPL", "skip": 1, "times": 1, "repeat": 2},
            {"at": "09:45:00", "drop": "data"},
        ),
    )


def test_halts_and_rejections_can_be_scripted() -> None:
    async def test(server: ExchangeServer) -> None:
        async with Session(server) as session:
            await session.ask("POST", "/v2/orders", ORDER | {"symbol": "TSLA"})
            await asyncio.sleep(61)
            await session.ask("POST", "/v2/orders", ORDER | {"limit_price": "110"})  # waits for the end of the halt
            events = [await session.event() for _ in range(6)]
            assert events == ["pending_new", "new", "rejected", "pending_new", "new", "fill"]
            assert session.seconds() > 780

    on_the_wire(
        test,
        faults=faults(
            {"at": "09:40:30", "reject": "TSLA"},
            {"at": "09:41:00", "halt": "AAPL"},
            {"at": "09:43:00", "resume": "AAPL"},
        ),
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name at least one symbol"),
        (["AAPL", "--session", "2026-11-21"], "2026-11-21 is not a trading day"),
        (["AAPL", "--speed", "fast"], "'fast' is not a number above 0"),
        (["AAPL", "--session", "friday"], "'friday' is not a date"),
        (["AAPL", "--sped", "6"], "unrecognized arguments"),
        (["AAPL", "--from", "17:00"], "the market closes at"),
        (["AAPL", "--from", "noon"], "not a time like 09:30"),
        (["AAPL", "--replay", "nowhere.csv"], "nowhere.csv"),
        (["AAPL", "--replay="], "--replay: it names nothing"),
        (["AAPL", "--poly"], "unrecognized arguments: --poly"),
        (["AAPL", "--key", "abc"], "argument --key: write ID:SECRET"),
        (["AAPL", "--key", "abc:"], "argument --key: write ID:SECRET"),
        (["AAPL", "--polygon-key", "a b"], "argument --polygon-key: write the key"),
        (["AAPL", "--polygon-key="], "argument --polygon-key: write the key"),
        (["AAPL", "--port", "99999"], "port 99999 cannot be used"),
        (["AAPL", "--faults", "[{}, 7]"], "--faults"),
    ],
)
def test_errors_of_the_user_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ") and words in told.err and told.err.count("\n") == 1


def test_the_standalone_exchange_prints_its_environment(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["aapl", "--session", str(DEFAULT_DAY), "--from", "15:58", "--speed", "600", "--key", "ID:SECRET"]
    assert main([*arguments, "f", "--polygon"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("export ") for line in lines)
    env = dict(line.removeprefix("export ").split("=") for line in lines)
    assert env["APCA_API_BASE_URL"].startswith("http://127.0.0.1:")
    assert env["POLYGON_WS_URL"].endswith("/stocks")
    assert (env["APCA_API_KEY_ID"], env["APCA_API_SECRET_KEY"], env["SCALP_SPEED"]) == ("ID", "SECRET", "600")
    assert env["POLYGON_API_KEY"]


def test_standalone_exchange_can_be_for_one_polygon_key_alone(capsys: pytest.CaptureFixture[str]) -> None:
    admitted: dict[str, int] = {}

    class Polygon(ExchangeServer):
        @classmethod
        async def start(cls, *args: Any, **options: Any) -> ExchangeServer:
            server = await ExchangeServer.start(*args, **options)
            async with aiohttp.ClientSession(server.url) as http:
                for key in ("PK", "other"):
                    async with http.get("/v2/last/trade/AAPL", headers={"Authorization": f"Bearer {key}"}) as answer:
                        admitted[key] = answer.status
            return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "ExchangeServer", Polygon)
        arguments = ["AAPL", "--session", str(DEFAULT_DAY), "--from", "15:58", "--speed", "600"]
        assert main([*arguments, "--polygon-key", "PK"]) == 0
    assert admitted == {"PK": 200, "other": 401}
    assert "export POLYGON_API_KEY=PK\n" in capsys.readouterr().out


def test_the_day_before_in_the_files_is_history(tmp_path: Path) -> None:
    for date, price in (("20261118", 80), ("20261119", 90), ("20261120", 100)):
        row = f"{date[:4]}-{date[4:6]}-{date[6:]} 09:30:00,{price},{price},{price},{price},100\n"
        (tmp_path / f"AAPL_{date}.csv").write_text("timestamp,open,high,low,close,volume\n" + row)

    options = exchange._parser().parse_args(["AAPL", "--session", "2026-11-20", "--replay", str(tmp_path)])
    day, market, *_ = exchange._prepare(options)
    assert (str(day.date), [bar.close for bar in market["AAPL"]]) == ("2026-11-20", [90, 100])
