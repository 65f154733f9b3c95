"""`python -m scalp.flatten`: every order cancelled and every share sold, by REST alone, in the named symbols only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from scalp import flatten as program
from scalp.cli.settings import Endpoints
from scalp.core.errors import UserError
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.matching import Engine
from scalp.exchange.orders import OrderRequest
from scalp.exchange.rest import Access, Response, reply
from scalp.exchange.server import ExchangeServer
from tests.trading import (
    AROUND_100,
    OPEN,
    Handle,
    Outcome,
    Script,
    answer_lost,
    exchange,
    hangs,
    late,
    minutes,
    never_arrives,
    page,
    run,
    says,
    status,
)

Market = dict[str, list[Bar]]
POST, ORDERS, POSITIONS = "POST /v2/orders", "GET /v2/orders", "GET /v2/positions"
ACTIVITIES = "GET /v2/account/activities/FILL"


def market(*symbols: str) -> Market:
    return {symbol: minutes(symbol, *[AROUND_100] * 20) for symbol in symbols}


def order(symbol: str, side: str, qty: str, price: str | None = None) -> OrderRequest:
    limit = None if price is None else Decimal(price)
    return OrderRequest(symbol, side, "limit" if limit else "market", "day", Decimal(qty), limit_price=limit)


def holding(engine: Engine, symbol: str, qty: str) -> None:
    """The account bought (or, below 0, sold short) so many shares at 100."""
    at = engine.now
    engine.on_trade(symbol, at, 100.0, 1e6)
    side = "sell" if qty.startswith("-") else "buy"
    engine.submit(order(symbol, side, qty.lstrip("-")))
    engine.advance(at + SECOND // 10)
    engine.on_trade(symbol, at + SECOND // 10, 100.0, 1e6)
    engine.advance(at + SECOND)
    assert engine.account.held(symbol) == Decimal(qty)


class Story:
    """What the flattening of `symbols` said, sent and left."""

    def __init__(self) -> None:
        self.script = Script()
        self.lines: list[str] = []
        self.is_flat = False
        self.error = ""
        self.took = 0.0
        self.engine: Engine

    def said(self, text: str) -> int:
        return sum(text in line for line in self.lines)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def flattened(
    bars: Mapping[str, Sequence[Bar]],
    *symbols: str,
    before: Callable[[Engine], None],
    prepare: Callable[[Script], None] = lambda script: None,
    at: dict[float, Callable[[ExchangeServer], None]] | None = None,
    length: float = 20,
    start: int = 60,
    access: Access | None = None,
    endpoints: Callable[[Endpoints], Endpoints] = lambda same: same,
    after: float = 0,
) -> Story:
    """... `after` so many seconds since `before`."""
    story = Story()

    async def work() -> None:
        async with exchange(bars, story.script, length, start, access=access) as (server, points):
            engine = story.engine = server.simulation.engine
            before(engine)
            await asyncio.sleep(after)
            story.script.begin(server)
            prepare(story.script)
            for seconds, happen in (at or {}).items():
                asyncio.get_running_loop().call_later(seconds, happen, server)
            try:
                story.is_flat = await program.flatten(endpoints(points), symbols or tuple(bars), story.lines.append)
            except UserError as error:
                story.error = str(error)
            story.took = story.script.now()

    run(work())
    for request in story.script.requests:
        # Never a request that could touch what was not named.
        assert request.what.startswith(("GET ", "POST /v2/orders")) or request.what[:18] == "DELETE /v2/orders/"
        if request.what.startswith("DELETE"):
            assert request.what[18:] in story.engine.orders
        if request.what.startswith("POST"):
            assert request.body["symbol"] in (symbols or tuple(bars))
    return story


def holds_10(engine: Engine) -> None:
    holding(engine, "TSLA", "10")


def holds_10_on_offer(engine: Engine) -> None:
    holds_10(engine)
    engine.submit(order("TSLA", "sell", "10", "110"))
    engine.advance(engine.now + SECOND)


def everything_gone(story: Story, *symbols: str) -> None:
    assert story.is_flat
    for symbol in symbols or ("TSLA",):
        assert story.engine.account.held(symbol) == 0
        assert story.engine.open_orders(symbol) == []


def test_orders_and_positions_of_several_symbols() -> None:
    def before(engine: Engine) -> None:
        holding(engine, "AAA", "10")
        holding(engine, "BBB", "7")
        engine.submit(order("AAA", "sell", "4", "110"))
        engine.submit(order("AAA", "sell", "6", "111"))
        engine.submit(order("CCC", "buy", "3", "90"))

    story = flattened(market("AAA", "BBB", "CCC", "DDD"), before=before)
    everything_gone(story, "AAA", "BBB", "CCC", "DDD")
    assert len(story.script.sent("DELETE")) == 3
    assert [(r.body["symbol"], r.body["qty"], r.body["type"]) for r in story.script.orders("sell")] == [
        ("BBB", "7", "market"), ("AAA", "10", "market")
    ]  # fmt: skip
    assert story.took < 10


def test_symbols_that_are_not_named_are_not_touched() -> None:
    def before(engine: Engine) -> None:
        holding(engine, "AAA", "10")
        holding(engine, "BBB", "7")
        engine.submit(order("BBB", "sell", "7", "110"))

    story = flattened(market("AAA", "BBB"), "AAA", before=before)
    everything_gone(story, "AAA")
    assert story.engine.account.held("BBB") == 7
    assert len(story.engine.open_orders("BBB")) == 1


def test_an_account_without_anything_takes_a_few_seconds() -> None:
    story = flattened(market("TSLA"), "TSLA", "NOPE", before=lambda engine: None)
    assert story.is_flat
    assert story.lines == []
    assert story.took < 8
    assert {r.what for r in story.script.requests} == {"GET /v2/clock", ORDERS, POSITIONS, ACTIVITIES}


@pytest.mark.parametrize(
    "outcome",
    [answer_lost, never_arrives, status(504), page(502), late(6), hangs(6), status(429), status(429, Retry_After="3")],
)
def test_a_sell_of_unknown_outcome_is_never_doubled(outcome: Outcome) -> None:
    story = flattened(market("TSLA"), before=holds_10, prepare=lambda script: script.on(POST, outcome, times=2))
    everything_gone(story)
    ids = {r.body["client_order_id"] for r in story.script.orders("sell")}
    assert len(ids) == 1
    assert sum(o.filled_qty for o in story.engine.orders.values() if o.side == "sell") == 10


def test_accepted_and_answered_with_504() -> None:
    async def accepted(handle: Handle) -> Response:
        handle()
        return reply({"message": "gateway timeout"}, 504)

    story = flattened(market("TSLA"), before=holds_10, prepare=lambda script: script.on(POST, accepted))
    everything_gone(story)
    ids = {r.body["client_order_id"] for r in story.script.orders("sell")}
    assert (len(story.script.orders("sell")), len(ids)) == (2, 1)  # the second one is refused as a duplicate: a fact
    assert sum(o.filled_qty for o in story.engine.orders.values() if o.side == "sell") == 10


@pytest.mark.parametrize("outcome", [answer_lost, never_arrives, status(503), hangs(6)])
def test_a_cancel_that_gets_lost_is_sent_again(outcome: Outcome) -> None:
    def prepare(script: Script) -> None:
        script.on("DELETE /v2/orders/", outcome, times=2)

    story = flattened(market("TSLA"), before=holds_10_on_offer, prepare=prepare)
    everything_gone(story)
    assert len(story.script.sent("DELETE")) <= 3


@pytest.mark.parametrize("trouble", [status(500), page(502), never_arrives, says({"message": "?"}), status(429)])
@pytest.mark.parametrize("call", ["GET /v2/clock", ORDERS, POSITIONS])
def test_a_question_without_an_answer_is_asked_again(call: str, trouble: Outcome) -> None:
    def prepare(script: Script) -> None:
        script.on(call, trouble, times=3)

    story = flattened(market("TSLA"), before=holds_10_on_offer, prepare=prepare)
    everything_gone(story)
    assert 1 <= story.said("looking again") <= 3  # the HTTP client repeats a question by itself once


def test_one_symbols_trouble_does_not_hold_up_another() -> None:
    def before(engine: Engine) -> None:
        holding(engine, "AAA", "10")
        holding(engine, "BBB", "7")

    def prepare(script: Script) -> None:
        script.on(POST, hangs(5), times=99, symbol="AAA")

    story = flattened(market("AAA", "BBB"), before=before, prepare=prepare)
    assert not story.is_flat
    assert story.engine.account.held("BBB") == 0
    assert story.script.sent(POST, symbol="BBB")[0].at < 1
    assert story.lines[-1] == "left: AAA: 10 held"
    assert 120 <= story.took < 130


def test_listings_that_lag_behind_neither_sell_twice_nor_end_it() -> None:
    """For 3 s after the first cancel the listings are those of before; a buy fills as it is cancelled."""

    def before(engine: Engine) -> None:
        engine.on_trade("TSLA", engine.now, 100.0, 1e6)
        engine.submit(order("TSLA", "buy", "10", "100.50"))

    held = [{"symbol": "TSLA", "qty": "10", "side": "long", "avg_entry_price": "100"}]

    def prepare(script: Script) -> None:
        script.on(POSITIONS, says([]), times=4)
        script.on(ORDERS, says([]), times=4)

    story = flattened(market("TSLA"), before=before, prepare=prepare)
    everything_gone(story)
    assert len(story.script.orders("sell")) == 1

    def stays(script: Script) -> None:
        script.on(POSITIONS, says(held), times=4)

    story = flattened(market("TSLA"), before=holds_10, prepare=stays)
    everything_gone(story)
    assert len(story.script.orders("sell")) == 1


def test_a_refused_sell_is_told_once_and_tried_again() -> None:
    def prepare(script: Script) -> None:
        script.on(POST, status(403, "insufficient qty available for order"), times=3)

    story = flattened(market("TSLA"), before=holds_10, prepare=prepare)
    everything_gone(story)
    assert story.said("refused: insufficient qty") == 1
    waits = [b.at - a.at for a, b in pairwise(story.script.orders("sell"))]
    # As the exit plan says, looked at each quarter of a second.
    assert [round(wait * 4) / 4 for wait in waits] == [0.25, 0.5, 1.0]


def test_shares_that_come_late_are_sold_too() -> None:
    def by_hand(server: ExchangeServer) -> None:
        server.simulation.engine.submit(order("TSLA", "buy", "4"))
        server.catch_up()

    story = flattened(market("TSLA"), before=holds_10, at={3.0: by_hand})
    everything_gone(story)
    assert [r.body["qty"] for r in story.script.orders("sell")] == ["10", "4"]


def test_a_closed_market_cancels_and_sells_nothing() -> None:
    def parked(engine: Engine) -> None:
        holds_10(engine)
        engine.advance(OPEN + 20 * MINUTE + SECOND)
        engine.submit(order("TSLA", "sell", "10"))

    story = flattened(market("TSLA"), before=parked, start=1190)
    assert not story.is_flat
    assert story.engine.open_orders() == []
    assert story.script.sent("POST") == []
    assert "the market is closed" in story.lines[0]
    assert story.lines[-1] == "left: TSLA: 10 held"
    assert story.took < 20  # 10 of them until the close


def test_near_the_close_nothing_is_sent_and_all_is_cancelled() -> None:
    story = flattened(market("TSLA"), before=holds_10, start=1197)
    assert story.script.sent("POST") == []
    assert story.lines[-1] == "left: TSLA: 10 held"


def test_fractions_stay_and_are_told() -> None:
    story = flattened(market("TSLA"), before=lambda engine: holding(engine, "TSLA", "10.5"))
    assert story.is_flat
    assert [r.body["qty"] for r in story.script.orders("sell")] == ["10"]
    assert story.said("0.5 of a share stays") == 1


def test_a_short_position_is_left_and_told() -> None:
    def before(engine: Engine) -> None:
        engine.shorting = True
        holding(engine, "TSLA", "-5")
        engine.submit(order("TSLA", "sell", "1", "120"))

    story = flattened(market("TSLA"), before=before)
    assert not story.is_flat
    assert story.engine.open_orders() == []
    assert story.script.sent("POST") == []
    assert story.lines == [
        "TSLA: cancelling sell 1 limit", "left: TSLA: -5 held, a short position: nothing is bought here"
    ]  # fmt: skip


# -- answers that no market gives ----------


ABSURD = "1e1000000"
FOR_EVER = 999
LONG = 180.0  # seconds: what was executed so long ago, the first listings must show


def listing(change: Callable[[list[Any]], object]) -> Outcome:
    """A listing with its rows changed."""

    async def answer(handle: Handle) -> Response:
        answer = handle()
        if answer.status != 200:
            return answer
        rows = json.loads(answer.body)
        change(rows)
        return reply(rows)

    return answer


def absurd(symbol: str) -> Outcome:
    """The positions, and nobody can say how many shares of `symbol` are held."""

    def change(rows: list[Any]) -> None:
        rows[:] = [row for row in rows if row["symbol"] != symbol]
        rows.append({"symbol": symbol, "qty": ABSURD, "side": "long", "avg_entry_price": ABSURD})

    return listing(change)


def holds_both(engine: Engine) -> None:
    holding(engine, "AAA", "10")
    holding(engine, "BBB", "7")


def test_an_absurd_row_of_another_symbol_changes_nothing() -> None:
    def prepare(script: Script) -> None:
        script.on(POSITIONS, absurd("BBB"), times=FOR_EVER)

    story = flattened(market("AAA", "BBB"), "AAA", before=holds_both, prepare=prepare)
    everything_gone(story, "AAA")
    assert story.lines == ["AAA: selling 10 at market"]
    assert story.took < 10


def test_an_absurd_row_costs_its_symbol_alone() -> None:
    def prepare(script: Script) -> None:
        script.on(POSITIONS, absurd("AAA"), times=FOR_EVER)

    def before(engine: Engine) -> None:
        holds_both(engine)
        engine.submit(order("AAA", "sell", "10", "110"))

    story = flattened(market("AAA", "BBB"), before=before, after=LONG, prepare=prepare)
    assert not story.is_flat
    assert story.lines == [
        "AAA: cancelling sell 10 limit",
        "BBB: selling 7 at market",
        "AAA: selling 10 at market",  # its executions tell
        "left: AAA: its row in a listing could not be read",
    ]
    assert [story.engine.account.held(symbol) for symbol in ("AAA", "BBB")] == [0, 0]
    assert story.script.orders("sell")[0].at < 1


def test_a_row_that_can_be_read_after_all_is_sold() -> None:
    story = flattened(market("TSLA"), before=holds_10, after=LONG,
                      prepare=lambda script: script.on(POSITIONS, absurd("TSLA"), times=5))  # fmt: skip
    everything_gone(story)
    assert story.took < 30


def test_an_order_of_several_legs_is_nobodys() -> None:
    legs: dict[str, Any] = {"symbol": None, "side": None, "order_class": "mleg", "legs": []}
    spread = {"id": "a-spread", "client_order_id": "by-hand", "type": "limit", "qty": "1", "status": "new", **legs}

    def prepare(script: Script) -> None:
        script.on(ORDERS, listing(lambda rows: rows.append(spread)), times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10_on_offer, prepare=prepare)
    everything_gone(story)
    assert story.lines == ["TSLA: cancelling sell 10 limit", "TSLA: selling 10 at market"]
    assert story.took < 10


# -- answers that contradict each other ----


@pytest.mark.parametrize("call", ["GET /v2/clock", ORDERS, POSITIONS, "DELETE /v2/orders/", POST])
def test_no_server_makes_it_wait_for_an_hour(call: str) -> None:
    def prepare(script: Script) -> None:
        script.on(call, status(429, Retry_After="3600"))

    story = flattened(market("TSLA"), before=holds_10_on_offer, prepare=prepare)
    everything_gone(story)
    assert story.script.orders("sell")[0].at < 6
    assert story.took < 20


def test_positions_that_are_never_listed_are_no_flat_account() -> None:
    """Bought minutes ago: no listing shows it, and the day's executions say otherwise."""

    story = flattened(market("TSLA"), before=holds_10, after=LONG,
                      prepare=lambda script: script.on(POSITIONS, says([]), times=FOR_EVER))  # fmt: skip
    assert not story.is_flat
    assert story.lines == ["left: TSLA: 10 bought today and not sold, by its executions, but not listed"]
    assert 120 <= story.took < 130
    assert len(story.script.requests) < 2 * 200

    story = flattened(market("TSLA"), before=holds_10, after=LONG,
                      prepare=lambda script: script.on(POSITIONS, says([]), times=15))  # fmt: skip
    everything_gone(story)
    assert story.took < 100  # what is listed all at once must stand for a minute


def test_executions_of_just_now_are_held_though_unlisted() -> None:
    story = flattened(market("TSLA"), before=holds_10,
                      prepare=lambda script: script.on(POSITIONS, says([]), times=FOR_EVER))  # fmt: skip
    everything_gone(story)
    assert story.script.orders("sell")[0].at < 1


def test_positions_that_are_listed_for_ever_are_not_sold_twice() -> None:
    held = [{"symbol": "TSLA", "qty": "10", "side": "long", "avg_entry_price": "100"}]
    story = flattened(market("TSLA"), before=holds_10,
                      prepare=lambda script: script.on(POSITIONS, says(held), times=FOR_EVER))  # fmt: skip
    assert not story.is_flat
    assert story.lines[-1] == "left: TSLA: 0 held by its executions, 10 listed"
    assert len(story.script.orders("sell")) == 1


@pytest.mark.parametrize("trouble", [status(422), status(500), hangs(30)])
def test_a_lost_sell_needs_no_look_up(trouble: Outcome) -> None:
    def prepare(script: Script) -> None:
        script.on(POST, status(504))
        script.on("GET /v2/orders:by_client_order_id", trouble, times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10, prepare=prepare)
    everything_gone(story)
    assert len({r.body["client_order_id"] for r in story.script.orders("sell")}) == 1
    assert story.script.orders("sell")[-1].at < 1
    assert story.took < 15


@pytest.mark.parametrize("trouble", [status(500), status(422, "order is not cancelable")])
def test_a_cancel_that_is_refused_once_is_asked_for_again(trouble: Outcome) -> None:
    def prepare(script: Script) -> None:
        script.on("DELETE /v2/orders/", trouble)

    story = flattened(market("TSLA"), before=holds_10_on_offer, prepare=prepare)
    everything_gone(story)
    assert len(story.script.sent("DELETE")) == 2
    assert story.script.orders("sell")[0].at < 4


def test_a_refusal_that_passes_costs_no_more_than_it_lasts() -> None:
    def prepare(script: Script) -> None:
        async def not_seen_yet(handle: Handle) -> Response | None:
            if script.now() >= 3:
                return handle()
            words = "insufficient qty available for order (requested: 10, available: 0)"
            return await status(403, words)(handle)

        script.on(POST, not_seen_yet, times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10, prepare=prepare)
    everything_gone(story)
    assert story.said("refused: insufficient qty") == 1
    assert story.script.orders("sell")[-1].at < 5


def test_a_market_exit_that_stands_unfilled_is_sent_anew() -> None:
    def before(engine: Engine) -> None:
        holds_10(engine)
        engine.halt("TSLA")

    story = flattened(market("TSLA"), before=before)
    assert not story.is_flat
    sells = story.script.orders("sell")
    assert len(sells) == len({r.body["client_order_id"] for r in sells}) == 3
    assert story.lines[0] == "TSLA: selling 10 at market"
    assert story.lines[-2:] == ["left: TSLA: sell 10 market is working", "left: TSLA: 10 held"]


# -- clock and keys ------------------------


def closed_by_the_clock(handle: Handle) -> Any:
    async def answer() -> Response:
        clock = json.loads(handle().body)
        return reply({**clock, "is_open": False, "next_close": "2026-11-23T16:00:00-05:00"})

    return answer()


def test_a_closed_clock_in_the_calendars_hours_is_asked_again() -> None:
    story = flattened(market("TSLA"), before=holds_10_on_offer,
                      prepare=lambda script: script.on("GET /v2/clock", closed_by_the_clock, times=4))  # fmt: skip
    everything_gone(story)
    assert story.script.sent("DELETE")[0].at < 1
    assert story.took < 30

    def prepare(script: Script) -> None:
        script.on("GET /v2/clock", closed_by_the_clock, times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10_on_offer, prepare=prepare)
    assert not story.is_flat
    assert story.script.orders("sell") == []
    assert story.engine.open_orders() == []
    assert story.lines[-1] == "left: TSLA: 10 held"


@pytest.mark.parametrize("call", ["GET /v2/clock", ORDERS, POSITIONS])
@pytest.mark.parametrize("code", [401, 403, 422])
def test_one_refused_question_is_no_wrong_key(call: str, code: int) -> None:
    story = flattened(market("TSLA"), before=holds_10,
                      prepare=lambda script: script.on(call, status(code, "request is not authorized")))  # fmt: skip
    everything_gone(story)
    assert story.error == ""


@pytest.mark.parametrize("trouble", [status(403), status(404), status(500)])
def test_executions_that_cannot_be_had_are_told(trouble: Outcome) -> None:
    def prepare(script: Script) -> None:
        script.on("GET /v2/account/activities/", trouble, times=FOR_EVER)
        script.on("GET /v2/account/activities", trouble, times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10, prepare=prepare)
    everything_gone(story)
    assert story.said("today's executions: ") == 1


def test_executions_that_fall_silent_have_said_what_they_said() -> None:
    def prepare(script: Script) -> None:
        async def falls_silent(handle: Handle) -> Response | None:
            return handle() if script.now() < 10 else await status(500)(handle)

        script.on(POSITIONS, says([]), times=FOR_EVER)
        script.on("GET /v2/account/activities/", falls_silent, times=FOR_EVER)
        script.on("GET /v2/account/activities", falls_silent, times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10, after=LONG, prepare=prepare)
    assert not story.is_flat
    assert story.lines[-1] == "left: TSLA: 10 bought today and not sold, by its executions, but not listed"


def test_its_own_sells_need_no_row_among_the_executions() -> None:
    def only_buys(rows: list[Any]) -> None:
        rows[:] = [row for row in rows if row["side"] == "buy"]

    story = flattened(market("TSLA"), before=holds_10,
                      prepare=lambda script: script.on(ACTIVITIES, listing(only_buys), times=FOR_EVER))  # fmt: skip
    everything_gone(story)
    assert story.took < 15


@pytest.mark.parametrize(("count", "is_offered", "seconds"), [(60, True, 15), (120, True, 100), (250, False, 100)])
def test_many_symbols_keep_within_the_request_limit(count: int, is_offered: bool, seconds: int) -> None:
    names = [f"S{i:03d}" for i in range(count)]

    def before(engine: Engine) -> None:
        for name in names:
            engine.on_trade(name, engine.now, 100.0, 1e6)
            engine.submit(order(name, "buy", "10"))
        engine.advance(engine.now + SECOND // 10)
        for name in names:
            engine.on_trade(name, engine.now, 100.0, 1e6)
        engine.advance(engine.now + SECOND)
        for name in names if is_offered else ():
            engine.submit(order(name, "sell", "10", "110"))

    story = flattened(market(*names), before=before, after=10)
    everything_gone(story, *names)
    assert story.said("too many requests") == 0
    assert (len(story.script.sent("DELETE")), len(story.script.orders("sell"))) == (count * is_offered, count)
    assert story.took < seconds


def test_a_short_position_is_no_late_row() -> None:
    def before(engine: Engine) -> None:
        engine.shorting = True
        holding(engine, "TSLA", "-5")

    story = flattened(market("TSLA"), before=before)
    assert story.lines == ["left: TSLA: -5 held, a short position: nothing is bought here"]
    assert story.took < 10


def test_what_no_listing_confirms_is_not_flat() -> None:
    def prepare(script: Script) -> None:
        async def breaks_down(handle: Handle) -> Response | None:
            return handle() if script.now() < 3 else await status(500)(handle)

        script.on(POSITIONS, breaks_down, times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10, prepare=prepare)
    assert not story.is_flat
    assert story.engine.account.held("TSLA") == 0
    assert story.lines[-1] == "left: maybe something: orders and positions were not confirmed by the last looks"


def test_what_is_sold_at_the_last_moment_is_confirmed() -> None:
    def prepare(script: Script) -> None:
        async def is_away(handle: Handle) -> Response | None:
            return handle() if script.now() >= 108 else await status(500)(handle)

        script.on(POSITIONS, is_away, times=FOR_EVER)

    story = flattened(market("TSLA"), before=holds_10, prepare=prepare)
    everything_gone(story)
    assert story.took < 130


def test_wrong_keys_are_one_line() -> None:
    def wrong(points: Endpoints) -> Endpoints:
        return Endpoints(points.trading_url, points.data_url, points.data_stream_url, "SIMULATED", "another-secret")

    story = flattened(market("TSLA"), before=holds_10, endpoints=wrong,
                      access=Access(keys={"SIMULATED": "simulated-secret"}))  # fmt: skip
    assert story.error == "Alpaca refused the keys (401): check APCA_API_KEY_ID and APCA_API_SECRET_KEY"
    assert story.took < 1


# -- the command -----------------------


KEYS = {"APCA_API_KEY_ID": "PKSOMEKEY", "APCA_API_SECRET_KEY": "some-secret"}


@pytest.mark.parametrize(
    ("line", "environ", "words"),
    [
        ("", KEYS, "required: SYMBOL"),
        ("--bogus TSLA", KEYS, "--bogus"),
        ("--liv TSLA", KEYS, "--liv"),
        ("TSLA/", KEYS, "not a stock symbol"),
        ("TSLA", {}, "there is no account"),
        ("TSLA", {"APCA_API_KEY_ID": "PK"}, "APCA_API_SECRET_KEY"),
        ("--live TSLA", {}, "--live was given"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "https://api.alpaca.markets"}, "add --live"),
        ("--live TSLA", {**KEYS, "APCA_API_BASE_URL": "https://paper-api.alpaca.markets"}, "contradicts"),
        ("TSLA", {**KEYS, "APCA_API_BASE_URL": "http://example.com"}, "use https://"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    line: str, environ: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(line.split(), environ) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert words in shown.err
    assert "some-secret" not in shown.err


def test_symbols_may_stand_before_and_after_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    async def flatten(endpoints: object, symbols: Sequence[str], say: object) -> bool:
        asked.append(symbols)
        return True

    monkeypatch.setattr(program, "flatten", flatten)
    assert program.main(["TSLA", "--live", "AAPL"], KEYS) == 0
    assert asked == [("TSLA", "AAPL")]


def test_help_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        program.main(["--help"], {})
    assert left.value.code == 0
    assert "SYMBOL" in capsys.readouterr().out


def test_an_account_that_cannot_be_reached_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "PATIENCE", 0.1)
    environ = {**KEYS, "APCA_API_BASE_URL": "http://127.0.0.1:1"}
    assert program.main(["TSLA"], environ) == 1
    err = capsys.readouterr().err
    assert err == "error: no orders and positions could be listed within 0 s; nothing is known of what is left\n"


@pytest.mark.parametrize(
    ("qty", "code", "last"), [("10", 0, "flat: nothing is held or working"), ("-5", 1, "NOT flat")]
)
def test_the_whole_command(
    qty: str, code: int, last: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "SURE_AFTER", 0.2)
    monkeypatch.setattr(program, "LOOK_EVERY", 0.1)

    async def story() -> None:
        async with exchange(market("TSLA"), Script(), start=60) as (server, points):
            server.simulation.engine.shorting = True
            holding(server.simulation.engine, "TSLA", qty)
            environ: dict[str, Any] = {
                "APCA_API_KEY_ID": points.key_id, "APCA_API_SECRET_KEY": points.secret_key,
                "APCA_API_BASE_URL": points.trading_url,
            }  # fmt: skip
            assert await asyncio.to_thread(program.main, ["tsla"], environ) == code
            assert server.simulation.engine.account.held("TSLA") == (0 if code == 0 else -5)

    asyncio.run(story())
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("tsla is taken as TSLA", last)
