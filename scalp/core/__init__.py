"""What decides: one symbol's state machine, its ledger and its exits, and all symbols together.

Events go in, actions come out. Nothing here waits, opens a socket or a file, asks for the time of day, or imports
another room.

    market_data     what the feeds report: bars, trades, corrections, halts
    orders          what the broker reports: orders and positions
    commands        what comes out: orders, cancels, questions
    units           the units of exchange time
    algo            one symbol's states, its signal and its buys
    subclass_checks what a user's subclass of it may look like
    following       which of its orders it follows
    order_builder   orders before they are sent: ids and terms
    working_buys    buys that work, cancelled when they are old
    telling         what it reports: events and log lines
    hooks           what a user's class may override beside the buy signal
    exits           the plan for the shares held
    stops           where the stop loss stands, and when it moves
    cover           buying back shares sold too many
    cancels         cancels, and when they are asked for again
    order_state     what is known of one order and its group
    order_registry  all orders known in a symbol
    ledger          these and the position
    evidence        what listings are worth beside executions
    tape            the last trade and the prints before it, by exchange time
    bars            today's bars
    frame           the same as a DataFrame, for a signal
    fleet           all symbols together: market data to its algo, what is done to all
    order_router    what the broker reports, to its algo; and whether an order may go out
    dispatcher      into an algo and out of it: one event whole, then its actions, then the listeners
    early_updates   order updates from before the first listing
    leftovers       what is left to do or to hold
    entry_blocks    why a symbol must not be bought
    readiness       whether the bot sees enough to buy
    reservation     the requests that are kept for exits and cancels
    exit_times      when the exit plans are due
    risk_limits     the limits a user may set
    risk_rules      what they forbid and what they call for
    risk_watch      carrying out the rules
    clock           exchange time and the session
    decimals        numbers from outside, exact and bounded
    prices, trades  ticks and exact prices; fills and round trips
    fees, takings   what executions cost beside the price; what the day brought after that
    events          what the core reports beside the actions: one struct for each kind
    bus             their way to the listeners: events wait until the actions are out
    recording       events about orders and positions, to be written down
    log             events as lines of the log
    ports           what the core and the streams need from the layers above them
    words           numbers in sentences
    errors          the errors, by whose fault and by what is known
"""
