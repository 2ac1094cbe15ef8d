"""The operator's own progress: a blocked loop is the reason for a liveness probe to fail.

An API server that does not respond is no reason to restart: the loop continues, and reports it here.
"""

from __future__ import annotations

from wgmesh_operator.clock import Clock

STUCK_AFTER_SECONDS = 120.0


class ControllerStuck(Exception):
    """There was no progress for too long."""


class LivenessCheck:
    """When the controller's loop last made progress, and how many passes it has completed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beat = clock.monotonic()
        self.passes = 0
        self.failures = 0

    def heartbeat(self) -> None:
        """The loop turned, or completed a step."""
        self._beat = self._clock.monotonic()

    def idle_seconds(self) -> float:
        return self._clock.monotonic() - self._beat

    def check(self) -> dict[str, float | int]:
        """The probe's body. Raises ControllerStuck."""
        idle = self.idle_seconds()
        if idle > STUCK_AFTER_SECONDS:
            raise ControllerStuck(f"no progress for {idle:.0f} s")
        return {"idle_seconds": round(idle, 1), "passes": self.passes, "failures": self.failures}
