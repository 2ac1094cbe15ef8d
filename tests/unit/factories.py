"""What many tests need and none is about: an authority, and a mesh as a node remembers it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_api.certificates import CertificateAuthority, generate_key, make_ca

RECORD = MeshRecord(
    mesh="blue",
    node="n9",
    addresses=(ip_address("10.232.0.9"),),
    ranges=(ip_network("10.232.0.0/16"),),
    ipam_ranges=(),
    created_unix=1,
    joined_unix=1,
    gossip_keys=(),
    profile="lan",
    gossip_port=7946,
    bootstrap=False,
    tags={},
)


def make_authority(
    mesh: str = "blue", *, now: datetime, lifetime: timedelta = timedelta(days=365), serial: int = 1
) -> CertificateAuthority:
    """A mesh's authority from `now` on."""
    key = generate_key()
    return CertificateAuthority(make_ca(mesh, key, now=now, lifetime=lifetime, serial=serial), key)


def mesh_record(**changes: Any) -> MeshRecord:
    """A plain node's in the mesh blue, with `changes`."""
    return replace(RECORD, **changes)


def version_2(der: bytes) -> bytes:
    """The certificate as of version 2, which X.509 has and the library has not: no ValueError comes of it."""
    at = der.index(bytes.fromhex("a003020102"))
    return der[: at + 4] + b"\x01" + der[at + 5 :]
