"""What lasts is said once, again when it changes, and otherwise ever less often."""

from __future__ import annotations

from wgmesh_agent.runtime.backoff import Backoff

BACKOFF = Backoff(first_seconds=120.0, longest_seconds=3600.0)


class Reminders:
    """For one matter; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._said = ""
        self._due = 0.0
        self._pause = BACKOFF.first_seconds

    def is_due(self, why: str, now: float) -> bool:
        """Whether to say this now: it is another reason than the last one, or that was said long ago."""
        if why != self._said:
            self._pause = BACKOFF.first_seconds
        elif now < self._due:
            return False
        else:
            self._pause = BACKOFF.longer(self._pause)
        self._said, self._due = why, now + self._pause
        return True

    def over(self) -> bool:
        """The matter is settled: whether anything was said of it."""
        was, self._said = self._said, ""
        return bool(was)
