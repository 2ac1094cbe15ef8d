"""Kubernetes nodes: the properties on which a mesh depends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wgmesh_api.fields import (
    IPAddress,
    IPNetwork,
    read_address,
    read_list,
    read_mapping,
    read_required,
    read_text,
    read_time,
)
from wgmesh_api.roster import ENDPOINT
from wgmesh_api.values import UnusableValue, parse_address, parse_network
from wgmesh_operator.decisions.object_fields import EPOCH, read_items, read_text_map

NODE_KIND = "Node"
INTERNAL_IP, EXTERNAL_IP = "InternalIP", "ExternalIP"
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """The addresses of a Kubernetes node.

    `internal` are its InternalIPs; `outer` is its external address: the annotation `wgmesh.dev/endpoint`, or else an
    ExternalIP. `error` is what is wrong with the annotation.
    """

    internal: tuple[IPAddress, ...] = ()
    outer: IPAddress | None = None
    error: str = ""

    @property
    def every(self) -> tuple[IPAddress, ...]:
        return self.internal if self.outer is None else (*self.internal, self.outer)


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A Kubernetes node. `changed` is when it last became ready or not ready."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    changed: datetime = EPOCH
    addresses: NodeAddresses = NodeAddresses()
    pod_cidrs: tuple[IPNetwork, ...] = ()

    @property
    def zone(self) -> str:
        return self.labels.get(ZONE_LABEL, "")


def read_cluster_node(body: Mapping[str, Any]) -> ClusterNode:
    """Raises wgmesh_api.fields.UnreadableObject."""
    metadata, spec = read_mapping(body, "metadata"), read_mapping(body, "spec")
    status = read_mapping(body, "status")
    ready = next((one for one in read_items(status, "conditions") if one.get("type") == "Ready"), {})
    cidrs = read_list(spec, "podCIDRs") or [spec.get("podCIDR")]
    return ClusterNode(
        name=read_required(metadata, "name"),
        labels=read_text_map(metadata, "labels"),
        taints=tuple(
            Taint(read_required(taint, "key"), read_text(taint, "value"), read_required(taint, "effect"))
            for taint in read_items(spec, "taints")
        ),
        ready=ready.get("status") == "True",
        changed=read_time(ready.get("lastTransitionTime")) or EPOCH,
        addresses=_addresses(
            read_items(status, "addresses"), read_text_map(metadata, "annotations").get(ENDPOINT, "")
        ),
        pod_cidrs=tuple(network for text in cidrs if (network := _pod_cidr(text)) is not None),
    )


def _addresses(items: Iterable[Mapping[str, Any]], annotated: str) -> NodeAddresses:
    """`annotated` is the endpoint in the annotation, empty if there is none."""
    read = [
        (kind, address)
        for item in items
        if (kind := read_text(item, "type")) in (INTERNAL_IP, EXTERNAL_IP)
        if (address := read_address(item.get("address"))) is not None
    ]
    internal = tuple(address for kind, address in read if kind == INTERNAL_IP)
    outer = next((a for kind, a in read if kind == EXTERNAL_IP and a not in internal), None)
    if not annotated:
        return NodeAddresses(internal, outer)
    try:
        return NodeAddresses(internal, parse_address(annotated))
    except UnusableValue as error:
        return NodeAddresses(internal, outer, str(error))


def _pod_cidr(text: object) -> IPNetwork | None:
    try:
        return parse_network(text, cut_host_bits=True)
    except UnusableValue:
        return None
