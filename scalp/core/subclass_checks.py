"""What a user's subclass of ScalpAlgo may look like: checked when the class is made, before anything is traded."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

HOOKS = ("_calculate_buy_signal", "_calculate_exit_price", "_calculate_quantity", "_calculate_exit_signal")
ALL_SIGNALS = "_calculate_buy_signals"  # a day's signals at once, for a backtest
OVERRIDABLE = (*HOOKS, ALL_SIGNALS, "exit_on_trades", "warmup_bars")
NEAR = 2  # letters: a name that differs from a hook's by so many or fewer is a slip of the pen


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


def check_hooks(cls: type[Any], base: type[Any]) -> frozenset[str]:
    """The names of the hooks of `base` that `cls` overrides.

    Raises TypeError for one that is no plain function, and for a name that looks like a hook's and is none.
    """
    for name in {name for one in cls.__mro__ if not issubclass(base, one) for name in vars(one)} - {*dir(base)}:
        near = next((hook for hook in OVERRIDABLE if 0 < letters_apart(name, hook) <= NEAR), "")
        if near and name not in OVERRIDABLE:
            raise TypeError(f"{cls.__name__}.{name} is never asked: did you mean {near}?")
    for name in HOOKS:
        hook = getattr(cls, name, None)
        if hook is None and not hasattr(cls, name):
            continue  # of `base` itself
        kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        if not callable(hook) or any(is_of(hook) for is_of in kinds):
            # What such a function returns is always truthy, and no number.
            raise TypeError(f"{cls.__name__}.{name} must be a plain function: no async, no yield")
    return frozenset(name for name in HOOKS if getattr(cls, name, None) is not getattr(base, name, None))


def check_all_signals(cls: type[Any], built_in: object) -> None:
    """Raises TypeError for a class that gives a day's signals at once but not the single one, which is what trades."""
    if ALL_SIGNALS in vars(cls) and cls._calculate_buy_signal is built_in:
        raise TypeError(f"{cls.__name__} defines {ALL_SIGNALS} alone: _calculate_buy_signal trades, define both")


def check_window(cls: type[Any], built_in: object) -> None:
    """Raises ValueError for a `window` that the built-in signal can't use."""
    if cls._calculate_buy_signal is built_in and not (isinstance(cls.window, int) and cls.window >= 1):
        raise ValueError(f"{cls.__name__}.window must be a whole number of bars, 1 or more, not {cls.window!r}")


def letters_apart(one: str, other: str) -> int:
    """How many letters to insert, delete or change to turn `one` into `other`; beyond `NEAR` not exact."""
    if abs(len(one) - len(other)) > NEAR:
        return NEAR + 1
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for place, their in enumerate(other, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (letter != their))
    return row[-1]
