"""How a session ends: liquidation that is verified, a close that moves, and what stopping early does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED
from scalp.core.units import SECOND
from scalp.exchange.orders import OrderRequest
from scalp.live.reconcile import Reconciler
from tests.live.test_hours import calendar_says, clock_says
from tests.live.test_session import QUIET
from tests.trading import (
    ABOVE_100,
    AROUND_100,
    AT_100,
    FALLING,
    OPEN,
    Bot,
    BuysOnce,
    Idle,
    Script,
    answer_lost,
    hangs,
    late,
    minutes,
    never_arrives,
    page,
    run,
    slow,
    status,
    trading,
)

CALM = {"TSLA": minutes("TSLA", *[AROUND_100] * 30)}
HELD = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING, *[FALLING[-1]] * 10)}
WORKING = {"TSLA": minutes("TSLA", AT_100, AT_100, *[ABOVE_100] * 18)}
CLOSE = 1200
POST, POSITIONS, ORDERS = "POST /v2/orders", "GET /v2/positions", "GET /v2/orders"


def play(story: Callable[[Bot], Any], market: Any, **more: Any) -> Script:
    script = Script()

    async def all_of_it() -> None:
        async with trading(market, script, **more) as bot:
            await story(bot)

    run(all_of_it())
    return script


def by_hand(bot: Bot, side: str, qty: int, price: str | None = None) -> None:
    kind, limit = ("market", None) if price is None else ("limit", Decimal(price))
    bot.engine.submit(OrderRequest("TSLA", side, kind, "day", Decimal(qty), limit_price=limit))
    bot.server.catch_up()


def is_flat(bot: Bot) -> bool:
    return bot.held() == 0 and bot.engine.open_orders() == [] and not bot.session.tell_leftovers()


async def to_the_end(bot: Bot) -> None:
    await bot.until(CLOSE + 0.1)
    await bot.session.finish()


# -- liquidation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize(("side", "qty", "price"), [("buy", 3, None), ("buy", 3, "90"), ("buy", 4, "100.05")])
def test_orders_by_hand_while_liquidating(side: str, qty: int, price: str | None, is_told: bool) -> None:
    async def story(bot: Bot) -> None:
        if not is_told:
            bot.script.deliver = lambda update: ()
        await bot.until(CLOSE - 240)
        by_hand(bot, side, qty, price)
        await bot.until(CLOSE - 240 + 30)
        assert is_flat(bot)

    play(story, CALM, algo=Idle)


def test_listings_are_looked_at_every_10_s_while_liquidating() -> None:
    async def story(bot: Bot) -> None:
        await bot.until(CLOSE - 1)

    script = play(story, QUIET, algo=Idle)

    def gaps(what: str, since: float) -> set[float]:
        times = [r.at for r in script.sent(what) if since - 1 < r.at < CLOSE - 12]
        return {round(b - a) for a, b in pairwise(times)}

    assert gaps(POSITIONS, 60) - {30} == {10}
    assert gaps(POSITIONS, CLOSE - 300) == {10}
    assert gaps("GET /v2/clock", CLOSE - 600) == {10}
    early = [r.at for r in script.sent(POSITIONS) if 60 < r.at < CLOSE - 310]
    assert all(b - a > 29 for a, b in pairwise(early))


@pytest.mark.parametrize("trouble", [answer_lost, never_arrives, status(500), hangs(7)])
def test_a_lost_cancel_or_the_loss_of_its_update(trouble: Any) -> None:
    async def story(bot: Bot) -> None:
        await bot.until(CLOSE - 310)
        assert bot.algo().state is SELL_SUBMITTED
        bot.script.deliver = lambda update: () if update.event == "canceled" else (0.0,)
        bot.script.on("DELETE /v2/orders/", trouble, times=2)
        await bot.until(CLOSE - 270)
        assert is_flat(bot)

    script = play(story, HELD)
    assert len(script.sent(POST, type="market")) == 1


@pytest.mark.parametrize("trouble", [status(403, "no"), status(504), page(502), answer_lost, status(429)])
def test_a_refused_or_unknown_exit_goes_again_until_all_is_sold(trouble: Any) -> None:
    async def story(bot: Bot) -> None:
        await bot.until(CLOSE - 310)
        bot.script.on(POST, trouble, times=4)
        await bot.until(CLOSE - 200)
        assert is_flat(bot)

    play(story, HELD)


def test_exit_that_is_rejected_after_it_was_accepted_goes_again() -> None:
    async def story(bot: Bot) -> None:
        bot.server.simulation.halt("TSLA")
        await bot.until(CLOSE - 290)
        (order,) = bot.engine.open_orders()
        assert order.type == "market"
        bot.engine.reject(order.id)
        bot.server.simulation.resume("TSLA")
        await bot.until(CLOSE - 270)
        assert is_flat(bot)

    async def halted_late(bot: Bot) -> None:
        await bot.until(CLOSE - 310)
        await story(bot)

    play(halted_late, HELD)


def test_shares_that_arrive_late_are_sold_too() -> None:
    """Both the update of a late fill and the listings come to know of it late."""

    async def story(bot: Bot) -> None:
        await bot.until(CLOSE - 301)
        bot.script.deliver = lambda update: (8.0,)
        by_hand(bot, "buy", 5)
        await bot.until(CLOSE - 260)
        assert is_flat(bot)

    play(story, CALM, algo=Idle)


def test_a_later_close_leaves_nothing_for_the_next_open() -> None:
    """A sell sent after the calendar's close would fill in the morning."""

    async def story(bot: Bot) -> None:
        bot.script.on("GET /v2/clock", clock_says(is_open=True, closes=CLOSE + 590), times=999)
        bot.server._end += 600 * SECOND
        await bot.until(CLOSE + 60)
        assert bot.jobs[2].done()
        await bot.session.finish()
        assert is_flat(bot)

    script = play(story, HELD)
    assert [r.body["type"] for r in script.orders("sell")] == ["limit", "market"]
    assert script.orders("sell")[-1].at == pytest.approx(CLOSE - 300, abs=1)


def test_a_close_that_moves_near_liquidates_at_once() -> None:
    async def story(bot: Bot) -> None:
        await bot.until(CLOSE - 500)
        assert bot.algo().state is SELL_SUBMITTED
        now = bot.script.now()
        bot.script.on("GET /v2/clock", clock_says(closes=now + 200), times=99)
        bot.script.on("GET /v2/calendar", calendar_says(closes="09:45"), times=99)
        await bot.until(now + 12)
        assert [r.body["type"] for r in bot.script.orders("sell")] == ["limit", "market"]
        assert is_flat(bot)

    play(story, HELD)


# -- stopping early ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_exit", ["keep", "cancel-buys", "flatten"])
@pytest.mark.parametrize(("market", "state"), [(WORKING, BUY_SUBMITTED), (HELD, SELL_SUBMITTED)])
def test_stopping(market: Any, state: Any, on_exit: str) -> None:
    async def story(bot: Bot) -> None:
        await bot.until(150)
        assert bot.algo().state is state
        before = [(o.side, o.type) for o in bot.engine.open_orders()]
        await bot.session.drain()
        after = [(o.side, o.type) for o in bot.engine.open_orders()]
        stays = on_exit == "keep" or (on_exit == "cancel-buys" and state is SELL_SUBMITTED)
        assert after == (before if stays else [])
        assert bot.held() == (10 if stays and state is SELL_SUBMITTED else 0)
        assert bot.script.now() < (156 if on_exit == "flatten" else 151)
        if on_exit == "flatten":
            assert is_flat(bot)

    play(story, market, on_exit=on_exit)


def test_flatten_buys_nothing_more() -> None:
    async def story(bot: Bot) -> None:
        await bot.until(119)
        bot.script.on(POSITIONS, hangs(9), times=9)  # so that it takes its 30 s
        await bot.session.drain()
        assert 148 < bot.script.now() < 151
        assert bot.script.orders("buy") == []

    play(story, QUIET, on_exit="flatten")


def test_flatten_before_the_first_listings_came() -> None:
    async def story(bot: Bot) -> None:
        await bot.session.drain()
        assert is_flat(bot)
        assert bot.script.now() < 20

    def before(engine: Any) -> None:
        engine.on_trade("TSLA", OPEN, 100.0, 1e6)
        engine.submit(OrderRequest("TSLA", "buy", "limit", "day", Decimal(5), limit_price=Decimal("99")))

    play(story, CALM, algo=Idle, before=before, on_exit="flatten")


def test_cancel_buys_before_the_first_listings_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bot: Bot) -> None:
        await bot.session.drain()
        assert bot.engine.open_orders() == []

    def before(engine: Any) -> None:
        engine.on_trade("TSLA", OPEN, 100.0, 1e6)
        engine.submit(OrderRequest("TSLA", "buy", "limit", "day", Decimal(5), limit_price=Decimal("99")))

    play(story, QUIET, algo=Idle, before=before)


def test_flatten_goes_on_when_the_listings_show_more() -> None:
    """Shares nobody told of: found by the last look, sold, and looked at again."""

    async def story(bot: Bot) -> None:
        await bot.until(100)
        bot.script.deliver = lambda update: ()
        by_hand(bot, "buy", 5)
        await bot.until(101)
        await bot.session.drain()
        assert is_flat(bot)

    play(story, CALM, algo=Idle, on_exit="flatten")


@pytest.mark.parametrize(("trouble", "more"), [(status(403, "no"), 0), (status(500), 4), (hangs(100), 4)])
def test_flatten_ends_after_30_seconds_and_says_what_is_left(
    trouble: Any, more: int, caplog: pytest.LogCaptureFixture
) -> None:
    """And 4 more, where what became of the last exit is not known."""

    async def story(bot: Bot) -> None:
        await bot.until(150)
        bot.script.on(POST, trouble, times=999)
        await bot.session.drain()
        assert 180 + more <= bot.script.now() < 182 + more
        assert bot.session.tell_leftovers()

    play(story, HELD, on_exit="flatten")
    assert "not flat, or not known to be, after 30 s" in caplog.text
    assert "TSLA: 10 held" in caplog.text


def test_flatten_in_the_last_2_seconds_sends_nothing() -> None:
    async def story(bot: Bot) -> None:
        bot.script.on(POST, slow(0))
        bot.script.on(POST, status(403, "no"), times=999)
        await bot.until(CLOSE - 1.5)
        sent = len(bot.script.sent("POST"))
        await bot.session.drain()
        assert len(bot.script.sent("POST")) == sent
        assert bot.script.now() < CLOSE + 2
        assert bot.session.tell_leftovers()

    play(story, HELD, on_exit="flatten")


def test_a_close_that_has_not_come_after_all_ends_nothing() -> None:
    """The clock was 400 s ahead, which the data show while the last looks are taken and nothing is confirmed."""

    async def story(bot: Bot) -> None:
        bot.script.on(ORDERS, status(503), times=999)
        await bot.until(CLOSE + 0.1)
        ending = asyncio.ensure_future(bot.session.finish())
        await asyncio.sleep(12)
        bot.session.clock._offset -= 400 * SECOND  # type: ignore[operator]
        assert not await asyncio.wait_for(ending, 30)
        assert (bot.session.is_over, bot.session.has_closed) == (False, False)
        assert bot.session.checkup()

    play(story, CALM, algo=Idle)


def test_a_look_that_breaks_does_not_stop_winding_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(bot: Bot) -> None:
        await bot.until(150)

        async def dies(self: Any) -> bool:
            raise ZeroDivisionError

        monkeypatch.setattr(Reconciler, "reconcile", dies)
        await bot.session.drain()
        assert bot.held() == 0

    play(story, HELD, algo=BuysOnce, on_exit="flatten")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("seconds", [1, 6])
def test_exit_in_middle_of_being_replaced_is_seen_through(seconds: float) -> None:
    """A risk rule has just asked to cancel the sell; what goes at market is on its way before the bot ends."""

    async def story(bot: Bot) -> None:
        await bot.until(150)
        assert bot.algo().state is SELL_SUBMITTED
        bot.script.on("DELETE /v2/orders/", slow(seconds))
        bot.session.fleet.risk._close_position(bot.algo(), "a stop loss")
        await bot.session.drain()
        assert [order.type for order in bot.engine.open_orders()] == (["market"] if bot.held() else [])
        assert [r.body["type"] for r in bot.script.orders("sell")] == ["limit", "market"]

    play(story, HELD)


def test_flatten_sees_its_last_sell_through() -> None:
    """Four were refused; the fifth is on its way when the 30 s are over."""

    async def story(bot: Bot) -> None:
        await bot.until(150)
        bot.script.on(POST, *[status(403, "no")] * 4, slow(2))
        await bot.session.drain()
        assert 181 < bot.script.now() < 182
        assert [order.type for order in bot.engine.open_orders()] == (["market"] if bot.held() else [])
        assert all(order.id for order in bot.algo().ledger.open_orders)

    play(story, HELD, on_exit="flatten")


def test_sell_of_buy_that_fills_in_last_instant_is_seen_through() -> None:
    """The buy stays, and fills while the books are compared: its sell is on its way when that is done."""

    async def story(bot: Bot) -> None:
        await bot.until(150)
        (buy,) = bot.engine.open_orders()
        bot.script.on("GET /v2/account/activities/FILL", late(0.5))
        bot.script.on(POST, slow(2))
        leaving = asyncio.ensure_future(bot.session.drain())
        await asyncio.sleep(0.4)
        bot.engine._fill(buy, bot.engine._book("TSLA"), (Decimal(100), 10))
        bot.server.catch_up()
        await leaving
        assert len(bot.script.orders("sell")) == 1
        assert [order.id for order in bot.algo().ledger.open_orders if not order.id] == []

    play(story, WORKING, on_exit="keep")


@pytest.mark.parametrize(("on_exit", "sold"), [("keep", []), ("cancel-buys", ["3"])])
def test_a_part_of_a_buy_is_not_waited_for(on_exit: str, sold: list[str]) -> None:
    """Its sell comes when the buy has ended, which nobody hastens where every order stays as it is."""

    async def story(bot: Bot) -> None:
        await bot.until(150)
        (buy,) = bot.engine.open_orders()
        bot.engine._fill(buy, bot.engine._book("TSLA"), (Decimal(100), 3))
        await bot.until(151)
        assert (bot.algo().state, bot.algo().ledger.position) == (BUY_SUBMITTED, Decimal(3))
        await bot.session.drain()
        assert [request.body["qty"] for request in bot.script.orders("sell")] == sold
        assert any(order.side == "buy" for order in bot.engine.open_orders()) is not bool(sold)
        assert bot.script.now() < 156

    play(story, WORKING, on_exit=on_exit)
