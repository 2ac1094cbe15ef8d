"""Issuing a mesh's certificates: keys, time and serial numbers in, certificates out; nothing is stored.

EC keys sign with SHA-256. A CA's organisation (O) is its mesh. Profiles follow RFC 5280: leaves are not CAs, may
only sign, and state their purpose; `identity.py` defines their URI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wgmesh_api.identity import IdentityError, NodeIdentity, Role, identity_of

BACKDATE = timedelta(minutes=5)
"""How long before `now` a certificate becomes valid, because clocks of members differ."""

E = TypeVar("E", bound=x509.ExtensionType)

_CA_COMMON_NAME = "wgmesh CA"


class CertificateError(ValueError):
    """The requested certificate would not be usable."""


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A CA's certificate and its key. Raises CertificateError if they don't belong together."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __post_init__(self) -> None:
        if self.cert.public_key() != self.key.public_key():
            raise CertificateError("the CA's certificate and key do not belong together")
        try:
            constraints = self.cert.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            constraints = None
        if constraints is None or not constraints.ca:
            raise CertificateError("the certificate is not a CA's")


@dataclass(frozen=True, slots=True)
class CertificateSummary:
    """The fields of a certificate that users need. Times are UTC; `fingerprint` is SHA-256 in hex."""

    subject: str
    issuer: str
    is_ca: bool
    identity: NodeIdentity | None
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str


def generate_key() -> ec.EllipticCurvePrivateKey:
    """Generates a P-256 key from the operating system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def make_ca(
    mesh: str, key: ec.EllipticCurvePrivateKey, *, now: datetime, lifetime: timedelta, serial: int
) -> x509.Certificate:
    """Issues a self-signed CA for `mesh`, valid from `now` minus BACKDATE until `now` + `lifetime`.

    `now` is aware; `serial` is positive and below 2^159. It signs leaves only (path length 0).
    """
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, mesh),
            x509.NameAttribute(NameOID.COMMON_NAME, _CA_COMMON_NAME),
        ]
    )
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(subject_key, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def mesh_of_ca(cert: x509.Certificate) -> str | None:
    """Returns the mesh of a CA issued by `make_ca`; None for a CA issued elsewhere."""
    common_names = [a.value for a in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    organisations = cert.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if common_names != [_CA_COMMON_NAME] or len(organisations) != 1:
        return None
    return str(organisations[0].value)


def issue(
    authority: CertificateAuthority,
    identity: NodeIdentity,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    lifetime: timedelta,
    serial: int,
    addresses: Sequence[IPv4Address | IPv6Address] = (),
    dns_names: Sequence[str] = (),
    not_before: datetime | None = None,
) -> x509.Certificate:
    """Issues a node's certificate: `identity` as URI, with the `addresses` and `dns_names` at which it is reached.

    A bootstrap node's is valid for servers and clients, a node's for clients only. It is valid from `not_before`, by
    default `now` minus BACKDATE, and never outside its CA's validity: the end is the earlier of `now` + `lifetime`
    and the CA's. Raises CertificateError if the CA belongs to another mesh or has expired, or a DNS name is
    malformed.
    """
    ca_mesh = mesh_of_ca(authority.cert)
    if ca_mesh is not None and ca_mesh != identity.mesh:
        raise CertificateError(f"this CA is for mesh {ca_mesh!r}, not {identity.mesh!r}")
    not_after = min(now + lifetime, authority.cert.not_valid_after_utc)
    if not_after <= now:
        raise CertificateError(f"the CA expired on {authority.cert.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.role is Role.BOOTSTRAP:
        purposes.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    return (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.mesh),
                    x509.NameAttribute(NameOID.COMMON_NAME, identity.node),
                ]
            )
        )
        .issuer_name(authority.cert.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(max(not_before or now - BACKDATE, authority.cert.not_valid_before_utc))
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(_names(identity, addresses, dns_names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_issuer_identifier(authority), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def is_issued_by(leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    """Returns whether `ca` signed `leaf`; time and purpose are not checked."""
    try:
        leaf.verify_directly_issued_by(ca)
    except Exception:
        # cryptography raises an exception that depends on the kind of key; any of them means no
        return False
    return True


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns PKCS#8 PEM, not encrypted: store it in a file that only its owner can read."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def cert_to_pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def load_authority(cert_pem: bytes, key_pem: bytes) -> CertificateAuthority:
    """Loads the CA from these two PEM texts. Raises CertificateError if unreadable or not belonging together."""
    try:
        cert = x509.load_pem_x509_certificate(cert_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"the CA's files cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the CA's key is not an elliptic curve key")
    return CertificateAuthority(cert, key)


def summary_of(cert: x509.Certificate) -> CertificateSummary:
    """Summarises a certificate. Raises CertificateError if its extensions or its identity cannot be read."""
    try:
        identity = identity_of(cert)
        names = _names_of(cert)
        constraints = _extension(cert, x509.BasicConstraints)
    except IdentityError as error:
        raise CertificateError(str(error)) from error
    except ValueError as error:
        raise CertificateError(f"the certificate's extensions cannot be read: {error}") from error
    return CertificateSummary(
        subject=cert.subject.rfc4514_string(),
        issuer=cert.issuer.rfc4514_string(),
        is_ca=constraints is not None and constraints.ca,
        identity=identity,
        names=names,
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
        fingerprint=cert.fingerprint(hashes.SHA256()).hex(),
    )


def _extension(cert: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _names_of(cert: x509.Certificate) -> tuple[str, ...]:
    names = _extension(cert, x509.SubjectAlternativeName)
    return () if names is None else tuple(str(name.value) for name in names)


def _names(
    identity: NodeIdentity, addresses: Sequence[IPv4Address | IPv6Address], dns_names: Sequence[str]
) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName(
            [
                x509.UniformResourceIdentifier(identity.uri),
                *(x509.IPAddress(address) for address in addresses),
                *(x509.DNSName(name) for name in dns_names),
            ]
        )
    except ValueError as error:
        raise CertificateError(f"a DNS name cannot be written into a certificate: {error}") from error


def _issuer_identifier(authority: CertificateAuthority) -> x509.AuthorityKeyIdentifier:
    # a CA issued elsewhere may derive its key identifier by another rule, and verifiers compare the two
    named = _extension(authority.cert, x509.SubjectKeyIdentifier)
    if named is not None:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
