"""One real session, from the first question to the last line.

startup         the account, the time, and the session once the market is open
startup_checks  what is asked before it, and what may be traded
trader          trades one day: streams, broker, fleet and what looks after them
hours           the session's clock and calendar
early_bars      bars that come before their time
history         the bars so far
checkups        what time alone makes due
past_fills      what was traded before the start, for the day's figures and the risk rules
closing_books   the broker's fees, and its cash beside ours
trip_watch      what is seen of a round trip beside its fills
winding_up      the end, early or after the close, and what is left then
jobs            the tasks of all these
listings        what the broker lists, and the executions of the day
start_listings  orders and positions when the bot starts
reconcile       listings and executions against the ledger
cache_warmup    keeps the caches of the exit warm
lock            one bot for one key
heartbeat       signs of life in the log
health          the same for watchers outside: a service manager, scalp.status
shutdown        Ctrl+C, SIGTERM, a terminal that is closed
console         the log: terminal and file
dashboard       the live view; screen draws it in a process of its own
keys            what is typed meanwhile; controls carries it out
notify          messages to a phone or a chat
"""
