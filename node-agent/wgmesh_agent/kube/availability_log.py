"""Whether the API server answers: told when that changes, and not at each attempt."""

from __future__ import annotations

import threading

import structlog

from wgmesh_agent.runtime.log_on_change import LogOnChange

log = structlog.get_logger()


class AvailabilityLog:
    """Used from the threads that make calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fault = LogOnChange()

    def up(self) -> None:
        """A call was answered, with whatever status."""
        with self._lock:
            is_back = self._fault.is_over()
        if is_back:
            log.warning("API server reachable again")

    def down(self, why: str) -> None:
        """A call was not."""
        with self._lock:
            # Which call it was, and how it failed, is no news.
            is_new = self._fault.is_new("the API server does not answer")
        if is_new:
            log.warning("API server unreachable", error=why, next="continuing with the cached roster")
