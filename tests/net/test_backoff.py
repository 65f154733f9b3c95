"""The waits between tries."""

import asyncio

from scalp.net.backoff import Backoff
from scalp.net.virtual_time import JumpingLoop


def test_waits_double_up_to_the_longest_until_it_worked() -> None:
    backoff = Backoff(1.0, 15.0)
    assert backoff.is_fresh
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 15, 15]
    assert not backoff.is_fresh
    backoff.reset()
    assert (backoff.is_fresh, backoff.pause) == (True, 1)


def test_one_wait_may_have_a_limit_of_its_own() -> None:
    backoff = Backoff(0.25, 15.0)
    assert [backoff.next(1.0) for _ in range(4)] == [0.25, 0.5, 1, 1]
    assert [backoff.next() for _ in range(2)] == [1, 2]


def test_it_waits_by_the_time_of_the_loop() -> None:
    async def story() -> float:
        backoff = Backoff(5.0, 60.0)
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            await backoff.wait()
        return asyncio.get_running_loop().time() - began

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        assert runner.run(story()) == 5 + 10 + 20 + 40 + 60
