"""100 symbols signal in one minute on an account of 200 requests a minute: exits first, entries as far as it goes."""

from __future__ import annotations

import logging

import pytest

from scalp.exchange.orders import Update
from scalp.exchange.rest import Access, Response
from tests.trading import AT_100, Handle, Script, minutes, run, trading

SYMBOLS = [f"S{number}" for number in range(100)]
# The signal comes 2 minutes after the open, and buys go out at 100. No sell fills.
FILLS_AT_ONCE = (99.9, 99.9, 99.0, 99.0)
FILLS_WITHIN_THE_MINUTE = (100.5, 100.6, 98.0, 98.0)
FALLS = [(99.9 - i, 99.9 - i, 99.0 - i, 99.0 - i) for i in range(4)]


class Noted(Script):
    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[str, int]] = []
        self.filled: dict[str, float] = {}  # symbol -> when the buy's last fill was told

    async def request(self, method: str, path: str, body: bytes, handle: Handle) -> Response | None:
        answer = await super().request(method, path, body, handle)
        assert answer is not None
        self.answers.append((f"{method} {path}", answer.status))
        return answer

    def update(self, update: Update) -> tuple[float, ...]:
        if (update.event, update.order.side) == ("fill", "buy"):
            self.filled[update.order.symbol] = self.now()
        return (0.0,)


@pytest.mark.parametrize(
    ("then", "fewest", "most"), [(FILLS_AT_ONCE, 90, 99), (FILLS_WITHIN_THE_MINUTE, 50, 70)], ids=["at once", "later"]
)
def test_exits_leave_at_once_and_entries_beyond_are_dropped(
    then: tuple[float, float, float, float], fewest: int, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    script = Noted()

    async def story() -> None:
        market = {symbol: minutes(symbol, AT_100, AT_100, then, *FALLS) for symbol in SYMBOLS}
        async with trading(market, script, access=Access(trading_limit=200)) as bot:
            await bot.until(170)
            in_time = len(script.orders("buy"))
            assert fewest <= in_time <= most
            await bot.until(290)

    with caplog.at_level(logging.INFO):
        run(story())
    exits = {request.body["symbol"]: request.at for request in script.orders("sell")}
    assert script.filled.keys() == exits.keys()
    assert max(exits[symbol] - script.filled[symbol] for symbol in exits) <= 0.1
    assert [answer for answer in script.answers if answer[1] == 429] == []
    dropped = [record for record in caplog.records if "the request limit left no room" in record.getMessage()]
    assert len(dropped) == 100 - len(script.orders("buy"))
