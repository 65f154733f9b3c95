"""A small live scalper for the Alpaca API; see README.md. Custom signals need these names alone."""

from scalp.algo import ScalpAlgo
from scalp.messages import Bar

__all__ = ["Bar", "ScalpAlgo"]
