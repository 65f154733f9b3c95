"""Why one symbol must not be bought just now."""

from __future__ import annotations


class EntryBlocks(dict[str, str]):
    """Reasons by kind; exits go on regardless."""

    def block(self, kind: str, why: str) -> None:
        """Buy nothing until `unblock(kind)`."""
        self[kind] = why

    def unblock(self, kind: str) -> None:
        self.pop(kind, None)

    @property
    def why(self) -> str:
        """Why nothing is bought; "" where there is no reason."""
        return ", ".join(self.values())
