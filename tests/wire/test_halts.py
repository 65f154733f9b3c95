"""Halts over the wire: the statuses channel stops new buys in its symbol alone, and nothing else."""

from __future__ import annotations

from scalp import ScalpAlgo
from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED, TO_BUY
from scalp.core.market_data import Bar, Trade
from scalp.core.units import MINUTE
from tests.trading import ABOVE_100, AROUND_100, FALLING, OPEN, Bot, BuysOnce, Script, minutes, trading

BOTH = {symbol: minutes(symbol, *[AROUND_100] * 40) for symbol in ("TSLA", "AAPL")}


class Always(ScalpAlgo):
    """A signal with every bar."""

    warmup_bars = 1

    def _calculate_buy_signal(self) -> bool:
        return True

    def on_trade(self, trade: Trade) -> None:
        """The last trade is the last close, 100."""


class Idler(Always):
    """Waits for its fourth minute."""

    def _calculate_buy_signal(self) -> bool:
        return len(self.session_bars) >= 4


def halt(bot: Bot, symbol: str) -> None:
    bot.server.catch_up()
    bot.server.simulation.halt(symbol)


def resume(bot: Bot, symbol: str) -> None:
    bot.server.catch_up()
    bot.server.simulation.resume(symbol)


def bar_in_spite_of_it(bot: Bot, symbol: str, minute: int) -> None:
    """The exchange's own tape is silent in a halt; the bar of the minute it began in comes nevertheless."""
    bot.server.on_bar(Bar(symbol, OPEN + minute * MINUTE, *AROUND_100, 1e6), False)
    bot.server.catch_up()


def bought(script: Script, symbol: str, since: float, until: float) -> int:
    return sum(
        since <= request.at < until for request in script.sent("POST /v2/orders", side="buy") if symbol in str(request)
    )


async def test_a_halt_stops_buys_in_its_symbol_alone() -> None:
    script = Script()
    async with trading(BOTH, script, Idler, length=40) as bot:
        await bot.until(200)
        halt(bot, "TSLA")
        await bot.until(241)
        bar_in_spite_of_it(bot, "TSLA", minute=3)
        await bot.until(460)
        assert len(bot.algo().session_bars) == 4  # it had a bar to buy on
        assert bot.algo().state is TO_BUY and "halt" in bot.algo().entry_blocks.why
        assert bought(script, "TSLA", 0, 460) == 0
        assert bought(script, "AAPL", 200, 460) > 0
        resume(bot, "TSLA")
        await bot.until(700)
        assert bought(script, "TSLA", 460, 700) > 0


async def test_a_resumption_that_nobody_told_of_shows_in_the_bars() -> None:
    script = Script()
    async with trading(BOTH, script, Idler, length=40) as bot:
        await bot.until(200)
        halt(bot, "TSLA")
        await bot.until(241)
        bot.server.close_streams("data")
        resume(bot, "TSLA")
        await bot.until(260)
        assert "halt" in bot.algo().entry_blocks.why
        await bot.until(500)
        assert bot.algo().entry_blocks.why == ""
        assert bought(script, "TSLA", 300, 500) > 0


async def test_a_sell_that_is_lost_during_a_halt_is_made_again() -> None:
    script = Script()
    market = {"TSLA": minutes("TSLA", AROUND_100, AROUND_100, *FALLING, *[ABOVE_100] * 20)}
    async with trading(market, script, BuysOnce, length=40) as bot:
        await bot.until(300)
        halt(bot, "TSLA")
        (order,) = bot.engine.open_orders("TSLA")
        bot.engine.cancel(order.id)
        bot.server.catch_up()
        await bot.until(340)
        first, second = script.orders("sell")
        assert (first.body["qty"], second.body["qty"]) == ("10", "10") and 300 <= second.at <= 331
        assert bot.algo().state is SELL_SUBMITTED and "halt" in bot.algo().entry_blocks.why
        resume(bot, "TSLA")
        await bot.until(900)
        assert bot.held() == 0


async def test_an_unfilled_buy_is_cancelled_during_a_halt() -> None:
    script = Script()
    market = {"TSLA": minutes("TSLA", AROUND_100, AROUND_100, *[ABOVE_100] * 38)}
    async with trading(market, script, BuysOnce, length=40) as bot:
        await bot.until(140)
        assert bot.algo().state is BUY_SUBMITTED
        halt(bot, "TSLA")
        await bot.until(300)
        assert script.sent("DELETE /v2/orders/")
        assert bot.algo().state is TO_BUY


async def test_the_end_of_the_session_comes_during_a_halt_too() -> None:
    """The market exit goes out and waits; trading resumes in time to fill it."""

    script = Script()
    market = {"TSLA": minutes("TSLA", AROUND_100, AROUND_100, *FALLING * 2)}
    async with trading(market, script, BuysOnce, length=20) as bot:
        await bot.until(600)
        assert bot.held() > 0
        halt(bot, "TSLA")
        await bot.until(15 * 60 + 5)
        assert script.sent("POST /v2/orders", side="sell", type="market")
        assert bot.held() > 0
        resume(bot, "TSLA")
        await bot.until(17 * 60)
        assert bot.held() == 0
