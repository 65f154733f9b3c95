"""What clients ask of the day besides its minutes: longer bars, trades, snapshots, the account's worth."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day
from scalp.exchange.matching import Engine
from scalp.exchange.rest import Access, Rest
from scalp.exchange.server import ExchangeServer
from scalp.exchange.simulation import Simulation
from scalp.exchange.tape import Tape
from tests.exchange.playground import DAY, Client, on_the_wire
from tests.exchange.test_exchange_streams import LOGIN, ask, hear, stream

DATES = [session_day(dt.date(2026, *day)) for day in ((10, 30), (11, 13), (11, 16), (11, 19), (11, 20))]


def bars_of(symbol: str) -> list[Bar]:
    """Five days, each of four minutes: one before the open, two in the session, one after the close."""
    found = []
    for n, day in enumerate(DATES):
        price = 100.0 + 10 * n
        for start, move in ((day.open - MINUTE, -5), (day.open, 0), (day.close - MINUTE, 1), (day.close, 5)):
            found.append(Bar(symbol, start, price + move, price + move + 0.5, price + move - 0.5, price + move, 100.0))
    return found


class Week(Client):
    """A client of the exchange whose market has five days; `minutes` after (before) the last one's close."""

    def __init__(self, minutes: int = 2) -> None:
        super().__init__(access=Access(polygon_key="PK"))
        market = {symbol: bars_of(symbol) for symbol in ("AAPL", "TSLA")}
        now = DAY.close + minutes * MINUTE
        engine = Engine(DAY.open, DAY.close, market, now=now)
        self.simulation = Simulation(market, engine, tape=Tape(market, now, correct_every=0))
        self.rest = Rest(self.simulation, Access())


FIVE_DAYS = [("10-30", 100, 101), ("11-13", 110, 111), ("11-16", 120, 121), ("11-19", 130, 131), ("11-20", 140, 141)]


@pytest.mark.parametrize(
    ("timeframe", "told"),
    [
        ("1Day", FIVE_DAYS),
        ("1D", FIVE_DAYS),
        ("1Week", [("10-26", 100, 101), ("11-09", 110, 111), ("11-16", 120, 141)]),
        ("1Month", [("10-01", 100, 101), ("11-01", 110, 141)]),
        ("3M", [("10-01", 100, 141)]),
        ("12Month", [("01-01", 100, 141)]),
    ],
)  # fmt: skip
def test_days_weeks_and_months(timeframe: str, told: list[Any]) -> None:
    """They begin at midnight in New York; what is traded outside the session counts for the volume alone."""
    _, answer = Week().ask("GET /v2/stocks/AAPL/bars", timeframe=timeframe, start="2026-01-01")
    assert [(bar["t"][5:10], bar["o"], bar["c"]) for bar in answer["bars"]] == told
    assert {bar["t"][10:] for bar in answer["bars"]} <= {"T04:00:00Z", "T05:00:00Z"}
    assert sum(bar["v"] for bar in answer["bars"]) == 2000
    assert (answer["bars"][-1]["h"], answer["bars"][0]["l"]) == (141.5, 99.5)


def test_hours_count_what_is_traded_outside_the_session() -> None:
    _, answer = Week().ask("GET /v2/stocks/AAPL/bars", timeframe="1Hour", start="2026-11-20")
    assert [(bar["t"], bar["o"], bar["c"]) for bar in answer["bars"]] == [
        ("2026-11-20T14:00:00Z", 135, 140),
        ("2026-11-20T20:00:00Z", 141, 141),
        ("2026-11-20T21:00:00Z", 145, 145),
    ]


@pytest.mark.parametrize("wrong", ["2Week", "5Month", "2Day", "0Min", "60Min", "24H", "1Year", "Day", ""])
def test_other_timeframes_are_refused(wrong: str) -> None:
    answer = Week().ask("GET /v2/stocks/AAPL/bars", timeframe=wrong)
    assert answer == (400, {"code": 40010001, "message": f"invalid timeframe: {wrong}"})


# --- trades and quotes ---


def test_trades_of_the_running_minute_are_told_as_they_are_made() -> None:
    client = Client(at=30)
    _, told = client.ask("GET /v2/stocks/trades", symbols="AAPL,NOPE")
    assert [(made["t"], made["p"], made["s"]) for made in told["trades"]["AAPL"]] == [
        ("2026-11-20T14:30:00.1Z", 100.0, 800),
        ("2026-11-20T14:30:15.05Z", 100.01, 800),
        ("2026-11-20T14:30:30Z", 100.0, 800),
    ]
    assert told["next_page_token"] is None
    _, one = client.ask("GET /v2/stocks/AAPL/trades", sort="desc", limit="1")
    assert (one["symbol"], one["trades"]) == ("AAPL", told["trades"]["AAPL"][2:])
    _, quotes = client.ask("GET /v2/stocks/AAPL/quotes")
    assert [(of["bp"], of["ap"]) for of in quotes["quotes"]] == [(99.99, 100.01), (100.0, 100.02), (99.99, 100.01)]
    assert client.ask("GET /v2/stocks/AAPL/trades", limit="0")[0] == 400
    assert client.ask("GET /v2/stocks/trades")[0] == 400


@pytest.mark.parametrize("what", ["trades", "quotes", "bars"])
@pytest.mark.parametrize("sort", ["asc", "desc"])
def test_pages_fit_together_while_the_market_goes_on(what: str, sort: str) -> None:
    """No row twice and none left out, though more of the first symbol come between two pages."""
    client = Client(at=300)
    query = {"symbols": "TSLA,AAPL", "sort": sort}
    token, seen = "", []
    while token is not None:
        _, page = client.ask(f"GET /v2/stocks/{what}", limit="4", page_token=token, **query)
        seen += [(symbol, row["t"]) for symbol, rows in page[what].items() for row in rows]
        token = page["next_page_token"]
        client.wait(20)
    _, whole = client.ask(f"GET /v2/stocks/{what}", limit="10000", **query)
    for symbol, rows in whole[what].items():
        times, told = [row["t"] for row in rows], [at for of, at in seen if of == symbol]
        first = times.index(told[0])
        assert told == times[first : first + len(told)]


def test_a_page_token_that_nobody_gave_out() -> None:
    for token in ("x", "!", "QUFQTA==", "gICA", "é"):
        answer = Client().ask("GET /v2/stocks/trades", symbols="AAPL", page_token=token)
        assert answer == (400, {"code": 40010001, "message": f"invalid page_token: {token}"})


def test_nothing_is_traded_while_a_symbol_is_halted() -> None:
    client = Client(at=0)
    client.wait(30)
    client.simulation.halt("AAPL")
    client.wait(61)
    client.simulation.resume("AAPL")
    client.wait(30)
    _, told = client.ask("GET /v2/stocks/AAPL/trades")
    times = [made["t"][14:22] for made in told["trades"]]
    assert times == ["30:00.1Z", "30:15.05", "30:30Z", "31:44.95", "31:59.9Z", "32:00.1Z"]
    _, last = client.ask("GET /v2/stocks/AAPL/trades/latest")
    assert last["trade"] == told["trades"][-1]


# --- snapshots ---


def test_a_snapshot_before_and_after_the_open() -> None:
    _, before = Week(-391).ask("GET /v2/stocks/AAPL/snapshot")
    assert (before["dailyBar"]["c"], before["prevDailyBar"]["c"]) == (131, 121)
    _, after = Week().ask("GET /v2/stocks/AAPL/snapshot")
    assert (after["dailyBar"]["o"], after["dailyBar"]["v"], after["prevDailyBar"]["c"]) == (140, 400, 131)
    assert after["minuteBar"]["c"] == after["latestTrade"]["p"] == 145


# --- the account ---


def test_the_portfolio_is_told_by_the_minute() -> None:
    client = Client(at=60)
    assert client.order("buy", "100")[0] == 200  # at 100.01, worth 100 at each minute's end
    client.wait(150)
    status, told = client.ask("GET /v2/account/portfolio/history", period="1D", timeframe="1Min")
    opens = DAY.open // SECOND
    assert (status, told) == (
        200,
        {
            "timestamp": [opens, opens + 60, opens + 120, opens + 180],
            "equity": [100_000.0, 99_999.0, 99_999.0, 99_999.0],
            "profit_loss": [0.0, -1.0, -1.0, -1.0],
            "profit_loss_pct": [0.0, -0.00001, -0.00001, -0.00001],
            "base_value": 100_000.0,
            "base_value_asof": "2026-11-19",
            "timeframe": "1Min",
        },
    )


@pytest.mark.parametrize(
    ("query", "timeframe", "points"),
    [
        ({}, "1D", 1),
        ({"period": "1W"}, "15Min", 1),
        ({"period": "3D"}, "1Min", 11),
        ({"period": "1A"}, "1D", 1),
        ({"period": "1D", "timeframe": "5Min"}, "5Min", 3),
        ({"timeframe": "1H", "extended_hours": "true"}, "1H", 6),
        ({"timeframe": "1H", "intraday_reporting": "extended_hours"}, "1H", 6),
        ({"timeframe": "1D", "date_end": "2026-11-19"}, "1D", 0),
        ({"timeframe": "1Min", "start": "2026-11-20T14:35:00Z", "end": "2026-11-20T14:37:00Z"}, "1Min", 3),
    ],
)
def test_how_much_of_the_portfolio_is_told(query: dict[str, Any], timeframe: str, points: int) -> None:
    status, told = Client().ask("GET /v2/account/portfolio/history", **query)
    assert (status, told["timeframe"], len(told["timestamp"]), len(told["equity"])) == (200, timeframe, points, points)


@pytest.mark.parametrize(
    "query",
    [
        {"period": "1X"},
        {"period": "0D"},
        {"timeframe": "2Min"},
        {"intraday_reporting": "always"},
        {"period": "1A", "timeframe": "1Min"},
        {"period": "999A", "timeframe": "5Min"},
        {"period": "9999A"},
        {"start": "yesterday"},
        {"start": "2026-11-20", "end": "2026-11-20", "period": "1D"},
    ],
)
def test_what_is_wrong_with_a_question_for_the_portfolio(query: dict[str, Any]) -> None:
    assert Client().ask("GET /v2/account/portfolio/history", **query)[0] == 422


# --- Polygon ---

AAPL_DAY = {"v": 400, "vw": 140.5, "o": 140.0, "c": 141.0, "h": 141.5, "l": 139.5}


def test_the_previous_close() -> None:
    client = Week()
    status, told = client.ask("GET /v2/aggs/ticker/AAPL/prev", apiKey="any")
    assert (status, told["status"], told["ticker"], told["resultsCount"]) == (200, "OK", "AAPL", 1)
    close = DATES[-2].close // 1_000_000
    assert told["results"] == [
        {"T": "AAPL", "v": 400, "vw": 130.5, "o": 130.0, "c": 131.0, "h": 131.5, "l": 129.5, "t": close, "n": 4}
    ]
    _, nothing = Client().ask("GET /v2/aggs/ticker/AAPL/prev", apiKey="any")
    assert (nothing["resultsCount"], "results" in nothing) == (0, False)


def test_a_day_of_all_tickers() -> None:
    path = "GET /v2/aggs/grouped/locale/us/market/stocks/2026-11-20"
    status, told = Week().ask(path, apiKey="any")
    assert (status, told["resultsCount"], told["queryCount"], told["adjusted"]) == (200, 2, 2, True)
    assert told["results"][0] == {"T": "AAPL", **AAPL_DAY, "t": DAY.close // 1_000_000, "n": 4}
    assert "results" not in Week().ask(path.replace("11-20", "11-21"), apiKey="any")[1]
    assert Week().ask(path.replace("2026-11-20", "today"), apiKey="any")[0] == 400


def test_open_and_close_of_a_day() -> None:
    assert Week().ask("GET /v1/open-close/AAPL/2026-11-20", apiKey="any") == (
        200,
        {
            "status": "OK",
            "from": "2026-11-20",
            "symbol": "AAPL",
            "open": 140.0,
            "high": 141.5,
            "low": 139.5,
            "close": 141.0,
            "volume": 400,
            "preMarket": 135.0,
            "afterHours": 145.0,
        },
    )
    for nothing in ("NOPE/2026-11-20", "AAPL/2026-11-21"):
        status, told = Week().ask(f"GET /v1/open-close/{nothing}", apiKey="any")
        assert (status, told["status"], told["message"]) == (404, "NOT_FOUND", "Data not found.")


def test_polygon_snapshots() -> None:
    path = "GET /v2/snapshot/locale/us/markets/stocks/tickers"
    status, told = Week().ask(f"{path}/AAPL", apiKey="any")
    last = DAY.close + MINUTE - SECOND // 10
    assert (status, told["status"], told["ticker"]) == (
        200,
        "OK",
        {
            "ticker": "AAPL",
            "todaysChange": 14.0,
            "todaysChangePerc": 10.687023,
            "updated": last,
            "day": AAPL_DAY,
            "lastQuote": {"P": 145.01, "S": 14, "p": 144.99, "s": 14, "t": last},
            "lastTrade": {"c": [], "i": str(last // 1000), "p": 145.0, "s": 14.0, "t": last, "x": 11},
            "min": {
                **{"av": 400.0, "v": 100, "vw": 145.0, "o": 145.0, "c": 145.0, "h": 145.5, "l": 144.5},
                **{"t": DAY.close // 1_000_000, "n": 1},
            },
            "prevDay": {"v": 400, "vw": 130.5, "o": 130.0, "c": 131.0, "h": 131.5, "l": 129.5},
        },
    )
    _, all_of_them = Week().ask(path, apiKey="any")
    assert (all_of_them["count"], [of["ticker"] for of in all_of_them["tickers"]]) == (2, ["AAPL", "TSLA"])
    _, some = Week().ask(path, apiKey="any", tickers="TSLA,NOPE")
    assert [of["ticker"] for of in some["tickers"]] == ["TSLA"]
    assert Week().ask(f"{path}/NOPE", apiKey="any")[0] == 404


@pytest.mark.parametrize(
    ("span", "told"),
    [("1/week", ["10-25", "11-08", "11-15"]), ("1/month", ["10-01", "11-01"]), ("1/quarter", ["10-01"]),
     ("1/year", ["01-01"])],
)  # fmt: skip
def test_polygons_weeks_begin_on_sunday(span: str, told: list[Any]) -> None:
    _, answer = Week().ask(f"GET /v2/aggs/ticker/AAPL/range/{span}/2026-01-01/2026-11-20", apiKey="any")
    stamps = [dt.datetime.fromtimestamp(row["t"] / 1000, dt.UTC) for row in answer["results"]]
    assert [f"{at:%m-%d}" for at in stamps] == told


@pytest.mark.parametrize(
    "path",
    ["/v3/trades/AAPL", "/v3/reference/tickers", "/v1/marketstatus/now", "/v2/aggs/nothing",
     "/v2/snapshot/locale/us/markets/stocks/gainers", "/v1/indicators/sma/AAPL", "/vX/reference/financials"],
)  # fmt: skip
def test_what_polygon_has_besides_is_not_in_the_plan(path: str) -> None:
    status, told = Client().ask(f"GET {path}", apiKey="any")
    assert (status, told["status"]) == (403, "NOT_AUTHORIZED")
    assert told["message"].startswith("You are not entitled to this data.")
    assert Client().ask(f"GET {path}")[0] == 401


# --- the stream ---


def test_the_day_so_far_comes_with_each_minute() -> None:
    async def test(server: ExchangeServer) -> None:
        async with stream(server, "/v2/iex") as socket:
            await hear(socket)
            await ask(socket, LOGIN)
            told = await ask(socket, {"action": "subscribe", "dailyBars": ["AAPL"]})
            assert told[0]["dailyBars"] == ["AAPL"]
            days = [message for _ in range(2) for message in await hear(socket)]
            assert [(day["T"], day["S"], day["t"], day["o"], day["h"], day["v"]) for day in days] == [
                ("d", "AAPL", "2026-11-20T05:00:00Z", 100.0, 100.01, 4000),
                ("d", "AAPL", "2026-11-20T05:00:00Z", 100.0, 100.01, 8000),
            ]

    on_the_wire(test, at=0)
