"""When a status may be written: on news, and seldom. Pure: `now` is monotonic seconds."""

from __future__ import annotations

import random

from wgmesh_agent.kube.report import differs
from wgmesh_api.roster import NodeReport

SECONDS = 10.0
JITTER = 1.2
REASSERT_SECONDS = 600.0


class Calm:
    """Never two writes, or attempts at one, within ten to twelve seconds; the first at once."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.written: NodeReport | None = None
        self._written_at = 0.0
        self._not_before = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next write is allowed; 0: now."""
        return max(0.0, self._not_before - now)

    def is_due(self, current: NodeReport, now: float) -> bool:
        """Whether there is news, or what was written is to be confirmed, in case somebody else wrote over it."""
        if self.pause(now) > 0:
            return False
        return differs(current, self.written) or now - self._written_at >= REASSERT_SECONDS

    def tried(self, now: float) -> None:
        """A write is under way."""
        self._not_before = now + SECONDS * self._rng.uniform(1.0, JITTER)

    def wrote(self, written: NodeReport, now: float) -> None:
        """It succeeded."""
        self.written, self._written_at = written, now
