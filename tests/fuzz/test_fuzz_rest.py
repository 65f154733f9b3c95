"""Whatever a server answers by REST: a value or an error of ours, and no value that misleads."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import random
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalp.alpaca.feed import AlpacaFeed
from scalp.alpaca.rate_limiter import RateLimiter
from scalp.alpaca.rest import AlpacaREST
from scalp.core.commands import SubmitOrder
from scalp.core.errors import OutcomeUnknown, Rejected, ScalpError
from scalp.core.market_data import Bar, Trade
from scalp.core.orders import OrderReport, PositionReport, Side
from scalp.core.units import MINUTE, SECOND
from scalp.net.transport import RateLimited
from scalp.polygon.feed import PolygonFeed
from tests.fuzz import messages as real
from tests.fuzz.strategies import ODD_TEXTS, absurd, bodies, briefly, fuzz
from tests.wire.fakes import Told, endpoints, run

POINTS = endpoints("http://127.0.0.1:1", polygon_key="polygontestkey")
START, END = 1795188600 * SECOND, 1795192200 * SECOND
BUY = SubmitOrder("AAPL", "scalp-AAPL-1-7", Side.BUY, 11, "limit", Decimal("178.40"))

# What the HTTP client lets through: no control characters.
header_values = st.sampled_from(
    [text for text in ODD_TEXTS if len(text) < 500 and text.isprintable()] + ["200", "1795188660", "1e12"]
)
headers = st.dictionaries(
    st.sampled_from(("X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Retry-After", "X-Request-ID")),
    header_values,
)
statuses = st.one_of(st.just(200), st.sampled_from((100, 204, 207, 301, 400, 401, 404, 408, 422, 429, 500, 503, 999)))


class Server:
    """A transport that answers with what was drawn, the same each time."""

    def __init__(self, status: int, more: Mapping[str, str], body: bytes) -> None:
        self.answer = status, more, body
        self.asked = 0

    async def __call__(self, *_: Any) -> tuple[int, Mapping[str, str], bytes]:
        self.asked += 1
        return self.answer if self.asked <= 3 else (404, {}, b"")


def result(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that never has to wait; the error of ours it raised."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    except ScalpError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return error
    raise AssertionError("it waits")


def check_order(order: Any) -> None:
    assert isinstance(order, OrderReport)
    assert order.id
    assert order.symbol
    for number in (order.qty, order.filled_qty, order.filled_avg_price, order.limit_price):
        assert number is None or 0 <= number < 10**12


def check_orders(orders: Any) -> None:
    for order in orders.rows:
        check_order(order)


def check_positions(positions: Any) -> None:
    for position in positions.rows:
        assert isinstance(position, PositionReport)
        assert position.symbol
        assert abs(position.qty) < 10**12


def check_trade(trade: Any) -> None:
    if trade is not None:
        assert isinstance(trade, Trade)
        assert 0 < trade.price < 1e9
        assert isinstance(trade.at, int)
        assert math.isfinite(trade.size)


def anything(_: Any) -> None:
    pass


Call = Callable[[AlpacaREST], Coroutine[Any, Any, Any]]
CALLS: dict[str, tuple[Call, Any, Callable[[Any], None]]] = {
    "account": (lambda rest: rest.account(), real.ACCOUNT, anything),
    "clock": (lambda rest: rest.clock(), real.CLOCK, anything),
    "calendar": (lambda rest: rest.calendar(dt.date(2026, 11, 20), dt.date(2026, 11, 20)), real.CALENDAR, anything),
    "asset": (lambda rest: rest.asset("AAPL"), real.ASSET, anything),
    "assets": (lambda rest: rest.assets(), [real.ASSET], anything),
    "submit": (lambda rest: rest.submit(BUY), real.order() | {"client_order_id": BUY.client_order_id}, check_order),
    "cancel": (lambda rest: rest.cancel("c1e9"), real.ERROR, anything),
    "order": (lambda rest: rest.order("c1e9"), real.order(), check_order),
    "by client id": (lambda rest: rest.order_by_client_id("c1e9"), real.FILLED, check_order),
    "open orders": (lambda rest: rest.open_orders(["AAPL"]), [real.order(), real.FILLED], check_orders),
    "positions": (lambda rest: rest.positions(), [real.POSITION], check_positions),
    "latest trade": (lambda rest: rest.latest_trade("AAPL", "iex"), real.ALPACA_LATEST, check_trade),
}


@pytest.mark.parametrize("name", CALLS)
@briefly
@given(data=st.data())
def test_any_answer_of_alpaca(name: str, data: st.DataObject) -> None:
    call, example, check = CALLS[name]
    now = START
    limiter = RateLimiter(lambda: now, lambda: 2)
    status = data.draw(statuses)
    server = Server(status, data.draw(headers), data.draw(bodies(example, example, real.ERROR)))
    rest = AlpacaREST(POINTS, transport=server, on_rate_limit=limiter.on_rate_limit)
    answer = result(call(rest))
    assert 0 <= limiter.resets_in <= 60
    if not isinstance(answer, ScalpError):
        check(answer)
    elif name in ("submit", "cancel") and status in (200, 408, 500, 503):
        assert isinstance(answer, OutcomeUnknown)  # it may have had its effect
    elif isinstance(answer, Rejected):
        assert 400 <= answer.status < 500


@pytest.mark.parametrize("name", CALLS)
def test_one_absurd_value_anywhere_in_an_answer(name: str) -> None:
    call, example, check = CALLS[name]
    for status, message in ((200, example), (422, real.ERROR), (503, real.ERROR)):
        for what, body in absurd(message):
            answer = result(call(AlpacaREST(POINTS, transport=Server(status, {}, body))))
            assert status == 200 or isinstance(answer, ScalpError), what
            if not isinstance(answer, ScalpError):
                check(answer)


@pytest.mark.parametrize("name", ["X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Retry-After"])
def test_one_absurd_number_in_a_header(name: str) -> None:
    good = {"X-Ratelimit-Limit": "200", "X-Ratelimit-Remaining": "199", "X-Ratelimit-Reset": f"{START // SECOND + 60}"}
    for value in ("1e1000000", "9" * 4000, "9" * 5000, "-1", "0", "nan", "inf", "-inf", "1e308", "1_0", "\u0663", ""):
        for status in (200, 429):
            limiter = RateLimiter(lambda: START, lambda: 2)
            server = Server(status, good | {name: value}, json.dumps(real.ACCOUNT).encode())
            rest = AlpacaREST(POINTS, transport=server, on_rate_limit=limiter.on_rate_limit)
            answer = result(rest.account())
            if isinstance(answer, RateLimited):
                limiter.refused(answer.retry_after)
            assert 0 <= limiter.resets_in <= 60
            assert 0 < limiter.limit < 10**7
            assert f"{limiter.limit} {limiter.remaining}"


def test_the_examples_are_understood() -> None:
    for name, (call, example, check) in CALLS.items():
        server = Server(200, {}, json.dumps(example).encode())
        answer = result(call(AlpacaREST(POINTS, transport=server)))
        assert not isinstance(answer, ScalpError), (name, answer)
        check(answer)


def check_bars(bars: list[Bar]) -> None:
    for bar in bars:
        assert all(0 < price < 1e9 for price in (bar.open, bar.high, bar.low, bar.close))
        assert bar.volume >= 0
        assert bar.start + MINUTE <= END


async def history(feed: AlpacaFeed | PolygonFeed) -> None:
    try:
        async for symbol, bars in feed.history(["AAPL", "TSLA"], START, END):
            assert symbol in ("AAPL", "TSLA")
            check_bars(bars)
    except ScalpError:
        pass


@fuzz
@given(status=statuses, more=headers, body=bodies(real.ALPACA_PAGE, real.ALPACA_PAGE, real.ERROR))
def test_any_history_of_alpaca(status: int, more: dict[str, str], body: bytes) -> None:
    rest = AlpacaREST(POINTS, transport=Server(status, more, body))
    run(history(AlpacaFeed(POINTS, ["AAPL", "TSLA"], Told(), random.Random(1), lambda: True, rest)))


PAGE = real.POLYGON_PAGE | {"next_url": "http://127.0.0.1:1/v2/aggs/ticker/AAPL?cursor=x"}


@fuzz
@given(status=statuses, more=headers, body=bodies(real.POLYGON_PAGE, PAGE, real.POLYGON_LAST))
def test_any_answer_of_polygon(status: int, more: dict[str, str], body: bytes) -> None:
    async def story() -> None:
        transport = Server(status, more, body)
        feed = PolygonFeed(POINTS, ["AAPL", "TSLA"], Told(), random.Random(1), lambda: True, transport)
        await history(feed)
        transport.asked = 0
        with contextlib.suppress(ScalpError):
            check_trade(await feed.latest_trade("AAPL"))

    run(story())
