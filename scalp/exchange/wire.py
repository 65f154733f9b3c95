"""How the simulated exchange writes things down: times, orders, positions, the account, bars and trades.

Trading numbers are strings, data numbers are numbers, as at Alpaca.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from scalp.core import prices
from scalp.core.clock import NEW_YORK
from scalp.core.decimals import ZERO
from scalp.core.errors import ScalpError
from scalp.core.market_data import Bar
from scalp.core.units import MILLISECOND, MINUTE, SECOND
from scalp.exchange.charges import Fee
from scalp.exchange.matching import Engine
from scalp.exchange.orders import Asset, Execution, Order, Update, make_id
from scalp.exchange.path import Print
from scalp.exchange.rules import on_offer, text
from scalp.exchange.simulation import new_york

Json = dict[str, Any]

_FRACTION = re.compile(r"[.,](\d{1,9})")


class BadTime(ScalpError):
    """A time in a request that can't be read."""


@lru_cache(maxsize=8192)  # prints of an instant, and orders that are listed again and again
def utc(ns: int) -> str:
    """RFC 3339 in UTC, with as many of 9 decimals as needed."""
    seconds, rest = divmod(ns, SECOND)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{rest:09d}".rstrip("0") + "Z" if rest else whole + "Z"


def local(ns: int) -> str:
    """RFC 3339 with the New York offset."""
    whole = new_york(ns).isoformat()
    rest = ns % SECOND
    return f"{whole[:19]}.{rest:09d}{whole[19:]}" if rest else whole


def stamp(ns: int) -> msgspec.msgpack.Ext:
    """The msgpack Timestamp of `ns`."""
    seconds, rest = divmod(ns, SECOND)
    return msgspec.msgpack.Ext(-1, (rest << 34 | seconds).to_bytes(8, "big"))


def parse_time(value: str, *, end_of_day: bool = False) -> int:
    """Nanoseconds of an RFC 3339 time or of a date (New York, its first or last instant). Raises BadTime."""
    try:
        if len(value) == 10:
            midnight = datetime.combine(date.fromisoformat(value), datetime.min.time(), NEW_YORK)
            return round(midnight.timestamp()) * SECOND + (86400 * SECOND - 1 if end_of_day else 0)
        # A plus sign that was not escaped in a query arrives as a blank.
        moment = datetime.fromisoformat(value.strip().replace(" ", "+"))
    except ValueError:
        raise BadTime(f"invalid time: {value}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    fraction = _FRACTION.search(value)  # a datetime knows microseconds, orders are stamped to the nanosecond
    return int(moment.replace(microsecond=0).timestamp()) * SECOND + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def _time(ns: int | None) -> str | None:
    return None if ns is None else utc(ns)


def _number(number: Decimal | None) -> str | None:
    return None if number is None else text(number)


def _average(number: Decimal | None) -> str | None:
    return None if number is None else text(round(number, 9))


def _money(number: Decimal) -> str:
    return text(round(number, 2))


def order(of: Order, assets: Mapping[str, Asset], legs: Iterable[Order] | None = None) -> Json:
    """The order object, with `legs` in it where they are asked for.

    `cancel_requested_at` is left out: it is only seen on the stream. Only orders of a group have its id and their role.
    """
    body: Json = {
        "id": of.id,
        "client_order_id": of.client_order_id,
        "created_at": utc(of.submitted_at),
        "updated_at": utc(of.updated_at),
        "submitted_at": utc(of.submitted_at),
        "filled_at": _time(of.filled_at),
        "expired_at": _time(of.expired_at),
        "expires_at": utc(of.expires_at),
        "canceled_at": _time(of.canceled_at),
        "failed_at": _time(of.failed_at),
        "replaced_at": _time(of.replaced_at),
        "replaced_by": of.replaced_by,
        "replaces": of.replaces,
        "asset_id": assets[of.symbol].id,
        "symbol": of.symbol,
        "asset_class": "us_equity",
        "notional": _number(of.notional),
        "qty": None if of.notional is not None else _number(of.qty),
        "filled_qty": text(of.filled_qty),
        "filled_avg_price": _average(of.filled_avg_price),
        "order_class": of.order_class,
        "order_type": of.type,
        "type": of.type,
        "side": of.side,
        "position_intent": of.position_intent,
        "time_in_force": of.time_in_force,
        "limit_price": _number(of.limit_price),
        "stop_price": _number(of.stop_price),
        "status": of.status,
        "extended_hours": of.extended_hours,
        "legs": None if legs is None else [order(leg, assets) for leg in legs],
        "trail_percent": _number(of.trail_percent),
        "trail_price": _number(of.trail_price),
        "hwm": _number(of.hwm),
        "subtag": None,
        "source": None,
    }
    return body if of.group is None else body | {"group_id": of.group.id, "group_role": of.group_role}


def update(of: Update, sent_at: int, number: int, assets: Mapping[str, Asset]) -> Json:
    """The message of an order update on the stream, sent as the `number`-th."""
    body = order(of.order, assets)
    if of.order.cancel_requested_at is not None:
        body["cancel_requested_at"] = utc(of.order.cancel_requested_at)
    data: Json = {
        "event": of.event,
        "event_id": f"01{number:024d}",
        "at": utc(sent_at),
        "timestamp": utc(of.at),
        "order": body,
    }
    if of.execution_id is not None:
        data["execution_id"] = of.execution_id
    if of.price is not None and of.qty is not None and of.position_qty is not None:
        data |= {"price": text(of.price), "qty": text(of.qty), "position_qty": text(of.position_qty)}
    return {"stream": "trade_updates", "data": data}


def asset(of: Asset) -> Json:
    return {
        "id": of.id,
        "class": "us_equity",
        "exchange": of.exchange,
        "symbol": of.symbol,
        "name": of.name,
        "status": of.status,
        "tradable": of.tradable,
        "marginable": True,
        "shortable": of.shortable,
        "fractionable": of.fractionable,
        "easy_to_borrow": of.shortable,
        "borrow_status": "easy_to_borrow" if of.shortable else "not_shortable",
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "attributes": ["fractional_eh_enabled", "has_options"],
        "cusip": None,
    }


def position(engine: Engine, symbol: str) -> Json:
    """A position. The day before is unknown here: it is said to have closed at the present price."""
    held = engine.account.positions[symbol]
    price = engine.last_price(symbol) or held.avg_entry_price
    value = held.qty * price
    gain = value - held.cost
    share = gain / abs(held.cost) if held.cost else ZERO
    closing = "sell" if held.qty > 0 else "buy"
    reserved = sum((order.leaves for order in on_offer(engine.open_orders(symbol), closing)), ZERO)
    return {
        "asset_id": engine.assets[symbol].id,
        "symbol": symbol,
        "exchange": engine.assets[symbol].exchange,
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": text(held.qty),
        "qty_available": text(max(ZERO, abs(held.qty) - reserved)),
        "side": "long" if held.qty > 0 else "short",
        "avg_entry_price": text(round(held.avg_entry_price, 9)),
        "market_value": _money(value),
        "cost_basis": _money(held.cost),
        "current_price": text(price),
        "lastday_price": text(price),
        "change_today": "0",
        "unrealized_pl": _money(gain),
        "unrealized_plpc": text(round(share, 8)),
        "unrealized_intraday_pl": _money(gain),
        "unrealized_intraday_plpc": text(round(share, 8)),
    }


def account(engine: Engine) -> Json:
    of = engine.account
    equity = engine.equity()
    values = [engine.market_value(symbol) for symbol in of.positions]
    long = sum((value for value in values if value > 0), ZERO)
    short = sum((value for value in values if value < 0), ZERO)
    gross = long - short
    buying_power = engine.buying_power()
    return {
        "id": make_id("account"),
        "account_number": "PA3SIMULATED",
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "cash": _money(of.cash),
        "equity": _money(equity),
        "last_equity": _money(of.last_equity),
        "portfolio_value": _money(equity),
        "position_market_value": _money(long + short),
        "long_market_value": _money(long),
        "short_market_value": _money(short),
        "buying_power": _money(buying_power),
        "effective_buying_power": _money(buying_power),
        "regt_buying_power": _money(max(ZERO, 2 * equity - gross)),
        "non_marginable_buying_power": _money(max(ZERO, of.cash)),
        "options_buying_power": _money(max(ZERO, of.cash)),
        "initial_margin": _money(gross / 2),
        "maintenance_margin": _money(gross * Decimal("0.3")),
        "last_maintenance_margin": "0",
        "sma": "0",
        "multiplier": str(of.multiplier),
        "shorting_enabled": engine.shorting,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "accrued_fees": "0",
        "intraday_adjustments": "0",
        "pending_reg_taf_fees": "0",
        "balance_asof": new_york(engine.session_open).date().isoformat(),
        "created_at": utc(engine.session_open - 30 * 86400 * SECOND),
        "admin_configurations": {},
        "user_configurations": None,
    }


def activity(of: Execution, order_type: str) -> Json:
    """A FILL activity; the order's type is not in it, `type` says fill or partial_fill."""
    return {
        "activity_type": "FILL",
        "id": f"{_moment(of.at)}::{of.id}",
        "order_id": of.order_id,
        "order_status": of.order_status,
        "side": of.side,
        "symbol": of.symbol,
        "price": text(of.price),
        "qty": text(of.qty),
        "cum_qty": text(of.cum_qty),
        "leaves_qty": text(of.leaves_qty),
        "transaction_time": utc(of.at // 1000 * 1000),
        "type": order_type,
    }


def fee(of: Fee) -> Json:
    """A FEE activity; its day has no time."""
    return {
        "activity_type": "FEE",
        "activity_sub_type": of.kind,
        "id": f"{_moment(of.at)}::{of.id}",
        "date": of.date,
        "net_amount": text(-of.amount),
        "description": f"{of.kind} fee for the trades of {of.date}",
        "status": "executed",
        "currency": "USD",
    }


def _moment(at: int) -> str:
    """The New York time with which the id of an activity begins, to the millisecond."""
    return new_york(at).strftime("%Y%m%d%H%M%S") + f"{at % SECOND // MILLISECOND:03d}"


def bar(of: Bar, when: Callable[[int], Any] = utc) -> Json:
    """A minute bar of the data API. Trade count and average price are not in the data: they are made up plausibly."""
    return {
        "t": when(of.start),
        "o": of.open,
        "h": of.high,
        "l": of.low,
        "c": of.close,
        "v": count(of.volume),
        "n": max(1, int(of.volume // 100)),
        "vw": round((of.open + of.high + of.low + of.close) / 4, 6),
    }


class Trade(msgspec.Struct, tag_field="T", tag="t", gc=False):
    """What `trade` says, as a message of the stream: by far the most frequent one."""

    S: str
    t: object
    p: float
    s: float
    i: int
    x: str = "V"
    c: tuple[str, ...] = ("@",)
    z: str = "C"


def trade(of: Print, when: Callable[[int], Any] = utc) -> Json:
    """A trade of the data API; the id is its time in microseconds."""
    return {"t": when(of.at), "x": "V", "p": of.price, "s": count(of.size), "c": ["@"], "i": of.at // 1000, "z": "C"}


def quote(of: Print, when: Callable[[int], Any] = utc) -> Json:
    """A quote around a print: a tick at either side."""
    last = prices.exact(of.price)
    step = prices.tick(last)
    size = max(1, int(of.size))
    sides = {"ax": "V", "ap": float(last + step), "as": size, "bx": "V", "bp": float(last - step), "bs": size}
    return {"t": when(of.at), **sides, "c": ["R"], "z": "C"}


def polygon_bar(of: Bar, day_volume: float, day_open: float) -> Json:
    """An `AM` event; times in ms. `day_open` is 0 before the open, as at Polygon."""
    average = round((of.open + of.high + of.low + of.close) / 4, 6)
    start = of.start // MILLISECOND
    return {
        "ev": "AM",
        "sym": of.symbol,
        "v": count(of.volume),
        "av": count(day_volume),
        "op": day_open,
        "vw": average,
        "o": of.open,
        "c": of.close,
        "h": of.high,
        "l": of.low,
        "a": average,
        "z": 100,
        "s": start,
        "e": start + MINUTE // MILLISECOND,
    }


def count(number: float) -> float:
    """Whole numbers of shares as integers."""
    return int(number) if number == int(number) else number
