"""Writes state files in a thread after changes, at most once per interval."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.single_flight import SingleFlight

log = structlog.get_logger()
MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS = 1.0, 15.0
RETRY_SECONDS = 10.0


def snapshot_interval_seconds(members: int) -> float:
    """Interval between snapshots of this number of members: each writes all of them."""
    return min(MAX_INTERVAL_SECONDS, max(MIN_INTERVAL_SECONDS, 0.05 * members))


class DebouncedWriter:
    """Calls `collect` on the loop for the content, and its result, which writes, in a thread."""

    def __init__(
        self,
        changes: Signal,
        collect: Callable[[], Awaitable[Callable[[], None]]],
        what: str,
        calm: Callable[[], float] = lambda: MIN_INTERVAL_SECONDS,
    ) -> None:
        """Args:
        calm: minimum number of seconds after a write."""
        self._changes = changes
        self._collect = collect
        self._what = what
        self._calm = calm
        self._flight = SingleFlight[None]()

    async def run(self) -> None:
        """Writes once at the start, then after every change; a full disk is logged and retried."""
        while True:
            generation = self._changes.generation
            written = await self.write_now()
            if not written:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._changes.wait_after(generation)
            await asyncio.sleep(self._calm())

    async def write_now(self) -> bool:
        """Writes the current state; False if that failed. Concurrent callers share one write."""
        try:
            await self._flight.run(self._write)
        except OSError as error:
            log.error(f"cannot write the {self._what}", error=str(error), retry_seconds=RETRY_SECONDS)
            return False
        return True

    async def _write(self) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(await self._collect()))
        try:
            await asyncio.shield(writing)
        finally:
            # A thread cannot be stopped: what is cancelled ends after it, or it would write what is cleaned up next.
            await asyncio.wait([writing])
            if not writing.cancelled():
                writing.exception()
