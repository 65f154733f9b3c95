"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, what: str, plural: str = "") -> str:
    """`1 trade`, `2 trades`, `1,000 entries`; `plural` where it is not made by an s."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {plural or what + 's'}"
