"""A part of the agent that fails is named, with the place, and ends the agent."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.daemon.tasks import Tasks


async def test_the_part_that_failed_is_named_even_where_its_error_has_no_words() -> None:
    async def fail() -> None:
        raise ProcessLookupError

    tasks = Tasks()
    with capture_logs() as logs:
        tasks.start(fail(), "clamping")
        with pytest.raises(ProcessLookupError):
            await tasks.failed
    (line,) = logs
    assert (line["part"], line["why"]) == ("clamping", "ProcessLookupError()")
    assert isinstance(line["exc_info"], ProcessLookupError)
    await tasks.stop()


async def test_one_that_is_cancelled_has_not_failed() -> None:
    tasks = Tasks()
    tasks.start(asyncio.Event().wait(), "waiting")
    with capture_logs() as logs:
        await tasks.stop()
        await asyncio.sleep(0)
    assert not logs
    assert not tasks.failed.done()
