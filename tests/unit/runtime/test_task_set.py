from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.runtime.task_set import TaskSet


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


class Failures(list[tuple[str, str]]):
    def __call__(self, name: str, error: Exception) -> None:
        self.append((name, repr(error)))


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
async def tasks(failures: Failures) -> AsyncIterator[TaskSet]:
    async with TaskSet(failures) as found:
        yield found


async def fail() -> None:
    raise UnforeseenError("odd")


async def test_failed_task_is_reported_and_ends_no_other(tasks: TaskSet, failures: Failures) -> None:
    other = tasks.start(asyncio.sleep(3600), "other")
    failing = tasks.start(fail(), "failing")
    await asyncio.wait([failing])
    await asyncio.sleep(0)
    assert failures == [("failing", "UnforeseenError('odd')")]
    assert not other.done()


async def test_failure_is_logged_unless_the_owner_handles_it() -> None:
    async with TaskSet() as tasks:
        with capture_logs() as logs:
            await asyncio.wait([tasks.start(fail(), "failing")])
            await asyncio.sleep(0)
    assert [(line["part"], line["error"]) for line in logs] == [("failing", "UnforeseenError('odd')")]


async def test_task_is_held_until_it_ends(tasks: TaskSet) -> None:
    ended: list[str] = []

    async def wait_for_nothing_else_holds() -> None:
        await asyncio.get_running_loop().create_future()
        ended.append("unreachable")

    name = tasks.start(wait_for_nothing_else_holds(), "held").get_name()
    await asyncio.sleep(0)
    gc.collect()
    assert name in {task.get_name() for task in asyncio.all_tasks()}


async def test_end_of_the_owner_cancels_and_awaits_what_still_runs(failures: Failures) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    async def own() -> None:
        async with TaskSet(failures) as tasks:
            tasks.start(work(), "work")
            await asyncio.sleep(0)
            raise UnforeseenError("of the owner")

    with pytest.raises(UnforeseenError):
        await own()
    assert ended == ["work"]
    assert failures == []


async def test_work_outlives_the_caller_that_is_cancelled(tasks: TaskSet) -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    caller = asyncio.create_task(tasks.outlive(work(), "work"))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    go.set()
    await asyncio.wait_for(done.wait(), 10)


async def test_result_and_exception_of_work_are_its_caller_s(tasks: TaskSet, failures: Failures) -> None:
    assert await tasks.outlive(asyncio.sleep(0, "result"), "work") == "result"
    with pytest.raises(UnforeseenError):
        await tasks.outlive(fail(), "work")
    assert failures == [("work", "UnforeseenError('odd')")]


async def test_exception_after_the_caller_was_cancelled_is_reported(
    tasks: TaskSet, failures: Failures
) -> None:
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        raise UnforeseenError("late")

    caller = asyncio.create_task(tasks.outlive(work(), "work"))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    go.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert failures == [("work", "UnforeseenError('late')")]


async def test_work_that_is_cancelled_before_its_first_step_is_closed(tasks: TaskSet) -> None:
    begun = fail()
    tasks.start(begun, "work")
    await tasks.stop()
    assert inspect.getcoroutinestate(begun) == inspect.CORO_CLOSED
