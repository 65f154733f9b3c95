"""What the account was worth during the day, as Alpaca's portfolio history reports it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from scalp.core.units import MINUTE, SECOND
from scalp.exchange import rules, wire
from scalp.exchange.derived import Derived, midnight
from scalp.exchange.simulation import Simulation, new_york

_PERIOD = re.compile(r"([1-9][0-9]{0,2})([DWMAY])")
_PERIOD_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365, "Y": 365}
_LONGEST_INTRADAY = 30  # days
_TIMEFRAMES = {"1Min": MINUTE, "5Min": 5 * MINUTE, "15Min": 15 * MINUTE, "1H": 60 * MINUTE, "1D": 0}
_BEFORE, _AFTER = 330 * MINUTE, 240 * MINUTE  # trading outside the regular session: from 04:00, and for four hours
_REPORTING = ("market_hours", "extended_hours", "continuous")


def portfolio_history(simulation: Simulation, query: Mapping[str, str]) -> wire.Json:
    """The answer to a GET of /v2/account/portfolio/history. Raises Rejection and wire.BadTime.

    Times are the beginnings of the windows in seconds, values those at the windows' ends, numbers JSON numbers. The
    account did nothing before the day that is simulated: its history begins with the open.
    """
    days = _days(query.get("period") or "1M")
    timeframe = query.get("timeframe") or ("1Min" if days < 7 else "15Min" if days < _LONGEST_INTRADAY else "1D")
    if timeframe not in _TIMEFRAMES:
        raise rules.unprocessable(f"invalid timeframe: {timeframe}")
    reporting = query.get("intraday_reporting") or _REPORTING[query.get("extended_hours", "").lower() == "true"]
    if reporting not in _REPORTING:
        raise rules.unprocessable(f"invalid intraday_reporting: {reporting}")
    if query.get("start") and query.get("end") and query.get("period"):
        raise rules.unprocessable("only two of start, end and period can be specified at the same time")
    first, last = _range(simulation.now, query, days)
    if _TIMEFRAMES[timeframe] and last - first > (_LONGEST_INTRADAY + 1) * 1440 * MINUTE:
        raise rules.unprocessable(f"timeframe {timeframe} is for at most {_LONGEST_INTRADAY} days: ask for 1D")
    engine = simulation.engine
    opens, closes = engine.session_open, engine.session_close
    if _TIMEFRAMES[timeframe] and reporting != "market_hours":
        opens, closes = opens - _BEFORE, closes + _AFTER
    width = _TIMEFRAMES[timeframe] or closes - opens
    starts = [at for at in range(opens, min(closes, simulation.now + 1), width) if first <= at <= last]
    base = engine.account.last_equity
    worth = Derived(simulation).equity([min(at + width, closes) for at in starts])
    return {
        "timestamp": [at // SECOND for at in starts],
        "equity": [float(round(value, 2)) for value in worth],
        "profit_loss": [float(round(value - base, 2)) for value in worth],
        "profit_loss_pct": [float(round(value / base - 1, 9)) if base else 0.0 for value in worth],
        "base_value": float(round(base, 2)),
        "base_value_asof": _day_before(simulation),
        "timeframe": timeframe,
    }


def _days(period: str) -> int:
    found = _PERIOD.fullmatch(period)
    if found is None:
        raise rules.unprocessable(f"invalid period: {period}")
    return int(found[1]) * _PERIOD_DAYS[found[2]]


def _range(now: int, query: Mapping[str, str], days: int) -> tuple[int, int]:
    """From when to when (ns), both included; whole days where only dates or a period are given."""
    start, end = query.get("start") or query.get("date_start"), query.get("end") or query.get("date_end")
    first = wire.parse_time(start) if start else None
    last = wire.parse_time(end, end_of_day=True) if end else None
    if first is not None and last is None and query.get("period"):
        last = first + days * 1440 * MINUTE
    if last is None:
        last = now
    if first is None:
        first = midnight(new_york(max(last - (days - 1) * 1440 * MINUTE, 0)).date())
    return first, last


def _day_before(simulation: Simulation) -> str:
    """The trading day at whose close the account was worth what the day began with."""
    today = simulation.day().date
    return simulation.days(today - timedelta(10), today - timedelta(1))[-1].date.isoformat()
