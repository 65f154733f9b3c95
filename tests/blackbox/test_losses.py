"""--max-loss counts what was lost, by whatever way it is learned, and strikes on what is known."""

from __future__ import annotations

from typing import Any

import pytest

from tests.blackbox.alpaca import Alpaca, Answer, answer
from tests.blackbox.bot import ALWAYS, Bot, until


@pytest.mark.parametrize("told", ["by the activities alone", "as an unknown order on the stream"])
async def test_shares_sold_elsewhere_at_a_loss_count(told: str) -> None:
    """40 bought at 50 and sold by hand at 40: $400. What else is held goes at market, nothing is bought any more."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "--max-loss", "300", "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.passes(8)  # what was traded before is read, too
        sell = await bot.holds(50.0, "AAPL", "TSLA")
        by_stream = not told.startswith("by the")
        await alpaca.end(sell, tell=False)
        await alpaca.fill(alpaca.place("AAPL", "sell", 40, None), price="40.00", tell=by_stream)
        sold_at = alpaca.now
        exit_ = await bot.order("TSLA", "sell", nth=2)
        assert exit_["type"] == "market"
        assert alpaca.posted("TSLA")[-1].when - sold_at < 100
        await alpaca.fill(exit_, price="50.00")
        await bot.says("TSLA SELL_SUBMITTED -> TO_BUY")
        await alpaca.fresh_bars(AAPL=50.0, TSLA=50.0)
        await alpaca.passes(5)
        assert len(alpaca.posted("AAPL", "buy")) == len(alpaca.posted("TSLA", "buy")) == 1


@pytest.mark.parametrize(
    "refusal",
    [answer(500, {"code": 50010000, "message": "internal"}), answer(403, {"message": "forbidden."}),
     answer(404, {"code": 40410000, "message": "not found"}), answer(200, {"rows": []})],
    ids=["500", "403", "404", "another shape"],
)  # fmt: skip
async def test_a_known_loss_strikes_though_fills_cannot_be_read(refusal: Answer) -> None:
    async with Alpaca(speed=10) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        alpaca.hold("TSLA", 7, "100")
        alpaca.on("GET", "/v2/account/activities", refusal)
        async with Bot(alpaca, "--max-loss", "300", "AAPL", "TSLA") as bot:
            await bot.trades()
            await bot.order("TSLA", "sell")
            first = await bot.order("AAPL", "sell")
            await alpaca.fill(first, 10)
            await bot.says("sold 10")
            await alpaca.trade("TSLA", 99.0)
            struck_at = alpaca.now
            await alpaca.trade("AAPL", 38.0)  # 30 x 12 = $360 lost
            for symbol, shares in (("AAPL", "30"), ("TSLA", "7")):
                exit_ = await bot.order(symbol, "sell", nth=2)
                assert (exit_["type"], exit_["qty"]) == ("market", shares)
            assert alpaca.posted()[-1].when - struck_at < 10


def a_day_of_fills(alpaca: Alpaca, rows: int, odd: dict[str, Any] | None = None) -> None:
    """So many round trips of one share of AAPL this morning, $2 lost in each."""
    for nth in range(rows):
        for side, price in (("buy", "50"), ("sell", "48")):
            second = f"{30 + nth // 60}:{nth % 60:02}"
            alpaca.activities.append({
                "id": f"2031031209{second.replace(':', '')}{0 if side == 'buy' else 500:03}::{nth:08}-{side}",
                "activity_type": "FILL", "type": "fill", "order_id": f"order-{nth}-{side}", "order_status": "filled",
                "side": side, "symbol": "AAPL", "price": price, "qty": "1", "cum_qty": "1", "leaves_qty": "0",
                "transaction_time": f"2031-03-12T13:{second}.{0 if side == 'buy' else 500:03}000Z",
            })  # fmt: skip
    if odd is not None:
        alpaca.activities.insert(7, odd)


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "with an odd row"])
async def test_the_days_losses_of_before_count_over_several_pages(odd: bool) -> None:
    """220 executions, $220 lost before the start; $120 more are too much. An odd row costs only itself."""
    row = {"id": "20310312094000000::odd", "activity_type": "FILL", "symbol": None, "side": None, "qty": "?",
           "price": None, "transaction_time": "2031-03-12T13:40:00.000000Z"}  # fmt: skip
    async with Alpaca(speed=10) as alpaca:
        a_day_of_fills(alpaca, 110, row if odd else None)
        async with Bot(alpaca, "--max-loss", "300", "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            async with alpaca.market(TSLA=50.0) as market:
                buy = await bot.order("TSLA", "buy")
                market.prices.clear()
                await alpaca.fill(buy)
                await bot.order("TSLA", "sell")
                await alpaca.trade("TSLA", 47.0)
                exit_ = await bot.order("TSLA", "sell", nth=2)
                assert exit_["type"] == "market"


async def test_a_loss_of_before_that_is_learned_late_strikes_then() -> None:
    """The day's fills can be read only after a minute: $400 lost before the start are counted from then on."""
    async with Alpaca(speed=10) as alpaca:
        a_day_of_fills(alpaca, 200)
        alpaca.hold("TSLA", 7, "100")
        alpaca.on("GET", "/v2/account/activities", answer(503, "<html>"), seconds=60)
        readable_at = alpaca.now + 60
        async with Bot(alpaca, "--max-loss", "300", "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            assert (await bot.order("TSLA", "sell"))["type"] == "limit"
            exit_ = await bot.order("TSLA", "sell", nth=2)
            assert exit_["type"] == "market"
            assert readable_at - 1 < alpaca.posted("TSLA")[-1].when < readable_at + 120
            assert not alpaca.posted("AAPL")


async def test_a_loss_of_ones_own_is_not_counted_twice() -> None:
    """The stream, the listing and the activities tell of the same losing trade: $160, under the $300."""
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "--max-loss", "300", "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.passes(8)
        sell = await bot.holds()
        await alpaca.fill(sell, price="46.00")
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        await alpaca.passes(70)
        await alpaca.fresh_bars(AAPL=50.0)
        await until(lambda: len(alpaca.posted("AAPL", "buy")) == 2, "the next buy")
