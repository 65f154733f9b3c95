"""Which class trades: its name, its parameters and a fingerprint of its source."""

from __future__ import annotations

import hashlib
import inspect
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from scalp.cli.parameters import declared
from scalp.cli.paths import APP
from scalp.cli.private import make_private
from scalp.core.algo import ScalpAlgo

DIGITS = 12
KEPT = "backtests.json"  # class -> fingerprint of its newest backtest


def class_name(algo_class: type[ScalpAlgo]) -> str:
    """Module and name, as tables have it."""
    return f"{algo_class.__module__}:{algo_class.__qualname__}"


def parameters(algo_class: type[ScalpAlgo]) -> dict[str, Any]:
    """The class's own parameters, and those of the built-in class that it gives another value; in plain types."""
    found = {name: getattr(algo_class, name) for name in declared(algo_class)}
    own = {name: value for name, value in found.items() if value != getattr(ScalpAlgo, name, None)}
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in own.items()}


def average_window(algo_class: type[ScalpAlgo]) -> int | None:
    """Closes in the average of the built-in signal; None where the class has a signal of its own."""
    is_built_in = algo_class._calculate_buy_signal is ScalpAlgo._calculate_buy_signal
    return algo_class.window if is_built_in else None


def fingerprint(algo_class: type[ScalpAlgo]) -> str:
    """That of the files that define the class and its bases, up to the built-in class; "" where they can't be read."""
    own = [one for one in algo_class.__mro__ if one not in ScalpAlgo.__mro__] or [ScalpAlgo]
    try:
        paths = sorted({Path(inspect.getfile(one)) for one in own} - {Path(inspect.getfile(ScalpAlgo))})
        texts = [path.read_bytes() for path in paths or [Path(inspect.getfile(ScalpAlgo))]]
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:DIGITS]


def told(algo_class: type[ScalpAlgo]) -> str:
    """All of it in one line."""
    values = ", ".join(f"{name} {value}" for name, value in parameters(algo_class).items())
    return f"{class_name(algo_class)}{f' ({values})' if values else ''}, source {fingerprint(algo_class) or 'unknown'}"


def remember_backtest(algo_class: type[ScalpAlgo]) -> None:
    """Keep the fingerprint of a class that has been backtested; where that can't be written it is not kept."""
    kept, name, now = _kept(), _key(algo_class), fingerprint(algo_class)
    if kept.get(name) == now:
        return
    try:
        path = user_state_path(APP, appauthor=False) / KEPT
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        make_private(new)
        new.write_text(json.dumps({**kept, name: now}, indent=1))
        new.replace(path)
    except (OSError, RuntimeError):
        return


def since_backtest(algo_class: type[ScalpAlgo]) -> str:
    """What the newest backtest of this class says of its source; "" if it was this one."""
    before, now = _kept().get(_key(algo_class), ""), fingerprint(algo_class)
    if before == now:
        return ""
    return f"its newest backtest had another source ({before})" if before else "it was never backtested here"


def _key(algo_class: type[ScalpAlgo]) -> str:
    """Two files of one name in two folders are two classes."""
    try:
        return f"{Path(inspect.getfile(algo_class)).resolve()}:{algo_class.__qualname__}"
    except (OSError, TypeError):
        return class_name(algo_class)


def _kept() -> dict[str, str]:
    try:
        kept = json.loads((user_state_path(APP, appauthor=False) / KEPT).read_bytes())
    except (OSError, RuntimeError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
