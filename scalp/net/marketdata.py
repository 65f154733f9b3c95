"""What the feeds share: the health of each channel, halts, and bars that were lost on the way."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from scalp.core.market_data import Bar, Halt, Trade
from scalp.core.ports import MarketDataSink, never
from scalp.net.printable import NO_MASK, Mask
from scalp.net.stream import Frame, LoginRefused, Patience, ReconnectingStream

STALE_AFTER = 150.0  # seconds of an open session without any message, without bars or without trades
MINUTES_ALONE = 3  # minutes of bars without a trade between them until the trades channel counts as dead


class MarketDataStream(ReconnectingStream):
    """Delivers bars, trades and halts of `symbols` to `sink`.

    Trades that flow don't vouch for bars, nor bars for trades. While trades come and bars don't, it reconnects, and
    the sink learns that the feed is up only with the first bar. While bars come and trades don't, none of them
    counts as streamed.
    """

    def __init__(
        self,
        name: str,
        url: str,
        symbols: Sequence[str],
        sink: MarketDataSink,
        rng: random.Random,
        expect_messages: Callable[[], bool],
        is_final: Callable[[LoginRefused], Awaitable[bool]] = never,
        mask: Mask = NO_MASK,
    ) -> None:
        super().__init__(
            name, url, rng, stale_after=STALE_AFTER, expect_messages=expect_messages, is_final=is_final, mask=mask
        )
        self._symbols = list(symbols)
        self._watched = frozenset(symbols)
        self._sink = sink
        self._halted_at: dict[str, int] = {}  # ns, by halted symbol
        self._heard_now: set[str] = set()  # channels of the frame at hand
        self._no_bars, self._no_trades = Patience(STALE_AFTER), Patience(STALE_AFTER)
        self._awaits_bar = False  # a trade came, and no bar since
        self._minutes_alone = 0  # of bars, since the last trade
        self._newest_minute = 0  # of all bars of this connection
        self._lacks_bars = self._lacks_trades = False
        self._is_told_up = False

    # What a subclass says.

    def _grants_bars(self, symbol: str) -> bool:
        """Whether the server said that it sends bars of `symbol`."""
        raise NotImplementedError

    def _grants_trades(self, symbol: str) -> bool:
        raise NotImplementedError

    # What everybody sees.

    def streams_trades(self, symbol: str) -> bool:
        """Whether the trades of `symbol` come (known once subscribed)."""
        return not self._lacks_trades and self._grants_trades(symbol)

    def on_message(self, frame: Frame) -> None:
        super().on_message(frame)
        if self._heard_now and self.heard_at is not None:
            self.heard.update(dict.fromkeys(self._heard_now, self.heard_at))
            self._heard_now.clear()

    # For subclasses: what came for a watched symbol.

    def _hear_print(self) -> None:
        """Any print, whether or not it counts as last sale."""
        self._heard_now.add("trades")
        if self._minutes_alone or self._lacks_trades:
            self._minutes_alone, self._lacks_trades = 0, False
            self._no_trades.stirs()

    def _tell_trade(self, trade: Trade) -> None:
        """A print that counts as last sale: a bar of its minute has to follow."""
        if not self._awaits_bar:
            self._awaits_bar = self._grants_bars(trade.symbol)
        self._sink.on_trade(trade)

    def _tell_bar(self, bar: Bar, is_update: bool = False) -> None:
        """A bar, or a better one of a minute that was reported before."""
        if bar.start > self._halted_at.get(bar.symbol, bar.start):
            # The message that trading goes on was lost with a connection; a minute that traded shows as much.
            self._tell_halt(Halt(bar.symbol, bar.start, False, ""))
        if is_update:
            self._awaits_bar = True  # there is no update without a bar: that one is missing
        else:
            self._hear_bar(bar)
        self._sink.on_bar(bar)

    def _hear_bar(self, bar: Bar) -> None:
        self._heard_now.add("bars")
        self._awaits_bar = False
        self._no_bars.stirs()
        if bar.start > self._newest_minute:
            self._newest_minute = bar.start
            if self._grants_trades(bar.symbol):
                self._minutes_alone += 1
        if self._lacks_bars:
            self._lacks_bars = False
            if self.is_up:
                self.log.info("%s: bars come again", self.name)
                self._tell_up()

    def _tell_halt(self, halt: Halt) -> None:
        self._heard_now.add("statuses")
        if halt.halted:
            self._halted_at[halt.symbol] = halt.at
        else:
            self._halted_at.pop(halt.symbol, None)
        self._sink.on_halt(halt)

    def _lose_bar(self, symbol: str) -> None:
        """A bar of `symbol` ("": of any) could not be used."""
        for lost in self._watched if not symbol else self._watched & {symbol}:
            self._sink.on_gap(lost)

    def _not_understood(self, error: Exception, raw: Frame | msgspec.Raw) -> None:
        """A message, or a whole frame, that was not understood, and may have held bars."""
        self._frame_trouble(error)
        try:
            message: Any = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._lose_bar("")
            return
        if isinstance(message, dict) and (message.get("T") == "b" or message.get("ev") == "AM"):
            symbol = message.get("S", message.get("sym"))
            self._lose_bar(symbol if isinstance(symbol, str) else "")

    # Health.

    def _find_stale(self, passed: float) -> str:
        why = super()._find_stale(passed)
        if not passed:
            self._begin_anew()
        elif self._awaits_bar and self._no_bars.is_over(passed):
            self._lacks_bars = True
            why = f"trades come, and no bars for {self._no_bars.rested:.0f} s"
        elif self._minutes_alone and self._no_trades.is_over(passed) and self._minutes_alone >= MINUTES_ALONE:
            self._lacks_trades = True
            why = f"bars come, and no trades for {self._no_trades.rested:.0f} s"
        return why

    def _begin_anew(self) -> None:
        """Forget what came so far: it makes nothing else due."""
        self._awaits_bar = False
        self._minutes_alone = self._newest_minute = 0
        self._no_bars.begin_anew()
        self._no_trades.begin_anew()

    def _on_up(self) -> None:
        self._begin_anew()
        if self._lacks_bars:
            self.log.warning("%s: no buys until bars come", self.name)
        else:
            self._tell_up()

    def _tell_up(self) -> None:
        self._is_told_up = True
        self._sink.on_feed_up()

    def _on_down(self, why: str) -> None:
        if self._is_told_up:
            self._is_told_up = False
            self._sink.on_feed_down(why)
