"""A session written down, in SQLite.

schema          its tables, the view `trades`, and what brings an older file to them
recorder        the facts a session begins with, and which events become rows
writer          the rows, written by a thread of their own
reader          a day of it, as a backtest's results know days
brief           the same for sums over many days, read in a fraction of the time
month           what a month has brought so far
upkeep          a copy of the file, and letting go of old sessions
"""
