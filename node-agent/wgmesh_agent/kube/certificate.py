"""This node's certificate in Kubernetes: its own key, a signing request, what came back, and when to ask again."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wgmesh_agent.atomic_file import write_atomically
from wgmesh_agent.join.tls import TLSFiles
from wgmesh_agent.kube.api import Api, ApiError, requests_path, signing_request
from wgmesh_agent.membership.binding import IPAddress
from wgmesh_api.certificates import generate_key, key_to_pem
from wgmesh_api.identity import NodeIdentity, Role, identity_of
from wgmesh_api.roster import node_object_name

log = structlog.get_logger()
KEY, CERTIFICATE, AUTHORITIES, MEMBER = "identity.key", "identity.pem", "authorities.pem", "member.uid"
RENEW_AT = 2 / 3
POLL_SECONDS = 1.0
ANSWER_SECONDS = 120.0
CLOCKS_DIFFER = timedelta(minutes=5)


class RequestDenied(Exception):
    """The operator does not sign; its words."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the certificate must say, for how many seconds at most, and the uid of the WgMeshNode it is for."""

    identity: NodeIdentity
    addresses: tuple[IPAddress, ...]
    seconds: int
    member_uid: str


class Identity:
    """The node's identity key and certificate in the state folder; the key never leaves it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uid: str | None = None

    def uid(self) -> str:
        """The uid of the WgMeshNode this node became a member by, also when the folder is gone by now; empty if it is
        not known. Raises OSError.
        """
        if self._uid is None:
            try:
                self._uid = (self._folder / MEMBER).read_text("ascii", "replace").strip()
            except FileNotFoundError:
                self._uid = ""
        return self._uid

    def save_uid(self, uid: str) -> None:
        """Raises OSError."""
        self._uid = uid
        write_atomically(self._folder / MEMBER, f"{uid}\n".encode())

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The identity key, made at first use or when the file is no key. Raises OSError."""
        path = self._folder / KEY
        try:
            found = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            found = None
        except (ValueError, TypeError):
            log.error("identity key damaged", next="a new one is made and a certificate asked for")
            path.rename(path.with_name(f"{KEY}.damaged-{time.time_ns()}"))
            found = None
        if isinstance(found, ec.EllipticCurvePrivateKey):
            return found
        made = generate_key()
        write_atomically(path, key_to_pem(made))
        return made

    def load(self) -> TLSFiles | None:
        """What is on disk, if certificate and key belong together. Raises OSError."""
        try:
            certificate = (self._folder / CERTIFICATE).read_bytes()
            authorities = (self._folder / AUTHORITIES).read_bytes()
            leaf = x509.load_pem_x509_certificate(certificate)
            x509.load_pem_x509_certificates(authorities)
        except (FileNotFoundError, ValueError):
            return None
        key = self.key()
        if leaf.public_key() != key.public_key():
            return None
        return TLSFiles(key_to_pem(key), certificate, authorities)

    def save(self, certificate: bytes, authorities: bytes) -> TLSFiles:
        """Keeps a new certificate. Raises OSError."""
        write_atomically(self._folder / CERTIFICATE, certificate)
        write_atomically(self._folder / AUTHORITIES, authorities)
        return TLSFiles(key_to_pem(self.key()), certificate, authorities)


def is_good(files: TLSFiles | None, wanted: Wanted, not_before: datetime | None, now: datetime) -> bool:
    """Whether this certificate says what it must, still for a while, and was made for this WgMeshNode.

    Args:
        not_before: when the WgMeshNode was made: older certificates belong to one that was deleted; None: not known.
    """
    if files is None:
        return False
    leaf = files.leaf()
    if identity_of(leaf) != wanted.identity or not leaf.not_valid_before_utc <= now < renewal_time(leaf):
        return False
    if not_before is not None and leaf.not_valid_before_utc < not_before:
        return False
    # The mesh's lifetime was shortened: that is to count now, not when the old certificate has run out.
    if leaf.not_valid_after_utc - now > timedelta(seconds=wanted.seconds) + CLOCKS_DIFFER:
        return False
    return set(wanted.addresses) <= set(addresses_of(leaf)) and signed_by(leaf, files.authorities)


def addresses_of(certificate: x509.Certificate) -> Sequence[IPAddress]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return [name for name in names.get_values_for_type(x509.IPAddress) if not hasattr(name, "netmask")]


def signed_by(certificate: x509.Certificate, authorities: bytes) -> bool:
    """Whether the first of the authorities, the one that signs now, signed this one."""
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificates(authorities)[0])
    except Exception:
        # cryptography raises what the key's kind raises; any of it means no.
        return False
    return True


def renewal_time(certificate: x509.Certificate) -> datetime:
    """Two thirds into the certificate's life."""
    begun, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begun + (end - begun) * RENEW_AT


def make_request(key: ec.EllipticCurvePrivateKey, wanted: Wanted) -> bytes:
    """A PKCS#10 request in PEM (RFC 2986)."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(wanted.identity.uri)]
    names += [x509.IPAddress(address) for address in wanted.addresses]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, wanted.identity.node[:64])])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def ask(api: Api, identity: Identity, wanted: Wanted, authorities: bytes) -> TLSFiles:
    """Has the operator sign a certificate, and keeps it.

    Raises:
        RequestDenied: with the operator's reason.
        ApiError: the API server is away, or nobody signed within two minutes.
        OSError: it cannot be kept.
    """
    mesh, node = wanted.identity.mesh, wanted.identity.node
    name = f"wgmesh-{mesh}-{node}-{secrets.token_hex(4)}"
    pem = await asyncio.to_thread(lambda: make_request(identity.key(), wanted))
    request = signing_request(
        name,
        pem,
        bootstrap=wanted.identity.role is Role.BOOTSTRAP,
        seconds=wanted.seconds,
        member=node_object_name(mesh, node),
        member_uid=wanted.member_uid,
    )
    await api.create(requests_path(), request)
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        status = (await api.get(requests_path(name))).get("status") or {}
        for condition in status.get("conditions") or []:
            if condition.get("type") in ("Denied", "Failed"):
                raise RequestDenied(
                    f"certificate {condition['type'].lower()}: {condition.get('message', '')}"
                )
        if status.get("certificate"):
            certificate = base64.b64decode(status["certificate"])
            return await asyncio.to_thread(identity.save, certificate, authorities)
        await asyncio.sleep(POLL_SECONDS)
    raise ApiError(f"nobody signed {name} within {ANSWER_SECONDS:g} s: is the operator running?")


def now() -> datetime:
    return datetime.now(UTC)
