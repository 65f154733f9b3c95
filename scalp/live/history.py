"""Today's bars so far and those of a gap: asked for until they are settled, and no buys before.

A buy signal counts only over minutes that are settled. A hole in the bars of a symbol (the start, a reconnection, a bar
that could not be used) is settled once its newest minute is accounted for: by the source, by the stream where no minute
before it is missing, or by a latest trade which is so old that nothing can have been traded since. A hole that nobody
settles within a minute, or that the plan does not allow to ask for, is left behind: buys go on when so many new bars
have come that the signal looks at those alone, or when the source settles it after all. Exits wait for none of this,
and fetched bars never lead to a trade.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import groupby
from typing import Any

from scalp.core.clock import MarketClock
from scalp.core.errors import OutcomeUnknown, Rejected, Unreachable, UserError
from scalp.core.fleet import Fleet
from scalp.core.market_data import Bar
from scalp.core.ports import Feed
from scalp.core.units import HOUR, MINUTE, SECOND
from scalp.core.words import counted
from scalp.net.backoff import Backoff

log = logging.getLogger("scalp.main")

ASKED_LATE_FOR = 300.0  # seconds: a source may still answer before enough new bars have come
SETTLE_WITHIN = 60.0  # seconds
AFTER_TROUBLE = (5.0, 60.0)  # seconds between two rounds of questions: the first wait, doubling up to the longest
NOT_LISTED_YET = (3.0, 15.0)  # the same where only the newest minutes are missing
PACE = 2.0  # seconds between two rounds at least
OVERLAP = 3 * MINUTE  # before the last bar that came
TURN = 2 * SECOND  # a minute that ends so soon is one of the hole: its bar may be on its way already
HALF_MINUTE = 30 * SECOND  # a bar comes at most so long after its minute
NOT_HERE_YET = "today's bars are not here yet"
LOUD_NAMES = 20  # up to so many symbols are listed in one line
# Words of a refusal that no other attempt would cure.
PLAN_WORDS = ("not entitled", "does not permit", "not authorized")


class _Hole:
    """Minutes of one symbol that are not settled: from `since` to `until`, from where on the stream has them (ns)."""

    def __init__(self, since: int, until: int, deadline: float, is_answered: bool, is_first: bool) -> None:
        self.since = since // MINUTE * MINUTE
        self.until = until  # 0: not known yet
        self.deadline = deadline  # loop time
        self.told = self.since - MINUTE  # start of the newest minute up to which everything was reported
        self.is_answered = is_answered  # the source answered with what it has
        self.is_first = is_first  # no bar is known but those that came on the stream since
        self.is_late = False  # it was not settled in time: buys wait for new bars, or for the source after all
        self.is_given_up = False  # it is not asked for any more
        self.asked_trades = False
        self.newest = 0  # minute of the stream's newest bar since
        self.new_bars = 0  # that came on the stream, from the last minute of the hole on

    @property
    def asked_since(self) -> int:
        """The first minute to ask for; once it was answered, reported minutes are not asked for again."""
        return self.told + MINUTE if self.is_answered else self.since

    @property
    def is_settled(self) -> bool:
        # Where no minute is missing at all, the source is asked once all the same.
        return self.until > 0 and self.told >= self.until - MINUTE and (self.is_answered or self.until > self.since)


class History:
    """Fills the holes in the bars of `fleet` from `feed`, and forbids buys in a symbol while it has one.

    `start` starts a task whose failure is not lost; `hear_clock` asks for the time, unless that was just done.
    """

    def __init__(
        self,
        fleet: Fleet,
        feed: Feed,
        clock: MarketClock,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        hear_clock: Callable[[], Awaitable[object]],
    ) -> None:
        self._fleet = fleet
        self._feed = feed
        self._clock = clock
        self._start = start
        self._hear_clock = hear_clock
        self._loop = asyncio.get_running_loop()
        self._holes: dict[str, _Hole] = {}
        self._job: asyncio.Task[None] | None = None
        self._lost_at = 0  # when the last bar came before the feed went down, ns

    def begin(self) -> None:
        """Nothing is bought before today's bars are here."""
        self._fleet.block_entries("history", NOT_HERE_YET)

    # -- what the streams report --------------------------------------------------------------------------------------

    def on_feed_up(self) -> None:
        session = self._fleet.session
        assert session is not None
        since = max(session.open, self._lost_at - OVERLAP)
        for symbol, algo in self._fleet.algos.items():
            algo.asks_last_trade = not self._feed.streams_trades(symbol)
            self._open(symbol, since, 0)
        if self._job is not None:
            self._job.cancel()
        self._job = self._start(self._fill(is_connected_anew=True))

    def on_feed_down(self) -> None:
        heard_at = self._feed.heard.get("bars")
        ago = 0.0 if heard_at is None else self._loop.time() - heard_at
        self._lost_at = self._clock.now() - round(ago * SECOND)

    def on_gap(self, symbol: str) -> None:
        """A bar of `symbol` came that could not be used: of the minute that ended last, or is about to end."""
        session = self._fleet.session
        if session is None or symbol not in self._fleet.algos:
            return
        now = self._clock.now()
        until = min((now + HALF_MINUTE) // MINUTE * MINUTE, session.close)
        since = max(session.open, now // MINUTE * MINUTE - MINUTE)
        if until <= since:
            return
        self._open(symbol, since, until)
        self._look(symbol)
        if symbol in self._holes and (self._job is None or self._job.done()):
            self._job = self._start(self._fill())

    def on_bar(self, bar: Bar) -> None:
        """A bar of the stream, before it reaches its symbol."""
        hole = self._holes.get(bar.symbol)
        if hole is None or bar.start > self._clock.now():
            return
        if bar.start == hole.told + MINUTE:
            hole.told = bar.start
        if hole.until and bar.start >= hole.until - MINUTE and bar.start > hole.newest:
            hole.newest = bar.start
            hole.new_bars += 1
        self._look(bar.symbol)

    # -- holes --------------------------------------------------------------------------------------------------------

    def _open(self, symbol: str, since: int, until: int) -> None:
        """Open a hole; it is merged with one that is open already. `until` 0: not known yet."""
        algo, old = self._fleet.algos[symbol], self._holes.get(symbol)
        is_answered = False
        if old is not None:
            since = min(since, old.told + MINUTE)
            is_answered = old.is_answered and until > 0
            until = max(until, old.until) if until and old.until else 0
        deadline = self._loop.time() + SETTLE_WITHIN
        self._holes[symbol] = _Hole(since, until, deadline, is_answered, is_first=not algo.session_bars)
        algo.entry_blocks.block("history", NOT_HERE_YET)

    def _look(self, symbol: str) -> None:
        """Block or allow buys by the state of the hole; drop it once it is settled, or left behind."""
        hole, algo = self._holes.get(symbol), self._fleet.algos[symbol]
        if hole is None:
            return
        while hole.told + MINUTE < hole.until and algo.session_bars.has(hole.told + MINUTE):
            hole.told += MINUTE
        is_late = hole.is_late or hole.is_given_up or self._loop.time() >= hole.deadline
        # Where all that is known came since, the signal looks at nothing else.
        is_first = hole.is_first and (hole.is_answered or hole.is_given_up)
        if hole.is_settled or (is_late and (is_first or hole.new_bars >= algo.warmup_bars)):
            del self._holes[symbol]
            algo.entry_blocks.unblock("history")
        elif is_first:
            algo.entry_blocks.unblock("history")
        elif is_late:
            algo.entry_blocks.block("history", f"a hole in today's bars: {algo.warmup_bars} new ones have to come")
        else:
            algo.entry_blocks.block("history", NOT_HERE_YET)

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _fill(self, is_connected_anew: bool = False) -> None:
        """Ask until every hole is settled or given up."""
        if is_connected_anew:
            # After a machine has slept its streams are the first to know, and the gap ends later than it thinks.
            await self._hear_clock()
            self._end_holes()
        trouble, not_listed = Backoff(*AFTER_TROUBLE), Backoff(*NOT_LISTED_YET)
        is_told = False
        while any(not hole.is_given_up for hole in self._holes.values()):
            asked = [symbol for symbol, hole in self._holes.items() if self._may_be_listed(hole)]
            words = await self._ask(asked)
            unanswered = [symbol for symbol in asked if not self._is_answered(symbol)]
            if asked and not unanswered and not is_told:
                is_told = True
                self._tell()
            await self._ask_trades()
            self._give_up()
            open_ones = [hole for hole in self._holes.values() if not hole.is_given_up]
            if unanswered:
                why = words or f"nothing came of {_named(unanswered)}"
                log.warning("today's bars: %s; again in %.0f s", why, trouble.pause)
                await trouble.wait()
            elif open_ones:
                now = self._loop.time()
                left = min(hole.deadline + (ASKED_LATE_FOR if hole.is_late else 0.0) for hole in open_ones) - now
                await asyncio.sleep(max(min(not_listed.next(), left), PACE))

    def _may_be_listed(self, hole: _Hole) -> bool:
        """Whether the source can have news of it: a missing minute has ended, or none is missing."""
        has_ended = hole.told + 2 * MINUTE <= self._clock.now()
        return not hole.is_given_up and (has_ended or hole.until <= hole.since)

    def _end_holes(self) -> None:
        """From here on the stream has every minute."""
        session = self._fleet.session
        assert session is not None
        until = min((self._clock.now() + TURN) // MINUTE * MINUTE, session.close)
        for symbol, hole in list(self._holes.items()):
            hole.until = hole.until or max(until, hole.since)
            self._look(symbol)

    async def _ask(self, symbols: Sequence[str]) -> str:
        """Ask for the bars of all `symbols` once; returns the trouble there was, in words."""
        trouble = ""
        since = {symbol: self._holes[symbol].asked_since for symbol in symbols}
        # Symbols whose holes began in the same hour are asked for together: the answer begins with the earliest.
        for _, group in groupby(sorted(symbols, key=since.__getitem__), lambda symbol: since[symbol] // HOUR):
            wanted = [symbol for symbol in group if symbol in self._holes]
            if not wanted:
                continue
            try:
                async for symbol, bars in self._feed.history(wanted, since[wanted[0]], self._clock.now()):
                    self._take(symbol, bars)
            except (UserError, Rejected) as error:
                if isinstance(error, Rejected) and not any(word in str(error).lower() for word in PLAN_WORDS):
                    trouble = str(error)
                    continue
                log.warning("today's bars so far cannot be had (%s): going on with those that come", error)
                for symbol in wanted:
                    if not self._is_answered(symbol):
                        self._holes[symbol].is_given_up = True
                        self._look(symbol)
            except (Unreachable, OutcomeUnknown) as error:
                trouble = str(error)
        return trouble

    def _take(self, symbol: str, bars: Sequence[Bar]) -> None:
        self._fleet.on_history(symbol, bars)
        hole = self._holes.get(symbol)
        if hole is not None:
            hole.is_answered = True
            hole.is_first = hole.is_first and not bars
            hole.told = max([hole.told, *(bar.start for bar in bars)])
            self._look(symbol)

    def _is_answered(self, symbol: str) -> bool:
        hole = self._holes.get(symbol)
        return hole is None or hole.is_answered or hole.is_given_up

    async def _ask_trades(self) -> None:
        """Where the newest minutes are not listed: nothing was traded in them, if the latest trade is older."""
        now = self._clock.now()
        symbols = [
            symbol
            for symbol, hole in self._holes.items()
            # Not at once: a source that is late with bars may be late with trades.
            if hole.is_answered and not hole.asked_trades and not hole.is_given_up and now >= hole.until + HALF_MINUTE
        ]
        if not symbols:
            return
        for symbol in symbols:
            self._holes[symbol].asked_trades = True
        try:
            trades = await self._feed.latest_trades(symbols)
        except (UserError, Rejected, Unreachable, OutcomeUnknown) as error:
            log.debug("no latest trades: %s", error)
            return
        for symbol, trade in trades.items():
            hole, algo = self._holes.get(symbol), self._fleet.algos.get(symbol)
            # One from before the newest bar is not the latest: its source is late.
            if hole is not None and algo is not None and algo.session_bars.last_start <= trade.at < hole.told + MINUTE:
                hole.told = max(hole.told, hole.until - MINUTE)
                self._look(symbol)

    def _give_up(self) -> None:
        """Leave behind what the source does not list in time; what it has not answered at all is asked for again."""
        now = self._loop.time()
        late = {symbol: hole for symbol, hole in self._holes.items() if now >= hole.deadline}
        unlisted = [symbol for symbol, hole in late.items() if hole.is_answered and not hole.is_late]
        for symbol, hole in late.items():
            hole.is_late = hole.is_late or hole.is_answered
            hole.is_given_up = hole.is_given_up or (hole.is_answered and now >= hole.deadline + ASKED_LATE_FOR)
            self._look(symbol)
        if names := _named([symbol for symbol in unlisted if symbol in self._holes]):
            log.warning("the newest bars of %s are not listed: no buys before enough new ones have come", names)

    def _tell(self) -> None:
        counts = [len(algo.session_bars) for algo in self._fleet.algos.values()]
        of = counted(len(counts), "symbol")
        log.info("bars of today: %s, %d to %d minutes each", of, min(counts), max(counts))


def _named(symbols: Sequence[str]) -> str:
    return ", ".join(symbols) if len(symbols) <= LOUD_NAMES else f"{len(symbols)} symbols"
