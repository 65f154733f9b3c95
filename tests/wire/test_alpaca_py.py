"""A whole trade with alpaca-py, a client written for the real Alpaca, against the exchange in a process of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

pytest.importorskip("alpaca")

from alpaca.common.exceptions import APIError
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.live.stock import StockDataStream
from alpaca.data.requests import (
    StockBarsRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    GetCalendarRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
)
from alpaca.trading.stream import TradingStream

from tests.wire.exchange_process import exchange

KEYS = ("KEY", "SECRET")


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with exchange("--speed", "60", "--session", "2026-11-20", "--from", "10:00", "TSLA", "AAPL") as env:
        yield env


@pytest.fixture(scope="module")
def trading(env: dict[str, str]) -> Iterator[Any]:
    client = TradingClient(*KEYS, url_override=env["APCA_API_BASE_URL"])
    yield client
    client._session.close()


@pytest.fixture(scope="module")
def history(env: dict[str, str]) -> Iterator[Any]:
    client = StockHistoricalDataClient(*KEYS, url_override=env["APCA_API_DATA_URL"])
    yield client
    client._session.close()


class Streams:
    """alpaca-py's two streams, each in a thread, with what they heard in queues."""

    def __init__(self, env: dict[str, str]) -> None:
        self.updates: queue.Queue[Any] = queue.Queue()
        self.bars: queue.Queue[Any] = queue.Queue()
        self.trades: queue.Queue[Any] = queue.Queue()

        async def on_update(update: Any) -> None:
            self.updates.put(update)

        async def on_bar(bar: Any) -> None:
            self.bars.put(bar)

        async def on_trade(trade: Any) -> None:
            self.trades.put(trade)

        stream_url = env["APCA_API_STREAM_URL"]
        self.orders = TradingStream(*KEYS, url_override=f"{stream_url}/stream")
        self.orders.subscribe_trade_updates(on_update)
        self.data = StockDataStream(*KEYS, url_override=f"{stream_url}/v2/iex")
        self.data.subscribe_bars(on_bar, "AAPL", "TSLA")
        self.data.subscribe_trades(on_trade, "AAPL")
        self.threads = [threading.Thread(target=stream.run, daemon=True) for stream in (self.orders, self.data)]
        for thread in self.threads:
            thread.start()

    def next_event(self, wanted: str) -> Any:
        while True:
            update = self.updates.get(timeout=8)
            if update.event == wanted:
                return update

    def stop(self) -> None:
        self.orders.stop()
        self.data.stop()


@pytest.fixture(scope="module")
def streams(env: dict[str, str]) -> Iterator[Streams]:
    streams = Streams(env)
    yield streams
    streams.stop()


def test_the_market_is_open_and_the_account_is_fresh(trading: Any) -> None:
    clock = trading.get_clock()
    assert clock.is_open
    assert clock.next_close == datetime(2026, 11, 20, 21, 0, tzinfo=UTC)
    account = trading.get_account()
    assert account.status == "ACTIVE"
    assert account.buying_power == "400000"
    asset = trading.get_asset("AAPL")
    assert asset.tradable and "Apple" in asset.name
    days = trading.get_calendar(GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 30)))
    assert [day.close.hour for day in days] == [16, 13, 16]


def test_history_comes_by_symbol_and_in_pages(history: Any) -> None:
    request = StockBarsRequest(
        symbol_or_symbols=["TSLA", "AAPL"],
        timeframe=TimeFrame.Minute,
        start=datetime(2026, 11, 20, 14, 30, tzinfo=UTC),
        end=datetime(2026, 11, 20, 14, 49, tzinfo=UTC),
        limit=30,
    )
    bars = history.get_stock_bars(request)
    assert [len(bars["AAPL"]), bars["AAPL"][0].timestamp] == [20, datetime(2026, 11, 20, 14, 30, tzinfo=UTC)]
    assert len(bars["TSLA"]) == 10  # the limit counts all symbols together
    snapshot = history.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="AAPL"))["AAPL"]
    assert snapshot.latest_trade.price == pytest.approx(snapshot.minute_bar.close, rel=0.02)


def test_longer_bars(history: Any) -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    for timeframe, begins in (
        (TimeFrame.Day, datetime(2026, 11, 20, 5, 0, tzinfo=UTC)),
        (TimeFrame.Week, datetime(2026, 11, 16, 5, 0, tzinfo=UTC)),
        (TimeFrame.Month, datetime(2026, 11, 1, 4, 0, tzinfo=UTC)),
        (TimeFrame(30, TimeFrameUnit.Minute), datetime(2026, 11, 20, 13, 30, tzinfo=UTC)),
    ):
        request = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=timeframe, start=start)
        assert history.get_stock_bars(request)["AAPL"][0].timestamp == begins


def test_trades_and_quotes_come_in_pages(history: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    window: dict[str, Any] = {
        "symbol_or_symbols": ["TSLA", "AAPL"],
        "start": datetime(2026, 11, 20, 14, 30, tzinfo=UTC),
        "end": datetime(2026, 11, 20, 14, 49, tzinfo=UTC),
    }
    trades = history.get_stock_trades(StockTradesRequest(**window))
    whole, pages = history.get, []

    def counting(path: str, data: dict[str, Any], **more: Any) -> Any:
        pages.append(path)
        return whole(path, data | {"limit": 50}, **more)

    monkeypatch.setattr(history, "get", counting)
    again = history.get_stock_trades(StockTradesRequest(**window))
    monkeypatch.undo()
    assert len(pages) > 3
    assert [len(trades[symbol]) > 76 for symbol in ("AAPL", "TSLA")] == [True, True]
    assert again.data == trades.data
    bars = history.get_stock_bars(StockBarsRequest(timeframe=TimeFrame.Minute, **window))
    minute = [made.price for made in trades["AAPL"] if made.timestamp < bars["AAPL"][1].timestamp]
    assert (minute[0], max(minute), minute[-1]) == (bars["AAPL"][0].open, bars["AAPL"][0].high, bars["AAPL"][0].close)
    quotes = history.get_stock_quotes(StockQuotesRequest(**window))
    assert all(quote.bid_price < quote.ask_price for quote in quotes["AAPL"])
    assert len(quotes["AAPL"]) == len(trades["AAPL"])


def test_the_account_through_the_day(trading: Any) -> None:
    told = trading.get_portfolio_history(GetPortfolioHistoryRequest(period="1D", timeframe="5Min"))
    assert datetime.fromtimestamp(told.timestamp[0], UTC) == datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    assert len(told.timestamp) >= 7
    assert (told.equity[0], told.profit_loss[0], told.base_value) == (100_000, 0, 100_000)


def test_a_whole_trade(trading: Any, history: Any, streams: Streams) -> None:
    bar = streams.bars.get(timeout=8)
    assert {bar.symbol, streams.bars.get(timeout=8).symbol} <= {"AAPL", "TSLA"}
    assert streams.trades.get(timeout=8).symbol == "AAPL"
    last = history.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="AAPL"))["AAPL"]

    # Buy well above the market: it fills at once, near the last trade.
    buy = trading.submit_order(
        LimitOrderRequest(
            symbol="AAPL",
            qty=8,
            side=OrderSide.BUY,
            time_in_force=TimeInForce.DAY,
            limit_price=round(last.price * 1.02, 2),
            client_order_id="mine-1",
        )
    )
    assert buy.status in (OrderStatus.PENDING_NEW, OrderStatus.NEW)
    assert streams.next_event("new").order.id == buy.id
    fill = streams.next_event("fill")
    assert (fill.order.client_order_id, fill.order.filled_qty, fill.position_qty) == ("mine-1", "8", 8)
    assert fill.price < float(buy.limit_price)
    assert trading.get_open_position("AAPL").qty == "8"

    # Offer the shares far above it: it works, and holds them.
    sell = trading.submit_order(
        LimitOrderRequest(
            symbol="AAPL",
            qty=8,
            side=OrderSide.SELL,
            time_in_force=TimeInForce.DAY,
            limit_price=round(last.price * 1.5, 2),
        )
    )
    assert streams.next_event("new").order.id == sell.id
    assert trading.get_open_position("AAPL").qty_available == "0"
    with pytest.raises(APIError, match="insufficient qty available for order \\(requested: 8, available: 0\\)"):
        trading.submit_order(
            MarketOrderRequest(symbol="AAPL", qty=8, side=OrderSide.SELL, time_in_force=TimeInForce.DAY)
        )

    # Change the price, then give up and take what the market pays.
    cheaper = trading.replace_order_by_id(sell.id, ReplaceOrderRequest(limit_price=round(last.price * 1.4, 2)))
    assert cheaper.replaces == sell.id
    assert streams.next_event("replaced").order.replaced_by == cheaper.id
    assert streams.next_event("new").order.id == cheaper.id
    trading.cancel_order_by_id(cheaper.id)
    assert streams.next_event("canceled").order.id == cheaper.id
    out = trading.close_position("AAPL")
    assert streams.next_event("fill").order.id == out.id
    assert trading.get_all_positions() == []

    # And the books say so.
    orders = trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, symbols=["AAPL"]))
    told = [(order.side.value, order.status.value) for order in reversed(orders)]
    assert told == [("buy", "filled"), ("sell", "replaced"), ("sell", "canceled"), ("sell", "filled")]
    with pytest.raises(APIError, match="client_order_id must be unique"):
        trading.submit_order(
            MarketOrderRequest(
                symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id="mine-1"
            )
        )
    assert trading.get_order_by_client_id("mine-1").status == OrderStatus.FILLED
