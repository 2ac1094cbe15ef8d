"""An X.509 certificate of a peer, read completely and once.

The library parses lazily: a certificate that loads may raise from any attribute, and not only ValueError
(`x509.InvalidVersion`, `x509.UnsupportedGeneralNameType`, `UnsupportedAlgorithm`). Callers therefore never read
attributes of a certificate from the network; they read this record, or get `UnreadableCertificate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from wgmesh_api.identity import IdentityError, NodeIdentity, identity_of

MAX_NAME_CHARACTERS = 1024
"""Maximum length of subject and issuer as text: they are used in logs, denials and bindings."""


class UnreadableCertificate(ValueError):
    """A certificate with a part that cannot be read; one sentence."""


@dataclass(frozen=True, slots=True)
class ParsedCertificate:
    """All parts of a certificate that wgmesh uses.

    Attributes:
        certificate: for the library's path validation only.
        der: its bytes.
        fingerprint: SHA-256 of `der`, 32 bytes.
        subject, issuer: RFC 4514 text, at most 1,024 characters; empty for an empty name.
        identity: the wgmesh identity; None if it has none, or a malformed one.
        identity_fault: how the identity is malformed; empty if it is not.
        not_before, not_after: aware, UTC.
        public_key: of a kind the library supports.
        spki: the key as DER SubjectPublicKeyInfo.
        is_ca: whether it is a certificate of an authority.
        is_for_servers: whether its extended key usage names server authentication.
    """

    certificate: x509.Certificate
    der: bytes
    fingerprint: bytes
    subject: str
    issuer: str
    identity: NodeIdentity | None
    identity_fault: str
    not_before: datetime
    not_after: datetime
    public_key: CertificatePublicKeyTypes
    spki: bytes
    is_ca: bool
    is_for_servers: bool


def parse_certificate(certificate: x509.Certificate) -> ParsedCertificate:
    """Parses a certificate. Raises UnreadableCertificate, and nothing else."""
    try:
        return _parsed(certificate)
    except Exception as error:
        raise UnreadableCertificate(f"a certificate has a part that cannot be read: {error}") from error


def parse_der(der: bytes) -> ParsedCertificate:
    """Parses a certificate in DER. Raises UnreadableCertificate, and nothing else."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except Exception as error:
        raise UnreadableCertificate(f"this is not a certificate: {error}") from error
    return parse_certificate(certificate)


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Returns the certificates of a PEM text, at least one, not yet parsed. Raises UnreadableCertificate, and
    nothing else."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except Exception as error:
        raise UnreadableCertificate(f"this holds no certificate in PEM form: {error}") from error


def parse_pem(pem: bytes) -> tuple[ParsedCertificate, ...]:
    """Parses all certificates of a PEM text, at least one. Raises UnreadableCertificate, and nothing else."""
    return tuple(parse_certificate(one) for one in load_certificates(pem))


def _parsed(certificate: x509.Certificate) -> ParsedCertificate:
    if certificate.version not in (x509.Version.v1, x509.Version.v3):
        raise ValueError(f"version {certificate.version}")
    identity, identity_fault = None, ""
    try:
        identity = identity_of(certificate)
    except IdentityError as error:
        identity_fault = str(error)
    key = certificate.public_key()
    extensions = certificate.extensions
    return ParsedCertificate(
        certificate=certificate,
        der=certificate.public_bytes(serialization.Encoding.DER),
        fingerprint=certificate.fingerprint(hashes.SHA256()),
        subject=_text(certificate.subject),
        issuer=_text(certificate.issuer),
        identity=identity,
        identity_fault=identity_fault,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        public_key=key,
        spki=key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        is_ca=_is_ca(extensions),
        is_for_servers=_is_for_servers(extensions),
    )


def _text(name: x509.Name) -> str:
    text = name.rfc4514_string()
    # Surrogates, control characters and the like must not get into logs, protobuf and JSON.
    if len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise ValueError("a name that is too long, or not printable")
    return text


def _is_ca(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_for_servers(extensions: x509.Extensions) -> bool:
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in usage
