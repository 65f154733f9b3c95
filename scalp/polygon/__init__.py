"""The other source of market data: Polygon, now Massive.

feed            its stream and its history
"""
