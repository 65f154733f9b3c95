"""Playing the days of a backtest, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from scalp.backtest import bar_rules, engine_rules
from scalp.backtest.engine_leaps import LeapingDay
from scalp.backtest.history import Market, days
from scalp.backtest.output import latency
from scalp.backtest.settings import BacktestSettings
from scalp.backtest.signals import Ahead, known_of_all
from scalp.cli.progress import Tell, unseen
from scalp.core.algo import ScalpAlgo
from scalp.core.clock import Session
from scalp.results.symbol_day import SymbolDay, regular
from scalp.results.totals import Results


class Day(Struct, frozen=True):
    """A day to play, and the bars of its regular session by symbol, oldest first."""

    session: Session
    market: Market


def backtest(
    settings: BacktestSettings,
    algo_class: type[ScalpAlgo],
    see: Callable[[Day], None] = lambda day: None,
    tell: Tell = unseen,
) -> Results:
    """The whole backtest; `see` is shown each day, `tell` gets the progress.

    Raises UserError for files or dates that cannot be played.
    """

    def played() -> Iterator[SymbolDay]:
        for session, market in days(settings, tell):
            day = Day(session, {symbol: regular(bars, session) for symbol, bars in market.items()})
            see(day)
            yield from play(settings, algo_class, session, day.market)

    return Results(played(), settings.fees, settings.lot)


def play(
    settings: BacktestSettings,
    algo_class: type[ScalpAlgo],
    session: Session,
    market: Market,
    ahead: Mapping[str, Ahead] | None = None,
) -> Iterator[SymbolDay]:
    """One day; `market` is by symbol, oldest bar first, other hours than the session's are left out here.

    `ahead` is what is known of the signals by symbol; None: what can be known of the class's own.
    """
    inside = {symbol: regular(bars, session) for symbol, bars in market.items()}
    rates, net_exit = settings.fees.on(session.date), settings.net_exit
    limits = settings.risk_limits
    if ahead is None:
        ahead = known_of_all(algo_class, settings.lot, session, inside)
    if settings.fills == "bar":
        for symbol, bars in inside.items():
            yield bar_rules.play(
                algo_class, symbol, settings.lot, session, bars, settings.slippage, limits, rates, net_exit,
                ahead.get(symbol),
            )  # fmt: skip
        return
    model = engine_rules.fill_model(settings.fills, settings.slippage)
    terms = (algo_class, settings.lot, session, inside, model, latency(settings), limits, rates, net_exit)
    if inside and len(ahead) == len(inside):
        yield from LeapingDay(*terms).leap(ahead, "_calculate_exit_signal" in algo_class._own_hooks)
    else:
        yield from engine_rules.play(*terms)
