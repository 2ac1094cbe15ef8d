"""Certificates of peers: read completely, or one refusal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.factories import make_authority, version_2

from wgmesh_api.certificates import cert_to_pem, generate_key, issue
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.meshservice_pb2 import JoinResponse
from wgmesh_api.parsed_certificate import (
    UnreadableCertificate,
    load_certificates,
    parse_certificate,
    parse_der,
    parse_pem,
)

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
CA = make_authority(now=NOW)
IDENTITY = NodeIdentity("blue", "alpha", Role.BOOTSTRAP)
LEAF = issue(CA, IDENTITY, generate_key().public_key(), now=NOW, lifetime=timedelta(days=1), serial=2)
DER = LEAF.public_bytes(serialization.Encoding.DER)


def self_signed(subject: str, *extensions: x509.ExtensionType) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def test_a_certificate_of_ours_is_read_completely() -> None:
    parsed = parse_pem(cert_to_pem(LEAF))[0]
    assert parsed.identity == IDENTITY
    assert not parsed.identity_fault
    assert (parsed.der, parsed.fingerprint) == (DER, LEAF.fingerprint(hashes.SHA256()))
    assert (parsed.is_ca, parsed.is_for_servers) == (False, True)
    assert parse_certificate(CA.cert).is_ca


def test_a_malformed_identity_is_reported_apart_from_the_rest() -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("wgmesh://blue/king/x")])
    parsed = parse_certificate(self_signed("x", names))
    assert parsed.identity is None
    assert "king" in parsed.identity_fault


@pytest.mark.parametrize("subject", ["a\nb", "\u202ea", "\ud7ff\ue000"])
def test_a_subject_that_cannot_be_printed_is_refused(subject: str) -> None:
    with pytest.raises(UnreadableCertificate, match="not printable"):
        parse_certificate(self_signed(subject))


def test_a_version_that_the_library_has_not_is_refused() -> None:
    with pytest.raises(UnreadableCertificate):
        parse_der(version_2(DER))


def test_an_unsupported_kind_of_name_is_refused() -> None:
    x400 = x509.UnrecognizedExtension(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3009a307300530030c0161")
    )
    with pytest.raises(UnreadableCertificate):
        parse_certificate(self_signed("x", x400))


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_changed_certificate_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    der = bytearray(DER)
    for position, value in changes:
        der[position] = value
    try:
        parsed = parse_der(bytes(der))
    except UnreadableCertificate:
        return
    JoinResponse(errorMessage=parsed.subject + parsed.issuer + parsed.identity_fault).SerializeToString()
    json.dumps([parsed.subject, parsed.not_before.isoformat(), parsed.not_after.isoformat()])


@given(st.binary(max_size=400))
def test_any_bytes_hold_certificates_or_are_refused(data: bytes) -> None:
    for read in (load_certificates, parse_pem, parse_der):
        with pytest.raises(UnreadableCertificate):
            read(data)
