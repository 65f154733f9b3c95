"""The end of a session: stopped early, or after the close; and what is left then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from scalp.core.algo import BUY_SUBMITTED, ScalpAlgo
from scalp.core.clock import LIQUIDATION_EVERY, MarketClock
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable
from scalp.core.events import LeftOver
from scalp.core.fleet import Fleet
from scalp.core.leftovers import has_open_orders, leftovers
from scalp.live.reconcile import Reconciler

log = logging.getLogger("scalp.main")

DRAIN = 4.0  # seconds after Ctrl+C in which what fills still gets its sell
FLATTEN = 30.0  # seconds after Ctrl+C in which everything is cancelled and sold, with --on-exit flatten
FLATTEN_LOOK_EVERY = 3  # checkups, a second apart, between looks at the listings then
AFTER_CLOSE = 8.0  # seconds in which the last updates of the day may come
# Seconds of looks at orders and positions after the close: by then an unexplained listing is believed.
LAST_LOOKS_FOR, LAST_LOOK_EVERY = 70.0, 5.0
ON_EXIT = {
    "keep": "orders stay as they are",
    "cancel-buys": "working buys are cancelled, sells stay",
    "flatten": "everything is cancelled and sold at market",
}


class WindingUp:
    """`is_over` says whether the close has come; `on_exit`, a key of ON_EXIT, what is done when the bot stops early."""

    def __init__(
        self, fleet: Fleet, reconciler: Reconciler, clock: MarketClock, on_exit: str, is_over: Callable[[], bool]
    ) -> None:
        self._fleet = fleet
        self._reconciler = reconciler
        self._clock = clock
        self._on_exit = on_exit
        self._is_over = is_over
        self._loop = asyncio.get_running_loop()

    async def drain(self) -> None:
        """Stopped early: no more buys, and what `--on-exit` says of the rest."""
        log.warning("stopping: no more buys, %s", ON_EXIT[self._on_exit])
        self._fleet.block_entries("stopping", "the bot is stopping")
        if self._on_exit == "flatten" and not self._fleet.orders.shut:
            await self._flatten()
            return
        if not self._reconciler.is_started:
            await self._look(DRAIN)
        deadline, latest = self._loop.time() + DRAIN, self._loop.time() + FLATTEN
        while True:
            if self._on_exit == "cancel-buys":
                self._fleet.cancel_buys()
            is_waiting, is_replacing = self._what_is_under_way()
            if not is_waiting or self._loop.time() >= (latest if is_replacing else deadline):
                break
            await asyncio.sleep(0.05)

    def _what_is_under_way(self) -> tuple[bool, bool]:
        """Whether something is worth waiting for, and whether that is an exit being replaced by another.

        Such an exit is seen through; all else has a few seconds.
        """
        algos = self._fleet.algos.values()
        unsettled = [algo for algo in algos if not algo.exits.is_in_order]
        is_replacing = any(
            algo.exits.is_sending
            or (algo.exits.is_under_way and algo.exits.retry_at <= self._clock.now() and not _waits_for_buy(algo))
            for algo in unsettled
        )
        has_buys = self._on_exit == "cancel-buys" and any(algo.state is BUY_SUBMITTED for algo in algos)
        return bool(unsettled) or has_buys, is_replacing

    async def _flatten(self) -> None:
        """Liquidate now, until the broker's own listings have nothing left, for at most 30 s."""
        deadline = self._loop.time() + FLATTEN
        session = self._fleet.session
        assert session is not None
        self._fleet.flatten()
        is_flat = False
        turn = 0
        while not is_flat and self._loop.time() < deadline and self._clock.now() < session.close:
            if leftovers(self._fleet.algos) or not self._reconciler.is_started:
                turn += 1
                if turn % FLATTEN_LOOK_EVERY == 0:
                    self._reconciler.request("flattening")
                await asyncio.sleep(LIQUIDATION_EVERY)
                self._fleet.checkup()
            else:
                is_flat = await self._look(deadline - self._loop.time()) and not leftovers(self._fleet.algos)
                if not is_flat:
                    await asyncio.sleep(LIQUIDATION_EVERY)
        if not is_flat:
            log.error("not flat, or not known to be, after %.0f s", FLATTEN)

    async def see_through(self) -> None:
        """The last thing before leaving: an exit that was sent just now gets its answer, or a few seconds for it."""
        latest = self._loop.time() + DRAIN
        while self._what_is_under_way()[1] and self._loop.time() < latest:
            await asyncio.sleep(0.05)

    async def _look(self, patience: float) -> bool:
        """Compare with the broker's listings, within `patience` seconds; True if nothing is in doubt."""
        try:
            async with asyncio.timeout(patience):
                return await self._reconciler.reconcile()
        except (Unreachable, OutcomeUnknown, Rejected, TimeoutError) as error:
            log.warning("no look at orders and positions: %s", str(error) or "no answer in time")
        except Exception:
            log.exception("no look at orders and positions")  # whatever is broken: winding up goes on
        return False

    async def finish(self) -> bool:
        """After the close: wait for the day's last updates, then ask the broker what is left, and cancel that.

        False if the broker has not confirmed what the ledgers say, however often it was asked; or if the close has not
        come after all, as the clock was ahead.
        """
        deadline = self._loop.time() + AFTER_CLOSE
        while leftovers(self._fleet.algos) and self._loop.time() < deadline:
            await asyncio.sleep(0.25)
        deadline = self._loop.time() + LAST_LOOKS_FOR
        while True:
            if not self._is_over():
                return False
            is_settled = await self._look(max(deadline - self._loop.time(), 1.0))
            if is_settled and not has_open_orders(self._fleet.algos):
                return True
            if self._loop.time() >= deadline:
                log.error("orders and positions after the close are not confirmed by the broker's listings")
                return is_settled
            self._fleet.checkup()  # cancels parked orders, so that they do not fill at the next open
            await asyncio.sleep(LAST_LOOK_EVERY)

    def tell_leftovers(self) -> bool:
        """Say what is held or working, and what is in doubt; True if anything is held or working."""
        left = leftovers(self._fleet.algos)
        for symbol, (position, orders) in left.items():
            working = ", ".join((f"stop at {o.stop_price}" if o.is_spare else
                                 f"{o.side} {o.remaining} {o.type} {o.limit_price or o.stop_price or ''}".strip())
                                + (" (outcome unknown)" if not o.id else "")
                                + (" (being cancelled)" if o.cancel_sent_at else "")
                                for o in sorted(orders, key=lambda order: order.is_spare))  # fmt: skip
            entry_price = self._fleet.algos[symbol].ledger.entry_price
            self._fleet.tell(LeftOver(symbol, self._clock.now(), position, entry_price, working))
        for line in self._reconciler.doubts:
            log.warning("%s", line)
        return bool(left)


def _waits_for_buy(algo: ScalpAlgo) -> bool:
    """Whether shares of a buy so far are to be sold once it has filled or ended, and nobody has cancelled it yet."""
    is_asked_for = any(order.cancel_sent_at for order in algo.ledger.open_orders)
    return algo.state is BUY_SUBMITTED and not algo.exits.plan.is_at_market and not is_asked_for
