"""The trading days the simulated exchange opens on."""

from datetime import UTC, date, datetime

import pytest

from scalp.core.errors import UserError
from scalp.core.units import SECOND
from scalp.exchange.calendar import session_day, trading_days


def utc(at: int) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2015, 12, 23), "14:30", "21:00"),
        (date(2015, 12, 24), "14:30", "18:00"),  # Christmas Eve: a half day
        (date(2014, 6, 5), "13:30", "20:00"),  # daylight saving time
        (date(2025, 11, 28), "14:30", "18:00"),  # the day after Thanksgiving
        (date(2028, 12, 29), "14:30", "21:00"),
    ],
)
def test_hours(day: date, opens: str, closes: str) -> None:
    session = session_day(day)
    assert session.date == day
    assert utc(session.open) == f"{day} {opens}"
    assert utc(session.close) == f"{day} {closes}"


def test_range_holds_both_ends_and_skips_weekends_and_holidays() -> None:
    days = trading_days(date(2025, 11, 26), date(2025, 12, 1))
    assert [session.date.isoformat() for session in days] == ["2025-11-26", "2025-11-28", "2025-12-01"]
    assert trading_days(date(2025, 11, 29), date(2025, 11, 30)) == []
    assert trading_days(date(2025, 12, 1), date(2025, 11, 26)) == []


def test_every_year_is_there() -> None:
    for year in range(2000, 2029):
        days = trading_days(date(year, 1, 1), date(year, 12, 31))
        assert 248 <= len(days) <= 253
        assert all(session.open < session.close for session in days)


@pytest.mark.parametrize(
    ("day", "message"),
    [
        (
            date(2026, 11, 26),
            "2026-11-26 is not a trading day in New York: the nearest are 2026-11-25 and 2026-11-27",
        ),
        (
            date(2026, 7, 4),
            "2026-07-04 is not a trading day in New York: the nearest are 2026-07-02 and 2026-07-06",
        ),
        (date(2000, 1, 1), "2000-01-01 is not a trading day in New York: the nearest are 2000-01-03"),
        (
            date(1999, 12, 31),
            "1999-12-31 is outside the trading calendar: choose a day from 2000-01-03 to 2029-12-31",
        ),
    ],
)
def test_a_day_without_trading_is_the_users_error(day: date, message: str) -> None:
    with pytest.raises(UserError) as caught:
        session_day(day)
    assert str(caught.value) == message
