"""The built-in exchange: a deterministic simulation of Alpaca and Polygon, behind a wire server or called directly.

orders, account, rules   what is traded, who owns what, which orders are refused
charges                  the fees of a day
fills, matching          the fill model, and the engine that applies it: what a client can do
floor, venue             below it the orders that have arrived; time, prints and halts
stops, groups            stop and trailing orders; bracket, OCO and OTO
market, replay, path     where the bars come from, and the prints inside a bar
kept_columns             files of bars that were read before
tape, simulation         the day as it passes, together with the engine
wire, rest               Alpaca's and Polygon's words; requests and answers
rest_data, rest_polygon  market data over REST; portfolio: the account's; what follows from the day is in derived
streams, server          the three streams; everything on sockets
faults                   what can go wrong on purpose
calendar                 trading days
demo, __main__           in the bot's own process; in a process of its own
"""
