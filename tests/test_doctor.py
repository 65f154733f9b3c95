"""The doctor: a line a check, exit codes, and not one request that changes anything."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scalp import doctor
from scalp.cli.settings import Endpoints
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE
from scalp.doctor import BAD, OK, WARNING, Check, Doctor, check_versions
from scalp.exchange.matching import Engine
from scalp.exchange.orders import OrderRequest
from scalp.exchange.rest import Access
from scalp.exchange.server import ExchangeServer
from tests.trading import AT_100, OPEN, Outcome, Script, exchange, minutes, page, run, says, status

ROOT = Path(__file__).resolve().parents[1]
KEY_ID, SECRET = "PKDOCTORTEST", "the+secret/of=the+doctor"
ACCESS = Access(keys={KEY_ID: SECRET})
TWO = {symbol: minutes(symbol, *[AT_100] * 30) for symbol in ("TSLA", "AAPL")}
LATER = 630  # seconds after the open: ten bars


class Examined:
    """What the doctor said, by the name of the check."""

    def __init__(self, checks: Sequence[Check], script: Script) -> None:
        self.checks = {check.name: check for check in checks}
        self.script = script

    def status(self, name: str) -> str:
        return self.checks[name].status

    def text(self, name: str) -> str:
        return self.checks[name].text

    @property
    def bad(self) -> list[str]:
        return [name for name, check in self.checks.items() if check.status != OK]


def examine(
    *symbols: str,
    script: Script | None = None,
    market: Mapping[str, Sequence[Bar]] = TWO,
    start: int = LATER,
    access: Access = ACCESS,
    before: Callable[[ExchangeServer], None] = lambda server: None,
    pointed: Callable[[Endpoints], Endpoints] = lambda endpoints: endpoints,
    **more: Any,
) -> Examined:
    script = script or Script()
    checks: list[Check] = []

    async def story() -> None:
        async with exchange(market, script, 30, start, access) as (server, endpoints):
            before(server)
            await Doctor(pointed(endpoints), symbols, checks.append, **more).run()

    run(story())
    assert {request.what.split()[0] for request in script.requests} == {"GET"}  # whatever is found: nothing is changed
    text = json.dumps(checks)
    assert KEY_ID not in text
    assert SECRET not in text
    return Examined(checks, script)


def with_rule(what: str, *outcomes: Outcome, times: int = 1) -> Script:
    script = Script()
    script.on(what, *outcomes, times=times)
    return script


def test_everything_is_in_place() -> None:
    found = examine("TSLA", "AAPL")
    assert found.bad == []
    assert list(found.checks) == ["keys", "account", "clock", "session", "TSLA", "AAPL", "bars", "orders",
                                  "order stream", "data stream"]  # fmt: skip
    assert found.text("account") == "ACTIVE, equity $100000, buying power $400000"
    assert found.text("session") == "the market is open until 10:00 New York (an early close)"
    assert found.text("bars") == "sip: TSLA 10, AAPL 10 on 2026-11-20"
    assert found.text("order stream") == "open, and nobody else uses it"
    assert found.text("data stream").startswith("alpaca sip: bars and trades; ")
    assert len(found.script.requests) <= 12


def test_the_streams_are_left_again() -> None:
    async def story() -> None:
        async with exchange(TWO, Script(), 30, LATER, ACCESS) as (server, endpoints):
            for _ in range(2):
                checks: list[Check] = []
                await Doctor(endpoints, ["TSLA"], checks.append).run()
                assert [check for check in checks if check.status != OK] == []
                assert server.clients() == []

    run(story())


def test_without_symbols_the_account_is_looked_at() -> None:
    found = examine()
    assert found.bad == []
    assert "no symbols" in found.text("orders")


# -- keys and account -------------------------------------------------------------------------------------------------


def test_wrong_keys() -> None:
    found = examine("TSLA", access=Access(keys={"PKOTHER": "other"}), pointed=lambda e: Endpoints(
        e.trading_url, e.data_url, e.data_stream_url, KEY_ID, SECRET))  # fmt: skip
    assert list(found.checks) == ["keys"]
    assert found.status("keys") == BAD
    assert "refused them (401): copy APCA_API_KEY_ID and APCA_API_SECRET_KEY again" in found.text("keys")


@pytest.mark.parametrize(
    ("here", "there", "advice"),
    [("PAPER_URL", "LIVE_URL", "belong to a live account: add --live"),
     ("LIVE_URL", "PAPER_URL", "belong to a paper account: leave --live out")],
)  # fmt: skip
def test_keys_of_the_other_environment(monkeypatch: pytest.MonkeyPatch, here: str, there: str, advice: str) -> None:
    checks: list[Check] = []

    async def story() -> None:
        strict = Access(keys={"PKOTHER": "other"})
        async with (
            exchange(TWO, Script(), access=strict) as (refuses, _),
            exchange(TWO, Script(), access=ACCESS) as (knows, endpoints),
        ):
            monkeypatch.setattr(doctor, here, refuses.url)
            monkeypatch.setattr(doctor, there, knows.url)
            wrong = Endpoints(refuses.url, endpoints.data_url, endpoints.data_stream_url, KEY_ID, SECRET)
            await Doctor(wrong, ["TSLA"], checks.append).run()

    run(story())
    (keys,) = checks
    assert keys.status == BAD
    assert advice in keys.text


def test_a_server_that_echoes_the_keys_gets_them_into_no_line() -> None:
    echo = status(400, f"request by {KEY_ID} with {SECRET}")
    found = examine("TSLA", script=with_rule("GET /v2/positions", echo))
    assert "request by *** with ***" in found.text("orders")


def test_nobody_answers() -> None:
    found = examine("TSLA", script=with_rule("GET /v2/account", page(503)))
    assert list(found.checks) == ["keys"]
    assert "HTTP 503" in found.text("keys")


def test_an_address_where_nobody_listens() -> None:
    nowhere = Endpoints("http://127.0.0.1:1", "http://127.0.0.1:1", "ws://127.0.0.1:1", KEY_ID, SECRET)
    checks: list[Check] = []
    run(Doctor(nowhere, ["TSLA"], checks.append).run())
    (keys,) = checks
    assert (keys.name, keys.status) == ("keys", BAD)
    assert keys.text.startswith("127.0.0.1:1 cannot be reached (GET /account: ")
    assert keys.text.endswith("): check the network and APCA_API_BASE_URL")


def test_a_blocked_account() -> None:
    account = {"id": "1", "status": "ACTIVE", "equity": "5", "buying_power": "5", "trading_blocked": True}
    found = examine("TSLA", script=with_rule("GET /v2/account", says(account)))
    assert found.bad == ["account"]
    assert "trading_blocked" in found.text("account")
    found = examine("TSLA", script=with_rule("GET /v2/account", says({"id": "1", "status": "ACCOUNT_CLOSED"})))
    assert "status ACCOUNT_CLOSED" in found.text("account")


def test_no_buying_power() -> None:
    found = examine("TSLA", script=with_rule("GET /v2/account", says({"status": "ACTIVE", "buying_power": "0"})))
    assert found.bad == ["account"]
    assert "no buying power" in found.text("account")


# -- time -------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_loopback", lambda host: False)
    right = OPEN / 1e9 + LATER
    assert examine(machine_time=lambda: right + 0.5).text("clock").endswith("by +0.5 s")
    found = examine(machine_time=lambda: right - 90)
    assert found.status("clock") == WARNING
    assert "-90 s off: set it (NTP)" in found.text("clock")


def test_the_market_is_closed() -> None:
    found = examine("TSLA", start=-3600)
    assert "opens on Friday 2026-11-20 09:30" in found.text("session")
    assert found.status("bars") == WARNING  # none on the day before, which this exchange has not
    assert "2026-11-19" in found.text("bars")
    assert found.text("data stream") == "not tried: the market is closed"


# -- symbols and market data ------------------------------------------------------------------------------------------


def test_an_unknown_symbol() -> None:
    found = examine("TSLA", "NOPE")
    assert found.bad == ["NOPE"]
    assert "no such symbol" in found.text("NOPE")


def test_many_symbols_are_one_listing() -> None:
    names = [f"S{number}" for number in range(30)]
    found = examine(*names, "NOPE", market={name: minutes(name, *[AT_100] * 30) for name in names})
    assert found.bad == ["NOPE"]
    assert len(found.script.requests) <= 8


def test_a_symbol_that_cannot_be_traded() -> None:
    asset = {"symbol": "TSLA", "name": "Tesla", "status": "inactive", "tradable": False}
    found = examine("TSLA", script=with_rule("GET /v2/assets/TSLA", says(asset)))
    assert found.bad == ["TSLA"]
    assert "cannot be traded" in found.text("TSLA")


def test_a_symbol_without_bars() -> None:
    found = examine("TSLA", "AAPL", market={**TWO, "AAPL": []}, start=1000)
    assert found.bad == ["bars"]
    assert "none of AAPL" in found.text("bars")


def test_a_feed_that_is_not_in_the_plan() -> None:
    found = examine("TSLA", access=Access(keys={KEY_ID: SECRET}, sip=False))
    assert found.bad == ["bars", "data stream"]
    for name in found.bad:
        assert "--feed iex is free" in found.text(name)


def test_a_delayed_feed() -> None:
    old = [bar for bar in TWO["TSLA"] if bar.start < OPEN + 3 * MINUTE]
    found = examine("TSLA", market={"TSLA": old}, start=1200)
    assert found.bad == ["bars"]
    assert "the newest is 17 minutes old" in found.text("bars")


def test_more_symbols_than_the_plan_takes() -> None:
    found = examine("TSLA", "AAPL", access=Access(keys={KEY_ID: SECRET}, symbol_limit=1))
    assert found.bad == ["data stream"]
    assert "no bars of AAPL" in found.text("data stream")


# -- others on the same account ---------------------------------------------------------------------------------------


def test_open_orders_and_positions_are_told() -> None:
    def trade(server: ExchangeServer) -> None:
        engine: Engine = server.simulation.engine
        engine.submit(OrderRequest(symbol="TSLA", side="buy", type="market", qty=Decimal(4)))

    found = examine("TSLA", before=trade)
    assert found.bad == ["orders"]
    assert found.status("orders") == WARNING
    assert "TSLA: buy 4 market" in found.text("orders") or "TSLA: 4 held" in found.text("orders")


def test_a_short_position() -> None:
    row = {"symbol": "TSLA", "qty": "-5", "avg_entry_price": "100"}
    found = examine("TSLA", script=with_rule("GET /v2/positions", says([row])))
    assert found.status("orders") == BAD
    assert "short in TSLA" in found.text("orders")


def test_another_process_on_the_same_key() -> None:
    class Busy(Script):
        def handshake(self, kind: str) -> bool:
            return kind == "orders"

        def login(self, kind: str) -> bool:
            return True

    found = examine("TSLA", script=Busy())
    assert found.bad == ["order stream", "data stream"]
    for name in found.bad:
        assert "another process" in found.text(name)


def to_polygon(e: Endpoints) -> Endpoints:
    return Endpoints(e.trading_url, e.data_url, e.data_stream_url, e.key_id, e.secret_key, "polygon",
                     e.trading_url, e.trading_url.replace("http", "ws") + "/stocks", "polygon-key")  # fmt: skip


def test_a_wrong_key_for_polygon() -> None:
    found = examine("TSLA", access=Access(keys={KEY_ID: SECRET}, polygon_key="another"), pointed=to_polygon)
    assert found.bad == ["bars"]
    assert found.text("bars").endswith("check POLYGON_API_KEY and its plan")


def test_no_server_makes_it_wait_for_an_hour() -> None:
    found = examine("TSLA", script=with_rule("GET /v2/aggs/", status(429, Retry_After="3600"), times=99),
                    pointed=to_polygon)  # fmt: skip
    assert found.status("bars") == BAD
    assert found.script.requests[-1].at < 30


def test_polygons_stream_is_left_alone() -> None:
    """There the newest connection throws out the older one: the running bot's."""

    class Counts(Script):
        kinds: list[str] = []  # noqa: RUF012

        def handshake(self, kind: str) -> bool:
            self.kinds.append(kind)
            return False

    script = Counts()
    found = examine("TSLA", script=script, pointed=to_polygon)
    assert found.bad == []
    assert found.text("bars") == "polygon: TSLA 10 on 2026-11-20"
    assert script.kinds == ["orders"]


# -- versions and the command -----------------------------------------------------------------------------------------


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    def locked(**packages: str) -> Check:
        entries = {name.replace("_", "-"): {"version": f"=={found}"} for name, found in packages.items()}
        (tmp_path / "Pipfile.lock").write_text(json.dumps({"default": entries}))
        return check_versions(tmp_path)

    assert check_versions(tmp_path).status == WARNING
    assert locked(alpaca_trade_api="3.2.0").status == OK
    other = locked(alpaca_trade_api="3.1.0")
    assert other.status == WARNING
    assert "alpaca-trade-api 3.2.0 (locked: 3.1.0): run pipenv sync" in other.text
    missing = locked(no_such_package="1.0")
    assert missing.status == BAD
    assert "no-such-package" in missing.text


def doctor_says(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "scalp.doctor", *arguments], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, **environ}, timeout=60)  # fmt: skip


def test_the_command_against_an_exchange_on_loopback() -> None:
    async def story() -> None:
        async with exchange(TWO, Script(), 30, LATER, ACCESS) as (server, _):
            env = server.environment()
            plain, told = await asyncio.gather(
                asyncio.to_thread(doctor_says, "TSLA", "--feed", "sip", **env),
                asyncio.to_thread(doctor_says, "NOPE", "--json", **env),
            )
        assert plain.returncode in (0, 1), plain.stderr  # two at once may be in each other's way at the streams
        assert "ok       keys" in plain.stdout
        answer = json.loads(told.stdout)
        assert told.returncode == 1
        assert answer["ok"] is False
        assert {"name": "NOPE", "status": "bad"}.items() <= next(
            check for check in answer["checks"] if check["name"] == "NOPE"
        ).items()
        assert plain.stderr == told.stderr == ""
        for key in (KEY_ID, SECRET):
            assert key not in plain.stdout + told.stdout

    asyncio.run(story())


@pytest.mark.parametrize("environ", [{}, {"APCA_API_KEY_ID": KEY_ID}])
def test_no_keys_and_half_a_pair(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["TSLA"], environ) == 1
    out, err = capsys.readouterr()
    assert "bad      keys" in out
    assert "set " in out
    assert KEY_ID not in out + err
    assert err == ""


@pytest.mark.parametrize("wrong", [["--jso"], ["TS LA"], ["--feed", "yahoo"]])
def test_what_is_not_understood_is_exit_code_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(wrong, {}) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
