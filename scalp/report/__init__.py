"""A day from the journal, told afterwards: `python -m scalp.report`.

speed           what came of each link from a fill to its sell
diff            that day beside its backtest over the same bars
"""
