"""The operator's own progress: a loop that no longer turns is what a liveness probe is for.

An API server that doesn't answer is no reason to restart: the loop goes on turning, and says so here.
"""

from __future__ import annotations

from wgmesh_operator.clock import Clock

STUCK_AFTER_SECONDS = 120.0


class ControllerStuck(Exception):
    """Nothing was done for too long."""


class LivenessCheck:
    """When the controller's loop last made progress, and how many passes it has done."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beat = clock.monotonic()
        self.passes = 0
        self.failures = 0

    def heartbeat(self) -> None:
        """The loop turned, or a step of it was done."""
        self._beat = self._clock.monotonic()

    def idle_seconds(self) -> float:
        return self._clock.monotonic() - self._beat

    def check(self) -> dict[str, float | int]:
        """What the probe shows. Raises ControllerStuck."""
        idle = self.idle_seconds()
        if idle > STUCK_AFTER_SECONDS:
            raise ControllerStuck(f"no progress for {idle:.0f} s")
        return {"idle_seconds": round(idle, 1), "passes": self.passes, "failures": self.failures}
