"""Time-based expiry of stored entries; no timer runs while nothing is stored."""

from __future__ import annotations

from collections.abc import Callable

from wgmesh_agent.gossip.memberlist.timers import Timer, Timers

INTERVAL_SECONDS = 10.0


class Expiry:
    """Removes expired entries every ten seconds, as long as `sweep` reports that something is left."""

    def __init__(self, timers: Timers, sweep: Callable[[float], bool]) -> None:
        self._timers = timers
        self._sweep = sweep
        self._timer: Timer | None = None

    def wake(self, now: float) -> None:
        """Call when something may have been stored."""
        if self._timer is None:
            self._timer = self._timers.at(now + INTERVAL_SECONDS, self._look)

    def _look(self, now: float) -> None:
        self._timer = None
        if self._sweep(now):
            self.wake(now)
