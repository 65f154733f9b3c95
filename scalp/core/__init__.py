"""What decides: one symbol's state machine, its ledger and its exits, and all symbols together.

Events go in, actions come out. Nothing here waits, opens a socket or a file, asks for the time of day, or imports
another room.

    messages        what goes in (bars, trades, reports) and what comes out (orders, cancels, questions)
    algo            one symbol's states, its signal and its buys
    exits           the plan for what is held
    ledger          orders and position
    evidence        what listings are worth beside executions
    last_trade      the newest price, by exchange time
    bars            today's bars, as a signal reads them
    fleet           all symbols together: who an event belongs to, what they share
    rails, limits   the risk rails and their limits
    clock           exchange time and the session
    prices, trades  ticks and exact prices; fills and round trips
    lines           log lines that wait until the actions are out
    ports           what the core and the streams need of whoever is above them
    errors          by whose fault, and by what is known
"""
