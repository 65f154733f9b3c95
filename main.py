"""Scalps US stocks through Alpaca: `python main.py --lot=2000 TSLA FB AAPL`."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from scalp import ScalpAlgo
from scalp.cli.algo_loader import load_algo
from scalp.cli.command import say_all, say_error
from scalp.cli.parameters import with_set
from scalp.cli.settings import Endpoints, Settings, read_settings
from scalp.core import events
from scalp.core.errors import UserError
from scalp.core.events import Listener
from scalp.exchange import demo
from scalp.live.console import BARE, ConsoleLog, occupy_standard_files
from scalp.live.dashboard import open_dashboard
from scalp.live.lock import only_bot
from scalp.live.notify import notifications
from scalp.live.shutdown import Shutdown, endless, shutdown_signals
from scalp.live.startup import Ended, Startup
from scalp.live.trader import CLOCK_PATIENCE, Trader
from scalp.net.virtual_time import JumpingLoop, ScaledLoop
from scalp.results.session_table import Total, summary, times

# Put your own subclass of ScalpAlgo here (or name it with --algo).
algo_class = ScalpAlgo

DASHBOARD_SPEED = 60.0  # market minutes in a real one, where somebody looks on

log = logging.getLogger("scalp.main")


class SessionOver(Exception):
    """The session has ended; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def trade(
    settings: Settings,
    endpoints: Endpoints,
    console: ConsoleLog,
    stop: Shutdown,
    listeners: Sequence[Listener] = (),
    total: Total | None = None,
) -> int:
    """Trade one session to its end, add it to `total`; returns the exit code."""
    return await trade_one(Startup(settings, endpoints, algo_class, listeners), console, stop, total)


async def every_day(
    settings: Settings, endpoints: Endpoints, console: ConsoleLog, stop: Shutdown, listeners: Sequence[Listener] = ()
) -> int:
    """Trade session after session, each in all its parts new, until somebody stops the bot or a part of it dies.

    Returns the exit code: 1 while shares are held.
    """
    last: Ended | None = None
    code = 0
    while True:
        startup = Startup(settings, endpoints, algo_class, listeners, last)
        stop.holds = startup.holds
        try:
            code = await trade_one(startup, console, stop)
        except asyncio.CancelledError:
            if last is None:
                raise
            log.info("stopped while the market is closed")
            return 1 if last.held else code or stop.exit_code
        last = startup.ended
        if last is None or not last.is_closed:
            return 1 if last is not None and last.held else code
        if settings.is_simulated_elsewhere:
            log.info("the session of %s was SIMULATED: made-up money", last.date, extra=BARE)
        if last.held:
            shares = ", ".join(f"{qty:f} {symbol}" for symbol, qty in last.held.items())
            log.error("held over the night: %s; the next session begins with selling them", shares)
        if stop.is_set:
            return 1 if last.held else code or stop.exit_code
        stop.between_sessions()
        console.now = last.clock.now
        stop.holds = (lambda: True) if last.held else (lambda: False)
        del startup  # and all that the day has gathered
        gc.unfreeze()
        gc.collect()


async def trade_one(startup: Startup, console: ConsoleLog, stop: Shutdown, total: Total | None = None) -> int:
    """Trade the session of `startup` to its end, add it to `total`; returns the exit code."""
    console.now = startup.now
    try:
        trader = await startup.open()
        if trader is None:
            return 0
        code = await play(trader, console, stop)
        result = Total()
        result.add(trader.fleet)
        trader.fleet.tell(events.SessionOver(trader.clock.now(), str(result), result.net))
        for line in summary(trader.fleet):
            log.info("%s", line, extra=BARE)
        log.debug("broker's answer to an order: median %s, p99 %s, worst %s", *times(trader.broker.round_trips))
        if total is not None:
            total.add(trader.fleet)
        is_anything_left = trader.tell_leftovers()
        return code or int(is_anything_left)
    finally:
        await startup.close()


async def play(trader: Trader, console: ConsoleLog, stop: Shutdown) -> int:
    """Run bars, order updates and the periodic checkup in one loop until the session is over; returns the exit code."""

    async def wait(seconds: float, unless: asyncio.Task[bool] | None = None) -> None:
        if await stop.within(seconds, unless):
            await trader.drain()
            raise SessionOver(stop.exit_code)

    async def periodic() -> None:
        """The background checkup, until the market closes or somebody stops the bot."""
        while True:
            answer = trader.ask_clock()
            if answer is not None:
                await wait(CLOCK_PATIENCE, unless=answer)
            if trader.checkup():
                await wait(trader.until_next_checkup())
                continue
            log.info("the market has closed")
            is_settled = await trader.finish()
            if trader.has_closed:
                raise SessionOver(0 if is_settled else 1)
            log.warning("the close has not come after all: the clock was ahead, and the session goes on")

    dashboard = open_dashboard(trader, console) if trader.settings.dashboard else None
    work = (trader.feed.run(), trader.updates.run(), periodic(), trader.watch())
    jobs = [asyncio.ensure_future(endless(job)) for job in work]
    try:
        await asyncio.gather(*jobs)
    except SessionOver as over:
        return over.code
    except UserError as error:
        log.error("%s", error)
        await trader.drain()
        return 2
    except Exception:
        log.exception("a task died: stopping")
        await trader.drain()
    finally:
        trader.over()
        if dashboard is not None:
            dashboard.close()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
    return 1


async def run(settings: Settings, console: ConsoleLog, listeners: Sequence[Listener] = ()) -> int:
    """Trade until the end or until somebody stops the bot; returns the exit code."""
    with Shutdown(before_leaving=console.flush) as stop:
        try:
            if settings.endpoints is not None and settings.every_day:
                return await every_day(settings, settings.endpoints, console, stop, listeners)
            if settings.endpoints is not None:
                return await trade(settings, settings.endpoints, console, stop, listeners)
            return await simulate(settings, console, stop, listeners)
        except asyncio.CancelledError:
            log.info("stopped before anything was sent: orders and positions are as they were")
            return stop.exit_code


async def simulate(settings: Settings, console: ConsoleLog, stop: Shutdown, listeners: Sequence[Listener] = ()) -> int:
    """No account is named: trade on the built-in exchange, day after day; returns the worst exit code."""
    log.info("SIMULATED: the built-in exchange, made-up money. Set APCA_API_KEY_ID and APCA_API_SECRET_KEY to trade")
    code, total, days = 0, Total(), 0
    for day, market in demo.days(settings):
        log.info("SIMULATED session of %s, %s", day.date, ", ".join(settings.symbols))
        async with demo.serve(settings, day, market) as endpoints:
            code = max(code, await trade(settings, endpoints, console, stop, listeners, total))
        log.info("the session of %s was SIMULATED: made-up money", day.date, extra=BARE)
        days += 1
        if stop.is_set:
            break
    if days > 1:
        log.info("%d days: %s", days, total)
    return code


def loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop]:
    """The fastest loop there is; for the built-in exchange one whose time is not the wall clock's."""
    if settings.endpoints is None:
        return lambda: JumpingLoop(settings.speed)
    if settings.speed is not None:
        speed = settings.speed
        return lambda: ScaledLoop(speed)
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def paced(settings: Settings, has_screen: bool) -> Settings:
    """A simulated dashboard has a speed at which it can be read, unless another is named."""
    is_simulated = settings.endpoints is None and settings.speed is None
    return replace(settings, speed=DASHBOARD_SPEED) if settings.dashboard and has_screen and is_simulated else settings


def run_logged(settings: Settings) -> int:
    """Run the bot with its log and notifications; returns the exit code. Raises UserError where there can be no log."""
    with (
        ConsoleLog(settings.secrets, settings.debug, settings.log) as console,
        notifications(settings, lambda: console.now()) as listeners,
    ):
        for note in settings.notes:
            log.info("%s", note)
        settings = paced(settings, console.has_screen)
        try:
            with (
                only_bot(settings.endpoints),
                asyncio.Runner(loop_factory=loop_factory(settings)) as runner,
            ):
                return runner.run(run(settings, console, listeners))
        except UserError as error:
            log.error("%s", error)
            return 2
        except Exception:
            log.exception("the bot failed: orders and positions are as they were")
            return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bot; returns the exit code."""
    global algo_class
    occupy_standard_files()
    try:
        settings = read_settings(argv)
        if settings.algo:
            algo_class = load_algo(settings.algo)
        algo_class = with_set(algo_class, settings.given)
        code = run_logged(settings)
        if code == 0 and settings.endpoints is None:
            say_all(demo.next_steps(settings))
        return code
    except UserError as error:
        say_error(error)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    exit_code = main()
    for number in shutdown_signals():
        signal.signal(number, signal.SIG_IGN)  # it is leaving already, and its exit code is known
    sys.exit(exit_code)
