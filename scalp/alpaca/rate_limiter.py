"""How many requests Alpaca still takes in this minute, and who goes first when they get short."""

from __future__ import annotations

from collections.abc import Callable

from scalp.core.units import MINUTE, SECOND

DEFAULT_LIMIT = 200  # requests a minute and account, as documented; the answers' headers overrule it
ENTRY = 3  # a buy, its cancel, its exit
FIRST_PAUSE = SECOND


class RateLimiter:
    """Counts requests against the limit that the answers report.

    Exits and cancels never ask here: they always go. Questions about orders of unknown outcome need what exits and
    cancels may need to stay free; entries need their own exit and cancel on top; the rest leaves room for an entry.
    After a 429 all of these wait, for as long as it said, or for a second, then two, four, ... until one goes through.
    `reserve()` says how many requests the exits and cancels of what is open now may take; `longest_pause`, in seconds,
    caps what a 429 may ask for. Without `asks_by_id` questions are not allowed: one listing shows all orders.
    """

    def __init__(
        self,
        now: Callable[[], int],
        reserve: Callable[[], int],
        longest_pause: float = 60.0,
        asks_by_id: bool = True,
    ) -> None:
        self._now = now
        self._reserve = reserve
        self._longest_pause = round(longest_pause * SECOND)
        self._asks_by_id = asks_by_id
        self.limit = DEFAULT_LIMIT
        self._remaining = DEFAULT_LIMIT
        self._resets_at = 0  # ns; 0: a window has not begun
        self._told_reset = 0.0
        self._in_flight = 0
        self._pause = FIRST_PAUSE  # ns, after the next 429 that does not say how long
        self._paused_until = 0

    @property
    def remaining(self) -> int:
        """Requests left in this minute."""
        self._roll()
        return self._remaining

    @property
    def resets_in(self) -> float:
        """Seconds until the limit is fresh again."""
        return max(0.0, (self._resets_at - self._now()) / SECOND)

    def sent(self) -> None:
        """A request goes out."""
        self._remaining = self.remaining - 1
        self._in_flight += 1

    def answered(self) -> None:
        self._in_flight -= 1

    def on_rate_limit(self, limit: int, remaining: int, reset: float) -> None:
        """What an answer said; `reset` in epoch seconds. Requests still under way are not in its count."""
        self.limit = limit
        if reset * SECOND <= self._now() or reset < self._told_reset:
            return  # a late answer: its minute is over
        if reset != self._told_reset:
            # No window is longer than a minute, whatever a header says.
            self._told_reset = min(reset, (self._now() + MINUTE) / SECOND)
            self._resets_at = int(self._told_reset * SECOND)
            self._remaining = limit
        self._remaining = min(self._remaining, remaining - self._in_flight + 1)

    def refused(self, retry_after: float | None) -> None:
        """The broker said 429, and maybe for how many seconds: no longer than until the limit is fresh."""
        self._roll()
        now = self._now()
        if retry_after:
            pause = round(min(retry_after, MINUTE / SECOND) * SECOND)
        elif now >= self._paused_until:
            pause, self._pause = self._pause, self._pause * 2
        else:
            return  # one of several that were under way
        pause = min(pause, self._longest_pause)
        self._paused_until = max(self._paused_until, now + min(pause, max(self._resets_at - now, FIRST_PAUSE)))

    def went_through(self) -> None:
        """The broker took a request: the next 429 counts as the first again."""
        self._pause = FIRST_PAUSE

    @property
    def _is_paused(self) -> bool:
        # Nothing pauses for longer than a minute: what is further ahead comes from a clock that was put back.
        return 0 < self._paused_until - self._now() <= MINUTE

    def _roll(self) -> None:
        """Begin a new minute when the last one is over."""
        if self._now() >= self._resets_at:
            self._remaining = self.limit
            self._resets_at = self._now() + MINUTE

    @property
    def has_plenty(self) -> bool:
        """More than half is left, and more than exits may need: by-id questions after a buy are affordable."""
        return not self._is_paused and self.remaining > max(self.limit // 2, self._reserve())

    @property
    def spare(self) -> int:
        """Requests beyond half of the minute's, and beyond what exits may need."""
        return max(self.remaining - max(self.limit // 2, self._reserve()), 0)

    @property
    def allows_question(self) -> bool:
        return self._asks_by_id and not self._is_paused and self.remaining > self._reserve()

    @property
    def allows_entry(self) -> bool:
        return not self._is_paused and self.remaining >= self._reserve() + ENTRY

    @property
    def allows_rest(self) -> bool:
        return not self._is_paused and self.remaining > self._reserve() + ENTRY
