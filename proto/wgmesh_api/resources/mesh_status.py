"""What the operator says of a WgMesh."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wgmesh_api.resources.base import Condition, Count, ResourceModel, conditions_field, deprecated

Links = Annotated[
    list[Annotated[str, Field(max_length=600)]],
    Field(max_length=5, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]


class BootstrapStatus(ResourceModel):
    """A node that admits others."""

    node: str = Field(description="The node's name.", max_length=253)
    address: str = Field(
        description="Where it answers: address and port, such as 192.0.2.7:5000 or [2001:db8::7]:5000.",
        max_length=64,
    )
    outer_address: str | None = Field(
        default=None,
        description="Where it answers machines beyond its network: its Node's annotation `wgmesh.dev/endpoint`, or else"
        " an ExternalIP, and the port.",
        max_length=64,
    )


class WgMeshStatus(ResourceModel):
    """The mesh as it is."""

    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="The spec's generation this status speaks of."
    )
    nodes: str | None = Field(
        default=None, max_length=32, description="Nodes that are ready, of those wanted, such as 3/3."
    )
    links: str | None = Field(
        default=None,
        max_length=32,
        description="Ordered pairs of members of which the first hears the second, of all, such as 6/6.",
    )
    desired_nodes: Count | None = Field(default=None, description="How many members there should be.")
    ready_nodes: Count | None = Field(default=None, description="How many of them are ready.")
    bootstraps: Annotated[
        list[BootstrapStatus],
        Field(
            max_length=9,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]},
        ),
    ] = Field(default=[], description="Where nodes enter.")
    trust_bundle: str | None = Field(
        default=None,
        max_length=32768,
        description="The CA certificates to trust (PEM), that which signs now first.",
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
        description="Since when the node with the oldest WireGuard key has it.",
        json_schema_extra={"format": "date-time"},
    )
    last_handled_rotation: str | None = Field(
        default=None,
        max_length=16,
        description="Id of the last value of the annotation for new WireGuard keys that all live nodes have done.",
    )
    wireguard_keys_rotated_for: str | None = Field(
        default=None, max_length=16, description=deprecated("lastHandledRotation")
    )
    down_links: Links = Field(
        default=[], description="A few of the links that are down, such as `a -> b: not heard for 12s`."
    )
    worst_links: Links = Field(default=[], description=deprecated("downLinks"))
    conditions: Annotated[list[Condition], Field(max_length=16)] = conditions_field(
        "Ready: every live node has joined. CertificatesReady: every member has a valid certificate."
        " FullyMeshed: every member hears every other. Degraded: something needs a person."
        " MTUMismatch: some paths carry smaller packets than the interfaces send."
    )
