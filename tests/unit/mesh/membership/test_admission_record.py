"""Admission records: trusted only if a bootstrap node of the mesh signed them."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.factories import make_authority, version_2

from wgmesh_agent.mesh.membership.admission_record import (
    LIFETIME,
    MAX_CERTIFICATE_BYTES,
    MAX_CERTIFICATES,
    MAX_ROUTES,
    AdmissionFaultReason,
    AdmissionRecord,
    InvalidAdmission,
    Signer,
    Verifier,
    newest,
)
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_api.certificates import (
    cert_to_pem,
    generate_key,
    issue,
    key_to_pem,
)
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.meshservice_pb2 import Admission as AdmissionMessage

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
KEY = PrivateKey.generate(os.urandom).public()
ADDRESSES = (ip_address("10.232.0.7"), ip_address("fd00::7"))


@dataclass
class Authority:
    """A mesh's certificate authority."""

    mesh: str = "blue"

    def __post_init__(self) -> None:
        self.ca = make_authority(self.mesh, now=NOW - timedelta(days=1))

    def signer(self, role: Role = Role.BOOTSTRAP, *, days: float = 5) -> Signer:
        key = generate_key()
        cert = issue(
            self.ca,
            NodeIdentity(self.mesh, "alpha", role),
            key.public_key(),
            now=NOW,
            lifetime=timedelta(days=days),
            serial=2,
        )
        return Signer(key_to_pem(key), cert_to_pem(cert))

    def verifier(self) -> Verifier:
        return Verifier(self.mesh, cert_to_pem(self.ca.cert))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_routes_are_part_of_what_is_signed(authority: Authority) -> None:
    routes = (ip_network("192.168.7.0/24"), ip_network("fd07::/48"))
    record = authority.signer().sign("blue", "beta", KEY, ADDRESSES, NOW, routes)
    read = AdmissionRecord.from_bytes(record.to_bytes())
    assert read.routes == routes
    assert authority.verifier().verify(read, NOW).routes == routes
    content = AdmissionMessage.FromString(read.blob)
    content.routes.append(bytes([10, 0, 0, 0, 8]))
    forged = replace(read, blob=content.SerializeToString(), routes=(*routes, ip_network("10.0.0.0/8")))
    assert fault(authority.verifier(), forged) is AdmissionFaultReason.BAD_SIGNATURE


MOST_ADDRESSES = 8
FULL = {
    "addresses": [bytes([10, 232, 0, number]) for number in range(1, MOST_ADDRESSES + 1)],
    "routes": [bytes([10, number, 0, 0, 16]) for number in range(MAX_ROUTES)],
    "certificates": [bytes(MAX_CERTIFICATE_BYTES)] * MAX_CERTIFICATES,
}


def read_with(
    authority: Authority, parts: dict[str, list[bytes]], signer: bytes = bytes(32)
) -> AdmissionRecord:
    message = authority.signer().sign("blue", "beta", KEY, ADDRESSES, NOW).message()
    content = AdmissionMessage.FromString(message.admission)
    content.addresses[:], content.routes[:] = parts["addresses"], parts["routes"]
    message.admission = content.SerializeToString()
    message.certificates[:], message.signer = parts["certificates"], signer
    return AdmissionRecord.from_message(message)


def test_a_record_may_have_as_much_of_each_part_as_there_is_room_for(authority: Authority) -> None:
    read = read_with(authority, FULL)
    assert len(read.addresses) == MOST_ADDRESSES
    assert len(read.routes) == MAX_ROUTES
    assert len(read.certificates) == MAX_CERTIFICATES


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("addresses", []),
        ("addresses", [*FULL["addresses"], bytes([10, 232, 0, 99])]),
        ("routes", [*FULL["routes"], bytes([10, 99, 0, 0, 16])]),
        ("certificates", [*FULL["certificates"], b""]),
        ("certificates", [bytes(MAX_CERTIFICATE_BYTES + 1)]),
    ],
)
def test_a_record_with_less_or_more_of_a_part_is_none(
    authority: Authority, part: str, values: list[bytes]
) -> None:
    with pytest.raises(InvalidAdmission) as caught:
        read_with(authority, FULL | {part: values})
    assert caught.value.reason is AdmissionFaultReason.MALFORMED


def test_a_record_of_nobody_is_none(authority: Authority) -> None:
    message = authority.signer().sign("blue", "", KEY, ADDRESSES, NOW).message()
    with pytest.raises(InvalidAdmission) as caught:
        AdmissionRecord.from_message(message)
    assert caught.value.reason is AdmissionFaultReason.MALFORMED


@pytest.mark.parametrize("signer", [b"", bytes(31), bytes(33)])
def test_a_record_whose_signer_is_no_digest_is_none(authority: Authority, signer: bytes) -> None:
    with pytest.raises(InvalidAdmission) as caught:
        read_with(authority, FULL, signer)
    assert caught.value.reason is AdmissionFaultReason.MALFORMED


@pytest.mark.parametrize("raw", [b"", b"1234", bytes([10, 0, 0, 1, 8]), bytes([10, 0, 0, 0, 33]), bytes(18)])
def test_a_route_that_is_none_makes_the_record_none(authority: Authority, raw: bytes) -> None:
    message = authority.signer().sign("blue", "beta", KEY, ADDRESSES, NOW).message()
    content = AdmissionMessage.FromString(message.admission)
    content.routes.append(raw)
    message.admission = content.SerializeToString()
    with pytest.raises(InvalidAdmission) as caught:
        AdmissionRecord.from_message(message)
    assert caught.value.reason is AdmissionFaultReason.MALFORMED


@pytest.fixture
def record(authority: Authority) -> AdmissionRecord:
    return authority.signer().sign("blue", "beta", KEY, ADDRESSES, NOW)


def fault(verifier: Verifier, record: AdmissionRecord, now: datetime = NOW) -> AdmissionFaultReason:
    with pytest.raises(InvalidAdmission) as raised:
        verifier.verify(record, now)
    return raised.value.reason


def test_what_a_bootstrap_node_signed_is_believed_after_a_trip(
    authority: Authority, record: AdmissionRecord
) -> None:
    travelled = AdmissionRecord.from_bytes(record.to_bytes())
    assert authority.verifier().verify(travelled, NOW) == record
    assert (travelled.node, travelled.public_key, travelled.addresses) == ("beta", KEY, ADDRESSES)


def test_a_known_signer_needs_no_certificate_and_an_unknown_one_does(
    authority: Authority, record: AdmissionRecord
) -> None:
    verifier = authority.verifier()
    short = record.without_certificates()
    assert fault(verifier, short) is AdmissionFaultReason.UNKNOWN_SIGNER
    verifier.verify(record, NOW)
    assert verifier.verify(short, NOW) == record


def test_without_certificates_it_fits_into_a_user_event(record: AdmissionRecord) -> None:
    assert len(record.without_certificates().to_bytes()) < 256


def test_the_certificate_of_a_plain_node_vouches_for_nobody(authority: Authority) -> None:
    forged = authority.signer(Role.NODE).sign("blue", "beta", KEY, ADDRESSES, NOW)
    assert fault(authority.verifier(), forged) is AdmissionFaultReason.MAY_NOT_ADMIT


def test_a_bootstrap_node_of_another_authority_vouches_for_nobody(authority: Authority) -> None:
    foreign = Authority().signer().sign("blue", "beta", KEY, ADDRESSES, NOW)
    assert fault(authority.verifier(), foreign) is AdmissionFaultReason.UNKNOWN_SIGNER


def test_a_record_of_another_mesh_is_not_believed(authority: Authority) -> None:
    other = authority.signer().sign("green", "beta", KEY, ADDRESSES, NOW)
    assert fault(authority.verifier(), other) is AdmissionFaultReason.OTHER_MESH


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        (LIFETIME, AdmissionFaultReason.EXPIRED),
        (timedelta(days=30), AdmissionFaultReason.EXPIRED),
        (-timedelta(minutes=6), AdmissionFaultReason.NOT_YET_VALID),
    ],
)
def test_outside_its_time_it_is_not_believed(
    authority: Authority, record: AdmissionRecord, after: timedelta, wanted: AdmissionFaultReason
) -> None:
    assert fault(authority.verifier(), record, NOW + after) is wanted


def test_it_lasts_no_longer_than_its_signer_s_certificate(authority: Authority) -> None:
    record = authority.signer(days=0.1).sign("blue", "beta", KEY, ADDRESSES, NOW)
    assert fault(authority.verifier(), record, NOW + timedelta(days=0.2)) is AdmissionFaultReason.EXPIRED


def test_a_signer_whose_certificate_ended_is_not_believed_even_if_it_is_known(authority: Authority) -> None:
    signer, verifier = authority.signer(days=0.1), authority.verifier()
    verifier.verify(signer.sign("blue", "beta", KEY, ADDRESSES, NOW), NOW)
    record = signer.sign("blue", "beta", KEY, ADDRESSES, NOW)
    content = AdmissionMessage.FromString(record.blob)
    content.notAfter += 10**12
    longer = replace(record, blob=content.SerializeToString(), not_after=content.notAfter)
    assert fault(verifier, longer, NOW + timedelta(days=0.2)) is AdmissionFaultReason.UNKNOWN_SIGNER


@pytest.mark.parametrize("field", ["mesh", "node", "publicKey", "addresses", "notBefore", "notAfter"])
def test_every_field_is_signed(authority: Authority, record: AdmissionRecord, field: str) -> None:
    content = AdmissionMessage.FromString(record.blob)
    match field:
        case "mesh":
            content.mesh = "bluf"
        case "node":
            content.node = "gamma"
        case "publicKey":
            content.publicKey = PrivateKey.generate(os.urandom).public().raw
        case "addresses":
            content.addresses[0] = ip_address("10.232.0.8").packed
        case _:
            setattr(content, field, getattr(content, field) + 1)
    message = record.message()
    message.admission = content.SerializeToString()
    changed = AdmissionRecord.from_message(message)
    wanted = AdmissionFaultReason.OTHER_MESH if field == "mesh" else AdmissionFaultReason.BAD_SIGNATURE
    assert fault(authority.verifier(), changed) is wanted


def test_a_certificate_that_is_not_the_named_signer_s_is_not_taken(authority: Authority) -> None:
    one, other = (authority.signer().sign("blue", "beta", KEY, ADDRESSES, NOW) for _ in range(2))
    mixed = replace(one, certificates=other.certificates)
    assert fault(authority.verifier(), mixed) is AdmissionFaultReason.UNKNOWN_SIGNER


def test_a_leaf_is_no_authority(authority: Authority) -> None:
    """A plain node issues a certificate for itself that says it may admit."""
    node_key, forged_key = generate_key(), generate_key()
    node = issue(
        authority.ca,
        NodeIdentity("blue", "evil", Role.NODE),
        node_key.public_key(),
        now=NOW,
        lifetime=timedelta(days=1),
        serial=3,
    )
    uri = "wgmesh://blue/bootstrap/evil"
    forged = (
        x509.CertificateBuilder()
        .subject_name(node.subject)
        .issuer_name(node.subject)
        .public_key(forged_key.public_key())
        .serial_number(9)
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(hours=9))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(node_key, hashes.SHA256())
    )
    signer = Signer(key_to_pem(forged_key), cert_to_pem(forged) + cert_to_pem(node))
    record = signer.sign("blue", "evil", KEY, ADDRESSES, NOW)
    assert fault(authority.verifier(), record) is AdmissionFaultReason.UNKNOWN_SIGNER


@pytest.mark.parametrize("usage", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
def test_certificates_that_name_no_role_may_admit_if_they_are_for_servers(
    usage: x509.ObjectIdentifier,
) -> None:
    ca_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of somebody's own")])
    builder = (
        x509.CertificateBuilder()
        .issuer_name(ca_name)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=2))
    )
    ca = (
        builder.subject_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "boot")]))
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    record = Signer(key_pem, cert_to_pem(leaf)).sign("blue", "beta", KEY, ADDRESSES, NOW)
    verifier = Verifier("blue", cert_to_pem(ca))
    if usage == ExtendedKeyUsageOID.SERVER_AUTH:
        assert verifier.verify(record, NOW) == record
    else:
        assert fault(verifier, record) is AdmissionFaultReason.MAY_NOT_ADMIT


def test_a_certificate_that_the_library_cannot_read_is_a_fault(
    authority: Authority, record: AdmissionRecord
) -> None:
    der = version_2(record.certificates[0])
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(der)
    changed = replace(record, certificates=(der,), signer=hashlib.sha256(der).digest())
    assert fault(authority.verifier(), changed) is AdmissionFaultReason.MALFORMED


def test_whatever_path_validation_raises_is_a_fault(
    authority: Authority, record: AdmissionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NobodyForesawError(Exception):
        pass

    def fail(*_: object) -> None:
        raise NobodyForesawError

    verifier = authority.verifier()
    monkeypatch.setattr(verifier, "check_signer", fail)
    assert fault(verifier, record) is AdmissionFaultReason.MALFORMED


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_a_fault(data: bytes) -> None:
    with suppress(InvalidAdmission):
        assert AdmissionRecord.from_bytes(data).addresses


def test_of_two_the_later_one_holds(authority: Authority) -> None:
    signer = authority.signer()
    old, new = (signer.sign("blue", "beta", KEY, ADDRESSES, NOW + timedelta(seconds=s)) for s in (0, 1))
    assert newest(old, new) is newest(new, old) is new
    assert newest(None, old) is newest(old, None) is old
