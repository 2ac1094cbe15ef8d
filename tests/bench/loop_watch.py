"""How long the event loop is held: every callback and every step of a task is timed while this watches."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

NOTED_SECONDS = 0.01
"""Shorter steps are not distinguished."""


@dataclass(slots=True)
class Steps:
    """What ran on the loop, in seconds: processor time of the loop's thread, and time on the clock.

    Where other processes want the cores, only the first is the program's own doing.
    """

    longest: float = 0.0
    longest_on_clock: float = 0.0
    busy: float = 0.0
    count: int = 0
    longest_of: dict[str, float] = field(default_factory=dict)
    """By what ran: the name of a task, or the function called."""
    share: float = 0.0
    """Of a core that the loop took, in percent; known at the end."""
    begun: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        """No more of it."""
        self.share = 100 * self.busy / (time.monotonic() - self.begun)


class LoopWatch:
    """Watches all loops of this process while entered; `part` resets the counts."""

    def __init__(self) -> None:
        self.steps = Steps()
        self._run: Any = None

    def part(self) -> Steps:
        """A new account; the former one changes no more."""
        self.steps = Steps()
        return self.steps

    def __enter__(self) -> LoopWatch:
        self._run = run = asyncio.Handle._run
        watch = self

        def timed(handle: asyncio.Handle) -> None:
            steps = watch.steps
            clock, begun = time.monotonic(), time.thread_time()
            run(handle)
            taken, on_clock = time.thread_time() - begun, time.monotonic() - clock
            steps.busy += taken
            steps.count += 1
            steps.longest_on_clock = max(steps.longest_on_clock, on_clock)
            steps.longest = max(steps.longest, taken)
            if taken > NOTED_SECONDS:
                called = _called(handle)
                steps.longest_of[called] = max(taken, steps.longest_of.get(called, 0.0))

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]


def _called(handle: asyncio.Handle) -> str:
    callback = getattr(handle, "_callback", None)
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return task.get_name()
    return str(getattr(callback, "__qualname__", callback))
