"""What holds for every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Journals of sessions in this process, and in processes that inherit its environment, go here; so do caches."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield folder


@pytest.fixture(autouse=True)
def no_keys_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees no key and no endpoint that it did not set itself, so none can reach a real account."""
    for name in list(os.environ):
        if name.startswith(("APCA_", "POLYGON_", "SCALP_")):
            monkeypatch.delenv(name)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file goes to one of the processes as a whole; so do the black-box stories, which run side by side there."""
    for item in items:
        is_story = item.path.parent.name == "blackbox"
        item.add_marker(pytest.mark.xdist_group("blackbox" if is_story else item.path.name))
