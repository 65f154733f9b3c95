"""What a user's class may override beside the buy signal: the exit's price and moment, the size of a buy.

An answer that makes no sense, or an exception, stops nothing: it is logged once, and the default stands. Which of them
a class overrides is known when the class is made: one that overrides none trades as if there were none.
"""

from __future__ import annotations

import datetime as dt
import inspect
import math
from collections.abc import Callable
from decimal import Decimal
from numbers import Rational
from typing import Any

import numpy as np

from scalp.core.bars import SessionBars
from scalp.core.clock import Session, new_york
from scalp.core.events import EXIT_SIGNAL, Plotted
from scalp.core.exits import ExitPlan, Plan
from scalp.core.ledger import Ledger
from scalp.core.order_builder import OrderBuilder
from scalp.core.prices import HIGHEST_PRICE, exact, round_up
from scalp.core.stops import Stop
from scalp.core.subclass_checks import check_hooks
from scalp.core.tape import Tape
from scalp.core.telling import Telling

MOST_PLOTS = 20  # lines of a symbol
LONGEST_PLOT_NAME = 80  # characters


class Hooks:
    """The base of ScalpAlgo: what a class of a user's own may override and read, each method a plain function."""

    exit_on_trades = False  # True: the exit signal is asked with each trade too, not with each bar alone
    _own_hooks: frozenset[str] = frozenset()  # the names of those that the class overrides

    symbol: str
    lot: Decimal
    ledger: Ledger
    tape: Tape
    exits: ExitPlan
    session: Session | None
    stop: Stop
    telling: Telling
    session_bars: SessionBars
    plots: dict[str, dict[int, float]]  # by name: value by start of the bar, ns

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._own_hooks = check_hooks(cls, Hooks)

    # -- to read ------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Whole shares held; 0 when flat."""
        return self.ledger.whole_shares

    @property
    def entry_price(self) -> float | None:
        """Average price of the shares held, dollars; None when flat."""
        price = self.ledger.entry_price
        return None if price is None else float(price)

    @property
    def entry_time(self) -> dt.datetime | None:
        """When the first of the shares held was bought, exchange time in America/New_York; None when flat.

        For shares held when the bot started: when they were first listed.
        """
        at = self.stop.bought_at or self.ledger.adopted_at
        return new_york(at) if self.ledger.position > 0 and at else None

    @property
    def last_trade(self) -> float | None:
        """The last trade, dollars, by exchange time; None before any."""
        return self.tape.last_price

    # -- to call ------------------------------------------------------------------------------------------------------

    def plot(self, name: str, value: float | None) -> None:
        """Record `value` at the newest bar: the page of a report draws a line called `name`. No number: a gap."""
        number, start = _number(value), self.session_bars.last_start
        if number is None or not start:
            return
        name = str(name)[:LONGEST_PLOT_NAME]
        if name not in self.plots and len(self.plots) >= MOST_PLOTS:
            self.telling.once("plots", "more than %d lines are plotted: %r is left out", MOST_PLOTS, name)
            return
        self.plots.setdefault(name, {})[start] = float(number)
        self.telling.tell(Plotted(self.symbol, start, name, float(number)))

    # -- to override --------------------------------------------------------------------------------------------------

    def _calculate_exit_price(self) -> float | Decimal | None:
        """The limit of the sell, dollars, rounded up to a tick; None: the last trade or the entry, the higher one.

        Asked when shares are offered: as the buy fills, and again where a sell that ended unfilled is sent again.
        """
        return None

    def _calculate_quantity(self, price: Decimal) -> float | Decimal | None:
        """How many shares to buy at `price` (the limit, dollars), rounded down to whole ones; 0: none this time.

        Never more than the lot buys, which is what None means. Asked with each buy signal.
        """
        return None

    def _calculate_exit_signal(self) -> bool:
        """True: cancel the sell, and sell what is held at market.

        Asked with each new bar while shares are held, and where `exit_on_trades` is True with each new last trade.
        """
        return False

    # -- asking -------------------------------------------------------------------------------------------------------

    def _own_exit_price(self) -> Decimal | None:
        """The class's own price, rounded for an order; None: the default."""
        if self.exits.is_rejected:
            return None  # it may be the price that the broker does not take
        price = self._own_number("exit price", self._calculate_exit_price, lambda price: price > 0)
        return None if price is None else round_up(price)

    def _own_quantity(self, price: Decimal, most: int) -> int:
        """The class's own number of shares, at most `most`."""
        quantity = self._own_number("quantity", lambda: self._calculate_quantity(price), lambda quantity: quantity >= 0)
        return most if quantity is None else min(int(quantity), most)

    def _wants_out(self) -> bool:
        """Whether the class says to leave now; asked while shares are held and nothing stronger is on."""
        is_held = self.ledger.position >= 1 and self.exits.plan is Plan.OFFER and self.session is not None
        return is_held and self._is_yes(EXIT_SIGNAL, self._ask(EXIT_SIGNAL, self._calculate_exit_signal))

    def _is_yes(self, name: str, answer: object) -> bool:
        """Not `bool(answer)`: NaN, a coroutine or "no" are truthy, and what is odd must neither buy nor leave."""
        if isinstance(answer, (bool, np.bool_)):
            return bool(answer)
        if answer is not None:
            self._tell_odd(name, answer, "which means no")
        return False

    def _own_number(
        self, name: str, hook: Callable[[], object], makes_sense: Callable[[Decimal], bool]
    ) -> Decimal | None:
        """What `hook` answers, exact, if it is a number that a market has and that `makes_sense`."""
        answer = self._ask(name, hook)
        number = _number(answer)
        if number is not None and abs(number) < HIGHEST_PRICE and makes_sense(number):
            return number
        if answer is not None:
            self._tell_odd(name, answer)
        return None

    def _ask(self, name: str, hook: Callable[[], object]) -> object:
        try:
            return hook()
        except (Exception, SystemExit) as error:
            self.telling.failed(f"the {name} failed ({type(error).__name__}): the default stands", repeats=False)
            return None

    def _tell_odd(self, name: str, answer: object, hence: str = "the default stands") -> None:
        """Log once that `answer` makes no sense."""
        if inspect.iscoroutine(answer):
            answer.close()  # nobody will wait for it
        kind = type(answer).__name__
        shown = f"{answer} ({kind})" if isinstance(answer, (float, Decimal)) else f"of type {kind}"
        self.telling.once(f"odd {name}", "the %s is %s: %s", name, shown, hence)


def _number(answer: object) -> Decimal | None:
    """`answer`, exact; None where it is no finite number."""
    if isinstance(answer, Decimal):
        return answer if answer.is_finite() else None
    if isinstance(answer, bool) or not isinstance(answer, (Rational, float, np.floating)):
        return None
    try:
        number = float(answer)
    except OverflowError:
        return None
    return exact(number) if math.isfinite(number) else None


class OwnPrices(OrderBuilder):
    """Orders whose exit price a user's class gives, by `ask`; where it gives None, the usual one."""

    def __init__(self, ledger: Ledger, tape: Tape, run: str, ask: Callable[[], Decimal | None]) -> None:
        super().__init__(ledger, tape, run)
        self._ask = ask

    def sell_price(self) -> Decimal:
        own = self._ask()
        return super().sell_price() if own is None else own
