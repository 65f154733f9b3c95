"""The results of sessions and backtests.

symbol_day      what one symbol did on one day
statistics      the ratios by which trades and days are compared
totals          trades, and what they come to per symbol, per day and in all
verdict         whether it is better than chance, in one sentence
selection       whether the best of many is
trials          all sets that were ever tried on the same bars
columns         which numbers are shown, and how they are called and written
session_table   the table at the end of a session
html            the page with charts
"""
