"""The remembered mesh and its members, as plain JSON types and back. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from wgmesh_agent.membership.admission_record import AdmissionFault, AdmissionRecord
from wgmesh_agent.membership.binding import Binding, Claim, IPAddress, Origin
from wgmesh_agent.membership.preshared import read_ids, write_ids
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint


@dataclass(frozen=True, slots=True)
class MeshRecord:
    """The mesh as this node is part of it.

    Attributes:
        mesh: its name.
        node: this node's name.
        addresses: this node's mesh addresses, the primary one first.
        ranges: the mesh's ranges, the primary one first.
        ipam_ranges: where joiners' addresses come from; empty on a plain node.
        created_unix, joined_unix: seconds.
        gossip_keys: the key ring, the primary key first; empty: plaintext gossip.
        wireguard_key_since: unix seconds when this node's WireGuard key came into use; 0: not known.
        wireguard_key_token: what a cluster had asked for by then, as an id; empty: nothing.
        gossip_keys_since: unix seconds when the ring was decided on; of two rings of one mesh the later one holds.
        profile: lan, wan or local.
        gossip_port: UDP and TCP, on the mesh addresses.
        bootstrap: whether this node admits joiners.
        tags: what the user set on this node.
        requires_admission: whether gossip binds a member only with an admission record.
        admission: this node's own record; None where it makes it itself, or has none.
        routes: networks behind this node that it asks to announce.
    """

    mesh: str
    node: str
    addresses: tuple[IPAddress, ...]
    ranges: tuple[IPv4Network | IPv6Network, ...]
    ipam_ranges: tuple[IPv4Network | IPv6Network, ...]
    created_unix: int
    joined_unix: int
    gossip_keys: tuple[bytes, ...] = field(repr=False)
    profile: str
    gossip_port: int
    bootstrap: bool
    tags: dict[str, str]
    requires_admission: bool = False
    admission: AdmissionRecord | None = field(default=None, repr=False, compare=False)
    routes: tuple[IPv4Network | IPv6Network, ...] = ()
    gossip_keys_since: int = 0
    wireguard_key_since: int = 0
    wireguard_key_token: str = ""


def mesh_to_json(record: MeshRecord) -> dict[str, Any]:
    return {
        "mesh": record.mesh,
        "node": record.node,
        "addresses": [str(a) for a in record.addresses],
        "ranges": [str(n) for n in record.ranges],
        "ipamRanges": [str(n) for n in record.ipam_ranges],
        "created": record.created_unix,
        "joined": record.joined_unix,
        "gossipKeys": [base64.b64encode(key).decode() for key in record.gossip_keys],
        "gossipKeysSince": record.gossip_keys_since,
        "wireguardKeySince": record.wireguard_key_since,
        "wireguardKeyToken": record.wireguard_key_token,
        "profile": record.profile,
        "gossipPort": record.gossip_port,
        "bootstrap": record.bootstrap,
        "tags": record.tags,
        "requiresAdmission": record.requires_admission,
        "admission": _admission_to_json(record.admission),
        "routes": [str(n) for n in record.routes],
    }


def mesh_from_json(content: Any) -> MeshRecord:
    """Raises KeyError, TypeError or ValueError if the content is not what `mesh_to_json` makes."""
    return MeshRecord(
        mesh=str(content["mesh"]),
        node=str(content["node"]),
        addresses=tuple(ip_address(a) for a in content["addresses"]),
        ranges=tuple(ip_network(n) for n in content["ranges"]),
        ipam_ranges=tuple(ip_network(n) for n in content["ipamRanges"]),
        created_unix=int(content["created"]),
        joined_unix=int(content["joined"]),
        gossip_keys=tuple(base64.b64decode(key, validate=True) for key in content["gossipKeys"]),
        profile=str(content["profile"]),
        gossip_port=int(content["gossipPort"]),
        bootstrap=bool(content["bootstrap"]),
        tags={str(k): str(v) for k, v in content["tags"].items()},
        requires_admission=bool(content.get("requiresAdmission", False)),
        admission=_admission_from_json(content),
        routes=tuple(ip_network(n) for n in content.get("routes", [])),
        gossip_keys_since=int(content.get("gossipKeysSince", 0)),
        wireguard_key_since=int(content.get("wireguardKeySince", 0)),
        wireguard_key_token=str(content.get("wireguardKeyToken", "")),
    )


def members_to_json(bindings: Iterable[Binding]) -> list[dict[str, Any]]:
    return [
        {
            "node": b.claim.node,
            "pubkey": str(b.claim.public_key),
            "addresses": [str(a) for a in b.claim.addresses],
            "endpoints": [str(e) for e in b.claim.endpoints],
            "bootstrap": b.claim.bootstrap,
            "origin": b.origin.value,
            "since": b.since,
            "lastSeen": b.last_seen,
            "identity": b.identity,
            "admission": _admission_to_json(b.claim.admission),
            "routes": [str(n) for n in b.claim.routes or ()],
            "secretIds": write_ids(b.claim.secret_ids or ()),
        }
        for b in bindings
    ]


def members_from_json(content: Any) -> list[Binding]:
    """Raises KeyError, TypeError or ValueError if the content is not what `members_to_json` makes."""
    return [
        Binding(
            Claim(
                node=str(item["node"]),
                public_key=PublicKey.from_base64(item["pubkey"]),
                addresses=tuple(ip_address(a) for a in item["addresses"]),
                endpoints=tuple(Endpoint.parse(e) for e in item["endpoints"]),
                bootstrap=bool(item["bootstrap"]),
                admission=_admission_from_json(item),
                routes=tuple(ip_network(n) for n in item.get("routes", [])) or None,
                secret_ids=read_ids(item.get("secretIds", "")) or None,
            ),
            origin=Origin(item["origin"]),
            since=float(item["since"]),
            last_seen=float(item["lastSeen"]),
            identity=str(item["identity"]),
        )
        for item in content
    ]


def _admission_to_json(record: AdmissionRecord | None) -> str:
    return base64.b64encode(record.to_bytes()).decode() if record else ""


def _admission_from_json(content: Any) -> AdmissionRecord | None:
    text = content.get("admission", "")
    try:
        return AdmissionRecord.from_bytes(base64.b64decode(text, validate=True)) if text else None
    except AdmissionFault as error:
        raise ValueError(str(error)) from error
