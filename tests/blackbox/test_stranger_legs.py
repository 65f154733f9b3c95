"""Groups of a take-profit and a stop, told of in part, late, or by a clock that is ahead."""

from __future__ import annotations

import signal

from aiohttp import web

from tests.blackbox.alpaca import Alpaca, Request
from tests.blackbox.bot import ALWAYS, Bot
from tests.blackbox.sockets import utc

STOP = ("--stop-loss", "0.5%")


async def test_stop_sells_by_stamps_of_exchange_behind_its_clock() -> None:
    """The clock is 20 s ahead of what orders are stamped with; the stop fires unheard as its group is cancelled."""
    async with Alpaca(speed=2) as alpaca:

        async def ahead(request: Request) -> web.Response | None:
            alpaca.clock_says = {"timestamp": utc(alpaca.now + 20)}
            return None

        alpaca.on("GET", "/v2/clock", ahead)
        async with Bot(alpaca, *STOP, "--on-exit", "flatten", "AAPL", signal=ALWAYS) as bot:
            await bot.trades()
            sell = await bot.holds()

            async def fires(request: Request) -> web.Response:
                await alpaca.stop(sell, "49.70", tell=False)
                return alpaca.ordinary(request)

            alpaca.on("DELETE", "/v2/orders", fires, times=1)
            bot.process.send_signal(signal.SIGTERM)
            assert await bot.exits(within=80) == 143
            assert len(alpaca.posted()) == 2 and "AAPL" not in bot.last_line
