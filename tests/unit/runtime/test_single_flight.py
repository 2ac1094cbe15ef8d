from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from wgmesh_agent.runtime.single_flight import SingleFlight


class Work:
    """Numbers its runs; each lasts until it is released."""

    def __init__(self) -> None:
        self.began = 0
        self.error: Exception | None = None
        self.released = asyncio.Semaphore(0)

    async def __call__(self) -> int:
        self.began += 1
        number, error = self.began, self.error
        await self.released.acquire()
        if error is not None:
            raise error
        return number

    def release(self, runs: int) -> None:
        for _ in range(runs):
            self.released.release()


async def started(*calls: Awaitable[int]) -> list[asyncio.Future[int]]:
    found: list[asyncio.Future[int]] = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    return found


async def test_callers_during_a_run_share_the_next_one() -> None:
    flight, work = SingleFlight[int](), Work()
    first = await started(flight.run(work))
    later = await started(*(flight.run(work) for _ in range(5)))
    work.release(2)
    assert await asyncio.gather(*first, *later) == [1, 2, 2, 2, 2, 2]
    assert work.began == 2


async def test_caller_is_not_answered_by_a_run_that_began_before() -> None:
    flight, work = SingleFlight[int](), Work()
    (first,) = await started(flight.run(work))
    (second,) = await started(flight.run(work))
    work.release(1)
    assert await first == 1
    assert not second.done()
    work.release(1)
    assert await second == 2


async def test_call_after_a_run_runs_again() -> None:
    flight, work = SingleFlight[int](), Work()
    work.release(2)
    assert [await flight.run(work), await flight.run(work)] == [1, 2]


async def test_failed_run_is_raised_to_its_caller_only() -> None:
    flight, work = SingleFlight[int](), Work()
    (first,) = await started(flight.run(work))
    work.error = RuntimeError("full")
    failing, *others = await started(*(flight.run(work) for _ in range(3)))
    work.release(1)
    assert await first == 1
    await asyncio.sleep(0)
    work.error = None
    work.release(2)
    with pytest.raises(RuntimeError):
        await failing
    assert await asyncio.gather(*others) == [3, 3]


async def test_cancelled_run_leaves_the_next_to_who_waits() -> None:
    flight, work = SingleFlight[int](), Work()
    first, second = await started(flight.run(work), flight.run(work))
    first.cancel()
    work.release(1)
    assert await second == 2


async def test_lock_of_the_caller_excludes_runs() -> None:
    lock, work = asyncio.Lock(), Work()
    flight = SingleFlight[int](lock)
    work.release(1)
    async with lock:
        waiting = await started(*(flight.run(work) for _ in range(3)))
        assert work.began == 0
    assert await asyncio.gather(*waiting) == [1, 1, 1]
