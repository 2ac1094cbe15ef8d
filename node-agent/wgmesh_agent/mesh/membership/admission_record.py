"""Admission record: a binding signed by a bootstrap node with its TLS key (design, rules of the data plane).

Every member holds the gossip key, so gossip alone cannot prove who owns a key or an address. A record can: its signer's
certificate chains to the mesh's CA and permits it to admit.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from google.protobuf.message import DecodeError

from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import IPAddress, IPNetwork
from wgmesh_api.identity import Role
from wgmesh_api.meshservice_pb2 import Admission as AdmissionMessage
from wgmesh_api.meshservice_pb2 import AdmissionRecord as RecordMessage
from wgmesh_api.parsed_certificate import (
    ParsedCertificate,
    UnreadableCertificate,
    load_certificates,
    parse_der,
    parse_pem,
)
from wgmesh_api.values import check_address

LIFETIME = timedelta(hours=24)
MAX_CLOCK_SKEW = timedelta(minutes=5)
"""Maximum lead of a signer's clock."""
MAX_CERTIFICATES = 4
MAX_CERTIFICATE_BYTES = 4096
MAX_SIGNERS = 256
MAX_ROUTES = 64
_CONTEXT = b"wgmesh admission 1\0"
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ECDSA = ec.ECDSA(hashes.SHA256())
SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class AdmissionFaultReason(enum.StrEnum):
    """Why a record is rejected; the label of the counter."""

    MALFORMED = "admission_malformed"
    OTHER_MESH = "admission_other_mesh"
    UNKNOWN_SIGNER = "admission_unknown_signer"
    MAY_NOT_ADMIT = "admission_signer_may_not_admit"
    BAD_SIGNATURE = "admission_bad_signature"
    EXPIRED = "admission_expired"
    NOT_YET_VALID = "admission_not_yet_valid"
    MISMATCH = "admission_mismatch"
    REPLAYED = "admission_replayed"


class InvalidAdmission(Exception):
    """A rejected record: `fault`, and one sentence."""

    def __init__(self, fault: AdmissionFaultReason, message: str) -> None:
        super().__init__(message)
        self.reason = fault


@dataclass(frozen=True, slots=True)
class AdmissionRecord:
    """One member's record; not trusted before a Verifier has accepted it.

    Attributes:
        mesh, node, public_key, addresses, routes: the signed binding; routes are networks behind the member.
        not_before, not_after: unix microseconds; of two records for one member the later one counts.
        blob: the signed bytes.
        signature: over a context and `blob`.
        signer: SHA-256 of the signer's certificate, 32 bytes.
        certificates: DER, the signer's first; may be empty where space is limited.
    """

    mesh: str
    node: str
    public_key: PublicKey
    addresses: tuple[IPAddress, ...]
    not_before: int
    not_after: int
    blob: bytes
    signature: bytes
    signer: bytes
    certificates: tuple[bytes, ...] = ()
    routes: tuple[IPNetwork, ...] = ()

    @classmethod
    def from_message(cls, message: RecordMessage) -> AdmissionRecord:
        """Raises InvalidAdmission if it is malformed."""
        try:
            content = AdmissionMessage.FromString(message.admission)
            addresses = tuple(_address(raw) for raw in content.addresses)
            routes = tuple(_route(raw) for raw in content.routes[: MAX_ROUTES + 1])
            key = PublicKey(content.publicKey)
        except (DecodeError, InvalidKeyError, ValueError) as error:
            raise InvalidAdmission(
                AdmissionFaultReason.MALFORMED, f"malformed admission record: {error}"
            ) from error
        certificates = tuple(message.certificates)
        if (
            not addresses
            or not content.node
            or len(addresses) > 8
            or len(routes) > MAX_ROUTES
            or len(message.signer) != 32
            or len(certificates) > MAX_CERTIFICATES
            or any(len(der) > MAX_CERTIFICATE_BYTES for der in certificates)
        ):
            raise InvalidAdmission(
                AdmissionFaultReason.MALFORMED,
                ("malformed admission record: a field is missing, too long, or has too many entries"),
            )
        return cls(
            content.mesh,
            content.node,
            key,
            addresses,
            content.notBefore,
            content.notAfter,
            message.admission,
            message.signature,
            message.signer,
            certificates,
            routes,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AdmissionRecord:
        """Raises InvalidAdmission if it is malformed."""
        try:
            message = RecordMessage.FromString(data)
        except DecodeError as error:
            raise InvalidAdmission(
                AdmissionFaultReason.MALFORMED, f"not an admission record: {error}"
            ) from error
        return cls.from_message(message)

    def message(self) -> RecordMessage:
        return RecordMessage(
            admission=self.blob, signature=self.signature, signer=self.signer, certificates=self.certificates
        )

    def to_bytes(self) -> bytes:
        return self.message().SerializeToString()

    def without_certificates(self) -> AdmissionRecord:
        """For messages of limited size: usable by members that know the signer already."""
        return replace(self, certificates=())

    def is_since(self, moment: datetime) -> bool:
        """Whether it was signed at that moment or later."""
        return self.not_before >= _microseconds(moment)

    def is_fresh(self, now: datetime) -> bool:
        """Whether more than half of its validity remains."""
        return 2 * _microseconds(now) < self.not_before + self.not_after


def newest(a: AdmissionRecord | None, b: AdmissionRecord | None) -> AdmissionRecord | None:
    """The record that counts."""
    if a is None or b is None:
        return a or b
    return b if b.not_before > a.not_before else a


class Signer:
    """A bootstrap node's key and chain. Raises ValueError for a key that is neither elliptic curve nor RSA."""

    def __init__(self, key_pem: bytes, certificate_pem: bytes) -> None:
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("admission records are signed with elliptic curve or RSA keys only")
        self._key: SigningKey = key
        self.chain = parse_pem(certificate_pem)

    def sign(
        self,
        mesh: str,
        node: str,
        public_key: PublicKey,
        addresses: Sequence[IPAddress],
        now: datetime,
        routes: Sequence[IPNetwork] = (),
    ) -> AdmissionRecord:
        """Signs a binding from `now` on, for a day or until its own certificate expires."""
        leaf = self.chain[0]
        not_before, not_after = (_microseconds(t) for t in (now, min(now + LIFETIME, leaf.not_after)))
        blob = AdmissionMessage(
            mesh=mesh,
            node=node,
            publicKey=public_key.raw,
            addresses=[a.packed for a in addresses],
            notBefore=not_before,
            notAfter=not_after,
            routes=[route.network_address.packed + bytes([route.prefixlen]) for route in routes],
        ).SerializeToString(deterministic=True)
        data = _CONTEXT + blob
        if isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = self._key.sign(data, _ECDSA)
        return AdmissionRecord(
            mesh,
            node,
            public_key,
            tuple(addresses),
            not_before,
            not_after,
            blob,
            signature,
            leaf.fingerprint,
            tuple(one.der for one in self.chain[:MAX_CERTIFICATES]),
            tuple(routes),
        )


class Verifier:
    """Verifies records of one mesh whose signers the CAs permit to admit; caches 256 signers."""

    def __init__(self, mesh: str, authorities_pem: bytes) -> None:
        """Raises ValueError if there is no CA certificate."""
        self._mesh = mesh
        self._store = Store(load_certificates(authorities_pem))
        self._signers: dict[bytes, tuple[ParsedCertificate, ...]] = {}

    def knows(self, signer: bytes) -> bool:
        """Whether records of this signer can be verified without certificates."""
        return signer in self._signers

    def admitting(self) -> frozenset[str] | None:
        """The names of the bootstrap nodes whose records were verified; None if one of them has no wgmesh identity."""
        identities = [chain[0].identity for chain in self._signers.values()]
        if any(identity is None for identity in identities):
            return None
        return frozenset(identity.node for identity in identities if identity is not None)

    def verify(self, record: AdmissionRecord, now: datetime) -> AdmissionRecord:
        """The record with its certificates, whether or not it contained them.

        Raises:
            InvalidAdmission: it is rejected, for any reason: the library parses foreign certificates while they are
                used, and raises exceptions of any kind.
        """
        try:
            return self._verified(record, now)
        except InvalidAdmission:
            raise
        except Exception as error:
            raise InvalidAdmission(
                AdmissionFaultReason.MALFORMED,
                f"an admission record cannot be verified: {type(error).__name__}: {error}",
            ) from error

    def _verified(self, record: AdmissionRecord, now: datetime) -> AdmissionRecord:
        if record.mesh != self._mesh:
            raise InvalidAdmission(
                AdmissionFaultReason.OTHER_MESH, f"{record.node} was admitted to the mesh {record.mesh!r:.40}"
            )
        present = _microseconds(now)
        if record.not_after <= present:
            raise InvalidAdmission(
                AdmissionFaultReason.EXPIRED, f"the admission record of {record.node} has expired"
            )
        if record.not_before > present + MAX_CLOCK_SKEW // _MICROSECOND:
            raise InvalidAdmission(
                AdmissionFaultReason.NOT_YET_VALID, f"the admission record of {record.node} is not valid yet"
            )
        chain = self._chain(record)
        self.check_signer(chain, now)
        _check_signature(chain[0], record)
        self._remember(record.signer, chain)
        return replace(record, certificates=tuple(one.der for one in chain))

    def _chain(self, record: AdmissionRecord) -> tuple[ParsedCertificate, ...]:
        known = self._signers.get(record.signer)
        if known is not None:
            return known
        try:
            chain = tuple(parse_der(der) for der in record.certificates)
        except UnreadableCertificate as error:
            raise InvalidAdmission(
                AdmissionFaultReason.MALFORMED, f"malformed certificate of a signer: {error}"
            ) from error
        if not chain or chain[0].fingerprint != record.signer:
            raise InvalidAdmission(
                AdmissionFaultReason.UNKNOWN_SIGNER,
                f"the signer of {record.node}'s admission record is unknown",
            )
        return chain

    def check_signer(self, chain: Sequence[ParsedCertificate], now: datetime) -> None:
        """Raises InvalidAdmission unless the holder of the first certificate may admit."""
        leaf = chain[0]
        who = leaf.subject
        builder = PolicyBuilder().store(self._store).time(now)
        anything = ExtensionPolicy.permit_all()
        authority = anything.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
        verifier = builder.extension_policies(ca_policy=authority, ee_policy=anything).build_client_verifier()
        try:
            verifier.verify(leaf.certificate, [one.certificate for one in chain[1:]])
        except VerificationError as error:
            raise InvalidAdmission(
                AdmissionFaultReason.UNKNOWN_SIGNER,
                f"{who} signed an admission record without a certificate of this mesh: {error}",
            ) from error
        if leaf.identity_fault:
            raise InvalidAdmission(
                AdmissionFaultReason.MAY_NOT_ADMIT, f"{who} signed an admission record: {leaf.identity_fault}"
            )
        # A certificate that states no wgmesh role may admit if it is issued for servers.
        identity = leaf.identity
        if identity is None:
            may = leaf.is_for_servers
        else:
            may = identity.mesh == self._mesh and identity.role is Role.BOOTSTRAP
        if not may:
            raise InvalidAdmission(
                AdmissionFaultReason.MAY_NOT_ADMIT,
                f"{identity or who} signed an admission record, but may not admit",
            )

    def _remember(self, signer: bytes, chain: tuple[ParsedCertificate, ...]) -> None:
        self._signers.pop(signer, None)
        self._signers[signer] = chain
        if len(self._signers) > MAX_SIGNERS:
            del self._signers[next(iter(self._signers))]


def _is_authority(policy: Policy, certificate: x509.Certificate, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("it is not issued by a CA of this mesh")


def _check_signature(certificate: ParsedCertificate, record: AdmissionRecord) -> None:
    key, data = certificate.public_key, _CONTEXT + record.blob
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(record.signature, data, _ECDSA)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(record.signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise InvalidAdmission(
                AdmissionFaultReason.MAY_NOT_ADMIT, "the signer's key is neither elliptic curve nor RSA"
            )
    except InvalidSignature as error:
        raise InvalidAdmission(
            AdmissionFaultReason.BAD_SIGNATURE,
            f"the signature of {record.node}'s admission record is invalid",
        ) from error


def _address(raw: bytes) -> IPAddress:
    if len(raw) not in (4, 16):
        raise ValueError(f"an address of {len(raw)} bytes")
    return check_address(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))


def _route(raw: bytes) -> IPNetwork:
    if len(raw) not in (5, 17):
        raise ValueError(f"a route of {len(raw)} bytes")
    kind = IPv4Network if len(raw) == 5 else IPv6Network
    return kind((raw[:-1], raw[-1]))


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
