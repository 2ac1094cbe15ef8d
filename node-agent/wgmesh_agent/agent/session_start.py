"""Parameters of a session and its node: values only."""

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
    """Functions of a node beyond membership.

    Attributes:
        bind: listening address of the Mesh service; None on a plain node.
        server_tls: None with `-dev`, and on a plain node.
        join_target: how to join again when no other member is alive; None for the mesh's first node.
        service_port: the port of bootstrap nodes of this mesh, as far as this node can determine.
        secrets: for pre-shared keys.
        follows_address: if this machine no longer has the address of `bind`, the service listens on its current one.
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
        """Credentials for queries to bootstrap nodes."""
        return self.server_tls if self.join_target is None else self.join_target.tls


@dataclass(frozen=True, slots=True)
class SessionStart:
    """Parameters of a session.

    Attributes:
        policies: of the node; the same object for all sessions of an agent.
        peers: the members that a new admission has returned.
        fresh: the record is new on this node, so the first gossip is awaited.
    """

    role: SessionConfig
    policies: Policies
    record: MeshRecord
    peers: tuple[Claim, ...] = ()
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class NodeStart:
    """Parameters of a node.

    Attributes:
        key: the initial WireGuard key.
        endpoint: this node's endpoint, as known now.
        lookup: this node's endpoint, by its settings and routes.
    """

    config: NodeConfig
    record: MeshRecord
    key: PrivateKey
    endpoint: Endpoint
    lookup: EndpointLookup
    role: SessionConfig
