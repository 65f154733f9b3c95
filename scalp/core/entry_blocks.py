"""What stands against buying one symbol just now."""

from __future__ import annotations


class EntryBlocks(dict[str, str]):
    """Reasons by kind; exits go on whatever there is."""

    def block(self, kind: str, why: str) -> None:
        """Buy nothing until `unblock(kind)`."""
        self[kind] = why

    def unblock(self, kind: str) -> None:
        self.pop(kind, None)

    @property
    def why(self) -> str:
        """Why nothing is bought; "" when nothing stands against it."""
        return ", ".join(self.values())
