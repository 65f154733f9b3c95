"""Holes in the bars of the day: asked for until they are settled, and nothing is bought on them before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any

import pytest

from scalp.core.algo import ScalpAlgo
from scalp.core.clock import MarketClock
from scalp.core.commands import Action
from scalp.core.errors import Rejected, Unreachable, UserError
from scalp.core.fleet import Fleet
from scalp.core.market_data import Bar, Trade
from scalp.core.units import MINUTE, SECOND
from scalp.live.history import History
from scalp.net.virtual_time import JumpingLoop
from tests.helpers import SESSION, bar, clock

NOT_YET = "today's bars are not here yet"
HOLE = "a hole in today's bars: 3 new ones have to come"
UNAUTHORIZED = Rejected(401, 0, "unauthorized.")
NOT_ENTITLED = Rejected(403, 0, "no history of AAPL: You are not entitled to this data.")

# What the source knows of a symbol: a minute, and when it lists it.
Listing = dict[str, str]


class Three(ScalpAlgo):
    warmup_bars = 3

    def _calculate_buy_signal(self) -> bool:
        return False


class World:
    """A fleet, its source of history and the time; what was asked is in `asked`."""

    def __init__(self, *symbols: str, at: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.clock = MarketClock(self._loop.time)
        self.clock.set(clock(at), self._loop.time(), self._loop.time())
        self.fleet = Fleet([Three(symbol, Decimal(1000), "R") for symbol in symbols], self.clock.now, lambda _: None)
        self.fleet.begin_session(SESSION)
        self.heard: dict[str, float] = {}
        self.lists: dict[str, Listing] = {symbol: {} for symbol in symbols}
        self.troubles: list[Exception | None] = []  # of the next questions
        self.latest: dict[str, str] = {}  # time of the latest trade
        self.asked: list[str] = []
        self.asked_trades: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.holes = History(self.fleet, self, self.clock, self._start, self._hear_clock)  # type: ignore[arg-type]
        self.holes.begin()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(self._loop.create_task(work))
        return self.tasks[-1]

    async def _hear_clock(self) -> None:
        pass

    # The source.

    def streams_trades(self, symbol: str) -> bool:
        return symbol != "FB"

    def is_listed(self, symbol: str, *minutes: str, at: str = "09:30") -> None:
        self.lists[symbol] |= dict.fromkeys(minutes, at)

    async def history(self, symbols: Sequence[str], start: int, end: int) -> AsyncIterator[tuple[str, list[Bar]]]:
        now = self.clock.now()
        self.asked.append(f"{self.time()} {','.join(symbols)} from {self.time(start)}")
        if self.troubles and (trouble := self.troubles.pop(0)) is not None:
            raise trouble
        for symbol in symbols:
            yield (
                symbol,
                [
                    bar(100.0, minute, symbol)
                    for minute, listed_at in sorted(self.lists[symbol].items())
                    if start <= clock(minute) <= end - MINUTE and clock(listed_at) <= now
                ],
            )

    async def latest_trades(self, symbols: Sequence[str]) -> dict[str, Trade]:
        self.asked_trades.append(",".join(symbols))
        return {symbol: Trade(symbol, clock(self.latest[symbol]), 100.0) for symbol in symbols if symbol in self.latest}

    # What a test does.

    def time(self, at: int | None = None) -> str:
        seconds = ((self.clock.now() if at is None else at) - clock("00:00")) / SECOND
        whole = round(seconds)
        return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}".removesuffix(":00") or "00:00"

    async def until(self, text: str) -> None:
        await asyncio.sleep(max((clock(text) - self.clock.now()) / SECOND, 0.0))

    async def streams(self, minute: str, symbol: str = "AAPL") -> None:
        """The bar of a minute comes on the stream, 1 s after its end."""
        await asyncio.sleep(max((clock(minute) + MINUTE + SECOND - self.clock.now()) / SECOND, 0.0))
        self.heard["bars"] = self._loop.time()
        self.holes.on_bar(bar(100.0, minute, symbol))
        self.fleet.on_bar(bar(100.0, minute, symbol))

    def why(self, symbol: str = "AAPL") -> str:
        return self.fleet.algos[symbol].entry_blocks.get("history", "")

    def minutes(self, symbol: str = "AAPL") -> int:
        return len(self.fleet.algos[symbol].session_bars)


def story(tell: Callable[[World], Coroutine[Any, Any, None]], *symbols: str, at: str) -> World:
    """`tell` in a world of its own, connected at `at` for the first time."""
    worlds: list[World] = []

    async def told() -> None:
        world = World(*symbols or ("AAPL",), at=at)
        worlds.append(world)
        world.holes.on_feed_up()
        try:
            await tell(world)
        finally:
            for task in world.tasks:
                task.cancel()
            ended = await asyncio.gather(*world.tasks, return_exceptions=True)
        assert [error for error in ended if isinstance(error, Exception)] == []

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(told())
    return worlds[0]


MORNING = ("09:30", "09:31", "09:32")


def test_a_start_is_settled_with_the_newest_minute() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        assert world.why() == NOT_YET
        await world.until("09:33:06")
        assert world.why() == "" and world.minutes() == 3

    world = story(tell, at="09:33:05")
    assert world.asked == ["09:33:05 AAPL from 09:30"]
    assert world.asked_trades == []


def test_the_newest_minute_is_listed_late() -> None:
    """What was told is not asked for again; the stream's next bar proves nothing of the one before."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        world.is_listed("AAPL", "09:33", at="09:34:22")
        world.latest["AAPL"] = "09:32:30"  # late, too
        await world.until("09:34:20")
        assert world.why() == NOT_YET
        await world.until("09:34:24")
        assert world.why() == "" and world.minutes() == 4

    world = story(tell, at="09:34:02")
    assert world.asked == ["09:34:02 AAPL from 09:30", *(f"09:34:{s} AAPL from 09:33" for s in ("05", "11", "23"))]
    assert world.asked_trades == []


def test_the_stream_tells_of_the_newest_minute() -> None:
    """Where no minute before it is missing, and before its symbol decides on it."""
    seen: list[str] = []

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        algo = world.fleet.algos["AAPL"]
        on_bar = algo.on_bar

        def watched(bar: Bar, at: int) -> list[Action]:
            seen.append(world.why())
            return on_bar(bar, at)

        algo.on_bar = watched  # type: ignore[method-assign]
        await world.streams("09:33")
        assert world.why() == ""

    story(tell, at="09:34:00.5")
    assert seen == [""]


def test_stream_does_not_settle_what_lies_before_its_first_bar() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.streams("09:34")
        assert world.why() == NOT_YET  # 09:33 is missing
        await world.streams("09:35")
        assert world.why() == HOLE

    story(tell, at="09:34:05")


def test_an_older_latest_trade_shows_that_nothing_was_traded() -> None:
    """Half a minute after the hole's end: who is late with bars may be so with trades."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        world.latest["AAPL"] = "09:32:59.9"
        await world.until("09:38:29")
        assert world.why() == NOT_YET
        await world.until("09:38:42")
        assert world.why() == ""

    world = story(tell, at="09:38:05")
    assert len(world.asked) == 5 and world.asked_trades == ["AAPL"]


@pytest.mark.parametrize("latest", ["09:33:10", "09:31:30", None])
def test_a_latest_trade_that_proves_nothing(latest: str | None) -> None:
    """In a missing minute; older than a bar that was told of; none."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        if latest is not None:
            world.latest["AAPL"] = latest
        await world.until("09:34:50")
        assert world.why() == NOT_YET

    assert story(tell, at="09:34:05").asked_trades == ["AAPL"]


def test_a_hole_is_left_behind_when_enough_new_bars_have_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.until("09:35:06")
        assert world.why() == HOLE
        for minute in ("09:36", "09:37"):
            await world.streams(minute)
            assert world.why() == HOLE
        await world.streams("09:38")
        assert world.why() == ""

    world = story(tell, at="09:34:05")
    assert [asked.partition(" ")[0] for asked in world.asked][:9] == [
        "09:34:05", "09:34:08", "09:34:14", "09:34:26", "09:34:41", "09:34:56", "09:35:05", "09:35:20", "09:35:35",
    ]  # fmt: skip
    assert world.asked[-1] < "09:39"  # it is not asked for what does not matter any more
    assert "the newest bars of AAPL are not listed: no buys before enough new ones have come" in caplog.text


def test_a_source_that_tells_late_settles_a_hole_after_all() -> None:
    """Nothing was traded in 09:33, and the first trade came after the start: no latest trade can say so."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        world.is_listed("AAPL", "09:34", at="09:35:18")
        await world.until("09:35:06")
        assert world.why() == HOLE
        await world.until("09:35:21")
        assert world.why() == "" and world.minutes() == 4

    story(tell, at="09:34:05")


def test_source_goes_on_past_minute_in_which_nothing_was_traded() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        world.is_listed("AAPL", "09:34", at="09:35:01")
        await world.until("09:35:06")
        assert world.why() == "" and world.minutes() == 4

    story(tell, at="09:34:05")


@pytest.mark.parametrize("trouble", [UNAUTHORIZED, Rejected(403, 0, "forbidden."), Unreachable("GET: HTTP 500")])
def test_a_fetch_that_fails_is_made_again_and_again(trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        world.troubles = [trouble, trouble]
        await world.until("09:33:19")
        assert world.why() == NOT_YET
        await world.until("09:33:21")
        assert world.why() == ""

    world = story(tell, at="09:33:05")
    assert [asked.partition(" ")[0] for asked in world.asked] == ["09:33:05", "09:33:10", "09:33:20"]
    assert caplog.text.count(f"today's bars: {trouble}; again in ") == 2


def test_a_failing_fetch_goes_on_while_new_bars_are_awaited() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.streams("09:33")
        world.troubles = [Unreachable("down")] * 1000
        world.holes.on_feed_down()
        await world.until("09:40:30")
        world.holes.on_feed_up()
        await world.until("09:41:50")
        assert world.why() == HOLE
        for minute in ("09:41", "09:42"):
            await world.streams(minute)
        assert world.why() == HOLE
        await world.streams("09:43")
        assert world.why() == ""

    world = story(tell, at="09:33:05")
    assert len(world.asked) < 12


@pytest.mark.parametrize("no", [NOT_ENTITLED, UserError("this account's data plan has no recent bars")])
def test_what_the_plan_does_not_have_is_not_asked_for_again(no: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.until("09:33:06")
        world.troubles = [no] * 10
        world.holes.on_feed_down()
        await world.until("09:40:05")
        world.holes.on_feed_up()
        await world.until("09:40:06")
        assert world.why() == HOLE
        for minute in ("09:39", "09:40"):
            await world.streams(minute)
            assert world.why() == HOLE
        await world.streams("09:41")
        assert world.why() == ""

    world = story(tell, at="09:33:05")
    assert len(world.asked) == 2
    assert f"today's bars so far cannot be had ({no}): going on with those that come" in caplog.text


def test_without_known_bars_there_is_no_hole() -> None:
    """The signal waits for enough of them all the same, and once older ones are there it may have a hole to look at."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING[:2], at="09:33:10")
        world.is_listed("AAPL", MORNING[2], at="09:33:40")
        await world.until("09:33:06")
        assert (world.why(), world.minutes()) == ("", 0)
        await world.until("09:33:15")
        assert (world.why(), world.minutes()) == (NOT_YET, 2)
        await world.until("09:33:45")
        assert (world.why(), world.minutes()) == ("", 3)
        assert world.why("TSLA") == ""
        await world.until("09:40")

    world = story(tell, "AAPL", "TSLA", at="09:33:05")
    assert world.asked[-1] == "09:34:05 TSLA from 09:30"


def test_bars_that_only_stream_told_of_have_no_hole_before_them() -> None:
    """They come late, and leave some out, as on any day."""

    async def tell(world: World) -> None:
        await world.until("09:36:03")
        for minute in ("09:31", "09:33", "09:33"):
            world.holes.on_bar(bar(100.0, minute))
            world.fleet.on_bar(bar(100.0, minute))
            assert world.why() == ""
        world.holes.on_bar(bar(100.0, "09:15"))  # of before the session
        world.is_listed("AAPL", "09:30")
        await world.until("09:36:08")
        assert world.minutes() == 3 and world.why() == NOT_YET

    story(tell, at="09:36:02")


def test_before_first_minute_has_ended_source_is_asked_once() -> None:
    async def tell(world: World) -> None:
        assert world.why() == NOT_YET
        await world.until("09:30:01")
        assert world.why() == ""

    assert story(tell, at="09:30").asked == ["09:30 AAPL from 09:30"]


def test_a_reconnection_asks_for_what_came_since_the_last_bar() -> None:
    """However late the loss was noticed."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING, "09:33", "09:34")
        await world.streams("09:35")
        await world.until("09:50:10")
        world.is_listed("AAPL", *(f"09:{minute}" for minute in range(35, 50)))
        world.holes.on_feed_down()
        await world.until("09:50:20")
        world.holes.on_feed_up()
        assert world.why() == NOT_YET
        await world.until("09:50:21")
        assert world.why() == "" and world.minutes() == 20

    world = story(tell, at="09:35:05")
    assert world.asked[1:] == ["09:50:20 AAPL from 09:33"]


def test_a_reconnection_that_lost_no_bar_stops_nothing() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.streams("09:33")
        world.holes.on_feed_down()
        await world.until("09:34:30")
        world.holes.on_feed_up()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert world.why() == ""

    assert len(story(tell, at="09:33:05").asked) == 1


def test_a_gap_before_the_first_answer_came_does_not_shorten_it() -> None:
    """And who asked for it asks no more."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING, "11:59")
        world.troubles = [Unreachable("down")] * 2
        await world.until("12:00:06")
        world.holes.on_feed_down()
        await world.until("12:00:08")
        world.holes.on_feed_up()
        await world.until("12:00:12")
        assert world.why() == NOT_YET
        await world.until("12:00:30")
        assert world.why() == "" and world.minutes() == 4

    assert story(tell, at="12:00:05").asked == [f"12:00:{s} AAPL from 09:30" for s in ("05", "08", "13")]


def test_a_minute_that_is_about_to_end_belongs_to_the_hole() -> None:
    """Its bar may be on its way before anybody listens."""

    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        world.is_listed("AAPL", "09:33", at="09:34:01")
        await world.until("09:33:59.5")
        assert world.why() == NOT_YET
        await world.until("09:34:05")
        assert world.why() == "" and world.minutes() == 4

    story(tell, at="09:33:59")


def test_bars_from_before_their_time_are_no_new_ones() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.until("09:35:06")
        for minute in ("10:36", "10:37", "10:38"):
            world.holes.on_bar(bar(100.0, minute))
        assert world.why() == HOLE

    story(tell, at="09:34:05")


def test_a_bar_that_was_refused_is_a_hole_of_its_symbol() -> None:
    async def tell(world: World) -> None:
        for symbol in ("AAPL", "TSLA"):
            world.is_listed(symbol, *MORNING)
        await world.until("09:34:00.2")
        world.holes.on_gap("AAPL")
        assert (world.why(), world.why("TSLA")) == (NOT_YET, "")
        world.is_listed("AAPL", "09:33", at="09:34:05")
        await world.until("09:34:07")
        assert world.why() == NOT_YET
        await world.until("09:34:10")
        assert world.why() == "" and world.minutes() == 4

    world = story(tell, "AAPL", "TSLA", at="09:33:05")
    assert world.asked[1:] == ["09:34 AAPL from 09:33", "09:34:03 AAPL from 09:33", "09:34:09 AAPL from 09:33"]


def test_a_refused_bar_is_a_hole_where_nothing_else_is_known() -> None:
    async def tell(world: World) -> None:
        await world.until("09:33:06")
        world.holes.on_gap("AAPL")
        assert world.why() == ""  # nothing lies before it
        await world.streams("09:33")
        await world.until("09:35:00.2")
        assert world.why() == ""
        world.holes.on_gap("AAPL")
        assert world.why() == NOT_YET
        await world.streams("09:35")
        assert world.why() == HOLE

    story(tell, at="09:33:05")


def test_a_refused_bar_whose_minute_the_stream_tells_after_all() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.until("09:34:00.2")
        world.holes.on_gap("AAPL")
        await world.streams("09:33")
        assert world.why() == ""

    assert len(story(tell, at="09:33:05").asked) <= 2


def test_bad_bars_without_end_make_no_storm_of_questions() -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        for tenth in range(600):
            await world.until(f"09:34:{tenth / 10:05.2f}")
            world.holes.on_gap("AAPL")
            world.holes.on_gap("NOTMINE")
        assert world.why() == NOT_YET

    assert len(story(tell, at="09:33:05").asked) <= 31


def test_symbols_whose_holes_are_alike_are_asked_for_together() -> None:
    async def tell(world: World) -> None:
        for symbol in ("AAPL", "TSLA", "FB"):
            world.is_listed(symbol, *MORNING)
        world.is_listed("AAPL", "11:59")
        world.is_listed("TSLA", "11:58")
        await world.until("12:00:10")
        assert (world.why(), world.why("TSLA"), world.why("FB")) == ("", NOT_YET, NOT_YET)
        asked.extend(world.asked)
        await world.until("12:00:42")

    asked: list[str] = []
    world = story(tell, "AAPL", "TSLA", "FB", at="12:00:05")
    assert asked == [
        "12:00:05 AAPL,TSLA,FB from 09:30", "12:00:08 FB from 09:33", "12:00:08 TSLA from 11:59",
    ]  # fmt: skip
    assert world.asked_trades == ["TSLA,FB"]


def test_without_streamed_trades_a_buy_asks_for_the_last_one() -> None:
    async def tell(world: World) -> None:
        assert [algo.asks_last_trade for algo in world.fleet.algos.values()] == [False, True]

    story(tell, "AAPL", "FB", at="09:33:05")


def test_the_bars_of_the_day_are_counted_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async def tell(world: World) -> None:
        world.is_listed("AAPL", *MORNING)
        await world.until("09:33:10")

    with caplog.at_level(logging.INFO):
        story(tell, "AAPL", "TSLA", at="09:33:05")
    assert "bars of today: 2 symbols, 0 to 3 minutes each" in caplog.text
