"""What becomes of orders when requests go wrong: the real edge against the built-in exchange."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise

import pytest

from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED, TO_BUY
from scalp.core.commands import CancelOrder
from scalp.core.order_state import Order
from scalp.core.risk_limits import RiskLimits
from scalp.core.risk_rules import RiskRules
from scalp.core.units import SECOND
from scalp.exchange.rest import Access
from tests.trading import (
    ABOVE_100,
    AROUND_100,
    AT_100,
    FALLING,
    OPEN,
    Bot,
    Outcome,
    Script,
    answer_lost,
    hangs,
    late,
    minutes,
    never_arrives,
    page,
    run,
    says,
    slow,
    status,
    trading,
)

SIGNAL = 120  # seconds after the open: the second bar has ended, and arrives 300 ms later
FILLS = minutes("TSLA", AT_100, AT_100, *[AROUND_100] * 10)
BUY_FILLS = minutes("TSLA", AT_100, AT_100, *FALLING)
NOTHING_FILLS = minutes("TSLA", AT_100, AT_100, *[ABOVE_100] * 10)

POST, BY_CLIENT_ID = "POST /v2/orders", "GET /v2/orders:by_client_order_id"


async def test_a_buy_that_fills_is_followed_by_one_request_the_sell() -> None:
    script = Script()
    async with trading({"TSLA": FILLS}, script) as bot:
        await bot.until(SIGNAL + 100)
        assert [(r.body["qty"], r.body["limit_price"]) for r in script.orders("buy")] == [("10", "100.00")]
        assert [(r.body["qty"], r.body["limit_price"]) for r in script.orders("sell")] == [("10", "100.00")]
        sell = script.requests.index(script.orders("sell")[0])
        filled_at = next(at for at, event in script.updates if event == "fill")
        between = [r for r in script.requests[:sell] if r.at >= filled_at]
        assert between == []
        assert script.requests[sell].at - filled_at < 0.001
        assert bot.algo().ledger.done.round_trips == 1
        assert bot.held() == 0


@pytest.mark.parametrize(
    "outcome", [never_arrives, hangs(30), status(500, "internal server error occurred"), page(502), page(504)]
)
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_an_order_that_never_arrived_goes_again_or_is_dropped(side: str, outcome: Outcome) -> None:
    """A sell goes again at once, with the same id; a buy never does: it is dropped after 5 s of "not found"."""

    script = Script()
    if side == "sell":
        script.on(POST, slow(0))  # the buy
    script.on(POST, outcome)
    async with trading({"TSLA": BUY_FILLS}, script) as bot:
        await bot.until(SIGNAL + 60)
        sent = script.orders(side)
        if side == "buy":
            asked = script.sent(BY_CLIENT_ID)
            assert asked[-1].at - asked[0].at >= 5.0
            assert len(sent) == 1
            assert bot.algo().state is TO_BUY
            assert bot.held() == 0
        else:
            assert len(sent) == 2
            assert sent[0].body == sent[1].body
            assert sent[1].at - sent[0].at <= 2.6
            assert bot.algo().state is SELL_SUBMITTED
            assert [order.id for order in bot.algo().ledger.open_orders] == [
                order.id for order in bot.engine.open_orders()
            ]


@pytest.mark.parametrize("outcome", [answer_lost, late(30), late(0.1, answer_lost)])
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_an_order_that_arrived_is_found_whatever_the_answer(side: str, outcome: Outcome) -> None:
    script = Script()
    script.deliver = lambda update: ()  # the stream tells nothing: only asking can
    if side == "sell":
        script.on(POST, slow(0))
    script.on(POST, outcome)
    async with trading({"TSLA": BUY_FILLS}, script) as bot:
        await bot.until(SIGNAL + 60)
        assert len(script.orders("buy")) == 1
        # Sent again under its own id, which the broker takes once.
        assert len({r.body["client_order_id"] for r in script.orders("sell")}) == 1
        assert len(bot.engine.open_orders()) == 1
        assert bot.algo().state is SELL_SUBMITTED
        assert bot.algo().ledger.position == bot.held() == 10


async def test_unanswered_questions_are_repeated_and_are_no_not_found() -> None:
    """However long they go on: only 5 s of "not found" at a stretch mean that nothing arrived."""

    script = Script()
    script.on(POST, late(9, answer_lost))
    unknown = status(404, "order not found")
    script.on(BY_CLIENT_ID, unknown, page(502), unknown, hangs(60), unknown, status(429), never_arrives, unknown)
    script.on("GET /v2/orders", slow(0))  # the start's
    script.on("GET /v2/orders", page(502), times=100)
    script.deliver = lambda update: () if update.order.side == "buy" else (0.0,)
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await bot.until(SIGNAL + 80)
        assert len(script.orders("buy")) == 1
        assert len(script.sent(BY_CLIENT_ID)) >= 8
        order = bot.algo().order
        assert order is not None and order.id == next(iter(bot.engine.orders))


def test_a_duplicate_id_is_believed_when_the_terms_match() -> None:
    async def story() -> None:
        async def arrives_and_is_called_a_duplicate(handle):  # type: ignore[no-untyped-def]
            handle()
            return await status(422, "client_order_id must be unique")(handle)

        script = Script()
        script.deliver = lambda update: ()
        script.on(POST, arrives_and_is_called_a_duplicate)
        async with trading({"TSLA": BUY_FILLS}, script) as bot:
            await bot.until(SIGNAL + 30)
            assert bot.algo().ledger.position == 10
            assert len(script.orders("sell")) == 1

    run(story())


@pytest.mark.parametrize(
    "other",
    [{"qty": "11"}, {"limit_price": "99"}, {"side": "sell"}, {"symbol": "FB"}, {"type": "market"},
     {"submitted_at": "2026-11-19T15:00:00Z"}],
)  # fmt: skip
async def test_a_duplicate_id_with_other_terms_is_a_refusal(other: dict[str, str]) -> None:
    script = Script()
    script.on(POST, status(422, "client_order_id must be unique"))
    order = {"id": "an-old-one", "symbol": "TSLA", "side": "buy", "type": "limit", "qty": "10", "status": "filled",
             "limit_price": "100", "filled_qty": "10", "submitted_at": "2026-11-20T14:32:01Z"}  # fmt: skip
    script.on(BY_CLIENT_ID, says(order | other))
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await bot.until(SIGNAL + 5)
        assert bot.algo().state is TO_BUY
        assert bot.algo().ledger.position == 0


@pytest.mark.parametrize("look_up", [404, 500])
async def test_sell_whose_id_is_taken_by_no_order_goes_under_another(look_up: int) -> None:
    script = Script()
    script.on(POST, slow(0))
    script.on(POST, status(422, "client_order_id must be unique"))
    script.on(BY_CLIENT_ID, status(look_up, "no answer"))
    async with trading({"TSLA": BUY_FILLS}, script) as bot:
        await bot.until(SIGNAL + 100)
        first, second = script.orders("sell")
        assert first.body["client_order_id"] != second.body["client_order_id"]
        assert 29 < second.at - first.at < 50


@pytest.mark.parametrize(("listing", "state"), [(page(502), BUY_SUBMITTED), (slow(0), TO_BUY)])
async def test_buy_whose_id_is_taken_is_dropped_by_two_looks_only(listing: Outcome, state: object) -> None:
    """That the id is taken says that it is there; so must both looks that it is not."""
    script = Script()
    script.on(POST, status(422, "client_order_id must be unique"))
    script.on(BY_CLIENT_ID, status(404, "order not found"), times=100)
    script.on("GET /v2/orders", slow(0))  # the start's
    script.on("GET /v2/orders", listing, times=100)
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await bot.until(SIGNAL + 50)
        assert (bot.algo().state, len(script.orders("buy"))) == (state, 1)


async def test_a_refused_sell_waits_for_its_next_try_and_reconciles() -> None:
    script = Script()
    script.on(POST, slow(0))
    script.on(POST, status(403, "insufficient qty available for order (requested: 10, available: 0)"))
    async with trading({"TSLA": BUY_FILLS}, script) as bot:
        await bot.until(SIGNAL + 80)
        first, second = (r.at for r in script.orders("sell"))
        assert second - first == pytest.approx(0.25, abs=0.05)
        listed = [r.at for r in script.sent("GET /v2/positions") if first <= r.at < first + 0.1]
        assert len(listed) == 1


@pytest.mark.parametrize(
    ("headers", "waits"), [({"Retry_After": "3600"}, 2.0), ({}, 1.0), ({"Retry_After": "soon"}, 1.0)]
)
async def test_429_on_one_symbol_holds_up_no_other(headers: dict[str, str], waits: float) -> None:
    script = Script()
    script.on(POST, slow(0), times=2)
    script.on(POST, status(429, "rate limit exceeded", **headers), symbol="TSLA")
    market = {"TSLA": BUY_FILLS, "FB": minutes("FB", AT_100, AT_100, *FALLING)}
    async with trading(market, script) as bot:
        await bot.until(SIGNAL + 60)
        sells = [(r.body["symbol"], r.at) for r in script.orders("sell")]
        assert [symbol for symbol, _ in sells] == ["TSLA", "FB", "TSLA"]
        (_, first), (_, other), (_, again) = sells
        assert other - first < 0.1
        assert again - first == pytest.approx(waits, abs=0.01)
        assert script.orders("sell")[0].body == script.orders("sell")[2].body


async def test_an_exit_waits_2_seconds_at_most_after_a_429() -> None:
    script = Script()
    script.on(POST, slow(0))
    script.on(POST, status(429, "too many requests."), times=6)
    async with trading({"TSLA": BUY_FILLS}, script) as bot:
        await bot.until(SIGNAL + 100)
        at = [r.at for r in script.orders("sell")]
        waits = [round(later - earlier) for earlier, later in pairwise(at)]
        assert waits == [1, 2, 2, 2, 2, 2]
        order = bot.algo().order
        assert order is not None and order.id


async def test_sell_that_waited_into_last_seconds_does_not_go_out() -> None:
    """Parked at the broker it would be tomorrow's first order."""

    script = Script()
    script.on(POST, slow(0))
    script.on(POST, status(429, "too many requests."), times=1000)
    async with trading({"TSLA": BUY_FILLS}, script, length=10) as bot:
        await bot.until(602)
        assert script.orders("sell")[-1].at < 598


def test_entries_wait_for_the_limit_and_are_dropped_after_30_s() -> None:
    async def story(recovers: bool) -> None:
        script = Script()
        async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
            limiter = bot.broker._limiter
            await bot.until(SIGNAL + 0.1)
            bot.rest.on_rate_limit = None
            limiter._remaining, limiter._resets_at = 2, OPEN + (SIGNAL + (20 if recovers else 60)) * SECOND
            await bot.until(SIGNAL + 35)
            if recovers:
                assert [r.at - SIGNAL for r in script.orders("buy")] == [pytest.approx(20.15, abs=0.15)]
            else:
                assert script.orders("buy") == []
                assert bot.algo().state is TO_BUY

    run(story(recovers=True))
    run(story(recovers=False))


async def test_entry_is_dropped_after_30_s_though_limit_is_fresh() -> None:
    script = Script()
    script.on(POST, status(429, "too many requests.", Retry_After="45"))
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await bot.until(SIGNAL + 70)
        assert len(script.orders("buy")) == 1
        assert bot.algo().state is TO_BUY


async def test_an_entry_is_not_kept_for_longer_than_it_may_wait() -> None:
    script = Script()
    script.on(POST, status(429, "too many requests.", Retry_After="3600"))
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await bot.until(SIGNAL + 32)
        assert bot.algo().state is TO_BUY


async def test_exits_never_wait_for_the_budget() -> None:
    script = Script()
    async with trading({"TSLA": BUY_FILLS}, script) as bot:
        await bot.until(SIGNAL + 0.301)
        bot.broker._limiter.refused(60)
        await bot.until(SIGNAL + 59)
        filled = next(at for at, event in script.updates if event == "fill")
        assert [r.at - filled < 0.001 for r in script.orders("sell")] == [True]


async def test_many_signals_in_one_minute_do_not_lock_each_other_out() -> None:
    """Entries that wait need no cancel and no exit yet: as many go as the limit has room for."""

    script = Script()
    symbols = [f"S{number}" for number in range(120)]
    market = {symbol: minutes(symbol, AT_100, AT_100, ABOVE_100, ABOVE_100) for symbol in symbols}
    async with trading(market, script, access=Access(trading_limit=200)) as bot:
        await bot.until(SIGNAL + 40)
        assert 50 <= len(script.orders("buy")) <= 67
        assert bot.session.fleet.reservation.needed == 2 * len(script.orders("buy"))


async def test_a_buy_is_asked_for_by_id_while_requests_are_plenty() -> None:
    async def story(rest_left: int) -> list[float]:
        script = Script()
        async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
            await bot.until(SIGNAL + 0.2)
            limiter = bot.broker._limiter
            limiter._remaining = rest_left
            limiter.on_rate_limit = lambda *_: None  # type: ignore[method-assign]
            bot.rest.on_rate_limit = None
            await bot.until(SIGNAL + 20)
            posted = script.orders("buy")[0].at
            order_id = next(iter(bot.engine.orders))
            return [r.at - posted for r in script.sent(f"GET /v2/orders/{order_id}")]

    *densely, last = await story(200)
    gaps = [after - before for before, after in pairwise([0.0, *densely])]
    assert 29 <= len(densely) <= 34 and max(gaps) < 0.03 and 0.49 < densely[-1] < 0.53
    assert last == pytest.approx(0.7, abs=0.011)
    thinned = await story(160)
    assert 6 <= len(thinned) < 20
    assert await story(103) == pytest.approx([0.05, 0.15], abs=0.011)
    assert await story(100) == []


async def test_an_answer_by_id_starts_the_exit_and_ends_the_questions() -> None:
    script = Script()
    script.deliver = lambda update: (0.25,)  # the stream is late
    fast = minutes("TSLA", AT_100, AT_100, (99.0, 99.0, 99.0, 99.0), *FALLING)
    async with trading({"TSLA": fast}, script) as bot:
        await bot.until(SIGNAL + 20)
        posted, sold = script.orders("buy")[0].at, script.orders("sell")[0].at
        asked = [r.at for r in script.requests if r.what.startswith("GET /v2/orders/")]
        assert asked
        assert max(asked) <= sold
        assert sold - posted < 0.25
        assert len(script.orders("sell")) == 1
        assert bot.algo().ledger.position == 10


async def test_mute_stream_is_noticed_5_seconds_after_order_moved() -> None:
    script = Script()
    async with trading({"TSLA": BUY_FILLS}, script) as bot:
        await bot.until(SIGNAL + 0.1)
        bot.server.mute_streams("orders")
        handshakes: list[float] = []
        script.handshake = lambda kind: bool(handshakes.append(script.now()))  # type: ignore[method-assign, func-returns-value]
        await bot.until(SIGNAL + 60)
        moved = script.orders("sell")[0].at
        assert handshakes
        assert 5 <= handshakes[0] - moved <= 9
        assert len(script.orders("buy")) == 1


async def test_a_cancel_waits_for_the_answer_to_its_order() -> None:
    script = Script()
    script.on(POST, late(4))
    script.deliver = lambda update: ()
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await bot.until(SIGNAL + 1)
        order = bot.algo().order
        assert order is not None
        for _ in range(3):
            bot.session.broker.perform(CancelOrder("TSLA", order.client_order_id))
        await bot.until(SIGNAL + 10)
        (cancel,) = script.sent("DELETE /v2/orders/")
        assert cancel.at == pytest.approx(SIGNAL + 4.3, abs=0.2)
        assert bot.algo().state is TO_BUY


async def test_a_cancel_that_lost_against_the_fill_finds_the_fill() -> None:
    script = Script()
    script.deliver = lambda update: () if update.order.side == "buy" else (0.0,)
    late_fill = minutes("TSLA", AT_100, AT_100, ABOVE_100, *FALLING)
    script.on("DELETE /v2/orders/", status(422, 'order is already in "filled" state'))
    async with trading({"TSLA": late_fill}, script) as bot:
        await bot.until(SIGNAL + 1)
        order = bot.algo().order
        assert order is not None
        await bot.until(SIGNAL + 62)
        assert order.filled_qty == 0
        bot.session.broker.perform(CancelOrder("TSLA", order.client_order_id, order.id))
        await bot.until(SIGNAL + 62.5)
        assert bot.algo().ledger.position == bot.held() == 10
        assert len(script.orders("sell")) == 1


@contextlib.asynccontextmanager
async def exit_with_a_stop(script: Script) -> AsyncIterator[tuple[Bot, Order, Order]]:
    """The bot, the limit of its exit and the stop."""
    fill = minutes("TSLA", AT_100, AT_100, ABOVE_100, *FALLING)
    async with trading({"TSLA": fill}, script) as bot:
        bot.session.fleet.risk.rules = RiskRules(RiskLimits(stop_loss=Decimal("0.2")))
        await bot.until(SIGNAL + 62)
        (stop,) = [order for order in bot.algo().ledger.open_orders if order.stop_price and order.parent is not None]
        yield bot, stop.head, stop


async def test_a_cancel_goes_to_what_is_left_of_a_group() -> None:
    """The stop begins to sell in the instant of the cancel: the limit has ended then, and the stop works."""
    script = Script()
    async with exit_with_a_stop(script) as (bot, limit, stop):
        limit.status = "canceled"
        bot.session.broker.perform(CancelOrder("TSLA", limit.client_order_id, limit.id))
        await bot.until(SIGNAL + 62.5)
        assert [request.what for request in script.sent("DELETE")] == [f"DELETE /v2/orders/{stop.id}"]
        limit.status = stop.status = "canceled"
        bot.session.broker.perform(CancelOrder("TSLA", limit.client_order_id, limit.id))
        await bot.until(SIGNAL + 63)
        assert len(script.sent("DELETE")) == 1


async def test_a_cancel_that_came_too_late_goes_to_the_stop() -> None:
    """The broker accepts the cancel of a limit that its stop had ended: the stop sells on."""
    script = Script()
    script.on("DELETE /v2/orders/", says({}))
    async with exit_with_a_stop(script) as (bot, limit, stop):
        bot.session.broker.perform(CancelOrder("TSLA", limit.client_order_id, limit.id))
        await bot.until(SIGNAL + 62.2)
        limit.status = "canceled"
        await bot.until(SIGNAL + 63)
        assert [request.what.rpartition("/")[2] for request in script.sent("DELETE")] == [limit.id, stop.id]


def test_an_accepted_cancel_may_still_end_in_a_fill() -> None:
    async def story() -> None:
        async def accepted_but_too_late(handle):  # type: ignore[no-untyped-def]
            from scalp.exchange.rest import Response

            return Response(204, {}, b"")

        script = Script()
        script.deliver = lambda update: () if update.order.side == "buy" else (0.0,)
        script.on("DELETE /v2/orders/", accepted_but_too_late)
        fill = minutes("TSLA", AT_100, AT_100, ABOVE_100, *FALLING)
        async with trading({"TSLA": fill}, script) as bot:
            await bot.until(SIGNAL + 59)
            order = bot.algo().order
            assert order is not None
            bot.session.broker.perform(CancelOrder("TSLA", order.client_order_id, order.id))
            await bot.until(SIGNAL + 68)
            assert order.status == "filled"
            assert len(script.orders("sell")) == 1
            asked = [r for r in script.requests if r.what.startswith("GET /v2/orders/") and r.at > SIGNAL + 59]
            assert 1 <= len(asked) <= 4

    run(story())


async def test_an_unfilled_buy_is_cancelled_after_2_minutes() -> None:
    async def story(bot: Bot, script: Script) -> None:
        await bot.until(SIGNAL + 160)
        (cancel,) = script.sent("DELETE /v2/orders/")
        assert 120 <= cancel.at - script.orders("buy")[0].at <= 151
        assert bot.algo().state is TO_BUY
        assert bot.engine.open_orders() == []

    script = Script()
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await story(bot, script)


async def test_a_last_trade_that_does_not_come_is_not_waited_for() -> None:
    script = Script()
    script.on("GET /v2/stocks/TSLA/trades/latest", hangs(60))
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        await bot.until(SIGNAL)
        bot.algo().asks_last_trade = True
        await bot.until(SIGNAL + 10)
        (buy,) = script.orders("buy")
        assert buy.at - SIGNAL == pytest.approx(3.3, abs=0.2)
        assert buy.body["limit_price"] == "100.00"  # its last close


async def test_questions_without_an_answer_hold_up_no_close() -> None:
    script = Script()
    async with trading({"TSLA": NOTHING_FILLS}, script) as bot:
        script.on("GET /v2/orders/", hangs(60), times=50)
        await bot.until(SIGNAL + 0.4)
        assert script.orders("buy") and any(r.what.startswith("GET /v2/orders/") for r in script.requests)
        began = script.now()
        await bot.session.broker.close()
        assert script.now() == began
