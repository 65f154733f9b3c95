"""The order ledger: one symbol's orders, fills and position, merged from everything that any source reports.

Order updates, REST answers, rows of listings, answers by id and the day's executions all arrive as `OrderReport` and go
through `Ledger.apply`; nothing else changes an order. Reports may be lost, repeated, late or out of order, so applying
only ever moves forward: filled quantities grow (also after an order ended: a fill that lost the race against its cancel
is still a fill), and an end that the broker reported stays.

An execution counts once, by identity. Growth of the filled total of an order that is followed here is always news,
whatever its time; except for a buy sent elsewhere that was listed open though it had filled a minute before. A position
that is adopted from a listing names the executions that explain it, and those never count again; only for orders first
reported after that does the time of an execution decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from scalp.core.decimals import ZERO
from scalp.core.order_registry import OrderRegistry
from scalp.core.order_state import (
    REFUSED,
    Order,
    first_price,
    is_price,
    move_status,
    order_from,
)
from scalp.core.orders import BUST, BUY, HELD, SELL, TAKE_BACKS, OrderReport
from scalp.core.units import SECOND

ANSWERED_WITHIN = SECOND  # an execution so soon after the adopted position was dated may be in it
IN_THE_LISTING = 2 * SECOND  # an order submitted so long after it is not in the adopted position
IN_ANY_LISTING = 60 * SECOND  # no listing of positions is so far behind: it holds what was executed before that
NEWEST = 4  # an exit that ended just now is among so many newest orders
AT_THE_TURN = 10 * SECOND  # so near to an adopted position, the time of an execution does not tell whether it is in it


class Change(Struct, frozen=True):
    """What one report changed. `new_qty` shares were executed at `price` on average."""

    order: Order
    is_new: bool  # the order was not known before
    moved: bool  # anything at all changed
    ended: bool  # this report ended it
    new_qty: Decimal = ZERO
    price: Decimal = ZERO
    profit: Decimal = ZERO  # realised by these shares, gross


class Done(Struct):
    """What `Takings` uses in its own time.

    `executed` holds side, shares and price of each execution; without shares, the dollars by which a price
    reported later differs. (Apart from the ledger, whose attributes CPython finds more slowly once there are 30.)
    """

    executed: list[tuple[str, Decimal, Decimal]]
    round_trips: int = 0  # times a position was closed by fills


class Ledger(OrderRegistry):
    """Orders and position of one symbol."""

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
        self.position = ZERO  # shares, negative when short
        self.entry_price: Decimal | None = None  # average price of the shares held; None when flat
        self.realised = ZERO  # gross profit and loss of all closed shares, dollars
        self.shares_sold = ZERO
        self.done = Done([])
        self.question = ""  # what only asking the broker can answer; whoever has asked clears it
        self.adopted_at = 0  # as of when the adopted position was listed, exchange time, ns
        self.adopted = ZERO  # shares of the last adopted position
        self._explained: set[str] = set()  # ids of the executions that are in an adopted position
        self.claimed = ZERO  # shares of the position that a listing alone claims, beyond what executions explain
        self.unoffered = ZERO  # those of them that wait for the end of the sell that works
        self.unproven = ZERO  # shares of the adopted position that the broker has taken no sell of yet
        self._guessed = ZERO  # shares held since the adoption: only listings say how many these are
        self.is_denied = False  # the broker refused a sell for lack of shares
        self.implied = ZERO  # shares adopted only because listed sells had them still to sell
        self._unexplained = ZERO  # shares so claimed, sold since or not, whose executions no source has reported
        self._claimed_at = 0  # as of when they were listed, exchange time, ns
        self.overlap = ZERO  # shares counted since the adoption that were executed before it: it may hold them too
        self.near = ZERO  # shares bought elsewhere so soon after the adopted position was dated that it may hold them
        # So much more is held if the first listing held more or fewer of the newest executions than was thought.
        self.alternatives: set[Decimal] = set()
        # What was held at some time since the adoption, and the version that ended it: a listing may lag.
        self.positions_before: dict[Decimal, int] = {}

    # -- looking ------------------------------------------------------------------------------------------------------

    @property
    def whole_shares(self) -> int:
        """Shares that can be sold: whole ones, none when short."""
        return max(int(self.position), 0)

    @property
    def sold_twice(self) -> Decimal:
        """Shares that the bot's groups have sold beyond what they were to sell, and that no cover has bought back."""
        too_many = ZERO
        for order in self._orders:
            if order.is_cover:
                too_many -= order.filled_qty
            elif order.legs and order.is_bots and order.qty is not None:
                too_many += max(order.sold_by_group - order.qty, ZERO)
        return too_many

    @property
    def taken_back(self) -> Decimal:
        """So much more (or, below zero, less) is held than was executed, as executions were taken back."""
        fewer = ((order.side, order.taken_back - order.settled_back) for order in self._orders)
        return sum((qty if side == SELL else -qty for side, qty in fewer), ZERO)

    # -- changing -----------------------------------------------------------------------------------------------------

    def apply(self, report: OrderReport) -> Change:
        """Take in what `report` says; see the module's text for the rules."""
        order = self._by_id.get(report.id) or self._by_client_id.get(report.client_order_id)
        is_new = order is None
        twin = self._by_client_id.get(report.client_order_id)
        if order is not None and twin is not None and twin is not order and not twin.id:
            self.end(twin, REFUSED)  # sent again under the id of an order that was given up, and is there after all
        if order is None:
            order = order_from(report, self.symbol)
            if order.side not in (BUY, SELL):
                # Nobody could say what its fills do to the position: not an order to follow.
                return Change(order, False, False, False)
            self._enter(order)
        moved = is_new | self._learn_identity(order, report)
        self._find_group(order, report, is_new)
        if order.parent is not None and order.replaced_by:
            self.add_replacement(order.replaced_by, order)
        if is_new and self._is_at_the_turn(report):
            self.question = "whether an execution is in the listed position"
        new_qty, price = self._first_shares(order, report) if is_new else self._new_shares(order, report)
        is_news = bool(new_qty)
        new_qty -= self._explains_claim(order, report, new_qty)
        profit = self._book(order, new_qty, price) if new_qty else ZERO
        if new_qty and report.at is not None and report.at < self.adopted_at and not self._was_sent_since(order):
            self.overlap += new_qty if order.side == BUY else -new_qty
            if order.side == BUY:  # it may have been sold before the adoption as well
                self._guessed, self.unproven = self._guessed + new_qty, self.unproven + new_qty
        elif new_qty and report.at is not None and report.at < self.adopted_at + ANSWERED_WITHIN:
            # What was sent from here after that was not in it.
            self.near += new_qty if order.side == BUY and not order.is_own else ZERO
        had_ended = order.has_ended
        moved |= is_news | move_status(order, report) | self._put_price_right(order, report)
        self._prove_claims(order)
        if order.has_ended and not had_ended:
            self._disprove_implied(order, report)
            if order.lacks_leg:
                self.question = "what the stop has sold that went with an exit"
        if moved:
            self.version += 1
        ended = order.has_ended and (is_new or not had_ended)
        return Change(order, is_new, moved, ended, new_qty, price, profit)

    def adopt_position(
        self, qty: Decimal, entry_price: Decimal | None, at: int, executions: Iterable[str] = ()
    ) -> None:
        """Believe the broker's listing of `at`: the position is `qty` shares at `entry_price` on average.

        `executions` are the ids of those known to be in it.
        """
        self.position = self.adopted = qty
        self.entry_price = entry_price if qty and is_price(entry_price) else None
        self.claimed = self.unoffered = self.overlap = self.near = self.implied = self._unexplained = ZERO
        self.unproven = self._guessed = max(qty, ZERO)
        self.is_denied = False
        self.positions_before.clear()
        self.alternatives.clear()
        self.adopted_at = at
        self._explained.update(executions)
        for order in self._orders:
            order.assumed, order.is_late, order.is_since_adoption = order.filled_qty, False, False
            order.settled_back = order.taken_back
            order.executions.clear()  # `executions` alone says which of them are in the position
            self._prove_claims(order)
        self.version += 1

    def doubt_all(self) -> None:
        """What was adopted and executed since is a guess: a listing without it is believed where a sell is denied."""
        self.positions_before.clear()
        self.unproven = self._guessed = max(self.position, ZERO)

    def deny(self, available: Decimal) -> None:
        """The broker refused a sell for lack of shares: it has only so many beyond those that open sells hold.

        What was bought since the adoption is known by its executions, whatever a refusal says.
        """
        self.is_denied = True
        if not any(order.side == SELL for order in self.open_orders):
            self.unproven = max(self.unproven, min(self.position - available, self._guessed))

    def claim(self, qty: Decimal, entry_price: Decimal | None, at: int) -> None:
        """Take in shares (or give up such ones: `qty` below zero) that only a listing, of `at`, shows."""
        self._unexplained = max(self._unexplained + qty, ZERO)
        self._claimed_at = at
        before = max(self.position, ZERO)
        if qty < 0:
            self.positions_before.clear()  # they included shares that no execution had reported
        if qty > 0 and entry_price is not None:
            known = self.entry_price if self.entry_price is not None else entry_price
            self.entry_price = max(known, entry_price) if before else entry_price
        self.position += qty
        self.claimed += qty
        self.unoffered = max(self.unoffered + qty, ZERO)
        if not self.position:
            self.entry_price = None
        self.version += 1

    def _explains_claim(self, order: Order, report: OrderReport, qty: Decimal) -> Decimal:
        """How many of the `qty` newly reported shares a listing had shown before: they are held already."""
        at = order.submitted_at if report.at is None else report.at
        if not qty or order.side != BUY or at > self._claimed_at:
            return ZERO
        explained = min(qty, self._unexplained)
        self._unexplained -= explained
        self.claimed = max(self.claimed - explained, ZERO)
        self.unoffered = max(self.unoffered - explained, ZERO)
        return explained

    def _prove_claims(self, order: Order) -> None:
        """The broker takes no sell of ours that closes more than is held: what it has on offer is no mere claim."""
        if order.is_late and order.submitted_at < self.adopted_at:
            return  # what was listed of it may be older than the position
        offered = order.on_offer
        if order.side == SELL and order.is_bots and order.id and offered and not order.has_ended:
            beyond = max(self.position - offered, ZERO)
            self.claimed, self.unproven, self.is_denied = min(self.claimed, beyond), min(self.unproven, beyond), False

    def _disprove_implied(self, order: Order, report: OrderReport) -> None:
        """A sell that was cancelled before it was listed as working stood for no shares."""
        if self.implied <= 0 or order.side != SELL or order.parent is not None:
            return
        if (report.canceled_at or self.adopted_at) < self.adopted_at:
            gone = min(self.implied, order.remaining or ZERO, max(self.position, ZERO))
            self.implied -= gone
            self.position -= gone
            self.entry_price = self.entry_price if self.position else None

    @property
    def lacks_leg(self) -> bool:
        """Whether a stop that no source has reported may have sold the shares held."""
        return any(order.lacks_leg for order in self._orders[-NEWEST:])

    def confirm(self, entry_price: Decimal) -> None:
        """A listing shows this same position: take its cost from there if no source has reported it."""
        for order in self._orders[-NEWEST:]:
            order.is_leg_gone |= order.lacks_leg
        if self.position and (self.implied or self.entry_price is None) and is_price(entry_price):
            self.implied, self.entry_price = ZERO, entry_price

    @property
    def refutable(self) -> Decimal:
        """Shares that a listing without them may take away: only a listing has reported them.

        None that a sell has on offer: the broker holds them for it.
        """
        sells = [o for o in self.open_orders if o.side == SELL and o.id and o.status != HELD]  # one leg of two
        beyond = self.position - sum((order.remaining or ZERO for order in sells), ZERO)
        return max(min(self.claimed + (self.unproven if self.is_denied else ZERO), beyond), ZERO)

    def are_offered(self) -> None:
        """From here on the shares that only listings reported are on offer with the rest."""
        self.unoffered = ZERO

    def _first_shares(self, order: Order, report: OrderReport) -> tuple[Decimal, Decimal]:
        """How many shares of an order first reported now are news, and their average price.

        What it filled before the adopted position is in that; when an execution comes without its identity, only its
        time, or that of the order, can show this. A leg is as new as its parent, whose time is this program's own.
        """
        total, average, execution = self._totals(order, report)
        total, since = total or ZERO, self.adopted_at
        order.filled_qty, order.filled_avg_price = total, average
        is_newer = self._was_sent_since(order)
        is_known_since = is_newer or (execution > 0 and report.at is not None and report.at > since)
        order.is_late = order.submitted_at <= since and not is_known_since
        if not total:
            return ZERO, ZERO
        if report.execution_id in self._explained:
            fresh = ZERO
        elif is_newer or order.submitted_at > since + IN_THE_LISTING:
            fresh = total
        elif report.at is not None and report.at < since:
            fresh = ZERO
        else:
            fresh = min(execution, total)
        order.assumed = total - fresh
        order.is_priced = not fresh or is_price(report.price) or is_price(average)
        told = report.price if fresh == execution else None
        return fresh, first_price(told, average, report.price, order.limit_price)

    def _was_sent_since(self, order: Order) -> bool:
        """Whether it was sent from here after the position was adopted: whichever came first by any clock."""
        return order.is_own and order.head.is_since_adoption

    def _new_shares(self, order: Order, report: OrderReport) -> tuple[Decimal, Decimal]:
        """How many shares this report adds to the fills of a known order, and their average price."""
        is_known = report.execution_id is not None and report.execution_id in order.executions
        total, average, execution = self._totals(order, report)
        total = order.filled_qty if total is None else total
        if total <= order.filled_qty:
            if report.event in TAKE_BACKS:
                self._take_back(order, report, total)
            return self._not_assumed(order, report, is_known, execution)
        added = total - order.filled_qty
        if order.is_late and added > (fresh := self._fresh_of_late(order, report, execution, added)):
            # All but what was certainly executed after the adoption is thought to be in the position.
            order.filled_qty = order.assumed = total - fresh
            order.is_late = not fresh
            self.question = "when an order was filled that is older than the listed position"
            if not (added := fresh):
                order.filled_avg_price = average or order.filled_avg_price
                return ZERO, ZERO
        elif was_adopted := self._adopted_of(order, report, added):
            order.assumed = order.filled_qty = order.filled_qty + was_adopted
            if not (added := added - was_adopted):
                order.filled_avg_price = average or order.filled_avg_price
                return ZERO, ZERO
        before = order.filled_qty * (order.filled_avg_price or ZERO)
        if is_price(report.price) and report.execution_qty == added:
            price = report.price
        elif is_price(average) and order.is_priced:
            price = (total * average - before) / added
        else:
            order.is_priced = False
            price = first_price(average, report.price, order.limit_price, self.entry_price)
        order.filled_avg_price = average if is_price(average) and order.is_priced else (before + added * price) / total
        order.filled_qty = total
        return added, price

    def _take_back(self, order: Order, report: OrderReport, total: Decimal) -> None:
        """Executed shares were taken back: the position is what the listings say, which this explains."""
        fewer = order.filled_qty - total
        if not fewer and report.event == BUST:
            fewer = min(report.execution_qty or ZERO, order.filled_qty)  # the copy of the order is from before it
        if fewer > order.taken_back:
            order.taken_back = fewer
            self.question = "what is held without an execution that was taken back"

    def _fresh_of_late(self, order: Order, report: OrderReport, execution: Decimal, added: Decimal) -> Decimal:
        """How many of `added` shares of an order that is older than the adopted position are certainly not in it."""
        if report.at is None or report.at <= self.adopted_at:
            return ZERO
        if order.side == BUY:
            return max(execution, added - max(self.adopted, ZERO))
        # It was seen unsold since: a listing so old as to show it so shows nothing of this.
        return added if report.at > self.adopted_at + IN_ANY_LISTING else execution

    def _adopted_of(self, order: Order, report: OrderReport, added: Decimal) -> Decimal:
        """How many of `added` shares, new to a buy that was sent elsewhere, the adopted position held for sure.

        The order was listed as it had been before it filled, but that was long before the position was listed.
        """
        if order.is_own or order.side != BUY or report.at is None or report.at > self.adopted_at - IN_ANY_LISTING:
            return ZERO
        return min(added, max(self.adopted, ZERO))

    def _not_assumed(
        self, order: Order, report: OrderReport, is_known: bool, execution: Decimal
    ) -> tuple[Decimal, Decimal]:
        """An execution that was thought to be in the adopted position, but was made after that."""
        is_after = report.at is not None and report.at > self.adopted_at
        is_assumed = report.filled_qty is not None and execution <= report.filled_qty <= order.assumed
        if is_known or not is_assumed or not is_after or report.execution_id in self._explained:
            return ZERO, ZERO
        return execution, first_price(report.price, report.filled_avg_price, order.limit_price)

    def _totals(self, order: Order, report: OrderReport) -> tuple[Decimal | None, Decimal | None, Decimal]:
        """Filled total and average price by this report, as far as it has them, and the size of its execution."""
        is_repeated = report.execution_id is not None and report.execution_id in order.executions
        execution = ZERO if report.event in TAKE_BACKS else report.execution_qty or ZERO
        if report.execution_id is not None and execution:
            order.executions.add(report.execution_id)
        total, average = report.filled_qty, report.filled_avg_price
        qty = order.qty if report.qty is None else report.qty  # of a leg it shrinks while the other one fills
        if report.event == "fill" and execution and total is not None and total + execution == qty:
            # The copy of the order is from before this fill, which completes it.
            is_reckoned = report.price is not None and (average is not None or not total)
            spent = total * (average or ZERO) + execution * (report.price or ZERO)
            total += execution
            average = spent / total if is_reckoned else None
        if total is None and execution:
            # The order's totals are missing: one execution, counted once, is all there is to go by.
            total = order.filled_qty + (ZERO if is_repeated else execution)
        if total is not None and order.qty is not None:
            total = min(total, order.qty)  # more than was ordered cannot be bought or sold, whatever is reported
        return total, average, execution

    def _is_at_the_turn(self, report: OrderReport) -> bool:
        """Whether its time alone does not tell if this execution is in the adopted position."""
        at = report.at
        return (
            at is not None
            and bool(report.execution_qty or report.filled_qty)
            and report.execution_id not in self._explained
            and abs(at - self.adopted_at) < AT_THE_TURN
        )

    def _put_price_right(self, order: Order, report: OrderReport) -> bool:
        """The price that stood in for a missing one gives way to the right one."""
        average = report.filled_avg_price
        if order.is_priced or not is_price(average) or report.filled_qty != order.filled_qty:
            return False
        off = average - (order.filled_avg_price or ZERO)
        order.filled_avg_price, order.is_priced = average, True
        self.done.executed.append((order.side, ZERO, off * order.filled_qty))
        if order.side == SELL:
            self.realised += off * order.filled_qty
            return True
        held = min(max(self.position, ZERO), order.filled_qty)
        if held and self.entry_price is not None:
            self.entry_price += off * held / self.position
        self.realised -= off * (order.filled_qty - held)
        return True

    def _book(self, order: Order, qty: Decimal, price: Decimal) -> Decimal:
        """Move the position by `qty` executed shares; returns the gross profit they realised.

        Long and short alike: where a sell is reported before the buy it closes, the profit comes with the buy.
        """
        is_twice = order.head.qty is not None and order.sold_by_group > order.head.qty
        if order.side == SELL and order.is_bots and not order.is_own and self.position < qty and not is_twice:
            # A sell of an earlier run closes what is held: what it sold was held, whatever was listed.
            self.position, self.entry_price = qty, self.entry_price if self.position > 0 else price
        before = self.position
        after = before + qty if order.side == BUY else before - qty
        entry = price if self.entry_price is None else self.entry_price
        profit = ZERO
        if before * (after - before) >= 0:  # more of the same, or the first of it
            self.entry_price = (abs(before) * entry + qty * price) / abs(after)
        else:
            closed = min(qty, abs(before))
            profit = closed * (price - entry) if before > 0 else closed * (entry - price)
            if before * after < 0:
                self.entry_price = price
            elif after == 0:
                self.entry_price = None
                self.done.round_trips += 1
        self.positions_before[before] = self.version
        if not order.is_priced:
            self.question = f"at what price order {order.id or order.client_order_id} was filled"
        self.position = after
        self.claimed = max(min(self.claimed, after), ZERO)
        self.unoffered = min(self.unoffered, self.claimed)
        self.unproven, self._guessed = max(min(self.unproven, after), ZERO), max(min(self._guessed, after), ZERO)
        self.realised += profit
        if order.side == SELL:
            self.shares_sold += qty
        self.done.executed.append((order.side, qty, price))
        return profit
