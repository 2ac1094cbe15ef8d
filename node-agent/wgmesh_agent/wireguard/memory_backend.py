"""A backend that keeps its device in memory, by WireGuard's own rules: for tests of users of `Backend`."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from wgmesh_agent.wireguard.backend import BackendKind, OpenResult
from wgmesh_agent.wireguard.diff import Change
from wgmesh_agent.wireguard.errors import InterfaceGoneError
from wgmesh_agent.wireguard.model import Device, InterfaceSpec, Peer
from wgmesh_agent.wireguard.patch import apply


class MemoryBackend:
    """`device` is the state of the "kernel" (None: no interface); tests may set it, as peers and packets would."""

    kind = BackendKind.KERNEL

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        """`clock` gives unix seconds."""
        self.name = name
        self.device: Device | None = None
        self.spec: InterfaceSpec | None = None
        self.changes: list[Change] = []
        self._clock = clock

    async def open(self, spec: InterfaceSpec) -> OpenResult:
        adopted = self.device is not None
        self.device = self.device or Device(self.name)
        self.spec = spec
        return OpenResult(adopted)

    async def read(self) -> Device:
        return self._standing()

    async def fingerprint(self) -> int:
        device = self._standing()
        peers = ((key, peer.allowed_ips, peer.preshared_key.raw) for key, peer in device.peers.items())
        return hash((device.public_key, device.listen_port, frozenset(peers)))

    async def apply(self, changes: Sequence[Change]) -> None:
        self.device = apply(self._standing(), changes, now_unix=self._clock())
        self.changes.extend(changes)

    async def close(self) -> None:
        self.spec = None

    async def destroy(self) -> None:
        self.device = self.spec = None

    def handshake(self, peer: Peer) -> None:
        """Simulates a handshake: `peer` becomes its state in the device."""
        device = self._standing()
        self.device = replace(device, peers={**device.peers, peer.public_key: peer})

    def _standing(self) -> Device:
        if self.device is None:
            raise InterfaceGoneError(f"interface {self.name} does not exist")
        return self.device
