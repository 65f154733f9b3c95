"""The keys of the dashboard: what they do to the fleet."""

from __future__ import annotations

import logging

import pytest

from scalp.live.controls import ASKED_FOR, READ_AFTER, Controls
from tests.trading import AT_100, FALLING, BuysOnce, Script, minutes, run, trading


class Desk:
    """What the controls are given: a clock, and who is told to stop."""

    def __init__(self) -> None:
        self.at = 100.0
        self.stops = 0

    def now(self) -> float:
        return self.at

    def stop(self) -> None:
        self.stops += 1


def test_keys_pause_entries_and_close_positions_once_asked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "scalp.main")

    async def story() -> None:
        script, desk = Script(), Desk()
        market = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING), "AAPL": []}
        async with trading(market, script, BuysOnce) as bot:
            await bot.until(240)
            assert bot.held() == 10
            fleet = bot.session.fleet
            controls = Controls(fleet, desk.stop, desk.now)

            def press(keys: str) -> str:
                for key in keys:
                    controls.press(key)
                return controls.notice

            def yes() -> str:
                press("f")
                desk.at += READ_AFTER
                return press("y")

            def blocks() -> list[str]:
                return [algo.entry_blocks.why for algo in fleet.algos.values()]

            free = blocks()
            assert (press("p"), blocks()) == ("", ["paused, p resumes"] * 2)
            assert (press("P"), blocks()) == ("", free)
            asks = "sell all at market, buy nothing more today? y: yes, any other key: no"
            assert (press("f"), press("x"), press("x")) == (asks, "nothing was sold", "")
            assert press("f") == asks
            desk.at += ASKED_FOR + 0.1
            assert controls.notice == ""
            assert press("f") == asks, "an answer that comes too late is a question again"
            press("p")  # no answer either
            await bot.until(250)
            assert bot.held() == 10 and blocks() == ["paused, p resumes"] * 2
            fleet.orders.shut = "the market may be closed"
            assert yes() == "nothing can be sold just now: the market may be closed"
            fleet.orders.shut = ""
            assert (press("f"), press("f"), press("y"), press("y")) == (asks, asks, "nothing was sold", "")
            assert press("fy") == "nothing was sold", "nobody had read the question"
            assert yes() == ""
            await bot.until(260)
            assert bot.held() == 0 and script.orders("sell")[-1].body["type"] == "market"
            assert blocks() == ["key f has sold everything"] * 2
            assert press("p") == "key f has sold everything: nothing is bought any more today"
            press("qq")
            assert desk.stops == 1
            press("?")
            assert controls.shows_help
            press("?")
            assert not controls.shows_help
            press("?z")
            assert not controls.shows_help

    run(story())
    assert [record.message for record in caplog.records if record.message.startswith("key ")] == [
        "key p: entries are paused until p is pressed again or the bot is restarted, exits go on",
        "key p: entries are resumed",
        "key p: entries are paused until p is pressed again or the bot is restarted, exits go on",
        "key f: everything is cancelled and sold at market, nothing is bought any more today",
        "key q: the bot is told to stop",
    ]
