"""Each REST call on the wire: what is asked, what becomes of the answer, what an error means."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from scalp.alpaca.decode import (
    OrderFields,
    UpdateFields,
    format_time_ns,
    order_report,
    parse_time_ns,
    position_report,
)
from scalp.alpaca.rest import AlpacaREST, Asset, Clock, Listing, RateLimited
from scalp.core.commands import SubmitOrder
from scalp.core.decimals import decimal_or_none
from scalp.core.errors import OutcomeUnknown, Rejected, ScalpError, Unreachable
from scalp.core.market_data import Trade
from scalp.core.orders import OrderReport, PositionReport, Side
from tests.wire.fakes import KEY, SECRET, HttpFake, endpoints, http_fake, run

AT_1531 = 1_795_188_660_000_000_000  # 2026-11-20T15:31:00Z

ORDER = {
    "id": "c1e9", "client_order_id": "scalp-AAPL-1-7", "submitted_at": "2026-11-20T15:31:00.412358119Z",
    "replaced_by": None, "replaces": None, "symbol": "AAPL", "qty": "11", "filled_qty": "4",
    "filled_avg_price": "178.415", "order_class": "", "type": "limit", "side": "buy", "time_in_force": "day",
    "limit_price": "178.42", "status": "partially_filled", "legs": None, "brand_new_field": {"a": 1},
}  # fmt: skip
REPORT = OrderReport(
    "AAPL", "c1e9", "scalp-AAPL-1-7", "buy", "limit", "partially_filled", Decimal(11), Decimal(4), Decimal("178.415"),
    Decimal("178.42"), AT_1531 + 412_358_119, time_in_force="day",
)  # fmt: skip
BUY = SubmitOrder("AAPL", "scalp-AAPL-1-7", Side.BUY, 11, "limit", Decimal("178.40"))


@asynccontextmanager
async def alpaca(**options: Any) -> AsyncIterator[tuple[HttpFake, AlpacaREST]]:
    async with http_fake() as fake:
        rest = AlpacaREST(endpoints(fake.url), **options)
        try:
            yield fake, rest
        finally:
            await rest.close()


async def test_account_clock_calendar_and_assets() -> None:
    async with alpaca() as (fake, rest):
        fake.will_answer({"id": "x", "status": "ACTIVE"})
        assert await rest.account() == {"id": "x", "status": "ACTIVE"}

        fake.will_answer({
            "timestamp": "2026-11-20T10:31:07.482915633-05:00", "is_open": True,
            "next_open": "2026-11-23T09:30:00-05:00", "next_close": "2026-11-20T16:00:00-05:00",
        })  # fmt: skip
        assert await rest.clock() == Clock(
            AT_1531 + 7_482_915_633,
            True,
            parse_time_ns("2026-11-23T14:30:00Z"),
            parse_time_ns("2026-11-20T21:00:00Z"),
        )

        fake.will_answer([
            {"date": "2026-11-25", "open": "09:30", "close": "16:00", "session_open": "0400"},
            {"date": "2026-11-27", "open": "09:30", "close": "13:00", "session_open": "0400"},
        ])  # fmt: skip
        assert await rest.calendar(date(2026, 11, 25), date(2026, 11, 30)) == [
            (date(2026, 11, 25), parse_time_ns("2026-11-25T14:30:00Z"), parse_time_ns("2026-11-25T21:00:00Z")),
            (date(2026, 11, 27), parse_time_ns("2026-11-27T14:30:00Z"), parse_time_ns("2026-11-27T18:00:00Z")),
        ]

        fb = {"symbol": "FB", "name": "A Fund", "exchange": "BATS", "status": "active", "tradable": True}
        fake.will_answer(fb)
        assert await rest.asset("FB") == Asset("FB", "A Fund", "BATS", True, True)
        fake.will_answer([fb, {"symbol": "OLD", "status": "inactive", "tradable": False}])
        assert await rest.assets() == [
            Asset("FB", "A Fund", "BATS", True, True),
            Asset("OLD", "", "", False, False),
        ]
        fake.will_answer({"code": 40410000, "message": "asset not found for A/B?"}, 404)
        with pytest.raises(Rejected) as refused:
            await rest.asset("A/B?")
        assert refused.value.status == 404

        assert fake.asked == [
            ("GET", "/v2/account", None),
            ("GET", "/v2/clock", None),
            ("GET", "/v2/calendar?start=2026-11-25&end=2026-11-30", None),
            ("GET", "/v2/assets/FB", None),
            ("GET", "/v2/assets?status=active&asset_class=us_equity", None),
            ("GET", "/v2/assets/A/B?", None),
        ]
        assert {(h["APCA-API-KEY-ID"], h["APCA-API-SECRET-KEY"]) for h in fake.headers} == {(KEY, SECRET)}


async def test_an_order_goes_out_exactly_and_comes_back_as_a_report() -> None:
    async with alpaca() as (fake, rest):
        for order in (BUY, SubmitOrder("AAPL", "b", Side.SELL, 3, "market")):
            fake.will_answer({**ORDER, "client_order_id": order.client_order_id})
            assert (await rest.submit(order)).id == REPORT.id
        fake.will_answer(ORDER)
        with pytest.raises(OutcomeUnknown, match="another order"):
            await rest.submit(SubmitOrder("AAPL", "c", Side.SELL, 3, "market"))
        fake.asked.pop()
        fake.will_answer(ORDER)
        assert await rest.order("c1e9") == REPORT
        fake.will_answer(ORDER)
        assert await rest.order_by_client_id("scalp-AAPL-1-7") == REPORT
        fake.will_answer("", 204)
        await rest.cancel("c1e9")
        body = {"symbol": "AAPL", "side": "buy", "type": "limit", "time_in_force": "day"}
        assert fake.asked == [
            ("POST", "/v2/orders", {
                **body, "qty": "11", "client_order_id": "scalp-AAPL-1-7", "limit_price": "178.40"}),
            ("POST", "/v2/orders", {
                **body, "qty": "3", "client_order_id": "b", "side": "sell", "type": "market",
                "position_intent": "sell_to_close"}),
            ("GET", "/v2/orders/c1e9?nested=true", None),
            ("GET", "/v2/orders:by_client_order_id?client_order_id=scalp-AAPL-1-7", None),
            ("DELETE", "/v2/orders/c1e9", None),
        ]  # fmt: skip


async def test_listings_lose_no_orders_of_one_instant() -> None:
    def row(number: int) -> dict[str, Any]:
        # Orders 498 to 502 were submitted in the same instant.
        second = 498 if 498 <= number <= 502 else number
        return {**ORDER, "id": str(number), "submitted_at": format_time_ns(AT_1531 + second * 1_000_000_000)}

    async with alpaca() as (fake, rest):
        fake.will_answer([row(number) for number in range(500)])
        fake.will_answer([row(number) for number in range(498, 520)])
        listed = await rest.open_orders(["AAPL"])
        assert [order.id for order in listed.rows] == [str(number) for number in range(520)]
        assert fake.asked == [
            ("GET", "/v2/orders?status=open&limit=500&direction=asc&nested=true&symbols=AAPL", None),
            (
                "GET",
                "/v2/orders?status=open&limit=500&after=2026-11-20T15:39:17.999999999Z&direction=asc&nested=true&symbols=AAPL",
                None,
            ),
        ]

        # More symbols than a URL holds: all orders are listed, and chosen from here.
        fake.will_answer([ORDER, {**ORDER, "id": "2", "symbol": "OTHER"}])
        assert await rest.open_orders([f"SYM{n}" for n in range(1000)] + ["AAPL"]) == Listing([REPORT])
        assert fake.asked[2:] == [("GET", "/v2/orders?status=open&limit=500&direction=asc&nested=true", None)]

        # A server that ignores `after` must not be asked for ever.
        for _ in range(2):
            fake.will_answer([row(1)] * 500)
        assert len((await rest.open_orders()).rows) == 1


async def test_positions_and_listing_that_makes_no_sense_is_not_flat() -> None:
    async with alpaca() as (fake, rest):
        fake.will_answer([
            {"symbol": "AAPL", "qty": "11", "side": "long", "avg_entry_price": "178.4199"},
            {"symbol": "GME", "qty": "-3.5", "side": "short", "avg_entry_price": 20},
        ])  # fmt: skip
        aapl = PositionReport("AAPL", Decimal(11), Decimal("178.4199"))
        assert await rest.positions() == Listing([aapl, PositionReport("GME", Decimal("-3.5"), Decimal(20))])
        # One row that cannot be read costs that row.
        row = {"symbol": "AAPL", "qty": "11", "avg_entry_price": "178.4199"}
        rows: list[Any] = [
            1,
            None,
            [],
            {"qty": "1"},
            {"symbol": None, "qty": "1"},
            {"symbol": "SPY  261218C00600000"},
        ]
        for odd in rows:
            fake.will_answer([odd, row])
            assert (await rest.positions()).rows == [aapl]
        for qty in ("1e1000000", "NaN", "-", None, "0x10", "9" * 50):
            fake.will_answer([row, {"symbol": "GME", "qty": qty}])
            assert await rest.positions() == Listing([aapl], frozenset({"GME"}))
        for nonsense in ({"message": "?"}, "", "<html>"):
            fake.will_answer(nonsense)
            with pytest.raises(Unreachable):
                await rest.positions()


async def test_latest_trade() -> None:
    async with alpaca() as (fake, rest):
        fake.will_answer({"symbol": "AAPL", "trade": {"t": "2026-11-20T15:31:00.1Z", "p": 178.42, "s": 100}})
        assert await rest.latest_trade("AAPL", "iex") == Trade("AAPL", AT_1531 + 100_000_000, 178.42, 100)
        for nothing in ({"symbol": "AAPL"}, {"trade": {"p": 1}}, {"trade": {"t": "2026-11-20T15:31:00Z", "p": 0}}):
            fake.will_answer(nothing)
            assert await rest.latest_trade("AAPL") is None
        assert fake.asked[:2] == [
            ("GET", "/v2/stocks/AAPL/trades/latest?feed=iex", None),
            ("GET", "/v2/stocks/AAPL/trades/latest", None),
        ]


HTML = "<html><body>Bad Gateway</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "of_a_question", "of_an_order"),
    [
        (403, {"code": 40310000, "message": "insufficient buying power"}, Rejected, Rejected),
        (422, {"code": 40010001, "message": "client_order_id must be unique"}, Rejected, Rejected),
        (401, HTML, Rejected, Rejected),
        (429, {"message": "too many requests."}, RateLimited, RateLimited),
        (500, {"code": 50010000, "message": "internal server error occurred"}, Unreachable, OutcomeUnknown),
        (504, HTML, Unreachable, OutcomeUnknown),
        (408, "", Unreachable, OutcomeUnknown),
        (301, "", Unreachable, OutcomeUnknown),
        (200, HTML, Unreachable, OutcomeUnknown),
        (200, "", Unreachable, OutcomeUnknown),
        (200, [], Unreachable, OutcomeUnknown),
        (None, "", Unreachable, OutcomeUnknown),  # no answer
    ],
)
async def test_what_an_error_means(
    status: int | None, body: Any, of_a_question: type[ScalpError], of_an_order: type[ScalpError]
) -> None:
    async with alpaca() as (fake, rest):
        for expected, ask in ((of_a_question, rest.order("x")), (of_an_order, rest.submit(BUY))):
            if status is None:
                fake.answers.append(60.0)
            else:
                fake.will_answer(body, status, X_Request_ID="trace-1", Location="http://127.0.0.1:1/")
            with pytest.raises(expected) as raised:
                await ask
            assert type(raised.value) is expected
            assert KEY not in repr(raised.value) and SECRET not in repr(raised.value)
            if status in (403, 422, 500):
                assert body["message"] in str(raised.value) and "trace-1" in str(raised.value)
            if isinstance(raised.value, Rejected):
                assert raised.value.status == status
                assert raised.value.code == (body["code"] if isinstance(body, dict) else 0)


async def test_timeouts_are_5_s_for_orders_and_10_s_for_questions() -> None:
    asked: list[float] = []

    async def silent(_method: str, _url: str, _headers: Any, _params: Any, _json: Any, timeout: float) -> Any:  # noqa: ASYNC109
        asked.append(timeout)
        raise TimeoutError

    rest = AlpacaREST(endpoints("http://127.0.0.1:1"), silent)
    for expected, ask in (
        (OutcomeUnknown, rest.submit(BUY)), (OutcomeUnknown, rest.cancel("x")), (Unreachable, rest.clock())
    ):  # fmt: skip
        with pytest.raises(expected):
            await ask
    assert asked == [5, 5, 10]


def test_an_unreachable_host_and_a_connection_that_breaks(caplog: pytest.LogCaptureFixture) -> None:
    async def session() -> None:
        async with alpaca() as (fake, rest):
            pass
        with pytest.raises(Unreachable):
            await rest.clock()
        with pytest.raises(OutcomeUnknown):
            await rest.cancel("x")
        await rest.close()
        assert fake.asked == []

    with caplog.at_level(logging.DEBUG):
        run(session())
    assert SECRET not in caplog.text


async def test_rate_limits_are_told_for_the_trading_api_only() -> None:
    told: list[tuple[int, int, float]] = []
    limits: dict[str, Any] = {
        "X_Ratelimit_Limit": "200",
        "X_Ratelimit_Remaining": "187",
        "X_Ratelimit_Reset": "1795188720",
    }

    async with alpaca(on_rate_limit=lambda *limit: told.append(limit)) as (fake, rest):
        fake.will_answer({}, **limits)
        await rest.account()
        fake.will_answer({"message": "rate limit exceeded"}, 429, Retry_After="3", **limits)
        with pytest.raises(RateLimited) as limited:
            await rest.account()
        assert limited.value.retry_after == 3
        fake.will_answer({"message": "too many requests."}, 429, Retry_After="Fri, 20 Nov 2026 15:31:00 GMT")
        with pytest.raises(RateLimited) as limited:
            await rest.account()
        assert limited.value.retry_after is None
        fake.will_answer({}, **limits)
        await rest.latest_trade("AAPL")
    assert told == [(200, 187, 1795188720.0)] * 2


def test_times_are_exact_to_the_nanosecond() -> None:
    for text, ns in [
        ("2026-11-20T15:31:00Z", AT_1531),
        ("2026-11-20T15:31:00.412358119Z", AT_1531 + 412_358_119),
        ("2026-11-20T15:31:00.1Z", AT_1531 + 100_000_000),
        ("2026-11-20T10:31:07.482915633-05:00", AT_1531 + 7_482_915_633),
        ("2026-11-20T21:01:00+05:30", AT_1531),
        ("2026-11-20T15:31:00.4123581199Z", AT_1531 + 412_358_119),
        ("2026-11-20t15:31:00z", AT_1531),
        ("1970-01-01T00:00:00.000000001Z", 1),
    ]:
        assert parse_time_ns(text) == ns
    # The last ones are times, which no calendar of New York has.
    for bad in ("", "2026-11-20", "2026-11-20T15:31", "2026-11-20T15:31:00", "2026-11-20T15:31:xxZ", "soon", "x" * 30,
                "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+14:00", "2200-01-01T00:00:00Z"):  # fmt: skip
        with pytest.raises(ValueError):
            parse_time_ns(bad)
    assert format_time_ns(AT_1531) == "2026-11-20T15:31:00Z"
    assert format_time_ns(AT_1531 + 5) == "2026-11-20T15:31:00.000000005Z"


@pytest.mark.parametrize("name", [".", "..", "..."])
async def test_an_id_of_dots_is_no_way_to_all_orders(name: str) -> None:
    async with http_fake() as fake:
        rest = AlpacaREST(endpoints(fake.url))
        for ask in (rest.cancel, rest.order, rest.asset):
            with pytest.raises(Rejected, match="404"):
                await ask(name)
        assert fake.asked == []
        await rest.close()


def test_what_is_too_long_for_its_kind_is_none() -> None:
    words = {"symbol": "A" * 201, "id": "i" * 201, "client_order_id": "c" * 201, "side": "s" * 41, "status": "n" * 41}
    assert order_report(words) == OrderReport("", "", "", "", "", "")
    assert position_report({"symbol": "A" * 201, "qty": "1"}) is None


def test_decoding_survives_missing_and_strange_values() -> None:
    assert order_report({}) == OrderReport("", "", "", "", "", "")
    assert order_report({**ORDER, "qty": 11, "filled_qty": 4.0, "limit_price": 178.42}) == REPORT
    strange: dict[str, Any] = {name: [] for name in ORDER}
    update = UpdateFields(OrderFields(), event=5, price={}, qty=True)
    assert order_report(strange, update) == OrderReport("", "", "", "", "", "")
    assert order_report({"order_type": "limit", "submitted_at": "not a time"}).type == "limit"
    assert decimal_or_none("1e3") == 1000
    assert [decimal_or_none(value) for value in (None, "", "x", "NaN", "Infinity", True, b"1")] == [None] * 7
    assert decimal_or_none(0.1) == Decimal("0.1")
    assert [decimal_or_none(f"1e{exponent}") is None for exponent in (-41, -40, 11, 21)] == [True, False, False, True]
    average = "258.7285714285714285714285714"  # of 10.5 shares: what it cost is no less known for its length
    long = position_report({"symbol": "A", "qty": "10.5", "avg_entry_price": average})
    assert long is not None and long.avg_entry_price == Decimal(average)
    short = position_report({"symbol": "A", "qty": "2", "side": "short"})
    assert short is not None and short.qty == -2
    bare = {"symbol": "A", "qty": "4", "avg_entry_price": None}
    told = (position_report(bare), position_report({**bare, "cost_basis": "200"}))
    assert [None if one is None else one.avg_entry_price for one in told] == [0, 50]
