"""Status of a WgMesh, written by the operator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wgmesh_api.resources.base import Condition, Count, ResourceModel, conditions_field, deprecated

Links = Annotated[
    list[Annotated[str, Field(max_length=600)]],
    Field(max_length=5, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]


class BootstrapStatus(ResourceModel):
    """A bootstrap node."""

    node: str = Field(description="Name of the node.", max_length=253)
    address: str = Field(
        description="Where its join service listens: address and port, such as 192.0.2.7:5000 or "
        "[2001:db8::7]:5000.",
        max_length=64,
    )
    outer_address: str | None = Field(
        default=None,
        description="Where machines in other networks reach its join service: its Node's annotation "
        "`wgmesh.dev/endpoint`, or else an ExternalIP, and the port.",
        max_length=64,
    )


class WgMeshStatus(ResourceModel):
    """Observed state of the mesh."""

    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Generation of the spec that this status refers to."
    )
    nodes: str | None = Field(
        default=None, max_length=32, description="Ready nodes, of desired nodes, such as 3/3."
    )
    links: str | None = Field(
        default=None,
        max_length=32,
        description="Links that are up, of all ordered pairs of members, such as 6/6. A link is up while the "
        "first member receives from the second.",
    )
    desired_nodes: Count | None = Field(default=None, description="Number of desired members.")
    ready_nodes: Count | None = Field(default=None, description="Number of ready members.")
    bootstraps: Annotated[
        list[BootstrapStatus],
        Field(
            max_length=9,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]},
        ),
    ] = Field(default=[], description="The bootstrap nodes.")
    trust_bundle: str | None = Field(
        default=None,
        max_length=32768,
        description="CA certificates to trust (PEM), the signing one first.",
    )
    creation_time: str | None = Field(
        default=None, description="When the mesh was created.", json_schema_extra={"format": "date-time"}
    )
    created_at: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description=f"{deprecated('creationTime')} In seconds since 1970."
    )
    first_meshed_time: str | None = Field(
        default=None,
        description="When all links were up for the first time.",
        json_schema_extra={"format": "date-time"},
    )
    first_meshed_at: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description=f"{deprecated('firstMeshedTime')} In seconds since 1970."
    )
    gossip_key_created_at: str | None = Field(
        default=None,
        description="When the gossip key in use was created.",
        json_schema_extra={"format": "date-time"},
    )
    gossip_key_made: str | None = Field(
        default=None,
        description=deprecated("gossipKeyCreatedAt"),
        json_schema_extra={"format": "date-time"},
    )
    oldest_wireguard_key: str | None = Field(
        default=None,
        description="When the node with the oldest WireGuard key got it.",
        json_schema_extra={"format": "date-time"},
    )
    last_handled_rotation: str | None = Field(
        default=None,
        max_length=16,
        description="Id of the last value of the annotation for WireGuard key rotation that all live nodes "
        "have completed.",
    )
    wireguard_keys_rotated_for: str | None = Field(
        default=None, max_length=16, description=deprecated("lastHandledRotation")
    )
    down_links: Links = Field(
        default=[], description="A few of the links that are down, such as `a -> b: no probe for 12s`."
    )
    worst_links: Links = Field(default=[], description=deprecated("downLinks"))
    conditions: Annotated[list[Condition], Field(max_length=16)] = conditions_field(
        "Ready: every live node has joined. CertificatesReady: every member has a valid "
        "certificate. FullyMeshed: all links are up. Degraded: intervention is required. "
        "MTUMismatch: the path MTU to some peers is below the interface MTU."
    )
