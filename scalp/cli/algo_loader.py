"""Loading a user's own ScalpAlgo: `--algo module:Class`, or `--algo path/to/file.py:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from scalp.core.algo import ScalpAlgo
from scalp.core.errors import UserError


def load_algo(spec: str) -> type[ScalpAlgo]:
    """The class that `spec` names. Raises UserError when there is none, or it is no ScalpAlgo."""
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise UserError(f"--algo {spec!r}: write module:Class or path/to/file.py:Class")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_path(where)
    except ModuleNotFoundError as error:
        raise UserError(f"--algo {spec!r}: there is no module {error.name}") from None
    except FileNotFoundError:
        raise UserError(f"--algo {spec!r}: there is no file {where}") from None
    except (Exception, SystemExit) as error:
        # Whatever a user's file does wrong on import, a class the rules refuse included, is reported in one line.
        text = f"{error.msg} (line {error.lineno})" if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise UserError(f"--algo {spec!r}: {type(error).__name__}: {text}") from None
    algo = getattr(module, name, None)
    if algo is None:
        raise UserError(f"--algo {spec!r}: {where} has no {name}{_near(module, name)}")
    if not isinstance(algo, type) or not issubclass(algo, ScalpAlgo):
        raise UserError(f"--algo {spec!r}: {name} is not a subclass of ScalpAlgo")
    _try(spec, algo)
    return algo


def _near(module: ModuleType, name: str) -> str:
    """What may have been meant."""
    there = [
        name for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, ScalpAlgo) and value is not ScalpAlgo
    ]  # fmt: skip
    found = get_close_matches(name, there, n=3, cutoff=0.5) or there[:3]
    return f": did you mean {' or '.join(found)}?" if found else ""


def _try(spec: str, algo: type[ScalpAlgo]) -> None:
    """Make one and look at it, so that what is wrong with it shows before anything is traded. Raises UserError."""
    try:
        made = algo("TEST", Decimal(1), "0")
        inspect.signature(made._calculate_buy_signal).bind()
        warmup = made.warmup_bars
    except Exception as error:
        line = " ".join(str(error).split())
        raise UserError(f"--algo {spec!r}: no algo can be made of it: {type(error).__name__}: {line}") from None
    if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
        raise UserError(f"--algo {spec!r}: warmup_bars must be a whole number of bars, not {warmup!r}")


def _from_path(name: str) -> ModuleType:
    # The user's module lies where the command is given, which is not always on the path.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(path)
    # A name of its own: a file called signal.py must not take the place of Python's module.
    name = f"custom_signal_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
