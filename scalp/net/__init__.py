"""What moves bytes: connections, and the loops whose time they run on. Nothing here knows a broker's words.

transport       HTTP requests and their answers
backoff         how long to wait before the next try
lane            the connections of orders alone, with nothing queued before an exit
websocket       one websocket connection
stream          a connection that keeps itself open
marketdata      what the feeds share
loops           virtual and scaled time
"""
