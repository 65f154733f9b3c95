"""What holds for every test."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_keys_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees no key and no endpoint that it did not set itself, so none can reach a real account."""
    for name in list(os.environ):
        if name.startswith(("APCA_", "POLYGON_", "SCALP_")):
            monkeypatch.delenv(name)
