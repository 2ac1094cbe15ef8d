"""Runs long work in steps, alternating between all waiting pieces, so that other tasks never wait for more than one
step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from wgmesh_agent.gossip.memberlist.timers import Timer, Timers

_PAUSE_SECONDS = 0.001
"""Pause between two steps, for other tasks."""

Step = Callable[[float], bool]
"""Does a few milliseconds of work; returns whether there is more."""


class Steps:
    """Runs a step of each piece of work in turn."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._waiting: deque[Step] = deque()
        self._timer: Timer | None = None

    def add(self, step: Step, now: float) -> None:
        """Calls `step` until there is no more work; the first time after a pause."""
        self._waiting.append(step)
        self._arm(now)

    def _arm(self, now: float) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._timers.at(now + _PAUSE_SECONDS, self._take)

    def _take(self, now: float) -> None:
        self._timer = None
        step = self._waiting.popleft()
        try:
            if step(now):
                self._waiting.append(step)
        finally:
            self._arm(now)
