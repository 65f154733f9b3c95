"""The algo that trades live, over history: the same ScalpAlgo, Ledger and Fleet on a virtual clock.

settings        the arguments of `python -m scalp.backtest`
history         which days are played, and where their bars come from
download        history of Polygon or Alpaca, kept in the cache folder
run             the days, one after the other
signals         what the buy signal says after each bar of a day
luck            whether the result is better than chance
tried           a backtest as one of the sets tried on its bars
days            one day of a fleet: what goes into it
bar_rules       --fills bar: everything happens at the turn of a minute
engine_rules    all other fills: the matching engine of the built-in exchange, called directly
engine_leaps    the same, from one minute in which something can happen to the next
output          the table, the JSON object and the CSV file
html            the page with charts
"""
