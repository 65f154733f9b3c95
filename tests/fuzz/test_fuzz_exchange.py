"""Whatever a client sends to the built-in exchange, and whatever a user hands to the bot: files and arguments."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalp.cli.settings import read_settings
from scalp.core.errors import UserError
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.matching import Engine
from scalp.exchange.replay import load
from scalp.exchange.rest import Access, Rest
from scalp.exchange.simulation import Simulation
from scalp.exchange.streams import DataStreamClient, OrderStreamClient, PolygonStreamClient
from tests.fuzz.strategies import ODD_TEXTS, bodies, briefly, fuzz, scalars, written
from tests.trading import AT_100, OPEN, minutes

KEYS = {"APCA-API-KEY-ID": "K", "APCA-API-SECRET-KEY": "S", "Authorization": "Bearer P"}
ORDER = {
    "symbol": "TSLA",
    "qty": "3",
    "side": "buy",
    "type": "limit",
    "time_in_force": "day",
    "limit_price": "100.00",
    "client_order_id": "mine",
    "extended_hours": False,
    "order_class": "simple",
}
MARKET = ORDER | {"type": "market", "limit_price": None, "client_order_id": ""}
EXIT = ORDER | {"type": "limit", "limit_price": None, "client_order_id": "", "side": "sell"}
OCO: dict[str, Any] = EXIT | {
    "order_class": "oco",
    "take_profit": {"limit_price": "101"},
    "stop_loss": {"stop_price": "99"},
}
BRACKET = ORDER | {
    "order_class": "bracket", "client_order_id": "", "take_profit": {"limit_price": "101"},
    "stop_loss": {"stop_price": "99", "limit_price": "98"},
}  # fmt: skip
TRAILING = EXIT | {"type": "trailing_stop", "trail_percent": "0.5", "order_class": ""}
PATHS = {
    "/v2/account": (),
    "/v2/account/portfolio/history": (
        *("period", "timeframe", "start", "end", "date_start", "date_end", "intraday_reporting", "extended_hours"),
    ),
    "/v2/account/activities": ("activity_types", "after", "until", "direction", "page_size", "page_token", "order_id"),
    "/v2/clock": (),
    "/v2/calendar": ("start", "end", "date_type"),
    "/v2/assets": ("status", "asset_class"),
    "/v2/assets/{}": (),
    "/v2/orders": (
        "status",
        "limit",
        "after",
        "until",
        "direction",
        "symbols",
        "side",
        "after_order_id",
        "before_order_id",
        "nested",
    ),
    "/v2/orders:by_client_order_id": ("client_order_id", "nested"),
    "/v2/orders/{}": ("nested",),
    "/v2/positions": ("cancel_orders",),
    "/v2/positions/TSLA": ("qty", "percentage"),
    "/v2/stocks/bars": ("symbols", "start", "end", "timeframe", "limit", "feed", "page_token", "sort"),
    "/v2/stocks/TSLA/bars": ("start", "end", "timeframe", "limit", "feed", "page_token", "sort"),
    "/v2/stocks/trades": ("symbols", "start", "end", "limit", "feed", "page_token", "sort"),
    "/v2/stocks/TSLA/quotes": ("start", "end", "limit", "feed", "page_token", "sort"),
    "/v2/stocks/trades/latest": ("symbols", "feed"),
    "/v2/stocks/{}/trades/latest": ("feed",),
    "/v2/stocks/snapshots": ("symbols",),
    "/v2/aggs/ticker/TSLA/range/{}/minute/2026-11-20/2026-11-20": ("limit", "sort", "cursor"),
    "/v2/aggs/ticker/TSLA/range/1/{}/0/1": ("limit",),
    "/v2/aggs/ticker/TSLA/range/1/minute/{}/{}": ("limit",),
    "/v2/aggs/ticker/TSLA/range/{}/{}/0001-01-01/9999-12-31": ("limit", "sort", "cursor"),
    "/v2/aggs/ticker/{}/prev": (),
    "/v2/aggs/grouped/locale/us/market/stocks/{}": (),
    "/v1/open-close/TSLA/{}": (),
    "/v2/snapshot/locale/us/markets/stocks/tickers": ("tickers",),
    "/v2/snapshot/locale/us/markets/stocks/tickers/{}": (),
    "/v3/{}": (),
    "/v2/last/trade/{}": ("apiKey",),
    "/{}": (),
}

SPANS = ("1Min", "99999999999Min", "1Month", "3D", "year", "quarter", "week")
TEXTS = (*ODD_TEXTS, *SPANS, "TSLA", "open", "all", "9999-12-31", "0001-01-01", "sip", "LTU=")
odd_texts = st.sampled_from(TEXTS)


def simulation() -> Simulation:
    market = {"TSLA": minutes("TSLA", *[AT_100] * 5)}
    return Simulation(market, Engine(OPEN, OPEN + 5 * MINUTE, market, now=OPEN + MINUTE))


def unlimited(sim: Simulation) -> Rest:
    return Rest(sim, Access(trading_limit=10**9, data_limit=10**9, polygon_limit=10**9))


def assert_sound(sim: Simulation) -> None:
    account = sim.engine.account
    assert account.cash.is_finite()
    assert all(position.qty.is_finite() for position in account.positions.values())
    assert account.held("TSLA") >= 0


@briefly
@given(data=st.data())
def test_any_request(data: st.DataObject) -> None:
    sim = simulation()
    rest = unlimited(sim)
    for _ in range(4):
        pattern = data.draw(st.sampled_from(sorted(PATHS)))
        path = pattern.format(*(data.draw(odd_texts) for _ in range(2)))
        names = st.sampled_from((*PATHS[pattern], "other"))
        query = {"start": "2026-11-18"} | data.draw(st.dictionaries(names, odd_texts | st.text(max_size=8), max_size=3))
        method = data.draw(st.sampled_from(("GET", "GET", "POST", "PATCH", "DELETE", "PUT")))
        answer = rest.handle(method, path, query, KEYS, data.draw(bodies(ORDER)))
        assert 200 <= answer.status < 500
        assert answer.status == 204 or answer.body
    assert_sound(sim)


def test_one_odd_text_anywhere() -> None:
    sim = simulation()
    rest = unlimited(sim)
    for pattern, names in PATHS.items():
        for text in TEXTS:
            queries: list[dict[str, str]] = [{}] if "{}" in pattern else []
            queries += [{name: text} for name in names]
            for query in queries:
                answer = rest.handle(
                    "GET", pattern.format(text, text), {"symbols": "TSLA", "start": "2026-11-18"} | query, KEYS
                )
                assert 200 <= answer.status < 500, (pattern, query)


@fuzz
@given(data=st.data())
def test_any_order(data: st.DataObject) -> None:
    """Bodies only: what is refused is refused in words, and what is taken leaves the account sound."""
    sim = simulation()
    rest = unlimited(sim)
    ids = []
    orders = bodies(ORDER, ORDER | {"type": "market"}, OCO, BRACKET, TRAILING)
    good = [] if data.draw(st.booleans()) else [written(MARKET), written(data.draw(st.sampled_from((OCO, TRAILING))))]
    for seconds, body in enumerate([*good, *(data.draw(orders) for _ in range(3))], start=1):
        answer = rest.handle("POST", "/v2/orders", {}, KEYS, body)
        assert answer.status in (200, 400, 403, 422)
        sim.advance(OPEN + MINUTE + seconds * SECOND)
        if answer.status == 200:
            order = msgspec.json.decode(answer.body)
            ids += [order["id"], *(leg["id"] for leg in order["legs"] or ())]
        else:
            assert msgspec.json.decode(answer.body)["message"]
    for order_id in ids:
        changes = ({"stop_price": "99.50"}, {"limit_price": "101.50"}, {"trail": "1"})
        change = bodies(ORDER, *changes) | st.sampled_from([written(good) for good in changes])
        assert rest.handle("PATCH", f"/v2/orders/{order_id}", {}, KEYS, data.draw(change)).status < 500
    sim.advance(OPEN + 3 * MINUTE)
    assert_sound(sim)
    for nested in ("true", "false"):
        assert rest.handle("GET", "/v2/orders", {"status": "all", "nested": nested}, KEYS).status == 200


ABSURD = (*TEXTS, "1e1000000", "1e-1000000", "-1e1000000", "0e1000000", "1E+999999999999999999", "9" * 5000, "\ud800",
          "x\udfffy", "\x1b[2J\r\n", "A" * 500_000)  # fmt: skip
RAW = (b"1e1000000", b"1e-1000000", b"-1e1000000", b"9" * 5000, b'"\\ud800"', b'"\xed\xa0\x80"', b"NaN", b"Infinity",
       b"1e999", b"1e99999999999999999999", b"[" * 10_000, b'{"a":' * 1000)  # fmt: skip


def test_one_absurd_value_anywhere_in_an_order() -> None:
    """Text or number, sent or changed: refused in a few words, and the account stays sound."""
    sim = simulation()
    rest = unlimited(sim)
    taken = rest.handle("POST", "/v2/orders", {}, KEYS, written(ORDER | {"limit_price": "90"}))
    working = msgspec.json.decode(taken.body)
    names = (*ORDER, "stop_price", "notional", "position_intent", "take_profit", "trail_price", "trail")
    for number, name in enumerate(names):
        for place, value in enumerate((*map(written, ABSURD), *RAW)):
            fields = ORDER | {"client_order_id": f"{number}-{place}"}
            fields.pop(name, None)
            body = written(fields)[:-1] + b', "' + name.encode() + b'": ' + value + b"}"
            for method, path in (("POST", "/v2/orders"), ("PATCH", f"/v2/orders/{working['id']}")):
                answer = rest.handle(method, path, {}, KEYS, body)
                assert answer.status in (200, 400, 403, 404, 422), (name, value[:50])
                assert len(answer.body) < 5_000
                msgspec.json.decode(answer.body)
    assert_sound(sim)


def test_one_absurd_value_anywhere_in_a_leg() -> None:
    """A take-profit or a stop loss, or a price in it: refused in a few words, and no order is left over."""
    sim = simulation()
    rest = unlimited(sim)
    rest.handle("POST", "/v2/orders", {}, KEYS, written(MARKET))
    sim.advance(OPEN + 2 * MINUTE)
    for value in (*map(written, ABSURD), *RAW):
        for leg, name in (("take_profit", "limit_price"), ("stop_loss", "stop_price"), ("stop_loss", "limit_price")):
            inner = OCO[leg] | {name: None}
            inside = written(inner)[:-1] + b', "' + name.encode() + b'": ' + value + b"}"
            for absurd in (value, inside):
                body = written({key: told for key, told in OCO.items() if key != leg})[:-1]
                body += b', "' + leg.encode() + b'": ' + absurd + b"}"
                answer = rest.handle("POST", "/v2/orders", {}, KEYS, body)
                if answer.status != 200:  # an empty limit price makes a plain stop
                    assert answer.status in (400, 422), (leg, name, value[:50])
                    assert len(answer.body) < 5_000
                    assert msgspec.json.decode(answer.body)["message"]
                    continue
                sim.engine.cancel(msgspec.json.decode(answer.body)["id"])
                sim.engine.settle_cancels()
    assert_sound(sim)
    assert sim.engine.open_orders() == []


def test_one_absurd_value_anywhere_in_a_question() -> None:
    sim = simulation()
    rest = unlimited(sim)
    for pattern, names in PATHS.items():
        for text in ABSURD:
            queries = [{}, *({name: text} for name in names)]
            for method in ("GET", "DELETE"):
                for query in queries:
                    answer = rest.handle(method, pattern.format(text, text), {"symbols": "TSLA"} | query, KEYS)
                    assert 200 <= answer.status < 500, (pattern, query)
                    assert answer.status == 200 or len(answer.body) < 5_000, (pattern, list(query))


@briefly
@given(data=st.data())
def test_any_message_to_a_stream(data: st.DataObject) -> None:
    sent: list[str | bytes] = []
    packed = data.draw(st.booleans())
    sessions = (
        OrderStreamClient(Access(), sent.append, lambda: None, packed=packed),
        DataStreamClient(Access(), sent.append, lambda: None, feed="iex", packed=packed, claim=lambda _: True),
        PolygonStreamClient(Access(), sent.append, lambda: None, claim=lambda _: None),
    )
    login = {"action": "auth", "key": "K", "secret": "S", "params": "P"}
    frames = bodies(
        login,
        {"action": "listen", "data": {"streams": ["trade_updates"]}},
        {"action": "subscribe", "params": "AM.A,T.A"},
        {"action": "subscribe", "bars": ["AAPL"], "trades": ["*"]},
        {"action": "unsubscribe", "bars": ["AAPL"]},
    )
    for session in sessions:
        session.receive(msgspec.json.encode(login))
        for _ in range(3):
            frame = data.draw(frames)
            session.receive(frame)
            session.receive(frame.decode(errors="replace"))
            session.receive(msgspec.msgpack.encode(data.draw(scalars.filter(_packable))))
            session.flush()


def _packable(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**64


FILE = """timestamp,open,high,low,close,volume
2014-06-05 09:30:00-04:00,100.0,101.0,99.5,100.5,1200
2014-06-05 09:31:00-04:00,100.5,100.9,100.1,100.2,900
"""
cells = st.sampled_from([text for text in ODD_TEXTS if "\n" not in text]) | st.text(max_size=10)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    rows = [row.split(",") for row in FILE.splitlines()]
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.sampled_from(rows))
        change = draw(st.sampled_from(("cell", "shorter", "longer", "row")))
        if change == "cell" and row:
            row[draw(st.integers(0, len(row) - 1))] = draw(cells)
        elif change == "shorter" and row:
            row.pop()
        elif change == "longer":
            row.append(draw(cells))
        else:
            rows.append(list(row))
    whole = "\n".join(",".join(row) for row in rows).encode(errors="replace")
    at = draw(st.integers(0, len(whole)))
    return whole[:at] + draw(st.sampled_from((b"", b"", b"\xff", b"\x00", b'"', b"\r", b"\xef\xbb\xbf"))) + whole[at:]


@fuzz
@given(content=files() | st.binary(max_size=60))
def test_any_file_of_bars(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "AAPL_20140605.csv"
    path.write_bytes(content)
    try:
        days = load([path], None)
    except UserError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
        return
    for symbols in days.values():
        for bars in symbols.values():
            assert [bar.start for bar in bars] == sorted({bar.start for bar in bars})
            assert all(0 < bar.low <= bar.open <= bar.high < 1e300 and bar.volume > 0 for bar in bars)


OPTIONS = (
    "--lot",
    "--algo",
    "--feed",
    "--live",
    "--wait",
    "--debug",
    "--speed",
    "--seed",
    "--session",
    "--replay",
    "--",
    "-x",
    "--on-exit",
)
VARIABLES = (
    "APCA_API_KEY_ID",
    "APCA_API_SECRET_KEY",
    "APCA_API_BASE_URL",
    "APCA_API_DATA_URL",
    "APCA_API_STREAM_URL",
    "POLYGON_API_KEY",
    "POLYGON_WS_URL",
    "POLYGON_BASE_URL",
    "SCALP_SPEED",
)
words = st.sampled_from(
    ("TSLA", "aapl", "BRK.B", "60", "2026-11-20", "iex", "polygon", "keep", "flatten", "a:B", *ODD_TEXTS)
) | st.text(max_size=8)
addresses = st.sampled_from(
    (
        "http://127.0.0.1:1",
        "https://paper-api.alpaca.markets",
        "https://api.alpaca.markets/v2",
        "http://[::1",
        "http://[::1]:x",
        "wss://x",
        "http://10.0.0.1",
        "http://127.0.0.1:99999",
        "//",
        "https://u:p@h",
        "ws://localhost:1/stocks",
    )
)


@fuzz
@given(data=st.data())
def test_any_arguments_and_environment(data: st.DataObject) -> None:
    arguments = data.draw(st.lists(st.sampled_from(OPTIONS) | words, max_size=6))
    arguments = [word for word in arguments if not word.startswith(("-h", "--h"))]
    environ = data.draw(st.dictionaries(st.sampled_from(VARIABLES), words | addresses, max_size=6))
    try:
        settings = read_settings(arguments, environ)
    except UserError as error:
        secrets = [environ.get(name, "") for name in ("APCA_API_SECRET_KEY",)]
        assert not any(len(secret) > 8 and secret in str(error) and secret not in arguments for secret in secrets)
        return
    assert settings.symbols
    assert 0 < settings.lot <= 10**9
    assert settings.speed is None or 0 < settings.speed < 1e6
