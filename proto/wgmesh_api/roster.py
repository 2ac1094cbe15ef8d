"""The custom resources as agents read and write them: plain dictionaries in, frozen dataclasses out, no pydantic.

Readers are tolerant: what is missing or malformed reads as absent, as an agent must go on with the rest of the
roster. `wgmesh_api.resources` is the schema; a test feeds its models through these readers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

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
"""Annotation of a WgMesh: any new value gives all its nodes new WireGuard keys, one after another."""
NODE_NAME_EXTRA = "authentication.kubernetes.io/node-name"
"""Key of a token's bound node in a CertificateSigningRequest's `spec.extra`."""


def bootstrap_dns_name(mesh: str) -> str:
    """The name every bootstrap node's certificate carries, for joiners to ask for."""
    return f"bootstrap.{mesh}.{GROUP}"


def agent_service_account(mesh: str) -> str:
    """The name of the service account of a mesh's agents, in the operator's namespace."""
    return f"wgmesh-{mesh}"


def node_object_name(mesh: str, node: str) -> str:
    """The name of a member's WgMeshNode."""
    return f"{mesh}.{node}"


def gossip_key_id(key: bytes) -> str:
    """What a gossip key is called where everybody may read: 16 hexadecimal digits that say nothing of it."""
    return hashlib.sha256(b"wgmesh gossip key\0" + key).hexdigest()[:16]


def token_id(token: str) -> str:
    """An annotation's value in 16 hexadecimal digits, whatever it is; empty for none."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()[:16] if token else ""


@dataclass(frozen=True, slots=True)
class RosterBootstrap:
    """A node that admits others, and where."""

    node: str
    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class RosterMesh:
    """A WgMesh as its agents need it. `created_at` in seconds since 1970; `trust_bundle` PEM, maybe empty."""

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
class ExternalReport:
    """What a bootstrap node knows of a machine outside the cluster; `uid` is that of the WgMeshNode it entered by."""

    node: str
    uid: str
    public_key: str
    endpoint: str
    heard: bool
    secret_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A WgMeshNode's status. `phase` is Pending, Joined or Left; absent values are empty, zero or None.

    `trusted` and `certificate_issuer` are SHA-256 fingerprints of CAs in hexadecimal, `certificate_serial` is
    hexadecimal; `worst` has at most 5 (peer, problem) pairs, `narrow` at most 5 (peer, bytes its path carries);
    `gossip_keys` are ids, that which encrypts first; `secret_ids` those of secrets for pre-shared keys.
    """

    phase: str = ""
    public_key: str = ""
    next_public_key: str = ""
    public_key_since: datetime | None = None
    rotated_for: str = ""
    endpoint: str = ""
    backend: str = ""
    interface: str = ""
    mtu: int | None = None
    heard: int = 0
    relayed: int = 0
    preshared: int = 0
    expected: int = 0
    failed: int = 0
    worst: tuple[tuple[str, str], ...] = ()
    refused_routes: tuple[str, ...] = ()
    narrow_count: int = 0
    narrow: tuple[tuple[str, int], ...] = ()
    certificate_not_after: datetime | None = None
    certificate_serial: str = ""
    certificate_issuer: str = ""
    trusted: tuple[str, ...] = ()
    agent_version: str = ""
    last_change: datetime | None = None
    externals: tuple[ExternalReport, ...] = ()
    gossip_keys: tuple[str, ...] = ()
    secret_ids: tuple[str, ...] = ()
    ready: bool = False
    ready_reason: str = ""
    ready_message: str = ""
    ready_since: datetime | None = None

    def to_status(self) -> dict[str, Any]:
        """The status to apply: every field that has a value."""
        status: dict[str, Any] = {
            "phase": self.phase,
            "publicKey": self.public_key,
            "nextPublicKey": self.next_public_key,
            "rotatedFor": self.rotated_for,
            "endpoint": self.endpoint,
            "backend": self.backend,
            "interface": self.interface,
            "certificateSerial": self.certificate_serial,
            "certificateIssuer": self.certificate_issuer,
            "agentVersion": self.agent_version,
        }
        status = {name: value for name, value in status.items() if value}
        if self.mtu is not None:
            status["mtu"] = self.mtu
        status |= {
            "peers": f"{self.heard}/{self.expected}",
            "heard": self.heard,
            "relayed": self.relayed,
            "preshared": self.preshared,
            "expected": self.expected,
            "failed": self.failed,
            "worst": [{"node": node, "problem": problem} for node, problem in self.worst],
            "refusedRoutes": list(self.refused_routes),
            "narrowPaths": self.narrow_count,
            "narrowest": [{"node": node, "mtu": mtu} for node, mtu in self.narrow],
            "trusted": list(self.trusted),
            "gossipKeys": list(self.gossip_keys),
            "secretIds": list(self.secret_ids),
            "externals": [
                {
                    "node": peer.node,
                    "uid": peer.uid,
                    "publicKey": peer.public_key,
                    "endpoint": peer.endpoint,
                    "heard": peer.heard,
                    "secretIds": list(peer.secret_ids),
                }
                for peer in self.externals
            ],
        }
        if self.public_key_since is not None:
            status["publicKeySince"] = write_time(self.public_key_since)
        if self.certificate_not_after is not None:
            status["certificateNotAfter"] = write_time(self.certificate_not_after)
        if self.last_change is not None:
            status["lastChange"] = write_time(self.last_change)
        if self.ready_since is not None:
            status["conditions"] = [
                {
                    "type": "Ready",
                    "status": "True" if self.ready else "False",
                    "reason": self.ready_reason or ("Joined" if self.ready else "Joining"),
                    "message": self.ready_message,
                    "lastTransitionTime": write_time(self.ready_since),
                }
            ]
        return status


@dataclass(frozen=True, slots=True)
class RosterNode:
    """A WgMeshNode: spec and what its agent says. `created` is when this object, not the machine, was made."""

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


class UnreadableObject(ValueError):
    """An object lacks what makes it one: name, uid, or the names in its spec."""


def read_mesh(body: Mapping[str, Any]) -> RosterMesh:
    """Raises UnreadableObject."""
    metadata, spec, status = _metadata(body), _mapping(body, "spec"), _mapping(body, "status")
    wireguard, gossip = _mapping(spec, "wireguard"), _mapping(spec, "gossip")
    created = read_time(metadata.get("creationTimestamp"))
    return RosterMesh(
        name=_required(metadata, "name"),
        uid=_required(metadata, "uid"),
        deleting=metadata.get("deletionTimestamp") is not None,
        created_at=_int(status, "createdAt") or (int(created.timestamp()) if created else 0),
        cidrs=tuple(network for text in _list(spec, "cidrs") if (network := _network(text)) is not None),
        bootstraps=tuple(
            bootstrap for item in _list(status, "bootstraps") if (bootstrap := _bootstrap(item)) is not None
        ),
        trust_bundle=_text(status, "trustBundle"),
        bootstrap_port=_int(_mapping(spec, "bootstrap"), "port") or 5000,
        wireguard_port=_int(wireguard, "port") or 54540,
        mtu=_int(wireguard, "mtu"),
        keepalive_seconds=_int(wireguard, "keepalive"),
        backend=_text(wireguard, "backend") or "auto",
        gossip_profile=_text(gossip, "profile") or "lan",
        gossip_port=_int(gossip, "port") or 7946,
        wireguard_key_seconds=_interval(_text(_mapping(spec, "rotation"), "wireguardKeys")),
        wireguard_key_token=_text(_mapping(metadata, "annotations"), ROTATE_WIREGUARD_KEYS),
        certificate_lifetime_seconds=_lifetime(_text(_mapping(spec, "certificates"), "lifetime")),
    )


def read_node(body: Mapping[str, Any]) -> RosterNode:
    """Raises UnreadableObject."""
    metadata, spec = _metadata(body), _mapping(body, "spec")
    created = read_time(metadata.get("creationTimestamp"))
    return RosterNode(
        name=_required(metadata, "name"),
        uid=_required(metadata, "uid"),
        created=created or datetime.fromtimestamp(0, UTC),
        deleting_since=read_time(metadata.get("deletionTimestamp")),
        mesh=_required(spec, "mesh"),
        node=_required(spec, "node"),
        addresses=tuple(
            address for text in _list(spec, "addresses") if (address := read_address(text)) is not None
        ),
        bootstrap=spec.get("bootstrap") is True,
        external=spec.get("external") is True,
        endpoint_hint=read_address(spec.get("endpointHint")),
        report=read_report(_mapping(body, "status")),
        routes=tuple(route for text in _list(spec, "routes") if (route := _network(text)) is not None),
    )


def read_report(status: Mapping[str, Any]) -> NodeReport:
    ready = _ready_condition(status)
    return NodeReport(
        phase=_text(status, "phase"),
        public_key=_text(status, "publicKey"),
        next_public_key=_text(status, "nextPublicKey"),
        public_key_since=read_time(status.get("publicKeySince")),
        rotated_for=_text(status, "rotatedFor"),
        endpoint=_text(status, "endpoint"),
        backend=_text(status, "backend"),
        interface=_text(status, "interface"),
        mtu=_int(status, "mtu"),
        heard=_int(status, "heard") or 0,
        relayed=_int(status, "relayed") or 0,
        preshared=_int(status, "preshared") or 0,
        expected=_int(status, "expected") or 0,
        failed=_int(status, "failed") or 0,
        worst=tuple(
            (_text(item, "node"), _text(item, "problem"))
            for item in _list(status, "worst")
            if isinstance(item, Mapping)
        ),
        refused_routes=tuple(item for item in _list(status, "refusedRoutes") if isinstance(item, str)),
        narrow_count=_int(status, "narrowPaths") or 0,
        narrow=tuple(
            (_text(item, "node"), _int(item, "mtu") or 0)
            for item in _list(status, "narrowest")
            if isinstance(item, Mapping)
        ),
        certificate_not_after=read_time(status.get("certificateNotAfter")),
        certificate_serial=_text(status, "certificateSerial"),
        certificate_issuer=_text(status, "certificateIssuer"),
        trusted=tuple(item for item in _list(status, "trusted") if isinstance(item, str)),
        gossip_keys=tuple(item for item in _list(status, "gossipKeys") if isinstance(item, str)),
        secret_ids=tuple(item for item in _list(status, "secretIds") if isinstance(item, str)),
        agent_version=_text(status, "agentVersion"),
        last_change=read_time(status.get("lastChange")),
        externals=tuple(
            ExternalReport(
                _text(item, "node"),
                _text(item, "uid"),
                _text(item, "publicKey"),
                _text(item, "endpoint"),
                item.get("heard") is True,
                tuple(id_ for id_ in _list(item, "secretIds") if isinstance(id_, str)),
            )
            for item in _list(status, "externals")
            if isinstance(item, Mapping) and _text(item, "node")
        ),
        ready=ready.get("status") == "True",
        ready_reason=_text(ready, "reason"),
        ready_message=_text(ready, "message"),
        ready_since=read_time(ready.get("lastTransitionTime")),
    )


def read_time(text: object) -> datetime | None:
    """An RFC 3339 time, aware and in UTC; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def write_time(moment: datetime) -> str:
    """`moment` (aware) as RFC 3339 in UTC, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_address(text: object) -> IPAddress | None:
    if not isinstance(text, str):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


_DEFAULT_LIFETIME_SECONDS = 720 * 3600.0
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def read_duration(text: str) -> float:
    """Seconds of a Go duration such as `720h` or `1h30m`. Raises ValueError."""
    total, number, rest = 0.0, "", text
    while rest:
        if rest[0].isdigit() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
            continue
        unit = "ms" if rest.startswith("ms") else rest[0]
        if unit not in _UNIT_SECONDS or not number:
            break
        total += float(number) * _UNIT_SECONDS[unit]
        number, rest = "", rest[len(unit) :]
    if rest or number or not text:
        raise ValueError(f"{text!r} is not a duration: write one such as 720h or 90m")
    return total


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
    return _mapping(body, "metadata")


def _required(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    if not isinstance(value, str) or not value:
        raise UnreadableObject(f"the object has no {key}")
    return value


def _mapping(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(mapping: Mapping[str, Any], key: str) -> list[Any]:
    value = mapping.get(key)
    return value if isinstance(value, list) else []


def _text(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


def _int(mapping: Mapping[str, Any], key: str) -> int | None:
    value = mapping.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _network(text: object) -> IPNetwork | None:
    try:
        return ip_network(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _bootstrap(item: object) -> RosterBootstrap | None:
    if not isinstance(item, Mapping):
        return None
    host, _, port = _text(item, "address").rpartition(":")
    address = read_address(host.removeprefix("[").removesuffix("]"))
    if address is None or not port.isdigit() or not _text(item, "node"):
        return None
    return RosterBootstrap(_text(item, "node"), address, int(port))


def _ready_condition(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for condition in _list(status, "conditions"):
        if isinstance(condition, Mapping) and condition.get("type") == "Ready":
            return condition
    return {}
