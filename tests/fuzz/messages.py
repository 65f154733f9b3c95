"""Real messages, as the servers send them: what the fuzzing breaks."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def order(order_id: str = "c1e9a5a4-7b0e-4a9c-9f55-6d2f0b1f3a10", **more: Any) -> Json:
    return {
        "id": order_id,
        "client_order_id": "by-hand-1",
        "created_at": "2026-11-20T15:31:00.412358119Z",
        "submitted_at": "2026-11-20T15:31:00.412358119Z",
        "filled_at": None,
        "replaced_by": None,
        "replaces": None,
        "symbol": "AAPL",
        "qty": "11",
        "notional": None,
        "filled_qty": "0",
        "filled_avg_price": None,
        "order_type": "limit",
        "type": "limit",
        "side": "buy",
        "time_in_force": "day",
        "limit_price": "178.42",
        "status": "new",
        **more,
    }


def update(event: str, of: Json, **more: Any) -> Json:
    return {
        "stream": "trade_updates",
        "data": {
            "event": event,
            "at": "2026-11-20T15:31:00.581Z",
            "timestamp": "2026-11-20T15:31:00.573918402Z",
            "order": of,
            **more,
        },
    }


def fill(of: Json, qty: str, price: str, execution_id: str) -> Json:
    return update("fill", of, price=price, qty=qty, position_qty=qty, execution_id=execution_id)


FILLED = order(status="filled", filled_qty="11", filled_avg_price="178.41")
FILL = fill(FILLED, "11", "178.41", "7a0b9a52-3b1e-4f0d-8a6a-2d7f5f0e9c31")
LOGIN = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
LISTENING = {"stream": "listening", "data": {"streams": ["trade_updates"]}}

POSITION = {"symbol": "AAPL", "qty": "11", "qty_available": "0", "side": "long", "avg_entry_price": "178.42"}
ACCOUNT = {
    "id": "5f0d2a2e-93b1-4f6c-8a0e-0c6a2f6f9d11",
    "status": "ACTIVE",
    "equity": "100000",
    "buying_power": "400000",
    "trading_blocked": False,
    "account_blocked": False,
    "trade_suspended_by_user": False,
}
CLOCK = {
    "timestamp": "2026-11-20T10:31:07.482915633-05:00",
    "is_open": True,
    "next_open": "2026-11-23T09:30:00-05:00",
    "next_close": "2026-11-20T16:00:00-05:00",
}
CALENDAR = [{"date": "2026-11-20", "open": "09:30", "close": "16:00", "session_open": "0400", "session_close": "2000"}]
ASSET = {
    "id": "0a7c1d0e",
    "class": "us_equity",
    "exchange": "NASDAQ",
    "symbol": "AAPL",
    "name": "Apple Inc.",
    "status": "active",
    "tradable": True,
}
ERROR = {"code": 40310000, "message": "insufficient buying power", "buying_power": "0"}

ALPACA_BAR = {
    "T": "b",
    "S": "AAPL",
    "o": 178.31,
    "h": 178.47,
    "l": 178.3,
    "c": 178.42,
    "v": 21874,
    "n": 212,
    "vw": 178.3921,
    "t": "2026-11-20T15:30:00Z",
}
ALPACA_TRADE = {
    "T": "t",
    "S": "AAPL",
    "i": 52983525029461,
    "x": "V",
    "p": 178.42,
    "s": 100,
    "c": ["@"],
    "z": "C",
    "t": "2026-11-20T15:30:59.980113447Z",
}
ALPACA_HALT = {
    "T": "s",
    "S": "AAPL",
    "sc": "H",
    "sm": "Trading Halt",
    "rc": "LUDP",
    "rm": "Pause",
    "z": "C",
    "t": "2026-11-20T15:40:12.1Z",
}
ALPACA_SUBSCRIPTION = {
    "T": "subscription",
    "trades": ["AAPL"],
    "quotes": [],
    "bars": ["AAPL", "TSLA"],
    "updatedBars": ["AAPL", "TSLA"],
    "statuses": ["*"],
}
ALPACA_SUCCESS = {"T": "success", "msg": "connected"}
ALPACA_LATEST = {"symbol": "AAPL", "trade": {"t": "2026-11-20T15:30:59Z", "x": "V", "p": 178.42, "s": 100, "c": ["@"]}}
ALPACA_PAGE = {
    "bars": {
        "AAPL": [
            {
                "t": "2026-11-20T15:30:00Z",
                "o": 178.31,
                "h": 178.47,
                "l": 178.3,
                "c": 178.42,
                "v": 21874,
                "n": 212,
                "vw": 178.3921,
            }
        ]
    },
    "next_page_token": None,
}

POLYGON_BAR = {
    "ev": "AM",
    "sym": "AAPL",
    "v": 48211,
    "av": 18203344,
    "op": 177.9,
    "vw": 178.3921,
    "o": 178.31,
    "c": 178.42,
    "h": 178.47,
    "l": 178.3,
    "a": 178.0133,
    "z": 102,
    "s": 1795188600000,
    "e": 1795188660000,
}
POLYGON_TRADE = {
    "ev": "T",
    "sym": "AAPL",
    "x": 11,
    "i": "1",
    "z": 3,
    "p": 178.42,
    "s": 100,
    "c": [],
    "t": 1795188659980,
}
POLYGON_STATUS = {"ev": "status", "status": "success", "message": "subscribed to: AM.AAPL"}
POLYGON_PAGE = {
    "ticker": "AAPL",
    "status": "OK",
    "results": [{"v": 48211.25, "o": 178.31, "c": 178.42, "h": 178.47, "l": 178.3, "t": 1795188600000, "n": 471}],
}
POLYGON_LAST = {"status": "OK", "results": {"T": "AAPL", "p": 178.42, "s": 100, "t": 1795188659980113447, "c": [12]}}
