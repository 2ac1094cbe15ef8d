"""Repeats the log line of a lasting fault, with backoff."""

from __future__ import annotations

from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.runtime.log_on_change import LogOnChange

BACKOFF = Backoff(first_seconds=120.0, longest_seconds=3600.0)


class Reminders:
    """One fault; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._fault = LogOnChange()
        self._due = 0.0
        self._pause = 0.0

    def is_due(self, why: str, now: float) -> bool:
        """Returns whether to log this now: the reason is new, or was logged long ago."""
        if self._fault.is_new(why):
            self._pause = 0.0
        elif now < self._due:
            return False
        self._pause = BACKOFF.longer(self._pause)
        self._due = now + self._pause
        return True

    def over(self) -> bool:
        """Records the end of the fault. Returns whether it was ever logged."""
        return self._fault.is_over()
