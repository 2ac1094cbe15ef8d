"""Background tasks: a component that fails is started again, one-off work that fails ends nothing, neither unseen."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.runtime.supervisor import FatalError, Supervisor


class UnforeseenError(Exception):
    """An exception that no module of the agent names."""


@pytest.fixture
async def tasks() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(random.Random(1))
    yield supervisor
    await supervisor.stop()


async def test_a_component_that_fails_is_started_again_and_is_down_until_it_has_run_for_a_while(
    tasks: Supervisor,
) -> None:
    runs: list[int] = []
    running = asyncio.Event()

    async def run() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise UnforeseenError("once")
        running.set()
        await asyncio.Event().wait()

    with capture_logs() as logs:
        tasks.keep(run, "probe")
        await asyncio.wait_for(running.wait(), 10)
    assert tasks.components() == {"probe"}
    assert tasks.restarts == {"probe": 1}
    assert tasks.down() == {"probe": "UnforeseenError('once')"}, "it has not run for long yet"
    assert [line["part"] for line in logs] == ["probe"]
    assert not tasks.failed.done()


async def test_a_component_that_returns_is_finished_and_not_down(tasks: Supervisor) -> None:
    finished = asyncio.Event()

    async def run() -> None:
        finished.set()

    tasks.keep(run, "memberlist")
    await finished.wait()
    await asyncio.sleep(0)
    assert not tasks.down()
    assert not tasks.restarts


async def test_a_fatal_error_of_a_component_ends_the_agent(tasks: Supervisor) -> None:
    class NameLostError(FatalError):
        pass

    async def run() -> None:
        raise NameLostError("another has the name")

    tasks.keep(run, "events")
    with pytest.raises(NameLostError):
        await tasks.failed


async def test_one_off_work_that_fails_is_named_even_where_its_error_has_no_words(tasks: Supervisor) -> None:
    async def fail() -> None:
        raise ProcessLookupError

    with capture_logs() as logs:
        await tasks.start(fail(), "herald")
    (line,) = logs
    assert (line["part"], line["error"]) == ("herald", "ProcessLookupError()")
    assert isinstance(line["exc_info"], ProcessLookupError)
    assert tasks.failures == {"herald": 1}
    assert not tasks.failed.done()


async def test_one_that_is_cancelled_has_not_failed() -> None:
    tasks = Supervisor()
    tasks.start(asyncio.Event().wait(), "waiting")
    tasks.keep(asyncio.Event().wait, "waiting too")  # type: ignore[arg-type]
    with capture_logs() as logs:
        await asyncio.sleep(0)
        await tasks.stop()
        await asyncio.sleep(0)
    assert not logs
    assert not tasks.down()
    assert not tasks.failed.done()


async def test_one_that_is_cancelled_before_its_first_step_is_closed(tasks: Supervisor) -> None:
    """Otherwise Python warns, at some garbage collection, of a coroutine that was never awaited."""

    async def work() -> None:
        raise AssertionError("begun")

    begun = work()
    task = tasks.start(begun, "work")
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert inspect.getcoroutinestate(begun) == inspect.CORO_CLOSED
