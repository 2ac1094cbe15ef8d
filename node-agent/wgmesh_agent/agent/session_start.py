"""What a session and its node begin with: values only."""

from __future__ import annotations

from dataclasses import dataclass

from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join.joiner import EndpointLookup, JoinTarget
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.local_node import NodeConfig
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.psk.secret_file import SecretFile
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint

SERVICE_PORT = 5000


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a node does beyond being a member.

    Attributes:
        bind: where the Mesh service listens; None on a plain node.
        server_tls: None with `-dev`, and on a plain node.
        join_target: how to join again when no other member is alive; None for the mesh's first node.
        service_port: the port that bootstrap nodes of this mesh serve on, as far as this node can tell.
        secrets: for pre-shared keys.
        follows_address: once this machine does not have the address of `bind`, the service listens where it is then.
    """

    bind: HostPort | None
    server_tls: Credentials | None
    join_target: JoinTarget | None
    service_port: int = SERVICE_PORT
    secrets: SecretFile | None = None
    follows_address: bool = False

    @property
    def tls(self) -> bool:
        return self.client_tls is not None

    @property
    def client_tls(self) -> Credentials | None:
        """With which this node asks bootstrap nodes."""
        return self.server_tls if self.join_target is None else self.join_target.tls


@dataclass(frozen=True, slots=True)
class SessionStart:
    """What a session begins with.

    Attributes:
        policies: what decides for the node; the same object for all sessions of an agent.
        peers: the members that an admission just now has named.
        fresh: the record is new on this node, so the first gossip is waited for.
    """

    role: SessionConfig
    policies: Policies
    record: MeshRecord
    peers: tuple[Claim, ...] = ()
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class NodeStart:
    """What a node begins with.

    Attributes:
        key: the WireGuard key to begin with.
        endpoint: where others reach this node, as far as it knows now.
        lookup: where others reach this node, by its settings and routes.
    """

    config: NodeConfig
    record: MeshRecord
    key: PrivateKey
    endpoint: Endpoint
    lookup: EndpointLookup
    role: SessionConfig
