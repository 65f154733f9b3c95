"""The risk limits. All are off unless they are named."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from decimal import Decimal

from scalp.core.stops import StopRule
from scalp.core.units import SECOND


@dataclass(frozen=True)
class RiskLimits:
    """None: that limit is off."""

    stop_loss: Decimal | None = None  # share of the entry price, above 0 and below 1
    max_hold: int | None = None  # ns
    max_loss: Decimal | None = None  # dollars a session, realised and open
    cooldown: int | None = None  # ns
    max_positions: int | None = None
    budget: Decimal | None = None  # dollars
    no_buy_after: dt.time | None = None  # New York
    trail: Decimal | None = None  # share of the highest last trade since the entry
    stop_at: str | None = None  # "broker" or "bot"; None: at the broker

    def __bool__(self) -> bool:
        """Whether any limit is on."""
        return any(getattr(self, limit.name) is not None for limit in fields(self) if limit.name != "stop_at")

    @property
    def stop(self) -> StopRule | None:
        """The stop of every position; None: there is none."""
        if self.stop_loss is None and self.trail is None:
            return None
        return StopRule(self.stop_loss, self.trail, self.stop_at != "bot")

    def __str__(self) -> str:
        """As they are written."""
        told = {
            "stop-loss": self.stop_loss and f"{(self.stop_loss * 100).normalize():f}%",
            "trail": self.trail and f"{(self.trail * 100).normalize():f}%",
            "stop-at": self.stop_at,
            "max-hold": self.max_hold and f"{self.max_hold // SECOND}s",
            "max-loss": self.max_loss,
            "cooldown": self.cooldown and f"{self.cooldown // SECOND}s",
            "max-positions": self.max_positions,
            "budget": self.budget,
            "no-buy-after": self.no_buy_after and f"{self.no_buy_after:%H:%M}",
        }
        return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)

    @property
    def needs_todays_fills(self) -> bool:
        """Whether what was traded before the process started counts."""
        return not (self.max_hold is None and self.max_loss is None and self.cooldown is None)

    @property
    def watches_prints(self) -> bool:
        """Whether an exit may be called for as soon as a print comes, by its price or its time."""
        return not (self.stop is None and self.max_loss is None and self.max_hold is None)


NO_RISK_LIMITS = RiskLimits()
