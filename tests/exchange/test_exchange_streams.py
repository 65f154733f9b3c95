"""The three streams of the exchange on real sockets, frame by frame."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import aiohttp
import msgpack
import pytest
import websockets
from websockets.legacy.client import WebSocketClientProtocol, connect

from scalp.core.units import SECOND
from scalp.exchange import streams
from scalp.exchange.rest import Access
from scalp.exchange.server import MAX_BACKLOG, ExchangeServer, Outgoing
from tests.exchange.playground import DAY, KEYS, on_the_wire

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LOGIN = {"action": "auth", "key": "KEY", "secret": "SECRET"}


def stream(server: ExchangeServer, path: str, **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{server.port}{path}", **options)


async def say(socket: WebSocketClientProtocol, message: object) -> None:
    await socket.send(json.dumps(message))


async def hear(socket: WebSocketClientProtocol) -> Any:
    return json.loads(await socket.recv())


async def ask(socket: WebSocketClientProtocol, message: object) -> Any:
    await say(socket, message)
    return await hear(socket)


async def post_order(server: ExchangeServer, **order: object) -> dict[str, Any]:
    body = {"symbol": "AAPL", "side": "buy", "qty": "10", "type": "market", "time_in_force": "day"} | order
    async with aiohttp.ClientSession(server.url, headers=KEYS) as http, http.post("/v2/orders", json=body) as answer:
        placed: dict[str, Any] = await answer.json()
        return placed


# --- order updates ---


@pytest.mark.parametrize("path", ["/stream", "/stream/"])
@pytest.mark.parametrize(
    "login", [LOGIN, {"action": "authenticate", "data": {"key_id": "KEY", "secret_key": "SECRET"}}]
)
def test_both_logins_and_binary_frames(path: str, login: dict[str, Any]) -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, path) as socket:
            await say(socket, login)
            frame = await socket.recv()
            assert isinstance(frame, bytes)
            assert json.loads(frame) == {
                "stream": "authorization",
                "data": {"status": "authorized", "action": "authenticate"},
            }
            listen = {"action": "listen", "data": {"streams": ["trade_updates", "unknown"]}}
            assert await ask(socket, listen) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
            order = await post_order(server)
            updates = [await hear(socket) for _ in range(3)]
            assert [update["data"]["event"] for update in updates] == ["pending_new", "new", "fill"]
            fill = updates[-1]["data"]
            assert (fill["price"], fill["qty"], fill["position_qty"]) == ("100.01", "10", "10")
            assert fill["timestamp"] == "2026-11-20T14:40:00.005Z"
            assert fill["order"]["id"] == order["id"] and fill["order"]["status"] == "filled"
            assert set(order) <= set(fill["order"])  # the whole order in each update
            assert fill["execution_id"] != updates[1]["data"]["execution_id"]

    on_the_wire(test)


def test_both_legs_of_an_oco_are_told_without_their_family() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/stream") as socket:
            await ask(socket, LOGIN)
            await ask(socket, {"action": "listen", "data": {"streams": ["trade_updates"]}})
            await post_order(server)
            for _ in range(3):
                await hear(socket)
            legs = {"take_profit": {"limit_price": "120"}, "stop_loss": {"stop_price": "99.99"}}
            parent = await post_order(server, side="sell", type="limit", order_class="oco", **legs)
            told = [(await hear(socket))["data"] for _ in range(6)]
            assert [(data["event"], data["order"]["type"], data["order"]["status"]) for data in told] == [
                ("pending_new", "limit", "pending_new"),
                ("held", "stop", "held"),
                ("new", "limit", "new"),
                ("canceled", "limit", "canceled"),
                ("new", "stop", "new"),
                ("fill", "stop", "filled"),
            ]
            orders = [data["order"] for data in told]
            assert {order["id"] for order in orders} == {parent["id"], parent["legs"][0]["id"]}
            assert {(order["legs"], order["order_class"], order["group_id"]) for order in orders} == {
                (None, "oco", parent["group_id"])
            }

    on_the_wire(test)


def test_listening_needs_a_good_login() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/stream") as socket:
            listen = {"action": "listen", "data": {"streams": ["trade_updates"]}}
            assert (await ask(socket, listen))["data"] == {"status": "unauthorized", "action": "listen"}
            answer = await ask(socket, LOGIN | {"secret": "WRONG"})
            assert answer["data"] == {"status": "unauthorized", "action": "authenticate"}

    on_the_wire(test, access=Access(keys={"KEY": "SECRET"}))


def test_one_connection_the_second_is_refused_at_the_handshake() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/stream"):
            with pytest.raises(websockets.exceptions.InvalidStatusCode) as refused:
                await stream(server, "/stream")
            assert refused.value.status_code == 429
        async with stream(server, "/stream"):
            pass  # free again

    on_the_wire(test)


def test_a_client_without_login_holds_its_place_for_10_s() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/stream") as idle:
            await ask(idle, LOGIN | {"secret": "WRONG"})
            with pytest.raises(websockets.exceptions.ConnectionClosedOK):
                await idle.recv()
            assert server.now() == DAY.open + 610 * SECOND
        async with stream(server, "/stream") as socket:
            await ask(socket, LOGIN)
            await asyncio.sleep(60)
            assert socket.open

    on_the_wire(test, access=Access(keys={"KEY": "SECRET"}))


def test_late_login_frees_place_though_client_answers_nothing() -> None:
    async def test(server: ExchangeServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        host = f"Host: 127.0.0.1:{server.port}"
        writer.write(f"GET /stream HTTP/1.1\r\n{host}\r\n{UPGRADE}\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")
        await asyncio.sleep(10.1)
        async with stream(server, "/stream") as socket:
            assert (await ask(socket, LOGIN))["data"]["status"] == "authorized"
        writer.close()

    on_the_wire(test)


# --- who is let in ---


@pytest.mark.parametrize("path", ["/stream", "/v2/iex", "/stocks", "/v2/orders"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 0),
        ({"Host": "localhost:{port}"}, 0),
        ({"Host": "[::1]:{port}"}, 0),
        ({"Origin": "http://127.0.0.1:{port}"}, 0),  # as some libraries say by themselves
        ({"Origin": "https://page.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "page.example:{port}", "Origin": "http://page.example:{port}"}, 403),  # DNS leads it here
        ({"Host": "127.0.0.1.page.example"}, 403),
        ({"Host": "[::1"}, 403),
    ],
)
def test_a_page_in_a_browser_is_not_let_in(path: str, headers: dict[str, str], status: int) -> None:
    async def test(server: ExchangeServer) -> None:
        sent = {name: value.format(port=server.port) for name, value in headers.items()}
        lines = {"Host": f"127.0.0.1:{server.port}", **KEYS, **sent}
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        upgrade = "" if path == "/v2/orders" else UPGRADE
        writer.write(f"GET {path} HTTP/1.1\r\n{head}{upgrade}\r\n".encode())
        told = int((await reader.readline()).split()[1])
        assert told == (status or (101 if upgrade else 200))
        writer.close()

    on_the_wire(test)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nno header\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /v2/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v2/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
    ],
)
def test_a_malformed_request_costs_one_line(request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: ExchangeServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request_)
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        await asyncio.sleep(1)

    on_the_wire(test)
    (line,) = [logging.Formatter().format(record) for record in caplog.records if record.levelno > logging.DEBUG]
    assert line.startswith("a request was not understood (") and "\n" not in line


# --- Alpaca's data stream ---


def test_a_subscription_looks_at_each_symbol_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    class Word(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    told: list[list[dict[str, list[str]]]] = []
    session = streams.DataStreamClient(
        Access(), lambda frame: None, lambda: None, feed="iex", packed=False, claim=lambda session: True
    )
    monkeypatch.setattr(session, "_encode", told.append)
    monkeypatch.setattr(streams, "_decode", lambda frame: frame)
    session.log_in("KEY", "SECRET")
    for action in ("subscribe", "subscribe", "unsubscribe"):
        session.receive({"action": action, "bars": [Word(f"S{n}") for n in range(1000)]})  # type: ignore[arg-type]
    assert [len(answer[0]["bars"]) for answer in told[1:]] == [1000, 1000, 0]
    assert compared < 10 * 1000


def test_subscriptions_add_up_and_bars_come_in_arrays() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/v2/iex") as socket:
            assert await hear(socket) == [{"T": "success", "msg": "connected"}]
            assert await ask(socket, LOGIN) == [{"T": "success", "msg": "authenticated"}]
            await ask(socket, {"action": "subscribe", "bars": ["AAPL"], "statuses": ["*"]})
            (told,) = await ask(socket, {"action": "subscribe", "bars": ["TSLA"], "trades": ["AAPL"]})
            assert told == {
                "T": "subscription",
                "trades": ["AAPL"],
                "quotes": [],
                "bars": ["AAPL", "TSLA"],
                "updatedBars": [],
                "dailyBars": [],
                "statuses": ["*"],
                "lulds": [],
                "corrections": ["AAPL"],
                "cancelErrors": ["AAPL"],
            }
            await ask(socket, {"action": "unsubscribe", "trades": ["AAPL"]})
            bars = await hear(socket)
            # The minute that ended when the server started comes out 300 ms later, both symbols in one array.
            assert [(bar["T"], bar["S"], bar["t"], bar["c"]) for bar in bars] == [
                ("b", "AAPL", "2026-11-20T14:39:00Z", 100.0),
                ("b", "TSLA", "2026-11-20T14:39:00Z", 400.0),
            ]
            assert server.now() == DAY.open + 600 * SECOND + 3 * SECOND // 10
            server.simulation.halt("AAPL")
            (halt,) = await hear(socket)
            assert (halt["T"], halt["S"], halt["sc"], halt["rc"]) == ("s", "AAPL", "H", "LUDP")
            later = await hear(socket)
            assert [bar["S"] for bar in later] == ["TSLA"]
            server.simulation.resume("AAPL")
            assert (await hear(socket))[0]["sc"] == "T"

    on_the_wire(test)


def test_trades_come_as_they_happen() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/v2/sip", extra_headers=KEYS) as socket:  # logged in by the handshake's headers
            await hear(socket)
            assert await hear(socket) == [{"T": "success", "msg": "authenticated"}]
            await ask(socket, {"action": "subscribe", "trades": ["TSLA"]})
            (trade,) = await hear(socket)
            assert (trade["T"], trade["S"], trade["p"], trade["c"]) == ("t", "TSLA", 400.0, ["@"])
            assert trade["t"] == "2026-11-20T14:40:00.1Z"
            assert server.now() == DAY.open + 600 * SECOND + SECOND // 10

    on_the_wire(test)


def test_corrected_bars_are_provisional_first() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/v2/iex", extra_headers=KEYS) as socket:
            await hear(socket), await hear(socket)
            await ask(socket, {"action": "subscribe", "bars": ["AAPL"], "updatedBars": ["AAPL"]})
            (first,) = await hear(socket)
            (corrected,) = await hear(socket)
            assert (first["T"], first["v"]) == ("b", 3920)
            assert (corrected["T"], corrected["v"], corrected["t"]) == ("u", 4000, first["t"])
            assert server.now() == DAY.open + 630 * SECOND + 3 * SECOND // 10

    on_the_wire(test, correct_every=1)


def test_msgpack_with_timestamps_and_fragmented_messages() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/v2/iex", extra_headers={"Content-Type": "application/msgpack"}) as socket:
            assert msgpack.unpackb(await socket.recv()) == [{"T": "success", "msg": "connected"}]
            await socket.send(msgpack.packb(LOGIN))
            assert msgpack.unpackb(await socket.recv())[0]["msg"] == "authenticated"
            message = msgpack.packb({"action": "subscribe", "bars": ["*"]})
            await socket.send(iter([message[:5], message[5:9], message[9:]]))
            assert msgpack.unpackb(await socket.recv())[0]["bars"] == ["*"]
            bars = msgpack.unpackb(await socket.recv())
            assert bars[0]["t"] == msgpack.Timestamp.from_unix_nano(DAY.open + 540 * SECOND)

    on_the_wire(test)


def test_the_errors_of_the_data_stream() -> None:
    async def test(server: ExchangeServer) -> None:
        async def error(socket: WebSocketClientProtocol, message: object) -> tuple[int, str]:
            (told,) = await ask(socket, message)
            assert told["T"] == "error"
            return told["code"], told["msg"]

        async with stream(server, "/v2/iex") as socket:
            await hear(socket)
            assert await error(socket, "nonsense") == (400, "invalid syntax")
            assert await error(socket, {"action": "subscribe", "bars": ["AAPL"]}) == (401, "not authenticated")
            assert await error(socket, LOGIN | {"secret": "?"}) == (402, "auth failed")
            await ask(socket, LOGIN)
            assert await error(socket, LOGIN) == (403, "already authenticated")
            many = {"action": "subscribe", "bars": ["A", "B"], "trades": ["C"]}
            assert await error(socket, many) == (405, "symbol limit exceeded")
            unknown = {"action": "subscribe", "orderbooks": ["A"]}
            assert await error(socket, unknown) == (410, "invalid subscribe action for this feed")
            never_sent = {"action": "subscribe", "dailyBars": [], "lulds": ["A"], "bars": ["B"]}
            assert await error(socket, never_sent) == (410, "invalid subscribe action for this feed")
            (rest,) = await hear(socket)
            assert (rest["lulds"], rest["bars"]) == ([], ["B"])
            await ask(socket, {"action": "unsubscribe", "bars": ["B"]})
            assert (await ask(socket, {"action": "subscribe", "bars": ["A", "B"]}))[0]["bars"] == ["A", "B"]
            async with stream(server, "/v2/iex") as second:
                await hear(second)
                assert await error(second, LOGIN) == (406, "connection limit exceeded")
            async with stream(server, "/v2/sip") as other:
                await hear(other)
                assert await error(other, LOGIN) == (409, "insufficient subscription")
        async with stream(server, "/v2/iex") as late:
            await hear(late)
            assert (await hear(late))[0]["code"] == 404  # 10 s without a login
            with pytest.raises(websockets.exceptions.ConnectionClosedOK):
                await late.recv()

    on_the_wire(test, access=Access(keys={"KEY": "SECRET"}, sip=False, symbol_limit=2))


# --- Polygon ---


def test_polygon_from_login_to_bar() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/stocks") as socket:
            assert await hear(socket) == [{"ev": "status", "status": "connected", "message": "Connected Successfully"}]
            bad = await ask(socket, {"action": "auth", "params": "WRONG"})
            assert bad == [{"ev": "status", "status": "auth_failed", "message": "authentication failed"}]
            good = await ask(socket, {"action": "auth", "params": "PK"})
            assert good == [{"ev": "status", "status": "auth_success", "message": "authenticated"}]
            await say(socket, {"action": "subscribe", "params": "AM.AAPL,AM.TSLA,XX.AAPL,AM.AAPL"})
            # One answer a channel; none for what is unknown or already held.
            assert (await hear(socket))[0]["message"] == "subscribed to: AM.AAPL"
            assert (await hear(socket))[0]["message"] == "subscribed to: AM.TSLA"
            first, second = await hear(socket)
            start = (DAY.open + 540 * SECOND) // 1_000_000
            assert (first["ev"], first["sym"], first["s"], first["e"]) == ("AM", "AAPL", start, start + 60_000)
            assert (first["c"], second["sym"]) == (100.0, "TSLA")
            assert (first["v"], first["av"], first["op"]) == (4000, 40000, 100.0)
            await ask(socket, {"action": "unsubscribe", "params": "AM.TSLA"})
            await ask(socket, {"action": "subscribe", "params": "T.AAPL"})
            (trade,) = await hear(socket)
            assert (trade["ev"], trade["sym"], trade["p"]) == ("T", "AAPL", 100.01)

    on_the_wire(test, access=Access(polygon_key="PK"))


def test_polygon_evicts_the_older_connection() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/stocks") as old, stream(server, "/stocks") as new:
            await hear(old), await hear(new)
            await ask(old, {"action": "auth", "params": "PK"})
            await ask(new, {"action": "auth", "params": "PK"})
            assert (await hear(old))[0]["status"] == "max_connections"
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                await old.recv()
            assert (await ask(new, {"action": "subscribe", "params": "AM.*"}))[0]["status"] == "success"

    on_the_wire(test)


@pytest.mark.parametrize("at_once", [400, 12_000])
def test_polygon_confirms_every_channel_of_a_whole_market(at_once: int) -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/stocks", max_queue=None) as socket:
            await hear(socket), await ask(socket, {"action": "auth", "params": "PK"})
            channels = [f"AM.S{n}" for n in range(11_999)] + ["AM.AAPL"]
            for first in range(0, len(channels), at_once):
                await say(socket, {"action": "subscribe", "params": ",".join(channels[first : first + at_once])})
            told = [(await hear(socket))[0]["message"] for _ in channels]
            assert told == [f"subscribed to: {channel}" for channel in channels]
            assert [(bar["ev"], bar["sym"]) for bar in await hear(socket)] == [("AM", "AAPL")]

    on_the_wire(test)


def test_a_client_that_does_not_read_the_news_is_cut_off() -> None:
    async def story() -> None:
        cut_off: list[str] = []
        outgoing = Outgoing()
        outgoing.cut_off = lambda: cut_off.append("cut off")
        with outgoing.answering():
            for _ in range(2 * MAX_BACKLOG):
                outgoing.put("answer")
        assert not outgoing.has_room.is_set()  # it is not listened to
        for _ in range(MAX_BACKLOG):
            outgoing.put("news")
        assert not cut_off
        outgoing.put("news")
        assert cut_off

    asyncio.run(story())
