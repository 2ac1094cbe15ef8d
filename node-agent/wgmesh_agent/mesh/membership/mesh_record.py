"""Mesh record: the mesh as this node is part of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord
from wgmesh_agent.wireguard.model import IPAddress


@dataclass(frozen=True, slots=True)
class MeshRecord:
    """The mesh as this node is part of it.

    Attributes:
        mesh: its name.
        node: this node's name.
        addresses: this node's mesh addresses, the primary one first.
        ranges: the mesh's ranges, the primary one first.
        ipam_ranges: ranges of joiners' addresses; empty on a plain node.
        created_unix, joined_unix: seconds.
        gossip_keys: the keyring, the primary key first; empty: plaintext gossip.
        wireguard_key_since: unix seconds when this node's WireGuard key came into use; 0: unknown.
        wireguard_key_token: id of the cluster's last rotation request by then; empty: none.
        gossip_keys_since: unix seconds when the keyring was decided; of two keyrings of one mesh the later one counts.
        profile: lan, wan or local.
        gossip_port: UDP and TCP, on the mesh addresses.
        bootstrap: whether this node admits joiners.
        tags: those that the user set on this node.
        requires_admission: whether gossip binds a member only with an admission record.
        admission: this node's own record; None if it issues its own, or has none.
        routes: networks behind this node that it requests to advertise.
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
