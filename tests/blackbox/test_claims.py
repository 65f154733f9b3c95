"""What servers say of logins, keys, the account and its assets may change: it is asked again, and nobody leaves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.blackbox.alpaca import Alpaca, answer
from tests.blackbox.bot import ALWAYS, Bot, until

UNAUTHORIZED = answer(401, {"message": "unauthorized."})


async def test_the_order_stream_refuses_the_login_in_mid_session() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        alpaca.login_answer = "unauthorized"
        await alpaca.drop_updates()
        away_at = alpaca.now
        await until(lambda: len(order_logins(alpaca)) >= 2, "a refused login")
        await alpaca.fill(buy)  # which nobody is there to hear
        filled_at = alpaca.now
        sell = await bot.order("AAPL", "sell")
        assert sell["qty"] == "40" and alpaca.posted()[-1].when - filled_at < 20
        await alpaca.fresh_bars(TSLA=50.0)
        await alpaca.passes(2)
        assert not alpaca.posted("TSLA"), "bought while blind"
        await alpaca.reaches(max(away_at + 75, alpaca.now))
        assert bot.process.returncode is None
        alpaca.login_answer = "authorized"
        back_at = alpaca.now
        async with alpaca.market(AAPL=50.0, TSLA=50.0):
            await bot.order("TSLA", "buy")
        assert alpaca.posted("TSLA")[0].when - back_at < 200
        await alpaca.fill(sell)
        await bot.says("AAPL SELL_SUBMITTED -> TO_BUY")


async def test_the_order_stream_refuses_the_login_at_the_start() -> None:
    """REST takes the same keys: so it is a claim, and what is held is offered meanwhile."""
    async with Alpaca(speed=10) as alpaca:
        alpaca.login_answer = "unauthorized"
        alpaca.hold("TSLA", 7, "100")
        started_at = alpaca.now
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            assert (await bot.order("TSLA", "sell"))["qty"] == "7"
            assert alpaca.posted()[0].when - started_at < 15
            await alpaca.fresh_bars(AAPL=50.0)
            await until(lambda: len(order_logins(alpaca)) >= 2, "another try")
            await alpaca.reaches(started_at + 40)
            assert bot.process.returncode is None and not alpaca.posted("AAPL")
            alpaca.login_answer = "authorized"
            async with alpaca.market(AAPL=50.0, TSLA=100.0):
                await bot.order("AAPL", "buy")


async def test_the_order_stream_refuses_the_login_until_the_close() -> None:
    """Blind for good: the day is ended over REST alone."""
    async with Alpaca(at="15:53:02", speed=15) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        alpaca.login_answer = "unauthorized"
        await alpaca.drop_updates()
        exit_ = await bot.order("AAPL", "sell", nth=2)
        assert (exit_["type"], exit_["qty"], sell["status"]) == ("market", "40", "canceled")
        assert alpaca.minute("15:55") - 1 < alpaca.posted()[-1].when < alpaca.minute("15:56")
        await alpaca.fill(exit_, price="49.90")
        assert await bot.exits(within=40) == 0
        assert alpaca.now >= alpaca.close and len(alpaca.posted()) == 3


@pytest.mark.parametrize("feed", ["alpaca", "polygon"])
async def test_the_data_stream_refuses_the_login_in_mid_session(feed: str) -> None:
    async with Alpaca(speed=10) as alpaca:
        environment = alpaca.polygon if feed == "polygon" else {}
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS, environment=environment) as bot:
            await bot.trades()
            bar = alpaca.polygon_bar if feed == "polygon" else alpaca.bar
            await bar("AAPL", "10:30", 50.0)
            await alpaca.fill(await bot.order("AAPL", "buy"))
            sell = await bot.order("AAPL", "sell")
            alpaca.feed_errors["login"], alpaca.polygon_refuses = 402, True
            await alpaca.drop_feed()
            await alpaca.passes(100)
            assert bot.process.returncode is None and sell["status"] == "new"
            alpaca.feed_errors.clear()
            alpaca.polygon_refuses = False
            await alpaca.fill(sell)
            before = len(alpaca.logins)
            await until(lambda: len(alpaca.logins) > before, "it logs in")
            await alpaca.passes(5)
            await alpaca.reaches(alpaca.now // 60 * 60 + 61)
            minute = f"10:{int((alpaca.now - alpaca.minute('10:00')) // 60) - 1:02}"
            await bar("TSLA", minute, 50.0)
            await bot.order("TSLA", "buy")


async def test_the_data_stream_refuses_the_login_at_the_start() -> None:
    async with Alpaca(speed=10) as alpaca:
        alpaca.feed_errors["login"] = 402
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.order("TSLA", "sell")
            await alpaca.passes(40)
            assert bot.process.returncode is None
            alpaca.feed_errors.clear()
            async with alpaca.market(AAPL=50.0, TSLA=100.0):
                await bot.order("AAPL", "buy")


async def test_every_key_is_refused_for_a_while_in_mid_session() -> None:
    """All of REST answers 401 and both streams refuse: it goes on trying, and the exit goes when it can."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await bot.holds(60.0, "TSLA")
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        for method in ("GET", "POST", "DELETE"):
            alpaca.on(method, "/v2", UNAUTHORIZED, seconds=60)
        back_at = alpaca.now + 60
        alpaca.login_answer, alpaca.feed_errors["login"] = "unauthorized", 402
        await alpaca.drop_updates()
        await alpaca.drop_feed()
        await alpaca.fill(buy)
        await alpaca.reaches(back_at)
        assert bot.process.returncode is None
        alpaca.login_answer = "authorized"
        alpaca.feed_errors.clear()
        sell = await bot.order("AAPL", "sell")
        assert sell["qty"] == "40" and alpaca.posted()[-1].when - back_at < 90
        await alpaca.fill(sell)
        await bot.says("AAPL SELL_SUBMITTED -> TO_BUY")
        assert not alpaca.asked("DELETE") and len(alpaca.orders) == 4


@pytest.mark.parametrize(
    "block",
    [{"trading_blocked": True}, {"status": "ACCOUNT_UPDATED"}],
    ids=["blocked", "status"],
)
async def test_account_that_is_blocked_at_start_and_free_minute_later(block: dict[str, Any]) -> None:
    async with Alpaca(speed=30) as alpaca:
        usual = dict(alpaca.account)
        alpaca.account |= block
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            async with alpaca.market(AAPL=50.0):
                await alpaca.passes(60)
                assert not alpaca.posted()
                alpaca.account = usual
                free_at = alpaca.now
                await bot.order("AAPL", "buy")
                assert alpaca.posted()[0].when - free_at < 200


@pytest.mark.parametrize("flag", [{"tradable": False}, {"status": "inactive"}], ids=["not tradable", "inactive"])
async def test_an_asset_that_becomes_tradable_a_minute_later(flag: dict[str, Any]) -> None:
    async with Alpaca(speed=30) as alpaca:
        alpaca.asset_fields["TSLA"] = flag
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            async with alpaca.market(AAPL=50.0, TSLA=60.0):
                await bot.order("AAPL", "buy")
                await alpaca.passes(60)
                assert not alpaca.posted("TSLA")
                alpaca.asset_fields.clear()
                free_at = alpaca.now
                await bot.order("TSLA", "buy")
                assert alpaca.posted("TSLA")[0].when - free_at < 200


async def test_account_that_cannot_be_asked_stays_blocked_and_exits() -> None:
    """The question errs for a while: no buy on that ground, and no harm to what is held."""
    async with Alpaca(speed=30) as alpaca:
        usual = dict(alpaca.account)
        alpaca.account |= {"trading_blocked": True}
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            alpaca.on("GET", "/v2/account$", UNAUTHORIZED, seconds=90)
            free_at = alpaca.now + 90
            alpaca.account = usual
            async with alpaca.market(AAPL=50.0, TSLA=100.0):
                sell = await bot.order("TSLA", "sell")
                await bot.order("AAPL", "buy")
            assert free_at - 1 <= alpaca.posted("AAPL")[0].when < free_at + 250
            assert sell["status"] == "new"


def order_logins(alpaca: Alpaca) -> list[dict[str, Any]]:
    return [m for m in alpaca.logins if m["stream"].startswith("/stream")]
