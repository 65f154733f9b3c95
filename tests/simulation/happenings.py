"""What happens at an instant: to connections and processes, in the market, and by people and other programs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from scalp.core.prices import exact, round_down
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.calendar import SessionDay
from scalp.exchange.orders import Order, OrderRequest, Rejection
from scalp.exchange.path import Print
from scalp.exchange.rules import text
from tests.simulation.faults import STOP_HALTED, size

if TYPE_CHECKING:
    from tests.simulation.world import World

log = logging.getLogger("scalp.world")

ELSEWHERE_EVERY = 20.0


class Happenings:
    def __init__(self, world: World) -> None:
        self._world = world

    def schedule(self) -> None:
        world, plan = self._world, self._world.plan
        happenings: dict[str, Callable[[], bool]] = {
            "orders stream dropped": lambda: self._drop("orders"),
            "data stream dropped": lambda: self._drop("data"),
            "orders stream mute": lambda: self._mute("orders"),
            "data stream mute": lambda: self._mute("data"),
            "streams flapping": self._flap,
            "handshakes refused": self._refuse_handshakes,
            "order rejected by the venue": self._reject,
            "halt": self._halt,
            "close moved": self._move_close,
            "hand buys": lambda: self._by_hand("hand buys", "buy", "market"),
            "hand buys in a gap of the stream": self._buy_in_gap,
            "hand places a limit buy": lambda: self._by_hand("hand places a limit buy", "buy", "limit"),
            "hand sells": lambda: self._by_hand("hand sells", "sell", "market"),
            "hand cancels": self._cancel_by_hand,
            "hand replaces": self._replace_by_hand,
            "another program in our symbols": self._trade_beside,
            STOP_HALTED: world.stop_faults.halt,
        }
        for kind, tell in (("bad print", self._bad_print), ("older print corrected", self._correct_older_print)):
            for at in plan.moments.get(kind, ()):
                if plan.rng(kind).random() < 0.5:
                    world.loop.call_later(at, world.at_fill, tell, kind)
                else:
                    symbol = plan.rng(kind).choice(world.symbols)
                    world.loop.call_later(at, self._happen, kind, functools.partial(tell, symbol))
        for kind, happen in happenings.items():
            for at in plan.moments.get(kind, ()):
                world.loop.call_later(at, self._happen, kind, happen)
        for kind in ("order logins refused", "data logins refused"):
            # The connection that is up goes down with it; only the next login meets the refusal.
            for episode in plan.episodes.get(kind, ()):
                name = "orders" if kind == "order logins refused" else "data"
                world.loop.call_later(max(episode.start, 0.01), self._drop, name)
        for kind in ("process killed", "restarted at once", "asked to stop"):
            for at in plan.moments.get(kind, ()):
                when = plan.rng(kind).choice(("any", "", "POST", "DELETE", "DELETE"))
                if when == "any":
                    world.loop.call_later(at, world.upset, kind)
                else:
                    world.loop.call_later(at, world.upset_at, kind, when)
                if kind == "restarted at once":
                    more = plan.rng(kind).choice((0, 0, 1, 3))
                    world.loop.call_later(at, setattr, world, "kills_at_start", more)
        if plan.stands("held from the night before"):
            self._hold_overnight()
        if plan.stands("position intent ignored"):
            plan.struck["position intent ignored"] += 1
        if plan.stands("another program elsewhere"):
            plan.struck["another program elsewhere"] += 1
            world.loop.call_later(ELSEWHERE_EVERY / 3, self._trade_elsewhere)

    def _happen(self, kind: str, happen: Callable[[], bool]) -> None:
        world = self._world
        world.pump()
        if world.now() >= world.session.close:
            return
        if happen():
            log.info("FAULT %s", kind)
            world.plan.struck[kind] += 1
        world.pump()

    # -- connections --------------------------------------------------------------------------------------------------

    def _drop(self, name: str) -> bool:
        world = self._world
        world.hindrances.note(name, world.elapsed + 40)
        return world.drop(world.order_sessions if name == "orders" else world.data_sessions)

    def _mute(self, name: str) -> bool:
        world = self._world
        lasts = size(world.plan.rng(f"{name} stream mute"), 5.0, 600.0)
        world.is_mute[name] = world.elapsed + lasts
        world.hindrances.note(name, world.elapsed + lasts + (240.0 if name == "data" else 40.0))
        return True

    def _flap(self) -> bool:
        for n in range(6):
            self._world.loop.call_later(2.0 * n, self._drop, "orders")
            self._world.loop.call_later(2.0 * n + 1, self._drop, "data")
        return True

    def _refuse_handshakes(self) -> bool:
        world = self._world
        lasts = size(world.plan.rng("handshakes refused"), 5, 120)
        world.refuse_handshakes_until = world.elapsed + lasts
        for name in ("orders", "data"):
            world.hindrances.note(name, world.elapsed + lasts + 40)
        self._drop("orders")
        return True

    # -- the market ---------------------------------------------------------------------------------------------------

    def _reject(self) -> bool:
        world = self._world
        orders = world.engine.open_orders()
        if not orders:
            return False
        order = world.plan.rng("order rejected by the venue").choice(orders)
        world.engine.reject(order.id)
        return True

    def _halt(self) -> bool:
        world = self._world
        rng = world.plan.rng("halt")
        symbol = rng.choice(world.symbols)
        if world.engine.is_halted(symbol):
            return False
        if rng.random() < 0.5:
            # Just before the bar of the minute that has ended is told.
            wait = MINUTE - world.now() % MINUTE + SECOND // 5
            world.loop.call_later(wait / SECOND, self.halt_now, symbol, "halt")
        else:
            self.halt_now(symbol, "halt")
        return True

    def halt_now(self, symbol: str, kind: str) -> None:
        world, rng = self._world, self._world.plan.rng(kind)
        world.pump()
        if world.engine.is_halted(symbol):
            return
        world.simulation.halt(symbol)
        lasts = size(rng, 5, 600)
        world.hindrances.note("data", world.elapsed + lasts + 60)
        world.loop.call_later(lasts, self._resume, symbol)

    def _resume(self, symbol: str) -> None:
        self._world.pump()
        self._world.simulation.resume(symbol)

    def _bad_print(self, symbol: str) -> bool:
        """A print far from the market, which is taken back or put right a little later."""
        world, rng = self._world, self._world.plan.rng("bad print")
        made = world.engine.last_trade(symbol)
        if made is None or world.polygon or world.engine.is_halted(symbol):
            return False
        # An id is made from the time: no other print has this one.
        bad = Print(world.now() + 7_000, round(made.price * rng.choice((0.97, 1.03, 1.03)), 2), 100.0)
        self._tell_print(symbol, bad)
        after = rng.choice((0.005, size(rng, 0.005, 30.0)))  # before the news of a fill that was made now, or later
        world.loop.call_later(after, self._correct, symbol, bad, rng.choice((None, made.price)))
        return True

    def _correct_older_print(self, symbol: str) -> bool:
        """A print of before, at the very price of the last one: the last one stays what it is."""
        world, rng = self._world, self._world.plan.rng("older print corrected")
        made = world.engine.last_trade(symbol)
        if made is None or world.polygon or world.engine.is_halted(symbol):
            return False
        at = world.now()
        older, newer = Print(at - 2 * SECOND, made.price, 100.0), Print(at, made.price, 100.0)
        self._tell_print(symbol, older)
        self._tell_print(symbol, newer)
        world.loop.call_later(size(rng, 0.001, 5.0), self._correct, symbol, older, round(made.price * 1.03, 2))
        return True

    def _tell_print(self, symbol: str, made: Print) -> None:
        for session in self._world.data_sessions:
            session.on_print(symbol, made)
            session.flush()

    def _correct(self, symbol: str, made: Print, price: float | None) -> None:
        for session in self._world.data_sessions:
            session.on_correction(symbol, made, price)
            session.flush()

    def _move_close(self) -> bool:
        """The exchange announces an early close: clock and calendar say so from now on."""
        world, rng = self._world, self._world.plan.rng("close moved")
        if world.until_close < 480:
            return False
        # Calendars tell minutes.
        close = (world.now() + round(rng.uniform(400, world.until_close - 60)) * SECOND) // MINUTE * MINUTE + MINUTE
        world.session = SessionDay(world.session.date, world.session.open, close)
        world.engine.session_close = close
        world.engine._at(close, world.engine._close_session, None)
        for order in world.engine.open_orders():
            order.expires_at = close
        world.close_moved_at = world.elapsed
        world.told.close_told_at = float("inf")
        return True

    # -- people and other programs ------------------------------------------------------------------------------------

    def _hold_overnight(self) -> None:
        """A position from before today, of which no order of today tells."""
        world, rng = self._world, self._world.plan.rng("held from the night before")
        symbol = rng.choice(world.symbols)
        first = next(iter(world.market[symbol]), None)
        last = world.engine.last_price(symbol) or (exact(first.open) if first is not None else None)
        if last is None:
            return
        world.plan.struck["held from the night before"] += 1
        qty = Decimal(rng.choice(("1", "7", "7.5", "0.4", "12.25", "30")))
        world.engine.account.apply(symbol, "buy", qty, round(last * Decimal(str(rng.uniform(0.98, 1.02))), 2))
        world.touched[symbol] = 0.0
        world.begin_listings()

    def _by_hand(self, dice: str, side: str, kind: str) -> bool:
        world, rng = self._world, self._world.plan.rng(dice)
        symbol = rng.choice(world.symbols)
        last, held = world.engine.last_price(symbol), world.engine.account.held(symbol)
        qty = Decimal(rng.randint(1, 20)) if side == "buy" else held
        if last is None or qty <= 0 or (side == "sell" and not world.engine.heeds_intent):
            return False
        if side == "sell":
            return self._sell_by_hand(symbol)
        limit = round_down(last * Decimal("0.999")) if kind == "limit" else None
        return self._submit(OrderRequest(symbol, side, kind, "day", qty, limit_price=limit)) is not None

    def _sell_by_hand(self, symbol: str) -> bool:
        """Cancel what offers the shares, and sell them a moment later if nobody else does."""
        world = self._world
        for order in world.engine.open_orders(symbol):
            with suppress(Rejection):
                world.engine.cancel(order.id)
        qty = world.engine.account.held(symbol)
        sale = OrderRequest(symbol, "sell", "market", "day", qty, position_intent="sell_to_close")
        world.loop.call_later(0.2, self._submit_in_session, sale)
        return True

    def _submit(self, request: OrderRequest) -> Order | None:
        with suppress(Rejection):
            order = self._world.engine.submit(request)
            if request.symbol in self._world.symbols:
                self._world.touch(request.symbol)
            return order
        return None

    def _buy_in_gap(self) -> bool:
        self._drop("orders")
        return self._by_hand("hand buys in a gap of the stream", "buy", "market")

    def _cancel_by_hand(self) -> bool:
        world = self._world
        orders = world.engine.open_orders()
        if not orders:
            return False
        order = world.plan.rng("hand cancels").choice(orders)
        with suppress(Rejection):
            world.engine.cancel(order.id)
            return True
        return False

    def _replace_by_hand(self) -> bool:
        world = self._world
        orders = [order for order in world.engine.open_orders() if order.type == "limit"]
        if not orders:
            return False
        order = world.plan.rng("hand replaces").choice(orders)
        assert order.limit_price is not None
        with suppress(Rejection):
            world.engine.replace(order.id, limit_price=order.limit_price + Decimal("0.01"))
            world.touch(order.symbol)
            return True
        return False

    def _trade_beside(self) -> bool:
        """Another program buys what the bot trades, and sells it again if nobody else did."""
        world, rng = self._world, self._world.plan.rng("another program in our symbols")
        symbol = rng.choice(world.symbols)
        qty = Decimal(rng.randint(1, 20))
        key = f"other-{world.plan.struck['another program in our symbols']}-{symbol}"
        if self._submit(OrderRequest(symbol, "buy", "market", "day", qty, client_order_id=key)) is None:
            return False
        if world.engine.heeds_intent:
            sale = OrderRequest(
                symbol, "sell", "market", "day", qty, client_order_id=f"{key}-out", position_intent="sell_to_close"
            )
            world.loop.call_later(size(rng, 0.5, 120), self._submit_in_session, sale)
        return True

    def _submit_in_session(self, request: OrderRequest) -> None:
        self._world.pump()
        if self._world.until_close > 5:
            self._submit(request)
        self._world.pump()

    def _trade_elsewhere(self) -> None:
        """Another program trades what the bot does not watch: its orders, updates and positions are on the account."""
        from tests.simulation.world import ELSEWHERE

        world = self._world
        world.pump()
        if world.now() >= world.session.close - MINUTE:
            return
        held = world.engine.account.held(ELSEWHERE)
        side, qty = ("sell", held) if held > 0 else ("buy", Decimal(5))
        if last := world.engine.last_price(ELSEWHERE):
            limit = exact(round(float(last) * 1.002, 2)) if side == "sell" else None
            request = OrderRequest(
                ELSEWHERE, side, "limit" if limit else "market", "day", qty, limit_price=limit,
                client_order_id=f"other-{text(Decimal(world.now() // SECOND))}",
            )  # fmt: skip
            self._submit(request)
        world.pump()
        world.loop.call_later(ELSEWHERE_EVERY, self._trade_elsewhere)
