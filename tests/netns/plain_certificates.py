"""Certificates as people have them who know nothing of wgmesh: signed by the mesh's authority, without an identity."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from wgmesh_agent.lab.mesh import LIFETIME, Mesh
from wgmesh_agent.lab.network import Network
from wgmesh_api.certificates import cert_to_pem, generate_key, key_to_pem


def plain_certificate(
    mesh: Mesh, name: str, *, address: str = "", valid_for: timedelta = LIFETIME
) -> tuple[Path, Path, Path]:
    """Files of key, certificate and authority; `address` is one that the holder serves at."""
    key, now = generate_key(), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(mesh.authority.cert.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + valid_for)
    )
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(mesh.authority.key, hashes.SHA256())
    files = certificate_files(mesh.network, name)
    for file, content in zip(
        files, (key_to_pem(key), cert_to_pem(certificate), cert_to_pem(mesh.authority.cert)), strict=True
    ):
        file.write_bytes(content)
    return files


def certificate_files(network: Network, name: str) -> tuple[Path, Path, Path]:
    """Where key, certificate and authority of a name are."""
    return network.folder / f"{name}.key", network.folder / f"{name}.pem", network.folder / f"{name}.ca"


def client_options(files: tuple[Path, Path, Path]) -> list[str]:
    """The options of `wgmesh join` with these files."""
    return [
        text
        for flag, file in zip(("-client-key", "-client-cert", "-ca-cert"), files, strict=True)
        for text in (flag, str(file))
    ]
