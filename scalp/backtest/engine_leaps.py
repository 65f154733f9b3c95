"""The days of `engine_rules`, from one minute in which something can happen to the next.

A symbol is shown its minutes while it is awake. It sleeps while it is flat and no known signal comes, and while its
only order is a plain sell whose limit no bar reaches. When it wakes, its bars and the exchange's book are brought to
what they would be had every minute been shown; so what happens then is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalp.backtest.engine_rules import BAR_DELAY, EngineDay
from scalp.backtest.signals import Ahead
from scalp.core.algo import SELL_SUBMITTED, TO_BUY, ScalpAlgo
from scalp.core.clock import Session
from scalp.core.exits import Plan
from scalp.core.market_data import Bar, Trade
from scalp.core.units import MINUTE, SECOND
from scalp.exchange.orders import Update
from scalp.exchange.path import FIRST_PRINT
from scalp.results.symbol_day import SymbolDay


class _Sleeper:
    """One symbol: how far it and the exchange have been shown its bars, and which minute it waits for.

    Rows before `handed` are the algo's, those before `loaded` the exchange's.
    """

    def __init__(self, algo: ScalpAlgo, bars: Sequence[Bar], ahead: Ahead, session: Session) -> None:
        self.algo = algo
        self.bars = bars
        self.columns = ahead.columns
        self.starts = ahead.columns.starts
        self.end = session.liquidate_at - MINUTE  # awake for the checkup that begins the liquidation
        self.is_awake = False
        self.handed = self.loaded = 0
        self.wakes_at = 0  # start of a minute; beyond the day: never
        self._signals = [self.starts[row] + MINUTE for row in ahead.rows]
        self._signal = 0
        self._tops: Any = None

    def next_signal(self, minute: int) -> int:
        """Start of the first minute from `minute` on in which a bar that signals is handed over."""
        while self._signal < len(self._signals) and self._signals[self._signal] < minute:
            self._signal += 1
        return self._signals[self._signal] if self._signal < len(self._signals) else 2**62

    def next_high(self, minute: int, edge: float) -> int:
        """Start of the first minute whose bar reaches up to `edge`, at the latest the last before the liquidation."""
        if self._tops is None:
            self._tops = np.maximum(self.columns.highs, self.columns.opens)
        row = bisect_left(self.starts, minute)
        reached = self._tops[row:] >= edge
        return min(self.starts[row + int(reached.argmax())], self.end) if reached.any() else self.end


class LeapingDay(EngineDay):
    """A day whose signals are known `ahead`, of every symbol."""

    def leap(self, ahead: Mapping[str, Ahead], asks_while_held: bool) -> list[SymbolDay]:
        """As `play`. With `asks_while_held` a symbol that holds shares never sleeps."""
        session, market = self._session, self._market
        self._sleepers = {symbol: _Sleeper(self._algos[symbol], bars, ahead[symbol], session)
                          for symbol, bars in market.items()}  # fmt: skip
        self._may_doze = not (asks_while_held or self._watches_prints)
        self._awake: list[_Sleeper] = []
        self._order = {symbol: place for place, symbol in enumerate(market)}
        for sleeper in self._sleepers.values():
            sleeper.wakes_at = sleeper.next_signal(session.open)
        minute = session.open
        while minute < session.close:
            if self._awake or self._fleet.exit_times.next_at:
                self._play_minute(minute)
                minute += MINUTE
                continue
            wakes_at = min((one.wakes_at for one in self._sleepers.values()), default=session.close)
            due = self._engine.next_time()
            happens_at = session.close if due is None or due >= session.close else due // MINUTE * MINUTE
            if (leapt_to := max(min(wakes_at, happens_at), minute)) == minute:
                self._play_minute(minute)
                leapt_to += MINUTE
            minute = leapt_to
        self._engine.advance(session.close + BAR_DELAY)
        self._hand_over([one.bars[-1] for one in self._awake if one.handed < len(one.bars)], [])
        self._engine.advance(session.close + SECOND)
        return self._days()

    def _play_minute(self, minute: int) -> None:
        self._load(self._awake, minute)
        self._check_up(minute)
        waking = [one for one in self._sleepers.values() if one.wakes_at <= minute and not one.is_awake]
        for sleeper in waking:
            self._wake(sleeper, minute)
        self._load(waking, minute)
        begun = self._begun(self._awake, minute)
        if begun and self._watches_prints:
            self._look(minute + FIRST_PRINT, [bar.symbol for bar in begun])
        self._advance(minute + BAR_DELAY)
        begun = self._begun(self._awake, minute)
        self._hand_over(self._finished(self._awake, minute), begun)
        self._go_on(minute, begun)
        self._advance(minute + MINUTE - 1)  # what is left of this minute may wake others, or keep them awake
        for sleeper in [*self._awake]:
            self._may_sleep(sleeper, minute + MINUTE)

    def _load(self, sleepers: Sequence[_Sleeper], minute: int) -> None:
        """Show the exchange the bars of this minute."""
        begun = []
        for one in sleepers:
            if one.loaded < len(one.bars) and one.starts[one.loaded] == minute:
                begun.append(one.bars[one.loaded])
                one.loaded += 1
        self._engine.on_bars(begun)

    @staticmethod
    def _begun(sleepers: Sequence[_Sleeper], minute: int) -> list[Bar]:
        """The bars of this minute that the exchange was shown."""
        last = [one.bars[one.loaded - 1] for one in sleepers if one.loaded]
        return [bar for bar in last if bar.start == minute]

    @staticmethod
    def _finished(sleepers: Sequence[_Sleeper], minute: int) -> list[Bar]:
        """The bars of the minute before, which are handed over now."""
        finished = []
        for one in sleepers:
            if one.handed < len(one.bars) and one.starts[one.handed] == minute - MINUTE:
                finished.append(one.bars[one.handed])
                one.handed += 1
        return finished

    # -- sleeping -----------------------------------------------------------------------------------------------------

    def _wake(self, sleeper: _Sleeper, minute: int) -> None:
        """Bring all to its state a moment before the bars of the last minute are handed over, in this `minute`."""
        sleeper.is_awake = True
        self._awake = sorted([*self._awake, sleeper], key=lambda one: self._order[one.algo.symbol])
        to = bisect_left(sleeper.starts, minute)
        # The exchange keeps no more than two minutes that it was shown and did not need.
        for bar in sleeper.bars[max(sleeper.loaded, to - 2) : to]:
            self._engine.on_bars([bar])
        sleeper.loaded = max(sleeper.loaded, to)
        handed = bisect_left(sleeper.starts, minute - MINUTE)
        if handed > sleeper.handed:
            sleeper.algo.session_bars.extend(sleeper.columns, handed)
            sleeper.handed = handed
            closed = sleeper.bars[handed - 1]
            sleeper.algo.tape.see_close(closed, closed.start + MINUTE)
        if to:
            opened = sleeper.bars[to - 1]
            sleeper.algo.tape.see(Trade(opened.symbol, opened.start + FIRST_PRINT, opened.open))

    def _may_sleep(self, sleeper: _Sleeper, minute: int) -> None:
        """Let it sleep from this `minute` on, if nothing happens until one that is known."""
        algo, wakes_at = sleeper.algo, 0
        orders = self._engine.open_orders(algo.symbol)
        if algo.state is TO_BUY and algo.order is None and not algo.ledger.position and not orders:
            wakes_at = sleeper.next_signal(minute)
        elif self._may_doze and algo.state is SELL_SUBMITTED and algo.exits.plan is Plan.OFFER and len(orders) == 1:
            order, followed = orders[0], algo.order
            is_plain = order.limit_price is not None and order.group is None and order.side == "sell"
            is_known = followed is not None and followed.id == order.id and not followed.cancel_sent_at
            is_settled = order.status in ("new", "partially_filled") and algo.ledger.position == order.leaves
            if is_plain and is_known and is_settled and len(algo.ledger.open_orders) == 1 and order.limit_price:
                wakes_at = sleeper.next_high(minute, float(order.limit_price))
        if wakes_at > minute:
            sleeper.is_awake, sleeper.wakes_at = False, wakes_at
            self._awake.remove(sleeper)

    # -- what is shown to those that are awake alone ------------------------------------------------------------------

    def _busy(self) -> list[str]:
        return [one.algo.symbol for one in self._awake if one.algo.state is not TO_BUY]

    def _check_up(self, at: int) -> None:
        self._advance(at)
        if busy := self._busy():
            for symbol in busy:
                self._see_last_trade(symbol)
            self._fleet.checkup(busy)
            self._perform()

    def _on_update(self, update: Update) -> None:
        sleeper = self._sleepers[update.order.symbol]
        if not sleeper.is_awake:
            self._rouse(sleeper)
        super()._on_update(update)

    def _rouse(self, sleeper: _Sleeper) -> None:
        """An update of the symbol came before it was to wake."""
        minute = self._engine.now // MINUTE * MINUTE
        self._wake(sleeper, minute)
        self._load([sleeper], minute)
        if self._engine.now >= minute + BAR_DELAY:
            self._hand_over(self._finished([sleeper], minute), self._begun([sleeper], minute))
