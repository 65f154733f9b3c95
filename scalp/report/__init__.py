"""A day from the journal, told afterwards: `python -m scalp.report`.

    diff            that day beside its backtest over the same bars
"""
