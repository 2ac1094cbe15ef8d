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
    """The member as it is wanted."""

    model_config = ResourceModel.model_config | {
        "json_schema_extra": validations(
            rule(
                "self.mesh == oldSelf.mesh && self.node == oldSelf.node && self.external == oldSelf.external",
                "a member stays what it is: delete this one and make another",
            ),
            rule(
                "!has(oldSelf.addresses) || oldSelf.addresses.size() == 0 ||"
                " has(self.addresses) && self.addresses == oldSelf.addresses",
                "a member keeps its addresses: delete this one and make another",
            ),
            rule(
                "!(self.external && self.bootstrap)",
                "a machine outside the cluster cannot be a bootstrap node: set bootstrap to false",
            ),
        )
    }

    mesh: str = Field(
        pattern=f"^{MESH_NAME}$", max_length=10, description="The WgMesh it is a member of. Fixed once set."
    )
    node: str = Field(
        pattern=f"^{NODE_NAME}$",
        max_length=64,
        description="Its name in the mesh: that of the Kubernetes node, or of the machine outside. Fixed once"
        " set.",
    )
    external: bool = Field(
        default=False,
        description="Whether it is a machine outside the cluster, which enters with a join bundle."
        " Fixed once set.",
    )
    addresses: Annotated[
        list[Address], Field(max_length=2, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(
        default=[],
        description="Its addresses in the mesh, one of each of the mesh's ranges. Given by the operator, unless"
        " set for a machine outside; fixed once set.",
    )
    bootstrap: bool = Field(default=False, description="Whether it admits others. Set by the operator.")
    endpoint_hint: Annotated[str, Field(max_length=39)] | None = Field(
        default=None,
        description="Where machines beyond its network reach it, if that is another address than its own: the Node's"
        " annotation `wgmesh.dev/endpoint`, or else an ExternalIP. Set by the operator.",
    )
    routes: Annotated[
        list[Annotated[str, Field(max_length=43)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(
        default=[],
        description="Networks behind it that the others reach through it. Set by the operator, from the mesh's"
        " `routes`.",
    )


class PeerProblem(ResourceModel):
    """A peer that is not reachable."""

    node: str = Field(description="The peer's name.", max_length=253)
    problem: str = Field(description="What is wrong with it, such as `not heard for 12s`.", max_length=256)


class NarrowPath(ResourceModel):
    """A peer whose path carries less than the interface sends."""

    node: str = Field(description="The peer's name.", max_length=253)
    mtu: Count = Field(description="Bytes a packet to it may have.")


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
    """What a bootstrap node knows of a machine outside the cluster."""

    node: str = Field(description="The machine's name.", max_length=64)
    uid: str = Field(default="", description="The uid of the WgMeshNode that it entered by.", max_length=64)
    public_key: Key = Field(default="", description="Its WireGuard public key.")
    endpoint: str = Field(default="", description="Where packets to it go.", max_length=64)
    # No default: the API server would add it to what agents of the previous release write.
    reachable: bool | None = Field(default=None, description="Whether it is reachable through the tunnel.")
    heard: bool | None = Field(default=None, description=deprecated("reachable"))
    secret_ids: SecretIds = Field(
        default=[], description="Ids of the secrets for pre-shared keys that it holds."
    )


class BootstrapService(ResourceModel):
    """The service by which nodes join, on this node."""

    serving: bool = Field(description="Whether it accepts joiners.")
    message: str = Field(
        default="",
        max_length=512,
        description="Why it does not, such as `port 5000 is in use by registry (process 812)`.",
    )


class WgMeshNodeStatus(ResourceModel):
    """The member as it is."""

    phase: Literal["Pending", "Joined", "Left"] | None = Field(
        default=None, description="Whether it is on its way in, a member, or has left for good."
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
        description="Id of the value that the annotation for new WireGuard keys had when it got this one.",
    )
    rotated_for: str | None = Field(
        default=None, max_length=16, description=deprecated("lastHandledRotation")
    )
    next_public_key: Key | None = Field(
        default=None, description="The WireGuard public key that it is about to have instead."
    )
    endpoint: str | None = Field(
        default=None, max_length=64, description="Where other members send WireGuard packets to."
    )
    backend: str | None = Field(
        default=None, max_length=32, description="Which WireGuard it uses: kernel or userspace."
    )
    interface: str | None = Field(default=None, max_length=15, description="The network interface.")
    mtu: Count | None = Field(default=None, description="Bytes a packet inside the mesh may have.")
    peers: str | None = Field(
        default=None, max_length=32, description="Peers reachable, of all, such as 2/2."
    )
    reachable_peers: Count | None = Field(default=None, description="Number of peers that are reachable.")
    relayed_peers: Count | None = Field(
        default=None, description="How many of those are reached through a relay."
    )
    preshared_key_peers: Count | None = Field(
        default=None,
        description="With how many of the reachable peers the last handshake had a pre-shared key.",
    )
    expected_peers: Count | None = Field(default=None, description="Number of peers there should be.")
    failed_peers: Count | None = Field(
        default=None, description="Number of peers that gossip lists as failed."
    )
    unreachable_peers: PeerProblems = Field(
        default=[], description="A few of the peers that are not reachable."
    )
    rejected_routes: RouteRejections = Field(
        default=[], description="A few of the routes of other members that do not fit this node, and why."
    )
    reduced_mtu_paths: Count | None = Field(
        default=None,
        alias="reducedMTUPaths",
        description="To how many peers less than `mtu` passes, as probed.",
    )
    lowest_mtu_paths: NarrowPaths = Field(
        default=[], alias="lowestMTUPaths", description="A few of those peers, the lowest MTU first."
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
        description="When its certificate ends.",
        json_schema_extra={"format": "date-time"},
    )
    certificate_serial: str | None = Field(
        default=None, max_length=64, description="Its certificate's serial number in hexadecimal."
    )
    certificate_issuer: str | None = Field(
        default=None,
        max_length=64,
        description="SHA-256 fingerprint, in hexadecimal, of the CA its certificate was signed by.",
    )
    trusted_cas: Fingerprints = Field(
        default=[],
        alias="trustedCAs",
        description="SHA-256 fingerprints, in hexadecimal, of the CAs it trusts. Used for CA rotation.",
    )
    trusted: Fingerprints = Field(default=[], description=deprecated("trustedCAs"))
    gossip_keys: Annotated[
        list[Annotated[str, Field(max_length=16)]],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(
        default=[],
        description="Ids of the gossip keys it has, that which encrypts first. Used for their rotation.",
    )
    secret_ids: SecretIds = Field(
        default=[],
        description="Ids of the secrets for pre-shared keys that it holds, the newest first. Used for their change.",
    )
    agent_version: str | None = Field(default=None, max_length=64, description="The agent's version.")
    metrics_problem: str | None = Field(
        default=None,
        max_length=512,
        description="Why health and metrics are not served, such as another program that has their port.",
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
    ] = Field(default=[], description="On bootstrap nodes: machines outside the cluster they know.")
    bootstrap: BootstrapService | None = Field(
        default=None,
        description="On nodes that are or were bootstrap nodes: the service by which nodes join. The operator moves"
        " the duty from a node that does not serve.",
    )
    conditions: Annotated[list[Condition], Field(max_length=16)] = conditions_field(
        "Ready: it has joined the mesh and carries traffic."
    )


class WgMeshNode(ResourceModel):
    """A member of a WgMesh, named `<mesh>.<node>`: a node of this cluster, or a machine outside it."""

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

    spec: WgMeshNodeSpec = Field(description="The member as it is wanted.")
    status: WgMeshNodeStatus | None = Field(default=None, description="The member as it is.")
