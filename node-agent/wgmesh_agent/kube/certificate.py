"""This node's certificate in Kubernetes: its own key, the signing request, the signed certificate, and the renewal
time.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wgmesh_agent.kube.api_client import ApiError, KubernetesApi, requests_path, signing_request
from wgmesh_agent.mesh.credentials import TLSFiles
from wgmesh_agent.runtime.atomic_file import write_atomically
from wgmesh_agent.wireguard.model import IPAddress
from wgmesh_api.certificates import generate_key, key_to_pem
from wgmesh_api.fields import read_list, read_mapping, read_text
from wgmesh_api.identity import NodeIdentity, Role, identity_of
from wgmesh_api.roster import node_object_name

log = structlog.get_logger()
KEY, CERTIFICATE, AUTHORITIES, MEMBER = "identity.key", "identity.pem", "authorities.pem", "member.uid"
RENEW_AT_LIFETIME_SHARE = 2 / 3
POLL_SECONDS = 1.0
ANSWER_SECONDS = 120.0
MAX_CLOCK_SKEW = timedelta(minutes=5)


class UnusableCertificate(ValueError):
    """A certificate or its CAs cannot be used with this node's key; gives the reason."""


class RequestDenied(Exception):
    """The operator denies the request; its message."""


@dataclass(frozen=True, slots=True)
class CertificateSpec:
    """Required content of the certificate, its maximum lifetime in seconds, and the uid of its WgMeshNode."""

    identity: NodeIdentity
    addresses: tuple[IPAddress, ...]
    seconds: int
    member_uid: str


class CertificateStore:
    """The node's identity key and certificate in the state folder; the key never leaves it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uid: str | None = None

    def uid(self) -> str:
        """The uid of the WgMeshNode by which this node became a member, also after the folder was removed; empty if
        unknown.
        """
        if self._uid is None:
            try:
                self._uid = (self._folder / MEMBER).read_text("ascii", "replace").strip()
            except FileNotFoundError:
                self._uid = ""
            except OSError as error:
                log.error(
                    "cannot read the uid of the WgMeshNode",
                    error=str(error),
                    next="recording the current one",
                )
                self._uid = ""
        return self._uid

    def save_uid(self, uid: str) -> None:
        """Raises OSError."""
        self._uid = uid
        write_atomically(self._folder / MEMBER, f"{uid}\n".encode())

    def key(self) -> ec.EllipticCurvePrivateKey:
        """The identity key, generated at first use or when the file contains no key. Raises OSError."""
        path = self._folder / KEY
        try:
            found = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if isinstance(found, ec.EllipticCurvePrivateKey):
                return found
            why = f"it is not an elliptic curve key but {type(found).__name__}"
        except FileNotFoundError:
            why = ""
        except Exception as error:
            # Unreadable, a directory, or of a kind that the library does not support: no agent could use it.
            why = repr(error)
        if why:
            log.error(
                "identity key is corrupt", error=why, next="generating a new key and requesting a certificate"
            )
            path.rename(path.with_name(f"{KEY}.damaged-{time.time_ns()}"))
        made = generate_key()
        write_atomically(path, key_to_pem(made))
        return made

    def load(self) -> TLSFiles | None:
        """The files on disk, if certificate and key match; None: a certificate is requested again."""
        try:
            certificate = (self._folder / CERTIFICATE).read_bytes()
            authorities = (self._folder / AUTHORITIES).read_bytes()
            key = self.key()
            require_usable(key, certificate, authorities)
        except FileNotFoundError:
            return None
        except (OSError, UnusableCertificate) as error:
            log.error("certificate is not usable", error=str(error), next="requesting another")
            return None
        return TLSFiles(key_to_pem(key), certificate, authorities)

    def save(self, certificate: bytes, authorities: bytes) -> TLSFiles:
        """Stores a new certificate.

        Raises:
            UnusableCertificate: nothing has changed: with it this node would have no TLS until the next one.
            OSError: it cannot be stored.
        """
        require_usable(self.key(), certificate, authorities)
        write_atomically(self._folder / CERTIFICATE, certificate)
        write_atomically(self._folder / AUTHORITIES, authorities)
        return TLSFiles(key_to_pem(self.key()), certificate, authorities)


def require_usable(key: ec.EllipticCurvePrivateKey, certificate: bytes, authorities: bytes) -> None:
    """Raises UnusableCertificate: not PEM, or for another key."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        fits = leaf.public_key() == key.public_key()
        # Everything that is read from it later: the library parses lazily.
        identity_of(leaf), leaf.not_valid_before_utc, leaf.not_valid_after_utc, addresses_of(leaf)
    except Exception as error:
        raise UnusableCertificate(f"the certificate cannot be read: {error!r:.200}") from error
    if not fits:
        raise UnusableCertificate("the certificate is for a key other than this node's")
    try:
        for authority in x509.load_pem_x509_certificates(authorities):
            authority.subject.rfc4514_string(), authority.public_key()
    except Exception as error:
        raise UnusableCertificate(f"the CA certificates cannot be read: {error!r:.200}") from error


def is_current(
    files: TLSFiles | None, wanted: CertificateSpec, not_before: datetime | None, now: datetime
) -> bool:
    """Whether this certificate has the required content, is valid for a while, and belongs to this WgMeshNode.

    Args:
        not_before: when the WgMeshNode was created: older certificates belong to a deleted one; None: unknown.
    """
    if files is None:
        return False
    leaf = files.leaf()
    if identity_of(leaf) != wanted.identity or not leaf.not_valid_before_utc <= now < renewal_time(leaf):
        return False
    if not_before is not None and leaf.not_valid_before_utc < not_before:
        return False
    # The mesh's lifetime was shortened: that applies now, not after the old certificate has expired.
    if leaf.not_valid_after_utc - now > timedelta(seconds=wanted.seconds) + MAX_CLOCK_SKEW:
        return False
    return set(wanted.addresses) <= set(addresses_of(leaf)) and is_issued_by_current_ca(
        leaf, files.authorities
    )


def addresses_of(certificate: x509.Certificate) -> Sequence[IPAddress]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return [name for name in names.get_values_for_type(x509.IPAddress) if not hasattr(name, "netmask")]


def is_issued_by_current_ca(certificate: x509.Certificate, authorities: bytes) -> bool:
    """Whether the first of the CAs, the one that signs now, signed this certificate."""
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificates(authorities)[0])
    except Exception:
        # cryptography raises the exceptions of the key's kind; any of them means no.
        return False
    return True


def renewal_time(certificate: x509.Certificate) -> datetime:
    """Two thirds of the certificate's lifetime."""
    begun, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begun + (end - begun) * RENEW_AT_LIFETIME_SHARE


def make_request(key: ec.EllipticCurvePrivateKey, wanted: CertificateSpec) -> bytes:
    """A PKCS#10 request in PEM (RFC 2986)."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(wanted.identity.uri)]
    names += [x509.IPAddress(address) for address in wanted.addresses]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, wanted.identity.node[:64])])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def request_certificate(
    api: KubernetesApi, identity: CertificateStore, wanted: CertificateSpec, authorities: bytes
) -> TLSFiles:
    """Has the operator sign a certificate, and stores it.

    Raises:
        RequestDenied: with the operator's reason.
        ValueError: the signed certificate cannot be used.
        ApiError: the API server is unreachable, or the request was not signed within two minutes.
        OSError: it cannot be stored.
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
        status = read_mapping(await api.get(requests_path(name)), "status")
        for condition in read_list(status, "conditions"):
            kind = read_text(condition, "type") if isinstance(condition, Mapping) else ""
            if kind in ("Denied", "Failed"):
                raise RequestDenied(f"certificate {kind.lower()}: {read_text(condition, 'message')}")
        if text := read_text(status, "certificate"):
            certificate = base64.b64decode(text)
            return await asyncio.to_thread(identity.save, certificate, authorities)
        await asyncio.sleep(POLL_SECONDS)
    raise ApiError(f"{name} was not signed within {ANSWER_SECONDS:g} s: check that the operator runs")


def now() -> datetime:
    return datetime.now(UTC)
