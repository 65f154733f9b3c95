"""Reports on days from the journal: `python -m scalp.report`.

choice          which sessions are meant, and the list of them
one_day         one of them, also beside its backtest
months          many of them reported as one
page            one or many as a page with charts
speed           how long each link from a fill to its sell took
drift           each of them beside its backtest, and since when they part
diff            a day beside its backtest over the same bars
"""
