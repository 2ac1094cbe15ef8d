"""Logs once when the API server becomes unavailable, and once when it returns."""

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
        """A call got a response, with any status."""
        with self._lock:
            is_back = self._fault.is_over()
        if is_back:
            log.warning("API server reachable again")

    def down(self, why: str) -> None:
        """A call got no response."""
        with self._lock:
            # Later calls and their errors are not logged.
            is_new = self._fault.is_new("the API server does not answer")
        if is_new:
            log.warning("API server unreachable", error=why, next="continuing with the cached roster")
