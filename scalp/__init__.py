"""A small live scalper for the Alpaca API; see README.md. Custom signals need these names alone."""

import sys

from scalp.core import algo
from scalp.core.algo import ScalpAlgo
from scalp.core.messages import Bar

__all__ = ["Bar", "ScalpAlgo"]

# Journals and tables name the class so, and so may `--algo`: the name outlives the move of the file.
ScalpAlgo.__module__ = "scalp.algo"
sys.modules[ScalpAlgo.__module__] = algo
