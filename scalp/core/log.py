"""The core's events, as lines of the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from logging import ERROR, INFO, WARNING
from typing import Any, NamedTuple

from scalp.core.events import (
    EXIT_SIGNAL,
    BarHeard,
    Blocked,
    Doubt,
    Event,
    Fill,
    Heartbeat,
    LeftOver,
    Liquidating,
    Note,
    OrderEnded,
    OrderFound,
    Oversold,
    Rejected,
    RiskRuleStruck,
    SessionOver,
    SignalBlocked,
    StreamDown,
    StreamUp,
    Transition,
    Unblocked,
)
from scalp.core.orders import BUY
from scalp.core.prices import Written
from scalp.core.words import counted

BLOCKED = "signal, but no buy: "
MAIN, FLEET, RECONCILE = "main", "fleet", "reconcile"  # parts of the bot that speak for all symbols


class Line(NamedTuple):
    """A line that is not formatted yet. `who` is a symbol or a part of the bot."""

    level: int
    who: str
    text: str
    args: tuple[object, ...] = ()
    error: BaseException | None = None

    def __str__(self) -> str:
        return self.text % self.args if self.args else self.text


def line_of(event: Event) -> Line | None:
    """The log's line for `event`; None: it has none."""
    render = _RENDER.get(type(event))
    return None if render is None else render(event)


def event_of(record: logging.LogRecord) -> Event | None:
    """The event that a line of the log was made from; None: there is none."""
    return getattr(record, "event", None)


class LogListener:
    """Logs each event that has a line; bars at `bar_level`."""

    def __init__(self, bar_level: int = INFO) -> None:
        self._bar_level = bar_level
        self._loggers: dict[str, logging.Logger] = {}

    def __call__(self, event: Event) -> None:
        if type(event) is BarHeard:
            if (logger := self._logger(event.bar.symbol)).isEnabledFor(self._bar_level):
                self._write(logger, event, _bar(event)._replace(level=self._bar_level))
        elif (line := line_of(event)) is not None and (logger := self._logger(line.who)).isEnabledFor(line.level):
            self._write(logger, event, line)

    def _logger(self, who: str) -> logging.Logger:
        if (logger := self._loggers.get(who)) is None:
            logger = self._loggers[who] = logging.getLogger(f"scalp.{who}")
        return logger

    @staticmethod
    def _write(logger: logging.Logger, event: Event, line: Line) -> None:
        error = line.error
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        record = logger.makeRecord(
            logger.name, line.level, "", 0, line.text, line.args, exc_info, extra={"event": event}
        )
        logger.handle(record)


log_event = LogListener()


def _bar(event: BarHeard) -> Line:
    bar = event.bar
    return Line(INFO, bar.symbol, "bar %s %s %s %s, volume %.0f", (bar.open, bar.high, bar.low, bar.close, bar.volume))


def _transition(event: Transition) -> Line:
    return Line(INFO, event.symbol, "%s -> %s: %s", (event.old, event.new, event.cause))


def _order_found(event: OrderFound) -> Line:
    args = (event.side, event.qty, event.type, event.limit_price or "")
    return Line(INFO, event.symbol, "order found: %s %s %s %s", args)


def _fill(event: Fill) -> Line:
    if event.side == BUY:
        return Line(INFO, event.symbol, "bought %s at %s", (event.qty, Written(event.price)))
    args = (event.qty, Written(event.price), f"{event.profit:+.2f}", f"{event.net:+.2f}")
    return Line(INFO, event.symbol, "sold %s at %s, profit %s, net %s", args)


def _order_ended(event: OrderEnded) -> Line:
    args = (event.side, event.status, event.filled_qty, event.qty)
    return Line(INFO, event.symbol, "%s %s, %s of %s filled", args)


def _rejected(event: Rejected) -> Line:
    who, qty, why = event.symbol, event.qty, event.why
    if event.side == BUY:
        return Line(WARNING, who, "buy of %s refused: %s", (qty, why))
    if not event.wait:
        return Line(WARNING, who, "sell of %s refused: %s; offering %d", (qty, why, event.offering))
    if event.may_pass:
        return Line(INFO, who, "sell of %s refused, which may pass: %s; again in %.2f s", (qty, why, event.wait))
    return Line(WARNING, who, "sell of %s refused: %s; again in %.0f s", (qty, why, event.wait))


def _signal_blocked(event: SignalBlocked) -> Line:
    return Line(INFO, event.symbol, f"{BLOCKED}%s", (event.why,))


def _risk_rule_struck(event: RiskRuleStruck) -> Line:
    if event.symbol:
        return Line(INFO if event.why == EXIT_SIGNAL else WARNING, event.symbol, "leaving: %s", (event.why,))
    end = "everything is sold and nothing is bought any more; the bot stays up"
    return Line(ERROR, FLEET, "%s: %s", (event.why, end))


def _oversold(event: Oversold) -> Line:
    text = "both legs of the exit have filled: %d sold too many, buying them back at market"
    return Line(ERROR, event.symbol, text, (event.qty,))


def _liquidating(event: Liquidating) -> Line:
    return Line(INFO, event.symbol, "liquidating: %s held, %s open", (event.held, counted(event.open_orders, "order")))


def _blocked(event: Blocked) -> Line:
    return Line(WARNING, FLEET, "no buys: %s", (event.why,))


def _unblocked(event: Unblocked) -> Line:
    return Line(INFO, FLEET, "streams are up, orders and positions reconciled: buying is on%s", (event.but,))


def _doubt(event: Doubt) -> Line:
    args = (event.symbol, event.held, event.listed)
    return Line(INFO, RECONCILE, "%s: %s held by the ledger, %s listed: looking again", args)


def _stream_down(event: StreamDown) -> Line:
    return Line(WARNING, MAIN, "%s: down for %d s", (event.name, event.seconds))


def _stream_up(event: StreamUp) -> Line:
    return Line(INFO, MAIN, "%s: up again, after %d s", (event.name, event.seconds))


def _heartbeat(event: Heartbeat) -> Line:
    return Line(INFO, MAIN, "heartbeat: %s", ("; ".join(event.parts),))


def _session_over(event: SessionOver) -> Line:
    return Line(INFO, MAIN, "session over: %s", (event.result,))


def _left_over(event: LeftOver) -> Line:
    args = (event.symbol, event.held, event.entry_price or "-", event.working or "nothing")
    return Line(WARNING, MAIN, "%s: %s held at %s, working: %s", args)


def _note(event: Note) -> Line:
    return Line(event.level, event.who, event.text, event.args, event.error)


_RENDER: dict[type, Callable[[Any], Line]] = {
    BarHeard: _bar,
    Transition: _transition,
    OrderFound: _order_found,
    Fill: _fill,
    OrderEnded: _order_ended,
    Rejected: _rejected,
    SignalBlocked: _signal_blocked,
    RiskRuleStruck: _risk_rule_struck,
    Oversold: _oversold,
    Liquidating: _liquidating,
    Blocked: _blocked,
    Unblocked: _unblocked,
    Doubt: _doubt,
    StreamDown: _stream_down,
    StreamUp: _stream_up,
    Heartbeat: _heartbeat,
    SessionOver: _session_over,
    LeftOver: _left_over,
    Note: _note,
}
