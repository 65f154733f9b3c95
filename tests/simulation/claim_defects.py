"""Deliberate defects that believe what they should weigh, or forget what was told: one at least for each kind of lie.

Those of orders and ledgers are in `defects`, those of the risk rules in `risk_defects`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any
from unittest.mock import patch

from scalp.alpaca import rest as rest_module
from scalp.alpaca.activities import Activities
from scalp.alpaca.broker import AlpacaBroker
from scalp.alpaca.rest import AlpacaREST, Listing
from scalp.core.cancels import cancel_due
from scalp.core.clock import MarketClock, Session
from scalp.core.commands import SubmitOrder
from scalp.core.decimals import ZERO
from scalp.core.entry_blocks import EntryBlocks
from scalp.core.errors import Unreachable
from scalp.core.evidence import Evidence, Verdict
from scalp.core.exits import ExitPlan, Sell, Step
from scalp.core.fleet import Fleet
from scalp.core.ledger import Ledger
from scalp.core.market_data import Halt, TradeCorrection
from scalp.core.order_builder import OrderBuilder
from scalp.core.order_router import OrderRouter
from scalp.core.order_state import Order
from scalp.core.orders import OrderReport, PositionReport
from scalp.core.tape import Tape
from scalp.core.units import SECOND
from scalp.live.history import History
from scalp.live.hours import Calendar, MarketHours
from scalp.live.listings import Lister
from scalp.live.reconcile import Reconciler
from scalp.live.start_listings import StartListings
from scalp.live.trader import Trader
from scalp.net.marketdata import MarketDataStream
from tests.simulation.defects import defect

# -- listings ---------------------------------------------------------------------------------------------------------


def _believing(*verdicts: Verdict) -> Callable[..., Verdict]:
    """`Evidence.weigh`, taking these verdicts for an explanation."""
    whole = Evidence.weigh

    def weigh(self: Evidence, ledger: Ledger, listed: PositionReport, *more: Any) -> Verdict:
        verdict = whole(self, ledger, listed, *more)
        is_less = listed.qty < ledger.position
        believed = Verdict.EXPLAINED if is_less else Verdict.SURPLUS
        return self._settled(ledger, believed) if verdict in verdicts else verdict

    return weigh


@defect("one listing is believed at once")
def _believe_at_once() -> Iterator[None]:
    with patch.object(Evidence, "weigh", _believing(Verdict.DOUBT)):
        yield


@defect("a listing that shows less is believed once it has stood")
def _less_is_believed() -> Iterator[None]:
    whole = Evidence.weigh

    def weigh(self: Evidence, ledger: Ledger, listed: PositionReport, as_of: int, *more: Any) -> Verdict:
        verdict = whole(self, ledger, listed, as_of, *more)
        doubt = self._doubts.get(ledger.symbol)
        if verdict is Verdict.DOUBT and doubt is not None and as_of - doubt.seen[0][0] >= 5 * SECOND:
            return self._settled(ledger, Verdict.EXPLAINED)
        return verdict

    with patch.object(Evidence, "weigh", weigh):
        yield


@defect("what is listed beyond the ledger is never believed")
def _surplus_is_not_believed() -> Iterator[None]:
    with patch.object(OrderRouter, "on_surplus", lambda self, position, as_of: None):
        yield


@defect("a doubt stops no buys")
def _doubt_is_nothing() -> Iterator[None]:
    with patch.object(Reconciler, "_doubt", lambda self, symbol, why: None):
        yield


@defect("a doubt never ends")
def _doubt_for_ever() -> Iterator[None]:
    whole = EntryBlocks.unblock

    def unblock(self: EntryBlocks, kind: str) -> None:
        if kind != "doubt":
            whole(self, kind)

    with patch.object(EntryBlocks, "unblock", unblock):
        yield


@defect("an order that is not listed has ended")
def _unlisted_is_gone() -> Iterator[None]:
    async def look_for(self: Reconciler, symbol: str, order_id: str) -> None:
        self._fleet.orders.on_order_gone(symbol, order_id)

    with patch.object(Reconciler, "_look_for", look_for):
        yield


@defect("a row that cannot be read spoils its listing")
def _odd_row_spoils() -> Iterator[None]:
    whole = rest_module._rows

    def rows(answer: object, path: str) -> list[dict[str, Any]]:
        listed = whole(answer, path)
        if path in ("orders", "positions") and not all(row.get("symbol") and row.get("qty") for row in listed):
            raise Unreachable(f"GET /{path}: a row is not understood")
        return listed

    with patch.object(rest_module, "_rows", rows):
        yield


@defect("a row that cannot be read is none")
def _odd_row_is_none() -> Iterator[None]:
    whole = AlpacaREST.positions

    async def positions(self: AlpacaREST) -> Listing[PositionReport]:
        return Listing((await whole(self)).rows, frozenset())

    with patch.object(AlpacaREST, "positions", positions):
        yield


@defect("a position of another symbol spoils the listing")
def _strangers_spoil() -> Iterator[None]:
    whole = Lister.both

    async def listed(self: Lister) -> Any:
        held = await self._rest.positions()
        if any(position.symbol not in self._fleet.algos for position in held.rows):
            raise Unreachable("GET /positions: an unknown symbol")
        return await whole(self)

    with patch.object(Lister, "both", listed):
        yield


@defect("the first listing is all there is to know at the start")
def _first_listing_is_all() -> Iterator[None]:
    whole = OrderRouter.on_snapshot

    def on_snapshot(
        self: OrderRouter, symbol: str, orders: Any, position: PositionReport, as_of: int, *known: Any
    ) -> None:
        whole(self, symbol, orders, position, as_of)

    async def no_executions(self: StartListings) -> list[OrderReport]:
        return []

    with (
        patch.object(OrderRouter, "on_snapshot", on_snapshot),
        patch.object(StartListings, "_recent_executions", no_executions),
    ):
        yield


# -- executions -------------------------------------------------------------------------------------------------------


@defect("an adopted position forgets which executions it holds")
def _adoption_forgets() -> Iterator[None]:
    whole = Ledger.adopt_position

    def adopt(self: Ledger, qty: Decimal, entry_price: Decimal | None, at: int, executions: Iterable[str] = ()) -> None:
        whole(self, qty, entry_price, at - 3600 * SECOND)

    with patch.object(Ledger, "adopt_position", adopt):
        yield


@defect("an execution that is told late is no news")
def _late_is_old() -> Iterator[None]:
    whole = OrderRouter.on_order_update

    def on_order_update(self: OrderRouter, report: OrderReport) -> None:
        if report.at is None or self._now() - report.at < 10 * SECOND:
            whole(self, report)

    with patch.object(OrderRouter, "on_order_update", on_order_update):
        yield


@defect("what the day's activities tell is not heard")
def _activities_unheard() -> Iterator[None]:
    async def read(self: Activities) -> list[Any]:
        return []

    with patch.object(Activities, "read", read):
        yield


@defect("only orders of the bot's own count")
def _own_orders_only() -> Iterator[None]:
    whole = OrderRouter.on_order_update

    def on_order_update(self: OrderRouter, report: OrderReport) -> None:
        if report.client_order_id.startswith("scalp-"):
            whole(self, report)

    with patch.object(OrderRouter, "on_order_update", on_order_update):
        yield


@defect("zero is a price")
def _zero_is_a_price() -> Iterator[None]:
    with (
        patch("scalp.core.ledger.is_price", lambda price: price is not None),
        patch("scalp.core.order_state.is_price", lambda price: price is not None),
        patch(
            "scalp.alpaca.decode.amount_or_none",
            lambda value: ZERO if value in ("NaN", "-1", "9" * 45) else _amount(value),
        ),
    ):
        yield


def _amount(value: object) -> Decimal | None:
    from scalp.core.decimals import decimal_or_none

    number = decimal_or_none(value)
    return None if number is None or number < 0 else number


@defect("the profit of a sell is counted at its limit price")
def _profit_at_limit() -> Iterator[None]:
    whole = Ledger._book

    def book(self: Ledger, order: Order, qty: Decimal, price: Decimal) -> Decimal:
        is_sell = order.side == "sell"
        return whole(self, order, qty, price + Decimal("0.05") if is_sell else price)

    with patch.object(Ledger, "_book", book):
        yield


# -- exits ------------------------------------------------------------------------------------------------------------


@defect("a cancel is asked for once")
def _cancel_once() -> Iterator[None]:
    async def send_cancel(self: AlpacaBroker, action: Any) -> Order | None:
        order = self._listener.find_order(action.symbol, action.id or action.client_order_id)
        if order is None or order.has_ended or not order.id:
            return None
        try:
            await self.counted(self._rest.cancel(order.id))
        except Exception:
            return None
        return order

    never = 10**18
    with (
        patch.object(AlpacaBroker, "_send_cancel", send_cancel),
        patch("scalp.core.cancels.CANCEL_AGAIN", never),
        patch("scalp.core.exits.CANCEL_AGAIN", never),
        patch("scalp.core.working_buys.CANCEL_AGAIN", never),
    ):
        yield


@defect("a refusal that may pass is waited for like one that lasts")
def _all_refusals_last() -> Iterator[None]:
    with patch("scalp.core.exits.PASSING_RETRIES", ()):
        yield


@defect("a sell that was refused for good is given up")
def _refused_for_good() -> Iterator[None]:
    whole = ExitPlan.on_rejected

    def on_rejected(self: ExitPlan, why: str, at: int) -> int:
        whole(self, why, at)
        self.retry_at = at + 10**18
        return 10**18

    with patch.object(ExitPlan, "on_rejected", on_rejected):
        yield


@defect("a market exit that does not fill is left")
def _stuck_is_left() -> Iterator[None]:
    with patch.object(ExitPlan, "_watch", lambda self, *args: []):
        yield


@defect("an order works as long as its cancel is not confirmed")
def _cancelling_is_working() -> Iterator[None]:
    with patch.object(ExitPlan, "is_in_order", property(lambda self: True)):
        yield


@defect("an exit is renewed at every bar and checkup")
def _exit_is_renewed() -> Iterator[None]:
    def keep_covered(self: ExitPlan, sell: Order, at: int) -> list[Step]:
        return [*cancel_due([sell], at)] if at - sell.submitted_at > 60 * SECOND else []

    with patch.object(ExitPlan, "_keep_covered", keep_covered):
        yield


@defect("what was bought by hand is not offered while a sell works")
def _not_all_covered() -> Iterator[None]:
    with patch.object(ExitPlan, "_keep_covered", lambda self, sell, at: []):
        yield


@defect("what is held is sold at market when it fills")
def _sold_at_market() -> Iterator[None]:
    whole = ExitPlan._offer

    def offer(self: ExitPlan, price: Callable[[], Decimal], at: int) -> list[Step]:
        return [Sell("market") if isinstance(step, Sell) else step for step in whole(self, price, at)]

    with patch.object(ExitPlan, "_offer", offer):
        yield


@defect("the exit is priced by the entry alone")
def _entry_alone() -> Iterator[None]:
    with patch.object(OrderBuilder, "sell_price", lambda self: round(self._ledger.entry_price or Decimal(1), 2)):
        yield


@defect("a sell does not say that it closes")
def _no_intent() -> Iterator[None]:
    whole = rest_module._order_body

    def order_body(order: SubmitOrder) -> dict[str, str]:
        body = whole(order)
        body.pop("position_intent", None)
        return body

    with patch.object(rest_module, "_order_body", order_body):
        yield


@defect("a fraction of a share is rounded to a whole one")
def _fractions_are_whole() -> Iterator[None]:
    with (
        patch.object(Ledger, "whole_shares", property(lambda self: max(math.ceil(self.position), 0))),
        patch.object(ExitPlan, "quantity", property(lambda self: max(math.ceil(self._to_offer), 0))),
    ):
        yield


# -- the market -------------------------------------------------------------------------------------------------------


@defect("a correction is told by its price alone")
def _by_price_alone() -> Iterator[None]:
    def find(self: Tape, correction: TradeCorrection) -> int | None:
        return next((n for n in reversed(range(len(self._kept))) if self._kept[n].price == correction.price), None)

    with patch.object(Tape, "_find", find):
        yield


@defect("corrections are not heard")
def _corrections_unheard() -> Iterator[None]:
    with patch.object(Fleet, "on_trade_correction", lambda self, correction: None):
        yield


@defect("a halt is only a line in the log")
def _halt_is_a_line() -> Iterator[None]:
    def on_halt(self: Fleet, halt: Halt) -> None:
        pass

    with patch.object(Fleet, "on_halt", on_halt):
        yield


@defect("the history of a gap is asked for once")
def _history_once() -> Iterator[None]:
    whole = History._ask

    async def ask(self: History, symbols: Sequence[str]) -> str:
        trouble = await whole(self, symbols)
        for symbol in list(self._holes):
            del self._holes[symbol]
            self._fleet.algos[symbol].entry_blocks.unblock("history")
        return trouble

    with patch.object(History, "_ask", ask):
        yield


@defect("trades vouch for bars")
def _trades_vouch_for_bars() -> Iterator[None]:
    def tell_trade(self: MarketDataStream, trade: Any) -> None:
        self._no_bars.stirs()
        self._sink.on_trade(trade)

    with patch.object(MarketDataStream, "_tell_trade", tell_trade):
        yield


# -- hours and logins -------------------------------------------------------------------------------------------------


@defect("a clock that says closed ends the day")
def _closed_is_closed() -> Iterator[None]:
    def closed(self: MarketHours, now: int) -> None:
        self._session = Session(self._session.date, self._session.open, now)

    with patch.object(MarketHours, "_closed", closed):
        yield


@defect("the clock alone moves the close")
def _clock_moves_close() -> Iterator[None]:
    def compare_close(self: MarketHours, told: int, now: int) -> None:
        self._session = Session(self._session.date, self._session.open, told)

    with patch.object(MarketHours, "_compare_close", compare_close):
        yield


@defect("every time the clock tells is the time")
def _clock_is_right() -> Iterator[None]:
    def set_(self: MarketClock, exchange_now: int, asked_at: float, answered_at: float, *more: Any) -> None:
        self._offset = exchange_now - round((asked_at + answered_at) / 2 * SECOND)

    with patch.object(MarketClock, "set", set_), patch.object(MarketClock, "witness", lambda self, made_at: False):
        yield


@defect("the calendar is asked once")
def _calendar_once() -> Iterator[None]:
    with patch.object(Calendar, "is_due", property(lambda self: False)):
        yield


@defect("a refused login is the end")
def _refused_login_ends() -> Iterator[None]:
    async def is_final(self: Trader, *refusal: Any, **more: Any) -> bool:
        return True

    with patch.object(Trader, "_is_final", is_final):
        yield


@defect("liquidation begins a minute before the close")
def _late_liquidation() -> Iterator[None]:
    with patch.object(Session, "liquidate_at", property(lambda self: self.close - 60 * SECOND)):
        yield


@defect("orders go out until the close")
def _orders_until_the_close() -> Iterator[None]:
    with patch.object(Session, "quiet_at", property(lambda self: self.close)):
        yield


@defect("after the close nobody looks any more")
def _no_last_look() -> Iterator[None]:
    async def finish(self: Trader) -> bool:
        return True

    with (
        patch.object(Trader, "finish", finish),
        patch.object(Trader, "tell_leftovers", lambda self: False),
    ):
        yield
