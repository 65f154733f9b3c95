"""Every event in every state: which orders go out, and which state follows; and what must hold whatever happens."""

# mypy: disable-error-code="comparison-overlap"
# A Decimal equals an int here, as it does when the tests run.

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal

import pytest

from scalp.core.algo import BUY_SUBMITTED, SELL_SUBMITTED, TO_BUY, TO_SELL, TRANSITIONS, ScalpAlgo, State
from scalp.core.commands import Action, AskLastTrade, CancelOrder, SubmitOrder
from scalp.core.errors import IllegalMove
from scalp.core.orders import BUY, SELL, Side
from scalp.core.units import MINUTE, SECOND
from tests.helpers import AAPL, IN_STATE, SESSION, BrokerOrder, Desk, bar, clock, trade

# The order an event is about: the one that works, or else the last one that did.
CURRENT = {TO_BUY: 1, BUY_SUBMITTED: 1, TO_SELL: 2, SELL_SUBMITTED: 2}

Event = Callable[[Desk, int], list[str]]
Answer = tuple[list[str], State]


def update(kind: str, shares: int = 0) -> Event:
    return lambda desk, order: desk.tells(order, kind, shares)


def partly_then(kind: str) -> Event:
    def event(desk: Desk, order: int) -> list[str]:
        return desk.tells(order, "partial_fill", 5) + desk.tells(order, kind)

    return event


def replaced(desk: Desk, order: int) -> list[str]:
    desk.orders["new one"] = BrokerOrder("new one", desk.orders[order].side, Decimal(19), Decimal(102))
    return desk.hears(desk.orders[order].report("replaced", replaced_by="new one"))


def checkup(seconds: float) -> Event:
    """So long after the buy was sent, at 09:52:04."""
    return lambda desk, order: desk.at("09:52:04").later(seconds).checkup()


def minute(close: float) -> Event:
    return lambda desk, order: desk.at("09:54:04").bar(close)


def listed(qty: str | int, entry: str | int = "101") -> Event:
    return lambda desk, order: desk.lists_position(qty, entry)


def traded(desk: Desk, order: int) -> list[str]:
    desk.algo.on_trade(trade(123.0, desk.now))
    return []


def last_trade(desk: Desk, order: int) -> list[str]:
    return desk.words(desk.algo.on_last_trade(trade(123.0, desk.now), desk.now))


def keeps(state: State) -> Answer:
    return [], state


CANCEL_BUY, CANCEL_SELL = ["cancel #1"], ["cancel #2"]
KEPT = {state: keeps(state) for state in State}


def row(to_buy: Answer, buy_submitted: Answer, to_sell: Answer, sell_submitted: Answer) -> dict[State, Answer]:
    return dict(zip(State, (to_buy, buy_submitted, to_sell, sell_submitted), strict=True))


# Updates that move nothing in any state, those that nobody has heard of yet among them.
IDLE_KINDS = (
    "new", "accepted", "pending_new", "pending_cancel", "pending_replace", "held", "stopped", "suspended", "calculated",
    "restated", "accepted_for_bidding", "pending_review", "order_cancel_rejected", "order_replace_rejected", "sneezed",
)  # fmt: skip
OFFER, AGAIN = ["sell 19 @ 101.00 #2"], ["sell 19 @ 101.00 #3"]

# In TO_BUY the update is about the buy that was cancelled, in TO_SELL about the sell that was: a late fill is a fill,
# and nothing else of an ended order counts.
TABLE: dict[str, tuple[Event, dict[State, Answer]]] = {
    **{kind: (update(kind), KEPT) for kind in IDLE_KINDS},
    "partial fill": (
        update("partial_fill", 5),
        row((["sell 5 @ 101.00 #2"], SELL_SUBMITTED), keeps(BUY_SUBMITTED), keeps(TO_SELL), keeps(SELL_SUBMITTED)),
    ),
    "fill": (
        update("fill"),
        row((OFFER, SELL_SUBMITTED), (OFFER, SELL_SUBMITTED), keeps(TO_BUY), keeps(TO_BUY)),
    ),
    **{
        kind: (update(kind), row(keeps(TO_BUY), keeps(TO_BUY), keeps(TO_SELL), keeps(TO_SELL)))
        for kind in ("canceled", "expired", "rejected", "done_for_day")
    },
    **{
        f"partial fill, then {kind}": (
            partly_then(kind),
            row(
                (["sell 5 @ 101.00 #2"], SELL_SUBMITTED),
                (["sell 5 @ 101.00 #2"], SELL_SUBMITTED),
                keeps(TO_SELL),
                keeps(TO_SELL),
            ),
        )
        for kind in ("canceled", "expired", "rejected", "done_for_day")
    },
    "replaced": (replaced, KEPT),
    # The broker has told of these orders: a refusal of a second try at them changes nothing.
    "submit refused": (lambda desk, order: desk.refuses(order), KEPT),
    "submit lost": (lambda desk, order: desk.loses(order), KEPT),
    "checkup": (
        checkup(119.9),
        row(keeps(TO_BUY), keeps(BUY_SUBMITTED), (AGAIN, SELL_SUBMITTED), keeps(SELL_SUBMITTED)),
    ),
    "checkup after 2 minutes": (
        checkup(120),
        row(keeps(TO_BUY), (CANCEL_BUY, BUY_SUBMITTED), (AGAIN, SELL_SUBMITTED), keeps(SELL_SUBMITTED)),
    ),
    "bar with a signal": (
        minute(101.0),
        row(
            (["buy 19 @ 101.00 #2"], BUY_SUBMITTED),
            keeps(BUY_SUBMITTED),
            (AGAIN, SELL_SUBMITTED),
            keeps(SELL_SUBMITTED),
        ),
    ),
    "bar without": (
        minute(99.0),
        row(keeps(TO_BUY), keeps(BUY_SUBMITTED), (AGAIN, SELL_SUBMITTED), keeps(SELL_SUBMITTED)),
    ),
    "position: flat": (
        listed(0),
        row(keeps(TO_BUY), keeps(BUY_SUBMITTED), keeps(TO_BUY), (CANCEL_SELL, SELL_SUBMITTED)),
    ),
    "position: 19 held": (
        listed(19),
        row((OFFER, SELL_SUBMITTED), (CANCEL_BUY, BUY_SUBMITTED), (AGAIN, SELL_SUBMITTED), keeps(SELL_SUBMITTED)),
    ),
    "position: 30 held": (
        listed(30),
        row(
            (["sell 30 @ 101.00 #2"], SELL_SUBMITTED),
            (CANCEL_BUY, BUY_SUBMITTED),
            (["sell 30 @ 101.00 #3"], SELL_SUBMITTED),
            (CANCEL_SELL, SELL_SUBMITTED),
        ),
    ),
    "position: short": (listed(-5), row(keeps(TO_BUY), keeps(BUY_SUBMITTED), keeps(TO_BUY), keeps(SELL_SUBMITTED))),
    "trade": (traded, KEPT),
    "last trade, unasked": (last_trade, KEPT),
}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("name", list(TABLE))
def test_every_event_has_an_answer_in_every_state(name: str, state: State) -> None:
    event, answers = TABLE[name]
    desk = IN_STATE[state]()
    assert desk.state is state
    assert (event(desk, CURRENT[state]), desk.state) == answers[state]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("kind", IDLE_KINDS)
def test_what_is_ignored_moves_nothing(kind: str, state: State) -> None:
    def all_of(desk: Desk) -> object:
        algo, ledger = desk.algo, desk.algo.ledger
        orders = [(o.client_order_id, o.qty, o.filled_qty, o.has_ended, o.cancel_sent_at) for o in ledger]
        return algo.state, algo.order, ledger.position, ledger.entry_price, ledger.realised, orders

    desk = IN_STATE[state]()
    before = all_of(desk)
    desk.tells(CURRENT[state], kind)
    assert all_of(desk) == before


def test_an_order_that_was_refused_before_anybody_heard_of_it() -> None:
    desk = IN_STATE[TO_BUY]().at("09:54:04")
    assert desk.bar(101.0) == ["buy 19 @ 101.00 #2"]
    assert (desk.refuses(2), desk.state) == ([], TO_BUY)
    desk = IN_STATE[TO_SELL]()
    assert desk.checkup() == AGAIN
    assert (desk.refuses(3), desk.state) == ([], TO_SELL)


def test_the_moves_are_the_originals() -> None:
    assert {old: set(new) for old, new in TRANSITIONS.items()} == {
        TO_BUY: {BUY_SUBMITTED, TO_SELL},
        BUY_SUBMITTED: {TO_BUY, TO_SELL},
        TO_SELL: {SELL_SUBMITTED, TO_BUY},
        SELL_SUBMITTED: {TO_SELL, TO_BUY},
    }


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_no_other_move_is_possible(old: State, new: State) -> None:
    algo = ScalpAlgo(AAPL, Decimal(2000), "R")
    algo.state = old
    if new in TRANSITIONS[old]:
        algo._transition(new, "a test", 0)
        assert algo.state is new
    else:
        with pytest.raises(IllegalMove, match=f"^AAPL: {old} -> {new} on a test$"):
            algo._transition(new, "a test", 0)
        assert algo.state is old


def test_an_order_that_the_state_does_not_allow_leaves_no_trace() -> None:
    """In every state the order that would be a second one, or the wrong one, is refused before the ledger has it."""
    refused = []
    for state, side in itertools.product(State, Side):
        desk = IN_STATE[state]()
        algo, ledger = desk.algo, desk.algo.ledger
        submitted = BUY_SUBMITTED if side == BUY else SELL_SUBMITTED
        if submitted in TRANSITIONS[state]:
            continue
        before = (algo.state, algo.order, ledger.version, ledger.open_orders, ledger.unoffered, algo.builder.count)
        with pytest.raises(IllegalMove) as caught:
            algo._sell("market", desk.now) if side == SELL else algo._submit(side, 1, "market", None, desk.now)
        after = (algo.state, algo.order, ledger.version, ledger.open_orders, ledger.unoffered, algo.builder.count)
        assert before == after
        refused.append(str(caught.value))
    assert refused == [
        "AAPL: TO_BUY -> SELL_SUBMITTED on sell 0 market",
        "AAPL: BUY_SUBMITTED -> BUY_SUBMITTED on buy 1 market",
        "AAPL: BUY_SUBMITTED -> SELL_SUBMITTED on sell 0 market",
        "AAPL: TO_SELL -> BUY_SUBMITTED on buy 1 market",
        "AAPL: SELL_SUBMITTED -> BUY_SUBMITTED on buy 1 market",
        "AAPL: SELL_SUBMITTED -> SELL_SUBMITTED on sell 19 market",
    ]


def test_an_illegal_move_is_refused_without_assertions_too() -> None:
    program = (
        "from decimal import Decimal; from scalp import ScalpAlgo; algo = ScalpAlgo('AAPL', Decimal(2000), 'R')\n"
        "try: algo._submit('sell', 1, 'market', None, 0)\n"
        "except Exception as error: print(type(error).__name__, error, algo.ledger.open_orders, algo.order)"
    )
    told = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "IllegalMove AAPL: TO_BUY -> SELL_SUBMITTED on sell 1 market [] None\n"


# -- whatever happens, in whatever order -------------------------------------------------------------------------------


class HonestBroker:
    """Takes orders, fills them at random, and queues what it says; it keeps the shares and the rules."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.algo = ScalpAlgo(AAPL, Decimal(2000), "R")
        self.algo.begin_session(SESSION)
        self.now = SESSION.open
        self.price = 100.0
        self.held = Decimal(0)
        self.bought_since_flat = Decimal(0)
        self.on_the_way: list[Action] = []
        self.orders: list[BrokerOrder] = []
        self.said: list[tuple[bool, Callable[[], list[Action]]]] = []  # may it be repeated; what it does
        self.sent = self.trips = 0

    @property
    def working(self) -> list[BrokerOrder]:
        return [o for o in self.orders if o.status in ("new", "partially_filled")]

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            assert not isinstance(action, AskLastTrade)
            self.on_the_way.append(action)
            if isinstance(action, SubmitOrder):
                self.check(action)
        own = [o for o in self.algo.ledger.open_orders if o.is_own]
        assert len(own) <= 1, "more than one order of its own works"

    def check(self, order: SubmitOrder) -> None:
        self.sent += 1
        if order.side == "sell":
            assert order.qty <= self.held, "sells more than is held"
            assert order.qty == int(self.algo.ledger.position), "offers less than it knows of"
        else:
            assert order.limit_price is not None and order.qty * order.limit_price <= 2000, "over a lot"
            assert self.algo.ledger.position == 0
            assert self.now < SESSION.liquidate_at

    def say(self, order: BrokerOrder, event: str, shares: int = 0) -> None:
        report = order.report(event, shares, None if not shares else str(round(self.price, 2)), at=self.now)
        self.said.append((True, lambda: self.algo.on_order_update(report, self.now)))

    def arrive(self) -> None:
        """The oldest action reaches the broker."""
        action = self.on_the_way.pop(0)
        if isinstance(action, CancelOrder):
            for order in self.working:
                if order.client_order_id == action.client_order_id and self.rng.random() < 0.8:
                    self.say(order, "canceled")
            return
        assert isinstance(action, SubmitOrder)
        chance = self.rng.random()
        key = action.client_order_id
        if chance < 0.1:
            self.said.append((False, lambda: self.algo.on_submit_rejected(key, "403", self.now)))
        elif chance < 0.2:
            self.said.append((False, lambda: self.algo.on_submit_lost(key, self.now)))
        else:
            order = BrokerOrder(f"id{len(self.orders)}", action.side, Decimal(action.qty), action.limit_price, key)
            self.orders.append(order)
            self.say(order, "new")

    def execute(self) -> None:
        """Some shares of a working order trade."""
        order = self.rng.choice(self.working)
        left = int(order.qty - order.filled)
        shares = left if self.rng.random() < 0.5 else self.rng.randint(1, left)
        self.held += shares if order.side == "buy" else -shares
        self.trips += self.held == 0
        assert self.held >= 0, "short"
        self.say(order, "fill" if shares == left else "partial_fill", shares)

    def speak(self) -> None:
        """One of the things said arrives, mostly the oldest, now and then a later one, or one of them twice."""
        index = 0 if self.rng.random() < 0.8 else self.rng.randrange(len(self.said))
        may_repeat, tell = self.said[index]
        if not (may_repeat and self.rng.random() < 0.1):
            del self.said[index]
        self.take(tell())

    def step(self) -> None:
        self.now += self.rng.randint(1, 5 * SECOND)
        chance = self.rng.random()
        if self.on_the_way and chance < 0.3:
            self.arrive()
        elif self.working and chance < 0.5:
            self.execute()
        elif self.said and chance < 0.8:
            self.speak()
        elif chance < 0.85:
            self.take(self.algo.checkup(self.now))
        elif chance < 0.88 and self.working:
            ending = self.rng.choice(["canceled", "expired", "rejected", "done_for_day"])
            self.say(self.rng.choice(self.working), ending)
        else:
            self.price = max(self.price + self.rng.choice([-0.7, -0.31, 0.0, 0.33, 0.7]), 5.0)
            start = (self.now // MINUTE - 1) * MINUTE
            self.take(self.algo.on_bar(bar(round(self.price, 2), start), self.now))

    def settle(self) -> None:
        """All that is on the way arrives; nothing new happens but checkups, until what is held is on offer."""
        for _ in range(200):
            while self.on_the_way or self.said:
                if self.on_the_way:
                    self.arrive()
                else:
                    self.take(self.said.pop(0)[1]())
            self.now += 30 * SECOND
            self.take(self.algo.checkup(self.now))
            offered = sum((o.qty - o.filled for o in self.working if o.side == "sell"), Decimal(0))
            if not self.on_the_way and offered == self.held and all(o.side == "sell" for o in self.working):
                return
        raise AssertionError("it does not come to rest")


def walk(seed: int, steps: int) -> HonestBroker:
    broker = HonestBroker(random.Random(seed))
    broker.algo.warmup_bars = 2
    broker.algo._calculate_buy_signal = lambda: broker.rng.random() < 0.5  # type: ignore[method-assign]
    for _ in range(steps):
        broker.step()
        assert broker.algo.state in State
    return broker


@pytest.mark.parametrize("seed", range(40))
def test_never_two_orders_never_short_and_every_share_has_sell(seed: int) -> None:
    broker = walk(seed, 1200)
    assert broker.sent > 20 and broker.trips > 3, "the walk went nowhere"
    broker.settle()
    ledger = broker.algo.ledger
    assert ledger.position == broker.held
    for order in broker.orders:
        known = ledger.find(order.id)
        assert known is not None and known.filled_qty == order.filled
    assert len(broker.working) == (1 if broker.held else 0)


@pytest.mark.parametrize("seed", range(20))
def test_liquidation_leaves_nothing_whatever_went_before(seed: int) -> None:
    broker = walk(1000 + seed, 600)
    broker.now = max(broker.now, clock("15:54"))
    assert broker.now < SESSION.liquidate_at
    while broker.now < SESSION.close:
        broker.now += SECOND
        if broker.on_the_way:
            broker.arrive()
        if broker.said:
            broker.take(broker.said.pop(0)[1]())
        for order in [o for o in broker.working if o.limit_price is None]:
            left = int(order.qty - order.filled)
            broker.held -= left
            broker.say(order, "fill", left)
        broker.take(broker.algo.checkup(broker.now))
    assert (broker.held, broker.algo.ledger.position, broker.working) == (0, 0, [])
