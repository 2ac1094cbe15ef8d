"""The cluster as decisions use it: objects are parsed once, when they change."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from wgmesh_api.fields import (
    IPNetwork,
    read_duration,
    read_int,
    read_list,
    read_mapping,
    read_required,
    read_text,
    read_time,
)
from wgmesh_api.resources.mesh import WgMeshSpec, spec_of
from wgmesh_api.roster import MESH_LABEL, NODE_NAME_EXTRA, RosterNode, read_node
from wgmesh_api.values import check_address, parse_network
from wgmesh_operator.decisions.actions import Json
from wgmesh_operator.decisions.cluster_node import ClusterNode
from wgmesh_operator.decisions.object_fields import (
    EPOCH,
    read_deleting_since,
    read_items,
    read_text_map,
    read_texts,
)


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
    """A WgMesh with an invalid spec; `error` is one sentence."""

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
    """A WgMeshNode, with the metadata needed to change it. `owners` are uids."""

    roster: RosterNode
    resource_version: str = ""
    finalizers: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret of the operator's namespace, decoded. `mesh` is the one it was created for."""

    name: str
    uid: str = ""
    resource_version: str = ""
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)
    mesh: str = ""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who created a CertificateSigningRequest, as the API server attests it.

    `node_names` are the nodes that the token is bound to: exactly one for the token of a pod.
    """

    username: str
    node_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestState:
    """State of a CertificateSigningRequest."""

    approved: bool = False
    denied: bool = False
    failed: bool = False
    signed: bool = False

    @property
    def settled(self) -> bool:
        return self.denied or self.failed or (self.approved and self.signed)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A CertificateSigningRequest; `request` is in PEM, as far as it could be decoded."""

    name: str
    created: datetime
    requester: Requester
    usages: tuple[str, ...]
    expiration_seconds: int | None
    request: bytes
    state: RequestState
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object whose decoding fails.

    `mesh` is the one it belongs to; empty for an object of all meshes, such as a node. `partly`: it is decoded without
    its status, which is the malformed part; otherwise its last valid version counts, or none.
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
    """The complete input of decisions. Members and requests by mesh; the rest by name."""

    meshes: Mapping[str, AnyMesh] = field(default_factory=dict)
    nodes: Mapping[str, ClusterNode] = field(default_factory=dict)
    members: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)
    requests: Mapping[str, Mapping[str, SigningRequest]] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    daemon_sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    service_cidrs: tuple[IPNetwork, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def unread(self, kind: str) -> frozenset[str]:
        """The names of objects from which nothing may be concluded: they exist, and their content is unknown."""
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
        created=read_time(metadata.get("creationTimestamp")) or EPOCH,
        deleting_since=read_deleting_since(metadata),
        finalizers=read_texts(metadata, "finalizers"),
        resource_version=read_text(metadata, "resourceVersion"),
        annotations=read_text_map(metadata, "annotations"),
    )


def _mesh(metadata: MeshMetadata, status: Mapping[str, Any], spec: WgMeshSpec) -> Mesh:
    """Raises ValueError for a value that the CRD does not permit, or did not in an earlier release."""
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
        finalizers=read_texts(metadata, "finalizers"),
        owners=tuple(read_text(owner, "uid") for owner in owners),
        labels=read_text_map(metadata, "labels"),
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
        annotations=read_text_map(metadata, "annotations"),
        mesh=read_text(read_mapping(metadata, "labels"), MESH_LABEL),
    )


def read_signing_request(body: Mapping[str, Any]) -> SigningRequest:
    """Raises wgmesh_api.fields.UnreadableObject. A malformed request itself is left to `signing_requests.evaluate`."""
    metadata, spec = read_mapping(body, "metadata"), read_mapping(body, "spec")
    status = read_mapping(body, "status")
    conditions = {read_text(one, "type") for one in read_items(status, "conditions")}
    try:
        request = base64.b64decode(read_text(spec, "request"), validate=True)
    except ValueError:
        request = b""
    return SigningRequest(
        name=read_required(metadata, "name"),
        created=read_time(metadata.get("creationTimestamp")) or EPOCH,
        requester=Requester(
            read_text(spec, "username"), read_texts(read_mapping(spec, "extra"), NODE_NAME_EXTRA)
        ),
        usages=read_texts(spec, "usages"),
        expiration_seconds=read_int(spec, "expirationSeconds"),
        request=request,
        state=RequestState(
            approved="Approved" in conditions,
            denied="Denied" in conditions,
            failed="Failed" in conditions,
            signed=bool(status.get("certificate")),
        ),
        body=body,
    )
