"""A session written down, in SQLite.

schema          its tables, the view `trades`, and what brings an older file to them
recorder        the facts a session begins with, and who tells the journal what
writer          the rows, written by a thread of their own
reader          a day of it, as a backtest's results know days
"""
