"""Long work in steps, one at a time of all that waits, so that whatever else is due never waits for more than one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from wgmesh_agent.gossip.memberlist.timers import Timer, Timers

_PAUSE_SECONDS = 0.001
"""Between two steps, for whatever else is due."""

Step = Callable[[float], bool]
"""Does a few milliseconds' work; whether there is more."""


class Steps:
    """Takes a step of each piece of work in turn."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._waiting: deque[Step] = deque()
        self._timer: Timer | None = None

    def add(self, step: Step, now: float) -> None:
        """Has `step` called until there is no more; the first time in a moment."""
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
