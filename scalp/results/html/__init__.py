"""One self-contained HTML page that shows what a backtest or a live session did; it opens without a network.

contents        what goes in: bars, trades, orders that ended, the profit over time, numbers and assumptions
payload         the same as compact JSON, which the page draws on demand
page            the page: markup, data and the plotting library in one string
report.js       draws the charts and fills and sorts the table of trades
report.css      light or dark, as the reader's system is set
"""

from scalp.results.html.contents import Cell, DaySum, Line, Markout, OrderEnd, Report, Table
from scalp.results.html.page import write_html
from scalp.results.symbol_day import Stopped

__all__ = ["Cell", "DaySum", "Line", "Markout", "OrderEnd", "Report", "Stopped", "Table", "write_html"]
