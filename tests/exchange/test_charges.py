"""The built-in exchange charges the fees of a day at its close, and tells of them as Alpaca does."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

from scalp.core.fees import ALPACA
from scalp.core.market_data import Bar
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import session_day
from scalp.exchange.derived import Derived
from scalp.exchange.matching import Engine
from scalp.exchange.orders import OrderRequest
from scalp.exchange.rest import Rest
from scalp.exchange.simulation import Simulation

D = Decimal
DAY = session_day(dt.date(2026, 11, 20))
KEYS = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}


def ask(rest: Rest, path: str, **query: str) -> Any:
    answer = rest.handle("GET", path, {"direction": "asc", **query}, KEYS)
    assert answer.status == 200
    return json.loads(answer.body)


def test_fees_are_taken_at_the_close_and_listed_as_activities() -> None:
    market = {"TSLA": [Bar("TSLA", DAY.open + n * MINUTE, 400, 400, 400, 400, 1e5) for n in range(390)]}
    engine = Engine(DAY.open, DAY.close, market, rates=ALPACA.on(DAY.date))
    simulation = Simulation(market, engine)
    rest = Rest(simulation)
    simulation.advance(DAY.open + MINUTE)
    for side in ("buy", "sell"):
        engine.submit(OrderRequest("TSLA", side, "market", "day", D(4), client_order_id=side))
        simulation.advance(simulation.now + MINUTE)
    (bought, sold) = (one.price for one in engine.executions)
    cash = D(100_000) - 4 * bought + 4 * sold
    assert (engine.account.cash, len(ask(rest, "/v2/account/activities"))) == (cash, 2)
    assert ask(rest, "/v2/account/activities/FEE") == []
    simulation.advance(DAY.close + SECOND)
    # $1,599.92 sold at 20.60 a million are 3.3 cents, the others far below one: rounded up to 4, 1 and 1.
    assert (sold, engine.account.cash, engine.equity()) == (D("399.98"), cash - D("0.06"), cash - D("0.06"))
    fees = ask(rest, "/v2/account/activities/FEE")
    assert [(fee["activity_sub_type"], fee["net_amount"], fee["date"]) for fee in fees] == [
        ("REG", "-0.04", "2026-11-20"), ("TAF", "-0.01", "2026-11-20"), ("CAT", "-0.01", "2026-11-20"),
    ]  # fmt: skip
    assert fees[0]["id"].startswith("20261120160000000::") and "parent_id" not in fees[0]
    everything = ask(rest, "/v2/account/activities")
    assert [row["activity_type"] for row in everything] == ["FILL", "FILL", "FEE", "FEE", "FEE"]
    assert ask(rest, "/v2/account/activities", page_token=everything[1]["id"]) == fees
    assert ask(rest, "/v2/account/activities/FEE", after="2026-11-20T21:00:00Z") == []
    assert len(ask(rest, "/v2/account/activities/FEE", after="2026-11-20T20:59:59Z")) == 3
    assert len(ask(rest, "/v2/account/activities/FILL")) == 2
    before, after = Derived(simulation).equity([DAY.close - MINUTE, DAY.close])
    assert (before, before - after) == (cash, D("0.06"))


def test_each_day_is_charged_for_itself_and_no_day_without_rate() -> None:
    engine = Engine(DAY.open, DAY.close, ["TSLA"], rates=ALPACA.on(DAY.date))
    engine.on_trade("TSLA", DAY.open, 400.0, 1e6)
    engine.submit(OrderRequest("TSLA", "buy", "market", "day", D(4)))
    engine.advance(DAY.close)
    later = session_day(dt.date(2026, 11, 23))
    engine.begin_session(later.open, later.close)
    engine.advance(later.close)
    assert [(fee.kind, str(fee.amount), fee.date) for fee in engine.charger.fees] == [("CAT", "0.01", "2026-11-20")]
