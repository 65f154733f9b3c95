"""One day: its report, and its differences from its backtest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalp.backtest.output import outcome, statistics_table
from scalp.cli.algo_loader import load_algo
from scalp.cli.parameters import with_set
from scalp.core.clock import new_york
from scalp.core.decimals import ZERO
from scalp.core.errors import UserError
from scalp.core.order_state import REFUSED
from scalp.core.words import counted
from scalp.journal.reader import JournaledDay, Run
from scalp.report import speed
from scalp.report.diff import differences, replayed
from scalp.report.diff import plain as plain_difference
from scalp.report.page import write_page
from scalp.results.totals import Results


def write_html(day: JournaledDay, results: Results, seen: Sequence[speed.Link], path: Path) -> None:
    """The page of the day. Raises UserError where the file cannot be written."""
    spans = ", ".join(f"{new_york(run.started_at):%H:%M:%S} {end(run)}" for run in day.runs)
    name, _, rest = title(day).partition(" at ")
    write_page([day], results, seen, name, f"{rest}; ran from {spans}", day.notes, path)


def plain(day: JournaledDay, results: Results, seen: Sequence[speed.Link]) -> dict[str, Any]:
    """The report for machines."""
    return {
        **_facts(day),
        **outcome(results),
        **_charges(day, results),
        "speed": [speed.plain(link) for link in seen],
        "notes": day.notes,
    }


def report(day: JournaledDay, results: Results, seen: Sequence[speed.Link]) -> Iterator[str]:
    """The report's lines."""
    yield title(day)
    yield ""
    yield from statistics_table(results)
    yield ""
    yield from speed.table(seen)
    yield from ("" for _ in seen[:1])
    yield from _fees(day, results)
    yield from _runs(day)
    for rejection in day.rejections:
        what = f"{rejection.symbol}: order {rejection.key} ({rejection.kind}): {rejection.why}"
        yield f"{new_york(rejection.at):%H:%M:%S} {what}"
    for note in day.notes:
        yield f"note: {note}"


def _fees(day: JournaledDay, results: Results) -> Iterator[str]:
    """Those that were charged beside those reckoned, kind by kind."""
    ours, theirs = results.charges[day.session.date].billed, day.charged()
    told = ", ".join(f"{kind} {amount:.2f}" for kind, amount in theirs.items())
    yield f"fees reckoned: REG {ours.reg:.2f}, TAF {ours.taf:.2f}, CAT {ours.cat:.2f}: {ours.total:.2f}"
    if theirs:
        total = sum(theirs.values(), ZERO)
        differs = f", {total - ours.total:+.2f} beside ours" if total != ours.total else ""
        yield f"fees charged:  {told}: {total:.2f}{differs}"
    else:
        yield "fees charged:  none are listed by now (a paper account pays none, a live one in the night after)"


def _charges(day: JournaledDay, results: Results) -> dict[str, Any]:
    ours = results.charges[day.session.date].billed
    return {
        "fees": {
            "reckoned": {"REG": float(ours.reg), "TAF": float(ours.taf), "CAT": float(ours.cat)},
            "charged": {kind: float(amount) for kind, amount in day.charged().items()},
        }
    }


def beside_backtest(
    day: JournaledDay, whole: JournaledDay, results: Results, algo: str
) -> tuple[Iterator[str], dict[str, Any]]:
    """`whole` has all symbols of the session: some rules look at all of them, though only those of `day` are shown."""
    name = algo or day.facts.algo
    try:
        algo_class = with_set(load_algo(name), () if algo else day.facts.options.get("set") or ())
    except UserError as error:
        raise UserError(f"the session's algo is not to be had ({error}): name it with --algo MODULE:CLASS") from None
    played = {one.symbol: one for one in replayed(whole, algo_class)}
    backtest = Results((played[symbol] for symbol in day.symbols), day.fees)
    found = differences(day, backtest.days)
    sums = {"session": _sums(results), "backtest": _sums(backtest)}

    def lines() -> Iterator[str]:
        yield f"{title(day)}, beside its backtest"
        yield "(--fills pessimistic, the bars as the bot saw them, buys only while it ran)"
        yield ""
        for one in found:
            yield f"{new_york(one.at):%H:%M:%S} {one.symbol}: {one.what}"
            yield f"         why: {one.why or 'not known'}"
        yield f"{counted(len(found), 'difference')}, {sum(not one.why for one in found)} of them unexplained"
        for name, of in sums.items():
            money = f"gross $ {of['pnl']:+.2f}, net $ {of['net']:+.2f}"
            yield f"{name}: {counted(of['orders'], 'order')}, {counted(of['trades'], 'trade')}, {money}"
        for note in day.notes:
            yield f"note: {note}"

    answer = {
        **_facts(day),
        "differences": [plain_difference(one) for one in found],
        "totals": sums,
        "notes": day.notes,
    }
    return lines(), answer


def _sums(results: Results) -> dict[str, Any]:
    orders = sum(order.status != REFUSED for day in results.days for order in day.orders)
    return {"orders": orders, "trades": len(results.trades), "pnl": float(results.total().pnl),
            "net": float(results.total().net)}  # fmt: skip


def title(day: JournaledDay) -> str:
    facts = day.facts
    word = {"simulated": "SIMULATED session", "paper": "paper session", "live": "session, REAL MONEY,"}[facts.venue]
    source, own = facts.options.get("source"), facts.options.get("parameters") or {}
    algo = facts.algo + (f" ({', '.join(f'{name} {value}' for name, value in own.items())})" if own else "")
    algo += f", source {source}" if source else ""
    return f"{word} of {facts.date} at {facts.host}: lot ${facts.lot:f}, {algo}, bars of {facts.feed}"


def _runs(day: JournaledDay) -> Iterator[str]:
    for run in day.runs:
        yield f"ran from {new_york(run.started_at):%H:%M:%S} {end(run)}"


def end(run: Run) -> str:
    return f"to {new_york(run.ended_at):%H:%M:%S}" if run.ended_at else "and runs still, or was killed"


def _facts(day: JournaledDay) -> dict[str, Any]:
    facts = day.facts
    return {
        "session": {
            "date": facts.date.isoformat(),
            "venue": facts.venue,
            "host": facts.host,
            "symbols": list(day.symbols),
            "lot": float(facts.lot),
            "algo": facts.algo,
            "parameters": facts.options.get("parameters") or {},
            "source": facts.options.get("source"),
            "feed": facts.feed,
            "runs": [
                {
                    "run": run.run,
                    "started": new_york(run.started_at).isoformat(),
                    "ended": new_york(run.ended_at).isoformat() if run.ended_at else None,
                }
                for run in day.runs
            ],
        },
        "rejections": [
            {"symbol": one.symbol, "time": new_york(one.at).isoformat(), "kind": one.kind, "why": one.why}
            for one in day.rejections
        ],
        "versions": facts.versions,
    }
