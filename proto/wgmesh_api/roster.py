"""The custom resources as agents read and write them: plain dictionaries in, frozen dataclasses out, no pydantic.

Readers are tolerant: missing or malformed values read as absent, because an agent must continue with the rest of the
roster. `wgmesh_api.resources` is the schema; a test feeds its models through these readers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wgmesh_api.fields import (
    IPAddress,
    IPNetwork,
    read_address,
    read_duration,
    read_int,
    read_list,
    read_mapping,
    read_network,
    read_required,
    read_text,
    read_time,
    read_unix_time,
)
from wgmesh_api.report import NodeReport, read_report
from wgmesh_api.values import UnusableValue, parse_host_port

GROUP = "wgmesh.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
MESHES = "wgmeshes"
NODES = "wgmeshnodes"
SIGNER = f"{GROUP}/node"
"""The signer of nodes' CertificateSigningRequests."""
MESH_LABEL = f"{GROUP}/mesh"
NODE_LABEL = f"{GROUP}/node"
LEAVE_FINALIZER = f"{GROUP}/leave"
OPERATOR_MANAGER = "wgmesh-operator"
AGENT_MANAGER = "wgmesh-agent"
"""Field managers of server-side apply."""
ROTATE_WIREGUARD_KEYS = f"{GROUP}/rotate-wireguard-keys"
"""Annotation of a WgMesh: any new value rotates the WireGuard keys of all its nodes, one after another."""
ENDPOINT = f"{GROUP}/endpoint"
"""Annotation of a Kubernetes node: the address at which machines in other networks reach it."""
NODE_NAME_EXTRA = "authentication.kubernetes.io/node-name"
"""Key of a token's bound node in a CertificateSigningRequest's `spec.extra`."""


def bootstrap_dns_name(mesh: str) -> str:
    """Returns the DNS name in every bootstrap node's certificate, which joiners verify."""
    return f"bootstrap.{mesh}.{GROUP}"


def agent_service_account(mesh: str) -> str:
    """Returns the name of the service account of a mesh's agents, in the operator's namespace."""
    return f"wgmesh-{mesh}"


def node_object_name(mesh: str, node: str) -> str:
    """Returns the name of a member's WgMeshNode."""
    return f"{mesh}.{node}"


def gossip_key_id(key: bytes) -> str:
    """Returns the public id of a gossip key: 16 hexadecimal digits that reveal nothing about it."""
    return hashlib.sha256(b"wgmesh gossip key\0" + key).hexdigest()[:16]


def token_id(token: str) -> str:
    """Returns an id of any annotation value in 16 hexadecimal digits; empty for none."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:16] if token else ""


@dataclass(frozen=True, slots=True)
class RosterBootstrap:
    """A bootstrap node and its address; one with two addresses is listed twice."""

    node: str
    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class RosterMesh:
    """A WgMesh as its agents need it. `created_at` in seconds since 1970; `trust_bundle` PEM, may be empty."""

    name: str
    uid: str
    deleting: bool
    created_at: int
    cidrs: tuple[IPNetwork, ...]
    bootstraps: tuple[RosterBootstrap, ...]
    trust_bundle: str
    bootstrap_port: int
    wireguard_port: int
    mtu: int | None
    keepalive_seconds: int | None
    backend: str
    gossip_profile: str
    gossip_port: int
    certificate_lifetime_seconds: float
    wireguard_key_seconds: float | None = None
    wireguard_key_token: str = ""


@dataclass(frozen=True, slots=True)
class RosterNode:
    """A WgMeshNode: spec and status. `created` is the creation time of this object, not of the machine."""

    name: str
    uid: str
    created: datetime
    deleting_since: datetime | None
    mesh: str
    node: str
    addresses: tuple[IPAddress, ...]
    bootstrap: bool
    external: bool
    endpoint_hint: IPAddress | None
    report: NodeReport
    routes: tuple[IPNetwork, ...] = ()

    @property
    def deleting(self) -> bool:
        return self.deleting_since is not None


def read_mesh(body: Mapping[str, Any]) -> RosterMesh:
    """Raises UnreadableObject."""
    metadata, spec, status = _metadata(body), read_mapping(body, "spec"), read_mapping(body, "status")
    wireguard, gossip = read_mapping(spec, "wireguard"), read_mapping(spec, "gossip")
    created = (
        read_time(status.get("creationTime"))
        # operators of the previous release write it
        or read_unix_time(status.get("createdAt"))
        or read_time(metadata.get("creationTimestamp"))
    )
    return RosterMesh(
        name=read_required(metadata, "name"),
        uid=read_required(metadata, "uid"),
        deleting=metadata.get("deletionTimestamp") is not None,
        created_at=int(created.timestamp()) if created else 0,
        cidrs=tuple(
            network for text in read_list(spec, "cidrs") if (network := read_network(text)) is not None
        ),
        bootstraps=tuple(
            bootstrap
            for key in ("address", "outerAddress")
            for item in read_list(status, "bootstraps")
            if (bootstrap := _bootstrap(item, key)) is not None
        ),
        trust_bundle=read_text(status, "trustBundle"),
        bootstrap_port=read_int(read_mapping(spec, "bootstrap"), "port") or 5000,
        wireguard_port=read_int(wireguard, "port") or 54540,
        mtu=read_int(wireguard, "mtu"),
        keepalive_seconds=read_int(wireguard, "keepalive"),
        backend=read_text(wireguard, "backend") or "auto",
        gossip_profile=read_text(gossip, "profile") or "lan",
        gossip_port=read_int(gossip, "port") or 7946,
        wireguard_key_seconds=_interval(read_text(read_mapping(spec, "rotation"), "wireguardKeys")),
        wireguard_key_token=read_text(read_mapping(metadata, "annotations"), ROTATE_WIREGUARD_KEYS),
        certificate_lifetime_seconds=_lifetime(read_text(read_mapping(spec, "certificates"), "lifetime")),
    )


def read_node(body: Mapping[str, Any]) -> RosterNode:
    """Raises UnreadableObject."""
    metadata, spec = _metadata(body), read_mapping(body, "spec")
    created = read_time(metadata.get("creationTimestamp"))
    return RosterNode(
        name=read_required(metadata, "name"),
        uid=read_required(metadata, "uid"),
        created=created or datetime.fromtimestamp(0, UTC),
        deleting_since=read_time(metadata.get("deletionTimestamp")),
        mesh=read_required(spec, "mesh"),
        node=read_required(spec, "node"),
        addresses=tuple(
            address for text in read_list(spec, "addresses") if (address := read_address(text)) is not None
        ),
        bootstrap=spec.get("bootstrap") is True,
        external=spec.get("external") is True,
        endpoint_hint=read_address(spec.get("endpointHint")),
        report=read_report(read_mapping(body, "status")),
        routes=_routes(metadata, spec),
    )


def _routes(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[IPNetwork, ...]:
    """Returns the routes if the operator has accepted the member, which its finalizer shows.

    Users create external members: until the operator has checked one, its routes are unverified, and may belong to
    others.
    """
    if LEAVE_FINALIZER not in read_list(metadata, "finalizers"):
        return ()
    return tuple(route for text in read_list(spec, "routes") if (route := read_network(text)) is not None)


class AddressHolders:
    """The member that holds each address: of several that name it, the one whose object is oldest.

    Objects have a creation time in whole seconds; of two of the same second the first by name counts, so that the
    operator and all agents decide the same, in whatever order they learn of them.
    """

    def __init__(self, nodes: Iterable[RosterNode] = ()) -> None:
        self._claims: dict[IPAddress, dict[str, RosterNode]] = {}
        for node in nodes:
            self.put(node)

    def put(self, node: RosterNode) -> None:
        for address in node.addresses:
            self._claims.setdefault(address, {})[node.name] = node

    def drop(self, node: RosterNode) -> None:
        for address in node.addresses:
            claims = self._claims.get(address, {})
            claims.pop(node.name, None)
            if not claims:
                self._claims.pop(address, None)

    def addresses(self) -> set[IPAddress]:
        """All addresses that some member names."""
        return set(self._claims)

    def holder(self, address: IPAddress) -> RosterNode | None:
        claims = self._claims.get(address, {}).values()
        return min(claims, key=lambda node: (node.created, node.name), default=None)

    def rival(self, node: RosterNode) -> RosterNode | None:
        """Returns the member that holds an address which `node` names; None if all are its own."""
        for address in node.addresses:
            holder = self.holder(address)
            if holder is not None and holder.name != node.name:
                return holder
        return None


_DEFAULT_LIFETIME_SECONDS = 720 * 3600.0


def _interval(text: str) -> float | None:
    try:
        return read_duration(text) if text else None
    except ValueError:
        return None


def _lifetime(text: str) -> float:
    try:
        return read_duration(text)
    except ValueError:
        return _DEFAULT_LIFETIME_SECONDS


def _metadata(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return read_mapping(body, "metadata")


def _bootstrap(item: object, key: str) -> RosterBootstrap | None:
    if not isinstance(item, Mapping):
        return None
    host, _, port = read_text(item, key).rpartition(":")
    try:
        address, number = parse_host_port(host.removeprefix("[").removesuffix("]"), port)
    except UnusableValue:
        return None
    node = read_text(item, "node")
    return RosterBootstrap(node, address, number) if node else None
