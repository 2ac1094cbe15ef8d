"""Whether the API server answers: told when that changes, and not at each attempt."""

from __future__ import annotations

import threading

import structlog

log = structlog.get_logger()


class AvailabilityLog:
    """Used from the threads that make calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers = True

    def up(self) -> None:
        """A call was answered, with whatever status."""
        if self._changes_to(answers=True):
            log.warning("the API server answers again")

    def down(self, why: str) -> None:
        """A call was not."""
        if self._changes_to(answers=False):
            log.warning("the API server does not answer", why=why, next="going on with what is known")

    def _changes_to(self, *, answers: bool) -> bool:
        with self._lock:
            changed = self._answers != answers
            self._answers = answers
        return changed
