"""Several symbols in one process: nobody waits for another one's trouble."""

from __future__ import annotations

from itertools import pairwise

from tests.blackbox.alpaca import Alpaca, answer, slowly
from tests.blackbox.bot import ALWAYS, Bot, until

SYMBOLS = ("AAPL", "TSLA", "NVDA", "AMD", "F", "FB")


async def test_answers_of_second_and_half_do_not_make_symbols_wait() -> None:
    async with Alpaca() as alpaca:
        alpaca.flat_morning(*SYMBOLS)
        async with Bot(alpaca, *SYMBOLS) as bot:
            await bot.trades()
            alpaca.on("POST", "/v2/orders", alpaca.taking(slowly(1.5)))
            alpaca.on("GET", "/v2/orders", slowly(1.5))
            began = alpaca.time.now
            await alpaca.bars("10:30", **dict.fromkeys(SYMBOLS, 101.0))
            await until(lambda: len(alpaca.posted()) == 6, "six buys")
            for order in list(alpaca.orders.values()):
                await alpaca.fill(order)
            await until(lambda: len(alpaca.posted()) == 12, "six sells")
            # One after the other would take 9 s to the last buy; here not even one answer has come.
            assert alpaca.time.now - began < 1.5
            assert not any(request.status for request in alpaca.posted())
            await until(lambda: all(r.status == 200 for r in alpaca.posted()), "all answers")
            assert len(alpaca.posted()) == 12


async def test_requests_for_one_symbol_do_not_hold_up_another() -> None:
    async with Alpaca(at="10:31:10", speed=4) as alpaca:
        alpaca.flat_morning("AAPL")
        alpaca.on("POST", "AAPL", answer(429, {"code": 42910000, "message": "rate limit exceeded"}), times=1)
        async with Bot(alpaca, "AAPL", "TSLA") as bot:
            await bot.trades()
            await alpaca.bar("AAPL", "10:30", 101.0)
            await bot.says("too many requests")
            await alpaca.fill(alpaca.place("TSLA", "buy", 5, "100.00"))  # shares out of the blue: an exit is due
            exit_ = await bot.order("TSLA", "sell")
            await alpaca.fill(exit_)
            # A second later the buy goes as it was: the minute is far from over, and the limit from reached.
            buy = await bot.order("AAPL", "buy")
            refused, again = alpaca.posted("AAPL")
            assert refused.body == again.body and again.body["client_order_id"] == buy["client_order_id"]
            assert refused.at <= alpaca.posted("TSLA")[0].at < again.at
            assert again.when - refused.when >= 0.9 and again.when < alpaca.minute("10:31") + 40


async def test_a_429_without_a_word_is_waited_out() -> None:
    async with Alpaca(speed=4) as alpaca:
        alpaca.hold("AAPL", 7, "100")
        alpaca.rate_limit_headers = False
        alpaca.on("POST", "/v2/orders", answer(429, {"message": "too many requests."}), times=3)
        async with Bot(alpaca, "AAPL") as bot:
            await bot.order("AAPL", "sell")
            sent = [r.when for r in alpaca.posted()]
            assert len(sent) == 4 and len({r.body["client_order_id"] for r in alpaca.posted()}) == 1
            pauses = [b - a for a, b in pairwise(sent)]
            # From a second, doubling; an exit waits for two at most.
            assert pauses[0] >= 0.9 and pauses[1] >= 1.9 and pauses[2] >= 1.9


async def test_a_symbol_that_nobody_watches_is_not_touched() -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("NVDA", 9, "100")
        other = alpaca.place("AMD", "buy", 3, "20.00")
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            await alpaca.fill(other)
            await alpaca.bars("10:30", AMD=20.0, NVDA=100.0, AAPL=50.0)
            await bot.order("AAPL", "buy")
            assert {r.body["symbol"] for r in alpaca.posted()} == {"AAPL"}
            assert "AMD" not in bot.text and "NVDA" not in bot.text


async def test_shares_bought_by_hand_are_sold_too() -> None:
    async with Alpaca() as alpaca, Bot(alpaca, "AAPL") as bot:
        await bot.trades()
        await alpaca.trade("AAPL", 99.0)
        await alpaca.fill(alpaca.place("AAPL", "buy", 5, "100.00"))
        first = await bot.order("AAPL", "sell")
        assert (first["qty"], first["limit_price"]) == ("5", "100.00")
        # More of them while the sell works: it is cancelled, and all are offered together.
        await alpaca.fill(alpaca.place("AAPL", "buy", 2, "99.00"), price="99.00")
        second = await bot.order("AAPL", "sell", nth=2)
        assert first["status"] == "canceled" and second["qty"] == "7"


async def test_a_short_position_is_left_alone() -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("AAPL", -5, "100")
        async with Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
            await bot.trades()
            await bot.says("short position")
            await alpaca.bars("10:30", AAPL=50.0, TSLA=50.0)
            await bot.order("TSLA", "buy")
            assert not alpaca.posted("AAPL")


async def test_an_order_edited_by_hand_is_followed() -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("AAPL", 7, "100")
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            edited = await alpaca.replace(await bot.order("AAPL", "sell"), "101.50")
            await alpaca.bar("AAPL", "10:30", 100.0)
            await bot.says("bar 100.0")
            await alpaca.fill(edited)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.posted()) == 1 and not alpaca.asked("DELETE")
