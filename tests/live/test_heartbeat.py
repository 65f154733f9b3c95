"""Signs of life in the log: every 5 minutes of exchange time, and when a stream stays away."""

from __future__ import annotations

import logging

import pytest

from scalp.core.units import MINUTE, SECOND
from tests.trading import ABOVE_100, AT_100, FALLING, OPEN, Bot, BuysOnce, Idle, Script, minutes, run, trading

QUIET = {"TSLA": minutes("TSLA", *[AT_100] * 30)}
BUY_FILLS = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING)}


def said(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [text for record in caplog.records if word in (text := record.getMessage())]


def test_every_five_minutes_of_exchange_time(caplog: pytest.LogCaptureFixture) -> None:
    times: list[int] = []
    bots: list[Bot] = []

    class Stamp(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.getMessage().startswith("heartbeat"):
                times.append(bots[0].session.clock.now())
            return True

    async def story() -> None:
        async with trading(QUIET, Script(), Idle, length=20) as bot:
            bots.append(bot)
            await bot.until(19 * 60)

    caplog.handler.addFilter(Stamp())
    with caplog.at_level(logging.INFO):
        run(story())
    assert [round((at - OPEN) / MINUTE) for at in times] == [5, 10, 15]
    assert all(abs(at - OPEN - round((at - OPEN) / MINUTE) * MINUTE) < 2 * SECOND for at in times)


def test_it_tells_streams_positions_orders_and_requests_left(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with trading(BUY_FILLS, Script(), BuysOnce) as bot:
            await bot.until(302)
            assert bot.held() == 10

    with caplog.at_level(logging.INFO):
        run(story())
    (line,) = said(caplog, "heartbeat")
    assert line.startswith("heartbeat: alpaca sip up, last message ")
    streams, updates, held, working, requests = line.split("; ")
    trades, bars = streams.split(", ")[-2:]  # each channel for itself
    assert trades.startswith("trades ") and bars.startswith("bars ")
    assert 0 <= int(bars.split()[-3]) <= 60
    assert updates.startswith("order updates up, last message ")
    assert 150 <= int(updates.split()[-3]) <= 180  # the buy filled and the sell was new two minutes after the open
    assert held == "holding TSLA 10"
    assert working == "working: 0 buys, 1 sells"
    left, _, limit, *_ = requests.split()
    assert 150 < int(left) <= int(limit) == 200


def test_a_stream_down_for_over_a_minute_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away(Script):
        is_away = False

        def handshake(self, kind: str) -> bool:
            return self.is_away and kind == "orders"

    async def story() -> None:
        script = Away()
        async with trading({"TSLA": minutes("TSLA", *[ABOVE_100] * 30)}, script, Idle) as bot:
            await bot.until(65)
            script.is_away = True
            bot.server.close_streams("orders")
            await bot.until(330)
            script.is_away = False
            await bot.until(400)

    with caplog.at_level(logging.INFO):
        run(story())
    (down,) = said(caplog, ": down for ")
    assert down == "order updates: down for 90 s"
    (line,) = said(caplog, "heartbeat")
    assert "order updates DOWN" in line
    (back,) = said(caplog, "up again")
    assert back == "order updates: up again, after 270 s"


def test_a_short_interruption_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with trading(QUIET, Script(), Idle) as bot:
            await bot.until(65)
            bot.server.close_streams()
            await bot.until(200)

    with caplog.at_level(logging.INFO):
        run(story())
    assert not said(caplog, ": down for ")
    assert not said(caplog, "up again")
