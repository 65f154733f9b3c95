"""The start, and waiting for it: what is asked once and answered badly is asked again, and ends nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scalp.core.clock import new_york
from scalp.core.errors import UserError
from scalp.core.units import MINUTE
from scalp.exchange.rest import Response
from scalp.live.startup import Startup
from scalp.live.trader import Trader
from tests.live.test_hours import CALENDAR, CLOCK, calendar_says, clock_says, holds_10, told
from tests.trading import (
    AROUND_100,
    AT_100,
    OPEN,
    Handle,
    Idle,
    Outcome,
    Script,
    exchange,
    hangs,
    minutes,
    never_arrives,
    page,
    run,
    says,
    settings,
    status,
    trading,
)

ACCOUNT, TSLA = "GET /v2/account", "GET /v2/assets/TSLA"
QUIET = {"TSLA": minutes("TSLA", *[AT_100] * 30)}
MARKET = {"TSLA": minutes("TSLA", *[AROUND_100] * 30)}
FREE = {"id": "x", "status": "ACTIVE"}


async def ordinary(handle: Handle) -> Response:
    return handle()


def between(since: float, until: float, trouble: Outcome, script: Script, else_: Outcome = ordinary) -> Outcome:
    """Trouble between these seconds after the start, and another answer before and after."""

    async def answer(handle: Handle) -> Response | None:
        return await (trouble if since <= script.now() < until else else_)(handle)

    return answer


# -- asked once, asked again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        says({"id": "x", "status": "ACTIVE", "trading_blocked": True}),
        says({"id": "x", "status": "ONBOARDING"}),
        says({"id": "x", "status": None}),
        says({"id": "x"}),
        says([]),
        says("ACTIVE"),
    ],
)
def test_an_account_that_is_free_a_minute_later_buys_then(answer: Outcome, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        script.on(ACCOUNT, answer, times=2)
        async with trading(MARKET, script, before=holds_10) as bot:
            await bot.until(115)
            assert "the account is blocked" in bot.algo().entry_blocks.why
            await bot.until(1190)
            asked = [round(r.at) for r in script.requests if r.what == ACCOUNT]
            assert asked == [0, 60, 120]  # and not again
        assert told(script)[0].endswith("sell limit")  # what was held is on offer from the start

    with caplog.at_level(logging.INFO):
        run(story())
    assert caplog.text.count("no buys, what is held is managed") == 1
    assert caplog.text.count("the account is free") == 1


def test_asset_that_can_be_traded_minute_later_is_bought_then(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        halted = {"symbol": "TSLA", "name": "Tesla", "exchange": "NASDAQ", "status": "active", "tradable": False}
        script.on(TSLA, says(halted), says(halted), status(500), times=1)
        async with trading(QUIET, script, Idle) as bot:
            await bot.until(150)
            assert "TSLA cannot be traded now" in bot.algo().entry_blocks.why
            await bot.until(200)
            assert not bot.algo().entry_blocks.why
            assert [round(r.at) for r in script.sent(TSLA)] == [0, 60, 120, 180]

    with caplog.at_level(logging.INFO):
        run(story())
    assert caplog.text.count("TSLA cannot be traded now: no buys in it") == 1
    assert caplog.text.count("TSLA is Tesla") == 1


@pytest.mark.parametrize("call", [ACCOUNT, TSLA])
@pytest.mark.parametrize("trouble", [status(500), never_arrives, hangs(60)])
async def test_lasting_trouble_holds_up_the_start_for_seconds(call: str, trouble: Outcome) -> None:
    script = Script()
    script.on(call, between(0, 100, trouble, script), times=999)
    async with trading(MARKET, script, before=holds_10) as bot:
        assert 5 < script.now() < 24
        await bot.until(60)
        assert [line.partition(" ")[2] for line in told(script)] == ["sell limit"]
        assert bot.algo().entry_blocks.why
        await bot.until(900)
        assert not bot.algo().entry_blocks


def but_for(symbol: str) -> Outcome:
    """The listing of assets lacks this one."""

    async def answer(handle: Handle) -> Response:
        return await says([row for row in json.loads(handle().body) if row["symbol"] != symbol])(handle)  # type: ignore

    return answer


def test_assets_that_cannot_be_listed_at_start_are_listed_later(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        script.on("GET /v2/assets", between(0, 90, status(500), script, but_for("S9")), times=99)
        market = {f"S{number}": minutes(f"S{number}", AT_100) for number in range(20)}
        async with trading(market, script, Idle) as bot:
            await bot.until(100)
            assert "what S7 stands for is not known yet" in bot.algo("S7").entry_blocks.why
            await bot.until(400)
            assert not any("asset" in algo.entry_blocks for algo in bot.session.fleet.algos.values())
        assert [r.what for r in script.sent("GET /v2/assets/")] == ["GET /v2/assets/S9"]  # which is not listed

    run(story())
    assert caplog.text.count("what 20 symbols stand for is not known yet") == 1


async def test_keys_refused_at_an_unawaited_start_are_the_users() -> None:
    script = Script()
    script.on(CALENDAR, status(403, "forbidden."))
    with pytest.raises(UserError, match=r"refused the keys .* a paper account"):
        async with opened(script):
            pass


# -- waiting ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(script: Script, start: int = 0, wait: bool = False) -> AsyncIterator[Trader]:
    """A session that was opened, begun so many seconds after the open."""
    async with exchange(QUIET, script, start=start) as (_, endpoints):
        startup = Startup(settings("TSLA", wait=wait), endpoints, Idle)
        try:
            session = await startup.open()
            assert session is not None
            yield session
        finally:
            await startup.close()


@pytest.mark.parametrize(
    "trouble",
    [
        status(500),
        status(401, "unauthorized."),
        status(403, "forbidden."),
        status(404),
        page(502),
        never_arrives,
        hangs(60),
        says({}),
        says([]),
        says({"timestamp": "x", "is_open": "y", "next_open": 1, "next_close": None}),
    ],
)
@pytest.mark.parametrize(("since", "until"), [(3600, 3631), (1, 6500), (1, 7195)])
def test_trouble_of_the_clock_at_night_is_waited_out(
    trouble: Outcome, since: float, until: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        script = Script()
        script.on(CLOCK, between(since, until, trouble, script), times=9999)
        async with opened(script, wait=True, start=-7200) as session:
            assert 0 <= session.clock.now() - OPEN < 2e9
            assert len(script.sent(CLOCK)) < 140

    run(story())
    assert 1 <= caplog.text.count("waiting for the open") <= 11


def test_clock_that_stays_away_at_open_leaves_it_to_calendar(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        script.on(CLOCK, between(1, 9999, status(500), script), times=9999)
        async with opened(script, wait=True, start=-7200) as session:
            assert 10e9 <= session.clock.now() - OPEN < 80e9
            assert "the clock says that the market is closed" in session.fleet.algos["TSLA"].entry_blocks.why

    run(story())
    assert caplog.text.count("waiting for the open") < 12


async def test_a_clock_that_says_open_at_night_is_not_believed() -> None:
    script = Script()
    script.on(CLOCK, clock_says(is_open=True), times=9999)
    async with opened(script, wait=True, start=-3600) as session:
        assert 0 <= session.clock.now() - OPEN < 2e9
        assert "the calendar" not in session.fleet.algos["TSLA"].entry_blocks.why


async def test_open_clock_at_ordinary_hour_is_believed_for_exits() -> None:
    script = Script()
    script.on(CALENDAR, says([]), times=9)
    async with opened(script, wait=True, start=300) as session:
        assert 59 <= script.now() < 62
        assert "the calendar has no session now" in session.fleet.algos["TSLA"].entry_blocks.why


async def test_clock_that_says_open_once_on_holiday_begins_nothing() -> None:
    script = Script()
    script.on(CALENDAR, says([]), times=999)
    closed = clock_says(is_open=False)
    script.on(CLOCK, closed, clock_says(is_open=True), closed, times=999)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20_000), opened(script, wait=True, start=300):
            pass


async def test_a_closed_clock_is_overruled_by_the_calendar() -> None:
    script = Script()
    script.on(CLOCK, clock_says(is_open=False), times=9999)
    async with opened(script, wait=True, start=-3600) as session:
        assert 10e9 <= session.clock.now() - OPEN < 13e9


@pytest.mark.parametrize("call", [CALENDAR, ACCOUNT, TSLA])
@pytest.mark.parametrize("trouble", [status(401), status(500), hangs(60)])
async def test_after_waiting_nothing_that_is_asked_ends_the_start(call: str, trouble: Outcome) -> None:
    script = Script()
    script.on(call, trouble, times=99)
    async with opened(script, wait=True, start=-60) as session:
        assert session.clock.now() - OPEN < 42e9
        assert session.fleet.algos["TSLA"].entry_blocks.why


async def test_a_machine_that_slept_at_night_is_in_time_for_the_open() -> None:
    script = Script()
    script.on(CLOCK, clock_says(ahead=-3000))
    async with opened(script, wait=True, start=-5400):
        assert script.now() < 5403


async def test_wrong_keys_are_told_at_once_also_to_whom_waits() -> None:
    script = Script()
    script.on(CLOCK, status(401, "unauthorized."))
    with pytest.raises(UserError, match="refused the keys"):
        async with opened(script, wait=True, start=-60):
            pass
    assert script.now() < 1


async def test_a_network_that_comes_late_is_waited_for() -> None:
    script = Script()
    script.on(CLOCK, between(0, 300, never_arrives, script), times=999)
    async with opened(script, wait=True, start=-600) as session:
        assert session.clock.now() - OPEN < 2e9


# -- a start within the session ---------------------------------------------------------------------------------------


async def test_a_start_under_a_closed_clock_looks_after_holdings() -> None:
    script = Script()
    script.on(CLOCK, clock_says(is_open=False), times=2)
    async with trading(QUIET, script, Idle, start=300, before=holds_10) as bot:
        assert "the clock says that the market is closed" in bot.algo().entry_blocks.why
        await bot.until(70)
        assert not bot.algo().entry_blocks.why
    assert [line.partition(" ")[2] for line in told(script)] == ["sell limit"]


async def test_where_calendar_and_clock_say_closed_it_is() -> None:
    script = Script()
    script.on(CLOCK, clock_says(is_open=False), times=9)
    script.on(CALENDAR, says([]), times=9)
    async with exchange(QUIET, script, start=300) as (_, endpoints):
        startup = Startup(settings("TSLA"), endpoints, Idle)
        assert await startup.open() is None
        await startup.close()


async def test_a_half_day_of_the_calendar_counts_from_the_start() -> None:
    script = Script()
    script.on(CALENDAR, calendar_says(closes="13:00"), times=99)
    async with trading(QUIET, script, Idle, length=390) as bot:
        session = bot.session.fleet.session
        assert session is not None
        assert f"{new_york(session.close):%H:%M}" == "13:00"
        assert session.liquidate_at == session.close - 5 * MINUTE


async def test_neither_a_calendar_nor_a_close_is_an_error() -> None:
    script = Script()
    script.on(CALENDAR, page(502), times=99)
    script.on(CLOCK, clock_says(closes=90000), times=99)
    with pytest.raises(UserError, match="tells when the session closes"):
        async with opened(script):
            pass
