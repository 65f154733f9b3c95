"""The day, not the process: figures over a restart, what a killed run did not write down, and the books compared."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from scalp import ScalpAlgo
from scalp.cli.settings import Endpoints
from scalp.core.fees import ALPACA
from scalp.core.market_data import Trade
from scalp.exchange.matching import Engine
from scalp.exchange.server import ExchangeServer
from scalp.live.startup import Startup
from scalp.report.__main__ import main as report
from scalp.results.session_table import Total, summary
from tests.live.test_session_end import play as trade
from tests.trading import (
    AROUND_100,
    AT_100,
    DAY,
    Bot,
    Idle,
    Script,
    exchange,
    hangs,
    minutes,
    run,
    says,
    settings,
    status,
)

# A buy at 100 and its sell fill by the fifth minute, and again by the tenth.
ACTIVITIES = "GET /v2/account/activities/FILL"
MARKET = {"TSLA": minutes("TSLA", *[AT_100, AT_100, *[AROUND_100] * 3] * 4)}


class BuysTwice(ScalpAlgo):
    """At the second bar, and at the seventh."""

    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return len(self.session_bars) in (2, 7)

    def on_trade(self, trade: Trade) -> None:
        """The last trade is the last close, 100."""


async def play(
    algo: type[ScalpAlgo],
    server: ExchangeServer,
    endpoints: Endpoints,
    script: Script,
    until: float,
    journal: Path | None = None,
    dies: Callable[[Bot, Startup], bool] = lambda bot, startup: False,
) -> tuple[list[str], str]:
    """A session until so many seconds after the open, or its end; its table and end line. What `dies` kills is lost."""
    startup = Startup(settings("TSLA", fees=ALPACA, journal=journal), endpoints, algo)
    session = await startup.open()
    assert session is not None
    bot = Bot(server, session, script)
    work = (session.feed.run(), session.updates.run(), bot.periodic(), session.watch())
    jobs = [asyncio.ensure_future(job) for job in work]
    while script.now() < until:
        await asyncio.sleep(0.01 if dies(bot, startup) else 0.1)
    if until > 1200:
        assert await session.finish()
    session.over()
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    await startup.close()
    total = Total()
    total.add(session.fleet)
    return list(summary(session.fleet)), str(total)


def figures(table: list[str]) -> list[list[str]]:
    """Without reaction times."""
    return [line.split()[:6] for line in table[1:]]


def charged(engine: Engine) -> None:
    engine.charger._rates = ALPACA.on(DAY.date)


def told(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert report(["--journal", str(path), "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_figures_are_those_of_the_day_after_a_restart(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        script = Script()
        async with exchange(MARKET, script) as (server, endpoints):
            charged(server.simulation.engine)
            first, _ = await play(BuysTwice, server, endpoints, script, 300)
            table, line = await play(BuysTwice, server, endpoints, script, 1201, tmp_path / "j.sqlite")
            account = server.simulation.engine.account
        assert figures(first)[0] == ["TSLA", "1", "10", "+0.00", "0.0226", "-0.0226"]
        # Twice $1,000 sold at 20.60 a million, 195 and twice 3 millionths a share; REG 0.05, TAF and CAT 0.01.
        assert figures(table) == [
            ["TSLA", "2", "20", "+0.00", "0.0452", "-0.0452"],
            ["rounding", "0.0248", "-0.0248"],
            ["total", "2", "20", "+0.00", "0.0700", "-0.0700"],
        ]
        assert line == "2 trades, 20 shares, gross $ +0.00, fees $ 0.07, net $ -0.07"
        assert account.cash == Decimal("99999.93"), "the exchange's own account says the same"

    run(story())
    assert "books: cash +0.00, as the account's 4 executions have it" in caplog.text
    assert "equity $99999.93, as it follows from that of the day before" in caplog.text


def test_what_a_killed_run_did_not_write_down_is_in_the_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Killed at the fill of the buy, before a row of it was on disk; the next run sells, and trades once more."""
    path = tmp_path / "j.sqlite"

    def at_the_fill(bot: Bot, startup: Startup) -> bool:
        journal = startup._recorder._journal
        assert journal is not None
        if bot.algo().order is not None:
            journal._is_broken = True  # nothing is written from here on, not even the end
        return journal._is_broken

    async def story() -> None:
        script = Script()
        async with exchange(MARKET, script) as (server, endpoints):
            charged(server.simulation.engine)
            await play(BuysTwice, server, endpoints, script, 170, path, at_the_fill)
            await play(BuysTwice, server, endpoints, script, 1201, path)

    run(story())
    found = told(path, capsys)
    assert [(t["qty"], t["entry_price"], t["exit_price"], t["pnl"]) for t in found["trades"]] == [(10, 100, 100, 0)] * 2
    assert found["summary"]["net"] == -0.07
    assert found["fees"] == {"reckoned": {"REG": 0.05, "TAF": 0.01, "CAT": 0.01},
                             "charged": {"REG": 0.05, "TAF": 0.01, "CAT": 0.01}}  # fmt: skip
    assert [note for note in found["notes"] if "activities" in note] != []
    assert not any("did not see" in note for note in found["notes"])
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT side, type, source FROM fills ORDER BY happened_at").fetchall()
        assert [row[0] for row in rows] == ["buy", "sell", "buy", "sell"]
        assert (rows[0][2], rows[-1][2]) == ("activities", "")
        select = "SELECT qty, gross, round(net, 4), source FROM trades ORDER BY exit_time"
        trades = connection.execute(select).fetchall()
        assert trades == [(10, 0, -0.0226, "activities"), (10, 0, -0.0226, "")]
        select = "SELECT exit_reason, mae, exit_60, entry_60 FROM trades ORDER BY exit_time"
        seen = connection.execute(select).fetchall()
        assert [(row[0], None in row[1:3], row[3]) for row in seen] == [("limit", False, None), ("limit", False, 100)]
    differs = told(path, capsys, "--diff", "--algo", "tests.live.test_day:BuysTwice")
    assert [one for one in differs["differences"] if not one["why"]] == []
    assert differs["totals"]["session"]["trades"] == 2


def test_books_that_differ_from_the_accounts_are_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    async def story() -> None:
        script = Script()
        async with exchange(MARKET, script) as (server, endpoints):
            engine = server.simulation.engine

            def unseen(bot: Bot, startup: Startup) -> bool:
                if len(engine.executions) == 2 and bot.script.now() > 1190:
                    stranger = engine.executions[0]
                    engine.executions.append(structs.replace(stranger, id="x-1", order_id="y"))
                return False

            await play(OnlyOnce, server, endpoints, script, 1201, None, unseen)

    run(story())
    assert "TSLA: cash of the day is +0.00 by our books, -1000.00 by the account's executions" in caplog.text


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (None, "books: cash +0.00, as the account's 2 executions have it"),
        (hangs(100), "our books are not compared with the account's: no answer in time"),
        (status(500), "our books are not compared with the account's"),
        (says([]), "TSLA: cash of the day is +0.00 by our books"),
    ],
)
def test_a_stopped_bot_compares_the_books_for_2_s_at_most(
    trouble: Any, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story(bot: Bot) -> None:
        await bot.until(310)
        if trouble is not None:
            if line.startswith("TSLA"):
                bot.engine.executions.append(structs.replace(bot.engine.executions[0], id="x-1", order_id="y"))
            else:
                bot.script.on(ACTIVITIES, trouble, times=100)
        at = bot.script.now()
        await bot.session.drain()
        assert bot.script.now() - at <= 2.1

    trade(story, MARKET, algo=OnlyOnce)
    assert line in caplog.text


def test_books_of_before_that_are_not_known_are_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def story(bot: Bot) -> None:
        await bot.until(310)
        bot.session.fleet.takings.are_whole = False  # the start's question was not answered
        await bot.session.drain()

    trade(story, MARKET, algo=OnlyOnce)
    assert "not compared with the account's: what was traded before the start is not known yet" in caplog.text


def test_an_equity_that_does_not_follow_from_the_day_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Only where the account holds nothing else."""
    told = []
    for holds in (False, True):
        caplog.clear()

        async def story(holds: bool = holds) -> None:
            script = Script()
            async with exchange({**MARKET, "FB": minutes("FB", AT_100)}, script) as (server, endpoints):
                account = server.simulation.engine.account
                account.cash += 5
                if holds:
                    account.apply("FB", "buy", Decimal(1), Decimal(100))
                await play(OnlyOnce, server, endpoints, script, 1201)

        run(story())
        told.append("equity is $100005.00, by what it executed it would be $100000.00" in caplog.text)
    assert told == [True, False]


class OnlyOnce(BuysTwice):
    def _calculate_buy_signal(self) -> bool:
        return len(self.session_bars) == 2


def test_without_activities_the_orders_of_the_day_tell(caplog: pytest.LogCaptureFixture) -> None:
    """The end has nothing to compare with, and says so."""
    caplog.set_level(logging.INFO)

    async def story() -> None:
        script = Script()
        async with exchange(MARKET, script) as (server, endpoints):
            await play(OnlyOnce, server, endpoints, script, 300)
            script.on("GET /v2/account/activities/FILL", status(403, "forbidden."), times=100)
            script.on("GET /v2/account/activities/FEE", says([]), times=100)
            table, _ = await play(Idle, server, endpoints, script, 1201)
            assert figures(table)[0] == ["TSLA", "1", "10", "+0.00", "0.0226", "-0.0226"]

    run(story())
    assert "our books are not compared with the account's" in caplog.text
