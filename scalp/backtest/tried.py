"""A backtest as one of the sets that were tried on its bars: see `scalp.results.trials`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from scalp.backtest.output import latency
from scalp.backtest.settings import BacktestSettings
from scalp.cli.identity import class_name, parameters
from scalp.cli.identity import fingerprint as source_of
from scalp.core.algo import ScalpAlgo
from scalp.results.trials import Trial


def terms(settings: BacktestSettings) -> dict[str, Any]:
    """What a set does not choose: under other terms the same set comes to something else."""
    times = latency(settings)
    return {
        "fills": settings.fills,
        "slippage": str(settings.slippage),
        "latency": [times.order, times.update],
        "fees": settings.fees.told(()),
    }


def trial(algo_class: type[ScalpAlgo], settings: BacktestSettings, daily: Sequence[Decimal]) -> Trial:
    """`algo_class` with all its parameters, and what else a sweep or a user chooses."""
    chosen = {
        "lot": f"{settings.lot.normalize():f}",
        "limits": str(settings.risk_limits),
        "net exit": settings.net_exit,
    }
    return Trial(class_name(algo_class), source_of(algo_class), {**parameters(algo_class), **chosen}, daily)
