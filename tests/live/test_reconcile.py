"""The broker's listings against the ledgers: at the start, after reconnections, at every checkup."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

import pytest
from msgspec.structs import replace

from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED, TO_BUY
from scalp.core.commands import SubmitOrder
from scalp.core.orders import BUY, OrderReport
from scalp.core.units import SECOND
from scalp.exchange import wire
from scalp.exchange.matching import Engine
from scalp.exchange.orders import OrderRequest
from scalp.live.start_listings import _executions
from tests.live.test_hours import clock_says, holds_10
from tests.trading import (
    ABOVE_100,
    AT_100,
    FALLING,
    OPEN,
    BuysOnce,
    Idle,
    Outcome,
    Script,
    hangs,
    late,
    minutes,
    page,
    run,
    says,
    status,
    trading,
)

QUIET = {"TSLA": minutes("TSLA", *[AT_100] * 3)}
BUY_FILLS = {"TSLA": minutes("TSLA", AT_100, AT_100, *FALLING)}
ORDERS, POSITIONS = "GET /v2/orders", "GET /v2/positions"


def by_hand(side: str, qty: int, price: str | None = None, symbol: str = "TSLA") -> OrderRequest:
    limit = None if price is None else Decimal(price)
    return OrderRequest(symbol, side, "market" if price is None else "limit", "day", Decimal(qty), limit_price=limit)


def holds(qty: int, symbol: str = "TSLA") -> object:
    """The account holds shares from before."""

    def prepare(engine: Engine) -> None:
        engine.on_trade(symbol, OPEN, 100.0, 1e6)
        engine.submit(by_hand("buy", qty, symbol=symbol))
        engine.advance(OPEN + 10**8)
        engine.on_trade(symbol, OPEN + 10**8, 100.0, 1e6)
        engine.advance(OPEN + 10**9)
        assert engine.account.held(symbol) == qty

    return prepare


async def test_what_is_held_at_the_start_is_offered_at_once() -> None:
    script = Script()
    async with trading(QUIET, script, Idle, before=holds(7)) as bot:  # type: ignore[arg-type]
        await bot.until(0.5)
        assert [r.body["qty"] for r in script.orders("sell")] == ["7"]
        assert bot.algo().state is SELL_SUBMITTED


async def test_holdings_are_offered_though_updates_cannot_be_had() -> None:
    script = Script()
    script.handshake = lambda kind: kind == "orders"  # type: ignore[method-assign]
    async with trading(QUIET, script, Idle, before=holds(7)) as bot:  # type: ignore[arg-type]
        await bot.until(4)
        assert len(script.orders("sell")) == 1
        assert not bot.session.fleet.readiness.is_ready


async def test_a_second_listing_that_fails_holds_up_no_first_sell() -> None:
    """The bars take too long to tell a last trade, and then the broker lists no more: its first listings serve."""

    script = Script()
    script.on("GET /v2/stocks/bars", hangs(60))
    script.on(POSITIONS, late(0))
    script.on(POSITIONS, status(503), times=20)
    async with trading(QUIET, script, Idle, before=holds(7)) as bot:  # type: ignore[arg-type]
        await bot.until(1.5)
        assert [r.body["limit_price"] for r in script.orders("sell")] == ["100.01"]  # the entry price


async def test_an_order_that_the_second_listing_lacks_is_asked_for() -> None:
    """A buy of an earlier run works, and only the first of two listings at the start says so."""

    script = Script()
    script.on("GET /v2/stocks/bars", hangs(60))
    script.on(ORDERS, late(0), late(0), says([]), times=1)

    def prepare(engine: Engine) -> None:
        holds(7)(engine)  # type: ignore[operator]
        engine.submit(replace(by_hand("buy", 5, "90"), client_order_id="scalp-TSLA-1-1"))
        engine.advance(engine.now + 10**8)

    async with trading(QUIET, script, Idle, before=prepare) as bot:
        await bot.until(3)
        [buy] = [order for order in bot.algo().ledger if order.side == BUY]
        assert [request.what for request in script.sent(f"GET /v2/orders/{buy.id}")] != []
        assert (buy.cancel_sent_at > 0 or not buy.has_ended, bot.algo().ledger.position) == (True, Decimal(7))


async def test_in_the_liquidation_no_price_is_waited_for() -> None:
    script = Script()
    script.on("GET /v2/stocks/bars", hangs(60))
    async with trading(QUIET, script, Idle, before=holds(7), length=4) as bot:  # type: ignore[arg-type]
        await bot.until(0.5)
        assert [r.body["type"] for r in script.orders("sell")] == ["market"]


def test_a_working_order_is_followed_after_a_restart() -> None:
    async def story(side: str, price: str, state: object) -> None:
        script = Script()
        before = holds(5) if side == "sell" else lambda engine: None

        def prepare(engine: Engine) -> None:
            before(engine)  # type: ignore[operator]
            engine.submit(by_hand(side, 5, price))
            engine.advance(engine.now + 10**8)

        async with trading(QUIET, script, BuysOnce, before=prepare) as bot:
            await bot.until(1)
            assert bot.algo().state is state
            assert script.sent("POST") == []

    run(story("buy", "90", BUY_SUBMITTED))
    run(story("sell", "110", SELL_SUBMITTED))


async def test_a_listed_sell_cancelled_before_stands_for_no_shares() -> None:
    """The listing of orders is behind: in the liquidation nothing goes out for what was sold before the restart."""

    script, stale = Script(), []

    def prepare(engine: Engine) -> None:
        holds(5)(engine)  # type: ignore[operator]
        request = by_hand("sell", 5, "105")
        order = engine.submit(replace(request, client_order_id="scalp-TSLA-1-1", position_intent="sell_to_close"))
        engine.advance(engine.now + 10**8)
        stale.append(wire.order(engine.order(order.id), engine.assets))
        engine.cancel(order.id)
        engine.advance(engine.now + 10**8)
        engine.submit(by_hand("sell", 5))
        engine.on_trade("TSLA", engine.now, 100.0, 1e6)
        engine.advance(engine.now + 10**8)
        assert engine.account.held("TSLA") == 0
        script.on(ORDERS, says(stale))

    async with trading(QUIET, script, Idle, before=prepare, length=4) as bot:
        await bot.until(60)
        assert [request.what for request in script.sent("POST")] == []
        assert (bot.algo().state, bot.algo().ledger.position) == (TO_BUY, Decimal(0))


@pytest.mark.parametrize("listing_lags", [True, False])
async def test_an_order_that_has_ended_is_not_followed(listing_lags: bool) -> None:
    """A buy by hand was cancelled with 4 of 9 bought: its activity, or a listing that lags, has it open still."""

    script, stale = Script(), []

    def prepare(engine: Engine) -> None:
        engine.on_trade("TSLA", OPEN, 100.0, 1e6)
        buy = engine.submit(by_hand("buy", 9, "90"))
        engine.advance(engine.now + 10**8)
        engine._fill(engine.order(buy.id), engine._book("TSLA"), (Decimal(90), 4))
        stale.append(wire.order(engine.order(buy.id), engine.assets))
        engine.cancel(buy.id)
        engine.advance(engine.now + 10**9)
        script.on(ORDERS, says(stale if listing_lags else []))
        script.on(POSITIONS, says([]))
        script.on(f"GET /v2/orders/{buy.id}", status(503), times=999)

    async with trading(QUIET, script, Idle, before=prepare) as bot:
        await bot.until(3)
        assert [sell.body["qty"] for sell in script.orders("sell")] == ["4"]
        assert script.sent("DELETE") == []


def test_executions_of_one_instant_keep_their_order() -> None:
    """Of an order that has ended, the last one has its end."""
    first, last = (
        OrderReport("TSLA", "a", "", "sell", "limit", "partially_filled", Decimal(10), Decimal(filled), None, at=OPEN)
        for filled in (4, 10)
    )
    ended = replace(last, status="filled")
    assert _executions([first, last], [ended], OPEN) == {"TSLA": [first, ended]}


async def test_what_cancelled_sell_had_sold_explains_first_listing() -> None:
    """No execution can be read, but the orders that have ended: 7 bought, and 4 of them sold before the cancel."""

    script = Script()
    script.on("GET /v2/account/activities/", status(403, "forbidden."), times=99)

    def prepare(engine: Engine) -> None:
        holds(7)(engine)  # type: ignore[operator]
        sell = engine.submit(by_hand("sell", 7, "101"))
        engine.advance(engine.now + 10**8)
        engine._fill(engine.order(sell.id), engine._book("TSLA"), (Decimal(101), 4))
        engine.cancel(sell.id)
        engine.advance(engine.now + 10**9)
        assert engine.account.held("TSLA") == 3

    async with trading(QUIET, script, Idle, before=prepare) as bot:
        await bot.until(3)
        assert (bot.algo().ledger.position, [sell.body["qty"] for sell in script.orders("sell")]) == (
            Decimal(3),
            ["3"],
        )


async def test_a_clock_behind_dates_no_position_before_its_orders() -> None:
    """The buy is told of late, by the orders that ended: two that work are younger."""

    script = Script()
    script.on("GET /v2/clock", clock_says(ahead=-300), times=999)
    script.on("GET /v2/account/activities/", status(503), times=999)
    script.on(ORDERS, late(0), status(503))

    def prepare(engine: Engine) -> None:
        holds_10(engine)
        engine.submit(by_hand("sell", 3))
        engine.on_trade("TSLA", engine.now, 100.0, 1e6)
        engine.advance(engine.now + SECOND)
        for qty in (4, 3):
            engine.submit(by_hand("sell", qty, "105"))
        engine.advance(engine.now + SECOND)

    async with trading(QUIET, script, Idle, start=400, before=prepare) as bot:
        await bot.until(401)
        await bot.session.reconciler._hear_of_orders(["TSLA"])
        assert bot.algo().ledger.position == bot.held() == 7


async def test_a_short_position_is_no_missing_row() -> None:
    """The other leg of its exit has sold the shares too: a sell that still works stands for none then."""

    def prepare(engine: Engine) -> None:
        holds(5)(engine)  # type: ignore[operator]
        request = by_hand("sell", 5, "105")
        engine.submit(replace(request, client_order_id="scalp-TSLA-1-1", position_intent="sell_to_close"))
        engine.advance(engine.now + 10**8)
        engine.account.apply("TSLA", "sell", Decimal(8), Decimal(100))

    async with trading(QUIET, Script(), Idle, before=prepare) as bot:
        await bot.until(1)
        assert bot.algo().ledger.position == bot.held() == -3


@pytest.mark.parametrize("length", [20, 4])
async def test_an_order_that_only_a_refusal_names_is_found(length: int) -> None:
    """No listing shows the sell that holds the shares; near the close it makes way for a market exit."""

    script, hidden = Script(), []

    def prepare(engine: Engine) -> None:
        holds(5)(engine)  # type: ignore[operator]
        hidden.append(engine.submit(by_hand("sell", 5, "105")).id)
        engine.advance(engine.now + 10**8)

    script.on(ORDERS, says([]), times=999)
    async with trading(QUIET, script, Idle, before=prepare, length=length) as bot:
        await bot.until(60)
        sells = script.orders("sell")
        assert len(sells) == (1 if length == 20 else 2)  # the first was refused
        order = bot.algo().order
        if length == 20:
            assert order is not None and order.id == hidden[0]
            assert bot.algo().state is SELL_SUBMITTED
        else:
            assert [request.what for request in script.sent("DELETE")] == [f"DELETE /v2/orders/{hidden[0]}"]
            assert sells[-1].body["type"] == "market"


async def test_updates_that_arrive_during_the_first_listings_count() -> None:
    """A fill by hand while the positions are listed: the listing does not show it yet."""

    script = Script()
    script.on(POSITIONS, late(1.0))
    async with trading({"TSLA": minutes("TSLA", *[AT_100] * 5)}, script, Idle) as bot:
        await bot.until(0.5)
        await bot.rest.submit(SubmitOrder("TSLA", "by-hand", BUY, 3, "market"))
        await bot.until(3)
        assert bot.held() == 3
        assert bot.algo().ledger.position == 3
        assert [r.body["qty"] for r in script.orders("sell")] == ["3"]


async def test_an_older_row_takes_back_no_fill() -> None:
    """A clock that is 5 s ahead takes the fill of 4 for older than the listings, which show nothing of it."""

    script, listed = Script(), []
    script.on("GET /v2/clock", clock_says(ahead=5), times=999)

    def prepare(engine: Engine) -> None:
        engine.on_trade("TSLA", OPEN, 100.0, 1e6)
        listed.append(engine.submit(by_hand("buy", 9, "90")))
        engine.advance(engine.now + 10**8)
        script.on(ORDERS, says([wire.order(engine.order(listed[0].id), engine.assets)]), hangs(30))

    async with trading(QUIET, script, Idle, before=prepare) as bot:
        while not script.sent(POSITIONS):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # the orders that have ended are waited for
        bot.engine._fill(bot.engine.order(listed[0].id), bot.engine._book("TSLA"), (Decimal(90), 4))
        bot.server.catch_up()
        await bot.until(3)
        assert bot.algo().ledger.position == bot.held() == 4


async def test_an_order_that_is_no_longer_listed_is_asked_for_by_id() -> None:
    script = Script()
    script.deliver = lambda update: () if update.order.side == "sell" else (0.0,)
    market = {"TSLA": minutes("TSLA", AT_100, AT_100, (100.0, 100.0, 99.0, 99.0), ABOVE_100, ABOVE_100, ABOVE_100)}
    async with trading(market, script) as bot:
        await bot.until(179)
        assert bot.algo().state is SELL_SUBMITTED
        sold = script.orders("sell")[0].at
        await bot.until(215)
        assert bot.algo().state is TO_BUY
        assert bot.algo().ledger.done.round_trips == 1
        order = list(bot.engine.orders)[1]
        assert [r for r in script.sent(f"{ORDERS}/{order}") if r.at > sold]


async def test_an_order_that_an_old_listing_shows_is_not_followed() -> None:
    """A buy of an earlier run, cancelled before the start: the listing of a later look has it open still."""

    script, stale = Script(), []

    def prepare(engine: Engine) -> None:
        engine.on_trade("TSLA", OPEN, 100.0, 1e6)
        buy = engine.submit(replace(by_hand("buy", 9, "90"), client_order_id="scalp-TSLA-1-1"))
        engine.advance(engine.now + 10**8)
        stale.append(wire.order(engine.order(buy.id), engine.assets))
        engine.cancel(buy.id)
        engine.advance(engine.now + 10**9)

    async with trading(QUIET, script, Idle, before=prepare) as bot:
        await bot.until(3)
        script.on(ORDERS, says(stale))
        await bot.session.reconciler.reconcile()
        assert (bot.algo().state, bot.algo().ledger.open_orders, script.sent("DELETE")) == (TO_BUY, [], [])


async def test_cancel_by_hand_that_nobody_told_of_is_found_at_checkup() -> None:
    script = Script()
    market = {"TSLA": minutes("TSLA", AT_100, AT_100, *[ABOVE_100] * 5)}
    async with trading(market, script) as bot:
        await bot.until(125)
        script.deliver = lambda update: ()
        order = bot.algo().order
        assert order is not None
        await bot.rest.cancel(order.id)
        await bot.until(151)
        assert bot.algo().state is TO_BUY
        assert order.status == "canceled"


@pytest.mark.parametrize("lasts", [True, False])
async def test_surplus_that_nothing_explains_is_believed_after_minute(lasts: bool) -> None:
    script = Script()
    async with trading(QUIET, script, Idle) as bot:
        await bot.until(29)
        ghost = [{"symbol": "TSLA", "qty": "4", "side": "long", "avg_entry_price": "101.5"}]
        script.on(POSITIONS, says(ghost), times=99 if lasts else 3)
        await bot.until(31)
        assert bot.algo().ledger.position == 0
        assert bot.algo().entry_blocks.why == "the listed position differs"
        await bot.until(89.9)
        assert bot.algo().ledger.position == 0
        assert bool(bot.algo().entry_blocks.why) is lasts
        await bot.until(106)
        assert bot.algo().ledger.position == (4 if lasts else 0)
        assert bot.algo().entry_blocks.why == ""
        assert [(r.body["qty"], r.body["limit_price"]) for r in script.orders("sell")[:1]] == (
            [("4", "101.50")] if lasts else []
        )


async def test_a_surplus_stands_for_the_time_between_two_questions() -> None:
    script = Script()
    async with trading(QUIET, script, Idle) as bot:
        await bot.until(29)
        script.on(POSITIONS, says([{"symbol": "TSLA", "qty": "4", "avg_entry_price": "101.5"}]), times=99)
        await bot.until(46)
        script.on("GET /v2/account/activities/FILL", hangs(60), times=99)  # explaining takes 10 s from here on
        await bot.until(100)  # the answer of 85 s was weighed at 95 s
        assert bot.algo().ledger.position == 0
        await bot.until(125)
        assert bot.algo().ledger.position == 4


@pytest.mark.parametrize("listed", [[], [{"symbol": "TSLA", "qty": "3", "side": "long", "avg_entry_price": "100"}]])
async def test_less_listed_than_executions_tell_is_never_believed(listed: object) -> None:
    """A listing that is behind, or for ever empty: the exit works on, and nothing is bought beside it."""

    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(140)
        script.on(POSITIONS, says(listed), times=999)
        await bot.until(800)
        assert bot.algo().ledger.position == bot.held() == 10
        assert bot.algo().state is SELL_SUBMITTED
        assert bot.algo().entry_blocks.why == "the listed position differs"
        assert [r.what for r in script.sent("DELETE")] == []
        assert len(script.orders("sell")) == 1
        await bot.until(1201)  # from 15:55 on, so to speak, what executions tell of is sold
        assert bot.held() == 0
        assert [r.body["type"] for r in script.orders("sell")[:2]] == ["limit", "market"]


async def test_a_listing_of_before_the_own_sell_is_behind() -> None:
    script = Script()
    market = {"TSLA": minutes("TSLA", AT_100, AT_100, *[(100.0, 100.05, 99.95, 100.0)] * 18)}
    async with trading(market, script) as bot:
        await bot.until(140)
        before = [{"symbol": "TSLA", "qty": "10", "side": "long", "avg_entry_price": "100"}]
        script.on(POSITIONS, says(before), times=999)
        await bot.until(500)
        assert bot.held() == bot.algo().ledger.position == 0
        assert len(script.orders("sell")) == 1
        assert bot.algo().entry_blocks.why == "the listed position differs"


@pytest.mark.parametrize("trouble", [status(500), page(502), hangs(60), says({"message": "?"}), says([1])])
@pytest.mark.parametrize("listing", [POSITIONS, ORDERS])
async def test_a_failed_listing_never_means_flat(listing: str, trouble: Outcome) -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(140)
        assert bot.algo().ledger.position == 10
        script.on(listing, trouble, times=8)
        await bot.until(200)
        assert bot.algo().ledger.position == 10
        assert bot.algo().state is SELL_SUBMITTED
        assert len(script.orders("sell")) == 1


@pytest.mark.parametrize("activities", [says([]), status(503), hangs(60)])
async def test_ended_orders_explain_a_listing_of_before_a_sale(activities: Outcome) -> None:
    """Sold just before the start: activities lag, or don't answer, and the position is listed as it was."""
    script, before = Script(), [{"symbol": "TSLA", "qty": "7", "avg_entry_price": "100", "side": "long"}]
    script.on("GET /v2/account/activities/", activities, times=99)
    script.on("GET /v2/positions", says(before), times=99)

    def prepare(engine: Engine) -> None:
        holds(7)(engine)  # type: ignore[operator]
        engine.submit(by_hand("sell", 7))
        engine.on_trade("TSLA", engine.now, 100.0, 1e6)
        engine.advance(engine.now + 10**8)
        assert engine.account.held("TSLA") == 0

    async with trading(QUIET, script, Idle, before=prepare, length=4) as bot:
        await bot.until(20)
        assert (bot.algo().ledger.position, script.orders("sell")) == (Decimal(0), [])


async def test_what_is_held_is_sure_while_listings_come() -> None:
    """A refused login ends no run of which nobody can tell what it holds."""
    script = Script()
    script.on("GET /v2/positions", says([]), says([]), says([]), status(503), times=99)
    async with trading(QUIET, script, Idle, length=4) as bot:
        reconciler = bot.session.reconciler
        assert not reconciler.is_sure
        await bot.until(5)
        assert reconciler.is_sure
        await bot.until(25)
        assert reconciler.is_sure
        await bot.until(125)
        assert not reconciler.is_sure


async def test_more_than_500_orders_are_all_found() -> None:
    script = Script()

    def prepare(engine: Engine) -> None:
        for number in range(601):
            engine.submit(by_hand("buy", 1, f"{50 + number % 40}"))
            engine.advance(engine.now + 10**6)

    async with trading(QUIET, script, Idle, before=prepare) as bot:
        await bot.until(1)
        assert len(bot.algo().ledger.open_orders) == 601
        assert len(script.sent(ORDERS)) == 2 + 1  # the other asks for those that have ended


async def test_trades_by_hand_are_adopted_at_the_next_checkup() -> None:
    script = Script()
    script.deliver = lambda update: ()
    async with trading({"TSLA": minutes("TSLA", *[AT_100] * 5)}, script, Idle) as bot:
        await bot.until(10)
        await bot.rest.submit(SubmitOrder("TSLA", "by-hand", BUY, 3, "market"))
        await bot.until(70)
        assert bot.algo().ledger.position == 3
        assert [r.body["qty"] for r in script.orders("sell")] == ["3"]


def test_a_position_an_unknown_order_may_explain_is_not_adopted() -> None:
    """Its fill would be counted twice once the order is found."""

    async def story() -> None:
        script = Script()

        async def arrives(handle):  # type: ignore[no-untyped-def]
            handle()
            return await page(502)(handle)

        script.on("POST /v2/orders", arrives)
        script.on("GET /v2/orders:by_client_order_id", page(503), times=8)
        script.on("GET /v2/orders/", page(503), times=100)
        script.deliver = lambda update: ()
        script.on("GET /v2/orders", says([]), times=1000)
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(225)
            assert bot.held() == 10
            assert bot.algo().ledger.position == 10
            assert [r.body["qty"] for r in script.orders("sell")] == ["10"]

    run(story())


def test_buying_goes_on_after_a_later_reconciliation_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        script = Script()
        async with trading(QUIET, script, Idle) as bot:
            await bot.until(29.9)
            assert bot.session.fleet.readiness.is_ready
            script.on(POSITIONS, late(8.0), late(3.0))  # asked for at 30, answered at 38
            await bot.until(30.5)
            bot.server.close_streams("orders")
            await bot.until(30.6)
            assert not bot.session.fleet.readiness.is_ready
            await bot.until(37.9)
            assert bot.session.updates.is_up
            assert not bot.session.fleet.readiness.is_ready
            await bot.until(38.2)  # the old listing is in; the new one is asked for
            assert not bot.session.fleet.readiness.is_ready
            await bot.until(42)
            assert bot.session.fleet.readiness.is_ready

    with caplog.at_level(logging.INFO):
        run(story())
    assert [r.message.partition(":")[0] for r in caplog.records if r.name == "scalp.fleet"] == [
        "streams are up, orders and positions reconciled",
        "no buys",
        "streams are up, orders and positions reconciled",
    ]


async def test_fill_while_stream_was_down_is_found_at_reconnection() -> None:
    script = Script()
    market = {"TSLA": minutes("TSLA", AT_100, AT_100, ABOVE_100, *FALLING)}
    async with trading(market, script) as bot:
        await bot.until(179)
        script.deliver = lambda update: ()
        await bot.until(180.1)
        bot.server.close_streams("orders")
        await bot.until(185)
        assert bot.held() == 10
        assert len(script.orders("sell")) == 1


def gone(prefix: str = "GET /v2/orders/") -> tuple[str, Outcome]:
    return prefix, status(404, "order not found")


def test_a_sell_absent_everywhere_is_sent_again_under_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """It works all the time: the broker takes an id once, and that is a fact."""

    async def story() -> None:
        script = Script()
        async with trading(BUY_FILLS, script) as bot:
            await bot.until(149)
            sell = bot.algo().order
            assert sell is not None
            script.on(*gone(), times=1000)
            script.on(*gone("GET /v2/orders:by_client_order_id"), times=1000)
            script.on(ORDERS, says([]), times=1000)
            script.on(POSITIONS, says([]), times=1000)
            await bot.until(158)
            assert bot.algo().order is sell
            await bot.until(260)
            assert len({r.body["client_order_id"] for r in script.orders("sell")}) == 1
            assert len(bot.engine.open_orders()) == 1
            assert (bot.algo().state, bot.algo().ledger.position) == (SELL_SUBMITTED, Decimal(10))

    run(story())
    assert sum("knows no order" in record.getMessage() for record in caplog.records) == 1


async def test_held_shares_whose_sell_is_gone_are_offered_anew() -> None:
    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(149)
        sell = bot.algo().order
        assert sell is not None
        script.on(*gone(f"{ORDERS}/{sell.id}"), times=1000)
        script.on(ORDERS, says([]), times=12)
        bot.engine.cancel(sell.id)
        script.deliver = lambda update: ()
        await bot.until(215)
        first, again, anew = script.orders("sell")  # the second one tells that the first exists, and has ended
        assert first.body == again.body != anew.body
        assert bot.held() == bot.algo().ledger.position == 10
        assert len(bot.engine.open_orders()) == 1


@pytest.mark.parametrize("other", [status(500), status(404)])
async def test_an_order_is_not_given_up_for_less(other: Outcome) -> None:
    """Listings that lag and two looks, or looks that say nothing."""

    script = Script()
    async with trading(BUY_FILLS, script) as bot:
        await bot.until(149)
        sell = bot.algo().order
        assert sell is not None
        script.on(f"{ORDERS}/{sell.id}", other, times=2)
        script.on(ORDERS, says([]), times=3)
        await bot.until(179)
        assert bot.algo().order is sell
        assert not sell.has_ended
        assert bot.algo().state is SELL_SUBMITTED


async def test_two_reconciliations_at_once_take_one_snapshot() -> None:
    script = Script()
    script.on(POSITIONS, late(1.0), times=3)
    async with trading(QUIET, script, Idle, before=holds(7)) as bot:  # type: ignore[arg-type]
        await bot.session.reconciler.reconcile()
        await bot.until(5)
        assert bot.algo().ledger.position == 7
        assert [r.body["qty"] for r in script.orders("sell")] == ["7"]


async def test_without_order_updates_a_fill_is_found_within_seconds() -> None:
    script = Script()
    market = {"TSLA": minutes("TSLA", AT_100, AT_100, ABOVE_100, *FALLING)}  # the buy fills in the fourth minute
    async with trading(market, script) as bot:
        await bot.until(130)
        script.handshake = lambda kind: kind == "orders"  # type: ignore[method-assign]
        bot.server.close_streams("orders")
        await bot.until(240)
        filled = next(at for at, event in script.updates if event == "fill")
        (sell,) = script.orders("sell")
        assert not bot.session.fleet.readiness.is_ready
        assert filled < sell.at < filled + 6
        looks = [r.at for r in script.sent(POSITIONS) if r.at > sell.at]
        assert len(looks) <= 4  # a sell that works needs no hurry


async def test_a_listed_order_is_told_again_only_when_changed() -> None:
    async with trading(QUIET, Script(), Idle, before=holds(7)) as bot:  # type: ignore[arg-type]
        await bot.until(2)
        fleet, reconciler = bot.session.fleet, bot.session.reconciler
        tell, told = fleet.orders.on_order_update, []

        def hear(report: OrderReport) -> None:
            told.append((report.side, report.status))
            tell(report)

        fleet.orders.on_order_update = hear  # type: ignore[method-assign]
        for _ in range(3):
            await reconciler.reconcile()
        assert told == [("sell", "new")]
        bot.algo().ledger.version += 1
        for _ in range(3):
            await reconciler.reconcile()
        assert told == [("sell", "new")] * 2
