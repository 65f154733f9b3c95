"""The REST answers of the exchange: shapes, refusals, limits, and nothing from the future."""

from __future__ import annotations

from typing import Any

import pytest

from scalp.exchange.rest import Access
from tests.exchange.playground import Client

ORDER_KEYS = {
    *("id", "client_order_id", "created_at", "updated_at", "submitted_at", "filled_at", "expired_at", "expires_at"),
    *("canceled_at", "failed_at", "replaced_at", "replaced_by", "replaces", "asset_id", "symbol", "asset_class"),
    *("notional", "qty", "filled_qty", "filled_avg_price", "order_class", "order_type", "type", "side"),
    *("position_intent", "time_in_force", "limit_price", "stop_price", "status", "extended_hours", "legs"),
    *("trail_percent", "trail_price", "hwm", "subtag", "source"),
}


# --- account, clock, calendar, assets ---


def test_a_fresh_account() -> None:
    status, account = Client().ask("GET /v2/account")
    assert status == 200
    assert (account["status"], account["cash"], account["buying_power"]) == ("ACTIVE", "100000", "400000")
    assert "pattern_day_trader" not in account  # removed by Alpaca in July 2026
    assert not any(account[name] for name in ("trading_blocked", "account_blocked", "trade_suspended_by_user"))


@pytest.mark.parametrize(
    ("at", "clock"),
    [
        (-60, ("2026-11-20T09:29:00-05:00", False, "2026-11-20T09:30:00-05:00", "2026-11-20T16:00:00-05:00")),
        (0, ("2026-11-20T09:30:00-05:00", True, "2026-11-23T09:30:00-05:00", "2026-11-20T16:00:00-05:00")),
        (23400, ("2026-11-20T16:00:00-05:00", False, "2026-11-23T09:30:00-05:00", "2026-11-23T16:00:00-05:00")),
    ],
)
def test_the_clock_before_in_and_after_the_session(at: float, clock: tuple[Any, ...]) -> None:
    _, told = Client(at).ask("GET /v2/clock")
    assert (told["timestamp"], told["is_open"], told["next_open"], told["next_close"]) == clock


def test_the_clock_has_nanoseconds() -> None:
    client = Client(600)
    client.wait(0.123456789)
    assert client.ask("GET /v2/clock")[1]["timestamp"] == "2026-11-20T09:40:00.123456789-05:00"


def test_the_calendar_knows_half_days() -> None:
    status, days = Client().ask("GET /v2/calendar", start="2026-11-25", end="2026-11-30")
    assert status == 200
    assert [(day["date"], day["open"], day["close"]) for day in days] == [
        ("2026-11-25", "09:30", "16:00"),
        ("2026-11-27", "09:30", "13:00"),
        ("2026-11-30", "09:30", "16:00"),
    ]
    assert days[0]["session_open"] == "0400" and days[0]["settlement_date"] == "2026-11-27"


def test_assets() -> None:
    client = Client()
    status, asset = client.ask("GET /v2/assets/AAPL")
    assert (status, asset["class"], asset["tradable"]) == (200, "us_equity", True)
    assert client.ask(f"GET /v2/assets/{asset['id']}")[1]["symbol"] == "AAPL"
    assert [of["symbol"] for of in client.ask("GET /v2/assets", status="active")[1]] == ["AAPL", "TSLA"]
    assert client.ask("GET /v2/assets/NOPE") == (404, {"code": 40410000, "message": "asset not found for NOPE"})


# --- orders ---


def test_the_life_of_an_order_over_rest() -> None:
    client = Client()
    status, order = client.order("buy", "10", limit="100.50", client_order_id="mine")
    assert (status, order["status"], order["filled_qty"], order["filled_avg_price"]) == (200, "pending_new", "0", None)
    assert set(order) == ORDER_KEYS
    assert (order["qty"], order["limit_price"]) == ("10", "100.5")  # strings, without trailing zeros
    assert order["submitted_at"] == "2026-11-20T14:40:00Z"
    assert order["expires_at"] == "2026-11-20T21:00:00Z"
    client.wait(1)
    status, order = client.ask(f"GET /v2/orders/{order['id']}")
    assert (status, order["status"], order["filled_avg_price"]) == (200, "filled", "100.01")
    assert client.ask("GET /v2/orders:by_client_order_id", client_order_id="mine")[1] == order
    assert client.ask("GET /v2/positions/AAPL")[1]["qty"] == "10"
    (fill,) = client.ask("GET /v2/account/activities/FILL")[1]
    assert (fill["order_id"], fill["price"], fill["qty"], fill["type"]) == (order["id"], "100.01", "10", "fill")
    assert fill["id"].startswith("20261120094000005::")


def test_cancelling() -> None:
    client = Client()
    _, order = client.order("buy", "10", limit="90")
    path = f"/v2/orders/{order['id']}"
    assert client.ask(f"DELETE {path}") == (204, None)
    assert client.ask(f"GET {path}")[1]["status"] == "pending_cancel"
    client.wait(1)
    assert client.ask(f"GET {path}")[1]["status"] == "canceled"
    assert client.ask(f"DELETE {path}") == (204, None)
    _, order = client.order("buy", "10")
    client.wait(1)
    assert client.ask(f"DELETE /v2/orders/{order['id']}") == (
        422,
        {"code": 42210000, "message": 'order is already in "filled" state'},
    )
    unknown = "00000000-0000-0000-0000-000000000000"
    assert client.ask(f"DELETE /v2/orders/{unknown}")[1]["message"] == f"order not found for {unknown}"
    assert client.ask("GET /v2/orders/7") == (422, {"code": 40010001, "message": "order_id is missing"})


def test_cancelling_everything_tells_of_each_order() -> None:
    client = Client()
    ids = [client.order("buy", "1", limit=limit)[1]["id"] for limit in ("90", "91")]
    assert client.ask("DELETE /v2/orders") == (207, [{"id": order_id, "status": 200} for order_id in ids])
    client.wait(1)
    assert client.ask("GET /v2/orders") == (200, [])


def test_listing_orders() -> None:
    client = Client()
    for n, (symbol, limit) in enumerate([("AAPL", "90"), ("TSLA", "390"), ("AAPL", "500")]):
        client.order("buy", "1", limit=limit, symbol=symbol, client_order_id=f"n{n}")
        client.wait(1)

    def names(**query: str) -> list[str]:
        return [order["client_order_id"] for order in client.ask("GET /v2/orders", **query)[1]]

    assert names() == ["n1", "n0"]  # open ones, newest first
    assert names(status="all", direction="asc") == ["n0", "n1", "n2"]
    assert names(status="closed") == ["n2"]
    assert names(status="all", symbols="TSLA,NOPE") == ["n1"]
    assert names(status="all", limit="1") == ["n2"]
    assert names(status="all", after="2026-11-20T14:40:00Z") == ["n2", "n1"]  # exclusive
    assert names(status="all", until="2026-11-20T14:40:01Z") == ["n0"]
    assert client.ask("GET /v2/orders", limit="501")[0] == 422
    assert client.ask("GET /v2/orders", after="yesterday") == (
        422,
        {"code": 40010001, "message": "invalid time: yesterday"},
    )
    assert client.ask("GET /v2/orders", direction="up") == (
        422,
        {"code": 42210000, "message": "invalid direction: up"},
    )


def test_paging_by_the_time_of_the_last_order_comes_to_an_end() -> None:
    client = Client()
    for n in range(5):
        client.order("buy", "1", limit="90", client_order_id=f"n{n}")
        client.wait(0.123456789)
    names, after = [], "2026-11-20"
    while page := client.ask("GET /v2/orders", status="all", direction="asc", limit="2", after=after)[1]:
        names += [order["client_order_id"] for order in page]
        after = page[-1]["submitted_at"]
    assert names == ["n0", "n1", "n2", "n3", "n4"]


def test_replacing() -> None:
    client = Client()
    _, old = client.order("buy", "10", limit="90")
    early = client.ask(f"PATCH /v2/orders/{old['id']}", {"limit_price": "91"})
    assert early == (422, {"code": 42210000, "message": "unable to replace order, order is pending_new"})
    client.wait(1)
    for change, why in (
        ({"stop_price": "3"}, "limit orders require no stop price"),
        ({"trail": "3"}, "limit orders must not have trail"),
        ({}, "order parameters are not changed"),
        ({"bogus": 1}, "order parameters are not changed"),
    ):
        status, refusal = client.ask(f"PATCH /v2/orders/{old['id']}", change)
        assert (status, refusal["message"]) == (422, why)
    status, new = client.ask(f"PATCH /v2/orders/{old['id']}", {"limit_price": 91, "qty": "4"})
    assert (status, new["replaces"], new["limit_price"], new["qty"]) == (200, old["id"], "91", "4")
    client.wait(1)
    assert client.ask(f"GET /v2/orders/{old['id']}")[1]["replaced_by"] == new["id"]


@pytest.mark.parametrize(
    ("price", "status"),
    [("100.5", 200), (100.5, 200), (178.42000000000002, 422), ("abc", 422), (True, 422), ("1e30", 422)],
)
def test_numbers_may_be_strings_or_numbers_and_are_read_exactly(price: object, status: int) -> None:
    order = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "time_in_force": "day", "limit_price": price}
    assert Client().ask("POST /v2/orders", order)[0] == status


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"take_profit": {"limit_price": "110"}}, "take_profit requires order_class bracket, oco or oto"),
        ({"stop_loss": {"stop_price": "90"}}, "stop_loss requires order_class bracket, oco or oto"),
        ({"stop_loss": {"limit_price": "90"}}, "stop_loss requires order_class bracket, oco or oto"),
        ({"order_class": "mleg"}, "order_class mleg is not simulated"),
        ({"legs": []}, "legs belongs to order_class mleg, which is not simulated"),
        ({"trail_percent": "1"}, "limit orders must not have trail_percent"),
        ({"stop_price": "90"}, "limit orders require no stop price"),
        ({"type": "stop", "stop_price": "90"}, "stop orders require no limit price"),
    ],
)
def test_what_is_not_simulated_is_refused_and_not_left_out(more: dict[str, Any], why: str) -> None:
    order = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "time_in_force": "day", "limit_price": "100"}
    status, refusal = Client().ask("POST /v2/orders", order | more)
    assert (status, refusal["message"]) == (422, why)


OCO = {
    "symbol": "AAPL", "side": "sell", "qty": "10", "type": "limit", "time_in_force": "day", "order_class": "oco",
    "take_profit": {"limit_price": "101"}, "stop_loss": {"stop_price": "99"},
}  # fmt: skip


def holding() -> Client:
    client = Client()
    client.order("buy", "10")
    client.wait(1)
    return client


def test_an_oco_is_told_with_its_leg() -> None:
    client = holding()
    status, order = client.ask("POST /v2/orders", OCO | {"client_order_id": "exit"})
    (leg,) = order["legs"]
    told = ("type", "order_class", "status", "qty", "limit_price", "stop_price", "position_intent", "group_role")
    assert (status, order["client_order_id"], [order[name] for name in told]) == (
        200, "exit", ["limit", "oco", "pending_new", "10", "101", None, "sell_to_close", "take_profit"],
    )  # fmt: skip
    assert [leg[name] for name in told] == ["stop", "oco", "held", "10", None, "99", "sell_to_close", "stop_loss"]
    assert (leg["legs"], leg["group_id"]) == (None, order["group_id"])
    assert leg["client_order_id"] not in ("", "exit")
    client.wait(1)
    assert client.ask("GET /v2/positions/AAPL")[1]["qty_available"] == "0"
    for order_id, role in ((order["id"], "take_profit"), (leg["id"], "stop_loss")):
        alone = client.ask(f"GET /v2/orders/{order_id}")[1]
        assert (alone["group_role"], alone["legs"]) == (role, None)
    assert [of["id"] for of in client.ask(f"GET /v2/orders/{order['id']}", nested="true")[1]["legs"]] == [leg["id"]]
    by_client_id = client.ask("GET /v2/orders:by_client_order_id", client_order_id="exit", nested="true")[1]
    assert [of["id"] for of in by_client_id["legs"]] == [leg["id"]]


def test_a_held_leg_is_listed_only_inside_its_parent() -> None:
    client = holding()
    _, order = client.ask("POST /v2/orders", OCO)
    (leg,) = order["legs"]
    client.wait(1)

    def listed(**query: str) -> list[object]:
        rows = client.ask("GET /v2/orders", **query)[1]
        return [[of["id"], *(inner["id"] for inner in of["legs"] or [])] for of in rows if of["side"] == "sell"]

    assert listed() == [[order["id"]]]
    assert listed(nested="true") == [[order["id"], leg["id"]]]
    assert listed(status="all") == [[leg["id"]], [order["id"]]]
    assert listed(status="all", nested="true") == [[order["id"], leg["id"]]]
    assert client.ask("DELETE /v2/orders") == (207, [{"id": order["id"], "status": 200}])
    client.wait(1)
    assert listed(nested="true") == []
    assert listed(status="closed", nested="true") == [[order["id"], leg["id"]]]


def test_a_leg_is_changed_by_its_id() -> None:
    client = holding()
    _, order = client.ask("POST /v2/orders", OCO)
    client.wait(1)
    old = order["legs"][0]["id"]
    status, new = client.ask(f"PATCH /v2/orders/{old}", {"stop_price": "99.50"})
    assert (status, new["replaces"], new["stop_price"], new["group_role"]) == (200, old, "99.5", "stop_loss")
    client.wait(1)
    nested = client.ask("GET /v2/orders", nested="true")[1]
    assert [(leg["id"], leg["status"], leg["stop_price"]) for leg in nested[0]["legs"]] == [(new["id"], "held", "99.5")]
    assert client.ask(f"GET /v2/orders/{old}")[1]["replaced_by"] == new["id"]
    assert client.ask(f"PATCH /v2/orders/{new['id']}", {"stop_price": "100.50"}) == (
        422, {"code": 42210000, "message": "stop_loss.stop_price must be <= base_price - 0.01", "base_price": "100"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"take_profit": "101"}, "take_profit must be an object with limit_price"),
        ({"take_profit": [{"limit_price": "101"}]}, "take_profit must be an object with limit_price"),
        ({"take_profit": {}}, "oco orders require take_profit.limit_price"),
        ({"take_profit": {"limit_price": {}}}, "take_profit.limit_price is not a number, or no possible one"),
        ({"stop_loss": 99}, "stop_loss must be an object with stop_price"),
        ({"stop_loss": {"limit_price": "98"}}, "oco orders require stop_loss.stop_price"),
        ({"stop_loss": {"stop_price": "nan"}}, "stop_loss.stop_price is not a number, or no possible one"),
        ({"stop_loss": {"stop_price": "2000000000"}}, "stop_loss.stop_price is out of range"),
        ({"stop_loss": {"stop_price": "99", "limit_price": True}},
         "stop_loss.limit_price is not a number, or no possible one"),
        ({"order_class": "OCO"}, "order_class OCO is not simulated"),
    ],
)  # fmt: skip
def test_legs_that_are_none(more: dict[str, Any], why: str) -> None:
    status, refusal = holding().ask("POST /v2/orders", OCO | more)
    assert (status, refusal["message"]) == (422, why)


def test_a_trailing_stop_tells_its_distance_and_its_best_print() -> None:
    client = holding()
    body = {"symbol": "AAPL", "side": "sell", "qty": "10", "type": "trailing_stop", "time_in_force": "gtc"}
    _, order = client.ask("POST /v2/orders", body | {"trail_percent": "1.5"})
    told = ("trail_percent", "trail_price", "hwm", "stop_price", "order_class")
    assert [order[name] for name in told] == ["1.5", None, "100", "98.5", ""]
    assert "group_id" not in order
    client.wait(1)
    _, new = client.ask(f"PATCH /v2/orders/{order['id']}", {"trail": "2"})
    assert [new[name] for name in told] == ["2", None, "100", "98", ""]


def test_a_body_that_is_no_order() -> None:
    client = Client()
    assert client.rest.handle("POST", "/v2/orders", {}, client.headers, b"{nonsense").status == 400
    assert client.ask("POST /v2/orders", [])[0] == 400
    assert client.ask("POST /v2/orders", {})[0] == 422


def test_a_refusal_has_its_extra_keys() -> None:
    client = Client()
    client.order("buy", "10")
    client.wait(1)
    _, sell = client.order("sell", "10", limit="120")
    assert client.order("sell", "10") == (
        403,
        {
            "code": 40310000,
            "message": "insufficient qty available for order (requested: 10, available: 0)",
            "symbol": "AAPL",
            "available": "0",
            "existing_qty": "10",
            "held_for_orders": "10",
            "related_orders": [sell["id"]],
        },
    )


def test_positions_are_closed_at_the_market() -> None:
    client = Client()
    client.order("buy", "10")
    client.order("buy", "1", symbol="TSLA")
    client.wait(1)
    _, held = client.ask("GET /v2/positions/AAPL")
    assert (held["qty_available"], held["avg_entry_price"], held["cost_basis"]) == ("10", "100.01", "1000.1")
    client.order("sell", "10", limit="120")
    assert client.ask("DELETE /v2/positions/AAPL")[0] == 403  # the sell holds the shares
    status, rows = client.ask("DELETE /v2/positions", cancel_orders="true")
    assert (status, [(row["symbol"], row["status"]) for row in rows]) == (207, [("AAPL", 200), ("TSLA", 200)])
    client.wait(1)
    assert client.ask("GET /v2/positions") == (200, [])
    assert client.ask("DELETE /v2/positions/AAPL") == (404, {"code": 40410000, "message": "position does not exist"})


def test_a_part_of_a_position_can_be_closed() -> None:
    client = Client()
    client.order("buy", "10")
    client.wait(1)
    assert client.ask("DELETE /v2/positions/AAPL", percentage="50")[1]["qty"] == "5"
    assert client.ask("DELETE /v2/positions/AAPL", qty="2")[1]["qty"] == "2"


# --- who may ask, and how often ---


def test_keys() -> None:
    client = Client(access=Access(keys={"KEY": "SECRET"}))
    assert client.ask("GET /v2/clock")[0] == 200
    client.headers["APCA-API-SECRET-KEY"] = "WRONG"
    assert client.ask("GET /v2/clock") == (401, {"message": "unauthorized."})
    assert client.ask("GET /v2/stocks/bars", symbols="AAPL")[0] == 401
    client.headers.clear()
    status, page = client.ask("GET /v2/clock")
    assert status == 401 and page.startswith("<html>")


def test_requests_are_counted_by_the_minute_of_exchange_time() -> None:
    client = Client(access=Access(trading_limit=3))
    for left in ("2", "1", "0"):
        assert client.ask("GET /v2/clock")[0] == 200
        assert client.last_headers["X-Ratelimit-Remaining"] == left
    assert client.ask("POST /v2/orders", {}) == (429, {"code": 42910000, "message": "rate limit exceeded"})
    assert client.last_headers["X-Ratelimit-Limit"] == "3"
    assert client.last_headers["X-Ratelimit-Reset"] == "1795185660"
    assert client.ask("GET /v2/stocks/bars", symbols="AAPL")[0] == 200  # data has its own count
    client.wait(60)
    assert client.ask("GET /v2/clock")[0] == 200
    assert client.last_headers["X-Request-ID"]


def test_unknown_paths() -> None:
    client = Client()
    assert client.ask("GET /v2/nothing")[0] == 404
    assert client.ask("PUT /v2/orders")[0] == 405
    assert client.ask("GET /v2/stocks/nothing")[0] == 404


# --- data ---


def test_bars_are_finished_minutes_only() -> None:
    client = Client(at=185)  # the fourth minute is running
    _, told = client.ask("GET /v2/stocks/bars", symbols="TSLA,AAPL,NOPE", timeframe="1Min")
    assert {symbol: len(bars) for symbol, bars in told["bars"].items()} == {"AAPL": 3, "TSLA": 3}
    assert list(told["bars"]["AAPL"][0]) == ["t", "o", "h", "l", "c", "v", "n", "vw"]
    assert told["bars"]["AAPL"][0]["t"] == "2026-11-20T14:30:00Z"
    assert client.ask("GET /v2/stocks/bars/latest", symbols="AAPL")[1]["bars"]["AAPL"]["t"] == "2026-11-20T14:32:00Z"


def test_bars_come_by_symbol_and_in_pages() -> None:
    client = Client(at=185)
    query = {"symbols": "AAPL,TSLA", "timeframe": "1Min", "limit": "4"}
    _, first = client.ask("GET /v2/stocks/bars", **query)
    assert {symbol: len(bars) for symbol, bars in first["bars"].items()} == {"AAPL": 3, "TSLA": 1}
    _, second = client.ask("GET /v2/stocks/bars", **query, page_token=first["next_page_token"])
    assert {symbol: len(bars) for symbol, bars in second["bars"].items()} == {"TSLA": 2}
    assert second["next_page_token"] is None


def test_start_and_end_are_inclusive() -> None:
    client = Client()
    window = {"start": "2026-11-20T14:31:00Z", "end": "2026-11-20T14:33:00Z"}
    _, told = client.ask("GET /v2/stocks/AAPL/bars", **window)
    assert (told["symbol"], len(told["bars"])) == ("AAPL", 3)
    _, five = client.ask("GET /v2/stocks/AAPL/bars", timeframe="5Min")
    assert [bar["v"] for bar in five["bars"]] == [20000, 20000 - 4000]  # 09:39 comes out a moment after its end


def test_what_is_wrong_with_a_data_request() -> None:
    client = Client(access=Access(sip=False))
    assert client.ask("GET /v2/stocks/bars")[0] == 400
    for wrong in ("1Century", "60Min", "24Hour", "2Day", "0Min"):
        assert client.ask("GET /v2/stocks/bars", symbols="AAPL", timeframe=wrong)[0] == 400
    assert client.ask("GET /v2/stocks/bars", symbols="AAPL", feed="zzz")[1]["message"] == "invalid feed: zzz"
    assert client.ask("GET /v2/stocks/bars", symbols="AAPL", sort="zz")[1]["message"] == "invalid sort: zz"
    assert client.ask("GET /v2/stocks/bars", symbols="AAPL", limit="10001")[1]["message"] == (
        "invalid limit: larger than the allowed maximum of 10000"
    )
    recent = client.ask("GET /v2/stocks/bars", symbols="AAPL", feed="sip", end="2026-11-20T14:40:00Z")
    assert recent == (
        403,
        {"code": 42210000, "message": "subscription does not permit querying recent SIP data"},
    )
    assert client.ask("GET /v2/stocks/bars", symbols="AAPL", feed="iex")[0] == 200


def test_latest_trades_and_snapshots() -> None:
    client = Client()
    _, told = client.ask("GET /v2/stocks/trades/latest", symbols="AAPL,NOPE")
    assert list(told["trades"]) == ["AAPL"]
    assert (told["trades"]["AAPL"]["p"], told["trades"]["AAPL"]["t"]) == (100.0, "2026-11-20T14:39:59.9Z")
    assert client.ask("GET /v2/stocks/AAPL/trades/latest")[1]["trade"] == told["trades"]["AAPL"]
    _, quotes = client.ask("GET /v2/stocks/quotes/latest", symbols="AAPL")
    assert (quotes["quotes"]["AAPL"]["bp"], quotes["quotes"]["AAPL"]["ap"]) == (99.99, 100.01)
    _, snapshots = client.ask("GET /v2/stocks/snapshots", symbols="AAPL,NOPE")
    assert snapshots["NOPE"] is None  # and no outer key
    assert snapshots["AAPL"]["dailyBar"]["v"] == 36000
    assert client.ask("GET /v2/stocks/AAPL/snapshot")[1]["symbol"] == "AAPL"
    assert "prevDailyBar" not in snapshots["AAPL"]  # absent where there is no day before


@pytest.mark.parametrize("path", ["trades/latest", "quotes/latest", "bars/latest", "snapshots"])
def test_the_newest_of_a_feed(path: str) -> None:
    client = Client(access=Access(sip=False))
    single = f"AAPL/{path.removesuffix('s')}"
    for what in (f"GET /v2/stocks/{path}", f"GET /v2/stocks/{single}"):
        for feed in ("iex", "delayed_sip", "overnight", ""):
            assert client.ask(what, symbols="AAPL", feed=feed)[0] == 200
        assert client.ask(what, symbols="AAPL", feed="nasdaq") == (
            400,
            {"code": 40010001, "message": "invalid feed: nasdaq"},
        )
        assert client.ask(what, symbols="AAPL", feed="sip")[0] == 403


# --- Polygon ---


def test_polygon_aggregates() -> None:
    client = Client(access=Access(polygon_key="PK"))
    path = "GET /v2/aggs/ticker/AAPL/range/1/minute/2026-11-20/2026-11-20"
    assert client.ask(path)[0] == 401
    client.headers["Authorization"] = "Bearer PK"
    status, told = client.ask(path, limit="5")
    assert (status, told["status"], told["resultsCount"]) == (200, "OK", 5)
    assert told["results"][0]["t"] == 1795185000000
    assert "cursor=" in told["next_url"]
    cursor = told["next_url"].partition("cursor=")[2].partition("&")[0]
    _, rest = client.ask(path, limit="5", cursor=cursor)
    assert len(rest["results"]) == 4 and "next_url" not in rest
    _, nothing = client.ask("GET /v2/aggs/ticker/NOPE/range/1/minute/1795185000000/1795185060000")
    assert "results" not in nothing and nothing["status"] == "OK"
    assert client.ask(path.replace("/1/minute", "/90/minute"))[1]["resultsCount"] == 1
    status, wrong = client.ask("GET /v2/aggs/ticker/AAPL/range/1/minute/someday/2026-11-20")
    assert (status, wrong["status"], wrong["error"]) == (400, "ERROR", "invalid time: someday")


def test_polygon_last_trade_in_nanoseconds() -> None:
    client = Client()
    _, told = client.ask("GET /v2/last/trade/AAPL", apiKey="any")
    assert (told["results"]["p"], told["results"]["t"]) == (100.0, 1795185599900000000)
    assert client.ask("GET /v2/last/trade/NOPE", apiKey="any")[0] == 404
    status, told = client.ask("GET /v2/last/trade/AAPL")
    assert (status, told["status"], told["error"]) == (401, "ERROR", "Unknown API Key")
