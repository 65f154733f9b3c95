"""A whole trade with alpaca_trade_api 3.2.0, the SDK of the original bot, REST and Stream, against the exchange."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from alpaca_trade_api.rest import REST, APIError, TimeFrame
from alpaca_trade_api.stream import Stream

from tests.wire.exchange_process import exchange

KEYS = ("KEY", "SECRET")


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with exchange("--speed", "60", "--session", "2026-11-27", "--from", "10:00", "AAPL", "TSLA") as env:
        yield env


@pytest.fixture
def api(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[REST]:
    monkeypatch.setenv("APCA_API_DATA_URL", env["APCA_API_DATA_URL"])
    api = REST(*KEYS, base_url=env["APCA_API_BASE_URL"])
    yield api
    api._session.close()


@pytest.fixture(scope="module")
def heard(env: dict[str, str]) -> Iterator[dict[str, queue.Queue[Any]]]:
    """The SDK's Stream in a thread: what its handlers got, by kind."""
    heard: dict[str, queue.Queue[Any]] = {kind: queue.Queue() for kind in ("update", "bar", "trade")}

    def into(kind: str) -> Any:
        async def handler(message: Any) -> None:
            heard[kind].put(message)

        return handler

    stream = Stream(*KEYS, base_url=env["APCA_API_BASE_URL"], data_stream_url=env["APCA_API_STREAM_URL"])
    stream.subscribe_trade_updates(into("update"))
    stream.subscribe_bars(into("bar"), "AAPL", "TSLA")
    stream.subscribe_trades(into("trade"), "AAPL")
    loop: asyncio.AbstractEventLoop | None = None
    done = asyncio.Event()

    async def listen() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        streaming = asyncio.create_task(stream._run_forever())
        await done.wait()
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
        await stream._trading_ws.close()
        await stream._data_ws.close()

    thread = threading.Thread(target=asyncio.run, args=(listen(),), daemon=True)
    thread.start()
    yield heard
    assert loop is not None
    loop.call_soon_threadsafe(done.set)
    thread.join(5)


def next_event(updates: queue.Queue[Any], wanted: str) -> Any:
    while True:
        update = updates.get(timeout=8)
        if update.event == wanted:
            return update


def test_a_half_day_is_told(api: REST) -> None:
    clock = api.get_clock()
    assert clock.is_open
    assert str(clock.next_close) == "2026-11-27 13:00:00-05:00"
    (day,) = api.get_calendar("2026-11-27", "2026-11-29")
    assert (str(day.open), str(day.close)) == ("09:30:00", "13:00:00")


def test_history(api: REST) -> None:
    bars = api.get_bars(["AAPL", "TSLA"], TimeFrame.Minute, "2026-11-27T14:30:00Z", "2026-11-27T14:39:00Z").df
    assert sorted(bars.symbol.unique()) == ["AAPL", "TSLA"]
    assert len(bars) == 20
    assert (bars.high >= bars.low).all()


def test_the_day_as_charts_want_it(api: REST) -> None:
    (day,) = api.get_bars("AAPL", TimeFrame.Day, "2026-11-27", "2026-11-27")
    (week,) = api.get_bars("AAPL", TimeFrame.Week, "2026-11-23", "2026-11-27")
    (month,) = api.get_bars("AAPL", TimeFrame.Month, "2026-11-01", "2026-11-27")
    assert day.o == week.o == month.o
    snapshot = api.get_snapshot("AAPL")
    assert (snapshot.daily_bar.o, snapshot.prev_daily_bar) == (day.o, None)
    assert api.get_snapshots(["AAPL", "TSLA"])["TSLA"].latest_trade.p > 0
    trades = api.get_trades("AAPL", "2026-11-27T14:30:00Z", "2026-11-27T14:39:00Z").df
    assert trades.price.iloc[0] == day.o
    assert len(api.get_quotes("AAPL", "2026-11-27T14:30:00Z", "2026-11-27T14:39:00Z", limit=30)) == 30
    history = api.get_portfolio_history(period="1D", timeframe="15Min")
    assert (history.equity[0], history.base_value) == (100_000, 100_000)


def test_a_whole_trade(api: REST, heard: dict[str, queue.Queue[Any]]) -> None:
    bar = heard["bar"].get(timeout=8)
    assert bar.timestamp % 60_000_000_000 == 0
    assert bar.low <= bar.close <= bar.high
    assert heard["trade"].get(timeout=8).symbol == "AAPL"
    last = api.get_latest_trade("AAPL").price

    buy = api.submit_order("AAPL", qty=5, side="buy", type="limit", limit_price=round(last * 1.02, 2))
    assert buy.status == "pending_new"
    fill = next_event(heard["update"], "fill")
    assert (fill.order["id"], fill.order["filled_qty"], fill.position_qty) == (buy.id, "5", "5")
    assert api.get_position("AAPL").qty == "5"

    sell = api.submit_order("AAPL", qty=5, side="sell", type="limit", limit_price=round(last * 1.5, 2))
    assert next_event(heard["update"], "new").order["id"] == sell.id
    assert [order.id for order in api.list_orders()] == [sell.id]
    api.cancel_order(sell.id)
    assert next_event(heard["update"], "canceled").order["id"] == sell.id

    api.submit_order("AAPL", qty=5, side="sell", type="market")
    assert next_event(heard["update"], "fill").position_qty == "0"
    assert api.list_positions() == []
    (in_, out) = reversed(api.get_activities("FILL"))
    assert (in_.side, out.side, out.cum_qty) == ("buy", "sell", "5")


@pytest.mark.parametrize(
    ("order", "status", "words"),
    [
        ({"symbol": "NOPE", "qty": 1, "side": "buy"}, 422, 'asset "NOPE" not found'),
        ({"symbol": "AAPL", "qty": 1, "side": "sell"}, 403, "account is not allowed to short"),
        ({"symbol": "AAPL", "qty": 10**6, "side": "buy"}, 403, "insufficient buying power"),
        ({"symbol": "AAPL", "qty": 1, "side": "buy", "type": "limit", "limit_price": 99.999}, 422, "sub-penny"),
        ({"symbol": "AAPL", "qty": 0, "side": "buy"}, 422, "qty must be > 0"),
    ],
)
def test_refusals_reach_the_sdk_as_api_errors(api: REST, order: dict[str, Any], status: int, words: str) -> None:
    with pytest.raises(APIError, match=words) as refused:
        api.submit_order(**{"type": "market", **order})
    assert refused.value.status_code == status


def test_the_market_goes_on_meanwhile(api: REST) -> None:
    before = api.get_clock().timestamp
    time.sleep(0.05)
    assert (api.get_clock().timestamp - before).total_seconds() > 1  # sixty times as fast
