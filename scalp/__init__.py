"""A small live scalper for the Alpaca API; see README.md. Custom signals need ScalpAlgo and Bar alone.

The map: a room a line, four floors, and each imports only what lies below.

    __main__    main.py, by another name
    doctor      is everything in place to trade
    flatten     sells everything when the bot is dead
    notify      do messages of main.py reach a phone
    report      days from the journal, and beside their backtest
    status      is the bot alive, and what does it hold
    sweep       a backtest for many sets of parameters

    live        one real session
    backtest    the same core over history

    alpaca      the broker: REST, order updates, market data
    polygon     the other feed
    exchange    the built-in exchange
    journal     a session written down, and read again
    results     statistics, tables and the page

    cli         what a user says: arguments, file, environment, his own class, feed and broker
    net         connections, and loops with a time of their own
    core        decides: events in, actions out
"""

import sys

from scalp.core import algo
from scalp.core.algo import ScalpAlgo
from scalp.core.market_data import Bar

__all__ = ["Bar", "ScalpAlgo"]

# Journals and tables name the class so, and so may `--algo`: the name outlives the move of the file.
ScalpAlgo.__module__ = "scalp.algo"
sys.modules[ScalpAlgo.__module__] = algo
