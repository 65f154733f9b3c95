"""The order-update stream: both sides of the conversation, and everything the sink is told."""

import json
import random
from decimal import Decimal

import pytest

from scalp.alpaca.updates import OrderUpdates
from scalp.core.orders import OrderReport
from tests.wire.fakes import KEY, SECRET, Talk, Told, endpoints, run, scripted

AUTHORIZED = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
UNAUTHORIZED = {"stream": "authorization", "data": {"status": "unauthorized", "action": "authenticate"}}
LISTENING = {"stream": "listening", "data": {"streams": ["trade_updates"]}}

ORDER = {
    "id": "c1e9", "client_order_id": "scalp-AAPL-1-7", "status": "partially_filled", "symbol": "AAPL", "side": "buy",
    "type": "limit", "qty": "11", "filled_qty": "4", "filled_avg_price": "178.41", "limit_price": "178.42",
    "submitted_at": "2026-11-20T15:31:00Z", "time_in_force": "day", "legs": None,
}  # fmt: skip
PARTIAL_FILL = {
    "event": "partial_fill", "execution_id": "7a0b", "timestamp": "2026-11-20T15:31:00.573918402Z", "price": "178.41",
    "qty": "4", "position_qty": "4", "order": ORDER,
}  # fmt: skip
REPORT = OrderReport(
    "AAPL", "c1e9", "scalp-AAPL-1-7", "buy", "limit", "partially_filled", Decimal(11), Decimal(4), Decimal("178.41"),
    Decimal("178.42"), 1_795_188_660_000_000_000, None, None, "day", "partial_fill", "7a0b", Decimal("178.41"),
    Decimal(4), 1_795_188_660_573_918_402,
)  # fmt: skip


def update(**data: object) -> dict[str, object]:
    return {"stream": "trade_updates", "data": data}


async def logged_in(talk: Talk) -> None:
    assert talk.path == "/stream"
    assert await talk.hears() == {"action": "auth", "key": KEY, "secret": SECRET}
    await talk.says(AUTHORIZED)
    assert await talk.hears() == {"action": "listen", "data": {"streams": ["trade_updates"]}}


def played(*scripts: object) -> list[object]:
    told = Told()

    async def session() -> None:
        async with scripted(*scripts) as server:  # type: ignore[arg-type]
            await server.against(OrderUpdates(endpoints(server.url + "/"), told, random.Random(1)))

    run(session())
    return told.all


def test_updates_in_any_frames_around_the_listening_answer() -> None:
    async def script(talk: Talk) -> None:
        await logged_in(talk)
        # An update may overtake the answer.
        await talk.says(update(**PARTIAL_FILL), LISTENING)
        await talk.says(json.dumps(update(**PARTIAL_FILL)).encode())
        await talk.stays(5)

    assert played(script) == [REPORT, "up", REPORT, "down: stopped"]


def test_nothing_a_server_may_send_stops_the_reading() -> None:
    async def script(talk: Talk) -> None:
        await logged_in(talk)
        await talk.says(LISTENING, "not json", b"\xff\xfe", [], 5, {}, {"stream": "trade_updates"})
        await talk.says({"stream": "account_updates", "data": {}}, update(event="fill"), update(order=None))
        await talk.says(update(event="held", order={"id": "x", "status": "brand_new", "qty": [], "symbol": None}))
        await talk.says(update(**{**PARTIAL_FILL, "price": 178.41, "qty": 4, "unknown": {"a": []}}))
        await talk.stays(5)

    assert played(script) == [
        "up",
        OrderReport("", "x", "", "", "", "brand_new", event="held"),
        REPORT,
        "down: stopped",
    ]


def test_hours_of_silence_are_normal() -> None:
    async def script(talk: Talk) -> None:
        await logged_in(talk)
        await talk.says(LISTENING)
        await talk.stays(4 * 3600)
        await talk.says(update(**PARTIAL_FILL))
        await talk.stays(1)

    assert played(script) == ["up", REPORT, "down: stopped"]


def test_refused_keys_are_retried_and_only_variables_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refusing(talk: Talk) -> None:
        await talk.hears()
        await talk.says(UNAUTHORIZED)
        await talk.stays(5)

    async def script(talk: Talk) -> None:
        await logged_in(talk)
        await talk.says(LISTENING)
        await talk.stays(5)

    assert played(refusing, refusing, script) == ["up", "down: stopped"]
    assert "refused the keys: check APCA_API_KEY_ID and APCA_API_SECRET_KEY" in caplog.text
    assert KEY not in caplog.text and SECRET not in caplog.text


def test_another_connection_holding_the_slot_is_waited_for() -> None:
    async def elsewhere(talk: Talk) -> None:
        await talk.hears()
        words = "your connection is rejected while another connection is open under the same account"
        await talk.says({"stream": "authorization", "data": {"status": "unauthorized", "message": words}})
        await talk.stays(5)

    async def mute(talk: Talk) -> None:
        await talk.stays(100)

    async def wrong_answer(talk: Talk) -> None:
        await logged_in(talk)
        await talk.says({"stream": "listening", "data": {"streams": []}})
        await talk.stays(5)

    async def script(talk: Talk) -> None:
        await logged_in(talk)
        await talk.says(LISTENING)
        await talk.stays(5)

    assert played(429, 429, elsewhere, mute, wrong_answer, script) == ["up", "down: stopped"]
