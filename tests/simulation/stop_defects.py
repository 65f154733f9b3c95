"""Deliberate defects of exits with a stop at the broker, and of those of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from unittest.mock import patch

import msgspec

from scalp.core.cancels import cancel_due
from scalp.core.commands import MoveStop
from scalp.core.cover import Cover
from scalp.core.decimals import ZERO
from scalp.core.exits import ExitPlan, Sell, Step
from scalp.core.hooks import Hooks
from scalp.core.ledger import Change, Ledger
from scalp.core.order_state import Order
from scalp.core.orders import OrderReport
from scalp.core.prices import exact, round_down
from scalp.core.stops import Stop
from tests.simulation.defects import defect


@defect("a group offers its shares twice")
def _counted_twice() -> Iterator[None]:
    def keep_covered(self: ExitPlan, sell: Order, at: int) -> list[Step]:
        offered = sum((order.remaining or ZERO for order in self._sells), ZERO)
        return [] if abs(offered - self._ledger.position) < 1 else [*cancel_due([sell], at)]

    with patch.object(ExitPlan, "_keep_covered", keep_covered):
        yield


@defect("what a leg fills is not counted")
def _leg_not_counted() -> Iterator[None]:
    whole = Ledger.apply

    def apply(self: Ledger, report: OrderReport) -> Change:
        order = self.find(report.id)
        if order is not None and order.parent is not None:
            report = msgspec.structs.replace(report, filled_qty=ZERO, execution_qty=None)
        return whole(self, report)

    with patch.object(Ledger, "apply", apply):
        yield


@defect("the last fill of a stop that was cut counts twice")
def _cut_not_seen() -> Iterator[None]:
    whole = Ledger._totals

    def totals(self: Ledger, order: Order, report: OrderReport) -> tuple[Decimal | None, Decimal | None, Decimal]:
        return whole(self, order, msgspec.structs.replace(report, qty=None))

    with patch.object(Ledger, "_totals", totals):
        yield


@defect("the market exit goes while a leg still acts")
def _leg_not_awaited() -> Iterator[None]:
    whole = ExitPlan._at_market

    def at_market(self: ExitPlan, *args: int) -> list[Step]:
        legs = [order for order in self._ledger.open_orders if order.parent is not None]
        is_leg_alone = bool(legs) and len(legs) == len(self._ledger.open_orders)
        return [Sell("market")] if is_leg_alone and self._ledger.whole_shares else whole(self, *args)

    with patch.object(ExitPlan, "_at_market", at_market), patch("scalp.core.algo.check_move", lambda *args: None):
        yield


@defect("what both legs have sold is never bought back")
def _never_covered() -> Iterator[None]:
    with patch.object(Cover, "over_sold", 0):
        yield


@defect("what both legs have sold is bought back in one go or not at all")
def _covered_in_part() -> Iterator[None]:
    whole = Cover.quantity

    def quantity(self: Cover, at: int) -> int:
        return 0 if any(order.is_cover for order in self._ledger) else whole(self, at)

    with patch.object(Cover, "quantity", quantity):
        yield


@defect("every short position is bought back")
def _any_short_covered() -> Iterator[None]:
    with patch.object(Cover, "quantity", lambda self, at: max(int(-self._ledger.position), 0)):
        yield


@defect("the exit leaves its stop behind")
def _no_stop_sent() -> Iterator[None]:
    with patch.object(Stop, "price_with", lambda self, limit: None):
        yield


@defect("an exit whose stop is not taken is sent again with it")
def _no_plain_exit() -> Iterator[None]:
    with patch.object(Stop, "on_rejected", lambda self: None):
        yield


@defect("the leg that did not fill is believed to work until a checkup")
def _passive_leg_works() -> Iterator[None]:
    with patch.object(Order, "is_spent", False):
        yield


@defect("a trail goes down as well")
def _trail_goes_down() -> Iterator[None]:
    whole = Stop._next_move

    def next_move(self: Stop, liquidate_at: int, at: int) -> MoveStop | None:
        last, leg = self._tape.last_price, self.leg
        found = whole(self, liquidate_at, at)
        if found is not None or last is None or leg is None or self.rule is None or self.rule.trail is None:
            return found
        stop = round_down(exact(last) * (1 - self.rule.trail))
        if leg.move_sent_at or not leg.id or leg.stop_price is None or stop >= leg.stop_price:
            return None
        leg.move_sent_at = at
        return MoveStop(leg.symbol, leg.id, stop)

    with patch.object(Stop, "_next_move", next_move):
        yield


@defect("a stop is moved until the close")
def _moved_late() -> Iterator[None]:
    with patch("scalp.core.stops.NO_MOVE_BEFORE", -(10**18)):
        yield


@defect("a hook that fails ends what follows from it")
def _hook_not_caught() -> Iterator[None]:
    with patch.object(Hooks, "_ask", lambda self, name, hook: hook()):
        yield


@defect("the bot leaves it to the broker's stop to act")
def _no_second_line() -> Iterator[None]:
    with patch("scalp.core.stops.GRACE", 10**18):
        yield
