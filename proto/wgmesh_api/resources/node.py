"""WgMeshNode: one member of a mesh. The operator writes the spec, the member's agent the status."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wgmesh_api.names import MESH_NAME, NODE_NAME
from wgmesh_api.resources.base import (
    Condition,
    Count,
    ResourceModel,
    conditions_field,
    deprecated,
    rule,
    validations,
)

Address = Annotated[
    str,
    Field(
        max_length=39,
        json_schema_extra=validations(rule("isIP(self)", "not an address: write one such as 10.232.0.7")),
    ),
]
Key = Annotated[str, Field(max_length=44)]
"""A WireGuard public key in base64; empty while there is none."""


class WgMeshNodeSpec(ResourceModel):
    """Desired state of the member."""

    model_config = ResourceModel.model_config | {
        "json_schema_extra": validations(
            rule(
                "self.mesh == oldSelf.mesh && self.node == oldSelf.node && self.external == oldSelf.external",
                "the identity of a member is fixed: delete this one and create another",
            ),
            rule(
                "!has(oldSelf.addresses) || oldSelf.addresses.size() == 0 ||"
                " has(self.addresses) && self.addresses == oldSelf.addresses",
                "the addresses of a member are fixed: delete this one and create another",
            ),
            rule(
                "!(self.external && self.bootstrap)",
                "an external machine cannot be a bootstrap node: set bootstrap to false",
            ),
        )
    }

    mesh: str = Field(pattern=f"^{MESH_NAME}$", max_length=10, description="Its WgMesh. Fixed once set.")
    node: str = Field(
        pattern=f"^{NODE_NAME}$",
        max_length=64,
        description="Its name in the mesh: that of the Kubernetes node, or of the external machine. Fixed "
        "once set.",
    )
    external: bool = Field(
        default=False,
        description="Whether it is an external machine, which joins with a bundle. Fixed once set.",
    )
    addresses: Annotated[
        list[Address], Field(max_length=2, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(
        default=[],
        description="Its mesh addresses, one in each of the mesh's ranges. Allocated by the operator, unless "
        "set for an external machine; fixed once set.",
    )
    bootstrap: bool = Field(default=False, description="Whether it is a bootstrap node. Set by the operator.")
    endpoint_hint: Annotated[str, Field(max_length=39)] | None = Field(
        default=None,
        description="Where machines in other networks reach it, if that is another address than its own: "
        "the Node's annotation `wgmesh.dev/endpoint`, or else an ExternalIP. Set by the operator.",
    )
    routes: Annotated[
        list[Annotated[str, Field(max_length=43)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(
        default=[],
        description="Its subnet routes. Set by the operator, from the mesh's `routes`.",
    )


class PeerProblem(ResourceModel):
    """A peer whose link is down."""

    node: str = Field(description="Name of the peer.", max_length=253)
    problem: str = Field(description="The problem, such as `no probe for 12s`.", max_length=256)


class NarrowPath(ResourceModel):
    """A peer with a reduced path MTU."""

    node: str = Field(description="Name of the peer.", max_length=253)
    mtu: Count = Field(description="Path MTU to it, in bytes.")


PeerProblems = Annotated[
    list[PeerProblem], Field(max_length=5, json_schema_extra={"x-kubernetes-list-type": "atomic"})
]
NarrowPaths = Annotated[
    list[NarrowPath], Field(max_length=5, json_schema_extra={"x-kubernetes-list-type": "atomic"})
]
RouteRejections = Annotated[
    list[Annotated[str, Field(max_length=256)]],
    Field(max_length=5, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]
Fingerprints = Annotated[
    list[Annotated[str, Field(max_length=64)]],
    Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]
SecretIds = Annotated[
    list[Annotated[str, Field(max_length=8)]],
    Field(max_length=4, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]


class ExternalPeer(ResourceModel):
    """What a bootstrap node knows of an external member."""

    node: str = Field(description="Name of the machine.", max_length=64)
    uid: str = Field(default="", description="Uid of the WgMeshNode that it joined with.", max_length=64)
    public_key: Key = Field(default="", description="Its WireGuard public key.")
    endpoint: str = Field(default="", description="Its WireGuard endpoint.", max_length=64)
    # No default: the API server would add it to what agents of the previous release write.
    reachable: bool | None = Field(default=None, description="Whether it is reachable.")
    heard: bool | None = Field(default=None, description=deprecated("reachable"))
    secret_ids: SecretIds = Field(
        default=[], description="Ids of the secrets for pre-shared keys that it holds."
    )


class BootstrapService(ResourceModel):
    """The join service on this node."""

    serving: bool = Field(description="Whether it accepts joiners.")
    message: str = Field(
        default="",
        max_length=512,
        description="Why it does not, such as `port 5000 is in use by registry (process 812)`.",
    )


class WgMeshNodeStatus(ResourceModel):
    """Observed state of the member."""

    phase: Literal["Pending", "Joined", "Left"] | None = Field(
        default=None, description="Whether it is joining, is a member, or has left permanently."
    )
    public_key: Key | None = Field(default=None, description="Its WireGuard public key.")
    public_key_since: str | None = Field(
        default=None,
        description="Since when it has this public key.",
        json_schema_extra={"format": "date-time"},
    )
    last_handled_rotation: str | None = Field(
        default=None,
        max_length=16,
        description="Id of the value of the annotation for WireGuard key rotation that it has completed.",
    )
    rotated_for: str | None = Field(
        default=None, max_length=16, description=deprecated("lastHandledRotation")
    )
    next_public_key: Key | None = Field(
        default=None, description="Its next WireGuard public key, during a rotation."
    )
    endpoint: str | None = Field(
        default=None, max_length=64, description="Its advertised WireGuard endpoint."
    )
    backend: str | None = Field(
        default=None, max_length=32, description="Its WireGuard implementation: kernel or userspace."
    )
    interface: str | None = Field(default=None, max_length=15, description="The network interface.")
    mtu: Count | None = Field(default=None, description="MTU of the mesh interface.")
    peers: str | None = Field(
        default=None, max_length=32, description="Peers with a link up, of all, such as 2/2."
    )
    reachable_peers: Count | None = Field(default=None, description="Number of peers with a link up.")
    relayed_peers: Count | None = Field(
        default=None, description="Number of those that are reached via a relay."
    )
    preshared_key_peers: Count | None = Field(
        default=None,
        description="Number of peers with a link up whose last handshake used a pre-shared key.",
    )
    expected_peers: Count | None = Field(default=None, description="Number of expected peers.")
    failed_peers: Count | None = Field(
        default=None, description="Number of peers that gossip reports as failed."
    )
    unreachable_peers: PeerProblems = Field(default=[], description="A few of the peers whose link is down.")
    rejected_routes: RouteRejections = Field(
        default=[], description="A few of the rejected routes of other members, and why."
    )
    reduced_mtu_paths: Count | None = Field(
        default=None,
        alias="reducedMTUPaths",
        description="Number of peers whose path MTU, as probed, is below `mtu`.",
    )
    lowest_mtu_paths: NarrowPaths = Field(
        default=[], alias="lowestMTUPaths", description="A few of those peers, the lowest path MTU first."
    )
    heard: Count | None = Field(default=None, description=deprecated("reachablePeers"))
    relayed: Count | None = Field(default=None, description=deprecated("relayedPeers"))
    preshared: Count | None = Field(default=None, description=deprecated("presharedKeyPeers"))
    expected: Count | None = Field(default=None, description=deprecated("expectedPeers"))
    failed: Count | None = Field(default=None, description=deprecated("failedPeers"))
    worst: PeerProblems = Field(default=[], description=deprecated("unreachablePeers"))
    refused_routes: RouteRejections = Field(default=[], description=deprecated("rejectedRoutes"))
    narrow_paths: Count | None = Field(default=None, description=deprecated("reducedMTUPaths"))
    narrowest: NarrowPaths = Field(default=[], description=deprecated("lowestMTUPaths"))
    certificate_not_after: str | None = Field(
        default=None,
        description="Expiry time of its certificate.",
        json_schema_extra={"format": "date-time"},
    )
    certificate_serial: str | None = Field(
        default=None, max_length=64, description="Serial number of its certificate in hexadecimal."
    )
    certificate_issuer: str | None = Field(
        default=None,
        max_length=64,
        description="SHA-256 fingerprint, in hexadecimal, of the CA that signed its certificate.",
    )
    trusted_cas: Fingerprints = Field(
        default=[],
        alias="trustedCAs",
        description="SHA-256 fingerprints, in hexadecimal, of its trusted CAs. Used for CA rotation.",
    )
    trusted: Fingerprints = Field(default=[], description=deprecated("trustedCAs"))
    gossip_keys: Annotated[
        list[Annotated[str, Field(max_length=16)]],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(
        default=[],
        description="Ids of its gossip keys, the primary one first. Used for their rotation.",
    )
    secret_ids: SecretIds = Field(
        default=[],
        description="Ids of the secrets for pre-shared keys that it holds, newest first. Used for their "
        "rotation.",
    )
    agent_version: str | None = Field(default=None, max_length=64, description="Version of the agent.")
    metrics_problem: str | None = Field(
        default=None,
        max_length=512,
        description="Why health and metrics are not served, such as another program that uses their port.",
    )
    last_change: str | None = Field(
        default=None,
        description="When this status last changed.",
        json_schema_extra={"format": "date-time"},
    )
    externals: Annotated[
        list[ExternalPeer],
        Field(
            max_length=256,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]},
        ),
    ] = Field(default=[], description="On bootstrap nodes: the external members that they know.")
    bootstrap: BootstrapService | None = Field(
        default=None,
        description="On nodes that are or were bootstrap nodes: the join service. If it does not serve, the "
        "operator chooses another node.",
    )
    conditions: Annotated[list[Condition], Field(max_length=16)] = conditions_field(
        "Ready: it has joined the mesh and carries traffic."
    )


class WgMeshNode(ResourceModel):
    """A member of a WgMesh, named `<mesh>.<node>`: a node of this cluster, or an external machine."""

    model_config = ResourceModel.model_config | {
        "json_schema_extra": validations(
            rule(
                "self.metadata.name == self.spec.mesh + '.' + self.spec.node",
                message="the name must be that of mesh and node with a dot between",
                messageExpression="'the name must be mesh and node with a dot between: write ' +"
                " self.spec.mesh + '.' + self.spec.node",
            )
        )
    }

    spec: WgMeshNodeSpec = Field(description="Desired state of the member.")
    status: WgMeshNodeStatus | None = Field(default=None, description="Observed state of the member.")
