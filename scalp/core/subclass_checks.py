"""What a user's subclass of ScalpAlgo may look like: checked when the class is made, before anything is traded."""

from __future__ import annotations

import inspect
import warnings
from typing import Any


def take_old_name(cls: type[Any]) -> None:
    """A signal by the name `_calc_buy_signal` is taken as `_calculate_buy_signal`, with a warning.

    Raises TypeError where a class defines both.
    """
    own = vars(cls)
    if "_calc_buy_signal" not in own:
        return
    if "_calculate_buy_signal" in own:
        raise TypeError(f"{cls.__name__} defines _calculate_buy_signal and _calc_buy_signal: keep the first")
    text = f"{cls.__name__}._calc_buy_signal is taken as _calculate_buy_signal"
    warnings.warn(text, stacklevel=3)  # at the class statement
    cls._calculate_buy_signal = own["_calc_buy_signal"]


def check_signal(cls: type[Any], built_in: object) -> None:
    """Raises TypeError for a signal that would buy on every bar, ValueError for a `window` `built_in` can't use."""
    signal = cls._calculate_buy_signal
    if inspect.iscoroutinefunction(signal) or inspect.isgeneratorfunction(signal) or inspect.isasyncgenfunction(signal):
        # What such a function returns is always truthy.
        raise TypeError(f"{cls.__name__}._calculate_buy_signal must be a plain function: no async, no yield")
    if signal is built_in and not (isinstance(cls.window, int) and cls.window >= 1):
        raise ValueError(f"{cls.__name__}.window must be a whole number of bars, 1 or more, not {cls.window!r}")
