"""The broker Alpaca. Nothing here decides about trading.

account         what all of this is made from: the port `Account`
rest            REST, without blocking the loop
broker          performs commands: sends, asks, waits
rate_limiter    how many requests are left, and who goes first
updates         the stream of order updates
activities      what was executed and transferred, the second witness
feed            its market data
decode          its JSON as our own types
"""
