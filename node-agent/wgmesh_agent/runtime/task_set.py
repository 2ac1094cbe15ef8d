"""Short-lived tasks of one owner: each ends independently, and its exception is not lost.

Unlike `asyncio.TaskGroup`, a task that fails cancels no other, and the owner's own exception is raised unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

log = structlog.get_logger()
T = TypeVar("T")


def log_failure(name: str, error: Exception) -> None:
    """Logs the exception of a task of this name."""
    log.error("task failed", part=name, error=repr(error), exc_info=error)


class TaskSet:
    """Holds tasks until they end: asyncio itself keeps weak references only."""

    def __init__(self, failed: Callable[[str, Exception], None] = log_failure) -> None:
        """Args:
        failed: called with the name of a task and its exception, even if it is also awaited."""
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Runs `work` in a task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def outlive(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Returns or raises the result of `work`; if the caller is cancelled, `work` still runs to its end."""
        return await asyncio.shield(self.start(work, name))

    async def stop(self) -> None:
        """Cancels running tasks and waits for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failed(task.get_name(), error)
