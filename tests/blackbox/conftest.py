"""Runs the stories of this folder (tests that are coroutines) side by side: most of their time is waiting.

Each remains a test of its own. When the first is due, all that were selected start in one event loop in a thread,
a few at a time, and each test waits for its own result.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import os
import threading

import pytest

LONGEST = 600.0  # seconds by the wall clock that a story may take, however busy the machine is
AT_A_TIME = 6 * (os.cpu_count() or 1)

_loop: asyncio.AbstractEventLoop | None = None
_results: dict[str, concurrent.futures.Future[None]] = {}


def _is_story(item: pytest.Item) -> bool:
    return (
        isinstance(item, pytest.Function)
        and item.path.parent.name == "blackbox"
        and inspect.iscoroutinefunction(item.obj)
    )


def _begin(items: list[pytest.Item]) -> None:
    global _loop
    _loop = asyncio.new_event_loop()
    threading.Thread(target=_loop.run_forever, name="stories", daemon=True).start()
    free = asyncio.Semaphore(AT_A_TIME)

    async def run(item: pytest.Function) -> None:
        parameters = getattr(item, "callspec", None)
        async with free, asyncio.timeout(LONGEST):
            await item.obj(**(parameters.params if parameters else {}))

    for item in items:
        if _is_story(item) and isinstance(item, pytest.Function):
            _results[item.nodeid] = asyncio.run_coroutine_threadsafe(run(item), _loop)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not _is_story(pyfuncitem):
        return None
    if pyfuncitem.nodeid not in _results:
        _begin(pyfuncitem.session.items)
    _results[pyfuncitem.nodeid].result()
    return True


def pytest_sessionfinish() -> None:
    if _loop is None:
        return

    async def stop() -> None:
        stories = asyncio.all_tasks() - {asyncio.current_task()}
        for story in stories:
            story.cancel()
        await asyncio.gather(*stories, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), _loop).result(30)
    _loop.call_soon_threadsafe(_loop.stop)
