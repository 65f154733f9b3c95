"""One session at the exchange: its start, its clock, its history, its end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import scalp
from scalp.core.algo import SELL_SUBMITTED, TO_BUY, TO_SELL
from scalp.core.clock import MarketClock, new_york
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.matching import Engine
from scalp.exchange.rest import Access
from scalp.live.startup import Startup
from tests.trading import (
    ABOVE_100,
    AROUND_100,
    AT_100,
    FALLING,
    OPEN,
    BuysOnce,
    Idle,
    Outcome,
    Script,
    exchange,
    hangs,
    late,
    minutes,
    never_arrives,
    page,
    run,
    says,
    settings,
    slow,
    status,
    trading,
)

QUIET = {"TSLA": minutes("TSLA", *[AT_100] * 30)}
BUY_FILLS = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING)}


def the_time(seconds: float, *, is_open: bool = True, closes: float = 1200) -> Outcome:
    """The clock's answer, `seconds` after the open."""

    def text(at: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S-05:00", time.gmtime(OPEN / 1e9 + at - 5 * 3600))

    return says({"timestamp": text(seconds), "is_open": is_open, "next_open": text(86400), "next_close": text(closes)})


async def opened(script: Script, *symbols: str, market: Any = None, **more: Any) -> tuple[Startup, bool]:
    """A start that was closed again, and whether the market was open."""
    async with exchange(market or {symbol: [] for symbol in symbols}, script) as (_, endpoints):
        startup = Startup(settings(*symbols, **more), endpoints, Idle)
        try:
            return startup, await startup.open() is not None
        finally:
            await startup.close()


# -- the start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 5, 100])
async def test_the_start_takes_at_most_12_requests_and_one_of_history(count: int) -> None:
    symbols = [f"S{number}" for number in range(count)]
    script = Script()
    async with trading({symbol: minutes(symbol, AT_100) for symbol in symbols}, script, Idle) as bot:
        await bot.until(29)
        assert bot.session.fleet.readiness.is_ready
        history = script.sent("GET /v2/stocks/bars")
        assert len(history) == 1
        assert len(script.requests) - len(history) == {1: 9, 3: 11, 5: 9, 100: 9}[count]


async def test_the_market_is_closed() -> None:
    script = Script()
    script.on("GET /v2/clock", the_time(-3600, is_open=False))
    _, is_open = await opened(script, "TSLA")
    assert not is_open
    assert len(script.requests) == 1


def test_wait_sleeps_until_the_exchange_says_that_it_is_open(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()

        def before_the_open(engine: Engine) -> None:
            engine.session_open += 30 * SECOND
            engine.now = OPEN - 7200 * SECOND

        async with exchange(QUIET, script, start=-7200) as (_, endpoints):
            startup = Startup(settings("TSLA", wait=True), endpoints, Idle)
            try:
                assert await startup.open()
                assert 0 <= startup.clock.now() - OPEN < 2 * SECOND
                assert len(script.sent("GET /v2/clock")) <= 5
            finally:
                await startup.close()

    with caplog.at_level(logging.INFO):
        run(story())
    assert "waiting until Friday 2026-11-20 09:30 New York" in caplog.text


def test_a_wrong_clock_of_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        script = Script()
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(150)
            assert bot.algo().state is SELL_SUBMITTED
            assert abs(bot.session.clock.now() - bot.server.now()) < SECOND / 1000

    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    run(story())


def test_no_part_of_the_bot_asks_the_machines_own_clock() -> None:
    root = Path(scalp.__file__).parent
    asking = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"\btime\.time|datetime\.now|date\.today|utcnow", path.read_text())
    }
    # These are about the day it is, and doctor, lock and status about the machine's clock.
    by_the_day = {"exchange/__main__.py", "backtest/download.py", "report/__main__.py"}
    assert asking <= by_the_day | {"doctor.py", "live/lock.py", "live/health.py", "status.py"}


@pytest.mark.parametrize("wrong", [status(401, "unauthorized."), status(403, "forbidden."), page(401)])
@pytest.mark.parametrize("call", ["GET /v2/clock", "GET /v2/account", "GET /v2/assets/TSLA"])
async def test_wrong_keys_are_told_at_once(call: str, wrong: Outcome) -> None:
    script = Script()
    script.on(call, wrong)
    with pytest.raises(UserError, match=r"refused the keys .* a paper account"):
        await opened(script, "TSLA")
    assert script.now() < 1


@pytest.mark.parametrize("trouble", [status(500), page(502), status(429, Retry_After="1"), never_arrives, slow(11)])
async def test_passing_trouble_at_the_start_is_waited_out(trouble: Outcome) -> None:
    script = Script()
    script.on("GET /v2/account", trouble, times=2)
    _, is_open = await opened(script, "TSLA")
    assert is_open
    assert len(script.sent("GET /v2/account")) in (2, 3)  # a slow one leaves time for two


@pytest.mark.parametrize("trouble", [status(500), hangs(60), never_arrives])
async def test_lasting_trouble_at_start_is_error_after_30_seconds(trouble: Outcome) -> None:
    script = Script()
    script.on("GET /v2/clock", trouble, times=1000)
    with pytest.raises(UserError, match="cannot be reached"):
        await opened(script, "TSLA")
    assert 20 <= script.now() <= 41


@pytest.mark.parametrize("others", [[], ["FB", "AAPL", "BAC", "AIG", "MSFT"]])
async def test_an_unknown_symbol_is_told_with_near_matches(others: list[str]) -> None:
    script = Script()
    market: dict[str, Any] = {symbol: [] for symbol in ["TSLA", *others]}
    with pytest.raises(UserError, match=r"^unknown symbol TSLAA: did you mean TSLA\?$"):
        await opened(script, "TSLAA", *others, market=market)


@pytest.mark.parametrize(
    ("account", "word"),
    [
        ({"status": "ACTIVE", "trading_blocked": True}, "trading_blocked"),
        ({"status": "ACTIVE", "account_blocked": True}, "account_blocked"),
        ({"status": "ACTIVE", "trade_suspended_by_user": True}, "trade_suspended_by_user"),
        ({"status": "ACCOUNT_CLOSED"}, "status ACCOUNT_CLOSED"),
    ],
)
def test_blocked_account_buys_nothing_and_manages_what_it_holds(
    account: dict[str, Any], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        script = Script()
        script.on("GET /v2/account", says({"id": "x", **account}), times=99)
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(180)
            assert script.orders("buy") == []
            assert word in bot.algo().entry_blocks.why

    run(story())
    assert f"the account is blocked ({word})" in caplog.text


def test_what_the_account_and_the_assets_are_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        script.on("GET /v2/account", says({"id": "x", "status": "ACTIVE", "equity": "900", "buying_power": "1800"}))
        script.on("GET /v2/assets/FB", says({"symbol": "FB", "name": "A Fund", "exchange": "BATS", "status": "active",
                                             "tradable": False}))  # fmt: skip
        async with trading({"TSLA": [], "FB": []}, script, Idle) as bot:
            assert bot.algo("FB").entry_blocks.why

    with caplog.at_level(logging.INFO):
        run(story())
    assert "equity $900, buying power $1800, made-up money" in caplog.text
    assert "buying power $1800 is less than lot x symbols = $2000" in caplog.text
    assert "FB is A Fund (BATS)" in caplog.text
    assert "FB cannot be traded now" in caplog.text


@pytest.mark.parametrize("power", [None, "", "NaN", "much", 5e5])
async def test_an_account_with_odd_fields_is_no_trouble(power: object) -> None:
    script = Script()
    script.on("GET /v2/account", says({"id": "x", "status": "ACTIVE", "buying_power": power}))
    _, is_open = await opened(script, "TSLA")
    assert is_open


# -- history ----------------------------------------------------------------------------------------------------------


class Patient(BuysOnce):
    """Needs more bars than it takes to wait for a hole to be left behind."""

    warmup_bars = 5


async def test_nothing_is_bought_before_todays_bars_are_in() -> None:
    script = Script()
    script.on("GET /v2/stocks/bars", status(500), times=5)
    async with trading(QUIET, script, Patient) as bot:
        await bot.until(59)
        assert bot.algo().entry_blocks.why == "today's bars are not here yet"
        await bot.until(134)
        assert bot.algo().entry_blocks.why == "a hole in today's bars: 5 new ones have to come"
        assert script.orders("buy") == []
        await bot.until(137)
        assert not bot.algo().entry_blocks.why
        asked = [r.at for r in script.sent("GET /v2/stocks/bars")]
        assert asked == pytest.approx([0, 5, 15, 35, 75, 135], abs=0.3)


@pytest.mark.parametrize("trouble", [status(401, "unauthorized."), status(500), says({"bars": {}})])
async def test_a_signal_over_a_hole_buys_nothing(trouble: Outcome, caplog: pytest.LogCaptureFixture) -> None:
    """The history of a reconnection cannot be had, or not yet: it is asked for again, and buys wait."""

    class BuysLate(BuysOnce):
        def _calculate_buy_signal(self) -> bool:
            return True

    script = Script()
    async with trading({"TSLA": minutes("TSLA", *[ABOVE_100] * 30)}, script, BuysLate) as bot:
        bot.session.fleet.block_entries("test", "not before the gap")
        await bot.until(299)
        script.handshake = lambda kind: kind == "data"  # type: ignore[method-assign]
        bot.server.close_streams("data")
        await bot.until(420)
        script.on("GET /v2/stocks/bars", trouble, times=2)
        script.on("GET /v2/stocks/trades/latest", status(404))
        script.handshake = lambda kind: False  # type: ignore[method-assign]
        while not bot.session.fleet.readiness.is_ready:
            await asyncio.sleep(0.1)
        bot.session.fleet.algos["TSLA"].entry_blocks.unblock("test")
        up_at = script.now()
        while bot.algo().entry_blocks.why:
            assert script.orders("buy") == []
            await asyncio.sleep(0.1)
        assert up_at + 3 < script.now() < up_at + 20
        starts = list(bot.algo().session_bars._starts)
        assert starts == [OPEN + i * MINUTE for i in range(len(starts))]


async def test_after_a_gap_bars_are_fetched_before_anything_is_bought() -> None:
    script = Script()
    async with trading(QUIET, script, Idle) as bot:
        await bot.until(299)
        script.handshake = lambda kind: kind == "data"  # type: ignore[method-assign]
        bot.server.close_streams("data")
        await bot.until(420)
        assert not bot.session.fleet.readiness.is_ready
        minutes_before = len(bot.algo().session_bars)
        script.on("GET /v2/stocks/bars", late(2))
        script.handshake = lambda kind: False  # type: ignore[method-assign]
        while not bot.session.fleet.readiness.is_ready:
            await asyncio.sleep(0.1)
        assert bot.algo().entry_blocks.why == "today's bars are not here yet"
        await asyncio.sleep(2.5)
        assert not bot.algo().entry_blocks.why
        assert len(bot.algo().session_bars) >= minutes_before + 2
        starts = list(bot.algo().session_bars._starts)
        assert starts == [OPEN + i * MINUTE for i in range(len(starts))]


async def test_gap_before_first_history_came_does_not_shorten_it() -> None:
    script = Script()
    script.on("GET /v2/stocks/bars", status(500), times=3)
    async with exchange(QUIET, script, start=600) as (server, endpoints):
        startup = Startup(settings("TSLA"), endpoints, Idle)
        session = await startup.open()
        assert session is not None
        feed = asyncio.ensure_future(session.feed.run())
        await asyncio.sleep(2)
        server.close_streams("data")
        await asyncio.sleep(60)
        assert len(session.fleet.algos["TSLA"].session_bars) >= 10
        session.over()
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
        await startup.close()


# -- health ------------------------------------------------------------------------------------------------------------


def test_trades_without_bars_stop_buys_until_bars_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class NoBars(Script):
        since, until = 300.0, 600.0

        def bar(self, bar: Bar) -> tuple[float, ...]:
            return () if self.since < self.now() < self.until else (0.0,)

    async def story() -> None:
        script = NoBars()
        async with trading({"TSLA": minutes("TSLA", *[AROUND_100] * 30)}, script, Idle) as bot:
            await bot.until(500)
            assert bot.session.feed.is_up  # a new connection, and trades on it
            assert bot.algo().entry_blocks.why == "no bars: trades come, and no bars for 150 s"
            await bot.until(665)
            assert bot.algo().entry_blocks.why == ""
            starts = list(bot.algo().session_bars._starts)
            assert starts == [OPEN + i * MINUTE for i in range(11)]  # those of the gap were fetched

    with caplog.at_level(logging.INFO):
        run(story())
    lines = [line for line in caplog.messages if "no bars for 150 s; next try" in line]
    assert len(lines) == 1
    assert "alpaca sip: no buys until bars come" in caplog.text and "alpaca sip: bars come again" in caplog.text


async def test_a_bar_from_before_its_time_is_a_gap() -> None:
    script = Script()
    async with trading(QUIET, script, Idle) as bot:
        await bot.until(215)
        asked = len(script.sent("GET /v2/stocks/bars"))
        bot.session.on_bar(Bar("TSLA", OPEN + 60 * MINUTE, *AT_100, 1000))
        await bot.until(239)
        assert len(script.sent("GET /v2/stocks/bars")) == asked  # all minutes but the one at work are there
        assert bot.algo().entry_blocks.why == "today's bars are not here yet"
        await bot.until(241)
        assert bot.algo().entry_blocks.why == ""


# -- time -------------------------------------------------------------------------------------------------------------


async def test_no_line_is_left_waiting_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async with trading({"AAPL": []}, Script()) as bot:
        bus = bot.session.fleet.bus
        assert bus.call_later is None  # this loop's time is its own
        bus.call_later = asyncio.get_running_loop().call_later
        bot.algo("AAPL").telling.warning("the last word")
        bus.settle()
        assert "the last word" not in caplog.messages
        bot.session.over()
        assert "the last word" in caplog.messages


async def test_checkups_lie_on_the_sessions_own_grid() -> None:
    async with trading(QUIET, Script(), Idle, length=20.2) as bot:  # closes at 1212, liquidates at 912
        session, waits = bot.session, []
        for at in (0, 0.02, 17, 29.99, 30, 611.5, 612, 615, 911.5, 912.25, 1209.75, 1211.9, 1212, 1213.5):
            clock = session._checkups._clock = MarketClock(lambda at=at: float(at))  # type: ignore[misc]
            clock.set(OPEN, 0, 0)
            waits.append(round(session.until_next_checkup(), 3))
        assert waits == [30, 29.98, 13, 0.01, 30, 0.5, 8, 5, 0.5, 0.75, 0.25, 0.1, 1, 0.5]


async def test_first_checkup_after_start_in_mid_minute_asks_and_looks() -> None:
    script = Script()
    async with trading(QUIET, script, Idle, start=17) as bot:
        await bot.until(12)
        before = [request.what for request in script.requests]
        await bot.until(14)  # 31 s after the open
        after = [request.what for request in script.requests[len(before) :]]
        asked = {what.partition("?")[0] for what in after}
        assert asked == {"GET /v2/clock", "GET /v2/orders", "GET /v2/positions"}


async def test_liquidation_begins_5_minutes_before_the_close_sharp() -> None:
    script = Script()
    async with trading(BUY_FILLS, script, length=20.2) as bot:
        await bot.until(1220)
        market = script.sent("POST /v2/orders", side="sell", type="market")
        (cancel,) = script.sent("DELETE /v2/orders/")
        assert cancel.at == pytest.approx(912, abs=0.01)
        assert [912 <= r.at < 912.5 for r in market] == [True]


async def test_a_close_that_is_past_already_is_an_answer_of_yesterday() -> None:
    script = Script()
    async with trading(BUY_FILLS, script, length=20) as bot:
        await bot.until(180)
        script.on("GET /v2/clock", the_time(180, closes=100), times=4)
        await bot.until(250)
        session = bot.session.fleet.session
        assert session is not None and session.close == OPEN + 1200 * SECOND


async def test_a_slow_answer_of_the_clock_moves_nothing() -> None:
    script = Script()
    async with trading(QUIET, script, Idle) as bot:
        await bot.until(20)
        script.on("GET /v2/clock", late(4))
        await bot.until(60)
        assert abs(bot.session.clock.now() - bot.server.now()) < SECOND / 100


# -- the end ----------------------------------------------------------------------------------------------------------


def drained(story: Callable[[Any], Any], market: Any, **more: Any) -> Script:
    script = Script()

    async def all_of_it() -> None:
        async with trading(market, script, **more) as bot:
            await story(bot)

    run(all_of_it())
    return script


def test_stopping_cancels_the_buy_and_takes_no_longer() -> None:
    async def story(bot: Any) -> None:
        await bot.until(130)
        await bot.session.drain()
        assert bot.script.now() < 130.5
        assert bot.engine.open_orders() == []
        assert bot.algo().state is TO_BUY
        assert not bot.session.tell_leftovers()

    drained(story, {"TSLA": minutes("TSLA", AT_100, AT_100, *[ABOVE_100] * 5)})


def test_shares_filled_while_stopping_get_their_sell(caplog: pytest.LogCaptureFixture) -> None:
    async def story(bot: Any) -> None:
        await bot.until(179.5)
        bot.script.on("DELETE /v2/orders/", slow(2.0))  # the fill is faster
        await bot.session.drain()
        assert bot.script.now() < 184
        assert bot.held() == 10
        assert bot.algo().state is SELL_SUBMITTED
        assert [order.side for order in bot.engine.open_orders()] == ["sell"]
        assert bot.session.tell_leftovers()

    drained(story, {"TSLA": minutes("TSLA", AT_100, AT_100, ABOVE_100, *FALLING)})
    assert "TSLA: 10 held at" in caplog.text
    assert "working: sell 10 limit 100" in caplog.text


def test_stopping_takes_4_seconds_at_most_and_says_what_is_open(caplog: pytest.LogCaptureFixture) -> None:
    async def story(bot: Any) -> None:
        bot.script.on("POST /v2/orders", hangs(100), times=99)
        bot.script.on("GET /v2/orders:by_client_order_id", page(502), times=99)
        await bot.until(121)
        await bot.session.drain()
        assert bot.script.now() == pytest.approx(125, abs=0.2)
        assert bot.session.tell_leftovers()

    script = drained(story, {"TSLA": minutes("TSLA", AT_100, AT_100, *[ABOVE_100] * 5)})
    assert len(script.orders("buy")) == 1
    assert "working: buy 10 limit 100.00 (outcome unknown)" in caplog.text


def test_after_the_close_the_broker_is_asked_what_is_left() -> None:
    """Also again: a position that only a listing knows of is believed when it has stood for a minute, and told."""

    async def story(bot: Any) -> None:
        await bot.until(1201)
        ghost = [{"symbol": "TSLA", "qty": "4", "side": "long", "avg_entry_price": "101.5"}]
        bot.script.on("GET /v2/positions", says(ghost), times=99)
        assert await bot.session.finish()
        assert bot.session.tell_leftovers()
        assert bot.script.now() < 1275
        assert bot.algo().state is TO_SELL
        assert bot.script.orders("sell") == []

    drained(story, QUIET, algo=Idle)


def test_after_the_close_silence_of_the_broker_ends_too(caplog: pytest.LogCaptureFixture) -> None:
    async def story(bot: Any) -> None:
        await bot.until(1201)
        bot.script.on("GET /v2/positions", hangs(1000), times=99)
        assert not await bot.session.finish()
        assert bot.script.now() < 1285

    drained(story, QUIET, algo=Idle)
    assert "not confirmed by the broker's listings" in caplog.text


def test_after_the_close_one_look_that_fails_is_not_the_last() -> None:
    async def story(bot: Any) -> None:
        await bot.until(1201)
        bot.script.on("GET /v2/positions", page(500), times=2)
        assert await bot.session.finish()
        assert bot.script.now() < 1230

    drained(story, QUIET, algo=Idle)


def test_after_close_listing_that_differs_for_while_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Shares held by executions are not dropped for a listing without them."""

    async def story(bot: Any) -> None:
        await bot.until(150)
        assert bot.algo().ledger.position == 10
        bot.script.on("POST /v2/orders", status(422, "asset TSLA is not tradable"), times=999)
        bot.script.on("GET /v2/positions", says([]), times=999)
        await bot.until(1201)
        assert not await bot.session.finish()
        assert bot.session.tell_leftovers()

    drained(story, {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING)})
    assert "TSLA: 10 held by its executions, 0 listed" in caplog.text


def test_less_than_a_share_counts_as_flat() -> None:
    async def story(bot: Any) -> None:
        await bot.until(29)
        bot.script.on("GET /v2/positions", says([{"symbol": "TSLA", "qty": "0.4", "avg_entry_price": "100"}]), times=99)
        await bot.until(120)
        assert bot.algo().ledger.position
        assert not bot.session.tell_leftovers()

    drained(story, QUIET, algo=Idle)


def test_a_symbol_limit_of_requests_is_no_reason_to_stop() -> None:
    """A start into an exhausted limit waits for it."""

    async def story(bot: Any) -> None:
        await bot.until(65)
        assert bot.session.fleet.readiness.is_ready

    drained(story, QUIET, algo=BuysOnce, access=Access(trading_limit=5))


async def test_the_earlier_close_of_clock_and_calendar_counts() -> None:
    script = Script()
    script.on("GET /v2/calendar", says([{"date": "2026-11-20", "open": "09:30", "close": "09:40"}]))
    async with trading({"TSLA": []}, script, Idle) as bot:
        session = bot.session.fleet.session
        assert session is not None
        assert f"{new_york(session.close):%H:%M}" == "09:40"
    script.on("GET /v2/calendar", says([]))
    async with trading({"TSLA": []}, script, Idle) as bot:
        session = bot.session.fleet.session
        assert session is not None
        assert (f"{new_york(session.open):%H:%M}", f"{new_york(session.close):%H:%M}") == ("00:00", "09:50")
