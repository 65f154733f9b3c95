"""A session for sums over many of them: what `JournaledDay` gives, read in a fraction of its time."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from functools import cached_property

from scalp.core.decimals import ZERO
from scalp.core.market_data import Bar
from scalp.core.order_state import LOST, Order
from scalp.core.orders import OrderReport
from scalp.journal.reader import JournaledDay
from scalp.results.symbol_day import SymbolDay


class BriefDay(JournaledDay):
    """Reads no order updates: fills are as they were written down, and of an order only what it filled is known.

    An order without a fill counts as ended.
    """

    @cached_property
    def _updates(self) -> list[tuple[int, OrderReport]]:
        return []

    @cached_property
    def _bars(self) -> dict[str, list[Bar]]:
        """Of the regular session; those fetched afterwards come last, and fill the gaps."""
        first: dict[str, dict[int, Bar]] = {symbol: {} for symbol in self.symbols}
        columns = "symbol, start, open, high, low, close, volume"
        within = f"start >= {self.session.open} AND start < {self.session.close}"
        for row in self._connection.execute(
            f"SELECT {columns} FROM bars WHERE run IN ({self._ids}) AND {within} ORDER BY is_history, run, rowid"
        ):
            if (of_symbol := first.get(row[0])) is not None and row[1] not in of_symbol and None not in row:
                of_symbol[row[1]] = Bar(*row)
        return {symbol: [bars[start] for start in sorted(bars)] for symbol, bars in first.items()}

    def bars(self, symbol: str) -> list[Bar]:
        return self._bars[symbol]

    @cached_property
    def _orders(self) -> dict[str, list[Order]]:
        filled: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        found: dict[str, Order] = {}
        sent = "SELECT at, symbol, client_order_id, side, type, qty FROM orders"
        for at, symbol, key, side, kind, qty in self._rows(sent, "action = 'submit'"):
            found.setdefault(key, Order(symbol, key, "", side, kind, LOST, Decimal(qty), None, at, True))
        for at, symbol, key, order_id, side, kind, qty in self._rows(
            "SELECT coalesce(happened_at, at), symbol, client_order_id, id, side, type, qty FROM fills"
        ):
            key = key or order_id or ""
            filled[key] += Decimal(qty)
            found.setdefault(key, Order(symbol, key, order_id or "", side, kind, LOST, None, None, at, False))
        for key, qty in filled.items():
            found[key].filled_qty = qty
        by_symbol: dict[str, list[Order]] = {symbol: [] for symbol in self.symbols}
        for order in sorted(found.values(), key=lambda order: order.submitted_at):
            if order.symbol in by_symbol:
                by_symbol[order.symbol].append(order)
        return by_symbol

    def orders(self, symbol: str) -> list[Order]:
        return self._orders[symbol]

    def without_bars(self) -> list[SymbolDay]:
        """The same for what looks at trades and money alone."""
        return [SymbolDay(symbol, self.session, 0, self.fills[symbol], [], [], None) for symbol in self.symbols]
