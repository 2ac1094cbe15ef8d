"""Codec between the stored mesh and its members, and plain JSON types."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from wgmesh_agent.gossip.memberlist.config import PROFILES
from wgmesh_agent.gossip.wire.keyring import KEY_LENGTHS, MAX_KEYS
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord, InvalidAdmission
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.secret_ids import decode_ids, encode_ids
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.names import is_mesh_name
from wgmesh_api.values import (
    UnusableValue,
    bounded,
    parse_address,
    parse_network,
    parse_node_name,
    parse_port,
)

LAST_UNIX_SECONDS = 221_845_392_000
"""The year 9000: `datetime` and the command line cannot print later times."""


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
    """Raises KeyError, TypeError or ValueError if the content is not the output of `mesh_to_json`.

    Every value is one that an agent can start with: a file with an invalid one is quarantined, and the agent joins
    again.
    """
    mesh, profile = content["mesh"], content["profile"]
    if not (isinstance(mesh, str) and is_mesh_name(mesh)):
        raise ValueError(f"{mesh!r:.40} is not a mesh name")
    if profile not in PROFILES:
        raise ValueError(f"{profile!r:.40} is not a gossip profile")
    keys = tuple(base64.b64decode(key, validate=True) for key in content["gossipKeys"])
    if len(keys) > MAX_KEYS or any(len(key) not in KEY_LENGTHS for key in keys):
        raise ValueError("a gossip key of invalid length, or too many of them")
    addresses, ranges = _addresses(content["addresses"]), _networks(content["ranges"])
    if not addresses or not ranges:
        raise ValueError("it contains no mesh address, or no range")
    return MeshRecord(
        mesh=mesh,
        node=parse_node_name(content["node"]),
        addresses=addresses,
        ranges=ranges,
        ipam_ranges=_networks(content["ipamRanges"]),
        created_unix=_unix(content["created"]),
        joined_unix=_unix(content["joined"]),
        gossip_keys=keys,
        profile=profile,
        gossip_port=parse_port(content["gossipPort"]),
        bootstrap=bool(content["bootstrap"]),
        tags=_tags(content["tags"]),
        requires_admission=bool(content.get("requiresAdmission", False)),
        admission=_admission_from_json(content),
        routes=_networks(content.get("routes", [])),
        gossip_keys_since=_unix(content.get("gossipKeysSince", 0)),
        wireguard_key_since=_unix(content.get("wireguardKeySince", 0)),
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
            "secretIds": encode_ids(b.claim.secret_ids or ()),
        }
        for b in bindings
    ]


def members_from_json(content: Any) -> list[Binding]:
    """Returns the members in a snapshot, except those with an address that no member may have: earlier versions
    accepted such.

    Raises:
        KeyError, TypeError, ValueError: the content is not the output of `members_to_json`.
    """
    found = []
    for item in content:
        try:
            addresses = _addresses(item["addresses"])
        except UnusableValue:
            continue
        found.append(_binding(item, addresses))
    return found


def _binding(item: Any, addresses: tuple[IPAddress, ...]) -> Binding:
    return Binding(
        Claim(
            node=str(item["node"]),
            public_key=PublicKey.from_base64(item["pubkey"]),
            addresses=addresses,
            endpoints=tuple(_endpoints(item["endpoints"])),
            bootstrap=bool(item["bootstrap"]),
            admission=_admission_from_json(item),
            routes=_networks(item.get("routes", [])) or None,
            secret_ids=decode_ids(item.get("secretIds", "")) or None,
        ),
        origin=Origin(item["origin"]),
        since=bounded(item["since"], 0, LAST_UNIX_SECONDS),
        last_seen=bounded(item["lastSeen"], 0, LAST_UNIX_SECONDS),
        identity=str(item["identity"]),
    )


def _endpoints(texts: Iterable[str]) -> Iterator[Endpoint]:
    """Excludes unusable endpoints, which earlier versions accepted from others."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield Endpoint.parse_reported(text)


def _addresses(texts: Iterable[object]) -> tuple[IPAddress, ...]:
    return tuple(parse_address(text) for text in texts)


def _networks(texts: Iterable[object]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(parse_network(text) for text in texts)


def _unix(value: object) -> int:
    return int(bounded(value, 0, LAST_UNIX_SECONDS))


def _tags(content: Any) -> dict[str, str]:
    tags = dict(content.items())
    if not all(isinstance(text, str) for pair in tags.items() for text in pair):
        raise ValueError("a tag that is not text")
    return tags


def _admission_to_json(record: AdmissionRecord | None) -> str:
    return base64.b64encode(record.to_bytes()).decode() if record else ""


def _admission_from_json(content: Any) -> AdmissionRecord | None:
    text = content.get("admission", "")
    try:
        return AdmissionRecord.from_bytes(base64.b64decode(text, validate=True)) if text else None
    except InvalidAdmission as error:
        raise ValueError(str(error)) from error
