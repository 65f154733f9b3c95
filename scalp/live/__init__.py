"""One real session, from the first question to the last line.

    session         one day: streams, broker, fleet and what looks after them
    opening         what is asked before it
    hours           the session's clock and calendar
    history         the bars so far
    reconcile       listings and executions against the ledger
    rehearsal       keeps the exit warm
    lock            one bot for one key
    heartbeat       signs of life
    stopping        Ctrl+C, SIGTERM, a terminal that is closed
    console         the log: terminal and file
    dashboard       the live view; screen draws it in a process of its own
    notify          tells a phone or a chat
"""
