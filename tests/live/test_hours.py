"""The market's hours: what becomes of a session when the clock says one thing, and calendar or market data another."""

from __future__ import annotations

import datetime as dt
import json
import logging
from decimal import Decimal
from typing import Any

import pytest

from scalp.core.algo import SELL_SUBMITTED
from scalp.core.clock import new_york
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.matching import Engine
from scalp.exchange.orders import OrderRequest
from scalp.exchange.rest import Response
from tests.trading import (
    AROUND_100,
    AT_100,
    FALLING,
    OPEN,
    Bot,
    Handle,
    Idle,
    Outcome,
    Script,
    minutes,
    page,
    run,
    says,
    status,
    trading,
)

CLOCK, CALENDAR = "GET /v2/clock", "GET /v2/calendar"
LOW = (90.0, 90.0, 90.0, 90.0)
BUY_FILLS = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING, *[LOW] * 20)}  # at 120 s; the sell at 100 stands
THEN_NOTHING = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING[:3])}  # the last print is of 300 s
QUIET = {"TSLA": minutes("TSLA", *[AT_100] * 60)}


def clock_says(is_open: bool | None = None, ahead: float = 0.0, closes: float | None = None) -> Outcome:
    """The clock's own answer, but for what is given: time `ahead` in seconds, the close in seconds after the open."""

    async def answer(handle: Handle) -> Response:
        told = json.loads(handle().body)
        at = dt.datetime.fromisoformat(told["timestamp"][:19] + told["timestamp"][-6:])
        told["timestamp"] = (at + dt.timedelta(seconds=ahead)).isoformat()
        if is_open is not None:
            told["is_open"] = is_open
        if closes is not None:
            told["next_close"] = new_york(OPEN + round(closes * SECOND)).isoformat()
        return Response(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    return answer


def calendar_says(opens: str = "09:30", closes: str = "16:00") -> Outcome:
    return says([{"date": "2026-11-20", "open": opens, "close": closes}])


def holds_10(engine: Engine) -> None:
    """Bought before the bot came, at 100."""
    for _ in range(2):
        engine.on_trade("TSLA", engine.now, 100.0, 1e6)
        if not engine.account.held("TSLA"):
            engine.submit(OrderRequest("TSLA", "buy", qty=Decimal(10)))
            engine.advance(engine.now + SECOND // 10)
    engine.advance(engine.now + SECOND)
    assert engine.account.held("TSLA") == 10


def told(script: Script, since: float = 0.0) -> list[str]:
    """What was sent and cancelled since then: "120 buy limit", "912 cancel"."""
    lines = []
    for request in script.requests:
        if request.at < since:
            continue
        if request.what == "POST /v2/orders":
            lines.append(f"{request.at:.0f} {request.body['side']} {request.body['type']}")
        elif request.what.startswith("DELETE /v2/orders/"):
            lines.append(f"{request.at:.0f} cancel")
    return lines


def session_of(bot: Bot) -> tuple[str, str]:
    """Open and close as the fleet has them."""
    session = bot.session.fleet.session
    assert session is not None
    return f"{new_york(session.open):%H:%M:%S}", f"{new_york(session.close):%H:%M:%S}"


# -- a clock that says closed -----------------------------------------------------------------------------------------


def test_a_closed_clock_while_bars_go_on_stops_buys_briefly(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(299)
            assert bot.session._take_bar == bot.session.fleet.on_bar  # with nothing between
            script.on(CLOCK, clock_says(is_open=False), times=999)
            await bot.until(300.1)
            assert bot.session._take_bar != bot.session.fleet.on_bar
            assert bot.algo().entry_blocks.why == "the clock says that the market is closed"
            await bot.until(310)
            assert not bot.algo().entry_blocks.why  # prints have come
            await bot.until(1215)
            assert bot.jobs[2].done()
            assert session_of(bot) == ("09:30:00", "09:50:00")
        assert told(script) == ["120 buy limit", "120 sell limit", "900 cancel", "900 sell market"]

    run(story())
    assert caplog.text.count("the clock says that the market is closed") == 1
    assert caplog.text.count("is not believed") == 1


def test_a_clock_that_says_closed_once_is_asked_again_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        async with trading(QUIET, script, Idle) as bot:
            await bot.until(299)
            bot.server.mute_streams("data")
            script.on(CLOCK, clock_says(is_open=False))
            await bot.until(301)
            assert bot.algo().entry_blocks.why
            await bot.until(303)
            assert not bot.algo().entry_blocks.why

    run(story())
    assert "says open again" in caplog.text


def test_where_nothing_is_traded_any_more_market_may_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is sent or cancelled from then on, also when it is time to liquidate; the calendar's close ends it."""

    async def story() -> None:
        script = Script()
        async with trading(THEN_NOTHING, script) as bot:
            await bot.until(329)
            script.on(CLOCK, clock_says(is_open=False), times=999)
            await bot.until(449)
            assert not bot.session.fleet.orders.no_orders()
            await bot.until(452)
            assert bot.session.fleet.orders.no_orders() == "the market may be closed"
            await bot.until(1199)
            assert bot.algo().state is SELL_SUBMITTED  # the exit was never touched
            assert not bot.jobs[2].done()
            await bot.until(1201)
            assert bot.jobs[2].done()
            assert not bot.session.fleet.orders.shut
            await bot.session.finish()
            assert bot.engine.open_orders() == []
        assert told(script) == ["120 buy limit", "120 sell limit", "1200 cancel"]  # once it has ended

    with caplog.at_level(logging.ERROR):
        run(story())
    assert [r.getMessage() for r in caplog.records if "nothing was traded" in r.getMessage()] == [
        "the clock says that the market is closed, and nothing was traded for 120 s: nothing is sent or cancelled "
        "until one of them changes"
    ]


async def test_what_is_parked_is_cancelled_at_the_end() -> None:
    """The calendar's close comes before the exchange's, which would end the order."""

    script = Script()
    script.on(CALENDAR, calendar_says(closes="09:45"), times=99)
    async with trading(THEN_NOTHING, script) as bot:
        await bot.until(329)
        script.on(CLOCK, clock_says(is_open=False), times=999)
        await bot.until(899)
        assert not bot.jobs[2].done()
        await bot.until(901)
        assert bot.jobs[2].done()
        await bot.session.finish()
        assert bot.engine.open_orders() == []
    assert told(script, 130) == ["900 cancel"]


def test_a_sell_ended_in_a_pause_goes_anew_after_it(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        async with trading(THEN_NOTHING, script) as bot:
            await bot.until(329)
            script.on(CLOCK, clock_says(is_open=False), times=40)  # until 690 s or so
            await bot.until(500)
            (sell,) = bot.engine.open_orders()
            bot.engine.cancel(sell.id)
            bot.server.catch_up()
            await bot.until(650)
            assert told(script, 130) == []
            await bot.until(750)
            (sale,) = told(script, 130)
            assert sale.endswith("sell limit")

    run(story())
    assert "refused" not in caplog.text


async def test_a_minute_begun_before_only_lengthens_the_wait() -> None:
    def bar(minute: int) -> Bar:
        return Bar("TSLA", OPEN + minute * MINUTE, 90.0, 90.0, 90.0, 90.0, 100.0)

    script = Script()
    async with trading(THEN_NOTHING, script) as bot:
        await bot.until(329)
        script.on(CLOCK, clock_says(is_open=False), times=999)
        await bot.until(361)
        bot.session.on_bar(bar(5))
        assert bot.algo().entry_blocks.why == "the clock says that the market is closed"
        await bot.until(475)
        assert not bot.session.fleet.orders.shut
        await bot.until(485)
        assert bot.session.fleet.orders.shut
        bot.session.on_bar(bar(7))
        assert not bot.session.fleet.orders.shut
        assert "clock" not in bot.algo().entry_blocks


async def test_an_execution_tells_of_an_open_market_too() -> None:
    """The market data are dead, and the exit is filled."""

    script = Script()
    up = minutes("TSLA", AT_100, AT_100, *FALLING[:3], LOW, LOW, (101.0, 101.0, 101.0, 101.0), *[LOW] * 8)
    async with trading({"TSLA": up}, script) as bot:
        await bot.until(329)
        bot.server.mute_streams("data")
        script.on(CLOCK, clock_says(is_open=False), times=999)
        await bot.until(415)
        assert "clock" in bot.algo().entry_blocks
        await bot.until(425)
        assert bot.held() == 0
        assert "clock" not in bot.algo().entry_blocks


@pytest.mark.parametrize("again", ["data", "clock"])
async def test_all_goes_on_as_soon_as_data_come_or_clock_says_open(again: str) -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(300)
        bot.server.mute_streams("data")
        feed: Any = bot.session.feed
        feed._silence = feed._stale_after = None
        answers = 999 if again == "data" else 61
        script.on(CLOCK, clock_says(is_open=False), times=answers)
        await bot.until(910)
        if again == "data":
            assert told(script, 130) == []  # it was time to liquidate at 900
            bot.server.mute_streams("data", False)
        await bot.until(1000)
        (cancel, sale) = told(script, 130)
        assert cancel.endswith("cancel") and sale.endswith("sell market")
        assert bot.held() == 0


async def test_a_close_that_the_calendar_confirms_is_believed() -> None:
    script = Script()
    async with trading(QUIET, script, Idle) as bot:
        await bot.until(299)
        script.on(CLOCK, clock_says(is_open=False), times=999)
        script.on(CALENDAR, calendar_says(closes="09:35"), times=9)
        await bot.until(340)
        assert bot.jobs[2].done()


# -- another close ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", [600, 1500, 90000])
def test_the_clock_alone_does_not_move_the_close(closes: float, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(180)
            script.on(CLOCK, clock_says(closes=closes), times=999)
            await bot.until(800)
            assert session_of(bot) == ("09:30:00", "09:50:00")
            assert 10 <= len(script.sent(CALENDAR)) <= 12  # once a minute
        assert told(script, 130) == []

    run(story())
    assert caplog.text.count("asking it again") == 1


@pytest.mark.parametrize(("closes", "calendar"), [(600, "09:40"), (1500, "09:55"), (1530, "09:55")])
def test_a_close_that_the_calendar_confirms_is_followed(
    closes: float, calendar: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        script = Script()
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(180)
            script.on(CLOCK, clock_says(closes=closes), times=999)
            script.on(CALENDAR, calendar_says(closes=calendar), times=999)
            await bot.until(205)
            assert session_of(bot)[1] == calendar + ":00"
            await bot.until(275)
            assert session_of(bot)[1] == f"{new_york(OPEN + round(closes) * SECOND):%H:%M:%S}"  # to the second

    run(story())
    assert "the session closes at" in caplog.text


async def test_a_calendar_that_fails_is_asked_again_soon() -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(180)
        script.on(CLOCK, clock_says(closes=600), times=999)
        script.on(CALENDAR, page(502), times=3)
        script.on(CALENDAR, calendar_says(closes="09:40"), times=999)
        await bot.until(245)
        assert session_of(bot)[1] == "09:40:00"


async def test_a_close_half_a_minute_away_is_believed_of_the_clock() -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(180)
        script.on(CLOCK, clock_says(closes=1170), times=999)
        await bot.until(1000)
        assert session_of(bot)[1] == "09:49:30"
        assert len(script.sent(CALENDAR)) == 1
    assert told(script, 130) == ["870 cancel", "870 sell market"]


async def test_the_calendars_close_counts_from_the_start() -> None:
    script = Script()
    script.on(CALENDAR, calendar_says(closes="09:40"), times=999)
    async with trading(QUIET, script, Idle) as bot:
        assert session_of(bot) == ("09:30:00", "09:40:00")
        await bot.until(601)
        assert bot.jobs[2].done()


# -- open by the clock alone ------------------------------------------------------------------------------------------


async def test_without_a_session_holdings_are_sold_nothing_bought() -> None:
    script = Script()
    script.on(CALENDAR, says([]), times=5)
    async with trading({"TSLA": minutes("TSLA", *[AROUND_100] * 20)}, script, before=holds_10) as bot:
        assert session_of(bot) == ("00:00:00", "09:50:00")
        await bot.until(200)
        assert bot.algo().entry_blocks.why == "the calendar has no session now"
        assert [line.partition(" ")[2] for line in told(script)] == ["sell limit"]
        await bot.until(400)  # the calendar has come to its senses
        assert session_of(bot) == ("09:30:00", "09:50:00")
        assert not bot.algo().entry_blocks.why


async def test_session_by_clock_alone_has_clocks_close_and_end() -> None:
    script = Script()
    script.on(CALENDAR, says([]), times=99)
    async with trading(QUIET, script, Idle) as bot:
        await bot.until(100)
        script.on(CLOCK, clock_says(closes=50), clock_says(closes=900), times=9)
        await bot.until(130)
        assert not bot.jobs[2].done()
        assert session_of(bot)[1] == "09:45:00"
        script.on(CLOCK, clock_says(is_open=False), times=99)
        await bot.until(240)
        assert bot.jobs[2].done()


async def test_without_a_calendar_another_close_has_to_be_told_twice() -> None:
    script = Script()
    script.on(CALENDAR, page(502), times=999)
    async with trading({"TSLA": minutes("TSLA", *[AROUND_100] * 20)}, script, before=holds_10) as bot:
        await bot.until(20)
        script.on(CLOCK, clock_says(closes=31))
        await bot.until(100)
        assert session_of(bot) == ("00:00:00", "09:50:00")
        assert [line.partition(" ")[2] for line in told(script)] == ["sell limit"]
        script.on(CLOCK, clock_says(closes=900), times=9)
        await bot.until(200)
        assert session_of(bot) == ("00:00:00", "09:45:00")


async def test_without_a_calendar_the_clock_serves_until_it_answers() -> None:
    script = Script()
    script.on(CALENDAR, page(502), times=12)  # at 0, 1, 3, 7 s, and every 10 s in the background
    async with trading(QUIET, script, Idle, before=holds_10) as bot:
        assert 5 < script.now() < 31
        assert session_of(bot) == ("00:00:00", "09:50:00")
        await bot.until(60)
        assert len(told(script)) == 1  # what is held is on offer
        assert bot.algo().entry_blocks.why == "the calendar has not answered yet"
        await bot.until(160)
        assert session_of(bot) == ("09:30:00", "09:50:00")
        assert not bot.algo().entry_blocks.why


# -- another time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [620, -100, 3600, 86400])
def test_a_clock_that_leaps_is_not_believed_while_bars_go_on(ahead: float, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(299)
            script.on(CLOCK, clock_says(ahead=ahead), times=999)
            await bot.until(880)
            assert abs(bot.session.clock.now() - bot.server.now()) < SECOND
        assert told(script) == ["120 buy limit", "120 sell limit"]
        assert len(script.sent(CLOCK)) < 100

    run(story())
    assert caplog.text.count("not believed") == 1


async def test_a_leap_between_two_prints_has_to_wait_for_the_next() -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(306)  # the next is of 315 s
        script.on(CLOCK, clock_says(ahead=620), times=999)
        await bot.session.hours.check()
        assert bot.session.clock.now() == bot.server.now()
        await bot.until(880)
    assert told(script, 130) == []


async def test_a_leap_believed_in_silence_is_taken_back_by_a_bar() -> None:
    script = Script()
    prices = minutes("TSLA", *[AT_100] * 20)
    async with trading({"TSLA": [*prices[:2], *prices[12:]]}, script, Idle, length=60) as bot:
        await bot.until(500)
        script.on(CLOCK, clock_says(ahead=600), times=9999)
        await bot.until(550)
        assert bot.session.clock.now() - bot.server.now() > 599 * SECOND
        await bot.until(790)
        assert bot.session.clock.now() - bot.server.now() < SECOND


async def test_a_creeping_clock_is_followed_for_a_minute_at_most() -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(299)
        for step in range(1, 60):
            script.on(CLOCK, clock_says(ahead=50.0 * step))
        await bot.until(800)
        assert bot.session.clock.now() - bot.server.now() < 61 * SECOND
    assert told(script, 130) == []


async def test_a_true_leap_is_believed_as_soon_as_a_bar_tells_it_too() -> None:
    """The machine slept for five minutes: its own time stood still, and the exchange's went on."""

    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(299)
        clock = bot.session.clock
        clock._offset -= 300 * SECOND  # type: ignore[operator]
        clock._vouched -= 300 * SECOND
        await bot.until(340)
        assert abs(clock.now() - bot.server.now()) < SECOND


FULL_DAY = 390
MORNING = {"TSLA": minutes("TSLA", *[AT_100] * 70)}


@pytest.mark.parametrize("says", [15 * 3600 + 56 * 60, 15 * 3600 + 59 * 60 + 10])
def test_clock_wrong_from_start_neither_liquidates_nor_ends(says: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is 10:16, and the clock says 15:56 or 15:59:10."""

    async def story() -> None:
        script = Script()
        script.on(CLOCK, clock_says(ahead=says - 10 * 3600 - 16 * 60), times=9999)
        async with trading(MORNING, script, Idle, length=FULL_DAY, start=46 * 60, before=holds_10) as bot:
            assert "clock and market data differ" in bot.algo().entry_blocks.why
            await bot.until(900)
            assert not bot.jobs[2].done()
            assert not bot.algo().entry_blocks.why
            assert abs(bot.session.clock.now() - bot.server.now()) < 10 * SECOND
        assert [line.partition(" ")[2] for line in told(script)] == ["sell limit"]

    run(story())
    assert "nothing is bought or liquidated until they agree" in caplog.text
    assert "by bars and trades, and was" in caplog.text


def test_a_clock_behind_gives_way_to_bars_from_its_future(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        script = Script()
        script.on(CLOCK, clock_says(ahead=-600), times=9999)
        async with trading(QUIET, script, Idle, start=620, before=holds_10) as bot:
            await bot.until(270)  # 890 s after the open
            assert abs(bot.session.clock.now() - bot.server.now()) < 10 * SECOND
            await bot.until(320)
        assert [line.partition(" ")[2] for line in told(script)] == ["sell limit", "cancel", "sell market"]

    run(story())
    assert "by bars and trades, and was" in caplog.text


async def test_late_start_with_right_clock_sells_at_market_at_once() -> None:
    script = Script()
    async with trading(QUIET, script, Idle, start=950, before=holds_10) as bot:
        await bot.until(10)
        assert bot.held() == 0
    (sale,) = told(script)
    assert sale.endswith("sell market")


def outcomes(*of: Outcome) -> Outcome:
    """One after the other, then the last one."""
    left = list(of)

    async def answer(handle: Handle) -> Response | None:
        return await (left.pop(0) if len(left) > 1 else left[0])(handle)

    return answer


async def test_trouble_of_the_clock_in_mid_session_changes_nothing() -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(150)
        nonsense: Any = says({"timestamp": "yesterday"})
        script.on(CLOCK, outcomes(status(401), page(502), nonsense, says([])), times=9999)
        await bot.until(1205)
        assert bot.jobs[2].done()
    assert told(script) == ["120 buy limit", "120 sell limit", "900 cancel", "900 sell market"]
