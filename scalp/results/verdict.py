"""Whether a result is better than chance, in one sentence."""

from __future__ import annotations

from msgspec import Struct

SHOWN = 0.05  # the largest p-value that shows an edge


class Verdict(Struct, frozen=True):
    """`p` over so many random runs; None where there is none, and `why_not`."""

    p: float | None = None
    shifts: int = 0
    why_not: str = ""

    def __str__(self) -> str:
        if self.p is None:
            return f"edge: not tested, {self.why_not}"
        is_shown = "shown" if self.p <= SHOWN else "not shown"
        return f"edge: {is_shown} (p = {self.p:.2g} over {self.shifts:,} shifts)"
