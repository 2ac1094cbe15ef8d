"""A real node as tests give it: composed, not started, on a WireGuard in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.unit.factories import mesh_record
from tests.unit.machine import played_platform
from tests.unit.policies import standalone

from wgmesh_agent.agent.composition import compose
from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.platform import Platform
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.agent.session_start import NodeStart, SessionConfig
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.mesh.membership.local_node import NodeConfig
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.backend import Backend, BackendKind
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.memory_backend import MemoryBackend
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

CONFIG = NodeConfig("wgblue", 54540, 1420)
KEY = PrivateKey.generate(lambda size: bytes([9]) * size)
ENDPOINT = Endpoint(ip_address("192.0.2.1"), 54540)
MEMBER = SessionConfig(None, None, None)
"""A plain node without TLS and without a bootstrap node to query."""


@dataclass(frozen=True, slots=True)
class InMemory(SelectedBackend):
    """In the place of the choice between kernel and wireguard-go."""

    def backend(self, name: str, **_: object) -> Backend:
        return MemoryBackend(name, lambda: 0.0)


async def lookup(towards: Sequence[IPAddress]) -> Endpoint:
    """Always the same endpoint."""
    return ENDPOINT


def composed(
    folder: Path,
    record: MeshRecord | None = None,
    role: SessionConfig = MEMBER,
    policies: Policies | None = None,
    end: SessionEnd | None = None,
    platform: Platform | None = None,
) -> MeshNode:
    """To be called within an event loop."""
    record = record or mesh_record()
    start = NodeStart(CONFIG, record, KEY, ENDPOINT, lookup, role)
    selected = InMemory(BackendKind.KERNEL, "a test")
    return compose(
        start,
        StateStore(folder, record.mesh),
        selected,
        policies or standalone(),
        end or SessionEnd(),
        platform or played_platform(clock=SystemClock()),
    )
