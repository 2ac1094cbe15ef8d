"""This node as tests give it: plain values in the place of a `LocalNode`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from wgmesh_agent.mesh.membership.local_node import LocalNode, NodeConfig
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

CONFIG = NodeConfig("wgblue", 54540, 1420)
ENDPOINT = Endpoint(ip_address("192.0.2.1"), 54540)


@dataclass(frozen=True, slots=True)
class LocalClaim:
    """What a ledger asks of this node."""

    node: str
    public_key: PublicKey
    addresses: tuple[IPAddress, ...]
    ranges: tuple[IPv4Network | IPv6Network, ...]


@dataclass(slots=True)
class Tunnels:
    """What a reconciler asks of this node."""

    private_key: PrivateKey
    listen_port: int = 54540
    keepalive_seconds: int | None = None


class MemoryRecords:
    """The mesh record without a file; `kept` is what would be in it."""

    def __init__(self, value: MeshRecord) -> None:
        self.value = self.kept = value

    def set(self, value: MeshRecord) -> None:
        """Visible, and not kept."""
        self.value = value

    def replace(self, value: MeshRecord) -> None:
        """Kept, and visible."""
        self.value = self.kept = value

    def persist(self) -> None:
        """Kept as it is."""
        self.kept = self.value

    def persist_if_possible(self) -> None:
        """As `persist`."""
        self.persist()


def local_node(
    record: MeshRecord,
    key: PrivateKey,
    *,
    endpoint: Endpoint = ENDPOINT,
    changed: Signal | None = None,
    secret_ids: tuple[bytes, ...] = (),
    config: NodeConfig = CONFIG,
) -> LocalNode:
    """This node under a record that no file has."""
    return LocalNode(config, MemoryRecords(record), key, endpoint, changed or Signal(), secret_ids=secret_ids)
