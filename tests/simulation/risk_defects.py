"""Deliberate defects of the risk rules."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

from scalp.core.algo import ScalpAlgo
from scalp.core.cancels import cancel_due
from scalp.core.commands import Action
from scalp.core.exits import Plan
from scalp.core.fleet import Fleet
from scalp.core.ledger import Ledger
from scalp.core.market_data import Trade
from scalp.core.order_router import OrderRouter
from scalp.core.risk_rules import RiskRules
from scalp.core.risk_watch import RiskWatch
from scalp.core.units import MINUTE
from tests.simulation.defects import defect


@defect("the budget and the positions forget buys that are still working")
def _working_buys_forgotten() -> Iterator[None]:
    whole = RiskRules._count

    def count(self: RiskRules, book: object, ledger: Ledger, at: int, last: float | None) -> None:
        with patch.object(Ledger, "open_orders", []):
            whole(self, book, ledger, at, last)  # type: ignore[arg-type]

    with patch.object(RiskRules, "_count", count):
        yield


@defect("what is to be left is only cancelled")
def _left_at_limit() -> Iterator[None]:
    def close_position(self: ScalpAlgo, plan: Plan, why: str, at: int) -> list[Action]:
        return [*cancel_due(self.ledger.open_orders, at)]

    with patch.object(ScalpAlgo, "close_position", close_position):
        yield


@defect("a restart forgets the losses of the day")
def _losses_forgotten() -> Iterator[None]:
    whole = RiskRules.recall
    with patch.object(RiskRules, "recall", lambda self, fills, carried: whole(self, [], carried)):
        yield


@defect("the session's loss stops buys, and leaves what is held")
def _loss_only_stops_buys() -> Iterator[None]:
    whole = RiskRules.why_close

    def why_close(self: RiskRules, algo: ScalpAlgo, at: int) -> str:
        return "" if self.is_over else whole(self, algo, at)

    with patch.object(RiskRules, "why_close", why_close):
        yield


@defect("a rail is asked only about buys that have left already")
def _asked_too_late() -> Iterator[None]:
    with (
        patch.object(RiskWatch, "allowed", lambda self, algo, actions, rules: list(actions)),
        patch.object(OrderRouter, "why_no_entry", lambda self, symbol: self._algos[symbol].entry_blocks.why),
    ):
        yield


@defect("the time of the last buy is an hour off")
def _an_hour_off() -> Iterator[None]:
    whole = RiskRules.why_no_entry
    with patch.object(RiskRules, "why_no_entry", lambda self, algo, at: whole(self, algo, at - 60 * MINUTE)):
        yield


@defect("the stop loss looks at bars and checkups alone")
def _prints_not_watched() -> Iterator[None]:
    def on_trade(self: Fleet, trade: Trade) -> None:
        self.algos[trade.symbol].on_trade(trade)

    with patch.object(Fleet, "on_trade", on_trade):
        yield
