"""From the signal to the sold shares: what the bot does on an ordinary day, seen from the exchange."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import web

from tests.blackbox.alpaca import Alpaca, Request, answer
from tests.blackbox.bot import ALWAYS, Bot, until


async def test_a_whole_trade() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "--lot=2000", "AAPL") as bot:
            await bot.trades()
            # A print after the bar's minute is the newest price; 101.237 is no valid limit and goes down to 101.23.
            await alpaca.trade("AAPL", 101.237)
            await alpaca.bar("AAPL", "10:30", 101.0)
            buy = await bot.order("AAPL", "buy")
            assert (buy["type"], buy["time_in_force"], buy["limit_price"]) == ("limit", "day", "101.23")
            assert buy["qty"] == "19"  # floor(2000 / 101.23)
            assert re.fullmatch(r"scalp-AAPL-\d{13}-1", buy["client_order_id"])

            # The market went on to 101.402: the exit is offered there, rounded up.
            await alpaca.trade("AAPL", 101.402)
            await bot.early_questions(buy)
            await bot.hears_all("AAPL")
            before = len(alpaca.requests)
            await alpaca.fill(buy, price="101.20")
            sell = await bot.order("AAPL", "sell")
            assert (sell["qty"], sell["type"], sell["limit_price"]) == ("19", "limit", "101.41")
            # Between the fill and the sell there was nothing else.
            assert alpaca.requests[before].body["side"] == "sell"

            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.posted()) == 2
            log = (bot.folder / "console.log").read_text()
            assert re.search(r"2031-03-12 10:3\d:\d\d\.\d{3} INFO +AAPL +TO_BUY -> BUY_SUBMITTED", log)
            assert "bar 101.0 101.0 101.0 101.0" in log
            bot.process.terminate()
            assert await bot.exits() == 143
            assert re.search(r"AAPL +1 +19 +\+3\.99 +0", bot.text)


async def test_a_trade_in_real_time_after_a_wait() -> None:
    """As with a real account: on uvloop, with exits rehearsed while the buy is at work."""
    async with (
        Alpaca() as alpaca,
        Bot(alpaca, "AAPL", "--debug", signal=ALWAYS, environment={"SCALP_SPEED": ""}) as bot,
    ):
        await bot.says("exits are rehearsed")
        await bot.trades()
        await alpaca.bar("AAPL", "10:30", 50.0)
        buy = await bot.order("AAPL", "buy")
        await bot.early_questions(buy)
        await asyncio.sleep(0.5)
        await alpaca.fill(buy)
        sell = await bot.order("AAPL", "sell")
        assert (sell["qty"], sell["limit_price"]) == ("40", "50.00")
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2
        bot.process.terminate()
        assert await bot.exits() == 143
        assert not bot.errors and "REHEARSAL" not in bot.text and "not rehearsed" not in bot.text


async def test_the_exit_is_never_below_the_entry() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "--lot", "1000", "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            buy = await bot.order("AAPL", "buy")
            await alpaca.trade("AAPL", 97.5)
            await alpaca.trade("AAPL", 250.0, conditions=("I",))  # an odd lot is no last sale
            await bot.hears_all("AAPL")
            await alpaca.fill(buy, 4, price="100.98")
            await alpaca.fill(buy, 5, price="100.99")
            sell = await bot.order("AAPL", "sell")
            # 100.98555... on average, up to the next cent.
            assert (buy["qty"], sell["qty"], sell["limit_price"]) == ("9", "9", "100.99")


async def test_a_close_on_its_average_or_below_buys_nothing() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL", price=100.0, last=99.0)  # 101 lifts the average to 100 exactly: above it
        alpaca.flat_morning("TSLA", price=100.0, last=99.0)
        alpaca.flat_morning("FB", minutes=19)  # one bar too few, whatever it says
        alpaca.flat_morning("NVDA", price=100.0, last=100.1)  # was above already: no crossing
        async with Bot(alpaca, "AAPL", "TSLA", "FB", "NVDA") as bot:
            await bot.trades()
            await alpaca.bars("10:30", TSLA=99.9, FB=101.0, NVDA=101.0, AAPL=101.0)
            await bot.order("AAPL", "buy")
            await bot.says("bar ", times=4)
            assert [r.body["symbol"] for r in alpaca.posted()] == ["AAPL"]


async def test_the_fill_arrives_before_the_answer_to_its_order() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL")

        async def fill_first(request: Request) -> web.Response:
            response = alpaca.ordinary(request)
            await alpaca.fill(alpaca.open_orders("AAPL")[0])
            await until(lambda: alpaca.posted("AAPL", "sell"), "the sell, before the answer to the buy")
            return response

        alpaca.on("POST", "/v2/orders", fill_first, times=1)
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            sell = await bot.order("AAPL", "sell")
            await until(lambda: alpaca.posted("AAPL", "buy")[0].status, "the answer to the buy")
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.posted()) == 2


async def test_partial_fills_wait_for_the_rest() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            buy = await bot.order("AAPL", "buy")
            await alpaca.fill(buy, 5)
            await alpaca.fill(buy, 7)
            await bot.says("bought 7")
            assert not alpaca.posted("AAPL", "sell")
            await alpaca.fill(buy)
            sell = await bot.order("AAPL", "sell")
            assert sell["qty"] == buy["qty"] == "19"
            await alpaca.fill(sell, 18)
            await bot.says("sold 18")
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")


async def test_an_unfilled_buy_is_cancelled_and_its_part_sold() -> None:
    async with Alpaca(speed=30) as alpaca:
        alpaca.flat_morning("AAPL", "TSLA")
        async with Bot(alpaca, "AAPL", "TSLA") as bot:
            await bot.trades()
            await alpaca.bars("10:30", AAPL=101.0, TSLA=101.0)
            nothing, part = await bot.order("AAPL", "buy"), await bot.order("TSLA", "buy")
            await alpaca.fill(part, 6)
            cancels = await until(lambda: c if len(c := alpaca.asked("DELETE")) >= 2 else None, "two cancels")
            assert {c.path.rpartition("/")[2] for c in cancels} == {nothing["id"], part["id"]}
            for cancel in cancels:
                # At the first checkup (30 s apart) after two minutes; the rest is what a busy machine may take.
                assert 119.5 <= cancel.when - alpaca.posted()[0].when <= 190
            assert (await bot.order("TSLA", "sell"))["qty"] == "6"
            await bot.says("AAPL BUY_SUBMITTED -> TO_BUY")
            assert not alpaca.posted("AAPL", "sell")


async def test_a_fill_wins_against_its_cancel() -> None:
    async with Alpaca(speed=30) as alpaca:
        alpaca.flat_morning("AAPL", "TSLA", "NVDA")
        alpaca.obeys_cancels = False  # 204, and then it depends
        async with Bot(alpaca, "AAPL", "TSLA", "NVDA") as bot:
            await bot.trades()
            await alpaca.bars("10:30", AAPL=101.0, TSLA=101.0, NVDA=101.0)
            accepted, refused, both = [await bot.order(s, "buy") for s in ("AAPL", "TSLA", "NVDA")]
            for buy in (accepted, refused, both):
                await bot.early_questions(buy)
            await alpaca.fill(refused, tell=False)  # its cancel is answered with 422, and nothing else is ever told

            await until(lambda: accepted["status"] == "pending_cancel", "a cancel")
            await alpaca.fill(accepted)
            await until(lambda: both["status"] == "pending_cancel", "a cancel")
            await alpaca.end(both, "canceled")  # cancelled, and in the same instant filled
            await alpaca.fill(both)
            for symbol in ("AAPL", "TSLA", "NVDA"):
                assert (await bot.order(symbol, "sell"))["qty"] == "19"
                assert len(alpaca.posted(symbol)) == 2


async def test_a_sell_cancelled_by_hand_is_offered_again() -> None:
    async with Alpaca(speed=10) as alpaca:
        for symbol in ("AAPL", "TSLA"):
            alpaca.hold(symbol, 7, "100")
            alpaca.place(symbol, "sell", 7, "103.00")
        by_hand = list(alpaca.orders.values())
        async with Bot(alpaca, "AAPL", "TSLA") as bot:
            await bot.trades()
            assert not alpaca.posted()
            await alpaca.end(by_hand[0])
            await bot.says("AAPL SELL_SUBMITTED -> TO_SELL")
            await alpaca.bar("AAPL", "10:30", 101.5)
            assert (await bot.order("AAPL", "sell"))["limit_price"] == "101.50"  # at the next bar
            await alpaca.end(by_hand[1])
            assert (await bot.order("TSLA", "sell"))["limit_price"] == "100.00"  # at the next checkup
            assert len(alpaca.posted()) == 2


async def test_a_sell_is_left_working() -> None:
    async with Alpaca(speed=40) as alpaca:
        alpaca.flat_morning("AAPL")
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            await alpaca.fill(await bot.order("AAPL", "buy"))
            sell = await bot.order("AAPL", "sell")
            offered_at = alpaca.now
            await until(lambda: alpaca.now > offered_at + 200, "200 s of the exchange")
            for minute in ("10:31", "10:32", "10:33"):
                await alpaca.bar("AAPL", minute, 90.0)
            await bot.says("bar 90.0", times=3)
            assert sell["status"] == "new"
            assert len(alpaca.posted()) == 2 and not alpaca.asked("DELETE")


async def test_repeated_late_and_unheard_of_updates_change_nothing() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning("AAPL")
        alpaca.binary_frames = False
        async with Bot(alpaca, "AAPL") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            buy = await bot.order("AAPL", "buy")

            async def again(data: dict[str, Any]) -> None:
                await alpaca.send_update({"stream": "trade_updates", "data": data})

            junk: list[object] = [
                [], {}, 7, None, {"stream": "trade_updates"}, {"stream": "trade_updates", "data": None},
                {"stream": "account_updates", "data": {"id": "x"}},
                {"stream": "trade_updates", "data": {"event": "fill", "order": {}}},
                {"stream": "trade_updates", "data": {"event": "fill", "order": {"symbol": "ZZZ", "filled_qty": "9"}}},
            ]  # fmt: skip
            for message in junk:
                await alpaca.send_update(message)
            first = await alpaca.fill(buy, 5)
            await again(first)
            await alpaca.tell("restated_in_a_new_way", buy | {"status": "resting_in_2032"}, wonder=[1, {"a": None}])
            await alpaca.tell("order_cancel_rejected", buy)
            await alpaca.tell("pending_cancel", buy | {"status": "pending_cancel"})
            last = await alpaca.fill(buy)
            for old in (first, last, last, first):
                await again(old)
            await alpaca.tell("new", buy | {"status": "new", "filled_qty": "0", "filled_avg_price": None})
            sell = await bot.order("AAPL", "sell")
            assert sell["qty"] == "19"
            done = await alpaca.fill(sell)
            await again(done)
            await again(last)
            await alpaca.trade("AAPL", 101.9)
            await alpaca.bar("AAPL", "10:31", 101.0)
            await bot.says("bar 101.0", times=2)
            assert len(alpaca.posted()) == 2
            bot.process.terminate()
            assert await bot.exits() == 143
            assert re.search(r"AAPL +1 +19 +\+0\.00 +0", bot.text)


async def test_answers_and_updates_with_nothing_but_the_needed() -> None:
    """Optional fields are absent: of orders, of updates, of bars, of positions."""
    kept = ("id", "client_order_id", "status", "symbol", "side", "qty", "filled_qty", "filled_avg_price")
    async with Alpaca() as alpaca:
        alpaca.order_fields = kept
        alpaca.hold("TSLA", 7, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            held = await bot.order("TSLA", "sell")
            await alpaca.bar("AAPL", "10:30", 50.0)
            buy = await bot.order("AAPL", "buy")
            await alpaca.fill(buy, 15)
            await alpaca.fill(buy)
            await alpaca.fill(held)
            await alpaca.fill(await bot.order("AAPL", "sell"))
            await bot.says("SELL_SUBMITTED -> TO_BUY", times=2)
            assert len(alpaca.posted()) == 3


async def test_bars_that_are_late_repeated_or_corrected_do_not_trade() -> None:
    no_money = {"code": 40310000, "message": "insufficient buying power", "buying_power": "0", "cost_basis": "1999"}
    async with Alpaca(at="10:35:05") as alpaca:
        alpaca.on("POST", "/v2/orders", answer(403, no_money), times=1)
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 50.0)  # four minutes late
            await bot.says("late")
            await alpaca.bar("AAPL", "10:33", 51.0)
            await bot.says("refused: insufficient buying power")
            await alpaca.bar("AAPL", "10:33", 51.0)  # the same minute again
            await alpaca.bar("AAPL", "10:33", 51.5, kind="u")  # and corrected
            await alpaca.bar("AAPL", "10:32", 52.0)  # an older one
            await bot.says("bar ", times=5)
            assert len(alpaca.posted()) == 1
            await alpaca.bar("AAPL", "10:34", 51.25)
            buy = await bot.order("AAPL", "buy")
            assert buy["limit_price"] == "51.25"
            # Refused or not, an id is used once.
            assert [r.body["client_order_id"][-2:] for r in alpaca.posted()] == ["-1", "-2"]


async def test_a_signal_that_fails_stops_no_other_symbol() -> None:
    body = "return self.symbol == 'AAPL' and self._bars.close.iloc[-1] > 100 or 1 / 0"
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=body, may_trace=True) as bot:
        await bot.trades()
        await alpaca.bars("10:30", TSLA=101.0, AAPL=101.0)
        await bot.order("AAPL", "buy")
        await bot.says("ZeroDivisionError")
        assert not alpaca.posted("TSLA")
