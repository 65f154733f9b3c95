"""What holds for every test."""

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scalp.net.virtual_time import JumpingLoop

BLACKBOX = "blackbox"
# What takes longest comes first, so that at the end no process waits for one that has just begun a long file;
# the benchmarks once the black-box stories, a dozen processes at a time, are over.
LONG = (
    BLACKBOX, "test_ahead.py", "test_parity.py", "test_every_day.py", "test_html_report.py",
    "test_journal.py", "test_key_safety.py", "test_docs.py", "test_examples.py", "test_first_hour.py",
    "test_dashboard.py", "test_benchmarks.py", "test_fuzz_exchange.py", "test_sweep.py", "test_fuzz_streams.py",
    "test_chaos.py", "test_notify.py", "test_report_command.py", "test_main.py", "test_months.py", "test_luck.py",
)  # fmt: skip
LAST = "test_simulation.py"  # keeps all cores busy by itself


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
    order = {name: place for place, name in enumerate([*LONG, "", LAST])}
    items.sort(key=lambda item: order.get(_group(item), order[""]))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    return BLACKBOX if item.path.parent.name == BLACKBOX else item.path.name


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that is a coroutine runs on a loop that skips all waiting; black-box stories have a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.path.parent.name == "blackbox":
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(pyfuncitem.obj(**arguments))
    return True
