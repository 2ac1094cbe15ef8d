"""Reloads the join bundle when its file changes, and warns before its certificate expires."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from wgmesh_agent.mesh.join.bundle import (
    FETCH,
    BundleError,
    credentials_of,
    expires_soon,
    read_bundle,
    tls_files_of,
)
from wgmesh_agent.runtime.file_watch import FileWatch, is_accessible_to_others
from wgmesh_agent.settings.model import Bundle, HostPort

log = structlog.get_logger()
POLL_INTERVAL_SECONDS = 5.0
REMIND_SECONDS = 24 * 3600.0


class BundleReloader:
    """Keeps `credentials` in step with the file; a faulty new file is logged, and the last good bundle stays in use."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.bundle = bundle
        self.credentials = credentials_of(bundle)
        self._clock = clock
        self._now = now
        self._file = FileWatch(bundle.path)
        self._reminded_at: float | None = None

    def bootstraps(self) -> tuple[HostPort, ...]:
        return self.bundle.bootstraps

    async def run(self) -> None:
        """Polls every few seconds until cancelled."""
        if is_accessible_to_others(self.bundle.path):
            log.warning(
                "bundle file is readable by group or others",
                file=str(self.bundle.path),
                next="chmod 600",
            )
        while True:
            await self.poll()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def poll(self) -> None:
        """Reloads the bundle if its file changed; warns once a day that its certificate expires soon."""
        # Without the file, the bundle in memory remains as good as before.
        if self._file.has_changed():
            await self._reload()
        self._warn_before_expiry()

    async def _reload(self) -> None:
        old = self.bundle
        try:
            found = await asyncio.to_thread(read_bundle, old.path)
        except BundleError as error:
            log.warning("bundle rejected, keeping the previous one", error=str(error))
            return
        if (found.mesh, found.node) != (old.mesh, old.node):
            why = f"it is for {found.node} in the mesh {found.mesh}, and this is {old.node} in {old.mesh}"
            log.warning("bundle rejected, keeping the previous one", error=why)
            return
        self.bundle, self.credentials.files = found, tls_files_of(found)
        self._reminded_at = None
        until = self.credentials.files.leaf().not_valid_after_utc.isoformat()
        log.info("bundle reloaded", file=str(found.path), certificate_until=until)

    def _warn_before_expiry(self) -> None:
        leaf, now = self.credentials.files.leaf(), self._clock()
        if self._reminded_at is not None and now - self._reminded_at < REMIND_SECONDS:
            return
        moment, end = self._now(), leaf.not_valid_after_utc
        if not expires_soon(leaf, moment):
            return
        self._reminded_at = now
        days = round((end - moment).total_seconds() / 86400, 1)
        what = "certificate expires soon" if moment < end else "certificate has expired"
        log.warning(what, file=str(self.bundle.path), end=end.isoformat(), days=days, next=FETCH)
