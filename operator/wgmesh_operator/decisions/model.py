"""The cluster as decisions see it: objects read once, when they change, into what decisions ask of them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import ip_network
from typing import Any

from pydantic import ValidationError

from wgmesh_api.fields import IPAddress, IPNetwork, read_address, read_duration, read_time
from wgmesh_api.resources.mesh import WgMeshSpec, spec_of
from wgmesh_api.roster import MESH_LABEL, RosterNode, read_node

Json = dict[str, Any]

ZONE_LABEL = "topology.kubernetes.io/zone"
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A Kubernetes node. `changed` is when it last became ready or not ready."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    changed: datetime = _EPOCH
    addresses: tuple[IPAddress, ...] = ()
    pod_cidrs: tuple[IPNetwork, ...] = ()

    @property
    def zone(self) -> str:
        return self.labels.get(ZONE_LABEL, "")


@dataclass(frozen=True)
class MeshObject:
    """A WgMesh. `spec` is None if it cannot be read: `spec_error` says why."""

    name: str
    uid: str
    generation: int
    created: datetime
    deleting_since: datetime | None
    finalizers: tuple[str, ...]
    resource_version: str
    annotations: Mapping[str, str]
    spec: WgMeshSpec | None
    spec_error: str
    status: Mapping[str, Any]

    @cached_property
    def cidrs(self) -> tuple[IPNetwork, ...]:
        return tuple(ip_network(text) for text in self.spec.cidrs) if self.spec else ()

    @cached_property
    def lifetime_seconds(self) -> float:
        """Of a node's certificate."""
        assert self.spec is not None
        return read_duration(self.spec.certificates.lifetime)

    @property
    def owner(self) -> Json:
        """As an owner reference: what it owns goes when it goes."""
        return {
            "apiVersion": "wgmesh.dev/v1alpha1",
            "kind": "WgMesh",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }


@dataclass(frozen=True, slots=True)
class Member:
    """A WgMeshNode, with what is needed to change it. `owners` are uids."""

    roster: RosterNode
    resource_version: str = ""
    finalizers: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret of the operator's namespace, decoded. `mesh` is the one it was made for."""

    name: str
    uid: str = ""
    resource_version: str = ""
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)
    mesh: str = ""


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A CertificateSigningRequest. `node_names` are those its token is bound to: exactly one in a pod's."""

    name: str
    uid: str
    created: datetime
    signer: str
    username: str
    node_names: tuple[str, ...]
    usages: tuple[str, ...]
    expiration_seconds: int | None
    request: bytes
    approved: bool
    denied: bool
    failed: bool
    signed: bool
    body: Mapping[str, Any] = field(repr=False)

    @property
    def settled(self) -> bool:
        return self.denied or self.failed or (self.approved and self.signed)


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Everything decisions look at. Members and requests by mesh; the rest by name."""

    meshes: Mapping[str, MeshObject] = field(default_factory=dict)
    nodes: Mapping[str, ClusterNode] = field(default_factory=dict)
    members: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)
    requests: Mapping[str, Mapping[str, SigningRequest]] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    daemon_sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    service_cidrs: tuple[IPNetwork, ...] = ()


def read_mesh_object(body: Mapping[str, Any]) -> MeshObject:
    metadata = body["metadata"]
    spec: WgMeshSpec | None = None
    spec_error = ""
    try:
        spec = spec_of(body)
        for text in spec.cidrs:
            ip_network(text)
        read_duration(spec.certificates.lifetime)
        for interval in (spec.rotation.gossip_keys, spec.rotation.wireguard_keys):
            if interval is not None:
                read_duration(interval)
    except (ValidationError, ValueError) as error:
        spec, spec_error = None, " ".join(str(error).split())
    return MeshObject(
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        created=read_time(metadata.get("creationTimestamp")) or _EPOCH,
        deleting_since=read_time(metadata.get("deletionTimestamp")),
        finalizers=tuple(metadata.get("finalizers") or ()),
        resource_version=metadata.get("resourceVersion", ""),
        annotations=metadata.get("annotations") or {},
        spec=spec,
        spec_error=spec_error,
        status=body.get("status") or {},
    )


def read_member(body: Mapping[str, Any]) -> Member:
    """Raises wgmesh_api.fields.UnreadableObject."""
    metadata = body["metadata"]
    return Member(
        roster=read_node(body),
        resource_version=metadata.get("resourceVersion", ""),
        finalizers=tuple(metadata.get("finalizers") or ()),
        owners=tuple(owner["uid"] for owner in metadata.get("ownerReferences") or ()),
        labels=metadata.get("labels") or {},
    )


def read_cluster_node(body: Mapping[str, Any]) -> ClusterNode:
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    ready, changed = False, _EPOCH
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready":
            ready = condition.get("status") == "True"
            changed = read_time(condition.get("lastTransitionTime")) or _EPOCH
    addresses = (
        read_address(item.get("address"))
        for item in status.get("addresses") or ()
        if item.get("type") == "InternalIP"
    )
    cidrs = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    return ClusterNode(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        taints=tuple(
            Taint(taint["key"], taint.get("value", ""), taint["effect"]) for taint in spec.get("taints") or ()
        ),
        ready=ready,
        changed=changed,
        addresses=tuple(address for address in addresses if address is not None),
        pod_cidrs=tuple(ip_network(text, strict=False) for text in cidrs),
    )


def read_secret(body: Mapping[str, Any]) -> Secret:
    metadata = body["metadata"]
    return Secret(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""),
        data={key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()},
        annotations=metadata.get("annotations") or {},
        mesh=(metadata.get("labels") or {}).get(MESH_LABEL, ""),
    )


def read_signing_request(body: Mapping[str, Any]) -> SigningRequest:
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    conditions = {condition.get("type") for condition in status.get("conditions") or ()}
    try:
        request = base64.b64decode(spec.get("request", ""), validate=True)
    except binascii.Error:
        request = b""
    return SigningRequest(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        created=read_time(metadata.get("creationTimestamp")) or _EPOCH,
        signer=spec.get("signerName", ""),
        username=spec.get("username", ""),
        node_names=tuple((spec.get("extra") or {}).get("authentication.kubernetes.io/node-name") or ()),
        usages=tuple(spec.get("usages") or ()),
        expiration_seconds=spec.get("expirationSeconds"),
        request=request,
        approved="Approved" in conditions,
        denied="Denied" in conditions,
        failed="Failed" in conditions,
        signed=bool(status.get("certificate")),
        body=body,
    )
