"""Days from the journal, told afterwards: `python -m scalp.report`.

choice          which sessions are meant, and the list of them
one_day         one of them, also beside its backtest
months          many of them told as one
page            they as one page with charts
speed           what came of each link from a fill to its sell
drift           each of them beside its backtest, and since when they part
diff            a day beside its backtest over the same bars
"""
