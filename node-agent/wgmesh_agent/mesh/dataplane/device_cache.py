"""Cache of the WireGuard device: concurrent readers share one read, and can wait for the next reconciler pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.wireguard.backend import Backend
from wgmesh_agent.wireguard.model import Device


class DeviceCache:
    """The device as last read. The reconciler reports its passes here; all other components read, request or wait.

    Attributes:
        lock: held while the device is read or programmed.
        latest: the device at the end of the last pass; None before the first.
        requested: notified when the desired device may have changed.
        urgent: notified as well when a caller waits for the pass.
    """

    def __init__(self, backend: Backend, requested: Signal, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self.requested = requested
        self.urgent = Signal(requested)
        self.lock = asyncio.Lock()
        self.latest: Device | None = None
        self._read: tuple[float, Device] | None = None
        self._waiting: list[asyncio.Future[Device]] = []

    def request(self) -> None:
        """Requests a pass soon: the desired device may have changed."""
        self.requested.notify()

    async def read(self, max_age_seconds: float = 0.0) -> Device:
        """The device as read at most that many seconds ago. Raises BackEndError."""
        async with self.lock:
            now = self._clock.monotonic()
            if self._read is None or now - self._read[0] > max_age_seconds:
                self._read = self._clock.monotonic(), await self._backend.read()
            return self._read[1]

    async def converged(self) -> Device:
        """Waits for the first pass that begins after the call. Returns the device after it; raises its BackEndError."""
        waiter: asyncio.Future[Device] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.urgent.notify()
        return await waiter

    def begin_pass(self) -> Sequence[asyncio.Future[Device]]:
        """The callers that wait for this pass, whose result `passed` or `failed` then sets."""
        waiting, self._waiting, self._read = self._waiting, [], None
        return waiting

    def passed(self, waiting: Sequence[asyncio.Future[Device]], device: Device) -> None:
        """The pass completed with this device."""
        self.latest = device
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(device)

    def failed(self, waiting: Sequence[asyncio.Future[Device]], error: BaseException) -> None:
        """The pass failed."""
        for waiter in waiting:
            if waiter.done():
                continue
            if isinstance(error, Exception):
                waiter.set_exception(error)
            else:
                waiter.cancel()
