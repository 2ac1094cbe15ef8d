"""Supervision of background tasks: no failure is silent, and components are restarted.

Compare OTP's supervisors: `keep` is a permanent child with backoff instead of a maximum restart intensity, `start` a
temporary one. Not `asyncio.TaskGroup`, which cancels the siblings of a failed task.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from wgmesh_agent.runtime.backoff import Backoff, equal_jitter
from wgmesh_agent.runtime.task_set import TaskSet

log = structlog.get_logger()
BACKOFF = Backoff(first_seconds=0.5, longest_seconds=30.0)
STABLE_SECONDS = 10.0
"""A component that has run for this long counts as up again, and its next failure starts with the first pause."""

Run = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Component:
    """A component that runs for as long as a node does, by its name in log and metrics."""

    name: str
    run: Run


class FatalError(Exception):
    """A fault that terminates the process: the program's invariants do not hold, or the mesh decided against this
    node.

    All other failures of a component are temporary or belong to one unit of input.
    """


class Supervisor:
    """Owns the background tasks of a running node.

    Attributes:
        failed: holds the first `FatalError`.
        restarts: number of restarts per component.
        failures: number of failures per kind of one-off work.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        """`rng`: for the jitter of the pauses."""
        self._rng = rng or random.Random()  # noqa: S311
        self._tasks = TaskSet()
        self._kept: set[str] = set()
        self._down: dict[str, str] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.restarts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def keep(self, run: Run, name: str) -> None:
        """Runs a component until `stop`: after an exception it is restarted, with backoff.

        Args:
            run: creates the component's coroutine; the component is finished once that returns.
            name: short and fixed; a label of metrics.
        """
        self._kept.add(name)
        self._tasks.start(self._keep(run, name), name)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[None]:
        """Runs `work` once. A failure is logged and counted, and affects nothing else: the returned task has no
        exception."""
        task = self._tasks.start(self._once(work, name), name)
        # If cancelled before its first step, the task would never have begun the work.
        task.add_done_callback(lambda _: work.close())
        return task

    def down(self) -> Mapping[str, str]:
        """Returns the components that should run and do not, and the exception that ended each."""
        return dict(self._down)

    def components(self) -> frozenset[str]:
        """The names of all components given to `keep`."""
        return frozenset(self._kept)

    async def stop(self) -> None:
        """Cancels running tasks and waits for them."""
        await self._tasks.stop()
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()

    async def _once(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except FatalError as error:
            self._fail(error, name)
        except Exception as error:
            self.failures[name] += 1
            log.error("task failed", part=name, error=repr(error), exc_info=error)

    async def _keep(self, run: Run, name: str) -> None:
        loop = asyncio.get_running_loop()
        pause = BACKOFF.first_seconds
        while True:
            began = loop.time()
            stable = loop.call_later(STABLE_SECONDS, self._down.pop, name, None)
            try:
                await run()
            except FatalError as error:
                self._fail(error, name)
                return
            except Exception as error:
                if loop.time() - began >= STABLE_SECONDS:
                    pause = BACKOFF.first_seconds
                self._down[name] = repr(error)
                self.restarts[name] += 1
                log.error(
                    "component failed",
                    part=name,
                    error=repr(error),
                    next=f"starting it again within {pause:g} s",
                    exc_info=error,
                )
            else:
                self._down.pop(name, None)
                return
            finally:
                stable.cancel()
            await asyncio.sleep(equal_jitter(pause, self._rng))
            pause = BACKOFF.longer(pause)

    def _fail(self, error: FatalError, name: str) -> None:
        # The agent's final message is one sentence about a foreseen fault: this adds the location, in case it was
        # not foreseen.
        log.error("component failed permanently", part=name, error=repr(error), exc_info=error)
        if not self.failed.done():
            self.failed.set_exception(error)
