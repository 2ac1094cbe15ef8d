"""The operator's own progress: a loop that no longer turns is what a liveness probe is for.

An API server that doesn't answer is no reason to restart: the loop goes on turning, and says so here.
"""

from __future__ import annotations

from collections.abc import Callable

STUCK_AFTER_SECONDS = 120.0


class ControllerStuck(Exception):
    """Nothing was done for too long."""


class LivenessCheck:
    """`clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._beat = clock()
        self.passes = 0
        self.failures = 0

    def heartbeat(self) -> None:
        """The loop turned, or a step of it was done."""
        self._beat = self._clock()

    def idle_seconds(self) -> float:
        return self._clock() - self._beat

    def check(self) -> dict[str, float | int]:
        """What the probe shows. Raises ControllerStuck."""
        idle = self.idle_seconds()
        if idle > STUCK_AFTER_SECONDS:
            raise ControllerStuck(f"no progress for {idle:.0f} s")
        return {"idle_seconds": round(idle, 1), "passes": self.passes, "failures": self.failures}
