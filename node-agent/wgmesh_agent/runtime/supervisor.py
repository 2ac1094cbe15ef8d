"""Supervision of what runs in the background: nothing ends unseen, and what must run is started again.

Compare OTP's supervisors: `keep` is a permanent child with backoff instead of a maximum restart intensity, `start` a
temporary one. Not `asyncio.TaskGroup`, which ends the siblings of a failed task.
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
"""A component that has run for so long counts as up again, and its next failure has the first pause again."""

Run = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Component:
    """What runs for as long as a node does, by the name that log and metrics have for it."""

    name: str
    run: Run


class FatalError(Exception):
    """A fault that ends the process: the program's own invariants do not hold, or the mesh decided against this node.

    Everything else that ends a component is temporary or belongs to one unit of input.
    """


class Supervisor:
    """Owns the background tasks of a running node.

    Attributes:
        failed: holds the first `FatalError`.
        restarts: how often each component has been started again.
        failures: how often each kind of one-off work has failed.
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
        """Runs a component until `stop`: after an exception it is started again, with growing pauses.

        Args:
            run: creates the component's coroutine; it is finished once that returns.
            name: short and fixed; a label of metrics.
        """
        self._kept.add(name)
        self._tasks.start(self._keep(run, name), name)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[None]:
        """Runs `work` once. A failure is logged and counted, and ends nothing else: the task returned has none."""
        task = self._tasks.start(self._once(work, name), name)
        # Cancelled before its first step, it would not have begun the work.
        task.add_done_callback(lambda _: work.close())
        return task

    def down(self) -> Mapping[str, str]:
        """The components that should run and do not, and the exception that ended each."""
        return dict(self._down)

    def components(self) -> frozenset[str]:
        """The names of all components given to `keep`."""
        return frozenset(self._kept)

    async def stop(self) -> None:
        """Cancels what still runs and waits for it."""
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
        # The agent's last words are one sentence about what it foresaw: here is the place, in case it did not.
        log.error("component failed permanently", part=name, error=repr(error), exc_info=error)
        if not self.failed.done():
            self.failed.set_exception(error)
