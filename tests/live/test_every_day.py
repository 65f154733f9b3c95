"""`--every-day`: session after session in one process, over nights, weekends, holidays and half days."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
import re
import signal
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import main as program
from scalp.cli.settings import Endpoints
from scalp.core.clock import new_york
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import SessionDay, trading_days
from scalp.exchange.matching import Engine
from scalp.exchange.rest import Response
from scalp.exchange.server import ExchangeServer
from scalp.live.console import ConsoleLog
from scalp.live.controls import Controls
from scalp.live.health import Health, SignsOfLife
from scalp.live.trader import Trader
from tests.trading import AT_100, BuysOnce, Handle, Idle, Outcome, Script, hangs, run, settings, status

CLOCK, CALENDAR, ASSET = "GET /v2/clock", "GET /v2/calendar", "GET /v2/assets/TSLA"
SHORT = 12 * MINUTE  # of a session here
HOUR = 3600.0
# Thanksgiving is a holiday, the day after it a half day, and a weekend follows.
WEEK = (dt.date(2026, 11, 25), dt.date(2026, 11, 30))
AROUND_100 = (100.0, 100.05, 99.95, 100.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "algo_class", BuysOnce)
    before = signal.getsignal(signal.SIGHUP)
    yield tmp_path
    signal.signal(signal.SIGHUP, before)  # a bot that was stopped by it ignores it from then on


def short_days(first: dt.date, last: dt.date) -> list[SessionDay]:
    return [SessionDay(day.date, day.open, day.open + SHORT) for day in trading_days(first, last)]


def bars_of(days: Sequence[SessionDay], *prices: tuple[float, float, float, float]) -> list[Bar]:
    return [Bar("TSLA", day.open + n * MINUTE, *ohlc, 1e6) for day in days for n, ohlc in enumerate(prices)]


class Month:
    """An exchange that goes on from day to day, and the bot that is left alone with it."""

    def __init__(self, first: dt.date, last: dt.date, *prices: tuple[float, float, float, float]) -> None:
        self.days = short_days(first, last)
        self.script = Script()
        self.bars = bars_of(self.days, *(prices or (AROUND_100,) * 5))
        self.code: int | None = None
        self.text = ""
        self.tasks: list[asyncio.Future[None]] = []
        self.at: list[tuple[float, Callable[[ExchangeServer], None]]] = []  # seconds after the first open
        self.stops_at = (self.days[-1].close - self.days[0].open) / SECOND + HOUR
        self.signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)  # one right after the other

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[Endpoints]:
        loop, first = asyncio.get_running_loop(), self.days[0]
        engine = Engine(first.open, first.close, ["TSLA"], now=first.open)
        server = await ExchangeServer.start({"TSLA": self.bars}, engine, faults=self.script, linger=2**60)
        server.simulation.calendar = short_days
        for before, day in zip(self.days, self.days[1:], strict=False):
            begin = (before.close - first.open) / SECOND + 1800
            loop.call_later(begin, engine.begin_session, day.open, day.close)
        for seconds, happens in self.at:
            loop.call_later(seconds, happens, server)
        env = server.environment()
        try:
            yield Endpoints(env["APCA_API_BASE_URL"], env["APCA_API_DATA_URL"], env["APCA_API_STREAM_URL"],
                            env["APCA_API_KEY_ID"], env["APCA_API_SECRET_KEY"], feed="sip")  # fmt: skip
        finally:
            await server.stop()

    def play(self, **more: Any) -> Month:
        """Trade until `stops_at`, where somebody sends `signals`."""

        async def story(console: ConsoleLog) -> None:
            async with self._exchange() as points:
                for number in self.signals:
                    asyncio.get_running_loop().call_later(self.stops_at, os.kill, os.getpid(), number)
                self.code = await program.run(
                    settings("TSLA", endpoints=points, wait=True, every_day=True, **more), console
                )

        with ConsoleLog() as console:
            run(story(console))
        self.text = Path("console.log").read_text()
        return self

    @property
    def sessions(self) -> list[str]:
        return re.findall(r"session (\d{4}-\d\d-\d\d) \(New York\)", self.text)

    @property
    def orders(self) -> list[str]:
        """Which day, when, what was sent."""
        first = self.days[0].open
        return [
            f"{new_york(first + round(r.at * SECOND)):%a %H:%M} {r.body['side']} {r.body['qty']} {r.body['type']}"
            for r in self.script.sent("POST /v2/orders")
        ]


def test_it_trades_every_session_of_a_week_with_a_holiday() -> None:
    month = Month(*WEEK).play()
    assert month.sessions == ["2026-11-25", "2026-11-27", "2026-11-30"]
    assert month.orders == [
        "Wed 09:32 buy 10 limit", "Wed 09:32 sell 10 limit", "Fri 09:32 buy 10 limit", "Fri 09:32 sell 10 limit",
        "Mon 09:32 buy 10 limit", "Mon 09:32 sell 10 limit",
    ]  # fmt: skip
    assert month.text.count("session over: 1 trade, 10 shares") == 3
    assert re.findall(r"SIMULATED session (\S+)|session of (\S+) was SIMULATED", month.text) == [
        (began, ended) for date in month.sessions for began, ended in ((date, ""), ("", date))
    ]
    waiting = re.findall(r"waiting until (.*)", month.text)
    assert waiting == [f"{day} 09:30 New York" for day in ("Friday 2026-11-27", "Monday 2026-11-30",
                                                            "Tuesday 2026-12-01")]  # fmt: skip
    assert month.code == 143
    assert month.text.splitlines()[-1].endswith("stopped while the market is closed")
    assert "ERROR" not in month.text


def test_while_it_waits_it_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SignsOfLife] = []
    told: list[Health] = []
    begin = SignsOfLife.begin

    async def look() -> None:
        told.append(await made[-1].look())

    def noted(signs: SignsOfLife) -> None:
        made.append(signs)
        begin(signs)

    monkeypatch.setattr(SignsOfLife, "begin", noted)
    month = Month(*WEEK)
    month.script.on(CLOCK, between(month.script, 24 * HOUR, 25 * HOUR, status(500)), times=9999)
    for hours in (1.0, 24.9):
        month.at.append((hours * HOUR, lambda server: month.tasks.append(asyncio.ensure_future(look()))))
    month.play()
    assert [(health.state, health.note) for health in told] == [
        ("waiting", "the market is closed: waiting until Friday 2026-11-27 09:30 New York"),
        ("waiting", "waiting for the open: GET /clock: HTTP 500, no reason given; asking on"),
    ]


def between(script: Script, since: float, until: float, trouble: Outcome) -> Outcome:
    async def answer(handle: Handle) -> Any:
        return await trouble(handle) if since <= script.now() < until else handle()

    return answer


@pytest.mark.parametrize("trouble", [status(401, "no."), hangs(60)])
def test_trouble_at_night_ends_nothing_and_is_told_hourly(trouble: Outcome) -> None:
    month = Month(*WEEK)
    night = (SHORT / SECOND + 600, 2 * 24 * HOUR - 60)
    month.script.on("GET /v2/", between(month.script, *night, trouble), times=99_999)
    month.play()
    assert month.sessions == ["2026-11-25", "2026-11-27", "2026-11-30"]
    assert 40 <= month.text.count("waiting for the open") <= 48
    assert len([line for line in month.text.splitlines() if "2026-11-26" in line]) <= 25
    assert month.code == 143


def test_keys_refused_one_morning_are_asked_again() -> None:
    month = Month(*WEEK)
    friday = 2 * 24 * HOUR
    month.script.on("GET /v2/", between(month.script, friday - 60, friday + 300, status(401, "no.")), times=9999)
    month.play()
    assert month.sessions == ["2026-11-25", "2026-11-27", "2026-11-30"]
    assert month.code == 143


def test_a_symbol_gone_one_day_is_not_bought_others_are_traded() -> None:
    month = Month(*WEEK)
    friday = 2 * 24 * HOUR
    month.script.on(ASSET, between(month.script, friday - 60, friday + HOUR, status(404, "no such asset")), times=9999)
    month.play()
    assert month.sessions == ["2026-11-25", "2026-11-27", "2026-11-30"]
    assert [order[:3] for order in month.orders] == ["Wed", "Wed", "Mon", "Mon"]
    assert month.text.count("unknown symbol TSLA: no buys in it") == 1


def test_an_open_clock_after_the_close_begins_no_session() -> None:
    month = Month(*WEEK)
    close = SHORT / SECOND

    async def says_open(handle: Handle) -> Any:
        answer = handle()
        if close <= month.script.now() < close + 2 * HOUR:
            return Response(200, answer.headers, answer.body.replace(b'"is_open":false', b'"is_open":true'))
        return answer

    month.script.on(CLOCK, says_open, times=9999)
    month.play()
    assert month.sessions == ["2026-11-25", "2026-11-27", "2026-11-30"]


# -- shares held over a close -----------------------------------------------------------------------------------------


def halted(server: ExchangeServer) -> None:
    server.simulation.halt("TSLA")


def goes_on(server: ExchangeServer) -> None:
    server.simulation.resume("TSLA")


def held_over_a_night(stops_at: float | None = None, *signals: signal.Signals) -> Month:
    """A stock that is halted while it is held, until the next morning."""
    month = Month(*WEEK, AROUND_100, AROUND_100, AROUND_100, *[(100.0, 100.0, 99.5, 99.5)] * 7)
    month.at = [(155, halted), (24 * HOUR, goes_on)]
    if stops_at is not None:
        month.stops_at = stops_at
    month.signals = signals or month.signals
    return month.play()


def test_shares_held_at_a_close_are_sold_first_at_the_open() -> None:
    month = held_over_a_night()
    assert next(order for order in month.orders if order.startswith("Fri")) == "Fri 09:30 sell 10 limit"
    assert re.search(r"WARNING main +TSLA: 10 held at 100", month.text)
    assert "ERROR   main    held over the night: 10 TSLA; the next session begins with selling them" in month.text
    assert month.code == 143


IN_SESSION, AT_THE_CLOSE, AT_NIGHT, SOLD = 200, SHORT / SECOND, 24 * HOUR - 60, 2 * 24 * HOUR + HOUR


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])  # key q sends the first
@pytest.mark.parametrize("stops_at", [IN_SESSION, AT_THE_CLOSE, AT_NIGHT, SOLD])
def test_a_stop_while_shares_are_held_is_exit_code_1(stops_at: float, number: signal.Signals) -> None:
    assert held_over_a_night(stops_at, number).code == (128 + number if stops_at == SOLD else 1)


@pytest.mark.parametrize("stops_at", [IN_SESSION, AT_NIGHT, SOLD])
def test_so_is_a_second_signal_which_leaves_at_once(stops_at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    held_over_a_night(stops_at, signal.SIGINT, signal.SIGTERM)
    assert codes == [143 if stops_at == SOLD else 1]


def test_before_the_first_session_nothing_is_known_to_be_held() -> None:
    month = Month(*WEEK)
    month.script.on(CLOCK, between(month.script, 0, 600, status(500)), times=9999)
    month.stops_at = 300
    assert month.play().code == 143
    assert month.text.splitlines()[-1].endswith(
        "stopped before anything was sent: orders and positions are as they were"
    )


def test_a_pause_outlasts_the_night(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Trader.begin
    traders: list[Trader] = []

    async def noted(self: Trader, *args: Any) -> None:
        traders.append(self)
        await begin(self, *args)

    def press(server: ExchangeServer) -> None:
        Controls(traders[-1].fleet).press("p")

    monkeypatch.setattr(Trader, "begin", noted)
    month = Month(*WEEK)
    month.at = [(60, press), (5 * 24 * HOUR + 60, press)]  # Wednesday, and Monday before the signal
    month.play()
    assert [order[:3] for order in month.orders] == ["Mon", "Mon"]
    assert month.text.count("entries are paused still: key p of the dashboard or a restart resumes them") == 2


# -- for a month ------------------------------------------------------------------------------------------------------


def test_of_a_session_that_is_over_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Trader]] = []
    alive: list[int] = []
    begin = Trader.begin

    async def counted(self: Trader, *args: Any) -> None:
        made.append(weakref.ref(self))
        alive.append(sum(ref() is not None for ref in made))
        await begin(self, *args)

    monkeypatch.setattr(Trader, "begin", counted)
    monkeypatch.setattr(program, "algo_class", Idle)
    gc.disable()  # what is left has to go without its help
    try:
        month = Month(dt.date(2026, 11, 2), dt.date(2026, 11, 13), AT_100).play()
    finally:
        gc.enable()
    assert len(month.sessions) == 10
    assert alive == [1] * 10
