"""Detects foreign changes to the mesh's interface immediately, and requests their repair.

The kernel reports changes of links, addresses, routes and rules. It reports no changes of WireGuard's own settings (`wg
set`): those are polled, at an interval that keeps the cost negligible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from wgmesh_agent.linux.interface_monitor import InterfaceMonitor
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.dataplane.reconciler import Reconciler
from wgmesh_agent.mesh.dataplane.repair_rate_limit import Repairs
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.errors import BackEndError

log = structlog.get_logger()
READ_SECONDS, SECONDS_A_PEER = 0.7, 0.01
"""The pause before the next read: proportional to the size of the device, so that the cost stays constant."""
TOGETHER_SECONDS = 0.05
"""Debounces a change that another program makes in several steps."""


class InterfaceWatch:
    """Watches the interface, and polls WireGuard's settings."""

    def __init__(
        self,
        interface: str,
        reconciler: Reconciler,
        device: DeviceCache,
        repairs: Repairs,
        beside: Callable[[], None],
        monitor: InterfaceMonitor,
        clock: Clock,
    ) -> None:
        """`beside`: repairs other settings that may have been changed with the interface. Blocking, in a thread."""
        self._interface = interface
        self._reconciler = reconciler
        self._device = device
        self._repairs = repairs
        self._beside = beside
        self._monitor = monitor
        self._clock = clock
        self._heard = asyncio.Event()

    async def run(self) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._read())
            group.create_task(self._repair())

    async def _listen(self) -> None:
        async for _ in self._monitor(self._interface):
            self._heard.set()

    async def _read(self) -> None:
        while True:
            known = self._device.latest
            await asyncio.sleep(max(READ_SECONDS, SECONDS_A_PEER * (len(known.peers) if known else 0)))
            try:
                changed = await self._reconciler.is_changed()
            except BackEndError as error:
                log.debug("cannot read WireGuard", error=str(error))
                changed = True
            if changed:
                self._heard.set()

    async def _repair(self) -> None:
        while True:
            await self._heard.wait()
            await asyncio.sleep(max(TOGETHER_SECONDS, self._repairs.due(self._clock.monotonic())))
            self._heard.clear()
            self._reconciler.check_soon()
            await asyncio.to_thread(self._beside)
            # Also after a read that found nothing: the kernel reports our own changes as well.
            await asyncio.sleep(READ_SECONDS)
