"""WgMesh: one private network. Users write the spec, the operator the status, which is in `mesh_status`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from wgmesh_api.resources.base import Port, ResourceModel, rule, validations
from wgmesh_api.resources.mesh_status import WgMeshStatus

_DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"

_CIDR_RULES = validations(
    rule("isCIDR(self)", "not a range: write one such as 10.232.0.0/16 or fd00:10:232::/64"),
    rule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "host bits are set: write the first address of the range, 10.232.0.0/16 instead of 10.232.1.1/16",
    ),
    rule(
        "!isCIDR(self) || (cidr(self).ip().family() == 4 ?"
        " cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 30 :"
        " cidr(self).prefixLength() >= 32 && cidr(self).prefixLength() <= 126)",
        "the range is too large or too small: write a prefix length of 8 to 30 for IPv4, of 32 to 126 for IPv6",
    ),
    rule(
        "!isCIDR(self) || !(cidr(self).ip().isLoopback() || cidr(self).ip().isUnspecified() ||"
        " cidr(self).ip().isLinkLocalUnicast() || cidr(self).ip().isLinkLocalMulticast() ||"
        " cidr('224.0.0.0/4').containsIP(cidr(self).ip()) ||"
        " cidr('ff00::/8').containsIP(cidr(self).ip()))",
        "not a range of host addresses: write a private one such as 10.232.0.0/16 or fd00:10:232::/64",
    ),
)
_CIDRS_RULES = validations(
    rule("self == oldSelf", "a mesh keeps its ranges: create another mesh with the new ones"),
    rule(
        "self.size() < 2 || !isCIDR(self[0]) || !isCIDR(self[1]) ||"
        " !(cidr(self[0]).containsCIDR(self[1]) || cidr(self[1]).containsCIDR(self[0]))",
        "the two ranges overlap: write one IPv4 and one IPv6 range",
    ),
    rule(
        "self.size() < 2 || !isCIDR(self[0]) || !isCIDR(self[1]) ||"
        " cidr(self[0]).ip().family() != cidr(self[1]).ip().family()",
        "two ranges of one family: write one IPv4 and one IPv6 range",
    ),
)

Cidr = Annotated[str, Field(min_length=4, max_length=43, json_schema_extra=_CIDR_RULES)]
Quantity = Annotated[
    int | str, Field(json_schema_extra={"x-kubernetes-int-or-string": True}, description="An amount.")
]
Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)]


class Toleration(ResourceModel):
    """A tolerated taint, as in a pod's spec."""

    key: str | None = Field(default=None, description="Key of the taint; unset: every taint.", max_length=317)
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Whether `value` must match, or only `key`."
    )
    value: str | None = Field(default=None, description="Value of the taint, with `Equal`.", max_length=63)
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; unset: every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, description="How long a `NoExecute` taint is tolerated; unset: indefinitely."
    )


class BootstrapSpec(ResourceModel):
    """The bootstrap nodes."""

    replicas: int = Field(
        default=2, ge=1, le=9, description="Number of bootstrap nodes. All but one may fail."
    )
    port: Port = Field(default=5000, description="TCP port of the join service, on the node's own addresses.")


class WireguardSpec(ResourceModel):
    """The tunnels."""

    port: Port = Field(default=54540, description="UDP port of WireGuard, on the node's own addresses.")
    mtu: int | None = Field(
        default=None,
        ge=1280,
        le=9216,
        description="MTU of the mesh interface; unset: derived from the underlay.",
    )
    keepalive: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Persistent keepalive interval in seconds; 0: disabled; unset: 25 on a node behind NAT, "
        "disabled elsewhere.",
    )
    relays: Annotated[
        list[
            Annotated[
                str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
            ]
        ],
        Field(max_length=9, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(
        default=[],
        description="Members that relay traffic between members without a direct path, in order of "
        "preference. They see that traffic in plaintext; unset: no relays.",
    )
    preshared_keys: bool = Field(
        default=False,
        description="Whether tunnels also use pre-shared keys, which protect recorded traffic if Curve25519 "
        "is broken later. Derived for each pair from a secret of the mesh. May be changed at any "
        "time.",
    )
    backend: Literal["auto", "kernel", "userspace"] = Field(
        default="auto",
        description="WireGuard implementation: kernel module, or `wireguard-go`; `auto` prefers the kernel "
        "module. Fixed once set.",
        json_schema_extra=validations(
            rule("self == oldSelf", "tunnels keep their backend: create another mesh with the other one")
        ),
    )


class GossipSpec(ResourceModel):
    """Gossip settings. Fixed once set: members with different settings could not gossip with each other."""

    model_config = ResourceModel.model_config | {
        "json_schema_extra": validations(
            rule(
                "self == oldSelf", "a mesh keeps its gossip settings: create another mesh with the new ones"
            ),
        )
    }

    profile: Literal["lan", "wan", "local"] = Field(
        default="lan",
        description="Timing of failure detection: `lan` detects a dead node in seconds, `wan` in most of a "
        "minute.",
    )
    port: int = Field(
        default=7946,
        ge=1,
        le=65534,
        description="TCP and UDP port of gossip, on mesh addresses only. The next UDP port is for liveness "
        "probes.",
    )


class CertificatesSpec(ResourceModel):
    """The nodes' certificates."""

    lifetime: str = Field(
        default="720h",
        max_length=32,
        pattern=_DURATION,
        description="Lifetime of a node's certificate, such as 720h or 90m; renewed at two thirds of it.",
        json_schema_extra=validations(
            rule(
                "duration(self) >= duration('5m') && duration(self) <= duration('87600h')",
                "out of bounds: write a lifetime of 5m to 87600h",
            )
        ),
    )


_ROUTE_RULES = validations(
    rule("isCIDR(self)", "not a network: write one such as 192.168.7.0/24 or fd07::/48"),
    rule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked() && cidr(self).prefixLength() > 0",
        "host bits are set, or it covers all addresses: write a network's first address, 192.168.7.0/24",
    ),
)
Route = Annotated[str, Field(min_length=4, max_length=43, json_schema_extra=_ROUTE_RULES)]


class NodeRoutes(ResourceModel):
    """Subnet routes of one member."""

    node: str = Field(
        min_length=1,
        max_length=64,
        description="Name of the member: that of the Kubernetes node, or of the external machine.",
    )
    cidrs: Annotated[
        list[Route],
        Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(description="The networks, such as 192.168.7.0/24.")


class RoutesSpec(ResourceModel):
    """Subnet routes of the mesh."""

    pod_cidrs: bool = Field(
        default=False,
        alias="podCIDRs",
        description="Whether traffic between pods of different nodes is routed through the mesh: each node's "
        "`spec.podCIDRs`.",
    )
    nodes: Annotated[
        list[NodeRoutes],
        Field(
            max_length=64,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]},
        ),
    ] = Field(default=[], description="Members that are gateways to sites.")


_INTERVAL_RULES = validations(
    rule(
        "duration(self) >= duration('1h') && duration(self) <= duration('87600h')",
        "out of bounds: write an interval of 1h to 87600h",
    )
)


class RotationSpec(ResourceModel):
    """Automatic key rotation, and its intervals."""

    gossip_keys: str | None = Field(
        default=None,
        max_length=32,
        pattern=_DURATION,
        description="Maximum age of the gossip key before it is rotated, such as 720h; unset: rotated on "
        "demand only.",
        json_schema_extra=_INTERVAL_RULES,
    )
    wireguard_keys: str | None = Field(
        default=None,
        max_length=32,
        pattern=_DURATION,
        description="Maximum age of a node's WireGuard key before it is rotated, such as 720h; some nodes "
        "rotate a little earlier so that not all do at once; unset: rotated on demand only.",
        json_schema_extra=_INTERVAL_RULES,
    )


class ResourceRequirements(ResourceModel):
    """Resource requests and limits of a container, as in a pod's spec."""

    requests: dict[str, Quantity] = Field(
        default_factory=dict, max_length=8, description="Requested resources."
    )
    limits: dict[str, Quantity] = Field(default_factory=dict, max_length=8, description="Resource limits.")


class AgentSpec(ResourceModel):
    """The agents' pods."""

    image: str | None = Field(
        default=None, min_length=1, max_length=512, description="Image of the agent; unset: the operator's."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="Pull policy of the image; unset: the operator's setting."
    )
    privileged: bool = Field(
        default=True,
        description="Whether the agent's container is privileged; if not, it has NET_ADMIN, NET_RAW and a TUN "
        "device.",
    )
    resources: ResourceRequirements = Field(
        default_factory=ResourceRequirements,
        description="Resource requests and limits of the agent's container; unset: the operator's setting.",
    )
    priority_class_name: str | None = Field(
        default=None, max_length=253, description="Priority class of the pods; unset: the operator's setting."
    )
    metrics_port: Port = Field(
        default=9586, description="TCP port of metrics and health, on the node's own addresses."
    )
    log_format: Literal["json", "text"] = Field(default="json", description="Log format.")
    verbose: bool = Field(
        default=False, description="Whether the agent logs joins, leaves and rejected claims."
    )


_PORT_RULES = validations(
    rule(
        "self.bootstrap.port != self.agent.metricsPort",
        "bootstrap.port and agent.metricsPort are the same TCP port: change one of them",
    ),
    rule(
        "self.gossip.port != self.bootstrap.port && self.gossip.port != self.agent.metricsPort",
        "gossip.port is also bootstrap.port or agent.metricsPort: change one of them",
    ),
    rule(
        "self.gossip.port != self.wireguard.port && self.gossip.port + 1 != self.wireguard.port",
        "wireguard.port is gossip.port or the next one, both of which gossip uses over UDP: "
        "change one of them",
    ),
)


class WgMeshSpec(ResourceModel):
    """Desired state of the mesh."""

    model_config = ResourceModel.model_config | {"json_schema_extra": _PORT_RULES}

    cidrs: Annotated[list[Cidr], Field(min_length=1, max_length=2, json_schema_extra=_CIDRS_RULES)] = Field(
        description="Ranges of mesh addresses: one of IPv4, one of IPv6, or one of each. Fixed once set. They "
        "must not be used elsewhere in the cluster.",
    )
    node_selector: Labels = Field(
        default_factory=dict,
        description="Labels of the nodes that are members; unset: all nodes.",
        json_schema_extra={"x-kubernetes-map-type": "atomic"},
    )
    tolerations: Annotated[
        list[Toleration],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(
        default=[Toleration(operator="Exists")],
        description="Tolerations of the agent pods; by default all taints are tolerated.",
    )
    bootstrap: BootstrapSpec = Field(default_factory=BootstrapSpec, description="The bootstrap nodes.")
    wireguard: WireguardSpec = Field(default_factory=WireguardSpec, description="The tunnels.")
    gossip: GossipSpec = Field(default_factory=GossipSpec, description="Gossip settings. Fixed once set.")
    certificates: CertificatesSpec = Field(
        default_factory=CertificatesSpec, description="Certificates of the nodes."
    )
    routes: RoutesSpec = Field(
        default_factory=RoutesSpec,
        description="Subnet routes: networks behind members that are reached through the mesh.",
    )
    rotation: RotationSpec = Field(
        default_factory=RotationSpec, description="What is rotated automatically, and how often."
    )
    agent: AgentSpec = Field(default_factory=AgentSpec, description="The agents' pods.")


class WgMesh(ResourceModel):
    """A private WireGuard mesh over the cluster's nodes: all nodes reach each other directly and encrypted."""

    model_config = ResourceModel.model_config | {
        "json_schema_extra": validations(
            rule(
                "self.metadata.name.matches('^[a-z0-9]{1,10}$')",
                "the name is too long or contains invalid characters: write 1 to 10 of a-z and 0-9, "
                "because `wg` and the name must fit a network interface",
            ),
        )
    }

    spec: WgMeshSpec = Field(description="Desired state of the mesh.")
    status: WgMeshStatus | None = Field(default=None, description="Observed state of the mesh.")


def spec_of(body: Any) -> WgMeshSpec:
    """Parses the spec of a WgMesh as received from the API server. Raises pydantic.ValidationError."""
    return WgMeshSpec.model_validate(body.get("spec") or {})
