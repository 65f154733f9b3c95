"""What listings say against what the orders themselves said: a listing alone takes nothing back and buys nothing."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from tests.blackbox.alpaca import HTML, Alpaca, Request, answer
from tests.blackbox.bot import ALWAYS, FLATTEN, Bot, until
from tests.blackbox.sockets import seconds

SPREAD: dict[str, Any] = {
    # The parent of an order with several legs has neither symbol nor side of its own.
    "id": "0f2b3c4d-0000-4000-8000-000000000001", "client_order_id": "spread", "symbol": None, "side": None,
    "asset_class": "us_option", "order_class": "mleg", "type": "limit", "qty": "1", "filled_qty": "0", "notional": None,
    "filled_avg_price": None, "limit_price": "1.05", "status": "new", "submitted_at": "2031-03-12T13:31:00Z",
    "legs": [{"id": "0f2b3c4d-0000-4000-8000-000000000002", "symbol": "SPY310321C00500000", "side": "buy",
              "qty": "1", "filled_qty": "0", "status": "new"}],
}  # fmt: skip


def looks(alpaca: Alpaca, since: float) -> list[Request]:
    """The positions that were asked for since, and answered."""
    return [r for r in alpaca.asked("GET", "/v2/positions$") if r.when > since and r.status == 200]


@pytest.mark.parametrize("orders_lag", [0.0, 20.0], ids=["alone", "as the orders are"])
async def test_a_position_that_is_listed_late_cancels_nothing(orders_lag: float) -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        alpaca.positions_lag, alpaca.orders_lag = 20.0, orders_lag
        await alpaca.reaches("10:31:22")  # soon the bot looks by itself
        sell = await bot.holds()
        await alpaca.passes(45)
        assert looks(alpaca, alpaca.now - 45)
        assert sell["status"] == "new" and not alpaca.asked("DELETE")
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        assert len(alpaca.posted()) == 2
        await alpaca.passes(45)  # until the listings tell the same
        await alpaca.fresh_bars(AAPL=50.0)
        await bot.order("AAPL", "buy", nth=2)


async def test_a_position_still_listed_is_not_sold_again() -> None:
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        stale = {"symbol": "AAPL", "qty": "40", "avg_entry_price": "50", "side": "long"}
        alpaca.shown_positions = lambda rows: [*[r for r in rows if r["symbol"] != "AAPL"], stale]
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")
        sold_at = alpaca.now
        await until(lambda: looks(alpaca, sold_at), "a look at the positions")
        await alpaca.fresh_bars(AAPL=50.0, TSLA=50.0)
        await bot.order("TSLA", "buy")  # another symbol is not concerned
        await alpaca.passes(1)
        assert [r.body["side"] for r in alpaca.posted("AAPL")] == ["buy", "sell"]
        alpaca.shown_positions = list
        await alpaca.passes(45)
        await alpaca.fresh_bars(AAPL=50.0)
        await bot.order("AAPL", "buy", nth=2)
        assert len(alpaca.posted("AAPL")) == 3


@pytest.mark.parametrize("shown", [[], [0]], ids=["nothing", "one row of two"])
async def test_positions_that_are_never_listed_are_sold_at_the_end(shown: list[int]) -> None:
    async with Alpaca(at="15:52:40", speed=20) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        alpaca.shown_positions = lambda rows: [rows[i] for i in shown if i < len(rows)]
        await bot.holds(50.0, "AAPL", "TSLA")
        await alpaca.reaches("15:54:01")
        await alpaca.fresh_bars(AAPL=50.0, TSLA=50.0)
        await alpaca.reaches("15:54:40")
        assert not alpaca.asked("DELETE") and len(alpaca.posted()) == 4
        for symbol in ("AAPL", "TSLA"):
            exit_ = await bot.order(symbol, "sell", nth=2)
            assert (exit_["type"], exit_["qty"]) == ("market", "40")
            await alpaca.fill(exit_, price="49.90")
        assert all(r.when >= alpaca.minute("15:55") - 1 for r in alpaca.asked("DELETE"))
        assert await bot.exits() == 0
        assert len(alpaca.posted()) == 6


async def test_an_empty_listing_makes_nobody_flat() -> None:
    """The market exit fills in part: the exit code and the last line go by the executions."""
    async with Alpaca(at="15:58:10", speed=20) as alpaca:
        alpaca.hold("AAPL", 40, "50")
        async with Bot(alpaca, "AAPL") as bot:
            exit_ = await bot.order("AAPL", "sell")
            alpaca.shown_positions = lambda rows: []
            await alpaca.fill(exit_, 30, price="49.90")
            assert await bot.exits() == 1
            assert "AAPL" in bot.last_line and "10 held" in bot.last_line


@pytest.mark.parametrize("told", ["at once", "never", "late"])
async def test_a_fill_that_the_first_listing_does_not_have_yet(told: str) -> None:
    async with Alpaca(at="10:35:02") as alpaca:
        buy = alpaca.place("AAPL", "buy", 10, "50.00", client_order_id="scalp-AAPL-1930000000000-1")
        alpaca.positions_lag = 0.2
        updates: list[dict[str, Any]] = []

        async def fill_first(request: Request) -> web.Response | None:
            if not updates:
                updates.append({})
                updates[0] = await alpaca.fill(buy, tell=told == "at once")
                await alpaca.passes(0.1)
            return None

        alpaca.on("GET", "/v2/orders$", fill_first)
        async with Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
            if told == "late":
                await until(lambda: updates and updates[0], "the fill")
                await alpaca.passes(3)
                await alpaca.tell_late(updates[0])
            sell = await bot.order("AAPL", "sell")
            assert alpaca.posted()[0].when - seconds(buy["filled_at"]) < 6
            assert sell["qty"] == "10"
            await bot.trades()
            await alpaca.fresh_bars(AAPL=50.0)
            await alpaca.passes(2)
            assert len(alpaca.posted()) == 1
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            assert len(alpaca.posted()) == 1


async def test_fill_between_first_listings_of_orders_and_positions() -> None:
    """The one shows the order at work, the other does not show its shares yet, and nobody tells of the fill."""
    async with Alpaca(at="10:35:02", speed=5) as alpaca:
        buy = alpaca.place("AAPL", "buy", 10, "50.00", client_order_id="scalp-AAPL-1930000000000-1")
        alpaca.positions_lag, alpaca.orders_lag = 0.5, 0.6
        alpaca.tells_updates = False

        async def fill_first(request: Request) -> None:
            if not buy["filled_at"]:
                await alpaca.fill(buy)

        alpaca.on("GET", "/v2/positions$", fill_first)
        async with Bot(alpaca, "AAPL") as bot:
            sell = await bot.order("AAPL", "sell")
            assert alpaca.posted()[0].when - seconds(buy["filled_at"]) < 40
            assert sell["qty"] == "10"
            await alpaca.passes(3)
            assert len(alpaca.posted()) == 1


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("path", ["/v2/orders$", "/v2/positions$"])
async def test_bought_by_hand_around_the_first_listings(path: str, nth: int, told: bool) -> None:
    """An order of somebody else, placed and filled in the moment of a listing that does not show it yet."""
    async with Alpaca(at="10:35:02", speed=5) as alpaca:
        alpaca.positions_lag = 0.2
        bought: list[float] = []

        async def buy_first(request: Request) -> None:
            if len(alpaca.asked("GET", path)) == nth:
                await alpaca.fill(alpaca.place("AAPL", "buy", 5, "100.00"), tell=told)
                bought.append(alpaca.now)

        alpaca.on("GET", path, buy_first)
        async with Bot(alpaca, "AAPL") as bot:
            sell = await bot.order("AAPL", "sell")
            # Nobody tells of a stranger's order: the next checkup's listings do, and they have to stand for a minute
            # where the two clocks, which agree to some ms, don't tell which came first.
            assert alpaca.posted()[0].when - bought[0] < (6 if told else 105) and sell["qty"] == "5"
            await alpaca.passes(3)
            await alpaca.fill(sell)
            await bot.says("SELL_SUBMITTED -> TO_BUY")
            await alpaca.passes(8)
            assert len(alpaca.posted()) == 1


async def test_an_execution_that_only_the_activities_know() -> None:
    """The stream is mute, the order's own page is of before: the account's activities have the fill."""
    async with Alpaca(speed=10) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        await alpaca.fresh_bars(AAPL=50.0)
        buy = await bot.order("AAPL", "buy")
        await alpaca.passes(3)
        alpaca.on("GET", f"/v2/orders/{buy['id']}", answer(200, dict(buy)))
        alpaca.on("GET", "/v2/orders:by_client", answer(200, dict(buy)))
        alpaca.shown_orders = lambda rows: [buy | {"filled_qty": "0", "status": "new", "filled_avg_price": None}]
        await alpaca.fill(buy, tell=False)
        filled_at = alpaca.now
        sell = await bot.order("AAPL", "sell")
        assert sell["qty"] == "40" and alpaca.posted("AAPL", "sell")[0].when - filled_at < 75
        assert len(alpaca.posted()) == 2


async def test_surplus_without_explanation_is_offered_after_minute() -> None:
    """Shares from another broker: no order and no execution tells of them. A sell that works is let be."""
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", "TSLA", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        alpaca.transfer("AAPL", 5, "50")
        alpaca.transfer("TSLA", 7, "100")
        came_at = alpaca.now
        offered = await bot.order("TSLA", "sell")
        assert offered["qty"] == "7"
        assert 58 <= alpaca.posted("TSLA")[0].when - came_at < 150
        await alpaca.passes(40)
        assert sell["status"] == "new" and not alpaca.asked("DELETE")
        await alpaca.fill(sell)
        assert (await bot.order("AAPL", "sell", nth=2))["qty"] == "5"
        assert [r.body["side"] for r in alpaca.posted("AAPL")] == ["buy", "sell", "sell"]


async def test_shares_sold_elsewhere_are_gone_when_activities_tell_so() -> None:
    """By hand: the bot's sell is cancelled, all is sold at market, and the stream tells nothing of it."""
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        await alpaca.end(sell, tell=False)
        await alpaca.fill(alpaca.place("AAPL", "sell", 40, None), price="50.00", tell=False)
        await alpaca.passes(70)
        # What is gone already is offered until a look has told: refused each time, and no more often than it may pass.
        assert all(request.status == 422 for request in alpaca.posted()[2:]) and len(alpaca.posted()) <= 6
        await alpaca.fresh_bars(AAPL=50.0)
        await bot.order("AAPL", "buy", nth=2)


async def test_a_sell_that_is_listed_nowhere_for_a_while_is_not_gone() -> None:
    """Neither in the listing nor by id: that something is absent is no fact about it."""
    no_order = answer(404, {"code": 40410000, "message": "order not found"})
    async with Alpaca(speed=20) as alpaca, Bot(alpaca, "AAPL", signal=ALWAYS) as bot:
        await bot.trades()
        sell = await bot.holds()
        alpaca.shown_orders = lambda rows: []
        alpaca.on("GET", f"/v2/orders/{sell['id']}", no_order)
        alpaca.on("GET", "/v2/orders:by_client", no_order)
        await alpaca.passes(100)
        assert {r.body["client_order_id"] for r in alpaca.posted("AAPL", "sell")} == {sell["client_order_id"]}
        assert sell["status"] == "new" and not alpaca.asked("DELETE") and len(alpaca.orders) == 2
        await alpaca.fill(sell)
        await bot.says("SELL_SUBMITTED -> TO_BUY")


async def test_an_odd_row_costs_only_itself() -> None:
    """An option spread among the orders, rows without sense among the positions."""
    odd: list[Any] = [None, "?", {"symbol": "SPY310321C00500000", "qty": None}, {"qty": "3"},
                      {"symbol": "TSLA", "qty": "many", "avg_entry_price": "100", "side": "long"}]  # fmt: skip
    async with Alpaca(speed=10) as alpaca:
        alpaca.hold("NVDA", 7, "100")
        alpaca.shown_orders = lambda rows: [SPREAD, *rows, SPREAD | {"id": None}]
        alpaca.shown_positions = lambda rows: [*odd, *rows]
        async with Bot(alpaca, "AAPL", "TSLA", "NVDA", signal=ALWAYS) as bot:
            assert (await bot.order("NVDA", "sell"))["qty"] == "7"
            await bot.trades()
            await alpaca.fresh_bars(AAPL=50.0, TSLA=50.0)
            await alpaca.fill(await bot.order("AAPL", "buy"))
            await bot.order("AAPL", "sell")
            await alpaca.passes(35)
            # What is held of it nobody can tell: no buy there.
            assert not alpaca.posted("TSLA") and not alpaca.asked("DELETE")
            odd.pop()
            await alpaca.passes(65)
            await alpaca.fresh_bars(TSLA=50.0)
            await bot.order("TSLA", "buy")


@pytest.mark.parametrize("trouble", ["an odd order", "an odd position", "a refused cancel", "one 500 each"])
async def test_flatten_gets_flat(trouble: str) -> None:
    async with Alpaca() as alpaca:
        alpaca.hold("AAPL", 7, "100")
        alpaca.place("AAPL", "sell", 7, "103.00")
        if trouble == "an odd order":
            alpaca.shown_orders = lambda rows: [SPREAD, *rows]
        elif trouble == "an odd position":
            alpaca.shown_positions = lambda rows: [{"symbol": None, "qty": "1"}, *rows, None]  # type: ignore[list-item]
        elif trouble == "a refused cancel":
            alpaca.on("DELETE", "/v2/orders", answer(422, {"code": 42210000, "message": "not cancelable"}), times=1)
        else:
            for method, path in (("GET", "/v2/orders"), ("GET", "/v2/positions"), ("DELETE", "/v2/orders")):
                alpaca.on(method, path, answer(500, HTML), times=1)
        async with Bot(alpaca, "AAPL", program=FLATTEN) as flatten:
            sell = await flatten.order("AAPL", "sell")
            assert (sell["type"], sell["qty"]) == ("market", "7")
            await alpaca.fill(sell, price="99.00")
            assert await flatten.exits() == 0
            assert len(alpaca.posted()) == 1
