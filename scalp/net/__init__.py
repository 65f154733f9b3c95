"""What moves bytes: connections, and event loops with a time of their own. Nothing here knows a broker's words.

transport       HTTP requests and their answers
backoff         how long to wait before the next try
order_connections   connections for orders alone, with nothing queued before an exit
websocket       one websocket connection
stream          a connection that keeps itself open
marketdata      what the feeds share
printable       text from outside, without keys, fit to be shown
virtual_time    virtual and scaled time
"""
