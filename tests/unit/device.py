"""The WireGuard device as tests give it: in memory, or played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.unit.clock import TestClock

from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.backend import Backend
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import Device, InterfaceSpec, Network


def device_cache(backend: Backend) -> DeviceCache:
    """Of a back end, with a signal and a clock of its own."""
    return DeviceCache(backend, Signal(), TestClock())


class PlayedDevice(DeviceCache):
    """Holds what the test says; `converged` counts who waited for a pass."""

    def __init__(self, device: Device) -> None:
        super().__init__(MemoryBackend(device.name, lambda: 0.0), Signal(), TestClock())
        self.device = self.latest = device
        self.fault: BackEndError | None = None
        self.passes = 0

    async def read(self, max_age_seconds: float = 0.0) -> Device:
        if self.fault is not None:
            raise self.fault
        return self.device

    async def converged(self) -> Device:
        self.passes += 1
        return self.device


class FixedPlan:
    """An interface that stays as it is, without networks behind peers."""

    def __init__(self, spec: InterfaceSpec) -> None:
        self._spec = spec

    def interface_spec(self) -> InterfaceSpec:
        """As given."""
        return self._spec

    def allowed_ips(self) -> Mapping[PublicKey, Sequence[Network]]:
        """None."""
        return {}
