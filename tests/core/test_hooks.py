"""A user's own exit price, quantity and exit signal: what comes of them, and of what makes no sense."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from scalp import ScalpAlgo
from scalp.core.algo import SELL_SUBMITTED, TO_BUY
from scalp.core.commands import Action
from scalp.core.events import Plotted
from scalp.core.exits import Plan
from scalp.core.fleet import Fleet
from scalp.core.stops import StopRule
from scalp.core.units import MINUTE
from tests.helpers import AAPL, BOUGHT, SESSION, SOLD, Desk, buying, clock, flat, trade


def answering(hook: str, answer: Any, **more: Any) -> type[ScalpAlgo]:
    """A class whose `hook` answers `answer`, or raises it."""

    def asked(self: ScalpAlgo, *args: object) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return type("Own", (ScalpAlgo,), {hook: asked, **more})


def holding(algo_class: type[ScalpAlgo], sells: str = "sell 19 @ 101.00 #2") -> Desk:
    """#1 has bought 19 at 101, #2 offers them. It is 09:52:05."""
    desk = buying(algo_class=algo_class)
    assert desk.later(0.8).tells(1, "fill") == [sells]
    assert desk.tells(2, "new") == []
    return desk


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# -- lines of its own --------------------------------------------------------------------------------------------------


class Plots(ScalpAlgo):
    values: ClassVar[tuple[Any, ...]] = ()

    def _calculate_buy_signal(self) -> bool:
        self.plot("rsi", self.values[len(self._bars) - 22])
        return False


def test_what_class_plots_is_kept_by_bar_and_no_number_is_gap() -> None:
    class Own(Plots):
        values = (30, None, np.float64(31.5), float("nan"), "odd")

    desk = flat(algo_class=Own)
    told: list[Plotted] = []
    desk.algo.telling.tell = lambda event: told.append(event) if isinstance(event, Plotted) else None
    for minute in range(52, 57):
        assert desk.at(f"09:{minute}:04").bar(101.0) == []
    assert list(desk.algo.plots) == ["rsi"]
    values = list(desk.algo.plots["rsi"].items())
    assert [value for _, value in values] == [30.0, 31.5] and values[1][0] - values[0][0] == 2 * MINUTE
    assert [(event.at, event.value) for event in told] == values
    assert all(type(value) is float for _, value in values)


# -- the exit price ---------------------------------------------------------------------------------------------------


class TakesProfit(ScalpAlgo):
    def _calculate_exit_price(self) -> float | None:
        return self.entry_price * 1.005 if self.entry_price else None


def test_an_own_exit_price_is_the_limit_rounded_up_to_a_tick() -> None:
    desk = holding(TakesProfit, "sell 19 @ 101.51 #2")  # 101.505
    assert desk.tells(2, "fill") == []
    assert (desk.state, int(desk.held)) == (TO_BUY, 0)


@pytest.mark.parametrize(
    ("price", "limit"),
    [
        (102, "102.00"),
        (np.float64(101.301), "101.31"),
        (np.int64(99), "99.00"),  # below what was paid: the user says so
        (Decimal("101.2500000001"), "101.25"),
        (0.12341, "0.1235"),
        (1.1 * 3, "3.30"),  # 3.3000000000000003
        (None, "101.00"),
    ],
)
def test_prices_of_every_kind_of_number(price: object, limit: str) -> None:
    holding(answering("_calculate_exit_price", price), f"sell 19 @ {limit} #2")


ODD = [float("nan"), float("inf"), -101.5, 0, 0.0, "102", "", True, [], [102.0], 10**400, 1e12, Decimal("NaN"),
       Decimal("sNaN"), Decimal("-1"), 1j, pd.NA, pd.NaT, pd.Series([102.0]), np.array([102.0]), ...]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
def test_what_is_no_price_means_the_default_and_is_said_once(odd: object, caplog: pytest.LogCaptureFixture) -> None:
    desk = holding(answering("_calculate_exit_price", odd))
    assert desk.tells(2, "canceled") == []
    assert desk.later(30).checkup() == ["sell 19 @ 101.00 #3"]
    [line] = warnings(caplog)
    assert line.startswith("the exit price is ") and line.endswith(": the default stands")
    assert type(odd).__name__ in line


@pytest.mark.parametrize("hook", ["_calculate_exit_price", "_calculate_quantity", "_calculate_exit_signal"])
@pytest.mark.parametrize("error", [ZeroDivisionError("no volume"), SystemExit("enough")], ids=repr)
def test_an_exception_means_the_default_and_is_said_once(
    hook: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    desk = holding(answering(hook, error, exit_on_trades=True))
    for price in (101.1, 101.2, 101.3):
        assert desk.later(1).prints(price) == []
    assert desk.at("09:53:04").bar(99.0) == []
    assert desk.tells(2, "fill") == []
    [line] = warnings(caplog)
    assert "failed" in line and type(error).__name__ in line and caplog.text.count("Traceback") == 1


def test_a_coroutine_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def later() -> float:
        return 102.0

    class Waits(ScalpAlgo):
        def _calculate_exit_price(self) -> float:
            return later()  # type: ignore[return-value]

    holding(Waits)
    assert warnings(caplog) == ["the exit price is of type coroutine: the default stands"]


def test_an_own_price_refused_again_gives_way_to_the_default() -> None:
    desk = holding(answering("_calculate_exit_price", 250.0), "sell 19 @ 250.00 #2")
    assert desk.tells(2, "canceled") == []
    assert desk.at("09:54").checkup() == ["sell 19 @ 250.00 #3"]
    assert desk.refuses(3, "403 the price is too far from the market") == []
    assert desk.later(31).checkup() == ["sell 19 @ 101.00 #4"]
    assert desk.tells(4, "fill") == []


def test_stop_goes_along_where_it_lies_cent_under_own_price() -> None:
    for price, sells in ((102.0, "@ 102.00 stop 100.49"), (100.50, "@ 100.50 stop 100.49"), (100.49, "@ 100.49")):
        desk = buying(algo_class=answering("_calculate_exit_price", price))
        desk.algo.stop.rule = StopRule(Decimal("0.005"))
        assert desk.tells(1, "fill") == [f"sell 19 {sells} #2"]


# -- the quantity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "buys"),
    [(7, 7), (7.9, 7), (Decimal("3.5"), 3), (np.int64(5), 5), (500, 19), (None, 19), (float("nan"), 19), (-3, 19)],
)
def test_own_quantity_is_whole_and_never_more_than_lot_buys(quantity: object, buys: int) -> None:
    assert flat(algo_class=answering("_calculate_quantity", quantity)).bar(101.0) == [f"buy {buys} @ 101.00 #1"]


@pytest.mark.parametrize("none", [0, 0.7, Decimal(0)])
def test_less_than_one_share_buys_nothing_this_time(none: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    desk = flat(algo_class=answering("_calculate_quantity", none))
    assert (desk.bar(101.0), desk.state) == ([], TO_BUY)
    assert caplog.messages[-1] == "signal, but no buy: the quantity is below one share"


def test_the_quantity_is_told_the_price_of_the_order() -> None:
    class ForFive(ScalpAlgo):
        def _calculate_quantity(self, price: Decimal) -> float:
            return 500 / price  # type: ignore[return-value]

    assert flat(algo_class=ForFive).bar(101.0) == ["buy 4 @ 101.00 #1"]


# -- the exit signal --------------------------------------------------------------------------------------------------


class LeavesBelow(ScalpAlgo):
    def _calculate_exit_signal(self) -> bool:
        return (self.last_trade or 0) < 100


def test_the_exit_signal_cancels_the_sell_and_leaves_at_market(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    desk = holding(LeavesBelow)
    assert desk.later(1).prints(99.5) == []  # trades do not ask
    assert desk.at("09:53:04").bar(99.4) == ["cancel #2"]
    assert desk.algo.exits.why == "exit signal"
    assert desk.bar(99.3, "09:52") == []
    assert desk.tells(2, "canceled") == ["sell 19 market #3"]
    assert desk.tells(3, "fill", 19, "99.4") == []
    assert (desk.state, int(desk.held), desk.algo.exits.plan) == (TO_BUY, 0, Plan.OFFER)
    assert ("scalp.AAPL", logging.INFO, "leaving: exit signal") in caplog.record_tuples


def test_the_exit_signal_may_be_asked_with_each_trade() -> None:
    class AtOnce(LeavesBelow):
        exit_on_trades = True

    desk = holding(AtOnce)
    assert desk.later(1).prints(100.0) == []
    assert desk.later(1).prints(99.99) == ["cancel #2"]
    assert desk.later(1).prints(99.98) == []  # it is leaving
    assert desk.tells(2, "canceled") == ["sell 19 market #3"]


def test_the_exit_signal_is_asked_once_for_each_bar_and_trade() -> None:
    asked: list[tuple[int, float | None]] = []

    class Asked(ScalpAlgo):
        exit_on_trades = True

        def _calculate_exit_signal(self) -> None:  # type: ignore[override]
            asked.append((len(self._bars), self.last_trade))

    desk = buying(algo_class=Asked)
    assert desk.later(0.2).prints(101.0) == []
    assert asked == []  # nothing is held
    assert desk.tells(1, "fill") == SOLD
    desk.later(1).prints(101.1)
    desk.prints(101.1)  # told twice
    desk.algo.on_trade(trade(77.0, "09:52:03"))  # an older one
    desk.at("09:53:04").bar(101.2)
    desk.bar(101.2)  # told twice
    desk.tells(2, "fill")
    desk.later(1).prints(99.0)
    assert asked == [(22, 101.1), (23, 101.2)]


def test_shares_of_a_buy_that_still_works_are_left_too() -> None:
    desk = buying(algo_class=LeavesBelow)
    assert desk.tells(1, "partial_fill", 5) == []
    assert desk.at("09:53:04").bar(99.0) == ["cancel #1"]
    assert desk.tells(1, "canceled") == ["sell 5 market #2"]


def test_in_liquidation_it_is_not_asked() -> None:
    desk = holding(answering("_calculate_exit_signal", ValueError("asked")))
    assert desk.at("15:55:01").checkup() == ["cancel #2"]
    assert desk.at("15:55:04").bar(99.0) == []
    assert desk.tells(2, "canceled") == ["sell 19 market #3"]


def test_what_is_no_exit_signal_means_no_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = holding(answering("_calculate_exit_signal", "sell"))
    assert desk.at("09:53:04").bar(99.0) == desk.at("09:54:04").bar(99.0) == []
    assert (desk.state, warnings(caplog)) == (SELL_SUBMITTED, ["the exit signal is of type str: which means no"])


def test_what_is_no_buy_signal_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = flat(algo_class=answering("_calculate_buy_signal", float("nan")))
    assert desk.bar(101.0) == desk.at("09:53:04").bar(101.0) == []
    assert warnings(caplog) == ["the buy signal is nan (float): which means no"]
    assert flat(algo_class=answering("_calculate_buy_signal", None)).bar(101.0) == []
    assert len(warnings(caplog)) == 1


def test_exit_signal_that_fails_in_trade_hurts_its_symbol_only() -> None:
    class Broken(ScalpAlgo):
        exit_on_trades = True

        def _wants_out(self) -> bool:
            raise RuntimeError("not even the guard held")

    sent: list[Action] = []
    now = clock("10:00")
    fleet = Fleet([Broken(AAPL, Decimal(2000), "R"), ScalpAlgo("MSFT", Decimal(2000), "R")], lambda: now, sent.append)
    fleet.begin_session(SESSION)
    fleet.algos[AAPL].asks_exit_on_trades = True
    fleet.on_trade(trade(100.0, now))
    fleet.on_trade(trade(50.0, now, "MSFT"))
    assert fleet.algos[AAPL].entry_blocks["trouble"] == "an event could not be handled"
    assert ("trouble" in fleet.algos["MSFT"].entry_blocks, fleet.algos["MSFT"].tape.last_price) == (False, 50.0)


# -- what there is to read --------------------------------------------------------------------------------------------


def test_position_entry_and_last_trade() -> None:
    desk = flat()
    algo = desk.algo
    assert (algo.position, algo.entry_price, algo.entry_time, algo.last_trade) == (0, None, None, 99.0)
    assert desk.bar(101.0) == BOUGHT
    desk.later(1).tells(1, "fill", 19, "100.9")
    desk.later(1).prints(101.2)
    assert (algo.position, algo.entry_price, algo.last_trade) == (19, 100.9, 101.2)
    assert algo.entry_time is not None
    assert algo.entry_time == dt.datetime.fromisoformat("2026-11-20T09:52:05-05:00")
    assert algo._bars.index[-1] + dt.timedelta(minutes=1) - algo.entry_time == dt.timedelta(seconds=-5)
    desk.tells(2, "fill")
    assert [algo.position, algo.entry_price, algo.entry_time] == [0, None, None]


def test_shares_that_were_there_at_start_have_time_of_listing() -> None:
    desk = Desk().at("10:00:00")
    assert desk.snapshot([], 5, "99") == ["sell 5 @ 99.00 #1"]
    assert desk.algo.entry_time == dt.datetime.fromisoformat("2026-11-20T10:00:00-05:00")


# -- what is refused when the class is made ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("calculate_buy_signal", "_calculate_buy_signal"),
        ("_calculate_buysignal", "_calculate_buy_signal"),
        ("_calculate_exit_prize", "_calculate_exit_price"),
        ("_calculate_exitprice", "_calculate_exit_price"),
        ("_calculate_qantity", "_calculate_quantity"),
        ("_calculate_exit_signals", "_calculate_exit_signal"),
        ("exit_on_trade", "exit_on_trades"),
    ],
)
def test_a_name_that_is_nearly_a_hooks_is_refused(name: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"Own.{name} is never asked: did you mean {meant}"):
        answering(name, True)


def test_helpers_and_the_older_name_are_fine() -> None:
    class Helped(ScalpAlgo):
        minimum = 3
        lots: ClassVar[list[int]] = []

        def _signal(self) -> bool:
            return True

        def _calculate(self) -> float:
            return 1.0

        def calculate_average(self) -> float:
            return 1.0

    assert Helped._own_hooks == ScalpAlgo._own_hooks
    with pytest.warns(UserWarning, match="is taken as"):
        answering("_calc_buy_signal", True)


@pytest.mark.parametrize("hook", ["_calculate_exit_price", "_calculate_quantity", "_calculate_exit_signal"])
def test_what_waits_or_yields_is_refused(hook: str) -> None:
    async def waits(self: ScalpAlgo) -> float:
        return 1.0

    def yields(self: ScalpAlgo) -> Iterator[float]:
        yield 1.0

    async def both(self: ScalpAlgo) -> Any:
        yield 1.0

    for function in (waits, yields, both, 5):
        with pytest.raises(TypeError, match=f"Own.{hook} must be a plain function"):
            type("Own", (ScalpAlgo,), {hook: function})


def test_a_mixin_counts() -> None:
    class AtTwo:
        def _calculate_exit_price(self) -> float:
            return 102.0

    class Mixed(AtTwo, ScalpAlgo):
        pass

    holding(Mixed, "sell 19 @ 102.00 #2")
    holding(type("Tuned", (Mixed,), {"window": 20}), "sell 19 @ 102.00 #2")


def test_a_class_that_overrides_none_has_the_plain_builder() -> None:
    algo = ScalpAlgo(AAPL, Decimal(2000), "R")
    assert type(algo.builder).__name__ == "OrderBuilder" and not algo.asks_exit_on_trades
    assert ScalpAlgo._own_hooks == {"_calculate_buy_signal"}
