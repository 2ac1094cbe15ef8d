"""Status rate limit: when a changed status may be written, scaled to the mesh size. `now` is monotonic seconds.

Most changes concern all members: when one fails, all others have one peer less. In a large mesh they do not all report
it at once: each waits a random part of the time in which the whole mesh writes some forty statuses a second. The first
report is quick; the last comes after two minutes in a mesh of 5,000.

While a node joins, its links come up one after another within seconds. In that time the minimum interval is shorter, as
far as the write budget of the mesh allows, so that the mesh does not appear incomplete for longer than it is.
"""

from __future__ import annotations

import random

from wgmesh_agent.kube.node_report import has_changed
from wgmesh_api.report import NodeReport

MIN_INTERVAL_SECONDS = 10.0
JOINING_SECONDS = 10.0
"""Counted from the first write."""
JOINING_INTERVAL_SECONDS = 1.0
JITTER = 1.2
REASSERT_SECONDS = 600.0
MAX_WRITES_PER_SECOND = 40.0
"""Maximum rate of all members together."""


class StatusRateLimiter:
    """At least ten to twelve seconds between two writes, or attempts, and more in a mesh of more than 400 members.

    In the ten seconds after the first write, one second suffices in a mesh of up to 40 members. The first is written at
    once, except in a mesh of more than 400; there it waits its turn like all changes.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.written: NodeReport | None = None
        self._written_at = 0.0
        self._not_before = 0.0
        self._joined_at: float | None = None
        self._turn: float | None = None
        self._members = 0

    @property
    def seconds(self) -> float:
        """Minimum interval between two writes of a node that has joined, without jitter."""
        return self._interval(MIN_INTERVAL_SECONDS)

    def wait_seconds(self, now: float) -> float:
        """Seconds until the next write is allowed; 0: now."""
        return max(0.0, self._not_before - now)

    def is_due(self, current: NodeReport, now: float) -> bool:
        """Whether the status changed, or the last write is to be confirmed in case another client overwrote it."""
        if self.wait_seconds(now) > 0:
            return False
        self._members = current.expected + 1
        news = has_changed(current, self.written)
        if not news and now - self._written_at < REASSERT_SECONDS * self.seconds / MIN_INTERVAL_SECONDS:
            self._turn = None
            return False
        if self._turn is None:
            self._turn = now + (
                self._rng.uniform(0.0, self.seconds) if self.seconds > MIN_INTERVAL_SECONDS else 0.0
            )
        return now >= self._turn

    def attempted(self, now: float) -> None:
        """A write is in progress."""
        joining = self._joined_at is not None and now - self._joined_at < JOINING_SECONDS
        self._pause(JOINING_INTERVAL_SECONDS if joining else MIN_INTERVAL_SECONDS, now)
        self._turn = None

    def record_written(self, written: NodeReport, now: float) -> None:
        """The write succeeded."""
        if self._joined_at is None:
            self._joined_at = now
            if self.wait_seconds(now) > 0:
                self._pause(JOINING_INTERVAL_SECONDS, now)
        self.written, self._written_at = written, now

    def _pause(self, least: float, now: float) -> None:
        self._not_before = now + self._interval(least) * self._rng.uniform(1.0, JITTER)

    def _interval(self, least: float) -> float:
        return max(least, self._members / MAX_WRITES_PER_SECOND)
