"""A member's credentials, copied from its node like by a thief, and how a bootstrap node responds to them."""

from __future__ import annotations

import asyncio
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.kind.kubectl import Object, items
from tests.kind.meshes import Mesh
from tests.kind.nodes import Node

from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_agent.mesh.join.client import JoinRefused, JoinUnreachable, join
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint

ADMITTED = "admitted"


def papers(node: Node, mesh: str) -> TLSFiles:
    """Key, certificate and authorities as they lie in the node's state folder."""
    folder = f"/var/lib/wgmesh/{mesh}"
    key, certificate, authorities = (
        node.inside("cat", f"{folder}/{file}").stdout.encode()
        for file in ("identity.key", "identity.pem", "authorities.pem")
    )
    return TLSFiles(key, certificate, authorities)


def join_with(shown: TLSFiles, bootstrap: str, mesh: str, member: Object) -> str:
    """Joins as `member`, with its own WireGuard key and endpoint, via the bootstrap node at `address:port`.

    "admitted", or why not: its message if it denied, or the error of the connection without a response.
    """
    entering = join(
        bootstrap,
        Credentials(shown),
        mesh=mesh,
        node=member["spec"]["node"],
        public_key=PublicKey.from_base64(member["status"]["publicKey"]),
        endpoint=Endpoint.parse(member["status"]["endpoint"]),
    )
    try:
        asyncio.run(entering)
    except (JoinRefused, JoinUnreachable) as error:
        return f"{type(error).__name__}: {error}"
    return ADMITTED


def served(bootstrap: str) -> x509.Certificate:
    """The certificate that the bootstrap node at `address:port` shows now."""
    host, _, port = bootstrap.rpartition(":")
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port)), timeout=10).encode())


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:
        # cryptography raises what the key's kind raises; any of it means no.
        return False
    return True


def serials(mesh: Mesh) -> dict[str, str]:
    """The members' certificates, as they say; empty for those that say nothing of it."""
    return {
        node: member.get("status", {}).get("certificateSerial", "") for node, member in mesh.members().items()
    }


def authorities(mesh: Mesh) -> list[x509.Certificate]:
    """Those that the mesh publishes as trusted, the signing one first."""
    return x509.load_pem_x509_certificates(mesh.status()["trustBundle"].encode())


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def issued(mesh: Mesh, node: str) -> list[Object]:
    """The signed requests of a member, the first first."""
    prefix = f"wgmesh-{mesh.name}-{node}-"
    found = [
        request
        for request in items("certificatesigningrequests")
        if request["metadata"]["name"].startswith(prefix) and request["status"].get("certificate")
    ]
    return sorted(found, key=lambda request: request["metadata"]["creationTimestamp"])
