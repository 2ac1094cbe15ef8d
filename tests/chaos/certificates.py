"""The certificates of virtual machines: made once a run, of the same lengths in every run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from tests.chaos.virtual_loop import EPOCH_UNIX

from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_api.certificates import CertificateAuthority, cert_to_pem, issue, key_to_pem, make_ca
from wgmesh_api.identity import NodeIdentity, Role

LIFETIME = timedelta(days=3650)
SIGNATURE_BYTES = 71
BEGIN = datetime.fromtimestamp(EPOCH_UNIX, UTC) - timedelta(days=365)
"""Early enough for clocks that are behind."""


@cache
def authority(mesh: str) -> CertificateAuthority:
    """The mesh's own."""
    key = ec.derive_private_key(7, ec.SECP256R1())
    while True:
        made = CertificateAuthority(make_ca(mesh, key, now=BEGIN, lifetime=LIFETIME, serial=1), key)
        if len(made.cert.signature) == SIGNATURE_BYTES:
            return made


@cache
def credentials(mesh: str, node: str, role: Role) -> Credentials:
    """A node's certificate, for a role; signatures that happen to be a byte shorter are made again, lest runs
    differ.
    """
    signer = authority(mesh)
    key = ec.derive_private_key(11, ec.SECP256R1())
    while True:
        certificate = issue(
            signer, NodeIdentity(mesh, node, role), key.public_key(), now=BEGIN, lifetime=LIFETIME, serial=2
        )
        if len(certificate.signature) == SIGNATURE_BYTES:
            files = TLSFiles(key_to_pem(key), cert_to_pem(certificate), cert_to_pem(signer.cert))
            return Credentials(files)
