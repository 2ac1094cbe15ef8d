"""Follows changes of this machine's addresses and routes that the kernel reports."""

from __future__ import annotations

import structlog

from wgmesh_agent.linux.address_monitor import HostChanges
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses

log = structlog.get_logger()


class AddressWatch:
    """Watches addresses and routes for a node."""

    def __init__(self, addresses: LocalAddresses, reconciler: Reconciler, changes: HostChanges) -> None:
        self._addresses = addresses
        self._reconciler = reconciler
        self._changes = changes

    async def run(self) -> None:
        """Runs until cancelled."""
        async for change in self._changes():
            if change.lost_address:
                log.info("local address removed")
                self._reconciler.source_address_lost()
            if change.addresses or change.routes:
                self._addresses.invalidate()
                await self._reconciler.network_changed()
