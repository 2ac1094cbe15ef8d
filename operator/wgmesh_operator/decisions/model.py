"""The cluster as decisions see it: objects read once, when they change, into what decisions ask of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from wgmesh_api.fields import (
    IPAddress,
    IPNetwork,
    read_address,
    read_duration,
    read_int,
    read_list,
    read_mapping,
    read_required,
    read_text,
    read_time,
)
from wgmesh_api.resources.mesh import WgMeshSpec, spec_of
from wgmesh_api.roster import ENDPOINT, MESH_LABEL, NODE_NAME_EXTRA, RosterNode, read_node
from wgmesh_api.values import UnusableValue, check_address, parse_address, parse_network
from wgmesh_operator.decisions.actions import Json

NODE_KIND = "Node"
INTERNAL_IP, EXTERNAL_IP = "InternalIP", "ExternalIP"
ZONE_LABEL = "topology.kubernetes.io/zone"
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A Kubernetes node.

    `changed` is when it last became ready or not ready. `addresses` are its InternalIPs; `outer` is where machines
    beyond its network reach it: the annotation `wgmesh.dev/endpoint`, or else an ExternalIP. `endpoint_error` says what
    is wrong with the annotation.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    changed: datetime = _EPOCH
    addresses: tuple[IPAddress, ...] = ()
    outer: IPAddress | None = None
    endpoint_error: str = ""
    pod_cidrs: tuple[IPNetwork, ...] = ()

    @property
    def zone(self) -> str:
        return self.labels.get(ZONE_LABEL, "")


@dataclass(frozen=True, slots=True)
class MeshMetadata:
    """The metadata of a WgMesh."""

    name: str
    uid: str
    generation: int
    created: datetime
    deleting_since: datetime | None
    finalizers: tuple[str, ...]
    resource_version: str
    annotations: Mapping[str, str]

    @property
    def owner(self) -> Json:
        """As a controller's owner reference: the API server deletes owned objects after their owner."""
        return {
            "apiVersion": "wgmesh.dev/v1alpha1",
            "kind": "WgMesh",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }


@dataclass(frozen=True, slots=True)
class NodeRoutes:
    """The networks behind one member, as the spec lists them."""

    node: str
    networks: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True)
class Mesh:
    """A WgMesh with a valid spec, whose texts are parsed.

    `gossip_key_interval`: how often the gossip key is rotated; None: on request only.
    """

    metadata: MeshMetadata
    status: Mapping[str, Any]
    spec: WgMeshSpec
    cidrs: tuple[IPNetwork, ...]
    certificate_lifetime: timedelta
    gossip_key_interval: timedelta | None
    routes: tuple[NodeRoutes, ...]

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def uid(self) -> str:
        return self.metadata.uid


@dataclass(frozen=True, slots=True)
class InvalidMesh:
    """A WgMesh whose spec cannot be read; `error` is one sentence."""

    metadata: MeshMetadata
    status: Mapping[str, Any]
    error: str

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def uid(self) -> str:
        return self.metadata.uid


AnyMesh = Mesh | InvalidMesh


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
class Unreadable:
    """An object that reading fails on.

    `mesh` is the one it belongs to; empty for an object of all meshes, such as a node. `partly`: it is read without its
    status, which is what fails; else the last version that could be read counts, or none.
    """

    kind: str
    name: str
    uid: str
    mesh: str
    why: str
    partly: bool = False

    def __str__(self) -> str:
        what = f"the status of {self.kind} {self.name}" if self.partly else f"{self.kind} {self.name}"
        return f"{what} cannot be read: {self.why}: correct it, or delete the object"


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Everything decisions look at. Members and requests by mesh; the rest by name."""

    meshes: Mapping[str, AnyMesh] = field(default_factory=dict)
    nodes: Mapping[str, ClusterNode] = field(default_factory=dict)
    members: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)
    requests: Mapping[str, Mapping[str, SigningRequest]] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    daemon_sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    service_cidrs: tuple[IPNetwork, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def unread(self, kind: str) -> frozenset[str]:
        """The names of objects of which nothing may be concluded: they exist, and their content is unknown."""
        return frozenset(one.name for one in self.unreadable if one.kind == kind and not one.partly)


def read_mesh_object(body: Mapping[str, Any]) -> AnyMesh:
    """Raises wgmesh_api.fields.UnreadableObject for faults outside the spec; one in the spec gives an `InvalidMesh`."""
    metadata, status = _mesh_metadata(read_mapping(body, "metadata")), read_mapping(body, "status")
    try:
        return _mesh(metadata, status, spec_of(body))
    except Exception as error:
        return InvalidMesh(metadata, status, " ".join(str(error).split()))


def _mesh_metadata(metadata: Mapping[str, Any]) -> MeshMetadata:
    return MeshMetadata(
        name=read_required(metadata, "name"),
        uid=read_required(metadata, "uid"),
        generation=read_int(metadata, "generation") or 0,
        created=read_time(metadata.get("creationTimestamp")) or _EPOCH,
        deleting_since=_deleting_since(metadata),
        finalizers=_texts(metadata, "finalizers"),
        resource_version=read_text(metadata, "resourceVersion"),
        annotations=_labels(metadata, "annotations"),
    )


def _mesh(metadata: MeshMetadata, status: Mapping[str, Any], spec: WgMeshSpec) -> Mesh:
    """Raises ValueError for what the definition cannot express, or did not in an earlier release."""
    cidrs = tuple(parse_network(text) for text in spec.cidrs)
    for network in cidrs:
        if network.num_addresses > 1:
            check_address(network.network_address + 1)
    rotation = spec.rotation
    if rotation.wireguard_keys is not None:
        read_duration(rotation.wireguard_keys)  # agents read the value
    return Mesh(
        metadata=metadata,
        status=status,
        spec=spec,
        cidrs=cidrs,
        certificate_lifetime=timedelta(seconds=read_duration(spec.certificates.lifetime)),
        gossip_key_interval=(
            timedelta(seconds=read_duration(rotation.gossip_keys))
            if rotation.gossip_keys is not None
            else None
        ),
        routes=tuple(
            NodeRoutes(entry.node, tuple(parse_network(text) for text in entry.cidrs))
            for entry in spec.routes.nodes
        ),
    )


def read_member(body: Mapping[str, Any]) -> Member:
    """Raises wgmesh_api.fields.UnreadableObject."""
    metadata = read_mapping(body, "metadata")
    owners = (owner for owner in read_list(metadata, "ownerReferences") if isinstance(owner, Mapping))
    return Member(
        roster=read_node(body),
        resource_version=read_text(metadata, "resourceVersion"),
        finalizers=_texts(metadata, "finalizers"),
        owners=tuple(read_text(owner, "uid") for owner in owners),
        labels=_labels(metadata, "labels"),
    )


def read_cluster_node(body: Mapping[str, Any]) -> ClusterNode:
    """Raises wgmesh_api.fields.UnreadableObject."""
    metadata, spec = read_mapping(body, "metadata"), read_mapping(body, "spec")
    status = read_mapping(body, "status")
    ready = next((one for one in _items(status, "conditions") if one.get("type") == "Ready"), {})
    addresses = [
        (kind, address)
        for item in _items(status, "addresses")
        if (kind := read_text(item, "type")) in (INTERNAL_IP, EXTERNAL_IP)
        if (address := read_address(item.get("address"))) is not None
    ]
    cidrs = read_list(spec, "podCIDRs") or [spec.get("podCIDR")]
    internal = tuple(address for kind, address in addresses if kind == INTERNAL_IP)
    outer = next((a for kind, a in addresses if kind == EXTERNAL_IP and a not in internal), None)
    endpoint_error, annotated = "", _labels(metadata, "annotations").get(ENDPOINT, "")
    if annotated:
        try:
            outer = parse_address(annotated)
        except UnusableValue as error:
            endpoint_error = str(error)
    return ClusterNode(
        name=read_required(metadata, "name"),
        labels=_labels(metadata, "labels"),
        taints=tuple(
            Taint(read_required(taint, "key"), read_text(taint, "value"), read_required(taint, "effect"))
            for taint in _items(spec, "taints")
        ),
        ready=ready.get("status") == "True",
        changed=read_time(ready.get("lastTransitionTime")) or _EPOCH,
        addresses=internal,
        outer=outer,
        endpoint_error=endpoint_error,
        pod_cidrs=tuple(network for text in cidrs if (network := _pod_cidr(text)) is not None),
    )


def read_secret(body: Mapping[str, Any]) -> Secret:
    """Raises wgmesh_api.fields.UnreadableObject, or ValueError for data that is not base64."""
    metadata = read_mapping(body, "metadata")
    data = read_mapping(body, "data")
    return Secret(
        name=read_required(metadata, "name"),
        uid=read_text(metadata, "uid"),
        resource_version=read_text(metadata, "resourceVersion"),
        data={key: base64.b64decode(read_text(data, key)) for key in data},
        annotations=_labels(metadata, "annotations"),
        mesh=read_text(read_mapping(metadata, "labels"), MESH_LABEL),
    )


def read_signing_request(body: Mapping[str, Any]) -> SigningRequest:
    """Raises wgmesh_api.fields.UnreadableObject. What is wrong with the request itself is for
    `signing_requests.evaluate`.
    """
    metadata, spec = read_mapping(body, "metadata"), read_mapping(body, "spec")
    status = read_mapping(body, "status")
    conditions = {read_text(one, "type") for one in _items(status, "conditions")}
    try:
        request = base64.b64decode(read_text(spec, "request"), validate=True)
    except ValueError:
        request = b""
    return SigningRequest(
        name=read_required(metadata, "name"),
        uid=read_text(metadata, "uid"),
        created=read_time(metadata.get("creationTimestamp")) or _EPOCH,
        signer=read_text(spec, "signerName"),
        username=read_text(spec, "username"),
        node_names=_texts(read_mapping(spec, "extra"), NODE_NAME_EXTRA),
        usages=_texts(spec, "usages"),
        expiration_seconds=read_int(spec, "expirationSeconds"),
        request=request,
        approved="Approved" in conditions,
        denied="Denied" in conditions,
        failed="Failed" in conditions,
        signed=bool(status.get("certificate")),
        body=body,
    )


def _items(mapping: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [item for item in read_list(mapping, key) if isinstance(item, Mapping)]


def _texts(mapping: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(item for item in read_list(mapping, key) if isinstance(item, str))


def _labels(metadata: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name: text for name, text in read_mapping(metadata, key).items() if isinstance(text, str)}


def _deleting_since(metadata: Mapping[str, Any]) -> datetime | None:
    """An object that is being deleted is so whatever the time says."""
    moment = metadata.get("deletionTimestamp")
    return None if moment is None else read_time(moment) or _EPOCH


def _pod_cidr(text: object) -> IPNetwork | None:
    try:
        return parse_network(text, cut_host_bits=True)
    except UnusableValue:
        return None
