"""Minutes that are missing, prints that are taken back, channels that fall silent: no signal on what is not settled."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, Answer, Request, answer, in_turn
from tests.blackbox.bot import ALWAYS, Bot, until

UNAUTHORIZED = answer(401, {"message": "unauthorized."})
NOTHING = answer(200, {"bars": {}, "next_page_token": None})


def histories(alpaca: Alpaca, since: float = 0) -> list[Request]:
    return [r for r in alpaca.asked("GET", "/v2/stocks/bars") if r.when > since]


@pytest.mark.parametrize("trouble", [UNAUTHORIZED, answer(500, HTML), answer(404, HTML), NOTHING],
                         ids=["401", "500", "404", "nothing"])  # fmt: skip
async def test_a_gap_whose_history_cannot_be_had_at_once(trouble: Answer) -> None:
    """The crossing was in the gap: with the hole the next bar would look like one."""
    async with Alpaca(at="10:30:05", speed=10) as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            alpaca.feed_errors["login"] = 406
            await alpaca.drop_feed()
            alpaca.add_history("AAPL", alpaca.minute("10:30"), 101.0)
            alpaca.add_history("AAPL", alpaca.minute("10:31"), 102.0)
            alpaca.on("GET", "/v2/stocks/bars", in_turn(trouble, trouble, _ordinary), times=1_000_000)
            await alpaca.reaches("10:32:05")
            alpaca.feed_errors.clear()
            up_at = alpaca.now
            await until(lambda: histories(alpaca, up_at), "the history is asked for", within=40)
            await alpaca.reaches("10:33:01")
            await alpaca.bar("AAPL", "10:32", 103.0)
            await bot.says("bar 103.0")
            await until(lambda: len(histories(alpaca, up_at)) >= 3, "it is asked for again")
            assert not alpaca.posted()
            await alpaca.passes(3)
            add_live(alpaca, 103.0)
            await alpaca.fresh_bars(AAPL=98.0)
            add_live(alpaca, 98.0)
            await alpaca.passes(3)
            await alpaca.fresh_bars(AAPL=104.0)
            assert (await bot.order("AAPL", "buy"))["limit_price"] == "104.00"


async def test_a_history_that_has_the_newest_minute_late() -> None:
    """Reconnected 5 s after a minute's end: its bar is in the history 20 s later."""
    async with Alpaca(at="10:31:10", speed=10) as alpaca:
        alpaca.flat_morning("AAPL")
        alpaca.add_history("AAPL", alpaca.minute("10:30"), 99.0)
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            alpaca.feed_errors["login"] = 406
            await alpaca.drop_feed()
            await alpaca.reaches("10:32:05")
            alpaca.feed_errors.clear()
            up_at = alpaca.now
            await until(lambda: histories(alpaca, up_at), "the history is asked for", within=40)
            await alpaca.reaches(histories(alpaca, up_at)[0].when + 20)
            alpaca.add_history("AAPL", alpaca.minute("10:31"), 101.0)
            await alpaca.reaches("10:33:01")
            await alpaca.bar("AAPL", "10:32", 102.0)
            await bot.says("bar 102.0")
            await alpaca.passes(5)
            assert not alpaca.posted() and len(histories(alpaca, up_at)) >= 2
            add_live(alpaca, 102.0)
            await alpaca.fresh_bars(AAPL=98.0)
            add_live(alpaca, 98.0)
            await alpaca.fresh_bars(AAPL=104.0)
            assert (await bot.order("AAPL", "buy"))["limit_price"] == "104.00"


@pytest.mark.parametrize("what", ["unreadable", "a price of none"])
async def test_a_bar_that_had_to_be_refused_is_a_gap(what: str) -> None:
    async with Alpaca(at="10:31:02", speed=10) as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            good = json.loads(alpaca.bar_text("AAPL", "10:30", 101.0))
            bad = good | ({"c": "a hundred"} if what == "unreadable" else {"o": 0, "h": 0, "l": 0, "c": 0, "vw": 0})
            before = alpaca.now
            await alpaca.send_feed(json.dumps([bad]))
            alpaca.add_history("AAPL", alpaca.minute("10:30"), 101.0)
            await until(lambda: histories(alpaca, before), "the history is asked for")
            await alpaca.reaches("10:32:01")
            await alpaca.bar("AAPL", "10:31", 102.0)
            await bot.says("bar 102.0")
            await alpaca.passes(5)
            assert not alpaca.posted()
            add_live(alpaca, 102.0, "10:31")
            await alpaca.fresh_bars(AAPL=98.0)
            add_live(alpaca, 98.0)
            await alpaca.fresh_bars(AAPL=104.0)
            assert (await bot.order("AAPL", "buy"))["limit_price"] == "104.00"


async def test_trades_that_flow_do_not_vouch_for_bars() -> None:
    """Prints every 2 s and no bar of any symbol for minutes: it is said, and the stream is opened anew."""
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        before, logins = len(bot.text), feed_logins(alpaca)
        silent_since = alpaca.now
        async with alpaca.market(AAPL=50.0, TSLA=60.0, bars=False) as market:
            await until(lambda: feed_logins(alpaca) > logins, "a new connection")
            assert alpaca.now - silent_since < 270
            assert any("bar" in line and "WARNING" in line for line in bot.text[before:].splitlines())
            await alpaca.passes(10)
            market.bars = True
            await bot.order("AAPL", "buy")


async def test_a_quiet_symbol_among_others_is_no_silent_channel() -> None:
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal="return False") as bot:
        await bot.trades()
        async with alpaca.market(AAPL=50.0):
            await alpaca.passes(300)
        assert feed_logins(alpaca) == 1


@pytest.mark.parametrize("change", ["corrected", "cancelled"])
async def test_an_older_print_at_the_same_price_is_taken_back(change: str) -> None:
    """Only its id tells which of two equal prints is meant: the newest one stays the last trade."""
    async with Alpaca() as alpaca, Bot(alpaca, "--stop-loss", "1%", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.trade("AAPL", 99.0)
        older = await alpaca.trade("AAPL", 101.0)
        await alpaca.passes(0.2)
        await alpaca.trade("AAPL", 101.0)
        await alpaca.bar("AAPL", "10:30", 101.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        if change == "corrected":
            await alpaca.correct_trade("AAPL", older, 101.0, 104.5)
        else:
            await alpaca.cancel_trade("AAPL", older, 101.0)
        await bot.hears_all("AAPL")
        await alpaca.fill(buy, price="100.90")
        sell = await bot.order("AAPL", "sell")
        assert sell["limit_price"] == "101.00"
        # The same of a print that would be a stop loss.
        old = await alpaca.trade("AAPL", 100.95)
        await alpaca.passes(0.2)
        await alpaca.trade("AAPL", 100.95)
        await alpaca.correct_trade("AAPL", old, 100.95, 90.0)
        await alpaca.bar("AAPL", "09:32", 77.66)
        await bot.says("bar 77.66")
        await alpaca.passes(1)
        assert sell["status"] == "new" and not alpaca.asked("DELETE") and len(alpaca.posted()) == 2


@pytest.mark.parametrize("change", ["corrected", "cancelled"])
async def test_the_newest_print_is_taken_back(change: str) -> None:
    """A bad print 5 % above the market is corrected before the fill: the exit is not offered up there."""
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.bar("AAPL", "10:30", 101.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        await alpaca.trade("AAPL", 101.2)
        await alpaca.passes(0.2)
        bad = await alpaca.trade("AAPL", 106.0)
        await alpaca.passes(0.2)
        if change == "corrected":
            await alpaca.correct_trade("AAPL", bad, 106.0, 101.3)
        else:
            await alpaca.cancel_trade("AAPL", bad, 106.0)
        await bot.hears_all("AAPL")
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        assert 101 <= float(sell["limit_price"]) <= 101.3


async def _ordinary(request: Request) -> web.Response | None:
    return None


def add_live(alpaca: Alpaca, close: float, minute: str = "") -> None:
    """What was streamed is in the history, too."""
    alpaca.add_history("AAPL", alpaca.minute(minute) if minute else alpaca.last_minute, close)


def feed_logins(alpaca: Alpaca) -> int:
    return len([m for m in alpaca.logins if m["stream"] == "/v2/iex"])
