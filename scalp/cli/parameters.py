"""`--set`: class attributes of the algo's class; in a sweep with many values each, and the lot too."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

from scalp.cli.settings import read_lot
from scalp.core.algo import ScalpAlgo
from scalp.core.errors import UserError

LOT = "lot"
TYPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Decimal: "a decimal number",
}  # the types an attribute may have, and what errors call their values

Values = tuple[Any, ...]  # of one set, in the order of the names


def declared(algo_class: type[ScalpAlgo]) -> dict[str, type]:
    """The parameters of `algo_class`: its public class attributes that hold a number, a truth value or text."""
    found: dict[str, type] = {}
    for name in dir(algo_class):
        kind = type(getattr(algo_class, name))
        if not name.startswith("_") and kind in TYPES:
            found[name] = kind
    return found


def read_grid(given: Sequence[str], algo_class: type[ScalpAlgo]) -> dict[str, Values]:
    """Parameter names and the values of each, in the order given, from texts NAME=v1,v2.

    Raises UserError for an unknown name (with near matches), a name given twice and a value of the wrong type.
    """
    kinds = {**declared(algo_class), LOT: Decimal}
    grid: dict[str, Values] = {}
    for text in given:
        name, equals, listed = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(f"--set {text!r}: write NAME=v1,v2, for example --set window=10,20,30")
        if name not in kinds:
            raise UserError(f"--set {text!r}: {_unknown(name, algo_class, kinds)}")
        if name in grid:
            raise UserError(f"--set {name} is given twice: list all its values in one, as {name}=v1,v2")
        values = (_value(name, value.strip(), kinds[name]) for value in listed.split(","))
        grid[name] = tuple(dict.fromkeys(values))
    return grid


def with_set(algo_class: type[ScalpAlgo], given: Sequence[str]) -> type[ScalpAlgo]:
    """`algo_class` with the values that `given` names, as NAME=VALUE.

    Raises UserError as `read_grid` does, for more than one value, for the lot, and for what the class does not take.
    """
    grid = read_grid(given, algo_class)
    if LOT in grid:
        raise UserError("--set lot=... belongs to a sweep: write --lot")
    for name, values in grid.items():
        if len(values) > 1:
            raise UserError(f"--set {name}: one value here; python -m scalp.sweep plays many")
    try:
        return tuned(algo_class, {name: value for name, (value,) in grid.items()})
    except Exception as error:  # a user's class may do anything
        raise UserError(f"--set {' '.join(given)}: {type(error).__name__}: {' '.join(str(error).split())}") from None


def sets(grid: dict[str, Values]) -> Iterator[Values]:
    """Every combination, the last parameter varying fastest; one empty set for no parameter."""
    return itertools.product(*grid.values())


def tuned(algo_class: type[ScalpAlgo], attributes: dict[str, Any]) -> type[ScalpAlgo]:
    """A subclass with `attributes` of its own. Raises whatever the class raises for them."""
    if not attributes:
        return algo_class
    return type(algo_class.__name__, (algo_class,), {**attributes, "__module__": algo_class.__module__})


def _unknown(name: str, algo_class: type[ScalpAlgo], kinds: dict[str, type]) -> str:
    if not name.startswith("_") and hasattr(algo_class, name):
        kind = type(getattr(algo_class, name)).__name__
        return f"{algo_class.__name__}.{name} is a {kind}: only numbers, truth values and text can be set"
    near = get_close_matches(name, kinds)
    if near:
        return f"{algo_class.__name__} has no parameter {name}: did you mean {' or '.join(near)}?"
    return f"{algo_class.__name__} has no parameter {name}: there is {', '.join(sorted(kinds))}"


def _value(name: str, text: str, kind: type) -> Any:
    if name == LOT:
        return read_lot(text)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is str and not text:
            raise ValueError
        value = kind(text)
        if kind is not str and value != value:  # NaN
            raise ValueError
    except (ValueError, KeyError, InvalidOperation):
        raise UserError(f"--set {name}: {text!r} is not {TYPES[kind]}, as {name} is") from None
    if name == "warmup_bars" and value < 0:  # which --algo refuses in a class
        raise UserError(f"--set warmup_bars: {value} is below 0: write how many bars the signal needs")
    return value
