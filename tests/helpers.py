"""Short builders of events, and a desk that runs one ScalpAlgo and writes down what it does.

Everything happens on Friday 2026-11-20, regular session 09:30 to 16:00 in New York; a time is written "10:31:05.5".
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from scalp.core.algo import ScalpAlgo, State
from scalp.core.clock import NEW_YORK, Session, nanoseconds
from scalp.core.commands import Action, CancelOrder, MoveStop, SubmitOrder
from scalp.core.exits import Plan
from scalp.core.market_data import Bar, Trade
from scalp.core.orders import OrderReport, PositionReport
from scalp.core.units import MINUTE, SECOND

DAY = dt.date(2026, 11, 20)
AAPL = "AAPL"


def clock(text: str) -> int:
    """A New York time of the day as exchange time, ns."""
    hour, minute, *seconds = text.split(":")
    midnight = dt.datetime.combine(DAY, dt.time(), NEW_YORK)
    whole = nanoseconds(midnight.replace(hour=int(hour), minute=int(minute)))
    return whole + round(float(seconds[0]) * SECOND if seconds else 0)


SESSION = Session(DAY, clock("09:30"), clock("16:00"))
HALF_DAY = Session(DAY, clock("09:30"), clock("13:00"))


def bar(close: float = 100.0, start: int | str = "09:30", symbol: str = AAPL, volume: float = 1000.0) -> Bar:
    """A minute bar that closed at `close`; `start` in ns or written."""
    begin = clock(start) if isinstance(start, str) else start
    return Bar(symbol, begin, close, close + 0.5, close - 0.5, close, volume)


def bars(closes: Sequence[float], start: int | str = "09:30", symbol: str = AAPL) -> list[Bar]:
    """Consecutive minutes from `start` on."""
    begin = clock(start) if isinstance(start, str) else start
    return [bar(close, begin + i * MINUTE, symbol) for i, close in enumerate(closes)]


def trade(price: float, at: int | str, symbol: str = AAPL) -> Trade:
    return Trade(symbol, clock(at) if isinstance(at, str) else at, price)


def position(qty: str | int, entry: str | int = 0, symbol: str = AAPL) -> PositionReport:
    return PositionReport(symbol, Decimal(qty), Decimal(entry))


@dataclass
class BrokerOrder:
    """What the broker knows of an order, and the reports it makes of it."""

    id: str
    side: str = "buy"
    qty: Decimal = Decimal(10)
    limit_price: Decimal | None = None
    client_order_id: str = ""
    type: str = "limit"
    status: str = "new"
    submitted_at: int = 0
    symbol: str = AAPL
    filled: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    executions: int = 0
    stop_price: Decimal | None = None
    parent_id: str = ""  # of a leg; the stream does not tell it
    replaces: str | None = None

    def report(
        self,
        event: str = "",
        shares: int | str | Decimal = 0,
        price: int | str | Decimal | None = None,
        at: int | None = None,
        replaced_by: str | None = None,
        time_in_force: str = "day",
    ) -> OrderReport:
        """An order update of kind `event` ("": a row of a listing) after `shares` more were executed at `price`."""
        count = Decimal(shares)
        paid = Decimal(price) if price is not None else self.limit_price or Decimal(101)
        execution = None
        if count:
            self.filled += count
            self.cost += count * paid
            self.executions += 1
            execution = f"{self.id}/{self.executions}"
        self.status = {"fill": "filled", "partial_fill": "partially_filled", "": self.status}.get(event, event)
        return OrderReport(
            symbol=self.symbol,
            id=self.id,
            client_order_id=self.client_order_id,
            side=self.side,
            type=self.type,
            status=self.status,
            qty=self.qty,
            filled_qty=self.filled,
            filled_avg_price=self.cost / self.filled if self.filled else None,
            limit_price=self.limit_price,
            submitted_at=self.submitted_at,
            replaced_by=replaced_by,
            time_in_force=time_in_force,
            event=event,
            execution_id=execution,
            price=paid if count else None,
            execution_qty=count if count else None,
            at=at,
            stop_price=self.stop_price,
            parent_id="" if event else self.parent_id,
            replaces=self.replaces,
        )


def fill(qty: int = 10, price: str = "100.00", side: str = "buy", order_id: str = "b1") -> OrderReport:
    """The update that says an order over `qty` shares was filled at once."""
    return BrokerOrder(order_id, side, Decimal(qty), Decimal(price)).report("fill", qty)


class Desk:
    """One algo, what the broker knows of its orders, and the time. Every method returns the actions in words:
    "buy 19 @ 101.00 #1", "sell 19 market #2", "cancel #1", "ask"; # is the number of the order in its client id."""

    def __init__(
        self,
        algo_class: type[ScalpAlgo] = ScalpAlgo,
        lot: str = "2000",
        session: Session | None = SESSION,
        run: str = "R",
        starts: str = "09:30",
    ) -> None:
        self.algo = algo_class(AAPL, Decimal(lot), run)
        if session is not None:
            self.algo.begin_session(session)
        self.now = clock(starts)
        self.orders: dict[int | str, BrokerOrder] = {}

    @property
    def state(self) -> State:
        return self.algo.state

    @property
    def held(self) -> Decimal:
        return self.algo.ledger.position

    def at(self, text: str) -> Desk:
        self.now = clock(text)
        return self

    def later(self, seconds: float) -> Desk:
        self.now += round(seconds * SECOND)
        return self

    # -- market -------------------------------------------------------------------------------------------------------

    def warm(self, closes: Sequence[float], start: str = "09:30") -> None:
        """History: bars that fill the day and never trade."""
        self.algo.on_history(bars(closes, start))

    def bar(self, close: float, start: str | None = None) -> list[str]:
        """The bar of the minute that ended last, or of `start`, arrives now."""
        begin = clock(start) if start else (self.now // MINUTE - 1) * MINUTE
        return self.words(self.algo.on_bar(bar(close, begin), self.now))

    def flatten(self) -> list[str]:
        return self.words(self.algo.close_position(Plan.FLATTEN, "told to flatten", self.now))

    def drive(self) -> list[str]:
        return self.words(self.algo.drive(self.now))

    def checkup(self) -> list[str]:
        return self.words(self.algo.checkup(self.now))

    # -- orders -------------------------------------------------------------------------------------------------------

    def by_hand(self, name: str, side: str, qty: int, price: str | None, at: str = "09:31") -> BrokerOrder:
        """An order somebody entered elsewhere."""
        limit = None if price is None else Decimal(price)
        kind = "limit" if limit is not None else "market"
        order = BrokerOrder(name, side, Decimal(qty), limit, f"{name}-client", kind, submitted_at=clock(at))
        self.orders[name] = order
        return order

    def hears(self, report: OrderReport) -> list[str]:
        return self.words(self.algo.on_order_update(report, self.now))

    def tells(self, number: int | str, event: str, shares: int | str = 0, price: str | None = None) -> list[str]:
        """The broker sends an update of this order; "fill" without `shares` fills all that is left."""
        order = self.orders[number]
        if event == "fill" and not shares:
            shares = str(order.qty - order.filled)
        return self.hears(order.report(event, shares, price, at=self.now))

    def answers(self, number: int) -> list[str]:
        """The broker's answer to the POST of this order, with its leg if it has one."""
        leg = self.orders.get(f"{number}s")
        report = self.orders[number].report()
        words = self.hears(leg.report()) if leg else []  # as the fleet does: the legs first
        return words + self.hears(report)

    def prints(self, price: float) -> list[str]:
        """A print is made now."""
        self.algo.on_trade(trade(price, self.now))
        return self.words(self.algo.after_trade(self.now))

    def refuses(self, number: int, why: str = "403 insufficient buying power") -> list[str]:
        return self.words(self.algo.on_submit_rejected(self.orders[number].client_order_id, why, self.now))

    def loses(self, number: int) -> list[str]:
        return self.words(self.algo.on_submit_lost(self.orders[number].client_order_id, self.now))

    def lists_position(self, qty: str | int, entry: str | int = 0) -> list[str]:
        return self.words(self.algo.on_position(position(qty, entry), self.now, self.now))

    def snapshot(self, orders: Sequence[BrokerOrder], qty: str | int = 0, entry: str | int = 0) -> list[str]:
        listed = [order.report() for order in orders]
        return self.words(self.algo.on_snapshot(listed, position(qty, entry), self.now, self.now))

    def words(self, actions: Sequence[Action]) -> list[str]:
        return [self._word(action) for action in actions]

    def _word(self, action: Action) -> str:
        if isinstance(action, SubmitOrder):
            number = int(action.client_order_id.rpartition("-")[2])
            if number not in self.orders:
                self.orders[number] = BrokerOrder(
                    f"id{number}", action.side, Decimal(action.qty), action.limit_price, action.client_order_id,
                    action.type, submitted_at=self.now,
                )  # fmt: skip
            terms = "market" if action.limit_price is None else f"@ {action.limit_price}"
            if action.stop_price is not None:
                terms += f" stop {action.stop_price}"
                self.orders[f"{number}s"] = replace(
                    self.orders[number], id=f"id{number}s", client_order_id="the broker's", type="stop", status="held",
                    limit_price=None, stop_price=action.stop_price, parent_id=f"id{number}",
                )  # fmt: skip
            return f"{action.side} {action.qty} {terms} #{number}{' to close' if action.covers else ''}"
        if isinstance(action, CancelOrder):
            for name, order in self.orders.items():
                if action.client_order_id == order.client_order_id or (action.id and action.id == order.id):
                    return f"cancel #{name}"
            return f"cancel {action.id or action.client_order_id}"
        if isinstance(action, MoveStop):
            return f"move {action.id} to {action.stop_price}"
        return "ask"


# -- a desk brought to each of the four states -------------------------------------------------------------------------
# 20 minutes at 100, one at 99, then 101: the signal. 19 shares of $101 for a lot of $2000. The next close is 99 again,
# so that another 101 would be another signal. It is 09:53:10 then.

BOUGHT = ["buy 19 @ 101.00 #1"]
SOLD = ["sell 19 @ 101.00 #2"]


def flat(**more: object) -> Desk:
    """TO_BUY before any order; the bar 101 of 09:51 will be the first signal. It is 09:52:04."""
    desk = Desk(**more)  # type: ignore[arg-type]
    desk.warm([100.0] * 20 + [99.0])
    return desk.at("09:52:04")


def buying(**more: object) -> Desk:
    """BUY_SUBMITTED: #1, sent at 09:52:04, is accepted."""
    desk = flat(**more)
    assert desk.bar(101.0) == BOUGHT
    assert desk.later(0.2).tells(1, "new") == []
    return desk


def in_to_buy() -> Desk:
    """TO_BUY: buy #1 was cancelled unfilled."""
    desk = buying()
    assert desk.tells(1, "canceled") == []
    assert desk.at("09:53:04").bar(99.0) == []
    return desk.at("09:53:10")


def in_buy_submitted() -> Desk:
    desk = buying()
    assert desk.at("09:53:04").bar(99.0) == []
    return desk.at("09:53:10")


def in_sell_submitted() -> Desk:
    """SELL_SUBMITTED: #1 bought 19, sell #2 works."""
    desk = buying()
    assert desk.tells(1, "fill") == SOLD
    assert desk.tells(2, "new") == []
    assert desk.at("09:53:04").bar(99.0) == []
    return desk.at("09:53:10")


def in_to_sell() -> Desk:
    """TO_SELL: #1 bought 19, sell #2 was cancelled by hand."""
    desk = in_sell_submitted()
    assert desk.tells(2, "canceled") == []
    return desk


IN_STATE = {
    State.TO_BUY: in_to_buy,
    State.BUY_SUBMITTED: in_buy_submitted,
    State.TO_SELL: in_to_sell,
    State.SELL_SUBMITTED: in_sell_submitted,
}
